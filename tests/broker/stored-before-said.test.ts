// What the broker does not say before it is on disk, shown with a store whose writes the test holds up: every
// acknowledgement that takes something over, and every packet identifier that a client will hold the broker to. And
// what goes on meanwhile, and what happens when the disk does not work.
import type { Packet } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import { acknowledge, nextMessages, publish, publishAcknowledged, publishesIn, subscribe, subscriber } from '../conformance/v5-wire.js'
import { AcceptingConsumer, ManualConsumer, startBroker, type TestBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'
import { copyOfSessions, startGatedBroker, storedRows } from '../support/stored-sessions.js'

type Gated = Awaited<ReturnType<typeof startGatedBroker>>

const lasting = async (broker: TestBroker, clientId: string, clean = true): Promise<RawClient> => await RawClient.connected(broker, 5, { clientId, clean, properties: { sessionExpiryInterval: 1_000 } })

/** Everything so far is on disk: the next batch has not begun. */
async function settled (broker: TestBroker): Promise<void> {
  const client = await lasting(broker, 'settles')
  await subscribe(client, 'nobody', { qos: 1 })
  client.send({ cmd: 'disconnect' })
  await client.closed()
  await broker.bus.publish('nobody', 'x')
}

/** The subscriber's session is stored; its client has left. */
async function offline (broker: TestBroker, clientId: string, topic: string): Promise<void> {
  const client = await lasting(broker, clientId)
  await subscribe(client, topic, { qos: 2 })
  client.send({ cmd: 'disconnect' })
  await client.closed()
}

/** `ask` is answered by a packet of this kind, and not before the store has it. */
async function answersAfterWrite (broker: Gated, client: RawClient, ask: Packet, answer: Packet['cmd']): Promise<void> {
  broker.store.hold()
  const batch = broker.store.batch()
  client.send(ask)
  await batch
  // Several turns of the broker later there is nothing but the answers to PINGREQ.
  for (let i = 0; i < 3; i++) expect(await client.flushed()).toEqual([])
  broker.store.release()
  expect((await client.next()).cmd).toBe(answer)
}

describe('is not said before it is on disk', () => {
  test.each<[string, Packet, Packet['cmd']]>([
    ['PUBACK for an offline subscriber', publish('kept', 'x', { qos: 1, messageId: 1 }), 'puback'],
    ['PUBREC for an offline subscriber', publish('kept', 'x', { qos: 2, messageId: 1 }), 'pubrec'],
    ['PUBREC to a session that is kept, though nobody subscribes', publish('unknown', 'x', { qos: 2, messageId: 1 }), 'pubrec'],
    ['PUBACK for a retained message', publish('retained', 'x', { qos: 1, messageId: 1, retain: true }), 'puback'],
    ['PUBACK for the end of a retained message', publish('retained before', '', { qos: 1, messageId: 1, retain: true }), 'puback'],
    ['SUBACK', { cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 0 }] }, 'suback'],
    ['SUBACK for other options', { cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'before', qos: 1, nl: true, rh: 2 }] }, 'suback'],
    ['UNSUBACK', { cmd: 'unsubscribe', messageId: 1, unsubscriptions: ['before'] }, 'unsuback'],
    ['PUBCOMP', { cmd: 'pubrel', messageId: 60_000, reasonCode: 0 }, 'pubcomp']
  ])('%s', async (_, ask, answer) => {
    const broker = await startGatedBroker()
    await offline(broker, 'away', 'kept')
    const client = await lasting(broker, 'c')
    await subscribe(client, 'before', { qos: 1 })
    await publishAcknowledged(client, 'retained before', 'x', { retain: true })
    client.send(publish('x', 'x', { qos: 2, messageId: 60_000 }))
    await client.nextOf('pubrec')
    await answersAfterWrite(broker, client, ask, answer)
  })

  test('a QoS 2 message with its identifier, what follows it, and PUBREL', async () => {
    const broker = await startGatedBroker()
    const client = await lasting(broker, 'c')
    await subscribe(client, 'a', { qos: 2 })
    const sender = await RawClient.connected(broker)
    broker.store.hold()
    const batch = broker.store.batch()
    sender.send(publish('a', '1', { qos: 2, messageId: 1 }), publish('a', '2', { qos: 1, messageId: 2 }))
    await batch
    expect(await client.flushed()).toEqual([])
    expect(await sender.flushed()).toEqual([])
    broker.store.release()
    const [first, second] = await nextMessages(client, 2)
    expect([first, second].map(message => message?.payload.toString())).toEqual(['1', '2'])
    await settled(broker)
    await answersAfterWrite(broker, client, { cmd: 'pubrec', messageId: first?.messageId ?? 0, reasonCode: 0 }, 'pubrel')
  })

  test('what a service publishes for somebody who is away', async () => {
    const broker = await startGatedBroker()
    await offline(broker, 'away', 'kept')
    broker.store.hold()
    let isDone = false
    const batch = broker.store.batch()
    const published = broker.bus.publish('kept', 'x').then(() => { isDone = true })
    await batch
    await (await RawClient.connected(broker)).flushed()
    expect(isDone).toBe(false)
    broker.store.release()
    await published
  })

  test('nothing that is acknowledged is lost by kill -9 right behind it', async () => {
    const broker = await startGatedBroker()
    await offline(broker, 'away', 'a')
    const sender = await RawClient.connected(broker)
    for (let round = 1; round <= 20; round++) {
      for (let i = 0; i < 10; i++) sender.send(publish('a', `${round}`, { qos: 1, messageId: 100 + i }))
      await sender.nextOf('puback')
      expect(storedRows(copyOfSessions(broker.data)).entries).toBeGreaterThan((round - 1) * 10)
      for (let i = 1; i < 10; i++) await sender.nextOf('puback')
    }
  })
})

describe('a new connection while the store is behind', () => {
  test('a QoS 2 message is not sent again before its identifier is on disk', async () => {
    const broker = await startGatedBroker()
    const client = await lasting(broker, 'c')
    await subscribe(client, 'a', { qos: 2 })
    await settled(broker)
    broker.store.hold()
    const batch = broker.store.batch()
    const sender = await RawClient.connected(broker)
    sender.send(publish('a', 'x', { qos: 2, messageId: 1 }))
    await batch
    const second = await lasting(broker, 'c', false)
    expect(await second.flushed()).toEqual([])
    broker.store.release()
    await acknowledge(second, await second.nextOf('publish'))
  })

  test('PUBREL is not sent before the store knows of PUBREC', async () => {
    const broker = await startGatedBroker()
    const client = await lasting(broker, 'c')
    await subscribe(client, 'a', { qos: 2 })
    await publishAcknowledged(await RawClient.connected(broker), 'a', 'x', { qos: 2 })
    const { messageId = 0 } = await client.nextOf('publish')
    await settled(broker)
    broker.store.hold()
    const batch = broker.store.batch()
    client.send({ cmd: 'pubrec', messageId, reasonCode: 0 })
    await batch
    const second = await lasting(broker, 'c', false)
    expect(await second.flushed()).toEqual([])
    broker.store.release()
    expect(await second.nextOf('pubrel')).toMatchObject({ messageId })
  })

  test('PUBCOMP and UNSUBACK to a repetition do not overtake what the first one noted', async () => {
    const broker = await startGatedBroker()
    const client = await lasting(broker, 'c')
    await subscribe(client, 'a', { qos: 2 })
    client.send(publish('x', 'x', { qos: 2, messageId: 7 }))
    await client.nextOf('pubrec')
    await settled(broker)
    broker.store.hold()
    const batch = broker.store.batch()
    const packets: Packet[] = [{ cmd: 'pubrel', messageId: 7, reasonCode: 0 }, { cmd: 'unsubscribe', messageId: 8, unsubscriptions: ['a'] }]
    client.send(...packets)
    await batch
    const second = await lasting(broker, 'c', false)
    second.send(...packets)
    expect(await second.flushed()).toEqual([])
    broker.store.release()
    expect((await second.nextOf('pubcomp')).messageId).toBe(7)
    expect((await second.nextOf('unsuback')).messageId).toBe(8)
  })

  test('a QoS 2 message that a service took while its client was away is known after kill -9', async () => {
    const broker = await startGatedBroker()
    const consumer = new ManualConsumer()
    await broker.bus.consume('lots/+/sensor', consumer)
    const client = await lasting(broker, 'c')
    client.send(publish('lots/A/sensor', '1', { qos: 2, messageId: 7 }))
    const { settle } = await consumer.batch(0)
    client.destroy()
    await expect.poll(() => broker.count('broker_clients')).toBe(0)
    settle()
    await settled(broker)

    const after = new AcceptingConsumer()
    const again = await startBroker({ data: copyOfSessions(broker.data), prepare: async ({ bus }) => await bus.consume('lots/+/sensor', after) })
    const same = await lasting(again, 'c', false)
    same.send(publish('lots/A/sensor', '1', { qos: 2, messageId: 7, dup: true }))
    await same.nextOf('pubrec')
    expect(after.deliveries).toEqual([])
  })
})

describe('while the disk does not work', () => {
  test('those who do not need it go on, those who do are acknowledged when it works again', async () => {
    const broker = await startGatedBroker()
    await offline(broker, 'away', 'kept/#')
    const watcher = await subscriber(broker, 'live/#', { qos: 1 })
    const needs = await RawClient.connected(broker)
    const does = await RawClient.connected(broker)
    broker.store.failing = true
    for (let i = 1; i <= 20; i++) needs.send(publish(`kept/${i}`, 'x', { qos: 1, messageId: i, retain: true }))
    for (let i = 1; i <= 50; i++) {
      await publishAcknowledged(does, `live/${i}`, 'x', { qos: 2 })
      await acknowledge(watcher, await watcher.nextOf('publish'))
    }
    await subscribe(await RawClient.connected(broker), 'live/#', { qos: 1 })
    expect(await needs.flushed()).toEqual([])
    await expect.poll(() => broker.logged.map(line => line.msg)).toContain('sessions cannot be stored; what depends on it stays unacknowledged until they can')
    broker.store.failing = false
    for (let i = 1; i <= 20; i++) expect(await needs.nextOf('puback')).toMatchObject({ messageId: i })

    const again = await startBroker({ data: copyOfSessions(broker.data) })
    expect(await nextMessages(await lasting(again, 'away', false), 20)).toHaveLength(20)
    const reader = await RawClient.connected(again)
    await subscribe(reader, 'kept/#')
    await reader.flushed()
    expect(publishesIn(reader)).toHaveLength(20)
  })

  test('a publisher is closed without acknowledgement when that lasts, and loses nothing', { timeout: 20_000 }, async () => {
    const broker = await startGatedBroker()
    await offline(broker, 'away', 'kept')
    broker.store.failing = true
    const sender = await lasting(broker, 'sender')
    sender.send(publish('kept', 'x', { qos: 1, messageId: 1 }))
    const other = await lasting(broker, 'other')
    other.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 1 }] })
    await expect.poll(() => sender.isClosed && other.isClosed, { timeout: 8_000 }).toBe(true)
    expect(sender.packets.slice(1)).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x89 }])
    expect(other.packets.slice(1)).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x89 }])
    broker.store.failing = false
    await publishAcknowledged(await lasting(broker, 'sender', false), 'kept', 'x', { dup: true })
  })
})
