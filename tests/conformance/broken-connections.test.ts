// A seeded simulation of two clients whose connections break at any packet, and which change between 3.1.1 and 5.0 as
// they come back. QoS 1 arrives at least once, QoS 2 exactly once, both in order, and no window is ever exceeded.
// A failing seed fails again: `SEED=7 npx vitest run tests/conformance/broken-connections.test.ts`.
import type { Packet } from 'mqtt-packet'
import { expect, test } from 'vitest'
import { startBroker, type TestBroker } from '../support/broker.js'
import { seeded } from '../support/mqtt-bytes.js'
import type { RawClient, Version } from '../support/raw-client.js'
import { join, kept, leave, listener } from './parties.js'
import { publish } from './v5-wire.js'

const MESSAGES = 250
const TOPICS = ['t/0', 't/1', 't/2']
/** What the sender has unacknowledged at most. */
const SENDING = 15

interface Message {
  readonly topic: string
  readonly qos: 1 | 2
  readonly payload: string
}

type Random = () => number

const below = (random: Random, limit: number): number => Math.floor(random() * limit)
const versionOf = (random: Random): Version => random() < 0.5 ? 4 : 5

/** A client as the standard wants it: it remembers what it has begun, and begins nothing twice. */
class Sender {
  readonly sent: Message[] = []
  #open: (Message & { readonly messageId: number, released: boolean })[] = []
  readonly #random: Random

  constructor (random: Random) { this.#random = random }

  get isDone (): boolean { return this.sent.length === MESSAGES && this.#open.length === 0 }

  /** One connection: first what is open is sent again, then new messages, until it breaks. */
  async connection (broker: TestBroker): Promise<void> {
    const version = versionOf(this.#random)
    const { client } = await join(broker, version, kept('sender', version))
    for (const message of this.#open) client.send(message.released ? { cmd: 'pubrel', messageId: message.messageId } : this.#publish(message, true))
    for (let steps = 5 + below(this.#random, 60); steps > 0 && !this.isDone; steps--) {
      while (this.sent.length < MESSAGES && this.#open.length < SENDING) this.#begin(client)
      const { cmd, messageId } = await client.next()
      const message = this.#open.find(open => open.messageId === messageId)
      if (cmd === 'puback' || cmd === 'pubcomp') this.#open = this.#open.filter(open => open !== message)
      if (cmd !== 'pubrec' || message === undefined) continue
      message.released = true
      client.send({ cmd: 'pubrel', messageId: message.messageId })
    }
    client.destroy()
  }

  #begin (client: RawClient): void {
    const number = this.sent.length
    const message = { topic: TOPICS[below(this.#random, TOPICS.length)] ?? '', qos: this.#random() < 0.5 ? 1 : 2, payload: `${number}` } as const
    const open = { ...message, messageId: number % 100 + 1, released: false }
    this.sent.push(message)
    this.#open.push(open)
    client.send(this.#publish(open, false))
  }

  #publish ({ topic, payload, qos, messageId }: Message & { messageId: number }, dup: boolean): Packet {
    return publish(topic, payload, { qos, messageId, dup })
  }
}

/** A client that leaves one packet in ten unanswered and is gone. */
class Receiver {
  /** Every message as often as it has come, a QoS 2 message that came again before its PUBREL once. */
  readonly arrived: Message[] = []
  readonly #unreleased = new Set<number>()
  readonly #random: Random

  constructor (random: Random) { this.#random = random }

  get isDone (): boolean { return new Set(this.arrived.map(({ payload }) => payload)).size === MESSAGES }

  async connection (broker: TestBroker): Promise<void> {
    const version = versionOf(this.#random)
    const receiveMaximum = 1 + below(this.#random, 20)
    const { client } = await join(broker, version, { ...kept('receiver', version), ...(version === 5 && { properties: { sessionExpiryInterval: 100, receiveMaximum } }) })
    const open = new Set<number>()
    for (let steps = 5 + below(this.#random, 40); steps > 0 && !this.isDone; steps--) {
      const packet = await client.next()
      const messageId = packet.messageId ?? 0
      if (packet.cmd === 'publish') {
        expect(open.add(messageId).size).toBeLessThanOrEqual(version === 5 ? receiveMaximum : 20)
        this.#arrived(packet.topic, packet.qos === 1 ? 1 : 2, packet.payload.toString(), messageId)
      }
      if (packet.cmd === 'pubrel') this.#unreleased.delete(messageId)
      if (this.#random() < 0.1) break
      if (packet.cmd === 'publish' && packet.qos === 2) client.send({ cmd: 'pubrec', messageId })
      else {
        client.send({ cmd: packet.cmd === 'pubrel' ? 'pubcomp' : 'puback', messageId })
        open.delete(messageId)
      }
    }
    // Without this the broker hears of the end only when the next connection takes over.
    if (this.#random() < 0.7) client.destroy()
  }

  #arrived (topic: string, qos: 1 | 2, payload: string, messageId: number): void {
    if (qos === 1 || !this.#unreleased.has(messageId)) this.arrived.push({ topic, qos, payload })
    if (qos === 2) this.#unreleased.add(messageId)
  }
}

const seeds = process.env.SEED === undefined ? [1, 2, 3, 4] : [Number(process.env.SEED)]

test.each(seeds)('every message arrives, QoS 2 once, each topic and QoS in order, with seed %i [MQTT-4.4.0-1] [MQTT-4.6.0-5] [MQTT-4.9.0-2]', async seed => {
  const broker = await startBroker()
  await leave(await listener(broker, 5, 't/#', 2, kept('receiver')))
  const sender = new Sender(seeded(seed))
  const receiver = new Receiver(seeded(seed + 1_000))
  const untilDone = async (party: Sender | Receiver): Promise<void> => {
    while (!party.isDone) await party.connection(broker)
  }
  await Promise.all([untilDone(sender), untilDone(receiver)])
  const payloads = (messages: readonly Message[], topic: string, qos: 1 | 2): string[] => messages.filter(message => message.topic === topic && message.qos === qos).map(({ payload }) => payload)
  for (const topic of TOPICS) {
    expect(payloads(receiver.arrived, topic, 2)).toEqual(payloads(sender.sent, topic, 2))
    expect([...new Set(payloads(receiver.arrived, topic, 1))]).toEqual(payloads(sender.sent, topic, 1))
  }
})
