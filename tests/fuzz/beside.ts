// The healthy clients beside the fuzzing: one publishes steadily, two subscribe, and all of it must arrive, in order and
// once. Their own connections are held against the standard as well.
import { plainConnect } from './packets.js'
import type { Version } from './client-packets.js'
import { Client } from './client.js'
import { packed, string, uint16 } from './drafts.js'
import type { Announced } from './judge.js'
import { randomOf } from './life.js'
import type { Ports, Transport } from './peer.js'

const TOPIC = 'steady/beside'
/** Pause between two messages, in milliseconds. */
const EVERY_MS = 10

export class Beside {
  readonly #publisher: Client
  readonly #subscribers: readonly Subscriber[]
  #timer: NodeJS.Timeout | null = null
  #sent = 0

  private constructor (publisher: Client, subscribers: readonly Subscriber[]) {
    this.#publisher = publisher
    this.#subscribers = subscribers
  }

  static async start (ports: Ports, announced: Announced): Promise<Beside> {
    const subscribers = [await Subscriber.start(ports, announced, 5, 'tcp'), await Subscriber.start(ports, announced, 4, 'ws')]
    const beside = new Beside(await connected(ports, announced, 4, 'tcp', 'steady-publisher', () => {}), subscribers)
    beside.#timer = setInterval(() => beside.#publish(), EVERY_MS)
    return beside
  }

  /** Messages published, and the longest time between two of them at a subscriber, in milliseconds. */
  get figures (): { messages: number, longestGapMs: number } {
    return { messages: this.#sent, longestGapMs: Math.round(Math.max(...this.#subscribers.map(({ longestGapMs }) => longestGapMs))) }
  }

  /** Throws as soon as a message is missing, repeated or out of order, or a connection is gone. */
  check (): void {
    for (const client of [this.#publisher, ...this.#subscribers.map(({ client }) => client)]) {
      const fault = client.fault ?? (client.ended ? 'its connection was ended' : null)
      if (fault !== null) throw new Error(`a healthy client beside the fuzzing: ${fault}\n  ${client.record.slice(-2_000)}`)
    }
    for (const { fault } of this.#subscribers) if (fault !== null) throw new Error(fault)
  }

  /** Publishes no more, and waits until everything has arrived and is acknowledged. */
  async stop (): Promise<void> {
    if (this.#timer) clearInterval(this.#timer)
    try {
      this.check()
      await this.#publisher.settle()
      for (const subscriber of this.#subscribers) await subscriber.client.until(() => subscriber.next === this.#sent, () => `message ${subscriber.next} of ${this.#sent} at a healthy subscriber`)
      this.check()
    } finally {
      this.close()
    }
  }

  /** Ends at once whatever is left. */
  close (): void {
    if (this.#timer) clearInterval(this.#timer)
    for (const client of [this.#publisher, ...this.#subscribers.map(({ client }) => client)]) client.destroy()
  }

  #publish (): void {
    if (!this.#publisher.maySay) return
    const number = this.#sent++
    this.#publisher.say(packed({ first: 0x32, head: [string(TOPIC), uint16(1 + number % 60_000)], properties: null, tail: [Buffer.from(String(number))] }))
    this.#publisher.forget()
  }
}

class Subscriber {
  client!: Client
  next = 0
  fault: string | null = null
  longestGapMs = 0
  #lastMs = performance.now()

  static async start (ports: Ports, announced: Announced, version: Version, transport: Transport): Promise<Subscriber> {
    const subscriber = new Subscriber()
    subscriber.client = await connected(ports, announced, version, transport, `steady-${version}`, payload => subscriber.#arrived(payload))
    subscriber.client.say(packed({ first: 0x82, head: [uint16(1)], properties: version < 5 ? null : [], tail: [string(TOPIC), Buffer.from([1])] }))
    await subscriber.client.settle()
    return subscriber
  }

  #arrived (payload: string): void {
    const nowMs = performance.now()
    if (this.next > 0) this.longestGapMs = Math.max(this.longestGapMs, nowMs - this.#lastMs)
    this.#lastMs = nowMs
    if (Number(payload) !== this.next) this.fault ??= `a healthy subscriber expected message ${this.next} and got ${payload}`
    this.next = Number(payload) + 1
    this.client.forget()
  }
}

async function connected (ports: Ports, announced: Announced, version: Version, transport: Transport, clientId: string, onPayload: (payload: string) => void): Promise<Client> {
  const client = await Client.open({ ports, announced, transport, habit: 'at once', random: randomOf(0, 0), onPublish: ({ payload }) => onPayload(payload.toString()) })
  client.say(plainConnect(version, clientId))
  await client.until(() => client.isIn, () => `CONNACK for ${clientId}`)
  return client
}
