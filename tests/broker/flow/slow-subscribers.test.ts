// Slow subscribers of every kind beside healthy ones: what each loses, by which policy, and that nobody else loses or
// waits for anything. Small and bounded; the long runs are benches.
import { describe, expect, test } from 'vitest'
import type { QoS } from 'mqtt-packet'
import { startBroker, temporaryFolder, type TestBroker } from '../../support/broker.js'
import type { Transport, Version } from '../../support/raw-client.js'
import { StreamClient, upTo, type StreamOptions } from './stream-client.js'

const KINDS = ([4, 5] as const).flatMap(version => ([1, 2] as const).flatMap(qos => (['tcp', 'ws'] as const).flatMap(transport => [true, false].map(clean => [version, qos, transport, clean ? 'clean' : 'persistent'] as [Version, QoS, Transport, string]))))

function kept (clientId: string, { version = 5, receiveMaximum }: { version?: Version, receiveMaximum?: number } = {}): NonNullable<StreamOptions['connect']> {
  return { clientId, clean: false, ...(version === 5 && { properties: { sessionExpiryInterval: 100, ...(receiveMaximum !== undefined && { receiveMaximum }) } }) }
}

/** What the broker had to say until now has been said. */
async function settled (...clients: StreamClient[]): Promise<void> {
  for (let round = 0; round < 3; round++) for (const client of clients) await client.ping()
}

/** Everything that waits for a client which acknowledges has come: some answers long nothing came between. */
async function drained (client: StreamClient): Promise<void> {
  for (let quiet = 0, before = -1; quiet < 10; quiet++, before = client.count) {
    await client.ping()
    if (client.count !== before) quiet = 0
  }
}

/** A client without a Receive Maximum to keep to. */
async function senderTo (broker: TestBroker): Promise<StreamClient> {
  return await StreamClient.connected(broker, { version: 4 })
}

describe.each(KINDS)('the window: version %i, QoS %i, %s, %s', (version, qos, transport, life) => {
  test('is the smaller of Receive Maximum and maxInflight, also over reconnects, and each end of an exchange moves it by one', async () => {
    const broker = await startBroker({ limits: { maxInflight: 7 } })
    const window = version === 5 ? 5 : 7
    const connect = life === 'persistent'
      ? kept('slow', { version, receiveMaximum: 5 })
      : { ...(version === 5 && { properties: { receiveMaximum: 5 } }) }
    const options = { version, transport, acks: false, connect }
    const first = await StreamClient.subscriber(broker, 't', qos, options)
    const sender = await senderTo(broker)
    await sender.publishNumbered('t', 60, qos)
    await sender.published(60, qos)
    await settled(sender, first)
    expect(first.numbers('t')).toEqual(upTo(window))
    let slow = first
    let got = window
    if (life === 'persistent') {
      for (let reconnect = 0; reconnect < 3; reconnect++) {
        slow.stream.destroy()
        slow = await StreamClient.connected(broker, options)
        await settled(sender, slow)
        expect(slow.numbers('t')).toEqual(upTo(window))
      }
    }
    for (; got < 12; got++) {
      const [messageId = 0] = slow.open.keys()
      slow.send({ cmd: qos === 1 ? 'puback' : 'pubrec', messageId })
      if (qos === 2) {
        const before = slow.seen.pubrel ?? 0
        await slow.until(() => (slow.seen.pubrel ?? 0) > before, 'PUBREL')
        await settled(slow)
        expect(slow.numbers('t')).toHaveLength(got)
        slow.send({ cmd: 'pubcomp', messageId })
      }
      slow.open.delete(messageId)
      await slow.until(() => slow.numbers('t').length > got, 'the next message')
      await settled(slow)
      expect(slow.numbers('t')).toEqual(upTo(got + 1))
    }
    expect(Math.max(first.mostOpen, slow.mostOpen)).toBe(window)
    slow.acks = true
    slow.ackOpen()
    await slow.until(() => slow.numbers('t').length === 60, 'the rest')
    expect(slow.numbers('t')).toEqual(upTo(60))
    expect(slow.mostOpen).toBe(window)
  })
})

test.each<QoS>([1, 2])('a smaller Receive Maximum at a reconnect holds for what is sent again, QoS %i', async qos => {
  const broker = await startBroker()
  const slow = await StreamClient.subscriber(broker, 't', qos, { acks: false, connect: kept('slow') })
  const sender = await senderTo(broker)
  await sender.publishNumbered('t', 40, qos)
  await sender.published(40, qos)
  await slow.until(() => slow.count === 20, 'a full window')
  slow.stream.destroy()
  await slow.closed()
  const back = await StreamClient.connected(broker, { acks: false, connect: kept('slow', { receiveMaximum: 3 }) })
  await settled(sender, back)
  expect(back.numbers('t')).toEqual(upTo(3))
  back.acks = true
  back.ackOpen()
  await back.until(() => back.count === 40, 'everything')
  expect([back.numbers('t'), back.mostOpen]).toEqual([upTo(40), 3])
})

test('a PUBREC that refuses, and nothing else unexpected, moves the window', async () => {
  const broker = await startBroker({ limits: { maxInflight: 2 } })
  const slow = await StreamClient.subscriber(broker, 't', 2, { acks: false })
  const sender = await senderTo(broker)
  await sender.publishNumbered('t', 10, 2)
  await sender.published(10, 2)
  const [a = 0, b = 0] = slow.open.keys()
  slow.send({ cmd: 'puback', messageId: a }, { cmd: 'pubrec', messageId: a, reasonCode: 0x83 }, { cmd: 'pubrec', messageId: a, reasonCode: 0x83 })
  slow.open.delete(a)
  await settled(slow)
  expect(slow.numbers('t')).toEqual(upTo(3))
  slow.send({ cmd: 'pubrec', messageId: b }, { cmd: 'pubrec', messageId: b })
  await settled(slow)
  expect(slow.numbers('t')).toEqual(upTo(3))
})

describe('conflate', () => {
  test.each([['connected'], ['away']])('keeps exactly the newest per topic for a client that is %s', async where => {
    const broker = await startBroker({ limits: { maxInflight: 1 } })
    const slow = await StreamClient.subscriber(broker, 'sensors/+/status', 1, { acks: false, connect: kept('slow') })
    const sender = await senderTo(broker)
    // Fills the window.
    await sender.publishNumbered('sensors/first/status', 1, 1)
    await sender.published(1, 1)
    if (where === 'away') {
      slow.stream.destroy()
      await slow.closed()
    }
    await sender.publishNumbered(number => `sensors/${number % 5}/status`, 5_000, 1)
    await sender.published(5_001, 1)
    slow.stream.destroy()
    const back = await StreamClient.connected(broker, { connect: kept('slow') })
    await settled(sender, back)
    expect(back.count).toBe(6)
    for (const i of upTo(5)) expect(back.numbers(`sensors/${i % 5}/status`)).toEqual([4_995 + i])
  })

  test('QoS 0 to a socket that is not read is conflated, and the newest comes when it is read again', async () => {
    const broker = await startBroker()
    const slow = await StreamClient.subscriber(broker, 'sensors/+/status', 0)
    const sender = await senderTo(broker)
    slow.stream.pause()
    await sender.publishNumbered(number => `sensors/${number % 3}/status`, 12_000, 0, 1_500)
    await settled(sender)
    slow.stream.resume()
    for (const i of [0, 1, 2]) await slow.until(() => slow.numbers(`sensors/${i}/status`).includes(12_000 - (12_000 - i) % 3), 'the newest')
    await settled(slow)
    expect(slow.count).toBeLessThan(11_000)
    for (const i of [0, 1, 2]) {
      const numbers = slow.numbers(`sensors/${i}/status`)
      expect(numbers).toEqual([...numbers].sort((a, b) => a - b))
      expect(numbers.at(-1)).toBe([12_000, 11_998, 11_999][i])
    }
  })
})

describe('drop-oldest', () => {
  test.each([['connected'], ['away']])('keeps the newest 1,000 in order for a client that is %s', async where => {
    const broker = await startBroker()
    const slow = await StreamClient.subscriber(broker, 'lots/+/sensor', 1, { acks: false, connect: kept('slow') })
    const sender = await senderTo(broker)
    await sender.publishNumbered('lots/A/sensor', 20, 1)
    await sender.published(20, 1)
    if (where === 'away') {
      slow.stream.destroy()
      await slow.closed()
    }
    await sender.publishNumbered('lots/A/sensor', 3_000, 1)
    await sender.published(3_020, 1)
    slow.stream.destroy()
    const back = await StreamClient.connected(broker, { connect: kept('slow') })
    await back.until(() => back.count === 1_020, '1,020 messages')
    await settled(sender, back)
    expect(back.numbers('lots/A/sensor')).toEqual([...upTo(20), ...upTo(3_000, 2_001)])
  })

  test('what was dropped is gone from the stored queue as well', async () => {
    const data = temporaryFolder()
    const limits = { queueMessages: 50, maxInflight: 5 }
    const broker = await startBroker({ data, limits })
    const slow = await StreamClient.subscriber(broker, [{ topic: 't', qos: 1 }, { topic: 'sensors/+/status', qos: 2 }], 1, { acks: false, connect: kept('slow') })
    const sender = await senderTo(broker)
    await sender.publishNumbered('t', 400, 1)
    await sender.published(400, 1)
    await sender.publishNumbered(number => `sensors/${number % 2}/status`, 200, 1)
    await sender.published(600, 1)
    expect(slow.numbers('t')).toEqual(upTo(5))
    await broker.close()
    // With more room than before: what comes now is what was stored.
    const again = await startBroker({ data, limits: { queueMessages: 100_000 } })
    const back = await StreamClient.connected(again, { connect: kept('slow') })
    await back.until(() => back.count >= 57, 'what was stored')
    await settled(back)
    expect(back.numbers('t')).toEqual([...upTo(5), ...upTo(400, 351)])
    expect([back.numbers('sensors/0/status'), back.numbers('sensors/1/status')]).toEqual([[200], [199]])
  })
})

describe('never', () => {
  test('a client that lets its replies pile up is told 0x97, and nothing was dropped before', async () => {
    const broker = await startBroker()
    const slow = await StreamClient.subscriber(broker, 'replies/slow', 1, { acks: false })
    const sender = await senderTo(broker)
    await sender.publishNumbered('replies/slow', 1_020, 1)
    await sender.published(1_020, 1)
    await settled(sender, slow)
    expect(slow.isClosed).toBe(false)
    await sender.publishNumbered('replies/slow', 1, 1)
    await slow.closed()
    expect(slow.told).toBe(0x97)
    expect(slow.numbers('replies/slow')).toEqual(upTo(20))
  })

  test('replies that the services publish are never dropped, wherever they go', async () => {
    const broker = await startBroker({ limits: { queueMessages: 10, maxInflight: 1 } })
    const slow = await StreamClient.subscriber(broker, 'my/own/topic', 1, { acks: false })
    const properties = { correlationData: Buffer.from('c') }
    for (const i of upTo(11)) await broker.bus.publish('my/own/topic', String(i), { qos: 1, properties })
    slow.acks = true
    slow.ackOpen()
    await slow.until(() => slow.count === 11, 'all replies')
    expect(slow.numbers('my/own/topic')).toEqual(upTo(11))
  })

  test('a client that is away keeps its states though replies pile up for it', async () => {
    const broker = await startBroker({ limits: { queueMessages: 50 } })
    const slow = await StreamClient.subscriber(broker, [{ topic: 'replies/#', qos: 1 }, { topic: 'sensors/+/status', qos: 1 }], 1, { connect: kept('slow') })
    slow.stream.destroy()
    await slow.closed()
    const sender = await senderTo(broker)
    await sender.publishNumbered('sensors/a/status', 5, 1)
    await sender.publishNumbered('replies/slow', 60, 1)
    await sender.published(65, 1)
    const back = await StreamClient.connected(broker, { connect: kept('slow') })
    await back.until(() => back.numbers('replies/slow').includes(60), 'the last reply')
    await settled(back)
    expect(back.numbers('replies/slow')).toEqual(upTo(60, 11))
    expect(back.numbers('sensors/a/status')).toEqual([5])
  })

  test('retained messages at subscribe are paced, and all come to a slow one', async () => {
    const broker = await startBroker({ limits: { queueMessages: 20, maxInflight: 3 } })
    const sender = await senderTo(broker)
    for (const i of upTo(300)) sender.send({ cmd: 'publish', topic: `r/${i}`, payload: String(i), qos: 1, messageId: i, retain: true, dup: false })
    await sender.published(300, 1)
    const slow = await StreamClient.subscriber(broker, 'r/#', 1, { acks: false })
    await settled(slow)
    expect(slow.count).toBe(3)
    slow.acks = true
    slow.ackOpen()
    await slow.until(() => slow.count === 300, 'all of them')
    expect(slow.got.size).toBe(300)
    expect(slow.mostOpen).toBe(3)
  })
})

/** Healthy subscribers of several kinds. */
async function healthyOnes (broker: TestBroker, filter: string): Promise<StreamClient[]> {
  const kinds: [QoS, StreamOptions][] = [[0, {}], [1, { version: 4 }], [2, { transport: 'ws' }], [1, { connect: kept('healthy') }]]
  return await Promise.all(kinds.map(([qos, options]) => StreamClient.subscriber(broker, filter, qos, options)))
}

describe.each<[string, QoS, Transport]>([
  ['frozen', 0, 'tcp'], ['frozen', 1, 'tcp'], ['frozen', 0, 'ws'], ['frozen', 2, 'ws'], ['never-acking', 1, 'tcp'], ['never-acking', 2, 'ws'], ['away', 1, 'tcp']
])('beside a %s subscriber with QoS %i over %s', (kind, qos, transport) => {
  test('healthy ones get everything in order, and what waits is bounded', async () => {
    const broker = await startBroker({ limits: { queueBytes: 1_000_000, packetBytes: 100_000 } })
    const slow = await StreamClient.subscriber(broker, 't', qos, { transport, acks: false, connect: kept('slow') })
    const healthy = await healthyOnes(broker, 't')
    if (kind === 'frozen') slow.stream.pause()
    if (kind === 'away') slow.stream.destroy()
    const sender = await senderTo(broker)
    await sender.publishNumbered('t', 6_000, 1, 1_000)
    await sender.published(6_000, 1)
    for (const client of healthy) {
      await client.until(() => client.count >= 6_000, 'everything')
      expect(client.numbers('t')).toEqual(upTo(6_000))
    }
    if (kind === 'never-acking') {
      expect(slow.mostOpen).toBe(20)
      expect(slow.count).toBe(20)
    }
  })
})

test('a very slow subscriber, one message at a time, slows nobody and goes on in order', async () => {
  const broker = await startBroker()
  const slow = await StreamClient.subscriber(broker, 't', 1, { acks: false, connect: { properties: { receiveMaximum: 1 } } })
  const trickle = setInterval(() => slow.ackOpen(1), 100)
  const healthy = await healthyOnes(broker, 't')
  const sender = await senderTo(broker)
  await sender.publishNumbered('t', 5_000, 1, 500)
  await sender.published(5_000, 1)
  for (const client of healthy) {
    await client.until(() => client.count >= 5_000, 'everything')
    expect(client.numbers('t')).toEqual(upTo(5_000))
  }
  clearInterval(trickle)
  slow.acks = true
  slow.ackOpen()
  await slow.until(() => slow.numbers('t').includes(5_000), 'the last message')
  const numbers = slow.numbers('t')
  expect(numbers).toEqual([...numbers].sort((a, b) => a - b))
  expect(numbers.length).toBeGreaterThanOrEqual(1_000)
})

describe('bytes', () => {
  test('payloads of 400 KB: a client that acknowledges nothing keeps no more than queueBytes', async () => {
    const broker = await startBroker({ limits: { queueBytes: 2_000_000, maxInflight: 1 } })
    const slow = await StreamClient.subscriber(broker, 't', 1, { acks: false, connect: kept('slow') })
    const sender = await senderTo(broker)
    await sender.publishNumbered('t', 30, 1, 400_000)
    await sender.published(30, 1)
    slow.stream.destroy()
    const back = await StreamClient.connected(broker, { connect: kept('slow') })
    await back.until(() => back.numbers('t').includes(30), 'the newest')
    // One on its way, and four that fit behind it.
    expect(back.numbers('t')).toEqual([1, 27, 28, 29, 30])
  })

  test('states of 400 KB in the place of small ones are bounded as well', async () => {
    const broker = await startBroker({ limits: { queueBytes: 2_000_000, maxInflight: 1 } })
    const slow = await StreamClient.subscriber(broker, 'sensors/+/status', 1, { acks: false, connect: kept('slow') })
    const sender = await senderTo(broker)
    await sender.publishNumbered(number => `sensors/${number}/status`, 21, 1)
    await sender.publishNumbered(number => `sensors/${number}/status`, 21, 1, 400_000)
    await sender.published(42, 1)
    slow.stream.destroy()
    const back = await StreamClient.connected(broker, { connect: kept('slow') })
    await drained(back)
    expect([...back.got.values()].flat().filter(payload => payload.length > 1_000).length).toBeLessThanOrEqual(5)
  })

  test('queuedBytes is for all clients together', async () => {
    const broker = await startBroker({ limits: { packetBytes: 200_000, queueBytes: 1_000_000, queuedBytes: 1_500_000, maxInflight: 1 } })
    for (const i of upTo(6)) {
      const away = await StreamClient.subscriber(broker, 't', 1, { connect: kept(`away-${i}`) })
      away.stream.destroy()
      await away.closed()
    }
    const sender = await senderTo(broker)
    await sender.publishNumbered('t', 30, 1, 100_000)
    await sender.published(30, 1)
    let waiting = 0
    for (const i of upTo(6)) {
      const back = await StreamClient.connected(broker, { connect: kept(`away-${i}`) })
      await drained(back)
      waiting += back.count
    }
    expect(waiting).toBeLessThanOrEqual(15)
    expect(waiting).toBeGreaterThan(10)
  })

  test('clients that let everything pile up take nothing from those that keep up', async () => {
    const broker = await startBroker({ limits: { packetBytes: 1_024, queueBytes: 65_536, queuedBytes: 4 * 65_536 } })
    for (let i = 0; i < 4; i++) await StreamClient.subscriber(broker, 'hog', 1, { acks: false })
    const sender = await senderTo(broker)
    await sender.publishNumbered('hog', 300, 1, 900)
    await sender.published(300, 1)
    const healthy = await StreamClient.subscriber(broker, 't', 1)
    const requester = await StreamClient.subscriber(broker, 'replies/r', 1)
    await sender.publishNumbered('t', 100, 1)
    await sender.publishNumbered('replies/r', 100, 1)
    await sender.published(500, 1)
    await settled(healthy, requester)
    expect(requester.told).toBe(null)
    expect(requester.numbers('replies/r')).toEqual(upTo(100))
    expect(healthy.numbers('t')).toEqual(upTo(100))
  })
})

describe('nobody is held for long', () => {
  test('the services do not wait for a frozen subscriber: 20,000 events', async () => {
    const broker = await startBroker()
    const frozen = await StreamClient.subscriber(broker, 'lots/+/events', 1, { acks: false })
    frozen.stream.pause()
    const healthy = await StreamClient.subscriber(broker, 'lots/+/events', 0)
    // Nothing may come between: each is published when the one before is accepted, within one turn of the event loop.
    let isNextTurn = false
    setImmediate(() => { isNextTurn = true })
    for (const i of upTo(900)) await broker.bus.publish('lots/A/events', String(i), { qos: 1 })
    expect(isNextTurn).toBe(false)
    await healthy.until(() => healthy.count === 900, 'the first of them')
    for (const i of upTo(20_000, 901)) {
      await broker.bus.publish('lots/A/events', String(i), { qos: 1 })
      // Their sockets belong to this same event loop.
      if (i % 500 === 0) await new Promise(resolve => setImmediate(resolve))
    }
    await healthy.until(() => healthy.numbers('lots/A/events').includes(20_000), 'the last of them')
    frozen.stream.resume()
    frozen.acks = true
    frozen.ackOpen()
    await frozen.until(() => frozen.numbers('lots/A/events').includes(20_000), 'the last of them')
    expect(frozen.count).toBeLessThan(20_000)
  })

  test('a publisher goes on behind a subscriber that acknowledges nothing', async () => {
    const broker = await startBroker()
    await StreamClient.subscriber(broker, 't', 1, { acks: false })
    const sender = await senderTo(broker)
    // One after the other: each of them could be held.
    for (const i of upTo(1_500)) {
      await sender.publishNumbered('t', 1, 1)
      await sender.published(i, 1)
    }
  })

  test.each<[QoS, Transport]>([[1, 'tcp'], [2, 'tcp'], [1, 'ws'], [2, 'ws']])('a client that reads its own messages only when it has written all 50,000, QoS %i over %s', async (qos, transport) => {
    const broker = await startBroker()
    const self = await StreamClient.subscriber(broker, 't', qos, { version: 4, transport })
    self.stream.pause()
    await self.publishNumbered('t', 50_000, qos, 100)
    self.stream.resume()
    await self.published(50_000, qos)
    await self.until(() => self.numbers('t').includes(50_000), 'its last message')
    const numbers = self.numbers('t')
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b))
  })
})
