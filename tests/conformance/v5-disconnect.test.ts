// MQTT 5.0 sections 3.12 to 3.15: PINGREQ, DISCONNECT and AUTH.
import { expect, test } from 'vitest'
import { startBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'
import { connectBytes, expectDisconnect, expectRefused, field, packet, packetsIn, payloadsUntil, properties, publish, publishBytes, subscriber, text } from './v5-wire.js'

/** What a server may say in DISCONNECT: section 3.14.2.1. */
const DISCONNECT_REASONS = [0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2]

/** Bytes that end a connection, for different reasons. */
const FATAL = ['0000', publishBytes({ props: '230000' }), publishBytes({ topic: text('t/+') }), packet('82', '0001', '00', text('t/#/x'), '00'), packet('82', '0001', '00'), 'f000', publishBytes({ props: '0102' })]

test.each(['tcp', 'ws'] as const)('answers PINGREQ with PINGRESP over %s [MQTT-3.12.4-1]', async transport => {
  const broker = await startBroker()
  const client = await RawClient.connected(broker, 5, { transport })
  const before = client.bytes.length
  client.write('c000', 'c000')
  await client.nextOf('pingresp')
  await client.nextOf('pingresp')
  expect(client.bytes.toString('hex', before)).toBe('d000d000')
})

test('sends no DISCONNECT before a CONNACK that lets in [MQTT-3.14.0-1]', async () => {
  const broker = await startBroker()
  for (const bytes of [connectBytes({ flags: '03' }), connectBytes({ version: '06' }), connectBytes({ props: '210000' }), connectBytes({ props: '15' + text('SCRAM') }), 'e000', 'f000', '0000', 'c000']) {
    const client = await expectRefused(broker, bytes, 0x81, 0x82, 0x84, 0x8c, null)
    for (const answer of packetsIn(client.bytes)) expect(answer[0]).toBe(0x20)
  }
})

test('gives reasons of the list, no Session Expiry Interval, and nothing after DISCONNECT [MQTT-3.14.2-1] [MQTT-3.14.2-2] [MQTT-3.14.4-1]', async () => {
  const broker = await startBroker()
  for (const bytes of FATAL) {
    const client = await RawClient.connected(broker)
    await expectDisconnect(client, bytes + publishBytes() + 'c000', ...DISCONNECT_REASONS)
    expect(client.packets.map(({ cmd }) => cmd)).toEqual(['connack', 'disconnect'])
    expect(client.packets.at(-1)).not.toHaveProperty('properties.sessionExpiryInterval')
  }
})

test('does nothing of what stands behind the bytes that ended the connection [MQTT-3.14.4-1]', async () => {
  const broker = await startBroker()
  const watcher = await subscriber(broker, 't/#')
  const client = await RawClient.connected(broker)
  await expectDisconnect(client, '0000' + publishBytes(), 0x81, 0x82)
  const other = await RawClient.connected(broker)
  other.send(publish('t/1', 'end'))
  expect(await payloadsUntil(watcher)).toEqual([])
})

test('leaves out its Reason String where DISCONNECT would be larger than the client takes [MQTT-3.14.2-3] [MQTT-3.14.2-4]', async () => {
  const broker = await startBroker()
  async function answer (options: { maximumPacketSize?: number }): Promise<Buffer> {
    const client = await RawClient.connected(broker, 5, { properties: options })
    client.write(publishBytes({ props: '230000' }))
    await client.closed()
    return packetsIn(client.bytes).at(-1) ?? Buffer.alloc(0)
  }
  const { length } = await answer({})
  const limited = await answer({ maximumPacketSize: length - 1 })
  expect([limited[0], limited[2]]).toEqual([0xe0, 0x94])
  expect(limited.length).toBeLessThan(length)
})

test('closes the connection of who says DISCONNECT, without an answer [MQTT-3.14.4-2]', async () => {
  const broker = await startBroker()
  for (const bytes of ['e000', 'e00100', 'e0020000', packet('e0', '00', properties('1f' + text('bye'), '26' + text('a') + text('b')))]) {
    const client = await RawClient.connected(broker)
    client.write(bytes)
    await client.closed()
    expect(client.packets.map(({ cmd }) => cmd)).toEqual(['connack'])
  }
})

test('does nothing of what stands behind DISCONNECT [3.14.4]', async () => {
  const broker = await startBroker()
  const watcher = await subscriber(broker, 't/#')
  const client = await RawClient.connected(broker)
  client.write(publishBytes({ payload: Buffer.from('before').toString('hex') }) + 'e000' + publishBytes())
  await client.closed()
  const other = await RawClient.connected(broker)
  other.send(publish('t/1', 'end'))
  expect(await payloadsUntil(watcher)).toEqual(['before'])
})

test.each<[string, string, number[]]>([
  ['a reason that a client may not give', 'e0018b', [0x81, 0x82]],
  ['a reason that does not exist', 'e00103', [0x81, 0x82]],
  ['a property that DISCONNECT has not', packet('e0', '00', properties('2100ff')), [0x81, 0x82]],
  ['a Session Expiry Interval twice', packet('e0', '00', properties('1100000000', '1100000000')), [0x82]],
  ['a Server Reference, which only servers send', packet('e0', '00', properties('1c' + text('a'))), [0x81, 0x82]],
  ['bytes behind its properties', packet('e0', '00', '00', '00'), [0x81]]
])('DISCONNECT with %s is an error [MQTT-3.14.2-1] [3.14.2]', async (_, bytes, reasons) => {
  const broker = await startBroker()
  await expectDisconnect(await RawClient.connected(broker), bytes, ...reasons)
})

test('a session that CONNECT let end with the connection cannot be kept by DISCONNECT [3.14.2.2.2]', async () => {
  const broker = await startBroker()
  const client = await RawClient.connected(broker)
  await expectDisconnect(client, packet('e0', '00', properties('1100000064')), 0x82)
})

test('tells clients that it shuts down [3.14.2.1]', async () => {
  const broker = await startBroker()
  const client = await RawClient.connected(broker)
  await broker.close()
  await expectDisconnect(client, null, 0x8b)
})

test('a packet above the Maximum Packet Size that it announced ends the connection with 0x95 [3.2.2.3.6]', async () => {
  const broker = await startBroker({ limits: { packetBytes: 2_000 } })
  const client = await RawClient.connected(broker)
  // Exactly the limit: header 3, topic 5, Property Length 1.
  client.send(publish('t/1', Buffer.alloc(2_000 - 9)))
  await client.flushed()
  await expectDisconnect(client, publishBytes({ payload: '00'.repeat(2_000 - 8) }), 0x95)
})

test('AUTH without an authentication that CONNECT began is a protocol error [MQTT-3.15.2-1] [3.15]', async () => {
  const broker = await startBroker()
  for (const bytes of ['f000', packet('f0', '18', properties('15' + text('SCRAM'))), packet('f0', '19', properties('15' + text('SCRAM'), '16' + field('00')))]) {
    await expectDisconnect(await RawClient.connected(broker), bytes, 0x82)
  }
})
