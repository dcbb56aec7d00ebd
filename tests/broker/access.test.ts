// Topics that only parkmq writes: no client can forge them, by PUBLISH, retained or by will.
import { describe, expect, test } from 'vitest'
import { mayForward, rightsOf } from '../../broker/access.js'
import { LOCAL } from '../../shared/access.js'
import { AcceptingConsumer, startBroker, type TestBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'

const OWN = ['lots/LOT-A/free', 'lots/LOT-A/state', 'lots/LOT-A/events', 'lots/LOT-A/bays/A-001', 'services/occupancy/node-1/status', '$SYS/broker/uptime', 'cluster/x']
const OPEN = ['lots/LOT-A/sensor', 'requests/reserve', 'cameras/c/frame', 'sensors/gate/status', 'replies/me', 'lots/LOT-A/freedom', 'a']

test.each(OWN)('%s is for parkmq alone', topic => expect(rightsOf(LOCAL).mayPublish(topic)).toBe(false))
test.each(OPEN)('%s is open', topic => expect(rightsOf(LOCAL).mayPublish(topic)).toBe(true))

test('requests are for the service alone', () => {
  expect(mayForward('requests/reserve')).toBe(false)
  expect(mayForward('lots/LOT-A/sensor')).toBe(true)
})

async function watched (): Promise<{ broker: TestBroker, watcher: RawClient }> {
  const broker = await startBroker()
  const watcher = await RawClient.connected(broker)
  watcher.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '#', qos: 0 }, { topic: '$SYS/broker/#', qos: 0 }] })
  await watcher.nextOf('suback')
  return { broker, watcher }
}

/** Says something harmless and expects that it is the next thing that the watcher hears. */
async function expectNothingBefore (broker: TestBroker, watcher: RawClient): Promise<void> {
  const other = await RawClient.connected(broker)
  other.send({ cmd: 'publish', topic: 'a', payload: 'harmless', qos: 0, dup: false, retain: false })
  expect(await watcher.nextOf('publish')).toMatchObject({ topic: 'a' })
}

describe.each(OWN)('on %s', topic => {
  test('an MQTT 5.0 client is told 0x87 and stays connected', async () => {
    const { broker, watcher } = await watched()
    const client = await RawClient.connected(broker)
    const packet = { cmd: 'publish', topic, payload: '999', dup: false, retain: true } as const
    client.send({ ...packet, qos: 0 }, { ...packet, qos: 1, messageId: 1 }, { ...packet, qos: 2, messageId: 2 }, { ...packet, qos: 2, messageId: 2, dup: true })
    const reasonString = `not_allowed: only parkmq publishes on ${topic}`
    expect(await client.flushed()).toMatchObject([
      { cmd: 'puback', messageId: 1, reasonCode: 0x87, properties: { reasonString } },
      { cmd: 'pubrec', messageId: 2, reasonCode: 0x87, properties: { reasonString } },
      { cmd: 'pubrec', messageId: 2, reasonCode: 0x87 }
    ])
    await expectNothingBefore(broker, watcher)
    const late = await RawClient.connected(broker)
    late.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos: 0 }] })
    await late.nextOf('suback')
    expect(await late.flushed()).toEqual([])
    expect(await broker.count('broker_denied_publishes_total')).toBe(4)
    expect(broker.logged).toHaveLength(1)
    expect(broker.logged[0]).toMatchObject({ topic, clientId: expect.stringMatching(/^raw-/) as string })
  })

  test('a 3.1.1 client is acknowledged, which is all that it can be told, and dropped', async () => {
    const { broker, watcher } = await watched()
    const client = await RawClient.connected(broker, 4)
    const packet = { cmd: 'publish', topic, payload: '999', dup: false, retain: true } as const
    client.send({ ...packet, qos: 0 }, { ...packet, qos: 1, messageId: 1 }, { ...packet, qos: 2, messageId: 2 })
    expect(await client.flushed()).toMatchObject([{ cmd: 'puback', messageId: 1 }, { cmd: 'pubrec', messageId: 2 }])
    client.send({ cmd: 'pubrel', messageId: 2 })
    expect(await client.next()).toMatchObject({ cmd: 'pubcomp', messageId: 2 })
    await expectNothingBefore(broker, watcher)
  })

  test('a will is not published', async () => {
    const { broker, watcher } = await watched()
    const client = await RawClient.connected(broker, 5, { will: { topic, payload: Buffer.from('999'), qos: 1, retain: true } })
    client.destroy()
    await expect.poll(() => broker.count('broker_denied_publishes_total')).toBe(1)
    await expectNothingBefore(broker, watcher)
  })
})

test('a will on a consumed topic is a delivery with QoS 0 and is not published by aedes', async () => {
  const { broker, watcher } = await watched()
  const consumer = new AcceptingConsumer()
  await broker.bus.consume('requests/+', consumer)
  const client = await RawClient.connected(broker, 5, { clientId: 'gate', will: { topic: 'requests/ping', payload: Buffer.from('bye'), qos: 1, retain: true } })
  client.destroy()
  expect(await consumer.delivery(0)).toMatchObject({ topic: 'requests/ping', payload: Buffer.from('bye'), qos: 0, clientId: 'gate' })
  await expectNothingBefore(broker, watcher)
})

test('an ordinary will is published', async () => {
  const { broker, watcher } = await watched()
  const client = await RawClient.connected(broker, 4, { will: { topic: 'sensors/gate/status', payload: Buffer.from('offline'), qos: 1, retain: true } })
  client.destroy()
  expect(await watcher.nextOf('publish')).toMatchObject({ topic: 'sensors/gate/status' })
})
