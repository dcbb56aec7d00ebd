// MQTT 5.0 sections 3.3.1, 3.3.2.1, 3.3.2.3.4 and 3.3.4: the flags of PUBLISH, topics and aliases, retained messages,
// who gets a message with which QoS, and how many may be on their way.
import { describe, expect, test } from 'vitest'
import { startBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'
import { acknowledge, expectDisconnect, field, messagesUntil, nextMessages, packet, payloadsOf, payloadsUntil, properties, publish, publishAcknowledged, publishBytes, subscribe, subscriber, text } from './v5-wire.js'

const UNACKNOWLEDGED_LIMIT = 1_000

describe('DUP', () => {
  test.each([1, 2] as const)('is set when a message is sent again, with the same packet identifier (QoS %i) [MQTT-3.3.1-1]', async qos => {
    const broker = await startBroker()
    const session = { clientId: 'again', properties: { sessionExpiryInterval: 100 } }
    const first = await subscriber(broker, 't/#', { qos, ...session })
    const sender = await RawClient.connected(broker)
    await publishAcknowledged(sender, 't/1', 'x', { qos })
    const before = await first.nextOf('publish')
    expect(before.dup).toBe(false)
    first.destroy()
    await first.closed()
    const second = await RawClient.connected(broker, 5, { ...session, clean: false })
    expect(await second.nextOf('publish')).toMatchObject({ dup: true, messageId: before.messageId, qos, payload: Buffer.from('x') })
  })

  test('with QoS 0 is malformed, and never sent [MQTT-3.3.1-2]', async () => {
    const broker = await startBroker()
    const watcher = await subscriber(broker, 't/#')
    await expectDisconnect(await RawClient.connected(broker), publishBytes({ first: '38' }), 0x81)
    const sender = await RawClient.connected(broker)
    sender.send(publish('t/1', 'x', { qos: 1, messageId: 1, dup: true }))
    expect(await watcher.nextOf('publish')).toMatchObject({ qos: 0, dup: false })
  })

  test('of what came in is not passed on [MQTT-3.3.1-3]', async () => {
    const broker = await startBroker()
    const watcher = await subscriber(broker, 't/#', { qos: 2 })
    const sender = await RawClient.connected(broker)
    for (const qos of [1, 2] as const) {
      await publishAcknowledged(sender, 't/1', 'x', { qos, dup: true })
      expect(await watcher.nextOf('publish')).toMatchObject({ qos, dup: false })
    }
  })
})

test('QoS 3 is malformed [MQTT-3.3.1-4]', async () => {
  const broker = await startBroker()
  await expectDisconnect(await RawClient.connected(broker), publishBytes({ first: '36', id: '0001' }), 0x81)
})

describe('retained messages', () => {
  test('the newest replaces the one before, and only RETAIN 1 changes it [MQTT-3.3.1-5] [MQTT-3.3.1-8]', async () => {
    const broker = await startBroker()
    const sender = await RawClient.connected(broker)
    await publishAcknowledged(sender, 't/1', 'first', { retain: true })
    await publishAcknowledged(sender, 't/1', 'second', { retain: true })
    await publishAcknowledged(sender, 't/1', 'live')
    await publishAcknowledged(sender, 't/1', '')
    const late = await subscriber(broker, 't/#', { qos: 1 })
    await publishAcknowledged(sender, 't/1', 'end')
    expect(await messagesUntil(late)).toMatchObject([{ topic: 't/1', payload: Buffer.from('second'), retain: true, qos: 1 }])
  })

  test('an empty one takes it away, is itself not kept, and goes to subscribers like any other [MQTT-3.3.1-6] [MQTT-3.3.1-7]', async () => {
    const broker = await startBroker()
    const sender = await RawClient.connected(broker)
    await publishAcknowledged(sender, 't/1', 'kept', { retain: true })
    const live = await subscriber(broker, 't/#')
    expect(await live.nextOf('publish')).toMatchObject({ retain: true })
    await publishAcknowledged(sender, 't/1', '', { retain: true })
    expect(await live.nextOf('publish')).toMatchObject({ topic: 't/1', payload: Buffer.alloc(0), retain: false })
    const late = await subscriber(broker, 't/#')
    await publishAcknowledged(sender, 't/1', 'end')
    expect(await payloadsUntil(late)).toEqual([])
  })

  test('Retain Handling 0 sends them at each SUBSCRIBE, 1 at a new one, 2 never [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] [MQTT-3.8.4-4]', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker)
    await publishAcknowledged(client, 't/1', 'kept', { retain: true })
    await publishAcknowledged(client, 'u/1', 'other', { retain: true })
    const comesAt = async (rh: number, expected: string[]): Promise<void> => {
      client.send({ cmd: 'subscribe', messageId: 2, subscriptions: [{ topic: 't/+', qos: 0, rh }] })
      // What is retained may come before SUBACK, and need not come at once.
      if (expected.length > 0) expect(await nextMessages(client, expected.length)).toMatchObject([{ payload: Buffer.from('kept'), retain: true }])
      else await client.nextOf('suback')
      await client.flushed()
    }
    for (const [rh, expected] of [[2, []], [1, []], [0, ['kept']], [0, ['kept']], [1, []], [2, []]] as const) await comesAt(rh, [...expected])
    // A subscription that was taken back is new again.
    client.send({ cmd: 'unsubscribe', messageId: 1, unsubscriptions: ['t/+'] })
    await client.nextOf('unsuback')
    for (const expected of [['kept'], []]) await comesAt(1, expected)
    client.send(publish('t/2', 'end'))
    await payloadsUntil(client)
    expect(payloadsOf(client)).toEqual(['kept', 'kept', 'kept', 'end'])
  })

  test('Retain As Published 0 clears RETAIN of live messages, 1 leaves it; what was kept has it always [MQTT-3.3.1-12] [MQTT-3.3.1-13]', async () => {
    const broker = await startBroker()
    const plain = await RawClient.connected(broker)
    await subscribe(plain, [{ topic: 't/#', qos: 0, rap: false }])
    const published = await RawClient.connected(broker)
    await subscribe(published, [{ topic: 't/#', qos: 0, rap: true }])
    const sender = await RawClient.connected(broker)
    sender.send(publish('t/1', 'a', { retain: true }), publish('t/1', 'b', { retain: false }))
    expect((await nextMessages(plain, 2)).map(({ retain }) => retain)).toEqual([false, false])
    expect((await nextMessages(published, 2)).map(({ retain }) => retain)).toEqual([true, false])
    for (const rap of [false, true]) {
      const late = await RawClient.connected(broker)
      await subscribe(late, [{ topic: 't/#', qos: 0, rap }])
      expect(await late.nextOf('publish')).toMatchObject({ payload: Buffer.from('a'), retain: true })
    }
  })
})

test('a PUBLISH without a topic, or with wildcards in it, ends the connection [MQTT-3.3.2-1] [MQTT-3.3.2-2]', async () => {
  const broker = await startBroker()
  await expectDisconnect(await RawClient.connected(broker), '3000', 0x81)
  await expectDisconnect(await RawClient.connected(broker), publishBytes({ topic: field('c328') }), 0x81)
  await expectDisconnect(await RawClient.connected(broker), publishBytes({ topic: text('') }), 0x82)
  for (const topic of ['t/+', '#', 't/#', 't+']) await expectDisconnect(await RawClient.connected(broker), publishBytes({ topic: text(topic) }), 0x81, 0x82, 0x90)
})

test('subscribers get the topics that match their filters, with their full name, and no others [MQTT-3.3.2-3]', async () => {
  const broker = await startBroker()
  const client = await RawClient.connected(broker)
  await subscribe(client, [{ topic: 't/+/x', qos: 0 }, { topic: 'u/#', qos: 0 }, { topic: 'exact', qos: 0 }, { topic: 'end', qos: 0 }])
  const sender = await RawClient.connected(broker)
  const matching = ['t/1/x', 't//x', 'u', 'u/1/2', 'u/', 'exact']
  const others = ['t/1', 't/1/x/y', 't/1/X', '/t/1/x', 'v/u', 'exact/', 'Exact', 'exac']
  for (const topic of [...matching, ...others, 'end']) sender.send(publish(topic, topic))
  expect((await messagesUntil(client)).map(({ topic }) => topic)).toEqual(matching)
})

describe('a topic alias', () => {
  test('1 to the maximum is accepted, stands for its topic, and may be given anew [MQTT-3.3.2-12]', async () => {
    const broker = await startBroker()
    const watcher = await subscriber(broker, 't/#')
    const sender = await RawClient.open(broker)
    const maximum = (await sender.connect()).properties?.topicAliasMaximum ?? 0
    expect(maximum).toBe(16)
    const aliases = Array.from({ length: maximum }, (_, i) => i + 1)
    for (const topicAlias of aliases) sender.send(publish(`t/${topicAlias}`, 'x', { properties: { topicAlias } }))
    for (const topicAlias of aliases) sender.send(publish('', 'x', { properties: { topicAlias } }))
    sender.send(publish('t/new', 'x', { properties: { topicAlias: 1 } }), publish('', 'x', { properties: { topicAlias: 1 } }), publish('t/1', 'end'))
    const messages = await messagesUntil(watcher)
    expect(messages.map(({ topic }) => topic)).toEqual([...aliases, ...aliases, 'new', 'new'].map(name => `t/${name}`))
    for (const message of messages) expect(message.properties ?? {}).not.toHaveProperty('topicAlias')
  })

  test('0 or above the maximum ends the connection [MQTT-3.3.2-8] [MQTT-3.3.2-9]', async () => {
    const broker = await startBroker()
    for (const alias of ['0000', '0011', 'ffff']) await expectDisconnect(await RawClient.connected(broker), publishBytes({ props: '23' + alias }), 0x94)
  })

  test('of another connection means nothing [MQTT-3.3.2-7]', async () => {
    const broker = await startBroker()
    const session = { clientId: 'c', clean: false, properties: { sessionExpiryInterval: 100 } }
    const first = await RawClient.connected(broker, 5, session)
    await publishAcknowledged(first, 't/1', 'x', { properties: { topicAlias: 3 } })
    first.destroy()
    const second = await RawClient.connected(broker, 5, session)
    await expectDisconnect(second, publishBytes({ topic: text(''), props: '230003' }), 0x82, 0x94)
  })

  test('twice in one PUBLISH is a protocol error [3.3.2.3.4]', async () => {
    const broker = await startBroker()
    await expectDisconnect(await RawClient.connected(broker), publishBytes({ props: '230001230001' }), 0x82)
  })
})

test('answers by the QoS: nothing, PUBACK, PUBREC [MQTT-3.3.4-1]', async () => {
  const broker = await startBroker()
  const client = await RawClient.connected(broker)
  client.send(publish('t/1', 'x'), publish('t/1', 'x', { qos: 1, messageId: 1 }))
  expect(await client.next()).toMatchObject({ cmd: 'puback', messageId: 1 })
  client.send(publish('t/1', 'x', { qos: 2, messageId: 2 }))
  expect(await client.next()).toMatchObject({ cmd: 'pubrec', messageId: 2 })
})

test('overlapping subscriptions: the greatest QoS of all that match [MQTT-3.3.4-2]', async () => {
  const broker = await startBroker()
  const client = await RawClient.connected(broker)
  await subscribe(client, [{ topic: 't/1', qos: 0 }, { topic: 't/+', qos: 2 }, { topic: 't/#', qos: 1 }])
  const sender = await RawClient.connected(broker)
  for (const qos of [2, 1, 0] as const) {
    await publishAcknowledged(sender, 't/1', 'x', { qos })
    expect(await client.nextOf('publish')).toMatchObject({ qos })
  }
})

describe('Subscription Identifiers', () => {
  test('of all subscriptions that match are in the one copy of the message [MQTT-3.3.4-3] [MQTT-3.3.4-4] [MQTT-3.3.4-5]', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker)
    await subscribe(client, 't/1', { identifier: 1 })
    await subscribe(client, 't/+', { qos: 1, identifier: 268_435_455 })
    await subscribe(client, 't/#')
    await subscribe(client, 'u/#', { identifier: 4 })
    const sender = await RawClient.connected(broker)
    await publishAcknowledged(sender, 't/1', 'both')
    await publishAcknowledged(sender, 't/2', 'one')
    await publishAcknowledged(sender, 't/2/3', 'none')
    await publishAcknowledged(sender, 'u/1', 'end')
    const got = await messagesUntil(client)
    expect(got.map(({ payload }) => payload.toString())).toEqual(['both', 'one', 'none'])
    expect(got.map(message => [message.properties?.subscriptionIdentifier ?? []].flat().sort())).toEqual([[1, 268_435_455], [268_435_455], []])
  })

  test('stand with retained messages, and change with the subscription [MQTT-3.3.4-3]', async () => {
    const broker = await startBroker()
    const sender = await RawClient.connected(broker)
    await publishAcknowledged(sender, 't/1', 'kept', { retain: true })
    const client = await RawClient.connected(broker)
    await subscribe(client, 't/#', { identifier: 7 })
    expect(await client.nextOf('publish')).toMatchObject({ retain: true, properties: { subscriptionIdentifier: 7 } })
    await subscribe(client, 't/#', { identifier: 8 })
    expect(await client.nextOf('publish')).toMatchObject({ retain: true, properties: { subscriptionIdentifier: 8 } })
    await subscribe(client, [{ topic: 't/#', qos: 0, rh: 2 }])
    await publishAcknowledged(sender, 't/1', 'without')
    expect((await client.nextOf('publish')).properties ?? {}).not.toHaveProperty('subscriptionIdentifier')
  })

  test('belong to the session: they are there after a reconnect, and with what waited [MQTT-3.3.4-3]', async () => {
    const broker = await startBroker()
    const session = { clientId: 'c', properties: { sessionExpiryInterval: 100 } }
    const first = await RawClient.connected(broker, 5, session)
    await subscribe(first, 't/#', { qos: 1, identifier: 7 })
    first.destroy()
    await first.closed()
    const sender = await RawClient.connected(broker)
    await publishAcknowledged(sender, 't/1', 'waited')
    const again = await RawClient.connected(broker, 5, { ...session, clean: false })
    expect(await again.nextOf('publish')).toMatchObject({ payload: Buffer.from('waited'), properties: { subscriptionIdentifier: 7 } })
    await publishAcknowledged(sender, 't/1', 'live')
    expect(await again.nextOf('publish')).toMatchObject({ payload: Buffer.from('live'), properties: { subscriptionIdentifier: 7 } })
  })

  test('in a client\'s PUBLISH, or 0, or twice in SUBSCRIBE, are protocol errors [MQTT-3.3.4-6] [3.8.2.1.2]', async () => {
    const broker = await startBroker()
    await expectDisconnect(await RawClient.connected(broker), publishBytes({ props: '0b01' }), 0x82)
    for (const props of ['0b00', '0b010b02']) {
      await expectDisconnect(await RawClient.connected(broker), packet('82', '0001', properties(props), text('t/1'), '00'), 0x82)
    }
  })
})

describe('Receive Maximum', () => {
  test('more unacknowledged messages than the server takes end the connection with 0x93 [MQTT-3.3.4-7]', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker)
    const send = (messageId: number): void => client.send(publish('t/1', 'x', { qos: 2, messageId }))
    for (let id = 1; id <= UNACKNOWLEDGED_LIMIT; id++) send(id)
    // As many as that are taken, and PUBCOMP makes room for one more.
    for (let i = 0; i < UNACKNOWLEDGED_LIMIT; i++) await client.nextOf('pubrec')
    client.send({ cmd: 'pubrel', messageId: 1, reasonCode: 0 })
    await client.nextOf('pubcomp')
    send(1)
    await client.nextOf('pubrec')
    send(UNACKNOWLEDGED_LIMIT + 1)
    await expectDisconnect(client, null, 0x93)
  })

  test.each([1, 2] as const)('the server keeps to the client\'s (QoS %i) [MQTT-3.3.4-9] [3.1.2.11.3]', async qos => {
    const broker = await startBroker()
    const client = await subscriber(broker, 't/#', { qos, properties: { receiveMaximum: 3 } })
    const sender = await RawClient.connected(broker)
    for (let i = 1; i <= 10; i++) await publishAcknowledged(sender, 't/1', `${i}`, { qos })
    const first = await nextMessages(client, 3)
    expect((await client.flushed()).filter(({ cmd }) => cmd === 'publish')).toEqual([])
    if (qos === 2) {
      // PUBREC alone makes no room: the message is on its way until PUBCOMP.
      client.send({ cmd: 'pubrec', messageId: first[0]?.messageId ?? 0, reasonCode: 0 })
      expect((await client.nextOf('pubrel')).messageId).toBe(first[0]?.messageId)
      expect((await client.flushed()).filter(({ cmd }) => cmd === 'publish')).toEqual([])
      client.send({ cmd: 'pubcomp', messageId: first[0]?.messageId ?? 0, reasonCode: 0 })
    } else {
      client.send({ cmd: 'puback', messageId: first[0]?.messageId ?? 0, reasonCode: 0 })
    }
    expect((await client.nextOf('publish')).payload.toString()).toBe('4')
    expect((await client.flushed()).filter(({ cmd }) => cmd === 'publish')).toEqual([])
  })

  test('a PUBREC with an error makes room [MQTT-3.3.4-9]', async () => {
    const broker = await startBroker()
    const client = await subscriber(broker, 't/#', { qos: 2, properties: { receiveMaximum: 1 } })
    const sender = await RawClient.connected(broker)
    for (let i = 1; i <= 2; i++) await publishAcknowledged(sender, 't/1', `${i}`, { qos: 2 })
    client.send({ cmd: 'pubrec', messageId: (await client.nextOf('publish')).messageId ?? 0, reasonCode: 0x83 })
    const next = await client.nextOf('publish')
    expect(next.payload.toString()).toBe('2')
    await acknowledge(client, next)
  })

  test('a full window holds up no other packet, and starts anew with the connection [MQTT-3.3.4-10] [MQTT-3.3.4-9]', async () => {
    const broker = await startBroker()
    const session = { clientId: 'full', properties: { receiveMaximum: 1, sessionExpiryInterval: 100 } }
    const client = await subscriber(broker, 't/#', { qos: 2, ...session })
    const sender = await RawClient.connected(broker)
    for (let i = 1; i <= 3; i++) sender.send(publish('t/1', `${i}`, { qos: 1, messageId: i }))
    await client.nextOf('publish')
    client.send(publish('u/1', 'x', { qos: 1, messageId: 1 }))
    expect(await client.next()).toMatchObject({ cmd: 'puback', messageId: 1 })
    client.send(publish('u/1', 'x', { qos: 2, messageId: 2 }))
    expect(await client.next()).toMatchObject({ cmd: 'pubrec', messageId: 2 })
    client.send({ cmd: 'pubrel', messageId: 2, reasonCode: 0 })
    expect(await client.next()).toMatchObject({ cmd: 'pubcomp', messageId: 2 })
    expect(await subscribe(client, 'v/1')).toMatchObject({ granted: [0] })
    client.send({ cmd: 'unsubscribe', messageId: 3, unsubscriptions: ['v/1'] })
    expect(await client.next()).toMatchObject({ cmd: 'unsuback', messageId: 3 })
    expect(await client.flushed()).toEqual([])
    client.destroy()
    await client.closed()
    const again = await RawClient.connected(broker, 5, { ...session, clean: false })
    expect(await again.nextOf('publish')).toMatchObject({ payload: Buffer.from('1'), dup: true })
    expect(await again.flushed()).toEqual([])
  })
})
