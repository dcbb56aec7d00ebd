// What clients of all versions and both transports see of the broker: ordinary use, and the reason code for each mistake.
import mqtt from 'mqtt'
import { describe, expect, test } from 'vitest'
import { ACCEPTED } from '../../shared/bus.js'
import { afterThisTest, startBroker } from '../support/broker.js'
import { RawClient, type Transport, type Version } from '../support/raw-client.js'

const VERSIONS: [string, Version][] = [['3.1', 3], ['3.1.1', 4], ['5.0', 5]]
const TRANSPORTS: Transport[] = ['tcp', 'ws']

describe.each(VERSIONS)('MQTT %s', (_, version) => {
  test.each(TRANSPORTS)('publishes and subscribes with every QoS over %s', async transport => {
    const broker = await startBroker()
    const url = transport === 'tcp' ? `mqtt://127.0.0.1:${broker.port}` : `ws://127.0.0.1:${broker.wsPort}`
    const client = await mqtt.connectAsync(url, {
      protocolVersion: version, protocolId: version === 3 ? 'MQIsdp' : 'MQTT', clientId: 'a-client', reconnectPeriod: 0
    })
    afterThisTest(() => client.endAsync(true))
    const came: string[] = []
    const three = new Promise<void>(resolve => {
      client.on('message', (topic, payload, { qos }) => {
        came.push(`${topic} ${payload.toString()} ${qos}`)
        if (came.length === 3) resolve()
      })
    })
    await client.subscribeAsync('cameras/+/note', { qos: 2 })
    for (const qos of [0, 1, 2] as const) await client.publishAsync('cameras/north/note', `a${qos}`, { qos })
    await three
    expect(came.sort()).toEqual(['cameras/north/note a0 0', 'cameras/north/note a1 1', 'cameras/north/note a2 2'])
  })

  test.each(TRANSPORTS)('gives what is retained over %s', async transport => {
    const broker = await startBroker({ prepare: async ({ bus }) => await bus.publish('lots/LOT-A/free', '42', { retain: true }) })
    const client = await RawClient.connected(broker, version, { transport })
    client.send({ cmd: 'subscribe', messageId: 7, subscriptions: [{ topic: 'lots/+/free', qos: 1 }] })
    expect(await client.next()).toMatchObject({ cmd: 'suback', messageId: 7, granted: [1] })
    expect(await client.next()).toMatchObject({ cmd: 'publish', topic: 'lots/LOT-A/free', payload: Buffer.from('42'), retain: true, qos: 1 })
  })
})

test('announces its limits, and the base of reply topics to who asks', async () => {
  const broker = await startBroker({ limits: { packetBytes: 100_000, sessionExpirySeconds: 60 } })
  const client = await RawClient.open(broker)
  const connack = await client.connect({ clientId: 'me', properties: { requestResponseInformation: true, sessionExpiryInterval: 3_600 } })
  expect(connack).toMatchObject({
    reasonCode: 0,
    properties: { maximumPacketSize: 100_000, receiveMaximum: 1_000, topicAliasMaximum: 16, sessionExpiryInterval: 60, responseInformation: 'replies/me' }
  })
  const wildcard = await RawClient.open(broker)
  expect((await wildcard.connect({ clientId: 'me/#', properties: { requestResponseInformation: true } })).properties).not.toHaveProperty('responseInformation')
})

test('handles thousands of packets that came behind CONNECT, in order', async () => {
  const broker = await startBroker()
  const watcher = await RawClient.connected(broker)
  watcher.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'cameras/#', qos: 0 }] })
  await watcher.nextOf('suback')
  const eager = await RawClient.open(broker, 4)
  const packets = Array.from({ length: 3_000 }, (_, i) => ({ cmd: 'publish', topic: 'cameras/c', payload: `${i}`, qos: 0, dup: false, retain: false }) as const)
  eager.send({ cmd: 'connect', clientId: 'eager', clean: true, keepalive: 0, protocolId: 'MQTT', protocolVersion: 4 }, ...packets)
  for (let i = 0; i < packets.length; i++) expect((await watcher.nextOf('publish')).payload.toString()).toBe(`${i}`)
})

test('resolves topic aliases, and shows subscribers the topic alone', async () => {
  const broker = await startBroker()
  const watcher = await RawClient.connected(broker)
  watcher.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'cameras/#', qos: 0 }] })
  await watcher.nextOf('suback')
  const client = await RawClient.connected(broker)
  const publish = { cmd: 'publish', qos: 0, dup: false, retain: false, payload: 'x', properties: { topicAlias: 3 } } as const
  client.send({ ...publish, topic: 'cameras/long/name' }, { ...publish, topic: '' })
  for (let i = 0; i < 2; i++) {
    const got = await watcher.nextOf('publish')
    expect(got.topic).toBe('cameras/long/name')
    expect(got.properties?.topicAlias).toBeUndefined()
  }
})

test('answers a SUBSCRIBE with one code for each filter, in their order, whatever they are called', async () => {
  const broker = await startBroker()
  const client = await RawClient.connected(broker)
  client.send({
    cmd: 'subscribe', messageId: 9,
    subscriptions: [{ topic: 'b', qos: 2 }, { topic: '7', qos: 1 }, { topic: '__proto__', qos: 0 }, { topic: 'b', qos: 1 }, { topic: '$share/g/x', qos: 1 }]
  })
  expect(await client.next()).toMatchObject({ cmd: 'suback', messageId: 9, granted: [2, 1, 0, 1, 1] })
  client.send({ cmd: 'subscribe', messageId: 10, subscriptions: [{ topic: 'c', qos: 2 }, { topic: 'c', qos: 0 }] })
  expect(await client.next()).toMatchObject({ cmd: 'suback', messageId: 10, granted: [2, 0] })
  client.send({ cmd: 'publish', topic: '7', payload: 'p', qos: 0, dup: false, retain: false })
  expect(await client.nextOf('publish')).toMatchObject({ topic: '7' })
})

/** Bytes that a connected MQTT 5.0 client sends, and the reason code that must be in the DISCONNECT it gets. */
const MISTAKES: [string, string, number][] = [
  ['a topic that is not UTF-8', '3005' + '0002' + 'c328' + '00', 0x81],
  ['a topic with U+0000', '3005' + '0002' + '6100' + '00', 0x81],
  ['a topic longer than its packet', '3004' + '0009' + '6161', 0x81],
  ['QoS 3', '3607' + '000161' + '0001' + '00' + '78', 0x81],
  ['DUP with QoS 0', '3804' + '000161' + '00', 0x81],
  ['wrong flags of SUBSCRIBE', '8007' + '0001' + '00' + '000161' + '00', 0x81],
  ['reserved subscription options', '8207' + '0001' + '00' + '000161' + 'c0', 0x81],
  ['packet type 0', '0000', 0x81],
  ['PINGREQ with content', 'c00100', 0x81],
  ['a property of another packet', '3009' + '000161' + '05' + '1100000001', 0x81],
  ['an unknown property', '3006' + '000161' + '02' + '7f00', 0x81],
  ['a property length beyond the packet', '3005' + '000161' + '7f' + '01', 0x81],
  ['a truncated response topic', '3212' + '0005746f706963' + '0001' + '03' + '08ffff' + '7061796c6f', 0x81],
  ['a remaining length of five bytes', '30ffffffff7f', 0x81],
  ['packet identifier 0', '3206' + '000161' + '0000' + '00', 0x82],
  ['a payload format indicator of 2', '3006' + '000161' + '02' + '0102', 0x82],
  ['a property twice', '3008' + '000161' + '04' + '01010101', 0x82],
  ['a subscription identifier in PUBLISH', '3006' + '000161' + '02' + '0b01', 0x82],
  ['a subscription identifier 0', '8209' + '0001' + '02' + '0b00' + '000161' + '00', 0x82],
  ['SUBSCRIBE without a filter', '8203' + '0001' + '00', 0x82],
  ['UNSUBSCRIBE without a filter', 'a203' + '0001' + '00', 0x82],
  ['an empty topic without alias', '3003' + '0000' + '00', 0x82],
  ['an alias that was not set', '3006' + '0000' + '03' + '230005', 0x82],
  ['a wildcard in the response topic', '300a' + '000161' + '06' + '080003' + '612f2b', 0x82],
  ['an empty response topic', '3007' + '000161' + '03' + '080000', 0x82],
  ['a second CONNECT', '100e' + '00044d515454' + '0502000000' + '000161', 0x82],
  ['AUTH', 'f000', 0x82],
  ['CONNACK', '2003000000', 0x82],
  ['SUBACK', '9004' + '0001' + '00' + '00', 0x82],
  ['UNSUBACK', 'b004' + '0001' + '00' + '00', 0x82],
  ['PINGRESP', 'd000', 0x82],
  ['PUBACK with an unknown reason', '4003' + '0001' + '55', 0x82],
  ['DISCONNECT with an expiry that CONNECT did not set', 'e007' + '00' + '05' + '1100000005', 0x82],
  ['a filter with # before the end', '820b' + '0001' + '00' + '0005612f232f62' + '00', 0x8f],
  ['a filter with + inside a level', '8208' + '0001' + '00' + '0002612b' + '00', 0x8f],
  ['an empty filter', '8206' + '0001' + '00' + '0000' + '00', 0x8f],
  ['a wildcard in the topic', '3006' + '0003612f2b' + '00', 0x90],
  ['topic alias 0', '3007' + '000161' + '03' + '230000', 0x94],
  ['a topic alias above the maximum', '3007' + '000161' + '03' + '230011', 0x94]
]

describe('a connected MQTT 5.0 client is told why it is closed', () => {
  test.each(MISTAKES)('%s', async (_, hex, reason) => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker)
    const before = client.bytes.length
    client.write(hex)
    await client.closed()
    // On the wire: DISCONNECT, its length, the reason code, and a Reason String.
    const answer = client.bytes.subarray(before)
    expect([answer[0], answer[2]]).toEqual([0xe0, reason])
    expect(client.packets.at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode: reason, properties: { reasonString: expect.stringMatching(/.{8}/) as string } })
    expect(await broker.count(`broker_malformed_packets_total{reason=0x${reason.toString(16)}}`)).toBe(1)
    expect(broker.logged).toHaveLength(1)
  })

  test.each(TRANSPORTS)('a payload of 1 MB over %s, as soon as its header is read', async transport => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker, 5, { transport })
    client.send({ cmd: 'publish', topic: 'cameras/c/frame', payload: Buffer.alloc(1_000_000), qos: 1, messageId: 1, dup: false, retain: false })
    await client.closed()
    expect(client.packets.at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode: 0x95 })
    expect(await broker.count('broker_malformed_packets_total{reason=0x95}')).toBe(1)
  })

  test('even while it goes on sending and reads later', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker)
    client.stream.pause()
    client.write('0000')
    // More than the kernel takes, so that it is still sending when the broker is done with it.
    client.stream.write(Buffer.alloc(20_000_000), () => client.stream.resume())
    await client.closed()
    // Not reset: a reset takes along what was not read yet.
    expect(client.errors).toEqual([])
    expect(client.packets.at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode: 0x81 })
  })

  test('more unacknowledged messages than Receive Maximum', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker)
    client.send(...Array.from({ length: 1_001 }, (_, i) => ({ cmd: 'publish', topic: 'a', payload: 'x', qos: 2, messageId: i + 1, dup: false, retain: false }) as const))
    await client.closed()
    expect(client.packets.at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode: 0x93 })
  })

  test('but not for as many messages as it likes, when they are acknowledged', async () => {
    const broker = await startBroker({
      prepare: ({ bus }) => bus.consume('lots/+/sensor', {
        handle: async batch => batch.map(({ payload }) => payload.length === 1 ? ACCEPTED : { type: 'refused', refusal: { code: 'bad_message', message: 'no' } })
      })
    })
    const client = await RawClient.connected(broker)
    const kinds = [['lots/A/sensor', 'x'], ['lots/A/sensor', 'refused'], ['a', 'x'], ['lots/A/free', 'denied'], ['a/'.repeat(200), 'too deep']] as const
    for (const [topic, payload] of kinds) {
      for (const qos of [1, 2] as const) {
        for (let round = 0; round < 2; round++) {
          for (let i = 1; i <= 600; i++) client.send({ cmd: 'publish', topic, payload, qos, messageId: i, dup: false, retain: false })
          for (let i = 1; i <= 600; i++) {
            const ack = await client.nextOf(qos === 1 ? 'puback' : 'pubrec')
            if (qos === 2 && ack.reasonCode === 0) client.send({ cmd: 'pubrel', messageId: ack.messageId ?? 0 })
          }
        }
      }
    }
    expect((await client.flushed()).every(({ cmd }) => cmd === 'pubcomp')).toBe(true)
  })

  test('a keep alive that was not kept', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker, 5, { keepalive: 1 })
    await client.closed()
    expect(client.packets.at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode: 0x8d })
  })
})

test('closes 3.1.1 clients for the same mistakes, without an answer, and counts them', async () => {
  const broker = await startBroker()
  for (const hex of ['30040002c328', '36050001610001', '0000', '1000', 'f000', '320500016100' + '00']) {
    const client = await RawClient.connected(broker, 4)
    client.write(hex)
    await client.closed()
    expect(client.packets.map(packet => packet.cmd)).toEqual(['connack'])
  }
  expect(await broker.count('broker_malformed_packets_total{reason=0x81}') + await broker.count('broker_malformed_packets_total{reason=0x82}')).toBe(6)
})

/** CONNECT packets that are not accepted, and the code in the CONNACK; null where the version has none. */
const BAD_CONNECTS: [string, string, number | null][] = [
  ['MQTT 6', '100d' + '00044d515454' + '06020000' + '00' + '0000', 0x84],
  ['MQTT 2', '100c' + '00044d515454' + '02020000' + '0000', 0x01],
  ['another protocol', '100d' + '00044854' + '5450' + '05020000' + '00' + '0000', null],
  ['the reserved flag', '100e' + '00044d515454' + '0503000000' + '000161', 0x81],
  ['a client id that is not UTF-8', '100e' + '00044d515454' + '0502000000' + '0001c3', 0x81],
  ['session expiry twice', '1018' + '00044d515454' + '050200' + '0a' + '0a' + '11000000011100000001' + '000170', 0x82],
  ['Receive Maximum 0', '1011' + '00044d515454' + '05020000' + '03' + '210000' + '000161', 0x82],
  ['authentication data alone', '1012' + '00044d515454' + '05020000' + '04' + '16000161' + '000161', 0x82],
  ['an authentication method', '1012' + '00044d515454' + '05020000' + '04' + '15000161' + '000161', 0x8c],
  ['a wildcard in the will topic', '1014' + '00044d515454' + '0506000000' + '000161' + '00' + '00012b' + '0000', 0x90],
  ['a password without a user name in 3.1.1', '1010' + '00044d515454' + '04420000' + '000161' + '000170', null],
  ['bytes behind the last field', '100f' + '00044d515454' + '0502000000' + '000161' + '00', 0x81],
  ['SUBSCRIBE first', '8206' + '0001' + '000161' + '00', null]
]

test.each(BAD_CONNECTS)('refuses %s', async (_, hex, code) => {
  const broker = await startBroker()
  const client = await RawClient.open(broker, code === 1 ? 4 : 5)
  client.write(hex)
  await client.closed()
  if (code === null) expect(client.bytes).toHaveLength(0)
  else expect([client.bytes[0], client.bytes[2], client.bytes[3]]).toEqual([0x20, 0, code])
  expect(await broker.count('broker_clients')).toBe(0)
})

describe('a PUBLISH that is well formed but not taken leaves the client connected', () => {
  const deep = Array.from({ length: 101 }, () => 'a').join('/')

  test('text that is not UTF-8: 0x99', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker)
    const publish = { cmd: 'publish', topic: 'a', payload: Buffer.from('c328', 'hex'), dup: false, retain: false, properties: { payloadFormatIndicator: true } } as const
    client.send({ ...publish, qos: 0 }, { ...publish, qos: 1, messageId: 1 }, { ...publish, qos: 2, messageId: 2 })
    const answers = await client.flushed()
    expect(answers).toMatchObject([{ cmd: 'puback', messageId: 1, reasonCode: 0x99 }, { cmd: 'pubrec', messageId: 2, reasonCode: 0x99 }])
    expect(await broker.count('broker_malformed_packets_total{reason=0x99}')).toBe(3)
  })

  test('a topic with too many levels: 0x90, and a plain acknowledgement in 3.1.1', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker)
    client.send({ cmd: 'publish', topic: deep, payload: 'x', qos: 1, messageId: 1, dup: false, retain: false })
    expect(await client.flushed()).toMatchObject([{ cmd: 'puback', messageId: 1, reasonCode: 0x90 }])
    const older = await RawClient.connected(broker, 4)
    older.send({ cmd: 'publish', topic: deep, payload: 'x', qos: 1, messageId: 1, dup: false, retain: false })
    await older.flushed()
    expect(older.bytes.toString('hex')).toContain('40020001')
  })

  test('no reason in words for a client that wants none', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker, 5, { properties: { requestProblemInformation: false } })
    client.send({ cmd: 'publish', topic: deep, payload: 'x', qos: 1, messageId: 1, dup: false, retain: false })
    const [puback] = await client.flushed()
    expect(puback).toMatchObject({ reasonCode: 0x90 })
    expect(puback).not.toHaveProperty('properties')
  })
})
