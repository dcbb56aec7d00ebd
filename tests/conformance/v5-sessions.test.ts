// MQTT 5.0 sections 4.1 and 4.4: what belongs to a session, and what is sent again when it goes on. What time does to it
// is in v5-expiry-and-wills.test.ts.
import { describe, expect, test } from 'vitest'
import { startBroker } from '../support/broker.js'
import { RawClient, type Transport } from '../support/raw-client.js'
import { deliver, expectQuiet, join, kept, leave, listen, listener, numbered, payloadsOf, receive, take } from './parties.js'

describe('what CONNECT does with a session', () => {
  test('a new one is told as such, one that goes on as well, also without subscriptions [MQTT-3.1.2-5] [MQTT-3.1.2-6] [MQTT-3.2.2-3]', async () => {
    const broker = await startBroker()
    const first = await join(broker, 5, kept('c'))
    expect(first.present).toBe(false)
    first.client.destroy()
    const second = await join(broker, 5, kept('c'))
    expect(second.present).toBe(true)
    await leave(second.client)
    expect((await join(broker, 5, kept('c'))).present).toBe(true)
  })

  test('Clean Start 1 ends the old one with its subscriptions and its queue [MQTT-3.1.2-4] [MQTT-3.2.2-2]', async () => {
    const broker = await startBroker()
    const first = await listener(broker, 5, 't/#', 1, kept('c'))
    await leave(first)
    const sender = await RawClient.connected(broker)
    await deliver(sender, 't/1', 'queued')
    const second = await join(broker, 5, { ...kept('c'), clean: true })
    expect(second.present).toBe(false)
    await deliver(sender, 't/1', 'live')
    await expectQuiet(second.client, sender)
    await leave(second.client)
    const third = await join(broker, 5, kept('c'))
    expect(third.present).toBe(true)
    await deliver(sender, 't/1', 'live')
    await expectQuiet(third.client, sender)
  })

  test('without an expiry, or with 0, it ends with the connection, however that ends [MQTT-4.1.0-2] [3.1.2.11.2]', async () => {
    const broker = await startBroker()
    for (const [clientId, properties] of [['none', {}], ['zero', { sessionExpiryInterval: 0 }]] as const) {
      const first = await listener(broker, 5, 't', 1, { clientId, clean: false, properties })
      await leave(first)
      const second = await join(broker, 5, { clientId, clean: false, properties })
      expect(second.present).toBe(false)
      second.client.destroy()
      await second.client.closed()
      await expect.poll(async () => {
        const next = await join(broker, 5, { clientId, clean: false, properties })
        await leave(next.client)
        return next.present
      }).toBe(false)
    }
  })

  test('DISCONNECT may end it at once, and may keep it longer [3.14.2.2.2] [MQTT-4.1.0-2]', async () => {
    const broker = await startBroker()
    const ended = await join(broker, 5, kept('ended'))
    await leave(ended.client, { sessionExpiryInterval: 0 })
    expect((await join(broker, 5, kept('ended'))).present).toBe(false)
    const longer = await join(broker, 5, { clientId: 'longer', clean: false, properties: { sessionExpiryInterval: 1 } })
    await leave(longer.client, { sessionExpiryInterval: 50 })
    expect((await join(broker, 5, kept('longer'))).present).toBe(true)
  })

  test('each CONNECT sets the expiry anew [3.1.2.11.2]', async () => {
    const broker = await startBroker()
    await leave((await join(broker, 5, kept('c'))).client)
    const second = await join(broker, 5, { clientId: 'c', clean: false })
    expect(second.present).toBe(true)
    await leave(second.client)
    expect((await join(broker, 5, kept('c'))).present).toBe(false)
  })

  test('a second connection takes the session over with what it has not acknowledged; the first is told 0x8E [MQTT-3.1.4-3] [MQTT-4.4.0-1]', async () => {
    const broker = await startBroker()
    const first = await listener(broker, 5, 't', 1, kept('c'))
    const sender = await RawClient.connected(broker)
    await deliver(sender, 't', 'unanswered')
    const [before] = await take(first, 1)
    const second = await join(broker, 5, kept('c'))
    expect(second.present).toBe(true)
    await first.closed()
    expect(first.packets.at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode: 0x8e })
    expect(await take(second.client, 1)).toMatchObject([{ payload: Buffer.from('unanswered'), dup: true, messageId: before?.messageId }])
    await deliver(sender, 't', 'later')
    expect(payloadsOf(await take(second.client, 1))).toEqual(['later'])
  })

  test('a session begun with Clean Start 1 takes nothing over but the client id [MQTT-3.1.2-4]', async () => {
    const broker = await startBroker()
    const first = await listener(broker, 5, 't', 1, kept('c'))
    const second = await join(broker, 5, { ...kept('c'), clean: true })
    await first.closed()
    const sender = await RawClient.connected(broker)
    await deliver(sender, 't', 'x')
    await expectQuiet(second.client, sender)
  })

  test.each<[Transport, Transport]>([['tcp', 'ws'], ['ws', 'tcp']])('it goes on over another transport: %s, then %s [MQTT-4.2.0-1]', async (from, to) => {
    const broker = await startBroker()
    const first = await listener(broker, 5, 't', 1, { ...kept('c'), transport: from })
    await leave(first)
    const sender = await RawClient.connected(broker, 5, { transport: from })
    await deliver(sender, 't', 'queued')
    const second = await join(broker, 5, { ...kept('c'), transport: to })
    expect(second.present).toBe(true)
    expect(payloadsOf(await receive(second.client, 1))).toEqual(['queued'])
  })
})

describe('what a session keeps', () => {
  test('QoS 1 and 2 messages that came meanwhile, in order, with their properties [MQTT-4.5.0-1] [MQTT-3.1.2-23]', async () => {
    const broker = await startBroker()
    await leave(await listener(broker, 5, 't/+', 2, kept('c')))
    const sender = await RawClient.connected(broker)
    const properties = {
      contentType: 'text/plain', responseTopic: 'replies/c', correlationData: Buffer.from([0, 255, 1]), payloadFormatIndicator: true,
      userProperties: { a: ['1', '2'] }
    }
    for (const [i, payload] of numbered('m', 6).entries()) await deliver(sender, 't/1', payload, i % 2 === 0 ? 1 : 2, { properties: { ...properties, messageExpiryInterval: 1_000 } })
    const { client } = await join(broker, 5, kept('c'))
    const got = await receive(client, 6)
    // Each QoS has its order; between them there is none.
    expect([1, 2].map(qos => payloadsOf(got.filter(message => message.qos === qos)))).toEqual([['m1', 'm3', 'm5'], ['m2', 'm4', 'm6']])
    for (const message of got) {
      expect(message.properties).toMatchObject(properties)
      expect(message.properties?.messageExpiryInterval).toBeLessThanOrEqual(1_000)
      expect(message).toMatchObject({ dup: false, retain: false })
    }
  })

  test('the options of its subscriptions: QoS, No Local, Retain As Published, identifiers [4.1] [MQTT-3.1.2-5]', async () => {
    const broker = await startBroker()
    const first = await RawClient.connected(broker, 5, kept('c'))
    first.send({ cmd: 'subscribe', messageId: 1, properties: { subscriptionIdentifier: 7 }, subscriptions: [{ topic: 'own/#', qos: 1, nl: true, rap: false, rh: 0 }] })
    await first.nextOf('suback')
    first.send({ cmd: 'subscribe', messageId: 2, properties: { subscriptionIdentifier: 268_435_455 }, subscriptions: [{ topic: 'kept/#', qos: 1, nl: false, rap: true, rh: 2 }] })
    await first.nextOf('suback')
    await leave(first)
    const { client } = await join(broker, 5, kept('c'))
    const sender = await RawClient.connected(broker)
    await deliver(client, 'own/1', 'mine')
    await deliver(sender, 'own/1', 'theirs', 2)
    await deliver(sender, 'kept/1', 'retained', 2, { retain: true })
    expect(await take(client, 2)).toMatchObject([
      { topic: 'own/1', payload: Buffer.from('theirs'), qos: 1, retain: false, properties: { subscriptionIdentifier: 7 } },
      { topic: 'kept/1', payload: Buffer.from('retained'), qos: 1, retain: true, properties: { subscriptionIdentifier: 268_435_455 } }
    ])
  })

  test('nothing of what its subscriptions do not match any more [MQTT-3.10.4-2] [MQTT-4.5.0-1]', async () => {
    const broker = await startBroker()
    const first = await RawClient.connected(broker, 5, kept('c'))
    await listen(first, ['a', 'b'], 1)
    first.send({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['a'] })
    await first.nextOf('unsuback')
    await leave(first)
    const sender = await RawClient.connected(broker)
    for (const topic of ['a', 'b']) await deliver(sender, topic, `on ${topic}`)
    const { client } = await join(broker, 5, kept('c'))
    await deliver(sender, 'b', 'end')
    expect(payloadsOf(await receive(client))).toEqual(['on b'])
  })
})

describe('what is sent again', () => {
  test('what QoS 1 left unacknowledged: with DUP, the same identifiers and in order, then the queue, then what is live [MQTT-4.4.0-1] [MQTT-4.3.2-3] [MQTT-3.3.1-1]', async () => {
    const broker = await startBroker()
    const first = await listener(broker, 5, 't/#', 1, { ...kept('c'), properties: { sessionExpiryInterval: 100, receiveMaximum: 3 } })
    const sender = await RawClient.connected(broker)
    for (const payload of numbered('m', 5)) await deliver(sender, `t/${payload}`, payload)
    const before = await take(first, 3)
    expect(before.map(({ dup }) => dup)).toEqual([false, false, false])
    first.destroy()
    await deliver(sender, 't/6', 'm6')
    const { client } = await join(broker, 5, kept('c'))
    await deliver(sender, 't/7', 'm7')
    const after = await take(client, 7)
    expect(payloadsOf(after)).toEqual(numbered('m', 7))
    expect(after.map(({ dup }) => dup)).toEqual([true, true, true, false, false, false, false])
    expect(after.slice(0, 3).map(({ messageId }) => messageId)).toEqual(before.map(({ messageId }) => messageId))
    expect(new Set(after.map(({ messageId }) => messageId)).size).toBe(7)
  })

  test('only what is unacknowledged, whatever the order of the acknowledgements [MQTT-4.4.0-1] [MQTT-4.3.2-3]', async () => {
    const broker = await startBroker()
    const first = await listener(broker, 5, 't', 1, kept('c'))
    const sender = await RawClient.connected(broker)
    for (const payload of numbered('m', 4)) await deliver(sender, 't', payload)
    const [, second, , fourth] = await take(first, 4)
    for (const message of [fourth, second]) first.send({ cmd: 'puback', messageId: message?.messageId ?? 0 })
    await first.flushed()
    first.destroy()
    const { client } = await join(broker, 5, kept('c'))
    await deliver(sender, 't', 'end')
    expect(payloadsOf(await receive(client))).toEqual(['m1', 'm3'])
  })

  test('PUBLISH of QoS 2 before PUBREC, PUBREL after it, nothing after PUBCOMP [MQTT-4.4.0-1] [MQTT-4.3.3-3] [MQTT-4.3.3-5] [MQTT-4.3.3-6]', async () => {
    const broker = await startBroker()
    const first = await listener(broker, 5, 't', 2, kept('c'))
    const sender = await RawClient.connected(broker)
    for (const payload of ['sent', 'received', 'completed']) await deliver(sender, 't', payload, 2)
    const [sent = 0, received = 0, completed = 0] = (await take(first, 3)).map(({ messageId }) => messageId)
    for (const messageId of [received, completed]) {
      first.send({ cmd: 'pubrec', messageId })
      expect(await first.next()).toMatchObject({ cmd: 'pubrel', messageId, reasonCode: 0 })
    }
    first.send({ cmd: 'pubcomp', messageId: completed })
    await first.flushed()
    first.destroy()
    const { client } = await join(broker, 5, kept('c'))
    const again = [await client.next(), await client.next()]
    expect(again.find(({ cmd }) => cmd === 'publish')).toMatchObject({ messageId: sent, dup: true, payload: Buffer.from('sent') })
    expect(again.find(({ cmd }) => cmd === 'pubrel')).toMatchObject({ messageId: received })
    await expectQuiet(client)
    client.send({ cmd: 'pubcomp', messageId: received }, { cmd: 'pubrec', messageId: sent })
    expect(await client.next()).toMatchObject({ cmd: 'pubrel', messageId: sent })
  })

  test('PUBRELs go out in the order in which the PUBRECs came [MQTT-4.6.0-4]', async () => {
    const broker = await startBroker()
    const first = await listener(broker, 5, 't', 2, kept('c'))
    const sender = await RawClient.connected(broker)
    for (const payload of numbered('m', 4)) await deliver(sender, 't', payload, 2)
    const [a = 0, b = 0, c = 0, d = 0] = (await take(first, 4)).map(({ messageId }) => messageId)
    const order = [c, a, d, b]
    first.send(...order.map(messageId => ({ cmd: 'pubrec', messageId }) as const))
    for (const messageId of order) expect(await first.next()).toMatchObject({ cmd: 'pubrel', messageId })
  })

  test('not what was refused by PUBACK or PUBREC with a code from 0x80 [MQTT-4.4.0-2]', async () => {
    const broker = await startBroker()
    const first = await listener(broker, 5, 't', 2, kept('c'))
    const sender = await RawClient.connected(broker)
    await deliver(sender, 't', 'one', 1)
    await deliver(sender, 't', 'two', 2)
    const [one = 0, two = 0] = (await take(first, 2)).map(({ messageId }) => messageId)
    first.send({ cmd: 'puback', messageId: one, reasonCode: 0x80 }, { cmd: 'pubrec', messageId: two, reasonCode: 0x97 })
    // A refused QoS 2 message has no PUBREL.
    expect(await first.flushed()).toEqual([])
    first.destroy()
    const { client } = await join(broker, 5, kept('c'))
    await deliver(sender, 't', 'end')
    expect(await receive(client)).toEqual([])
  })

  test('again at every reconnect until it is acknowledged, and never later [MQTT-4.4.0-1]', async () => {
    const broker = await startBroker()
    const sender = await RawClient.connected(broker)
    let client = await listener(broker, 5, 't', 1, kept('c'))
    await deliver(sender, 't', 'x')
    const [{ messageId = 0 } = {}] = await take(client, 1)
    for (let i = 0; i < 3; i++) {
      client.destroy()
      client = (await join(broker, 5, kept('c'))).client
      expect(await take(client, 1)).toMatchObject([{ messageId, dup: true }])
    }
    client.send({ cmd: 'puback', messageId })
    await leave(client)
    client = (await join(broker, 5, kept('c'))).client
    await expectQuiet(client)
  })

  test('to an unsubscribed client what was begun before, and nothing else [MQTT-3.10.4-3] [MQTT-4.4.0-1]', async () => {
    const broker = await startBroker()
    const first = await listener(broker, 5, 't', 1, kept('c'))
    const sender = await RawClient.connected(broker)
    await deliver(sender, 't', 'begun')
    await take(first, 1)
    first.send({ cmd: 'unsubscribe', messageId: 5, unsubscriptions: ['t'] })
    await first.nextOf('unsuback')
    await deliver(sender, 't', 'after')
    first.destroy()
    const { client } = await join(broker, 5, kept('c'))
    expect(await take(client, 1)).toMatchObject([{ payload: Buffer.from('begun'), dup: true }])
    await expectQuiet(client, sender)
  })
})
