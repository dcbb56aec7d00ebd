// MQTT 5.0 section 4.9, and what this broker makes of it: a window per subscriber, and behind it a bounded queue that
// loses by topic: states keep the newest, replies lose nothing, all else loses the oldest.
import { describe, expect, test } from 'vitest'
import type { QoS } from 'mqtt-packet'
import { startBroker, type TestBroker } from '../support/broker.js'
import { RawClient, type Transport } from '../support/raw-client.js'
import { deliver, deliverAll, expectQuiet, freshId, join, kept, leave, listen, listener, numbered, payloadsOf, receive, take } from './parties.js'
import { publish } from './v5-wire.js'

/** What the broker has on its way to a client at most, whatever that client would take. */
const OWN_WINDOW = 20
/** Messages that wait behind the window of a client at most. */
const QUEUE = 1_000

/** A client that subscribes to everything and answers nothing by itself, and one that publishes. */
async function pair (broker: TestBroker, receiveMaximum: number | null, { qos = 2, transport = 'tcp' }: { qos?: QoS, transport?: Transport } = {}): Promise<[RawClient, RawClient]> {
  const slow = await listener(broker, 5, '#', qos, { transport, ...(receiveMaximum !== null && { properties: { receiveMaximum } }) })
  return [slow, await RawClient.connected(broker)]
}

const messages = (topic: string, payloads: readonly string[], qos: QoS) => payloads.map(payload => ({ topic, payload, qos }))

describe('the window', () => {
  test.each<[number, QoS, Transport]>([
    [1, 1, 'tcp'], [1, 2, 'tcp'], [5, 1, 'tcp'], [5, 2, 'tcp'], [5, 1, 'ws'], [5, 2, 'ws']
  ])('never more than the Receive Maximum %i is unacknowledged with QoS %i over %s [MQTT-4.9.0-1] [MQTT-4.9.0-2] [MQTT-3.3.4-9]', async (receiveMaximum, qos, transport) => {
    const broker = await startBroker()
    const [slow, sender] = await pair(broker, receiveMaximum, { qos, transport })
    await deliverAll(sender, messages('t', numbered('m', 30), qos))
    await take(slow, receiveMaximum)
    await expectQuiet(slow, sender)
  })

  test.each([null, 65_535])('a client that names %j gets no more at once than the broker\'s own window [4.9]', async receiveMaximum => {
    const broker = await startBroker()
    const [slow, sender] = await pair(broker, receiveMaximum)
    await deliverAll(sender, messages('t', numbered('m', 50), 1))
    await take(slow, OWN_WINDOW)
    await expectQuiet(slow, sender)
  })

  test('PUBACK makes room for exactly one more, in order [MQTT-4.9.0-2]', async () => {
    const broker = await startBroker()
    const [slow, sender] = await pair(broker, 2)
    await deliverAll(sender, messages('t', numbered('m', 6), 1))
    const open = await take(slow, 2)
    const got = [...open]
    for (let next = open.shift(); got.length < 6; next = open.shift()) {
      slow.send({ cmd: 'puback', messageId: next?.messageId ?? 0 })
      const [message] = await take(slow, 1)
      if (message !== undefined) open.push(message)
      got.push(...open.slice(-1))
      await expectQuiet(slow)
    }
    expect(payloadsOf(got)).toEqual(numbered('m', 6))
  })

  test('PUBCOMP makes room, PUBREC does not [MQTT-4.9.0-2] [MQTT-3.3.4-9]', async () => {
    const broker = await startBroker()
    const [slow, sender] = await pair(broker, 1)
    await deliverAll(sender, messages('t', ['first', 'second'], 2))
    const [{ messageId = 0 } = {}] = await take(slow, 1)
    slow.send({ cmd: 'pubrec', messageId })
    expect(await slow.next()).toMatchObject({ cmd: 'pubrel', messageId })
    await expectQuiet(slow)
    slow.send({ cmd: 'pubcomp', messageId })
    expect(payloadsOf(await take(slow, 1))).toEqual(['second'])
  })

  test('a PUBREC that refuses, and a PUBACK that refuses, make room [MQTT-4.4.0-2] [MQTT-3.3.4-9]', async () => {
    const broker = await startBroker()
    const [slow, sender] = await pair(broker, 1)
    for (const [payload, qos] of [['two', 2], ['one', 1], ['end', 2]] as const) await deliver(sender, 't', payload, qos)
    const [two] = await take(slow, 1)
    slow.send({ cmd: 'pubrec', messageId: two?.messageId ?? 0, reasonCode: 0x97 })
    // No PUBREL comes between.
    const one = await slow.next()
    expect(one).toMatchObject({ cmd: 'publish', payload: Buffer.from('one') })
    slow.send({ cmd: 'puback', messageId: one.messageId ?? 0, reasonCode: 0x83 })
    expect(await slow.next()).toMatchObject({ cmd: 'publish', payload: Buffer.from('end') })
  })

  test('QoS 1 and 2 share it [MQTT-4.9.0-2]', async () => {
    const broker = await startBroker()
    const [slow, sender] = await pair(broker, 3)
    for (const [i, payload] of numbered('m', 8).entries()) await deliver(sender, 't', payload, i % 2 === 0 ? 1 : 2)
    expect((await take(slow, 3)).map(({ qos }) => qos)).toEqual([1, 2, 1])
    await expectQuiet(slow, sender)
  })

  test('acknowledgements that belong to nothing do not widen it [MQTT-4.9.0-1]', async () => {
    const broker = await startBroker()
    const [slow, sender] = await pair(broker, 2)
    await deliverAll(sender, messages('t', numbered('m', 10), 1))
    const [{ messageId = 0 } = {}] = await take(slow, 2)
    slow.send({ cmd: 'puback', messageId }, { cmd: 'puback', messageId }, { cmd: 'pubcomp', messageId }, { cmd: 'puback', messageId: 65_535 })
    await take(slow, 1)
    await expectQuiet(slow, sender)
  })

  test('a full one delays no other packet [MQTT-4.9.0-3] [MQTT-3.3.4-10]', async () => {
    const broker = await startBroker()
    const [slow, sender] = await pair(broker, 1)
    await deliverAll(sender, messages('t', numbered('m', 3), 2))
    await take(slow, 1)
    slow.send({ cmd: 'pingreq' })
    expect(await slow.next()).toMatchObject({ cmd: 'pingresp' })
    expect(await listen(slow, ['other'], 1)).toEqual([1])
    slow.send({ cmd: 'unsubscribe', messageId: 4, unsubscriptions: ['other', 'none'] })
    expect(await slow.next()).toMatchObject({ cmd: 'unsuback', messageId: 4 })
    slow.send({ cmd: 'unsubscribe', messageId: 5, unsubscriptions: ['#'] })
    await slow.nextOf('unsuback')
    slow.send(publish('x', 'mine', { qos: 1, messageId: 1 }), publish('x', 'mine', { qos: 2, messageId: 2 }))
    expect(await slow.next()).toMatchObject({ cmd: 'puback', messageId: 1 })
    expect(await slow.next()).toMatchObject({ cmd: 'pubrec', messageId: 2 })
    slow.send({ cmd: 'pubrel', messageId: 2 })
    expect(await slow.next()).toMatchObject({ cmd: 'pubcomp', messageId: 2 })
  })

  test('a smaller Receive Maximum at the next connection holds for what is sent again [MQTT-4.9.0-1] [MQTT-4.4.0-1]', async () => {
    const broker = await startBroker()
    const first = await listener(broker, 5, 't', 1, kept('c'))
    const sender = await RawClient.connected(broker)
    await deliverAll(sender, messages('t', numbered('m', 8), 1))
    await take(first, 8)
    first.destroy()
    const { client } = await join(broker, 5, { ...kept('c'), properties: { sessionExpiryInterval: 100, receiveMaximum: 3 } })
    const before = await take(client, 3)
    expect(payloadsOf(before)).toEqual(['m1', 'm2', 'm3'])
    await expectQuiet(client)
    for (const { messageId = 0 } of before) client.send({ cmd: 'puback', messageId })
    expect(payloadsOf(await receive(client, 5))).toEqual(['m4', 'm5', 'm6', 'm7', 'm8'])
  })

  test('each connection begins with a whole one [MQTT-4.9.0-1] [4.9]', async () => {
    const broker = await startBroker()
    const options = { ...kept('c'), properties: { sessionExpiryInterval: 100, receiveMaximum: 2 } }
    const first = await listener(broker, 5, 't', 1, options)
    const sender = await RawClient.connected(broker)
    await deliverAll(sender, messages('t', numbered('m', 6), 1))
    await take(first, 2)
    first.destroy()
    const { client } = await join(broker, 5, options)
    expect(payloadsOf(await receive(client, 6))).toEqual(numbered('m', 6))
  })

  test('a packet identifier is not given out again while it is in use, however many messages pass [MQTT-4.3.2-1] [MQTT-2.2.1-4]', async () => {
    const broker = await startBroker()
    const client = await listener(broker, 5, 't', 1, { properties: { receiveMaximum: 20 } })
    const sender = await RawClient.connected(broker)
    await deliver(sender, 't', 'held')
    const [{ messageId: held = 0 } = {}] = await take(client, 1)
    const seen = { messages: 0, zero: 0, held: 0 }
    const receiveBatch = async (): Promise<void> => {
      for (let i = 0; i < 500; i++) {
        const { messageId = 0 } = await client.nextOf('publish')
        seen.messages++
        if (messageId === 0) seen.zero++
        if (messageId === held) seen.held++
        client.send({ cmd: 'puback', messageId })
      }
    }
    const batch = messages('t', Array<string>(500).fill('x'), 1)
    while (seen.messages < 66_000) await Promise.all([receiveBatch(), deliverAll(sender, batch)])
    expect(seen).toEqual({ messages: 66_000, zero: 0, held: 0 })
  })

  test('one who answers nothing holds up nobody else [4.9]', async () => {
    const broker = await startBroker()
    const [slow, sender] = await pair(broker, 1)
    const swift = await listener(broker, 5, 't', 1)
    const received = receive(swift, 300)
    await deliverAll(sender, messages('t', numbered('m', 300), 1))
    expect(payloadsOf(await received)).toEqual(numbered('m', 300))
    await take(slow, 1)
  })
})

describe('what a client may send', () => {
  test('as many unreleased messages as the Receive Maximum of CONNACK, and one more is 0x93 [MQTT-3.3.4-7] [MQTT-4.13.1-1] [4.9]', async () => {
    const broker = await startBroker()
    const client = await RawClient.open(broker)
    const { properties } = await client.connect()
    const receiveMaximum = properties?.receiveMaximum ?? 65_535
    const unreleased = (messageId: number) => publish('t', 'x', { qos: 2, messageId })
    client.send(...Array.from({ length: receiveMaximum }, (_, i) => unreleased(i + 1)))
    for (let i = 1; i <= receiveMaximum; i++) expect(await client.next()).toMatchObject({ cmd: 'pubrec', messageId: i })
    // The same message again is not one more.
    client.send(publish('t', 'x', { qos: 2, messageId: 1, dup: true }))
    expect(await client.next()).toMatchObject({ cmd: 'pubrec', messageId: 1 })
    client.send({ cmd: 'pubrel', messageId: 1 })
    await client.nextOf('pubcomp')
    client.send(unreleased(1))
    await client.nextOf('pubrec')
    // QoS 0 does not count.
    client.send(publish('t', 'x'), { cmd: 'pingreq' })
    await client.nextOf('pingresp')
    client.send(unreleased(receiveMaximum + 1))
    await client.closed()
    expect(client.packets.at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode: 0x93 })
  })
})

describe('the queue behind the window', () => {
  test('keeps the newest thousand messages of ordinary topics, in order [4.9]', async () => {
    const broker = await startBroker()
    const [slow, sender] = await pair(broker, 1)
    const payloads = numbered('m', QUEUE + 300)
    for (let at = 0; at < payloads.length; at += 100) await deliverAll(sender, messages('cameras/c/pictures', payloads.slice(at, at + 100), 1))
    const got = payloadsOf(await receive(slow, payloads.at(-1)))
    expect(got).toEqual(['m1', ...payloads.slice(-QUEUE, -1)])
  })

  test('is as long for a session without its client [4.9] [MQTT-4.5.0-1]', async () => {
    const broker = await startBroker()
    const first = await listener(broker, 5, '#', 1, kept('c'))
    first.destroy()
    await first.closed()
    const sender = await RawClient.connected(broker)
    // What is published before the broker has seen the end of the connection may be on its way already.
    await expect.poll(async () => await broker.count('broker_clients')).toBeLessThanOrEqual(1)
    const payloads = numbered('m', QUEUE + 300)
    for (let at = 0; at < payloads.length; at += 100) await deliverAll(sender, messages('cameras/c/pictures', payloads.slice(at, at + 100), 1))
    const { client } = await join(broker, 5, kept('c'))
    expect(payloadsOf(await receive(client, payloads.at(-1)))).toEqual(payloads.slice(-QUEUE, -1))
  })

  test('keeps the newest value of each state topic alone [4.9]', async () => {
    const broker = await startBroker()
    const [slow] = await pair(broker, 1)
    for (let free = 50; free >= 0; free--) {
      for (const lot of ['LOT-A', 'LOT-B']) await broker.bus.publish(`lots/${lot}/free`, `${free}`, { qos: 1, retain: true })
    }
    await broker.bus.publish('t', 'end', { qos: 1 })
    const got = (await receive(slow)).map(({ topic, payload }) => `${topic} ${payload.toString()}`)
    expect(got[0]).toBe('lots/LOT-A/free 50')
    expect(got.slice(1).sort()).toEqual(['lots/LOT-A/free 0', 'lots/LOT-B/free 0'])
  })

  test('keeps the newest value of each state topic alone for a session without its client, too [4.9]', async () => {
    const broker = await startBroker()
    await leave(await listener(broker, 5, '#', 1, kept('c')))
    const sender = await RawClient.connected(broker)
    for (let free = 50; free >= 0; free--) await broker.bus.publish('lots/LOT-A/free', `${free}`, { qos: 1, retain: true })
    await deliver(sender, 't', 'end')
    const { client } = await join(broker, 5, kept('c'))
    expect(payloadsOf(await receive(client))).toEqual(['0'])
  })

  test('paces what is retained when a client subscribes, and drops none of it [4.9] [MQTT-4.9.0-2] [MQTT-3.3.1-9]', async () => {
    const broker = await startBroker()
    const sender = await RawClient.connected(broker)
    const topics = numbered('cameras/c/', QUEUE + 200)
    for (let at = 0; at < topics.length; at += 100) {
      sender.send(...topics.slice(at, at + 100).map(topic => publish(topic, topic, { qos: 1, retain: true, messageId: freshId(sender) })))
      for (let i = 0; i < 100; i++) await sender.nextOf('puback')
    }
    const slow = await RawClient.connected(broker, 5, { properties: { receiveMaximum: 2 } })
    slow.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'cameras/#', qos: 1 }] })
    await expect.poll(() => slow.packets.length).toBeGreaterThanOrEqual(4)
    // CONNACK, SUBACK and the window; nothing more comes by itself.
    await slow.flushed()
    expect(slow.packets.filter(({ cmd }) => cmd === 'publish')).toHaveLength(2)
    for (const { cmd, messageId = 0 } of slow.packets.slice()) if (cmd === 'publish') slow.send({ cmd: 'puback', messageId })
    await receive(slow, topics.length - 2)
    expect(slow.packets.flatMap(packet => packet.cmd === 'publish' ? [packet.topic] : []).sort()).toEqual([...topics].sort())
  })

  test('loses no reply, however much else comes [4.9]', async () => {
    const broker = await startBroker()
    const [slow, sender] = await pair(broker, 1)
    const replies = numbered('reply', 200)
    for (let at = 0; at < replies.length; at += 20) {
      await deliverAll(sender, replies.slice(at, at + 20).flatMap(payload => [{ topic: 'replies/me/1', payload, qos: 1 as const }, ...messages('noise', numbered('n', 7), 1)]))
    }
    await deliver(sender, 'replies/me/1', 'end')
    const got = await receive(slow)
    expect(payloadsOf(got.filter(({ topic }) => topic === 'replies/me/1'))).toEqual(replies)
    expect(got.length).toBeLessThanOrEqual(QUEUE + 1)
  })
})
