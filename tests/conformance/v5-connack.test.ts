// MQTT 5.0 section 3.2: what CONNACK says and when.
import { expect, test } from 'vitest'
import { startBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'
import { connectBytes, expectRefused, packetsIn, publish, publishAcknowledged, subscriber, text } from './v5-wire.js'

/** Section 3.2.2.2. */
const CONNECT_REASONS = [0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f]
const METHOD = '15' + text('SCRAM')

test('CONNACK comes first, also when messages wait, and comes once [MQTT-3.2.0-1] [MQTT-3.2.0-2] [MQTT-3.1.4-5]', async () => {
  const broker = await startBroker()
  const session = { clientId: 'waiting', properties: { sessionExpiryInterval: 100 } }
  const first = await subscriber(broker, 't/#', { qos: 1, ...session })
  first.destroy()
  const sender = await RawClient.connected(broker)
  for (let i = 0; i < 5; i++) await publishAcknowledged(sender, 't/1', `${i}`)
  const again = await RawClient.open(broker)
  again.send({ cmd: 'connect', clean: false, keepalive: 0, protocolId: 'MQTT', protocolVersion: 5, ...session }, { cmd: 'pingreq' })
  expect(await again.next()).toMatchObject({ cmd: 'connack', reasonCode: 0, sessionPresent: true })
  for (let i = 0; i < 5; i++) await again.nextOf('publish')
  expect(again.packets.filter(({ cmd }) => cmd === 'connack')).toHaveLength(1)
})

test('the reserved bits of the flags are 0 [MQTT-3.2.2-1]', async () => {
  const broker = await startBroker()
  const session = { clientId: 'c', properties: { sessionExpiryInterval: 100 } }
  for (const [clean, flags] of [[true, 0], [false, 1]] as const) {
    const client = await RawClient.connected(broker, 5, { ...session, clean })
    expect([client.bytes[0], client.bytes[2], client.bytes[3]]).toEqual([0x20, flags, 0])
    client.destroy()
  }
})

test('a CONNECT that is refused hears of no session, also when there is one, and the session stays [MQTT-3.2.2-6] [MQTT-3.2.2-7]', async () => {
  const broker = await startBroker()
  const session = { clientId: 'c', properties: { sessionExpiryInterval: 100 } }
  const first = await RawClient.connected(broker, 5, session)
  first.send({ cmd: 'disconnect', reasonCode: 0 })
  await first.closed()
  await expectRefused(broker, connectBytes({ flags: '00', props: METHOD }), 0x8c)
  const again = await RawClient.open(broker)
  expect(await again.connect({ ...session, clean: false })).toMatchObject({ sessionPresent: true })
})

test('refuses with the codes of section 3.2.2.2 only [MQTT-3.2.2-8]', async () => {
  const broker = await startBroker()
  for (const bytes of [connectBytes({ version: '07' }), connectBytes({ flags: '01' }), connectBytes({ props: '210000' }), connectBytes({ props: METHOD }), connectBytes({ payload: '' })]) {
    await expectRefused(broker, bytes, ...CONNECT_REASONS, null)
  }
})

test('supports every QoS and retained messages, and so announces no limit of them [MQTT-3.2.2-9] [MQTT-3.2.2-10] [MQTT-3.2.2-12] [MQTT-3.2.2-13]', async () => {
  const broker = await startBroker()
  const client = await RawClient.open(broker)
  const connack = await client.connect({ will: { topic: 't/will', payload: 'x', qos: 2, retain: true } })
  expect(connack.reasonCode).toBe(0)
  expect(connack.properties?.maximumQoS ?? 2).toBe(2)
  expect(connack.properties?.retainAvailable ?? true).toBe(true)
  client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 't/0', qos: 0 }, { topic: 't/1', qos: 1 }, { topic: 't/2', qos: 2 }] })
  expect((await client.nextOf('suback')).granted).toEqual([0, 1, 2])
  client.send(publish('t/2', 'x', { qos: 2, messageId: 1, retain: true }))
  expect((await client.nextOf('pubrec')).reasonCode).toBeLessThan(0x80)
})

test('announces wildcards, subscription identifiers and shared subscriptions as available [3.2.2.3.11] [3.2.2.3.12] [3.2.2.3.13]', async () => {
  const broker = await startBroker()
  const client = await RawClient.open(broker)
  const { properties } = await client.connect()
  expect(properties?.wildcardSubscriptionAvailable ?? true).toBe(true)
  expect(properties?.subscriptionIdentifiersAvailable ?? true).toBe(true)
  expect(properties?.sharedSubscriptionAvailable ?? true).toBe(true)
})

test('announces the limits that it holds clients to [3.2.2.3.3] [3.2.2.3.6] [3.2.2.3.8]', async () => {
  const broker = await startBroker({ limits: { packetBytes: 100_000 } })
  const client = await RawClient.open(broker)
  expect(await client.connect()).toMatchObject({ properties: { receiveMaximum: 1_000, maximumPacketSize: 100_000, topicAliasMaximum: 16 } })
})

test('says what it made of a Session Expiry Interval above its limit, and of none below [3.2.2.3.2]', async () => {
  const broker = await startBroker({ limits: { sessionExpirySeconds: 60 } })
  const above = await RawClient.open(broker)
  expect((await above.connect({ properties: { sessionExpiryInterval: 0xffffffff } })).properties?.sessionExpiryInterval).toBe(60)
  const below = await RawClient.open(broker)
  expect((await below.connect({ properties: { sessionExpiryInterval: 59 } })).properties?.sessionExpiryInterval ?? 59).toBe(59)
})

test('leaves out its Reason String where CONNACK would be larger than the client takes [MQTT-3.2.2-19] [MQTT-3.2.2-20]', async () => {
  const broker = await startBroker()
  const [room = Buffer.alloc(0)] = packetsIn((await expectRefused(broker, connectBytes({ props: METHOD }), 0x8c)).bytes)
  const limit = '27' + (room.length - 1).toString(16).padStart(8, '0')
  const [limited = room] = packetsIn((await expectRefused(broker, connectBytes({ props: limit + METHOD }), 0x8c)).bytes)
  expect(limited.length).toBeLessThan(room.length)
})

test('is never larger than the client takes: what has no room for its CONNACK is not let in [MQTT-3.1.2-24]', async () => {
  const broker = await startBroker()
  for (const size of [4, 5, 8, 12, 16, 20, 24, 40]) {
    const client = await RawClient.open(broker)
    client.write(connectBytes({ props: '27' + size.toString(16).padStart(8, '0') + '1901' }) + 'e000')
    await client.closed()
    for (const bytes of packetsIn(client.bytes)) expect(bytes.length).toBeLessThanOrEqual(size)
  }
})
