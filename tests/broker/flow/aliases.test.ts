// Topic aliases towards clients, which the broker chooses for busy topics: a client that follows them sees the right
// topic with every message, and is never told a number that it does not take (MQTT 5.0 section 3.3.2.3.4).
import { describe, expect, test } from 'vitest'
import type { IPublishPacket, QoS } from 'mqtt-packet'
import { startBroker, type TestBroker } from '../../support/broker.js'
import { StreamClient, upTo, type StreamOptions } from './stream-client.js'

/** What came, with the topics that the aliases stand for on this connection. */
class AliasReader {
  readonly got: [topic: string, payload: string][] = []
  readonly #known = new Map<number, string>()
  readonly #most: number
  /** Messages whose topic was left out. */
  shortened = 0

  constructor (most: number) {
    this.#most = most
  }

  readonly onMessage = ({ topic, payload, properties }: IPublishPacket): void => {
    const alias = properties?.topicAlias
    let meant: string | undefined = topic
    if (alias !== undefined) {
      if (alias < 1 || alias > this.#most) throw new Error(`the alias ${alias} is not between 1 and ${this.#most}`)
      if (topic === '') {
        this.shortened++
        meant = this.#known.get(alias)
      } else {
        this.#known.set(alias, topic)
      }
    }
    this.got.push([meant ?? '(nothing is known by this alias)', payload.toString().slice(0, 20).trim()])
  }
}

async function reader (broker: TestBroker, filter: string, qos: QoS, { most = 100, clientId, ...options }: { most?: number, clientId?: string, subscribe?: boolean, maximumPacketSize?: number, acks?: boolean, identifier?: number } = {}): Promise<{ client: StreamClient, read: AliasReader }> {
  const read = new AliasReader(most)
  const connect: StreamOptions['connect'] = {
    ...(clientId !== undefined && { clientId, clean: false }),
    properties: { topicAliasMaximum: most, ...(clientId !== undefined && { sessionExpiryInterval: 100 }), ...(options.maximumPacketSize !== undefined && { maximumPacketSize: options.maximumPacketSize }) }
  }
  const client = await StreamClient.connected(broker, { connect, onMessage: read.onMessage, ...(options.acks !== undefined && { acks: options.acks }) })
  if (options.subscribe !== false) {
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: filter, qos }], ...(options.identifier !== undefined && { properties: { subscriptionIdentifier: options.identifier } }) })
    await client.until(() => client.seen.suback === 1, 'SUBACK')
  }
  return { client, read }
}

/** `rounds` messages on each of `topics` topics, one topic after the other in each round. */
function rounds (topics: number, rounds: number): [string, string][] {
  return upTo(topics * rounds).map(number => [`hot/topic/${(number - 1) % topics}`, String(number)])
}

async function publishAll (broker: TestBroker, all: readonly [string, string][], qos: QoS): Promise<void> {
  const sender = await StreamClient.connected(broker, { version: 4 })
  await sender.publishNumbered(number => all[number - 1]?.[0] ?? '', all.length, qos)
  await sender.published(all.length, qos)
}

test.each<[QoS, number]>([[0, 1], [1, 5], [2, 100]])('a busy topic is left out once the client knows it, QoS %i, at most %i aliases', async (qos, most) => {
  const broker = await startBroker()
  const { client, read } = await reader(broker, 'hot/#', qos, { most })
  const all = rounds(1, 200)
  await publishAll(broker, all, qos)
  await client.until(() => client.count === 200, 'everything')
  expect(read.got).toEqual(all)
  expect(read.shortened).toBeGreaterThan(150)
})

test.each<[string, StreamOptions]>([
  ['no Topic Alias Maximum', {}], ['a maximum of 0', { connect: { properties: { topicAliasMaximum: 0 } } }], ['an older version', { version: 4 }]
])('none goes to a client with %s', async (_, options) => {
  const broker = await startBroker()
  const client = await StreamClient.subscriber(broker, 'hot/#', 1, options)
  await publishAll(broker, rounds(1, 100), 1)
  await client.until(() => client.count === 100, 'everything')
  expect(client.numbers('hot/topic/0')).toEqual(upTo(100))
})

test.each<[QoS, number]>([[0, 64], [1, 64], [1, 10], [2, 200]])('numbers are used again after 200 busy topics, and every topic is right; QoS %i, at most %i', async (qos, most) => {
  const broker = await startBroker()
  const { client, read } = await reader(broker, 'hot/#', qos, { most })
  const all = rounds(200, 25)
  await publishAll(broker, all, qos)
  await client.until(() => client.count === all.length, 'everything')
  expect(read.got).toEqual(all)
})

test('messages that waited while their number came to mean another topic are right as well', async () => {
  const broker = await startBroker()
  const { client, read } = await reader(broker, 'hot/#', 1, { acks: false })
  // Each topic becomes busy and gets a number while the client takes nothing.
  const all: [string, string][] = upTo(900).map(number => [`hot/topic/${Math.floor((number - 1) / 12)}`, String(number)])
  await publishAll(broker, all, 1)
  client.acks = true
  client.ackOpen()
  await client.until(() => client.count === all.length, 'everything')
  expect(read.got).toEqual(all)
})

test.each<[QoS]>([[1], [2]])('over a reconnect a client knows nothing: QoS %i', async qos => {
  const broker = await startBroker()
  const first = await reader(broker, 'hot/#', qos, { clientId: 'c', acks: false })
  const all = rounds(3, 30)
  await publishAll(broker, all, qos)
  await first.client.ping()
  first.client.stream.destroy()
  await first.client.closed()
  const again = await reader(broker, 'hot/#', qos, { clientId: 'c', subscribe: false })
  await again.client.until(() => again.client.count >= all.length, 'everything')
  expect(again.read.got).toEqual(all)
})

test('what is sent again is right for a client that takes fewer aliases than before', async () => {
  const broker = await startBroker()
  const all = rounds(30, 20)
  const first = await reader(broker, 'hot/#', 1, { clientId: 'c', most: 64, acks: false })
  await publishAll(broker, all, 1)
  first.client.stream.destroy()
  await first.client.closed()
  const again = await reader(broker, 'hot/#', 1, { clientId: 'c', most: 2, subscribe: false })
  await again.client.until(() => again.client.count >= all.length, 'everything')
  expect(again.read.got).toEqual(all)
})

describe('mixed', () => {
  test('subscriptions with and without identifiers, small and large payloads, with and without expiry', async () => {
    const broker = await startBroker()
    const plain = await reader(broker, 'hot/#', 1)
    const identified = await reader(broker, 'hot/#', 2, { identifier: 268_435_455 })
    identified.client.send({ cmd: 'subscribe', messageId: 2, subscriptions: [{ topic: 'hot/topic/other', qos: 1 }], properties: { subscriptionIdentifier: 5 } })
    await identified.client.until(() => identified.client.seen.suback === 2, 'SUBACK')
    const sender = await StreamClient.connected(broker)
    const all: [string, string][] = []
    for (const i of upTo(300)) {
      const topic = i % 3 === 0 ? 'hot/topic/other' : 'hot/topic/one'
      all.push([topic, `m${i}`])
      const payload = i % 7 === 0 ? `m${i}`.padEnd(20_000) : `m${i}`
      sender.send({
        cmd: 'publish', topic, payload, qos: (i % 3) as QoS, ...(i % 3 > 0 && { messageId: i }), dup: false, retain: false,
        ...(i % 5 === 0 && { properties: { messageExpiryInterval: 1_000, userProperties: { n: String(i) } } })
      })
    }
    for (const { client, read } of [plain, identified]) {
      await client.until(() => client.count === 300, 'everything')
      // QoS 0 does not wait for the window, so only each QoS has an order.
      for (const qos of [0, 1, 2]) {
        const ofQos = (list: [string, string][]): [string, string][] => list.filter(([, payload]) => Number(payload.slice(1)) % 3 === qos)
        expect(ofQos(read.got)).toEqual(ofQos(all))
      }
    }
    expect(plain.read.shortened).toBeGreaterThan(200)
  })

  test('QoS 1 behind QoS 2 that waits for the disk, on a persistent session', async () => {
    const broker = await startBroker()
    const { client, read } = await reader(broker, 'hot/#', 2, { clientId: 'c' })
    const sender = await StreamClient.connected(broker, { version: 4 })
    for (const i of upTo(900)) sender.send({ cmd: 'publish', topic: `hot/topic/${i % 4}`, payload: String(i), qos: (1 + i % 2) as QoS, messageId: i, dup: false, retain: false })
    await client.until(() => client.count === 900, 'everything')
    expect(read.got.filter(([topic, payload]) => topic !== `hot/topic/${Number(payload) % 4}`)).toEqual([])
    for (const rest of [0, 1]) {
      const numbers = read.got.map(([, payload]) => Number(payload)).filter(number => number % 2 === rest)
      expect(numbers).toEqual([...numbers].sort((a, b) => a - b))
    }
  })

  test('a message that is too large for the client does not take the meaning of its number along', async () => {
    const broker = await startBroker()
    const { client, read } = await reader(broker, 'hot/#', 1, { maximumPacketSize: 200 })
    const sender = await StreamClient.connected(broker)
    // The one that would say the alias first is one that the client does not take.
    for (const i of upTo(30)) sender.send({ cmd: 'publish', topic: 'hot/topic', payload: i === 10 ? 'x'.repeat(300) : String(i), qos: 1, messageId: i, dup: false, retain: false })
    await client.until(() => client.count === 29, 'everything that it takes')
    expect(read.got).toEqual(upTo(30).filter(i => i !== 10).map(i => ['hot/topic', String(i)]))
  })

  test('an alias costs no client a message that fits without it', async () => {
    const broker = await startBroker()
    const topic = 'hot/topic'
    const payload = 'x'.repeat(100)
    // The packet without properties, to the byte.
    const maximumPacketSize = 2 + 2 + topic.length + 2 + 1 + payload.length
    const { client } = await reader(broker, 'hot/#', 1, { maximumPacketSize })
    const sender = await StreamClient.connected(broker)
    for (const i of upTo(20)) sender.send({ cmd: 'publish', topic, payload, qos: 1, messageId: i, dup: false, retain: false })
    await sender.published(20, 1)
    await client.ping()
    expect(client.count).toBe(20)
  })
})
