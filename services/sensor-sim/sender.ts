// Sends to the broker at QoS 1 with a bounded number of unacknowledged messages, and measures how long each PUBACK takes.
// MQTT.js sends what is unacknowledged again after a lost connection; nothing is given up in silence.
import { build } from 'hdr-histogram-js'
import type { IConnackPacket, MqttClient, Packet } from 'mqtt'

export interface SenderOptions {
  /** Most unacknowledged messages; the broker's Receive Maximum may lower it. */
  readonly window: number
  /** The sender gives up when messages wait and none is acknowledged for so long. */
  readonly giveUpMs: number
}

export interface Latency {
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly max: number
}

export interface Sent {
  /** Handed over for sending, each once however often the connection was lost. */
  readonly sent: number
  /** Acknowledged with success. */
  readonly acknowledged: number
  /** Acknowledged with a reason code of 0x80 or above. */
  readonly refused: number
  /** Refused messages by the broker's reason. */
  readonly refusals: Readonly<Record<string, number>>
  /** Neither acknowledged nor refused yet. */
  readonly unacknowledged: number
  /** How often the connection came back. */
  readonly reconnects: number
  /** Messages that waited for their PUBACK when the connection came back, and were sent again. */
  readonly resent: number
  /** From sending to PUBACK, in milliseconds; null before any PUBACK. */
  readonly latencyMs: Latency | null
}

/** A fault that ends the sending: nobody acknowledges any more. */
export class GaveUpError extends Error {
  readonly code = 'unreachable'
  constructor (waiting: number, waitedMs: number, lastError: Error | null) {
    super(`no acknowledgement for ${Math.round(waitedMs / 1_000)} s${lastError ? ` (${reasonOf(lastError)})` : ''}; ${waiting} messages are left unacknowledged`)
    this.name = 'GaveUpError'
  }
}

const MAX_REASONS = 20
const OTHER_REASONS = 'other reasons'
/** Microseconds: what the histogram begins with; it grows with need. */
const FIRST_HIGHEST = 10_000_000

/** One sender a client, one user at a time. `close` it when done; the client stays open. */
export class Sender {
  readonly #client: MqttClient
  readonly #options: SenderOptions
  readonly #latencyUs = build({ lowestDiscernibleValue: 1, highestTrackableValue: FIRST_HIGHEST, autoResize: true, numberOfSignificantValueDigits: 3 })
  readonly #refusals = new Map<string, number>()
  readonly #watch: NodeJS.Timeout
  readonly #onConnect = (connack: IConnackPacket): void => {
    this.#reconnects++
    this.#online = true
    this.#lastError = null
    this.#limit = windowOf(this.#options.window, connack)
    for (const publishAgain of this.#givenUp.splice(0)) publishAgain()
  }

  readonly #onClose = (): void => {
    // Every vain try to connect again is a close as well.
    if (this.#online) this.#atClose = new Set(this.#waiting)
    this.#online = false
  }

  /** Without a listener the error of a vain try to connect again would end the process. */
  readonly #onError = (error: Error): void => { this.#lastError = error }
  #limit: number
  #sent = 0
  #acknowledged = 0
  #refused = 0
  #reconnects = 0
  #resent = 0
  #waiting = new Set<number>()
  /** What was unacknowledged when the connection was lost: MQTT.js sends it again, and says `connect` only afterwards. */
  #atClose = new Set<number>()
  /** How to publish what MQTT.js will not send again by itself. */
  readonly #givenUp: (() => void)[] = []
  #online = true
  #lastError: Error | null = null
  #lastAckMs = performance.now()
  #failure: GaveUpError | null = null
  #wake: (() => void) | null = null

  /** `client` must be connected. */
  constructor (client: MqttClient, options: SenderOptions) {
    this.#client = client
    this.#options = options
    // The CONNACK of the connection that the client came with; MQTT.js shows it to listeners of `connect` only.
    this.#limit = windowOf(options.window, client['connackPacket'] as IConnackPacket | undefined)
    client.on('connect', this.#onConnect)
    client.on('close', this.#onClose)
    client.on('error', this.#onError)
    this.#watch = setInterval(() => { this.#giveUpIfSilent() }, Math.max(50, Math.min(1_000, options.giveUpMs / 4)))
  }

  /**
   * Hands one message over for sending as soon as the window has room. Throws `GaveUpError` when the broker is silent for
   * too long.
   */
  async send (topic: string, payload: string): Promise<void> {
    while (this.#waiting.size >= this.#limit && !this.#failure) await this.#change()
    if (this.#failure) throw this.#failure
    if (this.#waiting.size === 0) this.#lastAckMs = performance.now()
    const number = this.#sent++
    const sentMs = performance.now()
    this.#waiting.add(number)
    this.#publish(number, topic, payload, sentMs)
  }

  /**
   * MQTT.js sends what is unacknowledged again when it is connected again, but gives up what was published while it did so and lost
   * that connection too: that is published anew at the next one.
   */
  #publish (number: number, topic: string, payload: string, sentMs: number): void {
    this.#client.publish(topic, payload, { qos: 1 }, (error, packet) => {
      if (error && !isReasonCode(error)) this.#givenUp.push(() => this.#publish(number, topic, payload, sentMs))
      else this.#settle(number, sentMs, error, packet)
    })
  }

  /** Resolves when nothing is unacknowledged. Throws `GaveUpError` as `send` does. */
  async settled (): Promise<void> {
    while (this.#waiting.size > 0 && !this.#failure) await this.#change()
    if (this.#failure) throw this.#failure
  }

  /** What was sent so far. */
  report (): Sent {
    const us = this.#latencyUs
    const at = (percentile: number): number => us.getValueAtPercentile(percentile) / 1_000
    return {
      sent: this.#sent,
      acknowledged: this.#acknowledged,
      refused: this.#refused,
      refusals: Object.fromEntries(this.#refusals),
      unacknowledged: this.#waiting.size,
      reconnects: this.#reconnects,
      resent: this.#resent,
      latencyMs: us.totalCount === 0 ? null : { p50: at(50), p95: at(95), p99: at(99), max: us.maxValue / 1_000 }
    }
  }

  /** Stops watching the client. */
  close (): void {
    clearInterval(this.#watch)
    this.#client.off('connect', this.#onConnect)
    this.#client.off('close', this.#onClose)
    this.#client.off('error', this.#onError)
  }

  #settle (number: number, sentMs: number, error: Error | null | undefined, packet: Packet | undefined): void {
    if (!this.#waiting.has(number)) return
    this.#waiting.delete(number)
    if (this.#atClose.delete(number)) this.#resent++
    this.#lastAckMs = performance.now()
    this.#latencyUs.recordValue(Math.max(1, Math.round((this.#lastAckMs - sentMs) * 1_000)))
    if (error) this.#refuse(error, packet)
    else this.#acknowledged++
    this.#wake?.()
  }

  #refuse (error: Error, packet: Packet | undefined): void {
    this.#refused++
    const said = packet && 'properties' in packet ? (packet.properties as { reasonString?: string } | undefined)?.reasonString : undefined
    const reason = said ?? error.message
    // A reason may carry the message's own values: the table must not grow with them.
    const key = this.#refusals.has(reason) || this.#refusals.size < MAX_REASONS ? reason : OTHER_REASONS
    this.#refusals.set(key, (this.#refusals.get(key) ?? 0) + 1)
  }

  async #change (): Promise<void> {
    await new Promise<void>(resolve => { this.#wake = resolve })
    this.#wake = null
  }

  #giveUpIfSilent (): void {
    const silentMs = performance.now() - this.#lastAckMs
    if (this.#waiting.size === 0 || silentMs < this.#options.giveUpMs) return
    this.#failure = new GaveUpError(this.#waiting.size, silentMs, this.#lastError)
    this.#wake?.()
  }
}

/** MQTT 5.0 [MQTT-3.3.4-9]: a client must not have more QoS 1 messages unacknowledged than the server's Receive Maximum. */
function windowOf (window: number, connack: IConnackPacket | undefined): number {
  return Math.min(window, connack?.properties?.receiveMaximum ?? window)
}

/** Node's error for a host with several addresses has no message of its own. */
function reasonOf (error: Error): string {
  return error.message || String((error as NodeJS.ErrnoException).code ?? error.name)
}

/** Whether MQTT.js gives the reason code of a PUBACK as this error. */
function isReasonCode (error: Error): boolean {
  return 'code' in error && typeof error.code === 'number' && error.code >= 0x80
}
