// Commit before acknowledgement: what a sender is told, and when, for everything that can become of its message.
import { describe, expect, test } from 'vitest'
import type { Packet } from 'mqtt-packet'
import { ACCEPTED, type Outcome } from '../../shared/bus.js'
import { UnavailableError, type ErrorCode } from '../../shared/errors.js'
import { AcceptingConsumer, ManualConsumer, startBroker, type TestBroker } from '../support/broker.js'
import { RawClient, type Version } from '../support/raw-client.js'

const SENSOR = 'lots/LOT-A/sensor'

function publish (payload: string, qos: 0 | 1 | 2, messageId?: number, more: object = {}): Packet {
  return { cmd: 'publish', topic: SENSOR, payload, qos, dup: false, retain: false, ...(messageId !== undefined && { messageId }), ...more }
}

async function brokerWith (consumer: ManualConsumer | AcceptingConsumer, filter = 'lots/+/sensor'): Promise<TestBroker> {
  return await startBroker({ prepare: ({ bus }) => bus.consume(filter, consumer) })
}

const refused = (code: ErrorCode, message = 'because'): Outcome => ({ type: 'refused', refusal: { code, message } })

describe.each<Version>([3, 4, 5])('with protocol version %i', version => {
  test('PUBACK comes when the batch is committed, not before', async () => {
    const consumer = new ManualConsumer()
    const broker = await brokerWith(consumer)
    const client = await RawClient.connected(broker, version)
    client.send(publish('1', 1, 11))
    const { deliveries, settle } = await consumer.batch(0)
    expect(deliveries).toMatchObject([{ topic: SENSOR, payload: Buffer.from('1'), qos: 1, retain: false, dup: false }])
    expect(await client.flushed()).toEqual([])
    settle()
    expect(await client.next()).toMatchObject({ cmd: 'puback', messageId: 11 })
  })

  test('PUBREC comes when the batch is committed, not before', async () => {
    const consumer = new ManualConsumer()
    const broker = await brokerWith(consumer)
    const client = await RawClient.connected(broker, version)
    client.send(publish('1', 2, 12))
    const { settle } = await consumer.batch(0)
    expect(await client.flushed()).toEqual([])
    settle()
    expect(await client.next()).toMatchObject({ cmd: 'pubrec', messageId: 12 })
    client.send({ cmd: 'pubrel', messageId: 12 })
    expect(await client.next()).toMatchObject({ cmd: 'pubcomp', messageId: 12 })
  })
})

test('batches keep the order of arrival, and PUBACKs too', async () => {
  const consumer = new ManualConsumer()
  const broker = await brokerWith(consumer)
  const client = await RawClient.connected(broker, 4)
  client.send(publish('first', 1, 1))
  const first = await consumer.batch(0)
  const ids = Array.from({ length: 300 }, (_, i) => i + 2)
  client.send(...ids.map(id => publish(`${id}`, 1, id)))
  await client.flushed()
  first.settle()
  const second = await consumer.batch(1)
  expect(second.deliveries.map(({ payload }) => Buffer.from(payload).toString())).toEqual(ids.map(String))
  second.settle()
  for (const id of [1, ...ids]) expect(await client.nextOf('puback')).toMatchObject({ messageId: id })
})

test('each sender gets its own acknowledgements out of one batch', async () => {
  const consumer = new ManualConsumer()
  const broker = await brokerWith(consumer)
  const clients = await Promise.all([4, 5, 4].map(version => RawClient.connected(broker, version as Version)))
  clients[0]?.send(publish('hold', 1, 99))
  const first = await consumer.batch(0)
  for (const [i, client] of clients.entries()) {
    client.send(publish('a', 1, 10 + i), publish('b', 1, 20 + i))
    await client.flushed()
  }
  first.settle()
  const batch = await consumer.batch(1)
  batch.settle(batch.deliveries.map((_, i) => i === 2 ? refused('unknown_lot', 'no lot LOT-A') : ACCEPTED))
  expect(await clients[1]?.next()).toMatchObject({ messageId: 11, reasonCode: 0x90, properties: { reasonString: 'unknown_lot: no lot LOT-A' } })
  expect(await clients[1]?.next()).toMatchObject({ messageId: 21, reasonCode: 0 })
  expect(await clients[2]?.next()).toMatchObject({ cmd: 'puback', messageId: 12 })
  expect(await clients[2]?.next()).toMatchObject({ cmd: 'puback', messageId: 22 })
})

test('properties, flags and the sender reach the consumer', async () => {
  const consumer = new AcceptingConsumer()
  const broker = await brokerWith(consumer, 'requests/+')
  const client = await RawClient.connected(broker, 5, { clientId: 'driver' })
  const properties = {
    responseTopic: 'replies/driver', correlationData: Buffer.from('00ff', 'hex'), contentType: 'application/json', payloadFormatIndicator: true,
    messageExpiryInterval: 30, userProperties: { one: '1', ['__proto__']: 'odd', two: ['a', 'b'] }
  }
  client.send({ cmd: 'publish', topic: 'requests/lots', payload: '{}', qos: 1, messageId: 1, dup: true, retain: true, properties })
  const delivery = await consumer.delivery(0)
  // `retain` is for what comes from the broker's store, and nothing on consumed topics is stored.
  expect(delivery).toMatchObject({ topic: 'requests/lots', qos: 1, dup: true, retain: false, clientId: 'driver' })
  expect(delivery.properties).toMatchObject({
    responseTopic: 'replies/driver', correlationData: Buffer.from('00ff', 'hex'), contentType: 'application/json', payloadFormatIndicator: 1,
    messageExpiryInterval: 30, userProperties: { one: '1', two: ['a', 'b'] }
  })
  expect(Object.entries(delivery.properties.userProperties ?? {})).toContainEqual(['__proto__', 'odd'])
  expect(Math.abs(delivery.receivedAtMs - Date.now())).toBeLessThan(5_000)
  expect(delivery).not.toHaveProperty('user')
})

test.each<[ErrorCode, number]>([
  ['bad_message', 0x99], ['bad_request', 0x99], ['unknown_bay', 0x99], ['too_large', 0x99], ['unknown_lot', 0x90], ['bad_topic', 0x90],
  ['not_allowed', 0x87], ['over_limit', 0x97], ['lot_full', 0x83], ['internal', 0x83]
])('a refusal with %s is the reason code %i for 5.0 and a plain acknowledgement before', async (code, reason) => {
  const consumer = new ManualConsumer()
  const broker = await brokerWith(consumer)
  for (const qos of [1, 2] as const) {
    const client = await RawClient.connected(broker, 5)
    const older = await RawClient.connected(broker, 4)
    const quiet = await RawClient.connected(broker, 5, { properties: { requestProblemInformation: false } })
    const settle = async (): Promise<void> => {
      const batch = await consumer.batch(consumer.batches.length === 0 ? 0 : consumer.batches.length - 1)
      batch.settle(batch.deliveries.map(() => refused(code)))
    }
    for (const each of [client, older, quiet]) {
      const before = consumer.batches.length
      each.send(publish('x', qos, 5))
      await consumer.batch(before)
      await settle()
      await each.flushed()
    }
    const cmd = qos === 1 ? 'puback' : 'pubrec'
    expect(client.packets[1]).toMatchObject({ cmd, messageId: 5, reasonCode: reason, properties: { reasonString: `${code}: because` } })
    expect(older.packets[1]).toMatchObject({ cmd, messageId: 5, length: 2 })
    expect(quiet.packets[1]).toMatchObject({ cmd, reasonCode: reason })
    expect(quiet.packets[1]).not.toHaveProperty('properties')
  }
})

describe('QoS 2', () => {
  test('a PUBLISH that comes again is one delivery: while it commits, after it, and on a later connection', async () => {
    const consumer = new ManualConsumer()
    const broker = await brokerWith(consumer)
    const session = { clientId: 'gate', clean: false }
    const client = await RawClient.connected(broker, 4, session)
    client.send(publish('x', 2, 1), publish('x', 2, 1, { dup: true }))
    const first = await consumer.batch(0)
    await client.flushed()
    client.destroy()
    const again = await RawClient.connected(broker, 4, session)
    again.send(publish('x', 2, 1, { dup: true }))
    expect(await again.flushed()).toEqual([])
    first.settle()
    expect(await again.next()).toMatchObject({ cmd: 'pubrec', messageId: 1 })
    again.send(publish('x', 2, 1, { dup: true }))
    expect(await again.next()).toMatchObject({ cmd: 'pubrec', messageId: 1 })
    again.send({ cmd: 'pubrel', messageId: 1 })
    await again.nextOf('pubcomp')
    // The identifier is free now: the same number is another message.
    again.send(publish('y', 2, 1))
    const second = await consumer.batch(1)
    expect(first.deliveries).toHaveLength(1)
    expect(second.deliveries).toHaveLength(1)
    second.settle()
  })

  test('the identifier of a refused message is free at once', async () => {
    const consumer = new ManualConsumer()
    const broker = await brokerWith(consumer)
    const client = await RawClient.connected(broker)
    client.send(publish('x', 2, 1))
    ;(await consumer.batch(0)).settle([refused('bad_message')])
    expect(await client.next()).toMatchObject({ cmd: 'pubrec', reasonCode: 0x99 })
    client.send(publish('y', 2, 1))
    ;(await consumer.batch(1)).settle()
    expect(await client.next()).toMatchObject({ cmd: 'pubrec', reasonCode: 0 })
  })

  test('two copies in one read of a topic without a consumer reach a subscriber once', async () => {
    const broker = await startBroker()
    const watcher = await RawClient.connected(broker)
    watcher.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '#', qos: 0 }] })
    await watcher.nextOf('suback')
    const client = await RawClient.connected(broker, 4)
    const packet = { cmd: 'publish', topic: 'a', payload: 'x', qos: 2, messageId: 1, dup: false, retain: false } as const
    client.send(packet, { ...packet, dup: true }, { ...packet, payload: 'last', messageId: 2 })
    expect((await watcher.nextOf('publish')).payload.toString()).toBe('x')
    expect((await watcher.nextOf('publish')).payload.toString()).toBe('last')
  })
})

describe('while the ledger is unavailable', () => {
  test.each<Version>([3, 4, 5])('messages are held, then the connection closes without acknowledgement (version %i)', async version => {
    let down = true
    const consumer = new AcceptingConsumer()
    const broker = await startBroker({
      prepare: ({ bus }) => bus.consume('lots/+/sensor', {
        holdMs: 300,
        handle: batch => down ? Promise.reject(new UnavailableError('disk full', { cause: null })) : consumer.handle(batch)
      })
    })
    const session = { clientId: 'gate', clean: false, ...(version === 5 && { properties: { sessionExpiryInterval: 100 } }) }
    const client = await RawClient.connected(broker, version, session)
    const bystander = await RawClient.connected(broker, version)
    const sentAtMs = Date.now()
    client.send(publish('1', 1, 1), publish('2', 2, 2))
    expect(await client.flushed()).toEqual([])
    await client.closed()
    expect(Date.now() - sentAtMs).toBeGreaterThanOrEqual(300)
    const last = client.packets.at(-1)
    // 0x88 may stand in CONNACK only; 0x89 is DISCONNECT's word for it.
    if (version === 5) expect(last).toMatchObject({ cmd: 'disconnect', reasonCode: 0x89, properties: { reasonString: expect.stringMatching(/^unavailable: /) as string } })
    else expect(last?.cmd).toBe('pingresp')
    expect(await bystander.flushed()).toEqual([])
    expect(await broker.count('messages_abandoned_total{filter=lots/+/sensor}')).toBe(2)

    down = false
    const again = await RawClient.connected(broker, version, session)
    again.send(publish('1', 1, 1, { dup: true }), publish('2', 2, 2, { dup: true }))
    expect(await again.next()).toMatchObject({ cmd: 'puback', messageId: 1 })
    expect(await again.next()).toMatchObject({ cmd: 'pubrec', messageId: 2 })
    expect(consumer.deliveries).toHaveLength(2)
  })

  test('messages that were held go through when it is back', async () => {
    let failures = 3
    const consumer = new AcceptingConsumer()
    const broker = await startBroker({
      prepare: ({ bus }) => bus.consume('lots/+/sensor', {
        handle: batch => failures-- > 0 ? Promise.reject(new UnavailableError('busy', { cause: null })) : consumer.handle(batch)
      })
    })
    const client = await RawClient.connected(broker)
    client.send(publish('1', 1, 1))
    expect(await client.next()).toMatchObject({ cmd: 'puback', reasonCode: 0 })
  })

  test('a reply that the consumer sends in vain arrives before the connection closes', async () => {
    const { bus, ...broker } = await startBroker()
    await bus.consume('requests/+', {
      holdMs: 0,
      handle: () => Promise.reject(new UnavailableError('disk full', { cause: null })),
      abandon: () => bus.publish('replies/me', 'unavailable')
    })
    const client = await RawClient.connected(broker)
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'replies/me', qos: 0 }] })
    await client.nextOf('suback')
    client.send({ cmd: 'publish', topic: 'requests/lots', payload: '{}', qos: 1, messageId: 2, dup: false, retain: false, properties: { responseTopic: 'replies/me' } })
    expect((await client.next()).cmd).toBe('publish')
    expect((await client.next()).cmd).toBe('disconnect')
  })
})

test('a poison message is acknowledged and the others of its batch are kept', async () => {
  const consumer = new AcceptingConsumer()
  const broker = await startBroker({
    prepare: ({ bus }) => bus.consume('lots/+/sensor', {
      handle (batch) {
        if (batch.some(({ payload }) => Buffer.from(payload).toString() === 'poison')) throw new Error('boom')
        return consumer.handle(batch)
      }
    })
  })
  const client = await RawClient.connected(broker)
  client.send(publish('1', 1, 1), publish('poison', 1, 2), publish('3', 1, 3))
  expect(await client.next()).toMatchObject({ messageId: 1, reasonCode: 0 })
  expect(await client.next()).toMatchObject({ messageId: 2, reasonCode: 0x83 })
  expect(await client.next()).toMatchObject({ messageId: 3, reasonCode: 0 })
  expect(consumer.deliveries.map(({ payload }) => Buffer.from(payload).toString())).toEqual(['1', '3'])
})

test('what a client sent before it left is handled, though nobody can be told', async () => {
  const consumer = new ManualConsumer()
  const broker = await brokerWith(consumer)
  const client = await RawClient.connected(broker, 4)
  client.send(publish('1', 1, 1), { cmd: 'disconnect' })
  const batch = await consumer.batch(0)
  await client.closed()
  batch.settle()
  const other = await RawClient.connected(broker, 4)
  other.send(publish('2', 1, 1))
  ;(await consumer.batch(1)).settle()
  expect(await other.next()).toMatchObject({ cmd: 'puback' })
})

describe('forwarding', () => {
  test('subscribers get a sensor message after its commit, not before, and never as retained', async () => {
    const consumer = new ManualConsumer()
    const broker = await brokerWith(consumer)
    const watcher = await RawClient.connected(broker)
    watcher.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'lots/#', qos: 1, rap: true }] })
    await watcher.nextOf('suback')
    const client = await RawClient.connected(broker)
    client.send(publish('1', 1, 1, { retain: true, properties: { contentType: 'text/plain' } }))
    const batch = await consumer.batch(0)
    expect(await watcher.flushed()).toEqual([])
    batch.settle()
    expect(await watcher.next()).toMatchObject({ cmd: 'publish', topic: SENSOR, payload: Buffer.from('1'), qos: 1, retain: false, dup: false, properties: { contentType: 'text/plain' } })
    const late = await RawClient.connected(broker)
    late.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'lots/#', qos: 1 }] })
    await late.nextOf('suback')
    expect(await late.flushed()).toEqual([])
  })

  test('refused messages and requests go to nobody', async () => {
    const sensors = new ManualConsumer()
    const requests = new AcceptingConsumer()
    const broker = await brokerWith(sensors)
    await broker.bus.consume('requests/+', requests)
    const watcher = await RawClient.connected(broker)
    watcher.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '#', qos: 1 }] })
    await watcher.nextOf('suback')
    const client = await RawClient.connected(broker)
    client.send(publish('bad', 1, 1), { cmd: 'publish', topic: 'requests/reserve', payload: '{"plate":"ABC"}', qos: 1, messageId: 2, dup: false, retain: false })
    ;(await sensors.batch(0)).settle([refused('bad_message')])
    await client.flushed()
    client.send({ cmd: 'publish', topic: 'cameras/c', payload: 'last', qos: 1, messageId: 3, dup: false, retain: false })
    expect(await watcher.next()).toMatchObject({ topic: 'cameras/c' })
    expect(requests.deliveries).toHaveLength(1)
  })

  test('a subscription counts from its SUBACK on, though nobody wanted the topic before', async () => {
    const broker = await brokerWith(new AcceptingConsumer())
    const client = await RawClient.connected(broker)
    const watcher = await RawClient.connected(broker)
    for (let round = 1; round <= 5; round++) {
      for (let i = 0; i < 5; i++) {
        client.send(publish('unseen', 1, 1))
        await client.nextOf('puback')
      }
      watcher.send({ cmd: 'subscribe', messageId: round, subscriptions: [{ topic: 'lots/+/sensor', qos: 0 }] })
      await watcher.nextOf('suback')
      client.send(publish(`seen ${round}`, 1, 1))
      await client.nextOf('puback')
      expect((await watcher.nextOf('publish')).payload.toString()).toBe(`seen ${round}`)
      watcher.send({ cmd: 'unsubscribe', messageId: 100 + round, unsubscriptions: ['lots/+/sensor'] })
      await watcher.nextOf('unsuback')
    }
  })

  test('a stored session gets what came while it was away', async () => {
    const broker = await brokerWith(new AcceptingConsumer())
    const session = { clientId: 'archive', clean: false, properties: { sessionExpiryInterval: 100 } }
    const archive = await RawClient.connected(broker, 5, session)
    archive.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'lots/#', qos: 1 }] })
    await archive.nextOf('suback')
    archive.send({ cmd: 'disconnect' })
    await archive.closed()
    const client = await RawClient.connected(broker)
    for (let i = 1; i <= 3; i++) {
      client.send(publish(`${i}`, 1, i))
      await client.nextOf('puback')
    }
    const back = await RawClient.connected(broker, 5, session)
    for (let i = 1; i <= 3; i++) expect((await back.nextOf('publish')).payload.toString()).toBe(`${i}`)
  })
})

describe('publish', () => {
  test('works before the doors are open, and is what the first client sees', async () => {
    const broker = await startBroker({ prepare: ({ bus }) => bus.publish('lots/LOT-A/free', '50', { retain: true, properties: { contentType: 'text/plain', payloadFormatIndicator: 1, userProperties: { a: ['1', '2'] }, correlationData: new Uint8Array([1]) } }) })
    const client = await RawClient.connected(broker)
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '#', qos: 0 }] })
    await client.nextOf('suback')
    expect(await client.nextOf('publish')).toMatchObject({
      topic: 'lots/LOT-A/free', retain: true, properties: { contentType: 'text/plain', payloadFormatIndicator: true, userProperties: { a: ['1', '2'] }, correlationData: Buffer.from([1]) }
    })
  })

  test('a service that publishes where another consumes is answered by its commit', async () => {
    const consumer = new ManualConsumer()
    const { bus } = await brokerWith(consumer)
    let settled = false
    const published = bus.publish(SENSOR, '1').then(() => { settled = true })
    const batch = await consumer.batch(0)
    expect(settled).toBe(false)
    batch.settle()
    await published
  })

  test('throws for topics that cannot be published to, and when the broker is closed', async () => {
    const broker = await startBroker()
    const { bus } = broker
    for (const topic of ['', 'lots/+/free', 'a/#']) await expect(bus.publish(topic, 'x')).rejects.toThrow('cannot publish')
    await broker.close()
    await expect(bus.publish('a', 'x')).rejects.toThrow('closed')
  })

  test('consume refuses filters that are not valid or taken', async () => {
    const { bus } = await startBroker()
    await expect(bus.consume('lots/#/sensor', new AcceptingConsumer())).rejects.toThrow('wildcard in a wrong place')
    await bus.consume('lots/+/sensor', new AcceptingConsumer())
    await expect(bus.consume('lots/+/sensor', new AcceptingConsumer())).rejects.toThrow('has a consumer already')
  })
})
