// One publisher on a raw connection with numbered messages (see `Subscriber`): in a window, as fast as the socket takes
// them, or at a steady rate. It gives up when nothing moves any more: a bench of a broker that stalls ends nevertheless.
import type { Duplex } from 'node:stream'
import { machineMs } from './clock.js'
import { PUBACK, PUBCOMP, PublishTemplate, PUBREC, PUBREL, type Credentials, type Qos } from './mqtt-bytes.js'
import { rawConnect, readPackets, type Ports, type Transport } from './raw-client.js'

export interface PublisherParts {
  readonly ports: Ports
  readonly clientId: string
  readonly topic: string
  readonly qos: Qos
  readonly payloadBytes: number
  readonly transport?: Transport
  readonly credentials?: Credentials | undefined
}

export interface Sent {
  /** Messages written in this run. */
  readonly sent: number
  /** Of them acknowledged; with QoS 0 handed to the operating system. */
  readonly settled: number
  /** When the first was written, by `machineMs`. */
  readonly startedAtMs: number
  readonly seconds: number
  /** Why it ended early; null when it did not. */
  readonly stopped: string | null
}

/** One write carries at most so many bytes: enough for the kernel, few enough to notice that the socket is full. */
const MAX_WRITE_BYTES = 64 * 1_024
/** Nothing acknowledged and nothing written for so long is a stall, in milliseconds, unless `send` is told otherwise. */
const STALL_MS = 10_000
/** How often a steady publisher looks what is due, in milliseconds. */
const TICK_MS = 5

export class Publisher {
  readonly #stream: Duplex
  readonly #qos: Qos
  readonly #template: PublishTemplate
  #sent = 0
  #settled = 0
  #closed: string | null = null
  #onProgress: () => void = () => {}

  private constructor (stream: Duplex, { topic, qos, payloadBytes }: PublisherParts) {
    this.#stream = stream
    this.#qos = qos
    this.#template = new PublishTemplate(topic, qos, payloadBytes)
    let releases: number[] = []
    const last = qos === 1 ? PUBACK : PUBCOMP
    readPackets(stream, (head, bytes, at) => {
      if (head >> 4 === last) this.#settled++
      else if (head >> 4 === PUBREC) releases.push(PUBREL << 4 | 2, 2, bytes[at] ?? 0, bytes[at + 1] ?? 0)
    }, () => {
      if (releases.length > 0) stream.write(Buffer.from(releases))
      releases = []
      this.#onProgress()
    })
    stream.on('drain', () => this.#onProgress())
    stream.on('error', error => { this.#closed ??= error.message })
    stream.on('close', () => {
      this.#closed ??= 'the broker closed the connection'
      this.#onProgress()
    })
  }

  static async connect (parts: PublisherParts): Promise<Publisher> {
    return new Publisher(await rawConnect(parts.ports, { clientId: parts.clientId, version: 4, clean: true, credentials: parts.credentials }, parts.transport), parts)
  }

  /** Number of the last message written. */
  get sent (): number { return this.#sent }

  /**
   * Writes `messages` with at most `window` of them unacknowledged (`Infinity`: as the socket takes them) and waits for
   * the acknowledgements. `untilMs` (by `machineMs`) stops it earlier.
   */
  async send ({ messages, window, untilMs = Infinity, stallMs = STALL_MS }: { messages: number, window: number, untilMs?: number, stallMs?: number }): Promise<Sent> {
    const base = this.#sent
    const settledBefore = this.#settled
    let target = base + messages
    const startedAtMs = machineMs()
    const stopped = await this.#run(stallMs, () => {
      if (machineMs() >= untilMs) target = this.#sent
      while (this.#sent < target) {
        const free = this.#qos === 0 ? Infinity : window - (this.#sent - this.#settled)
        if (free <= 0 || !this.#write(Math.min(free, target - this.#sent))) break
      }
      return this.#sent === target && (this.#qos === 0 ? !this.#stream.writableNeedDrain : this.#settled === target)
    })
    const sent = this.#sent - base
    return { sent, settled: this.#qos === 0 ? sent : this.#settled - settledBefore, startedAtMs, seconds: (machineMs() - startedAtMs) / 1_000, stopped }
  }

  /**
   * Writes `perSecond` messages a second for `seconds`, evenly, never more than `window` unacknowledged and never into a
   * full socket; what could not be written in time is written as soon as it can be, and not at all after the end.
   */
  async steadily ({ perSecond, seconds, window }: { perSecond: number, seconds: number, window: number }): Promise<Sent> {
    const base = this.#sent
    const settledBefore = this.#settled
    const startedAtMs = machineMs()
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>(resolve => {
      timer = setInterval(() => {
        const elapsedMs = machineMs() - startedAtMs
        const due = base + Math.floor(Math.min(elapsedMs, seconds * 1_000) * perSecond / 1_000)
        while (this.#closed === null && this.#sent < due && !this.#stream.writableNeedDrain) {
          const free = this.#qos === 0 ? Infinity : window - (this.#sent - this.#settled)
          if (free <= 0) break
          this.#write(Math.min(free, due - this.#sent))
        }
        if (elapsedMs >= seconds * 1_000 || this.#closed !== null) resolve()
      }, TICK_MS)
    })
    clearInterval(timer)
    const sent = this.#sent - base
    return { sent, settled: this.#qos === 0 ? sent : this.#settled - settledBefore, startedAtMs, seconds: (machineMs() - startedAtMs) / 1_000, stopped: this.#closed }
  }

  close (): void {
    this.#stream.destroy()
  }

  /** Calls `step` at every progress until it says that all is done; returns why it was not. */
  async #run (stallMs: number, step: () => boolean): Promise<string | null> {
    return await new Promise<string | null>(resolve => {
      let seen = -1
      const end = (why: string | null): void => {
        clearInterval(watch)
        this.#onProgress = () => {}
        resolve(why)
      }
      const watch = setInterval(() => {
        const now = this.#sent + this.#settled
        if (now === seen) end(`nothing moved for ${stallMs / 1_000} s`)
        seen = now
      }, stallMs)
      this.#onProgress = () => {
        if (this.#closed !== null) end(this.#closed)
        else if (step()) end(null)
      }
      this.#onProgress()
    })
  }

  /** Writes so many messages or as many as one write carries. Returns whether the socket takes more. */
  #write (messages: number): boolean {
    const count = Math.min(messages, Math.max(1, Math.floor(MAX_WRITE_BYTES / this.#template.length)))
    const packets = this.#template.packets(this.#sent + 1, count)
    this.#sent += count
    return this.#stream.write(packets)
  }
}
