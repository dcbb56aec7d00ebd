// MQTT 3.1.1 sections 3.3 and 3.8 to 3.11: subscriptions, their answers, the QoS of what they bring, and retained
// messages. Statement numbers are those of 3.1.1 throughout.
import { describe, expect, test } from 'vitest'
import type { QoS } from 'mqtt-packet'
import { startBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'
import { deliver, expectQuiet, freshId, join, kept, leave, listen, listener, payloadsOf, receive, take } from './parties.js'
import { packet, pass, publish, text } from './v5-wire.js'

const QOS: QoS[] = [0, 1, 2]

describe('SUBSCRIBE', () => {
  test('gets one code a filter, in their order, with its identifier (3.1.1: MQTT-3.8.4-1, MQTT-3.8.4-2, MQTT-3.8.4-4, MQTT-3.8.4-5, MQTT-3.9.3-1, MQTT-3.9.3-2, MQTT-2.3.1-7)', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker, 4)
    const filters: [string, number][] = [['a', 2], ['+/b', 0], ['#', 1], ['a', 1], ['c/#', 2], ['/', 0]]
    client.write(packet('82', 'beef', ...filters.flatMap(([filter, qos]) => [text(filter), `0${qos}`])))
    await client.nextOf('suback')
    expect(client.bytes.subarray(4).toString('hex')).toBe(packet('90', 'beef', ...filters.map(([, qos]) => `0${qos}`)))
  })

  test.each(QOS.flatMap(published => QOS.map(granted => [published, granted] as const)))(
    'a message of QoS %i comes with QoS %i at most (3.1.1: MQTT-3.8.4-6)', async (published, granted) => {
      const broker = await startBroker()
      const client = await listener(broker, 4, 't', granted)
      const sender = await RawClient.connected(broker, 4)
      await deliver(sender, 't', 'x', published)
      const [message] = await receive(client, 1)
      expect(message).toMatchObject({ topic: 't', qos: Math.min(published, granted), dup: false, retain: false })
      expect(message?.messageId === undefined).toBe(Math.min(published, granted) === 0)
    })

  test('again with the same filter replaces the QoS, and brings what is retained again (3.1.1: MQTT-3.8.4-3)', async () => {
    const broker = await startBroker()
    const sender = await RawClient.connected(broker, 4)
    await deliver(sender, 't', 'retained', 2, { retain: true })
    const client = await listener(broker, 4, 't', 2)
    expect(await receive(client, 1)).toMatchObject([{ qos: 2, retain: true }])
    expect(await listen(client, ['t'], 0)).toEqual([0])
    expect(await receive(client, 1)).toMatchObject([{ qos: 0, retain: true }])
    await deliver(sender, 't', 'live', 2)
    expect(await receive(client, 1)).toMatchObject([{ payload: Buffer.from('live'), qos: 0, retain: false }])
    await expectQuiet(client, sender)
  })

  test('filters that overlap bring a message with the highest QoS among them; here in one copy (3.1.1: MQTT-3.3.5-1)', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker, 4)
    await listen(client, [{ topic: 'a/#', qos: 0 }, { topic: 'a/+', qos: 2 }, { topic: '+/b', qos: 1 }, { topic: '#', qos: 1 }])
    const sender = await RawClient.connected(broker, 4)
    await deliver(sender, 'a/b', 'x', 2)
    await deliver(sender, 'c/b', 'end', 2)
    expect((await receive(client)).map(({ payload, qos }) => [payload.toString(), qos])).toEqual([['x', 2]])
  })

  test.each<[string, string]>([
    ['no filter (3.1.1: MQTT-3.8.3-3)', packet('82', '0001')],
    ['wrong flags (3.1.1: MQTT-3.8.1-1)', packet('80', '0001', text('t'), '00')],
    ['QoS 3 (3.1.1: MQTT-3.8.3-4)', packet('82', '0001', text('t'), '03')],
    ['a reserved bit beside the QoS (3.1.1: MQTT-3.8.3-4)', packet('82', '0001', text('t'), '04')],
    ['no QoS (3.1.1: MQTT-3.8.3-4)', packet('82', '0001', text('t'))],
    ['identifier 0 (3.1.1: MQTT-2.3.1-1)', packet('82', '0000', text('t'), '00')],
    ['a filter that is not UTF-8 (3.1.1: MQTT-3.8.3-1)', packet('82', '0001', '0002c328', '00')],
    ['an empty filter (3.1.1: MQTT-4.7.3-1)', packet('82', '0001', text(''), '00')]
  ])('with %s ends the connection, MQTT-4.8.0-1', async (_, hex) => {
    const client = await RawClient.connected(await startBroker(), 4)
    client.write(hex)
    await client.closed()
    expect(client.packets.map(({ cmd }) => cmd)).toEqual(['connack'])
  })

  test.each(['a#', 'a/#/b', '+a', 'a+/b', '##', 'a/b#'])('the filter %j is never granted (3.1.1: MQTT-4.7.1-2, MQTT-4.7.1-3)', async filter => {
    const client = await RawClient.connected(await startBroker(), 4)
    client.write(packet('82', '0001', text(filter), '00') + 'c000')
    await expect.poll(() => client.isClosed || client.packets.some(({ cmd }) => cmd === 'pingresp')).toBe(true)
    for (const answer of client.packets.slice(1)) if (answer.cmd === 'suback') expect(answer.granted).toEqual([0x80])
  })
})

describe('UNSUBSCRIBE', () => {
  test('ends what is named exactly, and is answered in any case (3.1.1: MQTT-3.10.4-1, MQTT-3.10.4-2, MQTT-3.10.4-4, MQTT-3.10.4-5, MQTT-3.10.4-6)', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker, 4)
    await listen(client, ['a/b', 'A/B', 'c/#', 'd'], 1)
    client.write(packet('a2', 'cafe', text('a/b'), text('c/+'), text('none'), text('d')))
    expect(await client.next()).toMatchObject({ cmd: 'unsuback', messageId: 0xcafe })
    expect(client.bytes.subarray(-4).toString('hex')).toBe('b002cafe')
    const sender = await RawClient.connected(broker, 4)
    for (const topic of ['a/b', 'd', 'A/B', 'c/d']) await deliver(sender, topic, topic)
    expect(payloadsOf(await receive(client, 2))).toEqual(['A/B', 'c/d'])
    await expectQuiet(client, sender)
  })

  test('lets what has begun come to its end (3.1.1: MQTT-3.10.4-3)', async () => {
    const broker = await startBroker()
    const client = await listener(broker, 4, 't', 2)
    const sender = await RawClient.connected(broker, 4)
    await deliver(sender, 't', 'begun', 2)
    const [{ messageId = 0 } = {}] = await take(client, 1)
    client.send({ cmd: 'unsubscribe', messageId: 3, unsubscriptions: ['t'] })
    await client.nextOf('unsuback')
    client.send({ cmd: 'pubrec', messageId })
    expect(await client.next()).toMatchObject({ cmd: 'pubrel', messageId })
    client.send({ cmd: 'pubcomp', messageId })
    await expectQuiet(client)
  })

  test.each<[string, string]>([
    ['no filter (3.1.1: MQTT-3.10.3-2)', packet('a2', '0001')], ['wrong flags (3.1.1: MQTT-3.10.1-1)', packet('a0', '0001', text('t'))],
    ['identifier 0 (3.1.1: MQTT-2.3.1-1)', packet('a2', '0000', text('t'))], ['a filter that is not UTF-8 (3.1.1: MQTT-3.10.3-1)', packet('a2', '0001', '0001ff')]
  ])('with %s ends the connection, MQTT-4.8.0-1', async (_, hex) => {
    const client = await RawClient.connected(await startBroker(), 4)
    client.write(hex)
    await client.closed()
    expect(client.packets.map(({ cmd }) => cmd)).toEqual(['connack'])
  })
})

describe('a retained message', () => {
  test('comes at each new subscription with the flag, to those who are subscribed without it (3.1.1: MQTT-3.3.1-5, MQTT-3.3.1-6, MQTT-3.3.1-8, MQTT-3.3.1-9)', async () => {
    const broker = await startBroker()
    const live = await listener(broker, 4, 'r/#', 2)
    const sender = await RawClient.connected(broker, 4)
    for (const qos of QOS) await deliver(sender, `r/${qos}`, `q${qos}`, qos, { retain: true })
    expect((await receive(live, 3)).map(({ payload, retain }) => [payload.toString(), retain])).toEqual([['q0', false], ['q1', false], ['q2', false]])
    const late = await listener(broker, 4, 'r/+', 1)
    expect((await receive(late, 3)).map(({ payload, qos, retain }) => [payload.toString(), qos, retain]).sort()).toEqual([['q0', 0, true], ['q1', 1, true], ['q2', 1, true]])
    await expectQuiet(live, sender)
  })

  test('replaces the one before it; a message without the flag does not (3.1.1: MQTT-3.3.1-5, MQTT-3.3.1-7, MQTT-3.3.1-12)', async () => {
    const broker = await startBroker()
    const sender = await RawClient.connected(broker, 4)
    await deliver(sender, 't', 'old', 2, { retain: true })
    await deliver(sender, 't', 'new', 0, { retain: true })
    await deliver(sender, 't', 'passing', 1)
    const late = await listener(broker, 4, 't', 2)
    expect(await receive(late, 1)).toMatchObject([{ payload: Buffer.from('new'), qos: 0, retain: true }])
    await expectQuiet(late, sender)
  })

  test('is removed by an empty one, which subscribers see and nobody keeps; an empty one without the flag removes nothing (3.1.1: MQTT-3.3.1-10, MQTT-3.3.1-11, MQTT-3.3.1-12)', async () => {
    const broker = await startBroker()
    const live = await listener(broker, 4, '+', 1)
    const sender = await RawClient.connected(broker, 4)
    for (const topic of ['gone', 'stays']) await deliver(sender, topic, 'x', 1, { retain: true })
    await deliver(sender, 'gone', '', 1, { retain: true })
    await deliver(sender, 'stays', '', 1)
    expect((await receive(live, 4)).map(({ topic, payload, retain }) => [topic, payload.length, retain])).toEqual([['gone', 1, false], ['stays', 1, false], ['gone', 0, false], ['stays', 0, false]])
    const late = await listener(broker, 4, '+', 1)
    expect((await receive(late, 1)).map(({ topic }) => topic)).toEqual(['stays'])
    await expectQuiet(late, sender)
  })

  test('is none of a session: it outlives its publisher, and a session that goes on does not get it again (3.1.1: MQTT-3.1.2.7)', async () => {
    const broker = await startBroker()
    const sender = await RawClient.connected(broker, 4)
    await deliver(sender, 't', 'retained', 1, { retain: true })
    await leave(sender)
    const first = await listener(broker, 4, 't', 1, kept('c', 4))
    expect(await receive(first, 1)).toMatchObject([{ retain: true }])
    await leave(first)
    const { client } = await join(broker, 4, kept('c', 4))
    await expectQuiet(client)
  })

  test('that comes through a queue has the flag 0 (3.1.1: MQTT-3.3.1-9)', async () => {
    const broker = await startBroker()
    await leave(await listener(broker, 4, 't', 1, kept('c', 4)))
    const sender = await RawClient.connected(broker, 4)
    await deliver(sender, 't', 'x', 1, { retain: true })
    const { client } = await join(broker, 4, kept('c', 4))
    expect(await receive(client, 1)).toMatchObject([{ retain: false, dup: false }])
  })
})

describe('PUBLISH', () => {
  test('that nobody may send there is acknowledged or ends the connection, and reaches nobody (3.1.1: MQTT-3.3.5-2)', async () => {
    const broker = await startBroker()
    const watcher = await listener(broker, 4, 'lots/#', 0)
    const client = await RawClient.connected(broker, 4)
    client.send(publish('lots/LOT-A/free', '1000', { qos: 1, messageId: 1, retain: true }))
    await expect.poll(() => client.isClosed || client.packets.some(({ cmd }) => cmd === 'puback')).toBe(true)
    await expectQuiet(watcher)
    await expectQuiet(await listener(broker, 4, 'lots/#', 0))
  })

  test('carries any bytes, also none and many, and its topic unchanged (3.1.1: MQTT-3.3.2-3, MQTT-1.5.3-3, MQTT-4.7.3-4)', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker, 4)
    await listen(client, ['#'], 0)
    const payloads = [Buffer.alloc(0), Buffer.from([0, 255, 0]), Buffer.alloc(300_000, 7)]
    for (const topic of ['\ufefft', ' t ', 'a//b/', 'ü']) {
      for (const payload of payloads) {
        client.send({ cmd: 'publish', topic, payload, qos: 0, dup: false, retain: false })
        const got = await client.nextOf('publish')
        expect(got.topic).toBe(topic)
        expect(payload.equals(got.payload as Buffer)).toBe(true)
      }
    }
  })

  test('all lengths of Remaining Length arrive whole (3.1.1: section 2.2.3)', async () => {
    const broker = await startBroker()
    const client = await listener(broker, 4, 't', 0)
    for (const bytes of [124, 125, 16_380, 16_381]) {
      client.send({ cmd: 'publish', topic: 't', payload: Buffer.alloc(bytes, 1), qos: 0, dup: false, retain: false })
      expect((await client.nextOf('publish')).payload).toHaveLength(bytes)
    }
  })

  test.each<[string, string]>([
    ['QoS 3 (3.1.1: MQTT-3.3.1-4)', packet('36', text('t'), '0001', '78')],
    ['DUP with QoS 0 (3.1.1: MQTT-3.3.1-2)', packet('38', text('t'), '78')],
    ['identifier 0 (3.1.1: MQTT-2.3.1-1)', packet('32', text('t'), '0000', '78')],
    ['no identifier (3.1.1: MQTT-2.3.1-1)', packet('32', text('t'))],
    ['a wildcard (3.1.1: MQTT-3.3.2-2, MQTT-4.7.1-1)', packet('30', text('t/+'), '78')],
    ['another wildcard (3.1.1: MQTT-3.3.2-2, MQTT-4.7.1-1)', packet('30', text('#'), '78')],
    ['no topic (3.1.1: MQTT-4.7.3-1)', packet('30', text(''), '78')],
    ['a topic that is cut off (3.1.1: MQTT-3.3.2-1)', packet('30', '0005', '7474')],
    ['a topic that is not UTF-8 (3.1.1: MQTT-1.5.3-1)', packet('30', '0002c328', '78')],
    ['a surrogate in the topic (3.1.1: MQTT-1.5.3-1)', packet('30', '0003eda080', '78')],
    ['an overlong form in the topic (3.1.1: MQTT-1.5.3-1)', packet('30', '0002c0af', '78')],
    ['a null character in the topic (3.1.1: MQTT-1.5.3-2, MQTT-4.7.3-2)', packet('30', '0003610062', '78')]
  ])('with %s ends the connection and reaches nobody, MQTT-4.8.0-1', async (_, hex) => {
    const broker = await startBroker()
    const watcher = await listener(broker, 4, '#', 0)
    const client = await RawClient.connected(broker, 4)
    client.write(hex)
    await client.closed()
    expect(client.packets.map(({ cmd }) => cmd)).toEqual(['connack'])
    await expectQuiet(watcher)
  })
})

describe('beside clients of 5.0', () => {
  test('messages come without properties, and not when they have expired', async () => {
    const broker = await startBroker()
    await leave(await listener(broker, 4, 't', 1, kept('c', 4)))
    const sender = await RawClient.connected(broker, 5)
    await deliver(sender, 't', 'expires', 1, { properties: { messageExpiryInterval: 1 } })
    await deliver(sender, 't', 'x', 1, { properties: { contentType: 'text/plain', userProperties: { a: 'b' }, messageExpiryInterval: 100 } })
    await pass(1_600)
    const { client } = await join(broker, 4, kept('c', 4))
    const [{ messageId = 0 } = {}] = await take(client, 1)
    const id = messageId.toString(16).padStart(4, '0')
    expect(client.bytes.subarray(4).toString('hex')).toBe(packet('32', text('t'), id, '78'))
  })

  test('they may be members of a shared subscription, which 3.1.1 itself does not have', async () => {
    const broker = await startBroker()
    const members = [await listener(broker, 4, '$share/g/t', 1), await listener(broker, 5, '$share/g/t', 1)]
    const sender = await RawClient.connected(broker, 4)
    const received = Promise.all(members.map(async member => payloadsOf(await receive(member, 2))))
    for (const payload of ['a', 'b', 'c', 'd']) await deliver(sender, 't', payload)
    expect((await received).flat().sort()).toEqual(['a', 'b', 'c', 'd'])
  })

  test('a Receive Maximum binds only who has heard of it', async () => {
    const broker = await startBroker()
    const young = await RawClient.open(broker)
    const { properties } = await young.connect()
    const count = (properties?.receiveMaximum ?? 65_535) + 100
    const client = await RawClient.connected(broker, 4)
    for (let messageId = 1; messageId <= count; messageId++) client.send(publish('t', 'x', { qos: 2, messageId }))
    for (let messageId = 1; messageId <= count; messageId++) expect(await client.next()).toMatchObject({ cmd: 'pubrec', messageId })
    await expectQuiet(client)
  })
})

describe('other packets', () => {
  test.each<[string, string]>([
    ['a Remaining Length of five bytes (3.1.1: section 2.2.3)', 'c0ffffffff01'],
    ['PUBREL with wrong flags (3.1.1: MQTT-3.6.1-1)', '60020001'],
    ['PUBACK with wrong flags (3.1.1: MQTT-2.2.2-2)', '41020001'],
    ['PUBACK without an identifier (3.1.1: MQTT-2.3.1-6)', '4000'],
    ['packet type 0 (3.1.1: section 2.2.1)', '0000'],
    ['packet type 15 (3.1.1: section 2.2.1)', 'f000'],
    ['SUBACK from a client (3.1.1: section 2.2.1)', '9003000100'],
    ['PINGRESP from a client (3.1.1: section 2.2.1)', 'd000'],
    ['PINGREQ with a body (3.1.1: section 3.12)', 'c00100']
  ])('%s ends the connection, MQTT-4.8.0-1', async (_, hex) => {
    const client = await RawClient.connected(await startBroker(), 4)
    client.write(hex)
    await client.closed()
    expect(client.packets.map(({ cmd }) => cmd)).toEqual(['connack'])
  })

  test('PINGREQ is answered, also between other packets (3.1.1: MQTT-3.12.4-1)', async () => {
    const client = await RawClient.connected(await startBroker(), 4)
    client.send({ cmd: 'pingreq' }, publish('t', 'x', { qos: 1, messageId: freshId(client) }), { cmd: 'pingreq' })
    for (const cmd of ['pingresp', 'puback', 'pingresp']) expect((await client.next()).cmd).toBe(cmd)
  })
})
