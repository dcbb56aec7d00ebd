// MQTT 3.1.1 sections 3.1.2.4, 4.1, 4.3 and 4.4: what a session keeps with clean session 0, how each QoS is carried to
// its end, and what is sent again. Statement numbers are those of 3.1.1 throughout.
import { describe, expect, test } from 'vitest'
import type { QoS } from 'mqtt-packet'
import { startBroker } from '../support/broker.js'
import { RawClient, type Version } from '../support/raw-client.js'
import { deliver, deliverAll, expectQuiet, join, kept, leave, listen, listener, numbered, payloadsOf, receive, take } from './parties.js'
import { publish } from './v5-wire.js'

describe('a session', () => {
  test('is present for clean session 0 alone, and says so (3.1.1: MQTT-3.2.2-1, MQTT-3.2.2-2, MQTT-3.2.2-3, MQTT-3.1.2-4, MQTT-3.1.2-6)', async () => {
    const broker = await startBroker()
    const present: boolean[] = []
    for (const clean of [false, false, true, false, true, true]) {
      const connected = await join(broker, 4, { clientId: 'c', clean })
      present.push(connected.present)
      await leave(connected.client)
    }
    expect(present).toEqual([false, true, false, false, false, false])
  })

  test('keeps subscriptions, and QoS 1 and 2 messages that come meanwhile, in order (3.1.1: MQTT-3.1.2-4, MQTT-3.1.2-5, MQTT-4.5.0-1, MQTT-4.1.0-1)', async () => {
    const broker = await startBroker()
    const first = await RawClient.connected(broker, 4, kept('c', 4))
    await listen(first, [{ topic: 'a/+', qos: 1 }, { topic: 'b', qos: 2 }, { topic: 'c', qos: 0 }])
    first.destroy()
    await first.closed()
    const sender = await RawClient.connected(broker, 4)
    await deliver(sender, 'a/1', 'm1', 1)
    await deliver(sender, 'b', 'm2', 2)
    await deliver(sender, 'a/2', 'm3', 2)
    await deliver(sender, 'b', 'm4', 1)
    const { client, present } = await join(broker, 4, kept('c', 4))
    expect(present).toBe(true)
    const got = (await receive(client, 4)).map(({ payload, qos, dup }) => [payload.toString(), qos, dup])
    // Each topic and QoS has its order; between them there is none.
    expect(got.sort()).toEqual([['m1', 1, false], ['m2', 2, false], ['m3', 1, false], ['m4', 1, false]])
    await deliver(sender, 'c', 'live', 2)
    expect(await receive(client, 1)).toMatchObject([{ payload: Buffer.from('live'), qos: 0 }])
  })

  test('ends with clean session 1, with its queue; what is retained stays (3.1.1: MQTT-3.1.2-6, MQTT-3.1.2.7)', async () => {
    const broker = await startBroker()
    await leave(await listener(broker, 4, 't', 1, kept('c', 4)))
    const sender = await RawClient.connected(broker, 4, { clientId: 'sender' })
    await deliver(sender, 't', 'retained', 1, { retain: true })
    await leave(sender)
    const { client } = await join(broker, 4, { clientId: 'c', clean: true })
    await expectQuiet(client)
    await leave(client)
    const { client: third } = await join(broker, 4, kept('c', 4))
    await expectQuiet(third)
    await listen(third, ['t'], 1)
    expect(await receive(third, 1)).toMatchObject([{ payload: Buffer.from('retained'), retain: true }])
  })

  test('with clean session 1 ends with the connection (3.1.1: MQTT-3.1.2-6, MQTT-4.1.0-2)', async () => {
    const broker = await startBroker()
    await leave(await listener(broker, 4, 't', 1, { clientId: 'c', clean: true }))
    const { client, present } = await join(broker, 4, kept('c', 4))
    expect(present).toBe(false)
    const sender = await RawClient.connected(broker, 4)
    await deliver(sender, 't', 'x')
    await expectQuiet(client, sender)
  })

  test.each<[Version, Version]>([[4, 5], [5, 4], [3, 4], [4, 3]])('begun with level %i goes on with level %i', async (before, after) => {
    const broker = await startBroker()
    await leave(await listener(broker, before, 't', 2, kept('c', before)))
    const sender = await RawClient.connected(broker, 5)
    await deliver(sender, 't', 'queued', 2, { properties: { contentType: 'text/plain', userProperties: { a: 'b' } } })
    const { client } = await join(broker, after, kept('c', after))
    const [message] = await receive(client, 1)
    expect(message).toMatchObject({ payload: Buffer.from('queued'), qos: 2 })
    if (after === 5) expect(message?.properties).toMatchObject({ contentType: 'text/plain' })
  })
})

describe('what is sent again', () => {
  test.each<QoS>([1, 2])('with QoS %i: what is unacknowledged, with DUP, its identifier and in order, then the queue, then what is live (3.1.1: MQTT-4.4.0-1, MQTT-4.6.0-1, MQTT-3.3.1-1, MQTT-2.3.1-4)', async qos => {
    const broker = await startBroker()
    const first = await listener(broker, 4, 't', qos, kept('c', 4))
    const sender = await RawClient.connected(broker, 4)
    for (const payload of numbered('m', 4)) await deliver(sender, 't', payload, qos)
    const before = await take(first, 4)
    expect(before.map(({ dup }) => dup)).toEqual([false, false, false, false])
    first.destroy()
    await deliver(sender, 't', 'm5', qos)
    const { client } = await join(broker, 4, kept('c', 4))
    await deliver(sender, 't', 'm6', qos)
    const after = await take(client, 6)
    expect(payloadsOf(after)).toEqual(numbered('m', 6))
    expect(after.map(({ dup }) => dup)).toEqual([true, true, true, true, false, false])
    expect(after.slice(0, 4).map(({ messageId }) => messageId)).toEqual(before.map(({ messageId }) => messageId))
    expect(new Set(after.map(({ messageId }) => messageId)).size).toBe(6)
  })

  test('PUBREL after PUBREC, not PUBLISH; nothing after PUBACK or PUBCOMP (3.1.1: MQTT-4.4.0-1, MQTT-4.3.3-1)', async () => {
    const broker = await startBroker()
    const first = await listener(broker, 4, 't', 2, kept('c', 4))
    const sender = await RawClient.connected(broker, 4)
    for (const [payload, qos] of [['acknowledged', 1], ['completed', 2], ['received', 2]] as const) await deliver(sender, 't', payload, qos)
    const [acknowledged = 0, completed = 0, received = 0] = (await take(first, 3)).map(({ messageId }) => messageId)
    first.send({ cmd: 'puback', messageId: acknowledged })
    for (const messageId of [completed, received]) {
      first.send({ cmd: 'pubrec', messageId })
      expect(await first.next()).toMatchObject({ cmd: 'pubrel', messageId })
    }
    first.send({ cmd: 'pubcomp', messageId: completed })
    await first.flushed()
    first.destroy()
    const { client } = await join(broker, 4, kept('c', 4))
    expect(await client.next()).toMatchObject({ cmd: 'pubrel', messageId: received })
    await expectQuiet(client)
    client.send({ cmd: 'pubcomp', messageId: received })
    await leave(client)
    const { client: third } = await join(broker, 4, kept('c', 4))
    await expectQuiet(third)
  })

  test('a client of 3.1.1 has no more than the broker\'s own window on its way, and all of it in the end', async () => {
    const broker = await startBroker()
    const slow = await listener(broker, 4, 't', 1)
    const sender = await RawClient.connected(broker, 4)
    await deliverAll(sender, numbered('m', 60).map(payload => ({ topic: 't', payload, qos: 1 })))
    const before = await take(slow, 20)
    await expectQuiet(slow, sender)
    slow.send(...before.map(({ messageId = 0 }) => ({ cmd: 'puback', messageId }) as const))
    expect(payloadsOf([...before, ...await receive(slow, 40)])).toEqual(numbered('m', 60))
  })
})

describe('a message from a client', () => {
  test('with QoS 1: PUBACK with its identifier; the same identifier again is a new message (3.1.1: MQTT-4.3.2-2, MQTT-2.3.1-6, MQTT-3.3.1-3)', async () => {
    const broker = await startBroker()
    const watcher = await listener(broker, 4, 't', 1)
    const client = await RawClient.connected(broker, 4)
    for (const [payload, dup] of [['first', false], ['second', true]] as const) {
      client.send(publish('t', payload, { qos: 1, messageId: 65_535, dup }))
      await client.nextOf('puback')
    }
    expect(client.bytes.subarray(4).toString('hex')).toBe('4002ffff4002ffff')
    const got = await receive(watcher, 2)
    expect(got.map(({ payload, dup }) => [payload.toString(), dup])).toEqual([['first', false], ['second', false]])
  })

  test('with QoS 2: once until PUBREL, also over a reconnect; then the identifier is free (3.1.1: MQTT-4.3.3-2, MQTT-4.4.0-1)', async () => {
    const broker = await startBroker()
    const watcher = await listener(broker, 4, '#', 2)
    const first = await RawClient.connected(broker, 4, kept('c', 4))
    for (const dup of [false, true]) {
      first.send(publish('t', 'once', { qos: 2, messageId: 5, dup }))
      expect(await first.next()).toMatchObject({ cmd: 'pubrec', messageId: 5 })
    }
    first.destroy()
    const { client, present } = await join(broker, 4, kept('c', 4))
    expect(present).toBe(true)
    client.send(publish('t', 'once', { qos: 2, messageId: 5, dup: true }))
    expect(await client.next()).toMatchObject({ cmd: 'pubrec', messageId: 5 })
    // PUBREL is answered each time, also when PUBCOMP got lost.
    for (let i = 0; i < 2; i++) {
      client.send({ cmd: 'pubrel', messageId: 5 })
      expect(await client.next()).toMatchObject({ cmd: 'pubcomp', messageId: 5 })
    }
    client.send(publish('t', 'new', { qos: 2, messageId: 5 }))
    await client.nextOf('pubrec')
    client.send({ cmd: 'pubrel', messageId: 5 })
    await client.nextOf('pubcomp')
    await deliver(client, 't', 'end', 2)
    expect(payloadsOf(await receive(watcher))).toEqual(['once', 'new'])
  })
})

test.each<Version>([4, 5])('QoS 2 arrives exactly once, wherever the connections of level %i break (3.1.1: MQTT-4.3.3-1, MQTT-4.3.3-2) [MQTT-4.3.3-1] [MQTT-4.3.3-6] [MQTT-4.3.3-10] [MQTT-4.3.3-12]', async version => {
  const broker = await startBroker()
  const open = async (clientId: string): Promise<RawClient> => (await join(broker, version, kept(clientId, version))).client
  await leave(await listener(broker, version, 't', 2, kept('receiver', version)))
  let sender = await open('sender')
  let receiver = await open('receiver')
  const payloads = numbered('m', 40)
  const arrived: string[] = []
  const unreleased = new Set<number>()

  /** Answers what comes until this payload is released; breaks the connection once, at the `breakAt`-th step of it. */
  async function receiveReleased (payload: string, breakAt: number): Promise<void> {
    let step = 0
    const broken = async (): Promise<boolean> => {
      if (step++ !== breakAt) return false
      receiver.destroy()
      receiver = await open('receiver')
      return true
    }
    while (!arrived.includes(payload) || unreleased.size > 0) {
      const message = await receiver.next()
      const messageId = message.messageId ?? 0
      if (message.cmd !== 'publish' && message.cmd !== 'pubrel') continue
      if (await broken()) continue
      if (message.cmd === 'publish') {
        if (!unreleased.has(messageId)) arrived.push(message.payload.toString())
        unreleased.add(messageId)
      } else unreleased.delete(messageId)
      receiver.send({ cmd: message.cmd === 'publish' ? 'pubrec' : 'pubcomp', messageId })
      await broken()
    }
  }

  for (const [i, payload] of payloads.entries()) {
    const messageId = i % 3 + 1
    const receiving = receiveReleased(payload, (i >> 2) % 5)
    // 0: before PUBREC is read, 1: after it, 2: before PUBCOMP is read, 3: not at all.
    const breakAt = i % 4
    const reopen = async (at: number): Promise<boolean> => {
      if (at !== breakAt) return false
      sender.destroy()
      sender = await open('sender')
      return true
    }
    sender.send(publish('t', payload, { qos: 2, messageId }))
    if (await reopen(0)) sender.send(publish('t', payload, { qos: 2, messageId, dup: true }))
    await sender.nextOf('pubrec')
    await reopen(1)
    sender.send({ cmd: 'pubrel', messageId })
    if (await reopen(2)) sender.send({ cmd: 'pubrel', messageId })
    await sender.nextOf('pubcomp')
    await receiving
  }
  expect(arrived).toEqual(payloads)
})
