// One simulated camera: a client of its own that publishes frames and its status, keeps the newest frame until that is
// acknowledged, and moves to the next broker when its own is lost. A frame keeps its epoch and seq over all tries.
import { setTimeout as sleep } from 'node:timers/promises'
import type { IClientPublishOptions, IPublishPacket, MqttClient } from 'mqtt'
import { BrokerUrls, learnNodes } from '../../shared/broker-urls.js'
import type { Id } from '../../shared/lot.js'
import { connectMqtt, endMqtt, LoginRefusedError, type ConnectOptions, MOVING_KEEPALIVE_SECONDS } from '../../shared/mqtt-client.js'
import { topics } from '../../shared/topics.js'
import type { Label, Shot } from './frames.js'

/** Frames that may be unacknowledged at once; behind them only the newest waits. */
const WINDOW = 2
/** Intervals after which a frame is worth nothing any more. */
const EXPIRES_INTERVALS = 3

export interface CameraParts {
  readonly camera: Id
  readonly lot: Id
  readonly epoch: number
  readonly intervalMs: number
  /** The broker, or several with commas between them. */
  readonly url: string
  readonly login: Pick<ConnectOptions, 'tls' | 'username' | 'password'>
}

export interface CameraCounts {
  readonly sent: number
  readonly acknowledged: number
  /** Frames that a newer one replaced before they were sent. */
  readonly replaced: number
  readonly refused: Readonly<Record<string, number>>
  readonly connects: number
  /** The last frame that was acknowledged and not refused; null before any. */
  readonly truth: Label | null
}

interface Frame {
  readonly shot: Shot
  readonly seq: number
  readonly capturedAt: string
}

export class SimulatedCamera {
  readonly #parts: CameraParts
  #client: MqttClient | null = null
  /** On their way, by seq; sent again on the next connection. */
  readonly #open = new Map<number, Frame>()
  #newest: Frame | null = null
  #seq = 0
  #sent = 0
  #acknowledged = 0
  #replaced = 0
  #connects = 0
  readonly #refused: Record<string, number> = {}
  #truth: { seq: number, label: Label | null } | null = null
  readonly #stop = new AbortController()
  #running: Promise<void> = Promise.resolve()
  #idle: (() => void)[] = []

  constructor (parts: CameraParts) {
    this.#parts = parts
  }

  get name (): Id { return this.#parts.camera }
  get lot (): Id { return this.#parts.lot }

  counts (): CameraCounts {
    return { sent: this.#sent, acknowledged: this.#acknowledged, replaced: this.#replaced, refused: this.#refused, connects: this.#connects, truth: this.#truth?.label ?? null }
  }

  /** Connects and stays connected. Resolves when it is for the first time; throws when no broker lets it in by its name. */
  async start (): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#running = this.#stayConnected(resolve).catch(reject)
    })
  }

  /** Takes a picture's place in the line: it is sent now, or is the one that waits. */
  take (shot: Shot, capturedAtMs: number): void {
    if (this.#newest !== null) this.#replaced++
    this.#newest = { shot, seq: ++this.#seq, capturedAt: new Date(capturedAtMs).toISOString() }
    this.#send()
  }

  /** Resolves when everything is acknowledged, or after `withinMs`. */
  async settled (withinMs: number): Promise<void> {
    if (this.#open.size === 0 && this.#newest === null) return
    await Promise.race([new Promise<void>(resolve => this.#idle.push(resolve)), sleep(withinMs)])
  }

  /** Says goodbye, so that its status is `offline` at once. */
  async stop (): Promise<void> {
    this.#stop.abort()
    const client = this.#client
    if (client?.connected) {
      await client.publishAsync(topics.cameraStatus(this.#parts.camera), 'offline', { qos: 1, retain: true })
      await endMqtt(client)
    }
    await this.#running
  }

  async #stayConnected (onFirst: () => void): Promise<void> {
    const { url, camera, login } = this.#parts
    const urls = new BrokerUrls(url)
    const will = { topic: topics.cameraStatus(camera), payload: 'offline', qos: 1, retain: true } as const
    while (!this.#stop.signal.aborted) {
      try {
        const client = await connectMqtt(urls.current, { ...login, clientId: camera, will, ...!urls.isSingle && { keepaliveSeconds: MOVING_KEEPALIVE_SECONDS } })
        urls.connected()
        const lost = new Promise<void>(resolve => client.once('close', resolve))
        client.on('error', () => {})
        learnNodes(client, urls)
        await this.#connected(client)
        onFirst()
        await lost
      } catch (error) {
        // Another broker may know it; with one only there is nobody else to ask.
        if (error instanceof LoginRefusedError && urls.isSingle) throw error
      }
      this.#client = null
      await sleep(urls.restMs(), undefined, { signal: this.#stop.signal }).catch(() => {})
      urls.next()
    }
  }

  async #connected (client: MqttClient): Promise<void> {
    this.#connects++
    await client.publishAsync(topics.cameraStatus(this.#parts.camera), 'online', { qos: 1, retain: true })
    this.#client = client
    const again = [...this.#open.values()].sort((a, b) => a.seq - b.seq)
    this.#open.clear()
    // What a newer frame follows need not be said twice.
    const newest = again.pop()
    if (newest !== undefined && this.#newest === null) this.#newest = newest
    this.#send()
  }

  #send (): void {
    const frame = this.#newest
    const client = this.#client
    if (frame === null || !client?.connected || this.#open.size >= WINDOW) return
    this.#newest = null
    this.#open.set(frame.seq, frame)
    this.#sent++
    client.publish(topics.frame(this.#parts.camera), Buffer.from(frame.shot.bytes.buffer, frame.shot.bytes.byteOffset, frame.shot.bytes.byteLength), this.#optionsOf(frame), (error, packet) => {
      // A lost connection: it is sent again on the next one.
      if (client !== this.#client || this.#open.get(frame.seq) !== frame) return
      const code = (error as { code?: unknown } | undefined)?.code
      if (error && typeof code !== 'number') return
      this.#settle(frame, error ? refusalIn(packet) : null)
    })
  }

  #settle (frame: Frame, refusal: string | null): void {
    this.#open.delete(frame.seq)
    this.#acknowledged++
    if (refusal !== null) this.#refused[refusal] = (this.#refused[refusal] ?? 0) + 1
    else if (this.#truth === null || frame.seq > this.#truth.seq) this.#truth = { seq: frame.seq, label: frame.shot.label }
    this.#send()
    if (this.#open.size === 0 && this.#newest === null) for (const resolve of this.#idle.splice(0)) resolve()
  }

  #optionsOf ({ shot, seq, capturedAt }: Frame): IClientPublishOptions {
    const { lot, epoch, intervalMs } = this.#parts
    return {
      qos: 1,
      properties: {
        contentType: shot.contentType,
        messageExpiryInterval: Math.max(1, Math.ceil(EXPIRES_INTERVALS * intervalMs / 1_000)),
        userProperties: { lot, epoch: String(epoch), seq: String(seq), capturedAt }
      }
    }
  }
}

/** The code in front of the reason, or the reason itself. */
function refusalIn (packet: unknown): string {
  const words = (packet as Partial<IPublishPacket> & { properties?: { reasonString?: string } } | undefined)?.properties?.reasonString ?? 'refused'
  return /^([a-z_]+): /.exec(words)?.[1] ?? words
}
