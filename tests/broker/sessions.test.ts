// Sessions: what is kept, for how long, and what must not outlive them.
import { describe, expect, test } from 'vitest'
import type { Packet } from 'mqtt-packet'
import { startBroker, type TestBroker } from '../support/broker.js'
import { RawClient, type Version } from '../support/raw-client.js'

const publish = (topic: string, payload: string, qos: 0 | 1 | 2, messageId?: number): Packet =>
  ({ cmd: 'publish', topic, payload, qos, dup: false, retain: false, ...(messageId !== undefined && { messageId }) })

async function subscribed (broker: TestBroker, filter = '#'): Promise<RawClient> {
  const watcher = await RawClient.connected(broker)
  watcher.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: filter, qos: 1 }] })
  await watcher.nextOf('suback')
  return watcher
}

describe.each<[Version, object]>([[4, {}], [5, {}], [5, { properties: { sessionExpiryInterval: 100 } }]])('version %i %j', (version, options) => {
  test('a QoS 2 identifier does not outlive its session', async () => {
    const broker = await startBroker()
    const watcher = await subscribed(broker)
    for (const payload of ['first', 'second', 'third']) {
      const client = await RawClient.connected(broker, version, { clientId: 'gate', clean: true, ...options })
      client.send(publish('a', payload, 2, 7))
      await client.nextOf('pubrec')
      client.destroy()
      expect((await watcher.nextOf('publish')).payload.toString()).toBe(payload)
    }
  })
})

test('Clean Start 0 gets what is stored, also when it asks for no expiry, and ends the session afterwards', async () => {
  const broker = await startBroker()
  const first = await RawClient.connected(broker, 5, { clientId: 'c', clean: true, properties: { sessionExpiryInterval: 100 } })
  first.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 1 }] })
  await first.nextOf('suback')
  first.send({ cmd: 'disconnect' })
  await first.closed()
  const sender = await RawClient.connected(broker)
  sender.send(publish('a', 'stored', 1, 1))
  await sender.nextOf('puback')

  const second = await RawClient.open(broker)
  expect(await second.connect({ clientId: 'c', clean: false })).toMatchObject({ sessionPresent: true })
  const got = await second.nextOf('publish')
  expect(got.payload.toString()).toBe('stored')
  second.send({ cmd: 'puback', messageId: got.messageId ?? 0 }, { cmd: 'disconnect' })
  await second.closed()

  const third = await RawClient.open(broker)
  expect(await third.connect({ clientId: 'c', clean: false })).toMatchObject({ sessionPresent: false })
})

test('a session of 3.1.1 expires like one of 5.0 with the longest expiry that is allowed', async () => {
  const broker = await startBroker({ limits: { sessionExpirySeconds: 1 } })
  const watcher = await subscribed(broker, 'sensors/#')
  const first = await RawClient.connected(broker, 4, { clientId: 'c', clean: false })
  first.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 1 }] })
  await first.nextOf('suback')
  first.destroy()
  await expect.poll(() => broker.count('broker_clients')).toBe(1)
  // The will of a session that began to expire later comes when that one's second is over.
  const later = await RawClient.connected(broker, 5, {
    properties: { sessionExpiryInterval: 1 }, will: { topic: 'sensors/s/status', payload: Buffer.from('offline'), qos: 0, retain: false, properties: { willDelayInterval: 1 } }
  })
  later.destroy()
  await watcher.nextOf('publish')
  const back = await RawClient.open(broker, 4)
  expect(await back.connect({ clientId: 'c', clean: false })).toMatchObject({ sessionPresent: false })
})

test('sessions of 3.1.1 count towards the limit of kept sessions', async () => {
  const broker = await startBroker({ limits: { pendingSessions: 2 } })
  for (const clientId of ['a', 'b', 'c']) {
    const client = await RawClient.connected(broker, 4, { clientId, clean: false })
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'x', qos: 1 }] })
    await client.nextOf('suback')
    client.send({ cmd: 'disconnect' })
    await client.closed()
    await expect.poll(() => broker.count('broker_clients')).toBe(0)
  }
  const present: boolean[] = []
  for (const clientId of ['a', 'b', 'c']) {
    const client = await RawClient.open(broker, 4)
    present.push((await client.connect({ clientId, clean: false })).sessionPresent)
  }
  expect(present).toEqual([true, true, false])
})

test('a second connection with the same client id takes over, and the first is told', async () => {
  const broker = await startBroker()
  const first = await RawClient.connected(broker, 5, { clientId: 'c' })
  await RawClient.connected(broker, 5, { clientId: 'c' })
  await first.closed()
  expect(first.packets.at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode: 0x8e })
})

test('the delay of a will stays in the broker', async () => {
  const broker = await startBroker()
  const watcher = await subscribed(broker)
  const client = await RawClient.connected(broker, 5, {
    will: { topic: 'sensors/gate/status', payload: Buffer.from('offline'), qos: 1, retain: false, properties: { willDelayInterval: 60, contentType: 'text/plain' } }
  })
  client.destroy()
  const will = await watcher.nextOf('publish')
  expect(will).toMatchObject({ topic: 'sensors/gate/status', properties: { contentType: 'text/plain' } })
  expect(will.properties).not.toHaveProperty('willDelayInterval')
})

test('subscribers do not see the DUP of a sender', async () => {
  const broker = await startBroker()
  const watcher = await subscribed(broker)
  const client = await RawClient.connected(broker)
  client.send({ cmd: 'publish', topic: 'a', payload: 'x', qos: 1, messageId: 1, dup: true, retain: false })
  expect(await watcher.nextOf('publish')).toMatchObject({ dup: false })
})

test('a stored session that subscribes while a message is on its way stays connected', async () => {
  const broker = await startBroker()
  const client = await RawClient.connected(broker, 5, { clean: false, properties: { sessionExpiryInterval: 100 } })
  client.send(publish('a', 'x', 2, 1), { cmd: 'subscribe', messageId: 2, subscriptions: [{ topic: '+', qos: 2 }] })
  await client.nextOf('pubrec')
  await client.nextOf('suback')
  expect(await client.flushed()).toEqual([])
})

test('a PUBREC for a message that was never sent gets its answer', async () => {
  const broker = await startBroker()
  const client = await RawClient.connected(broker, 5, { clean: false, properties: { sessionExpiryInterval: 100 } })
  client.send({ cmd: 'pubrec', messageId: 77, reasonCode: 0 })
  expect(await client.next()).toMatchObject({ cmd: 'pubrel', messageId: 77, reasonCode: 0x92 })
})

test('QoS 2 goes its whole way to a stored session', async () => {
  const broker = await startBroker()
  const client = await RawClient.connected(broker, 5, { clean: false, properties: { sessionExpiryInterval: 100 } })
  client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 2 }] })
  await client.nextOf('suback')
  const sender = await RawClient.connected(broker)
  sender.send(publish('a', 'x', 2, 1))
  const { messageId = 0 } = await client.nextOf('publish')
  client.send({ cmd: 'pubrec', messageId, reasonCode: 0 })
  expect(await client.next()).toMatchObject({ cmd: 'pubrel', messageId, reasonCode: 0 })
  client.send({ cmd: 'pubcomp', messageId, reasonCode: 0 })
  expect(await client.flushed()).toEqual([])
})

test('a client that takes over from one that is just closing stays known', async () => {
  const broker = await startBroker()
  for (let round = 0; round < 20; round++) {
    const first = await RawClient.connected(broker, 4, { clientId: 'c' })
    const second = await RawClient.open(broker, 4)
    first.write('0000')
    await second.connect({ clientId: 'c' })
    await first.closed()
    await expect.poll(() => broker.count('broker_clients')).toBe(1)
    second.destroy()
    await expect.poll(() => broker.count('broker_clients')).toBe(0)
  }
})
