// Drivers who reserve places and give them back, move to another node when theirs is lost, and send what has no answer again with the
// same requestId, until it has one.
import { randomBytes } from 'node:crypto'
import type { MqttClient } from 'mqtt'
import { connectMqtt, endMqtt } from '../../shared/mqtt-client.js'
import { createRequester, TimeoutError, type Requester } from '../../shared/requester.js'

const ANSWER_MS = 5_000
/** A fault lasts shorter. */
const GIVE_UP_MS = 180_000
/** Reservations that a driver has at a time: all together want more than there is. */
const MOST_HELD = 8
/** Longer than any round: none expires meanwhile. */
const HOLD_SECONDS = 3_600

/** What all drivers of a round have seen. */
export class History {
  readonly #capacity: number
  /** Reservations that were granted, with their lots. */
  readonly granted = new Map<string, string>()
  /** Those that were not given back. */
  readonly held = new Map<string, string>()
  /** Granted, and no cancel sent: so many must have a place each at this moment. */
  readonly #certain = new Map<string, number>()
  readonly violations: string[] = []
  answers = 0
  longestAnswerMs = 0

  constructor (capacity: number) {
    this.#capacity = capacity
  }

  grant (reservation: string, lot: string): void {
    if (this.granted.has(reservation)) this.violations.push(`${reservation} was granted twice`)
    this.granted.set(reservation, lot)
    this.held.set(reservation, lot)
    const certain = (this.#certain.get(lot) ?? 0) + 1
    this.#certain.set(lot, certain)
    if (certain > this.#capacity) this.violations.push(`${lot} has ${this.#capacity} places, and ${certain} reservations held at once`)
  }

  isGivenBack (lot: string): void { this.#certain.set(lot, (this.#certain.get(lot) ?? 0) - 1) }
}

export interface DriverParts {
  readonly urls: readonly string[]
  /** Begins all its plates. */
  readonly plate: string
  readonly lots: readonly string[]
  readonly history: History
  /** Milliseconds from an answer to the next request. */
  readonly restMs: number
}

export class ClusterDriver {
  readonly #client: MqttClient
  readonly #requester: Requester
  readonly #history: History
  readonly #over: Promise<void>
  readonly #mine: { reservation: string, secret: string, lot: string }[] = []
  #isOver = false

  private constructor (client: MqttClient, requester: Requester, parts: DriverParts) {
    this.#client = client
    this.#requester = requester
    this.#history = parts.history
    this.#over = this.#drive(parts)
    // Told by `finish`.
    this.#over.catch(() => {})
  }

  static async start (parts: DriverParts): Promise<ClusterDriver> {
    const client = await connectMqtt(parts.urls.join(','), { reconnect: true })
    client.on('error', () => { /* A try in vain. */ })
    return new ClusterDriver(client, await createRequester(client, { timeoutMs: ANSWER_MS }), parts)
  }

  async #drive ({ plate, lots, restMs }: DriverParts): Promise<void> {
    for (let i = 0; !this.#isOver; i++) {
      const lot = lots[i % lots.length] as string
      const made = await this.#ask('reserve', { lot, plate: `${plate}-${i}`, holdSeconds: HOLD_SECONDS })
      if (made.ok) {
        const { reservation, secret } = made.result as { reservation: string, secret: string }
        this.#history.grant(reservation, lot)
        this.#mine.push({ reservation, secret, lot })
      } else if (made.error.code !== 'lot_full') {
        this.#history.violations.push(`reserve was refused: ${made.error.code}`)
      }
      if (this.#mine.length > MOST_HELD || !made.ok) {
        const one = this.#mine.shift()
        if (one !== undefined) await this.#giveBack(one)
      }
      await new Promise(resolve => setTimeout(resolve, restMs))
    }
  }

  async #giveBack ({ reservation, secret, lot }: { reservation: string, secret: string, lot: string }): Promise<void> {
    this.#history.isGivenBack(lot)
    const reply = await this.#ask('cancel', { reservation, secret })
    if (!reply.ok) this.#history.violations.push(`cancel of ${reservation} was refused: ${reply.error.code}`)
    this.#history.held.delete(reservation)
  }

  /** The same request until it is answered. */
  async #ask (method: string, body: object): ReturnType<Requester['request']> {
    const asked = { ...body, requestId: randomBytes(12).toString('hex') }
    const begunMs = performance.now()
    for (;;) {
      try {
        const reply = await this.#requester.request(method, asked)
        if (reply.ok || reply.error.code !== 'unavailable') {
          this.#history.answers++
          this.#history.longestAnswerMs = Math.max(this.#history.longestAnswerMs, performance.now() - begunMs)
          return reply
        }
      } catch (error) {
        if (!(error instanceof TimeoutError)) throw error
      }
      if (performance.now() - begunMs > GIVE_UP_MS) throw new Error(`no answer to ${method} in ${GIVE_UP_MS / 1_000} s`)
    }
  }

  /** Ends after the request that is under way. Throws what went wrong. */
  async finish (): Promise<void> {
    this.#isOver = true
    await this.#over
  }

  async giveBackAll (): Promise<void> {
    for (const one of this.#mine.splice(0)) await this.#giveBack(one)
  }

  async end (): Promise<void> {
    this.#isOver = true
    await this.#requester.close()
    await endMqtt(this.#client)
  }
}
