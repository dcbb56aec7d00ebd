// What survives the end of the process: sessions with their subscriptions and queues, retained messages, wills, and the
// QoS 2 handshakes, after a clean stop and after kill -9 at the moment of the acknowledgement. Acknowledged means stored.
import type { IPublishPacket, Packet } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import { openBrokerStore } from '../../storage/broker-store.js'
import { acknowledge, field, nextMessages, publish, publishAcknowledged, publishBytes, publishesIn, subscribe, text, userProperty } from '../conformance/v5-wire.js'
import { startBroker, temporaryFolder, type TestBroker } from '../support/broker.js'
import { ManualClock } from '../support/clock.js'
import { RawClient, type Version } from '../support/raw-client.js'
import { ENDS, storedRows } from '../support/stored-sessions.js'

const FOR_LONG = { sessionExpiryInterval: 1_000 }

/** A client whose session is kept. */
async function lasting (broker: TestBroker, clientId: string, options: Parameters<RawClient['connect']>[0] = {}): Promise<RawClient> {
  return await RawClient.connected(broker, 5, { clientId, clean: true, properties: FOR_LONG, ...options })
}

/** The client again; its session goes on, or the test fails. */
async function back (broker: TestBroker, clientId: string, options: Parameters<RawClient['connect']>[0] = {}, version: Version = 5): Promise<RawClient> {
  const client = await RawClient.open(broker, version)
  const connack = await client.connect({ clientId, clean: false, ...(version === 5 && { properties: FOR_LONG }), ...options })
  expect(connack).toMatchObject({ sessionPresent: true })
  return client
}

async function leave (client: RawClient): Promise<void> {
  client.send({ cmd: 'disconnect' })
  await client.closed()
}

/** The first step towards the end of a message. */
function begin (client: RawClient, { qos, messageId = 0 }: IPublishPacket): void {
  if (qos > 0) client.send({ cmd: qos === 1 ? 'puback' : 'pubrec', messageId, reasonCode: 0 })
}

/** The next `count` messages, all of which are acknowledged. */
async function takeAll (client: RawClient, count: number): Promise<IPublishPacket[]> {
  const messages: IPublishPacket[] = []
  while (messages.length < count) {
    const next = await client.next()
    if (next.cmd === 'pubrel') client.send({ cmd: 'pubcomp', messageId: next.messageId ?? 0, reasonCode: 0 })
    if (next.cmd !== 'publish') continue
    messages.push(next)
    begin(client, next)
  }
  return messages
}

const payloads = (messages: readonly IPublishPacket[]): string[] => messages.map(message => message.payload.toString())

describe.each(Object.entries(ENDS))('after %s', (_, end) => {
  test('subscriptions are there with all their options, and those that were taken back are not', async () => {
    const data = temporaryFolder()
    const broker = await startBroker({ data })
    const client = await lasting(broker, 'c')
    await subscribe(client, [{ topic: 'plain', qos: 1 }, { topic: 'gone', qos: 1 }, { topic: 'rap/+', qos: 2, rap: true }], { identifier: 268_435_455 })
    await subscribe(client, [{ topic: 'own/#', qos: 1, nl: true }, { topic: '$share/g/own/shared', qos: 0 }])
    client.send({ cmd: 'unsubscribe', messageId: 5, unsubscriptions: ['gone'] })
    await client.nextOf('unsuback')

    const again = await startBroker({ data: await end(broker, data) })
    const same = await back(again, 'c')
    const sender = await RawClient.connected(again)
    for (const topic of ['gone', 'plain', 'rap/x']) await publishAcknowledged(sender, topic, topic, { qos: 2, retain: true })
    // No Local: what it says itself on own/# does not come back, but to the shared subscription it does.
    same.send(publish('own/x', 'own', { qos: 1, messageId: 7 }))
    await publishAcknowledged(sender, 'own/shared', 'shared')
    const got = await nextMessages(same, 4)
    expect(got.map(({ topic, qos, retain, properties: of }) => [topic, qos, retain, of?.subscriptionIdentifier])).toEqual([
      ['plain', 1, false, 268_435_455], ['rap/x', 2, true, 268_435_455], ['own/shared', 1, false, undefined], ['own/shared', 0, false, undefined]
    ])
    // Known already: Retain Handling 1 has nothing to send.
    same.send({ cmd: 'subscribe', messageId: 6, subscriptions: [{ topic: 'plain', qos: 1, rh: 1 }] })
    await same.nextOf('suback')
    expect(await same.flushed()).toEqual([])
  })

  test('queued messages come in their order, byte for byte, with all their properties', async () => {
    const data = temporaryFolder()
    const broker = await startBroker({ data })
    const client = await lasting(broker, 'c')
    await subscribe(client, 'queue/#', { qos: 2 })
    await leave(client)
    const sender = await RawClient.connected(broker)
    const everyByte = Buffer.from(Array.from({ length: 256 }, (_, i) => i)).toString('hex')
    const all = ['0100', '03' + text('text/pläin'), '08' + text('replies/c/1'), '09' + field(everyByte), userProperty('b', '1'), userProperty('a', '2'), userProperty('b', ''), userProperty('__proto__', 'ü')]
    const sent = [['32', all.join(''), everyByte], ['34', '', ''], ['32', '09' + field('00'), 'ff'.repeat(5_000)], ['34', '0101' + userProperty('', ''), '61']]
      .map(([first, props, payload], i) => publishBytes({ first: first ?? '', topic: text(`queue/${i}`), id: `000${i + 1}`, props: props ?? '', payload: payload ?? '' }))
    sender.write(...sent)
    await sender.nextOf('puback')
    await sender.nextOf('pubrec')
    await sender.nextOf('puback')
    await sender.nextOf('pubrec')

    const again = await startBroker({ data: await end(broker, data) })
    const same = await back(again, 'c')
    await nextMessages(same, 4)
    // The identifiers happen to be the same.
    expect(publishesIn(same).map(bytes => bytes.toString('hex'))).toEqual(sent)
  })

  test('a 3.1.1 session is kept as well', async () => {
    const data = temporaryFolder()
    const broker = await startBroker({ data })
    const client = await RawClient.connected(broker, 4, { clientId: 'c', clean: false })
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a/+', qos: 1 }] })
    await client.nextOf('suback')
    await leave(client)
    await publishAcknowledged(await RawClient.connected(broker), 'a/b', Buffer.from([0, 255]), { properties: { correlationData: Buffer.from('x') } })

    const again = await startBroker({ data: await end(broker, data) })
    const [message] = await nextMessages(await back(again, 'c', {}, 4), 1)
    expect(message).toMatchObject({ topic: 'a/b', payload: Buffer.from([0, 255]), qos: 1, dup: false })
  })

  test('what was sent and not acknowledged comes first, again; the rest follows in its order', async () => {
    const data = temporaryFolder()
    const broker = await startBroker({ data })
    const client = await lasting(broker, 'c', { properties: { ...FOR_LONG, receiveMaximum: 4 } })
    await subscribe(client, 'a', { qos: 2 })
    const sender = await RawClient.connected(broker)
    for (let i = 0; i < 12; i++) await publishAcknowledged(sender, 'a', String(i), { qos: i % 2 === 0 ? 2 : 1 })
    const [, , , fourth] = await nextMessages(client, 4)
    client.send({ cmd: 'puback', messageId: fourth?.messageId ?? 0, reasonCode: 0 })
    const before = [...client.packets.filter(one => one.cmd === 'publish'), ...await nextMessages(client, 1)]
    // What went is stored behind what was there: this is acknowledged later.
    await publishAcknowledged(sender, 'a', '12')

    const again = await startBroker({ data: await end(broker, data) })
    const same = await back(again, 'c', { properties: { ...FOR_LONG, receiveMaximum: 5 } })
    const first = await nextMessages(same, 5)
    expect(payloads(first)).toEqual(['0', '1', '2', '4', '5'])
    const identifiers = new Map(before.map(message => [message.payload.toString(), message.messageId]))
    for (const message of first.filter(one => one.qos === 2)) expect(message).toMatchObject({ dup: true, messageId: identifiers.get(message.payload.toString()) })
    expect(new Set(first.map(message => message.messageId)).size).toBe(5)
    for (const message of first) begin(same, message)
    const rest = await takeAll(same, 7)
    expect(payloads(rest)).toEqual(['6', '7', '8', '9', '10', '11', '12'])
    expect(rest.map(message => message.dup)).toEqual(Array(7).fill(false))
  })

  test('a QoS 2 message to a subscriber goes on at the step where it was', async () => {
    const data = temporaryFolder()
    const broker = await startBroker({ data })
    const client = await lasting(broker, 'c')
    await subscribe(client, 'a', { qos: 2 })
    const sender = await RawClient.connected(broker)
    for (const payload of ['published', 'released', 'complete']) await publishAcknowledged(sender, 'a', payload)
    for (const payload of ['published', 'released', 'complete']) await publishAcknowledged(sender, 'a', payload, { qos: 2 })
    const messages = (await nextMessages(client, 6)).filter(message => message.qos === 2)
    const [published = 0, released = 0, complete = 0] = messages.map(message => message.messageId ?? 0)
    client.send({ cmd: 'pubrec', messageId: complete, reasonCode: 0 }, { cmd: 'pubrec', messageId: released, reasonCode: 0 })
    await client.nextOf('pubrel')
    await client.nextOf('pubrel')
    client.send({ cmd: 'pubcomp', messageId: complete, reasonCode: 0 })
    await client.flushed()
    await publishAcknowledged(sender, 'a', 'later')

    const again = await startBroker({ data: await end(broker, data) })
    const same = await back(again, 'c')
    const packets: Packet[] = []
    while (packets.length < 6) packets.push(await same.next())
    expect(payloads(packets.filter(one => one.cmd === 'publish'))).toEqual(['published', 'released', 'complete', 'published', 'later'])
    packets.splice(0, 3)
    packets.pop()
    expect(packets).toMatchObject([{ cmd: 'publish', messageId: published, dup: true }, { cmd: 'pubrel', messageId: released }])
    same.send({ cmd: 'pubcomp', messageId: released, reasonCode: 0 })
    await acknowledge(same, { qos: 2, messageId: published } as IPublishPacket)
  })

  test('a QoS 2 message of a publisher is one message wherever the handshake was', async () => {
    const data = temporaryFolder()
    const broker = await startBroker({ data })
    const watcher = await lasting(broker, 'watcher')
    await subscribe(watcher, 'a', { qos: 1 })
    const client = await lasting(broker, 'c')
    for (const messageId of [1, 2, 3]) client.send(publish('a', String(messageId), { qos: 2, messageId }))
    for (let i = 0; i < 3; i++) await client.nextOf('pubrec')
    client.send({ cmd: 'pubrel', messageId: 3, reasonCode: 0 })
    await client.nextOf('pubcomp')
    for (const message of await nextMessages(watcher, 3)) await acknowledge(watcher, message)
    await publishAcknowledged(await RawClient.connected(broker), 'a', 'acknowledged before')
    await nextMessages(watcher, 1)

    const again = await startBroker({ data: await end(broker, data) })
    const watching = await back(again, 'watcher')
    const same = await back(again, 'c')
    // 1: PUBREC got lost. 2: PUBREL got lost. 3: PUBCOMP got lost, and then it is another message.
    same.send(publish('a', '1', { qos: 2, messageId: 1, dup: true }))
    expect(await same.nextOf('pubrec')).toMatchObject({ messageId: 1, reasonCode: 0 })
    for (const messageId of [1, 2]) {
      same.send({ cmd: 'pubrel', messageId, reasonCode: 0 })
      expect(await same.nextOf('pubcomp')).toMatchObject({ messageId, reasonCode: 0 })
    }
    same.send({ cmd: 'pubrel', messageId: 3, reasonCode: 0 })
    expect(await same.nextOf('pubcomp')).toMatchObject({ messageId: 3, reasonCode: 0x92 })
    for (const messageId of [3, 1]) await publishAcknowledged(same, 'a', `new ${messageId}`, { qos: 2 })
    expect(payloads(await nextMessages(watching, 3))).toEqual(['acknowledged before', 'new 3', 'new 1'])
  })

  test('retained messages are the last that was acknowledged, with their bytes; what was cleared is gone', async () => {
    const data = temporaryFolder()
    const clock = new ManualClock()
    const broker = await startBroker({ data, clock })
    const sender = await RawClient.connected(broker)
    const props = '08' + text('replies/x') + '09' + field('00ff') + userProperty('b', '1') + userProperty('a', '2')
    for (const payload of ['old', 'cleared']) await publishAcknowledged(sender, 'kept/cleared', payload, { retain: true })
    await publishAcknowledged(sender, 'kept/full', 'old', { retain: true, qos: 2 })
    sender.write(publishBytes({ first: '33', topic: text('kept/full'), id: '0001', props, payload: '00ff' }))
    await sender.nextOf('puback')
    await publishAcknowledged(sender, 'kept/soon over', 'x', { retain: true, properties: { messageExpiryInterval: 10 } })
    await publishAcknowledged(sender, 'kept/later', 'x', { retain: true, properties: { messageExpiryInterval: 100 } })
    sender.send(publish('kept/zero', 'QoS 0', { retain: true }))
    await publishAcknowledged(sender, 'kept/cleared', '', { retain: true })

    const folder = await end(broker, data)
    clock.advance(20_000)
    const again = await startBroker({ data: folder, clock })
    const reader = await RawClient.connected(again)
    await subscribe(reader, 'kept/#', { qos: 2 })
    const messages = (await reader.flushed()).filter(one => one.cmd === 'publish')
    expect(messages.map(({ topic, qos, retain }) => `${topic} ${qos} ${retain}`).sort()).toEqual(['kept/full 1 true', 'kept/later 1 true', 'kept/zero 0 true'])
    expect(messages.find(message => message.topic === 'kept/later')?.properties).toEqual({ messageExpiryInterval: 80 })
    const full = messages.find(message => message.topic === 'kept/full')
    const id = (full?.messageId ?? 0).toString(16).padStart(4, '0')
    expect(publishesIn(reader).map(bytes => bytes.toString('hex'))).toContain(publishBytes({ first: '33', topic: text('kept/full'), id, props, payload: '00ff' }))
  })

  test('the will of a connected client is out before anybody is let in; one that was taken back is not', async () => {
    const data = temporaryFolder()
    const broker = await startBroker({ data })
    const watcher = await lasting(broker, 'watcher')
    await subscribe(watcher, 'sensors/#', { qos: 1 })
    const properties = { contentType: 'text/plain', responseTopic: 'r', correlationData: Buffer.from([0, 255]), userProperties: { b: ['2', '1'] } }
    const will = (name: string, more: object = {}): Parameters<RawClient['connect']>[0] => (
      { clientId: name, will: { topic: `sensors/${name}/status`, payload: Buffer.from('offline'), qos: 1, retain: true, properties: { ...properties, ...more } } }
    )
    await RawClient.connected(broker, 5, will('clean', { willDelayInterval: 1_000 }))
    await lasting(broker, 'kept', will('kept'))
    await lasting(broker, 'late', will('late', { willDelayInterval: 1_000 }))
    await leave(await lasting(broker, 'left', will('left')))
    await leave(await lasting(broker, 'replaced', will('replaced')))
    await lasting(broker, 'replaced')
    await publishAcknowledged(watcher, 'x', 'x', { retain: true })

    const again = await startBroker({ data: await end(broker, data) })
    const first = await RawClient.connected(again)
    await subscribe(first, 'sensors/#', { qos: 1 })
    const seen = (await first.flushed()).filter(one => one.cmd === 'publish')
    expect(seen.map(({ topic, retain }) => [topic, retain]).sort()).toEqual([['sensors/clean/status', true], ['sensors/kept/status', true]])
    const queued = (await (await back(again, 'watcher')).flushed()).filter(one => one.cmd === 'publish')
    expect(queued.map(({ topic }) => topic).sort()).toEqual(['sensors/clean/status', 'sensors/kept/status'])
    for (const message of [...seen, ...queued]) expect({ ...message.properties }).toMatchObject({ ...properties, userProperties: { b: ['2', '1'] } })
  })

  test('a session lives as long as it asked for, and the time without a broker counts', async () => {
    const data = temporaryFolder()
    const clock = new ManualClock()
    const broker = await startBroker({ data, clock })
    const sender = await RawClient.connected(broker)
    const soon = { properties: { sessionExpiryInterval: 60 } }
    const willOf = (id: string): object => ({ will: { topic: `sensors/${id}/status`, payload: Buffer.from('offline'), qos: 0, retain: true, properties: { willDelayInterval: 1_000 } } })
    for (const id of ['over', 'going on', 'connected']) {
      const client = await lasting(broker, id, { ...soon, ...(id === 'over' && willOf(id)) })
      await subscribe(client, 'a', { qos: 1 })
      if (id === 'going on') await leave(client)
      if (id === 'over') {
        client.destroy()
        await expect.poll(() => broker.count('broker_clients')).toBe(1)
      }
      if (id === 'over') clock.advance(30_000)
    }
    await publishAcknowledged(sender, 'a', 'x')

    const folder = await end(broker, data)
    clock.advance(31_000)
    const again = await startBroker({ data: folder, clock })
    const late = await RawClient.open(again)
    expect(await late.connect({ clientId: 'over', clean: false, ...soon })).toMatchObject({ sessionPresent: false })
    await subscribe(late, '+/+/status')
    // Its session is over, and with it the delay of its will.
    expect(payloads((await late.flushed()).filter(one => one.cmd === 'publish'))).toEqual(['offline'])
    clock.advance(28_000)
    expect(payloads(await nextMessages(await back(again, 'going on', soon), 1))).toEqual(['x'])
    expect(payloads(await nextMessages(await back(again, 'connected', soon), 1))).toEqual(['x'])
  })

  test('a session that ends and begins again has nothing of the one before', async () => {
    const data = temporaryFolder()
    const broker = await startBroker({ data })
    const sender = await RawClient.connected(broker)
    const ends: Record<string, (client: RawClient, id: string) => Promise<unknown>> = {
      'Clean Start': async () => {},
      'expiry 0 in DISCONNECT': async client => {
        client.send({ cmd: 'disconnect', properties: { sessionExpiryInterval: 0 } })
        await client.closed()
      },
      'expiry 0 in CONNECT': async (client, id) => {
        // Nothing waits, so that the subscription alone is what must go.
        for (const message of await nextMessages(client, 1)) await acknowledge(client, message)
        await leave(client)
        await leave(await back(broker, id, { properties: {} }))
      },
      'expiry 0 in CONNECT, with a queue of a shared subscription': async (client, id) => {
        for (const message of await nextMessages(client, 1)) await acknowledge(client, message)
        await subscribe(client, '$share/g/shared', { qos: 1 })
        await leave(client)
        await publishAcknowledged(sender, 'shared', 'queued')
        await leave(await back(broker, id, { properties: {} }))
      },
      'expiry 0 in CONNECT, with a queue': async (client, id) => {
        await leave(client)
        await publishAcknowledged(sender, 'old', 'queued', { qos: 2 })
        await leave(await back(broker, id, { properties: {} }))
      }
    }
    for (const [id, over] of Object.entries(ends)) {
      const client = await lasting(broker, id)
      await subscribe(client, 'old', { qos: 2 })
      client.send(publish('x', 'x', { qos: 2, messageId: 7 }))
      await client.nextOf('pubrec')
      await publishAcknowledged(sender, 'old', 'unacknowledged', { qos: 2 })
      await over(client, id)
      await subscribe(await lasting(broker, id), 'new', { qos: 1 })
    }
    await publishAcknowledged(sender, 'new', 'new')

    const again = await startBroker({ data: await end(broker, data) })
    const late = await RawClient.connected(again)
    await publishAcknowledged(late, 'old', 'not wanted')
    for (const id of Object.keys(ends)) {
      const same = await back(again, id)
      expect([id, payloads((await same.flushed()).filter(one => one.cmd === 'publish'))]).toEqual([id, ['new']])
      same.send({ cmd: 'pubrel', messageId: 7, reasonCode: 0 })
      expect([id, await same.nextOf('pubcomp')]).toMatchObject([id, { reasonCode: 0x92 }])
    }
  })

  test('what is queued for a shared subscription stays with it, also where its name stands before several filters', async () => {
    const data = temporaryFolder()
    const broker = await startBroker({ data })
    const member = await lasting(broker, 'member')
    await subscribe(member, [{ topic: '$share/g/a', qos: 1 }, { topic: '$share/g/b', qos: 1 }])
    await leave(member)
    const sender = await RawClient.connected(broker)
    for (const topic of ['b', 'a']) await publishAcknowledged(sender, topic, topic)

    const again = await startBroker({ data: await end(broker, data) })
    const others = await Promise.all(['a', 'b'].map(async topic => {
      const other = await lasting(again, `other ${topic}`)
      await subscribe(other, `$share/g/${topic}`, { qos: 1 })
      return other
    }))
    // It comes, does not acknowledge and goes: the others get theirs, each by its filter.
    const same = await back(again, 'member')
    expect(payloads(await nextMessages(same, 2))).toEqual(['b', 'a'])
    same.destroy()
    for (const [i, other] of others.entries()) expect(payloads(await nextMessages(other, 1))).toEqual([['a', 'b'][i]])
    for (const other of others) await other.flushed()
    expect(others.map(other => publishesIn(other).length)).toEqual([1, 1])
  })

  test('a message that several wait for stays until the last of them has it', async () => {
    const data = temporaryFolder()
    const broker = await startBroker({ data })
    const [a, b] = await Promise.all(['a', 'b'].map(async id => {
      const client = await lasting(broker, id)
      await subscribe(client, 'all', { qos: 1 })
      return client
    })) as [RawClient, RawClient]
    const sender = await RawClient.connected(broker)
    await publishAcknowledged(sender, 'all', 'shared')
    const [message] = await nextMessages(a, 1)
    // The acknowledgement and the end of the session come in one batch.
    a.send({ cmd: 'puback', messageId: message?.messageId ?? 0, reasonCode: 0 }, { cmd: 'disconnect', properties: { sessionExpiryInterval: 0 } })
    await a.closed()
    await publishAcknowledged(sender, 'all', 'later')
    expect(payloads(await nextMessages(b, 2))).toEqual(['shared', 'later'])

    const again = await startBroker({ data: await end(broker, data) })
    expect(payloads(await nextMessages(await back(again, 'b'), 2))).toEqual(['shared', 'later'])
  })

  test('nothing is left in the file when nobody needs anything any more', async () => {
    const data = temporaryFolder()
    const clock = new ManualClock()
    const broker = await startBroker({ data, clock })
    const sender = await RawClient.connected(broker)
    for (const id of ['a', 'b', 'c']) {
      const client = await lasting(broker, id)
      await subscribe(client, [{ topic: 'all', qos: 2 }, { topic: 'sensors/#', qos: 1 }])
      await leave(client)
    }
    for (const topic of ['all', 'sensors/s/status', 'all', 'all']) await publishAcknowledged(sender, topic, 'x', { qos: 2, properties: { messageExpiryInterval: 50 } })
    for (const payload of ['x', '']) await publishAcknowledged(sender, 'kept', payload, { retain: true })
    expect(storedRows(data).messages).toBeGreaterThan(0)

    // One takes everything, one is ended by Clean Start, one expires with its messages while nobody is there.
    const folder = await end(broker, data)
    const again = await startBroker({ data: folder, clock })
    const a = await back(again, 'a')
    for (const message of (await a.flushed()).filter(one => one.cmd === 'publish')) await acknowledge(a, message)
    a.send({ cmd: 'disconnect', properties: { sessionExpiryInterval: 0 } })
    await a.closed()
    await leave(await RawClient.connected(again, 5, { clientId: 'b', clean: true }))
    await again.close()
    clock.advance(2_000_000)
    const last = await startBroker({ data: folder, clock })
    await last.close()
    expect(storedRows(folder)).toEqual({})
  })
})

test('more messages than a call can have arguments are no obstacle to a start', async () => {
  const data = temporaryFolder()
  const store = await openBrokerStore(data)
  const message = { topic: 't', payload: Buffer.from('x'), qos: 1, retain: false, properties: Buffer.alloc(0), expiresAtMs: null, from: null } as const
  const numbers = Array.from({ length: 130_000 }, (_, i) => i + 1)
  await store.write({
    sessionsGone: [], subscriptionsGone: [], messagesGone: [], entriesGone: [], retained: [], retainedGone: [], wills: [], willsGone: [], receipts: [], receiptsGone: [], subscriptions: [],
    sessions: Array.from({ length: 130 }, (_, i) => ({ clientId: `c${i}`, user: null, expirySeconds: 1_000, disconnectedAtMs: Date.now() })),
    messages: new Map(numbers.map(number => [number, message])),
    entries: numbers.map(number => ({ clientId: `c${number % 130}`, place: number, message: number, qos: 1, retain: false, identifiers: [], group: null, packetId: 0, released: false }))
  })
  await store.close()
  const broker = await startBroker({ data })
  expect(payloads(await nextMessages(await back(broker, 'c7'), 20))).toEqual(Array(20).fill('x'))
})
