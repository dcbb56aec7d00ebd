// MQTT 5.0 sections 3.1: CONNECT, its format, its flags and the limits that a client sets with it. Sessions and wills
// have files of their own.
import { describe, expect, test } from 'vitest'
import type { IPublishPacket } from 'mqtt-packet'
import { startBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'
import { acknowledge, connectBytes, expectDisconnect, expectRefused, field, messagesUntil, nextMessages, packet, packetsIn, payloadsUntil, properties, publish, publishAcknowledged, publishBytes, publishesIn, subscribe, subscriber, text, userProperty } from './v5-wire.js'

/** Properties of CONNECT. */
const METHOD = '15' + text('SCRAM')
const AUTH_DATA = '16' + field('00')

test.each<[string, string]>([
  ['PINGREQ', 'c000'],
  ['PUBLISH', publishBytes()],
  ['SUBSCRIBE', packet('82', '0001', '00', text('t/1'), '00')],
  ['DISCONNECT', 'e000'],
  ['AUTH', 'f000']
])('%s before CONNECT ends the connection without a word [MQTT-3.1.0-1]', async (_, bytes) => {
  const { bytes: answer } = await expectRefused(await startBroker(), bytes + connectBytes(), null)
  expect(answer).toHaveLength(0)
})

test('a second CONNECT is a protocol error, and gets no second CONNACK [MQTT-3.1.0-2] [MQTT-3.2.0-2]', async () => {
  const broker = await startBroker()
  const client = await RawClient.connected(broker)
  await expectDisconnect(client, connectBytes({ flags: '00' }), 0x82)
  expect(client.packets.map(({ cmd }) => cmd)).toEqual(['connack', 'disconnect'])
})

describe('a CONNECT that is not as section 3.1 says ends the connection [MQTT-3.1.4-1]', () => {
  const WILL = '00' + text('t/1') + text('gone')
  const CASES: [string, string, (number | null)[]][] = [
    ['the protocol name is not MQTT [MQTT-3.1.2-1]', connectBytes({ name: text('MQTX') }), [0x84, null]],
    ['the protocol version is 6 [MQTT-3.1.2-2]', connectBytes({ version: '06' }), [0x84, null]],
    ['the reserved flag is set [MQTT-3.1.2-3]', connectBytes({ flags: '03' }), [0x81, null]],
    ['a Will flag without the will\'s fields [MQTT-3.1.2-9]', connectBytes({ flags: '06' }), [0x81, null]],
    ['a Will flag without a will payload [MQTT-3.1.2-9]', connectBytes({ flags: '06', payload: text('c') + '00' + text('t/1') }), [0x81, null]],
    ['fields of a will without the flag [MQTT-3.1.2-9]', connectBytes({ payload: text('c') + WILL }), [0x81, null]],
    ['Will QoS 1 without a will [MQTT-3.1.2-11]', connectBytes({ flags: '0a' }), [0x81, null]],
    ['Will QoS 3 [MQTT-3.1.2-12]', connectBytes({ flags: '1e', payload: text('c') + WILL }), [0x81, null]],
    ['Will Retain without a will [MQTT-3.1.2-13]', connectBytes({ flags: '22' }), [0x81, null]],
    ['a user name without the flag [MQTT-3.1.2-16]', connectBytes({ payload: text('c') + text('me') }), [0x81, null]],
    ['the flag without a user name [MQTT-3.1.2-17]', connectBytes({ flags: '82' }), [0x81, null]],
    ['a password without the flag [MQTT-3.1.2-18]', connectBytes({ flags: '82', payload: text('c') + text('me') + text('secret') }), [0x81, null]],
    ['the flag without a password [MQTT-3.1.2-19]', connectBytes({ flags: 'c2', payload: text('c') + text('me') }), [0x81, null]],
    ['no client id [MQTT-3.1.3-3]', connectBytes({ payload: '' }), [0x81, null]],
    ['a client id that is not UTF-8 [MQTT-3.1.3-4]', connectBytes({ payload: field('c328') }), [0x81, 0x85, null]],
    ['a will topic that is not UTF-8 [MQTT-3.1.3-11]', connectBytes({ flags: '06', payload: text('c') + '00' + field('c328') + text('x') }), [0x81, null]],
    ['a will topic with a wildcard [MQTT-3.1.3-11]', connectBytes({ flags: '06', payload: text('c') + '00' + text('t/+') + text('x') }), [0x81, 0x82, 0x90, null]],
    ['a user name that is not UTF-8 [MQTT-3.1.3-12]', connectBytes({ flags: '82', payload: text('c') + field('c328') }), [0x81, null]],
    ['Receive Maximum 0 [3.1.2.11.3]', connectBytes({ props: '210000' }), [0x82]],
    ['Maximum Packet Size 0 [3.1.2.11.4]', connectBytes({ props: '2700000000' }), [0x82]],
    ['Request Response Information 2 [3.1.2.11.6]', connectBytes({ props: '1902' }), [0x82]],
    ['Request Problem Information 2 [3.1.2.11.7]', connectBytes({ props: '1702' }), [0x82]],
    ['authentication data without a method [3.1.2.11.10]', connectBytes({ props: AUTH_DATA }), [0x82]],
    ['a property of PUBLISH [3.1.2.11]', connectBytes({ props: '230001' }), [0x81, 0x82]],
    ['a will property that a will has not [3.1.3.2]', connectBytes({ flags: '06', payload: text('c') + properties('230001') + text('t/1') + text('x') }), [0x81, 0x82]]
  ]
  test.each(CASES)('%s', async (_, bytes, reasons) => {
    await expectRefused(await startBroker(), bytes, ...reasons)
  })

  test.each<[string, string]>([
    ['Session Expiry Interval [3.1.2.11.2]', '1100000001'], ['Receive Maximum [3.1.2.11.3]', '210001'], ['Maximum Packet Size [3.1.2.11.4]', '2700001000'],
    ['Topic Alias Maximum [3.1.2.11.5]', '220001'], ['Request Response Information [3.1.2.11.6]', '1900'],
    ['Request Problem Information [3.1.2.11.7]', '1700'], ['Authentication Method [3.1.2.11.9]', METHOD]
  ])('twice %s', async (_, property) => {
    await expectRefused(await startBroker(), connectBytes({ props: property + property }), 0x82)
  })

  test.each<[string, string]>([
    ['Will Delay Interval [3.1.3.2.2]', '1800000001'], ['Payload Format Indicator [3.1.3.2.3]', '0100'], ['Message Expiry Interval [3.1.3.2.4]', '0200000001'],
    ['Content Type [3.1.3.2.5]', '03' + text('a')], ['Response Topic [3.1.3.2.6]', '08' + text('a')], ['Correlation Data [3.1.3.2.7]', '09' + field('00')]
  ])('twice in a will %s', async (_, property) => {
    await expectRefused(await startBroker(), connectBytes({ flags: '06', payload: text('c') + properties(property, property) + text('t/1') + text('x') }), 0x82)
  })
})

test('takes all fields in their order, and user properties as often as they come [MQTT-3.1.3-1] [3.1.2.11.8]', async () => {
  const broker = await startBroker()
  const watcher = await subscriber(broker, 't/#')
  const client = await RawClient.open(broker)
  client.write(connectBytes({
    flags: 'c6', props: userProperty('a', '1') + userProperty('a', '1'),
    payload: text('full') + properties('03' + text('text/plain')) + text('t/will') + text('gone') + text('user') + text('secret')
  }))
  expect(await client.next()).toMatchObject({ cmd: 'connack', reasonCode: 0 })
  client.destroy()
  expect(await watcher.nextOf('publish')).toMatchObject({ topic: 't/will', payload: Buffer.from('gone'), properties: { contentType: 'text/plain' } })
})

test('takes a password without a user name [3.1.2.9]', async () => {
  const broker = await startBroker()
  const client = await RawClient.open(broker)
  client.write(connectBytes({ flags: '42', payload: text('c') + text('secret') }))
  expect(await client.next()).toMatchObject({ cmd: 'connack', reasonCode: 0 })
})

test('takes client ids of 1 to 23 letters and digits [MQTT-3.1.3-5]', async () => {
  const broker = await startBroker()
  for (const clientId of ['0', 'Z', '0123456789abcdefghijklm', 'nopqrstuvwxyzABCDEFGHIJ', 'KLMNOPQRSTUVWXYZ']) {
    const client = await RawClient.open(broker)
    expect(await client.connect({ clientId })).toMatchObject({ reasonCode: 0 })
  }
})

test('gives a client without an id one of its own, which is good for a session [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]', async () => {
  const broker = await startBroker()
  const assigned: string[] = []
  for (let i = 0; i < 3; i++) {
    const client = await RawClient.open(broker)
    const connack = await client.connect({ clientId: '', properties: { sessionExpiryInterval: 100 } })
    expect(connack).toMatchObject({ reasonCode: 0, sessionPresent: false })
    assigned.push(connack.properties?.assignedClientIdentifier ?? '')
    await subscribe(client, 't/1', { qos: 1 })
  }
  expect(new Set(assigned).size).toBe(3)
  expect(assigned).not.toContain('')
  const again = await RawClient.open(broker)
  const connack = await again.connect({ clientId: assigned[0] ?? '', clean: false })
  expect(connack).toMatchObject({ sessionPresent: true })
  expect(connack.properties ?? {}).not.toHaveProperty('assignedClientIdentifier')
})

test('does nothing of what stands behind a CONNECT that it refuses [MQTT-3.1.4-6] [MQTT-3.1.4-2] [MQTT-3.2.2-7]', async () => {
  const broker = await startBroker()
  const watcher = await subscriber(broker, 't/#')
  await expectRefused(broker, connectBytes({ props: METHOD }) + publishBytes({ payload: Buffer.from('forbidden').toString('hex') }), 0x8c)
  const client = await RawClient.connected(broker)
  client.send(publish('t/1', 'end'))
  expect(await payloadsUntil(watcher)).toEqual([])
})

test('takes what a client sends behind CONNECT without waiting for CONNACK [3.1.4]', async () => {
  const broker = await startBroker()
  const client = await RawClient.open(broker)
  client.write(connectBytes(), packet('82', '0001', '00', text('t/1'), '00'), publishBytes())
  expect((await client.next()).cmd).toBe('connack')
  expect((await client.next()).cmd).toBe('suback')
  expect(await client.next()).toMatchObject({ cmd: 'publish', topic: 't/1' })
})

test('a client with the same id takes over: the first one is told 0x8E and closed [MQTT-3.1.4-3] [MQTT-3.1.3-2]', async () => {
  const broker = await startBroker()
  const first = await RawClient.connected(broker, 5, { clientId: 'same' })
  const bystander = await RawClient.connected(broker, 5, { clientId: 'Same' })
  const second = await RawClient.open(broker)
  expect(await second.connect({ clientId: 'same' })).toMatchObject({ reasonCode: 0 })
  await expectDisconnect(first, null, 0x8e)
  await second.flushed()
  await bystander.flushed()
})

describe('Keep Alive', () => {
  test('nothing for one and a half times as long: closed, and the will is published [MQTT-3.1.2-22] [MQTT-3.2.2-22]', async () => {
    const broker = await startBroker()
    const watcher = await subscriber(broker, 't/#')
    const client = await RawClient.open(broker)
    const connack = await client.connect({ keepalive: 1, will: { topic: 't/will', payload: 'gone' } })
    expect(connack.properties ?? {}).not.toHaveProperty('serverKeepAlive')
    const fromMs = performance.now()
    await expectDisconnect(client, null, 0x8d)
    expect(performance.now() - fromMs).toBeGreaterThan(1_400)
    expect((await watcher.nextOf('publish')).payload.toString()).toBe('gone')
  })

  test('longer than the server takes, or none: it is told the server\'s, which holds; older clients keep their own [3.2.2.3.14]', async () => {
    const broker = await startBroker({ limits: { keepAliveSeconds: 1 } })
    const older = await RawClient.connected(broker, 4, { keepalive: 0 })
    const clients = await Promise.all([0, 65_535].map(async keepalive => {
      const client = await RawClient.open(broker)
      expect((await client.connect({ keepalive })).properties?.serverKeepAlive).toBe(1)
      return client
    }))
    for (const client of clients) await expectDisconnect(client, null, 0x8d)
    await older.flushed()
  })

  test('any packet keeps it alive [MQTT-3.1.2-22]', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker, 5, { keepalive: 1 })
    // What goes silent half a second later outlives what went silent now.
    const silent = await RawClient.connected(broker, 5, { keepalive: 1 })
    const timer = setInterval(() => client.send(publish('t/1', 'x')), 300)
    await silent.closed()
    clearInterval(timer)
    await client.flushed()
  })
})

describe('Maximum Packet Size', () => {
  test('what is larger is not sent, as if it had been, and holds up nothing [MQTT-3.1.2-24] [MQTT-3.1.2-25]', async () => {
    const broker = await startBroker()
    const small = await subscriber(broker, 't/#', { qos: 2, properties: { maximumPacketSize: 100, receiveMaximum: 1 } })
    const large = await subscriber(broker, 't/#', { qos: 2 })
    const sender = await RawClient.connected(broker)
    const big = Buffer.alloc(100, 'b')
    // Exactly 100 bytes: header 2, topic 5, packet identifier 2, Property Length 1; the 93 bytes go with QoS 0.
    const fits = Buffer.alloc(90, 'f')
    const payloads = [big, big, fits, Buffer.alloc(93, 'b'), big, 'end']
    for (const [i, payload] of payloads.entries()) await publishAcknowledged(sender, 't/1', payload, { qos: i % 3 as 0 | 1 | 2 })
    const got: IPublishPacket[] = []
    while (got.at(-1)?.payload.toString() !== 'end') {
      const message = await small.nextOf('publish')
      got.push(message)
      await acknowledge(small, message)
    }
    expect(got.map(message => message.payload.length)).toEqual([90, 3])
    expect(Math.max(...packetsIn(small.bytes).map(bytes => bytes.length))).toBeLessThanOrEqual(100)
    expect(await messagesUntil(large)).toHaveLength(5)
  })

  test('a retained message too [MQTT-3.1.2-24] [MQTT-3.1.2-25]', async () => {
    const broker = await startBroker()
    const sender = await RawClient.connected(broker)
    await publishAcknowledged(sender, 't/1', Buffer.alloc(500), { retain: true })
    await publishAcknowledged(sender, 't/2', 'small', { retain: true })
    const client = await subscriber(broker, 't/#', { qos: 1, properties: { maximumPacketSize: 100, receiveMaximum: 1 } })
    expect((await client.nextOf('publish')).payload.toString()).toBe('small')
  })

  test('a queue of a session that is resumed with less room [MQTT-3.1.2-24]', async () => {
    const broker = await startBroker()
    const session = { clientId: 'resumed', properties: { sessionExpiryInterval: 100 } }
    const first = await subscriber(broker, 't/#', { qos: 1, ...session })
    first.send({ cmd: 'disconnect', reasonCode: 0 })
    await first.closed()
    const sender = await RawClient.connected(broker)
    await publishAcknowledged(sender, 't/1', Buffer.alloc(500))
    await publishAcknowledged(sender, 't/1', 'small')
    const again = await RawClient.connected(broker, 5, { clientId: 'resumed', clean: false, properties: { sessionExpiryInterval: 100, maximumPacketSize: 100 } })
    expect((await again.nextOf('publish')).payload.toString()).toBe('small')
  })
})

describe('Topic Alias Maximum', () => {
  const TOPICS = Array.from({ length: 40 }, (_, i) => `t/a-rather-long-name/${i % 4}`)
  const SESSION = { clientId: 'short', clean: false, properties: { topicAliasMaximum: 2, sessionExpiryInterval: 100 } }

  /** The aliases that messages came with, and the topics that a client finds for them when it begins with no aliases. */
  function resolve (messages: readonly IPublishPacket[]): { used: number[], topics: (string | undefined)[] } {
    const aliases = new Map<number, string>()
    const used: number[] = []
    const topics = messages.map(({ topic, properties: props }) => {
      const alias = props?.topicAlias
      if (alias === undefined) return topic
      used.push(alias)
      if (topic !== '') aliases.set(alias, topic)
      return aliases.get(alias)
    })
    return { used, topics }
  }

  async function exchange (client: RawClient): Promise<ReturnType<typeof resolve>> {
    client.send(...TOPICS.map(topic => publish(topic, 'x')))
    return resolve(await nextMessages(client, TOPICS.length))
  }

  test('no alias for a client that names none, or 0 [MQTT-3.1.2-27]', async () => {
    const broker = await startBroker()
    for (const options of [{}, { topicAliasMaximum: 0 }]) {
      expect(await exchange(await subscriber(broker, 't/#', { properties: options }))).toEqual({ used: [], topics: TOPICS })
    }
  })

  test('no alias above the maximum, and every one stands for its topic, anew on each connection [MQTT-3.1.2-26] [MQTT-3.3.2-11] [MQTT-3.3.2-7] [MQTT-3.3.2-8]', async () => {
    const broker = await startBroker()
    let client = await subscriber(broker, 't/#', SESSION)
    for (let round = 0; round < 2; round++) {
      const { used, topics } = await exchange(client)
      expect(topics).toEqual(TOPICS)
      for (const alias of used) expect([1, 2]).toContain(alias)
      client.destroy()
      await client.closed()
      client = await RawClient.connected(broker, 5, SESSION)
    }
  })

  test('a message that was too large to send has told its client no alias [MQTT-3.3.2-11] [MQTT-3.1.2-25]', async () => {
    const broker = await startBroker()
    const client = await subscriber(broker, 't/#', { properties: { topicAliasMaximum: 2, maximumPacketSize: 100 } })
    const payloads = Array.from({ length: 12 }, (_, i) => i % 3 === 2 ? 'small' : 'x'.repeat(200))
    client.send(...payloads.map((payload, i) => publish(TOPICS[i % 2] ?? '', payload)))
    const { topics } = resolve(await nextMessages(client, 4))
    expect(topics).toEqual([2, 5, 8, 11].map(i => TOPICS[i % 2]))
  })
})

test('gives response information only to who asks for it [MQTT-3.1.2-28]', async () => {
  const broker = await startBroker()
  for (const asked of [{}, { requestResponseInformation: false }]) {
    const client = await RawClient.open(broker)
    expect((await client.connect({ properties: asked })).properties ?? {}).not.toHaveProperty('responseInformation')
  }
  const client = await RawClient.open(broker)
  const base = (await client.connect({ properties: { requestResponseInformation: true } })).properties?.responseInformation
  // It is a base for topics that may be subscribed to and published on.
  expect(base).toMatch(/^[^+#]+$/)
  await subscribe(client, `${base}/1`)
  client.send(publish(`${base}/1`, 'reply'))
  expect((await client.nextOf('publish')).payload.toString()).toBe('reply')
})

test('no Reason String or User Property beside other packets for who wants none [MQTT-3.1.2-29]', async () => {
  const broker = await startBroker()
  const client = await RawClient.connected(broker, 5, { properties: { requestProblemInformation: false } })
  await subscribe(client, [{ topic: 't/#', qos: 0 }, { topic: '$share/g/t/1', qos: 0 }])
  client.send({ cmd: 'unsubscribe', messageId: 1, unsubscriptions: ['never'] })
  await client.nextOf('unsuback')
  // Refused: only the services publish there.
  client.send(publish('lots/LOT-A/free', '1', { qos: 1, messageId: 1 }))
  expect((await client.nextOf('puback')).reasonCode).toBe(0x87)
  client.send(publish('lots/LOT-A/free', '1', { qos: 2, messageId: 2 }))
  expect((await client.nextOf('pubrec')).reasonCode).toBe(0x87)
  client.send({ cmd: 'pubrel', messageId: 77, reasonCode: 0 })
  expect((await client.nextOf('pubcomp')).reasonCode).toBe(0x92)
  for (const { cmd, ...rest } of client.packets) {
    if (cmd === 'connack') continue
    expect(rest).not.toHaveProperty('properties.reasonString')
    expect(rest).not.toHaveProperty('properties.userProperties')
  }
  // What a message carries is no problem information.
  client.write(publishBytes({ props: userProperty('a', '1') }))
  await client.nextOf('publish')
  expect(publishesIn(client)[0]?.toString('hex')).toBe(publishBytes({ props: userProperty('a', '1') }))
})
