// MQTT 5.0 sections 1.5, 2 and 6: strings, lengths, flags, packet identifiers, properties, and WebSocket.
import { once } from 'node:events'
import mqttPacket from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { afterThisTest, startBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'
import { connectBytes, expectDisconnect, expectRefused, field, nextMessages, packet, payloadsUntil, properties, publish, publishAcknowledged, publishBytes, publishesIn, subscribe, subscriber, text, userProperty } from './v5-wire.js'

const SUBSCRIBE = '82'
const UNSUBSCRIBE = 'a2'

describe('text that is not well-formed UTF-8 [MQTT-1.5.4-1]', () => {
  const ILL_FORMED: [string, string][] = [['a byte alone', 'c328'], ['a surrogate', 'eda080'], ['a slash that is too long', 'c0af'], ['above U+10FFFF', 'f4908080']]

  test.each(ILL_FORMED)('in a topic: %s', async (_, bytes) => {
    const broker = await startBroker()
    await expectDisconnect(await RawClient.connected(broker), publishBytes({ topic: field(bytes) }), 0x81)
  })

  test.each(ILL_FORMED)('in a client id: %s', async (_, bytes) => {
    await expectRefused(await startBroker(), connectBytes({ payload: field(bytes) }), 0x81, 0x85, null)
  })
})

test.each<[string, string]>([
  ['a topic', publishBytes({ topic: field('7400') })],
  ['a topic filter', packet(SUBSCRIBE, '0001', '00', field('7400'), '00')],
  ['a user property', publishBytes({ props: '26' + field('00') + text('b') })]
])('U+0000 in %s is malformed [MQTT-1.5.4-2]', async (_, bytes) => {
  const broker = await startBroker()
  await expectDisconnect(await RawClient.connected(broker), bytes, 0x81)
})

test('U+FEFF is a character like any other: neither stripped nor skipped [MQTT-1.5.4-3]', async () => {
  const broker = await startBroker()
  const client = await subscriber(broker, '\ufefft/1')
  client.send(publish('t/1', 'other'), publish('\ufefft/1', 'same', { properties: { contentType: '\ufeffa\ufeff' } }))
  expect(await client.nextOf('publish')).toMatchObject({ topic: '\ufefft/1', payload: Buffer.from('same'), properties: { contentType: '\ufeffa\ufeff' } })
})

test.each<[string, string]>([
  ['Remaining Length', '308600' + text('t/1') + '00'],
  ['a Property Length', packet('30', text('t/1'), '8000', '78')],
  ['a Subscription Identifier', packet(SUBSCRIBE, '0001', properties('0b8100'), text('t/1'), '00')]
])('%s in more bytes than it needs is malformed [MQTT-1.5.5-1]', async (_, bytes) => {
  const broker = await startBroker()
  await expectDisconnect(await RawClient.connected(broker), bytes, 0x81)
})

test('writes lengths in as few bytes as they need [MQTT-1.5.5-1]', async () => {
  const broker = await startBroker()
  const client = await subscriber(broker, 't/1')
  // Behind Remaining Length stand 2 bytes of length, the topic and the Property Length.
  for (const remaining of [127, 128, 16_383, 16_384]) {
    client.send(publish('t/1', Buffer.alloc(remaining - 6)))
    await client.nextOf('publish')
  }
  const heads = publishesIn(client).map(bytes => bytes.toString('hex', 0, 6))
  expect(heads).toEqual(['307f' + '0003742f', '308001' + '000374', '30ff7f' + '000374', '30808001' + '0003'])
})

test.each<[string, string]>([
  ['name', publishBytes({ props: '26' + field('c328') + text('b') })],
  ['value', publishBytes({ props: '26' + text('a') + field('c328') })]
])('the %s of a user property must be UTF-8 as well [MQTT-1.5.7-1]', async (_, bytes) => {
  const broker = await startBroker()
  await expectDisconnect(await RawClient.connected(broker), bytes, 0x81)
})

test.each<[string, string]>([
  ['PUBACK', packet('41', '0001')],
  ['PUBREC', packet('52', '0001')],
  ['PUBREL [MQTT-3.6.1-1]', packet('60', '0001')],
  ['PUBCOMP', packet('78', '0001')],
  ['SUBSCRIBE [MQTT-3.8.1-1]', packet('80', '0001', '00', text('t/1'), '00')],
  ['UNSUBSCRIBE [MQTT-3.10.1-1]', packet('a0', '0001', '00', text('t/1'))],
  ['PINGREQ', 'c100'],
  ['DISCONNECT [MQTT-3.14.1-1]', 'e100'],
  ['AUTH [MQTT-3.15.1-1]', 'f100']
])('wrong reserved flags are malformed [MQTT-2.1.3-1]: %s', async (_, bytes) => {
  const broker = await startBroker()
  await expectDisconnect(await RawClient.connected(broker), bytes, 0x81)
})

test('wrong reserved flags of CONNECT are malformed [MQTT-2.1.3-1]', async () => {
  await expectRefused(await startBroker(), '11' + connectBytes().slice(2), 0x81, null)
})

test('packet types that a server alone sends, and type 0, end the connection [2.1.2]', async () => {
  const broker = await startBroker()
  for (const bytes of ['0000', '2003000000', packet('90', '0001', '00', '00'), packet('b0', '0001', '00', '00'), 'd000']) {
    await expectDisconnect(await RawClient.connected(broker), bytes, 0x81, 0x82)
  }
})

test('sends no packet identifier with QoS 0, and says that there are no properties [MQTT-2.2.1-2] [MQTT-2.2.2-1]', async () => {
  const broker = await startBroker()
  const client = await subscriber(broker, 't/1')
  const sender = await RawClient.connected(broker)
  for (const [payload, qos] of [['x', 0], ['y', 2]] as const) await publishAcknowledged(sender, 't/1', payload, { qos })
  await nextMessages(client, 2)
  expect(publishesIn(client).map(bytes => bytes.toString('hex'))).toEqual([publishBytes({ payload: '78' }), publishBytes({ payload: '79' })])
})

test.each<[string, string]>([
  ['SUBSCRIBE', packet(SUBSCRIBE, '0000', '00', text('t/1'), '00')],
  ['UNSUBSCRIBE', packet(UNSUBSCRIBE, '0000', '00', text('t/1'))],
  ['PUBLISH with QoS 1', publishBytes({ first: '32', id: '0000' })],
  ['PUBLISH with QoS 2', publishBytes({ first: '34', id: '0000' })]
])('packet identifier 0 ends the connection [MQTT-2.2.1-3]: %s', async (_, bytes) => {
  const broker = await startBroker()
  await expectDisconnect(await RawClient.connected(broker), bytes, 0x81, 0x82)
})

test('gives each PUBLISH a packet identifier that is not 0 and not in use [MQTT-2.2.1-4]', async () => {
  const broker = await startBroker()
  const client = await subscriber(broker, 't/1', { qos: 2 })
  const sender = await RawClient.connected(broker)
  const inUse = new Set<number>()
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 10; i++) await publishAcknowledged(sender, 't/1', 'x', { qos: i % 2 === 0 ? 1 : 2 })
    for (const { messageId = 0, qos } of await nextMessages(client, 10)) {
      expect(messageId).toBeGreaterThan(0)
      expect(inUse).not.toContain(messageId)
      inUse.add(messageId)
      // Half of them stay in use: QoS 2 is without PUBCOMP.
      if (qos === 1) {
        client.send({ cmd: 'puback', messageId, reasonCode: 0 })
        inUse.delete(messageId)
      } else if (round < 2) client.send({ cmd: 'pubrec', messageId, reasonCode: 0 })
    }
  }
  expect(inUse.size).toBe(15)
})

test('answers with the packet identifier of what it answers [MQTT-2.2.1-5] [MQTT-2.2.1-6] [MQTT-3.8.4-2] [MQTT-3.10.4-5]', async () => {
  const broker = await startBroker()
  const client = await RawClient.connected(broker)
  for (const messageId of [1, 255, 256, 0xffff]) {
    client.send(publish('t/1', 'x', { qos: 1, messageId }))
    expect(await client.next()).toMatchObject({ cmd: 'puback', messageId })
    client.send(publish('t/1', 'x', { qos: 2, messageId }))
    expect(await client.next()).toMatchObject({ cmd: 'pubrec', messageId })
    client.send({ cmd: 'pubrel', messageId, reasonCode: 0 })
    expect(await client.next()).toMatchObject({ cmd: 'pubcomp', messageId })
    client.send({ cmd: 'subscribe', messageId, subscriptions: [{ topic: 'other', qos: 0 }] })
    expect(await client.next()).toMatchObject({ cmd: 'suback', messageId })
    client.send({ cmd: 'unsubscribe', messageId, unsubscriptions: ['other'] })
    expect(await client.next()).toMatchObject({ cmd: 'unsuback', messageId })
  }
})

test('a client\'s packet identifiers and the server\'s are independent of each other [2.2.1]', async () => {
  const broker = await startBroker()
  const client = await subscriber(broker, 't/1', { qos: 1 })
  const sender = await RawClient.connected(broker)
  await publishAcknowledged(sender, 't/1', 'x')
  const { messageId = 0 } = await client.nextOf('publish')
  client.send(publish('other', 'x', { qos: 1, messageId }))
  expect(await client.next()).toMatchObject({ cmd: 'puback', messageId })
})

test.each<[string, string, number[]]>([
  ['an unknown one', publishBytes({ props: '7f00' }), [0x81, 0x82]],
  ['one of another packet', publishBytes({ props: '1100000001' }), [0x81, 0x82]],
  ['one that goes beyond Property Length', packet('30', text('t/1'), '03', '0200000005'), [0x81]],
  ['a Property Length beyond the packet', packet('30', text('t/1'), '7f', '01'), [0x81]],
  ['one that may stand only once, twice', publishBytes({ props: '01010101' }), [0x82]]
])('properties that end the connection [2.2.2.2]: %s', async (_, bytes, reasons) => {
  const broker = await startBroker()
  await expectDisconnect(await RawClient.connected(broker), bytes, ...reasons)
})

test('the same user property may stand more than once [2.2.2.2]', async () => {
  const broker = await startBroker()
  const client = await subscriber(broker, 't/1')
  client.write(publishBytes({ props: userProperty('a', '1') + userProperty('a', '1') }))
  expect((await client.nextOf('publish')).properties?.userProperties).toEqual({ a: ['1', '1'] })
})

describe('over WebSocket', () => {
  async function open (wsPort: number, protocols: string[] = ['mqtt']): Promise<WebSocket> {
    const socket = new WebSocket(`ws://127.0.0.1:${wsPort}`, protocols)
    afterThisTest(() => socket.terminate())
    await once(socket, 'open')
    return socket
  }

  test('a text frame ends the connection [MQTT-6.0.0-1]', async () => {
    const broker = await startBroker()
    const socket = await open(broker.wsPort)
    const closed = once(socket, 'close')
    socket.send('text')
    await closed
  })

  test('packets need not begin and end with a frame [MQTT-6.0.0-2]', async () => {
    const broker = await startBroker()
    const socket = await open(broker.wsPort)
    const parser = mqttPacket.parser({ protocolVersion: 5 })
    const kinds: string[] = []
    const four = new Promise<void>(resolve => {
      parser.on('packet', ({ cmd }) => { if (kinds.push(cmd) === 4) resolve() })
    })
    socket.on('message', (frame: Buffer) => parser.parse(frame))
    const bytes = Buffer.from(connectBytes() + packet(SUBSCRIBE, '0001', '00', text('t/1'), '00') + publishBytes({ first: '32', id: '0001' }) + 'c000', 'hex')
    // Frames of 3 bytes, then one with all that is left.
    for (let at = 0; at < 30; at += 3) socket.send(bytes.subarray(at, at + 3))
    socket.send(bytes.subarray(30))
    await four
    expect(kinds.sort()).toEqual(expect.arrayContaining(['connack', 'pingresp', 'suback']))
  })

  test('the subprotocol is mqtt [MQTT-6.0.0-4]', async () => {
    const broker = await startBroker()
    expect((await open(broker.wsPort, ['other', 'mqtt'])).protocol).toBe('mqtt')
  })

  test('what is published over TCP arrives over WebSocket, and the other way round [6.0]', async () => {
    const broker = await startBroker()
    const tcp = await subscriber(broker, 't/#')
    const ws = await subscriber(broker, 't/#', { transport: 'ws' })
    tcp.send(publish('t/1', 'from TCP'))
    expect((await ws.nextOf('publish')).payload.toString()).toBe('from TCP')
    ws.send(publish('t/1', 'from WebSocket'), publish('t/1', 'end'))
    expect(await payloadsUntil(tcp)).toEqual(['from TCP', 'from WebSocket'])
  })
})

test('a filter is text too: what is not UTF-8 in SUBSCRIBE and UNSUBSCRIBE is malformed [MQTT-3.8.3-1] [MQTT-3.10.2-1]', async () => {
  const broker = await startBroker()
  await expectDisconnect(await RawClient.connected(broker), packet(SUBSCRIBE, '0001', '00', field('c328'), '00'), 0x81)
  await expectDisconnect(await RawClient.connected(broker), packet(UNSUBSCRIBE, '0001', '00', field('c328')), 0x81)
  const client = await RawClient.connected(broker)
  expect((await subscribe(client, 'ü/ß/世界/🚗')).granted).toEqual([0])
  client.send(publish('ü/ß/世界/🚗', 'x'))
  expect(await client.nextOf('publish')).toMatchObject({ topic: 'ü/ß/世界/🚗' })
})
