// What one client may ask of the broker: each limit with what the client is told, that it can go on where that is
// possible, and the counter by which an operator sees it.
import { connect } from 'node:net'
import { once } from 'node:events'
import { describe, expect, test } from 'vitest'
import type { Packet, QoS } from 'mqtt-packet'
import { ACCEPTED, type Consumer, type Delivery, type Outcome } from '../../../shared/bus.js'
import { afterThisTest, startBroker, type BrokerOptions, type TestBroker } from '../../support/broker.js'
import { RawClient, type Transport } from '../../support/raw-client.js'
import { StreamClient, upTo } from './stream-client.js'

type PublishOptions = { messageId?: number, retain?: boolean, properties?: object }
const publish = (topic: string, payload: string, qos: QoS, options: PublishOptions = {}): Packet => ({ cmd: 'publish', topic, payload, qos, dup: false, retain: false, ...options })

/** A consumer that settles nothing before it is let go. */
class Gate implements Consumer {
  letGo: () => void = () => {}
  readonly #open = new Promise<void>(resolve => { this.letGo = resolve })

  async handle (deliveries: readonly Delivery[]): Promise<readonly Outcome[]> {
    await this.#open
    return deliveries.map(() => ACCEPTED)
  }
}

/** A broker that acknowledges nothing on `requests/+` until the test is over. */
async function holdingBroker (limits: NonNullable<BrokerOptions['limits']>): Promise<TestBroker> {
  const gate = new Gate()
  const broker = await startBroker({ limits, prepare: async ({ bus }) => await bus.consume('requests/+', gate) })
  afterThisTest(() => gate.letGo())
  return broker
}

/** A place is given back when the broker has seen the end of a connection, a moment after its client has. */
async function connectedAtLast (ports: TestBroker, transport: Transport): Promise<RawClient> {
  for (let tries = 1; ; tries++) {
    try {
      return await RawClient.connected(ports, 5, { transport })
    } catch (error) {
      if (tries === 200) throw error
    }
  }
}

describe('receiveMaximum', () => {
  const limits = { receiveMaximum: 5 }

  test('QoS 1 and 2 count together: one more than it ends the connection with 0x93', async () => {
    const broker = await holdingBroker(limits)
    const client = await RawClient.connected(broker)
    client.send(...[1, 2, 1, 2, 1].map((qos, i) => publish('requests/x', 'x', qos as QoS, { messageId: i + 1 })))
    expect(await client.flushed()).toEqual([])
    client.send(publish('requests/x', 'x', 1, { messageId: 6 }))
    await client.closed()
    expect(client.packets.at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode: 0x93 })
    expect(await broker.count('broker_malformed_packets_total{reason=0x93}')).toBe(1)
  })

  test('PUBACK, PUBCOMP and a refusing PUBREC give a place back; PUBREC and a repeat neither give nor take one', async () => {
    const broker = await startBroker({ limits })
    const client = await RawClient.connected(broker)
    for (let round = 0; round < 20; round++) {
      client.send(publish('t', 'x', 1, { messageId: 100 }))
      await client.nextOf('puback')
      client.send(publish('lots/A/free', 'forged', 2, { messageId: 101 }))
      expect(await client.nextOf('pubrec')).toMatchObject({ reasonCode: 0x87 })
    }
    for (const messageId of upTo(5)) {
      client.send(publish('t', 'x', 2, { messageId }))
      await client.nextOf('pubrec')
    }
    for (const messageId of upTo(5)) {
      client.send(publish('t', 'x', 2, { messageId }))
      await client.nextOf('pubrec')
    }
    client.send({ cmd: 'pubrel', messageId: 3 })
    await client.nextOf('pubcomp')
    client.send(publish('t', 'x', 2, { messageId: 6 }))
    await client.nextOf('pubrec')
    client.send(publish('t', 'x', 2, { messageId: 7 }))
    await client.closed()
    expect(client.packets.at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode: 0x93 })
  })

  test('QoS 0 needs no place, and an older client was never told of it', async () => {
    const broker = await holdingBroker(limits)
    const client = await RawClient.connected(broker)
    client.send(...upTo(50).map(() => publish('requests/x', 'x', 0)))
    await client.flushed()
    const older = await RawClient.connected(broker, 4)
    older.send(...upTo(50).map(messageId => publish('requests/x', 'x', 1, { messageId })))
    await older.flushed()
    expect([client.isClosed, older.isClosed]).toEqual([false, false])
  })
})

describe('publishesPerSecond', () => {
  test('a client above it is read more slowly and loses nothing; another is not', async () => {
    const broker = await startBroker({ limits: { publishesPerSecond: 400 } })
    const subscriber = await StreamClient.subscriber(broker, 't', 1, { version: 4 })
    const sender = await StreamClient.connected(broker, { version: 4 })
    const startedMs = performance.now()
    await sender.publishNumbered('t', 1_000, 1)
    const other = await StreamClient.connected(broker)
    await other.publishNumbered('other', 1, 1)
    await other.published(1, 1)
    expect(sender.seen.puback ?? 0).toBeLessThan(1_000)
    await sender.published(1_000, 1)
    // One second's worth goes at once, the rest at the rate; a machine under load makes it longer.
    expect(performance.now() - startedMs).toBeGreaterThan(1_300)
    await subscriber.until(() => subscriber.count === 1_000, 'everything')
    expect(subscriber.numbers('t')).toEqual(upTo(1_000))
  })

  test('it is counted', async () => {
    const broker = await startBroker({ limits: { publishesPerSecond: 20 } })
    const sender = await StreamClient.connected(broker)
    await sender.publishNumbered('t', 30, 0)
    await sender.ping()
    expect(await broker.count('broker_over_limit_total{limit=publishes}')).toBeGreaterThan(0)
  })
})

describe('connectionsPerAddress', () => {
  test.each(['tcp', 'ws'] as const)('one more is closed at once over %s, and there is room again when another leaves', async transport => {
    const broker = await startBroker({ limits: { connectionsPerAddress: 3 } })
    const clients = [await RawClient.connected(broker), await RawClient.connected(broker, 4), await RawClient.connected(broker, 5, { transport: 'ws' })]
    for (let i = 0; i < 3; i++) await expect(RawClient.connected(broker, 5, { transport })).rejects.toThrow()
    expect(await broker.count('broker_over_limit_total{limit=connectionsPerAddress}')).toBe(3)
    for (const client of clients) await client.flushed()
    clients[0]?.send({ cmd: 'disconnect' })
    await clients[0]?.closed()
    await (await connectedAtLast(broker, transport)).flushed()
  })

  test('connections that were never let in give their places back', async () => {
    const broker = await startBroker({ limits: { connectionsPerAddress: 3 } })
    for (let round = 0; round < 10; round++) {
      const reset = connect(broker.port, '127.0.0.1')
      await once(reset, 'connect')
      reset.resetAndDestroy()
      await once(reset, 'close')
      const client = await connectedAtLast(broker, 'ws')
      client.destroy()
      const bad = await RawClient.open(broker)
      bad.write('30000000')
      await bad.closed()
      bad.destroy()
    }
    await (await connectedAtLast(broker, 'tcp')).flushed()
  })

  test('the limit of all connections has its own name', async () => {
    const broker = await startBroker({ limits: { connections: 1 } })
    await RawClient.connected(broker)
    await expect(RawClient.connected(broker)).rejects.toThrow()
    expect(await broker.count('broker_over_limit_total{limit=connections}')).toBe(1)
  })
})

describe('connectTimeoutMs', () => {
  test.each(['tcp', 'ws'] as const)('who says nothing, or half a CONNECT, is closed over %s; who is in may be silent', async transport => {
    const broker = await startBroker({ limits: { connectTimeoutMs: 150 } })
    const silent = await RawClient.open(broker, 5, transport)
    const half = await RawClient.open(broker, 5, transport)
    half.write('100d00044d51')
    const inside = await RawClient.connected(broker, 5, { transport })
    await silent.closed()
    await half.closed()
    await inside.flushed()
    expect(await broker.count('broker_connection_errors_total')).toBeGreaterThanOrEqual(2)
  })
})

describe('subscriptionsPerClient', () => {
  test.each<[4 | 5, number]>([[5, 0x97], [4, 0x80]])('one more is refused in SUBACK of version %i with %i; replacing works, and one that goes makes room', async (version, code) => {
    const broker = await startBroker({ limits: { subscriptionsPerClient: 3 } })
    const client = await RawClient.connected(broker, version)
    const subscribe = async (...topics: string[]): Promise<unknown[]> => {
      client.send({ cmd: 'subscribe', messageId: 1, subscriptions: topics.map(topic => ({ topic, qos: 1 })) })
      return (await client.nextOf('suback')).granted
    }
    expect(await subscribe('a', 'b', '$share/g/c', 'd', 'a')).toEqual([1, 1, 1, code, 1])
    client.send({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['$share/g/c'] })
    await client.nextOf('unsuback')
    expect(await subscribe('d', 'e')).toEqual([1, code])
    client.send(publish('e', 'refused', 0), publish('d', 'granted', 0))
    expect(await client.nextOf('publish')).toMatchObject({ topic: 'd' })
    expect(await broker.count('broker_over_limit_total{limit=subscriptions}')).toBe(2)
  })

  test('one SUBSCRIBE with tens of thousands of filters does not stop the others', async () => {
    const broker = await startBroker()
    const other = await RawClient.connected(broker)
    for (const i of upTo(3_000)) other.send(publish(`r/${i}/x`, 'x', 0, { retain: true }))
    await other.flushed()
    const hostile = await RawClient.connected(broker)
    hostile.send({ cmd: 'subscribe', messageId: 1, subscriptions: upTo(20_000).map(() => ({ topic: '+/+/y', qos: 0 })) })
    // A walk along all retained messages for each filter, in one turn, would take longer than both have patience.
    await hostile.nextOf('suback')
    await other.flushed()
  })
})

describe('topicLevels and topicBytes', () => {
  const limits = { topicLevels: 4, topicBytes: 30 }
  const long = 'ä'.repeat(16)

  test.each([['levels', 'a/b/c/d/e'], ['bytes in UTF-8', long], ['empty levels', '////']])('a topic with too many %s is refused with 0x90, QoS 0 is dropped, and the client goes on', async (_, topic) => {
    const broker = await startBroker({ limits })
    const client = await StreamClient.subscriber(broker, '#', 0)
    const raw = await RawClient.connected(broker)
    raw.send(publish(topic, 'x', 0), publish(topic, 'x', 1, { messageId: 1 }), publish(topic, 'x', 2, { messageId: 2 }))
    expect(await raw.nextOf('puback')).toMatchObject({ messageId: 1, reasonCode: 0x90 })
    expect(await raw.nextOf('pubrec')).toMatchObject({ messageId: 2, reasonCode: 0x90 })
    // By an alias as well.
    raw.send(publish(topic, 'x', 0, { properties: { topicAlias: 1 } }), publish('', 'x', 1, { messageId: 3, properties: { topicAlias: 1 } }))
    expect(await raw.nextOf('puback')).toMatchObject({ messageId: 3, reasonCode: 0x90 })
    raw.send(publish('a/b/c/d', 'fits', 1, { messageId: 4 }))
    expect(await raw.nextOf('puback')).toMatchObject({ messageId: 4 })
    await client.until(() => client.count > 0, 'the one that fits')
    expect([...client.got.keys()]).toEqual(['a/b/c/d'])
    expect(await broker.count('broker_malformed_packets_total{reason=0x90}')).toBe(5)
  })

  test.each([['levels', 'a/b/c/d/e'], ['bytes', long]])('a will with too many %s is refused at CONNECT', async (_, topic) => {
    const broker = await startBroker({ limits })
    const client = await RawClient.open(broker)
    const connack = await client.connect({ will: { topic, payload: Buffer.from('x'), qos: 1, retain: false } })
    expect(connack.reasonCode).toBe(0x90)
    await client.closed()
    expect(await broker.count('broker_malformed_packets_total{reason=0x90}')).toBe(1)
  })

  test.each<[4 | 5, number]>([[5, 0x8f], [4, 0x80]])('a filter beyond them is refused in SUBACK of version %i with %i', async (version, code) => {
    const broker = await startBroker({ limits })
    const client = await RawClient.connected(broker, version)
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: ['a/b/c/d/#', long, 'a/b/c/#'].map(topic => ({ topic, qos: 0 })) })
    expect((await client.nextOf('suback')).granted).toEqual([code, code, 0])
    expect(await broker.count('broker_over_limit_total{limit=subscriptions}')).toBe(2)
  })

  test('the services are told as well', async () => {
    const broker = await startBroker({ limits })
    await expect(broker.bus.publish('a/b/c/d/e', 'x')).rejects.toThrow('a/b/c/d/e')
  })
})

describe('packetBytes', () => {
  test.each(['tcp', 'ws'] as const)('one byte more is refused with 0x95 at its header over %s, the exact size is taken', async transport => {
    const broker = await startBroker({ limits: { packetBytes: 2_000 } })
    const client = await RawClient.connected(broker, 5, { transport })
    const size = (bytes: number): Packet => publish('t', 'x'.repeat(bytes - 1 - 2 - 2 - 1 - 2 - 1), 1, { messageId: 1 })
    client.send(size(2_000))
    expect(await client.nextOf('puback')).toMatchObject({ messageId: 1 })
    client.write('32d10f')
    await client.closed()
    expect(client.packets.at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode: 0x95 })
    expect(await broker.count('broker_malformed_packets_total{reason=0x95}')).toBe(1)
  })
})

describe('retained messages', () => {
  const retain = { retain: true }

  test('at the limit of messages: 0x97 for a new topic and nobody gets it; replacing and deleting work', async () => {
    const broker = await startBroker({ limits: { retainedMessages: 2 } })
    const watcher = await StreamClient.subscriber(broker, '#', 0)
    const client = await RawClient.connected(broker)
    const say = async (topic: string, payload: string, qos: QoS): Promise<number> => {
      client.send(publish(topic, payload, qos, { messageId: 1, ...retain }))
      const { reasonCode } = await client.nextOf(qos === 1 ? 'puback' : 'pubrec')
      if (qos === 2) client.send({ cmd: 'pubrel', messageId: 1 })
      return reasonCode ?? 0
    }
    expect([await say('a', '1', 1), await say('b', '1', 2), await say('c', '1', 1), await say('c', '1', 2), await say('a', '2', 1)]).toEqual([0, 0, 0x97, 0x97, 0])
    client.send(publish('c', 'QoS 0', 0, retain))
    expect(await say('b', '', 1)).toBe(0)
    expect(await say('d', '1', 1)).toBe(0)
    await watcher.ping()
    expect([...watcher.got]).toEqual([['a', ['1', '2']], ['b', ['1', '']], ['d', ['1']]])
    expect(await broker.count('broker_over_limit_total{limit=retained}')).toBe(3)
    // What is not retained needs no room.
    client.send(publish('c', 'x', 1, { messageId: 9 }))
    expect((await client.nextOf('puback')).reasonCode ?? 0).toBe(0)
  })

  test.each([['payload', (i: number) => publish(`r/${i}`, 'x'.repeat(40_000), 1, { messageId: i, ...retain })], ['properties', (i: number) => publish(`r/${i}`, 'x', 1, { messageId: i, ...retain, properties: { userProperties: { k: 'v'.repeat(40_000) } } })]])('at the limit of bytes, by their %s', async (_, packet) => {
    const broker = await startBroker({ limits: { retainedBytes: 100_000 } })
    const client = await RawClient.connected(broker)
    client.send(...upTo(4).map(packet))
    const codes = [await client.nextOf('puback'), await client.nextOf('puback'), await client.nextOf('puback'), await client.nextOf('puback')].map(({ reasonCode }) => reasonCode ?? 0)
    expect(codes).toEqual([0, 0, 0x97, 0x97])
    expect(await broker.count('broker_over_limit_total{limit=retained}')).toBe(2)
  })

  test('a retained will that has no room is counted, and nobody gets it', async () => {
    const broker = await startBroker({ limits: { retainedMessages: 0 } })
    const watcher = await StreamClient.subscriber(broker, '#', 0)
    const client = await RawClient.connected(broker, 5, { will: { topic: 'w', payload: Buffer.from('x'), qos: 1, retain: true } })
    client.send({ cmd: 'disconnect', reasonCode: 4 })
    await client.closed()
    const sender = await RawClient.connected(broker)
    sender.send(publish('end', 'x', 0))
    await watcher.until(() => watcher.count > 0, 'the end')
    expect([...watcher.got.keys()]).toEqual(['end'])
    expect(await broker.count('broker_over_limit_total{limit=retained}')).toBe(1)
  })
})

test('pendingSessions: one more is not kept, is counted, and those before it are there', async () => {
  const broker = await startBroker({ limits: { pendingSessions: 2 } })
  const present = async (clientId: string): Promise<boolean> => {
    const client = await RawClient.open(broker)
    const { sessionPresent } = await client.connect({ clientId, clean: false, properties: { sessionExpiryInterval: 100 } })
    client.send({ cmd: 'disconnect' })
    await client.closed()
    return sessionPresent
  }
  for (const clientId of ['a', 'b', 'c']) expect(await present(clientId)).toBe(false)
  expect(await broker.count('broker_over_limit_total{limit=sessions}')).toBe(1)
  expect(await present('a')).toBe(true)
  expect(await present('c')).toBe(false)
  expect(await present('b')).toBe(true)
})
