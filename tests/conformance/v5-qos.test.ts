// MQTT 5.0 section 4.3: the exchanges of QoS 0, 1 and 2, in both directions, each packet identifier from its first use to
// its next. That QoS 2 arrives exactly once wherever connections break is shown in v311-sessions.test.ts for both versions.
import { describe, expect, test } from 'vitest'
import { startBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'
import { deliver, join, kept, listener, payloadsOf, receive, take } from './parties.js'
import { publish } from './v5-wire.js'

describe('what is sent for the first time', () => {
  test('has DUP 0 whatever its sender said, and above QoS 0 an identifier that is not in use [MQTT-4.3.1-1] [MQTT-4.3.2-1] [MQTT-4.3.2-2] [MQTT-4.3.3-1] [MQTT-4.3.3-2]', async () => {
    const broker = await startBroker()
    const client = await listener(broker, 5, 't', 2)
    const sender = await RawClient.connected(broker)
    for (const qos of [0, 1, 2, 1, 2, 0, 2] as const) await deliver(sender, 't', 'x', qos, { dup: qos > 0 })
    const got = await take(client, 7)
    expect(got.map(({ qos, dup }) => [qos, dup])).toEqual([0, 1, 2, 1, 2, 0, 2].map(qos => [qos, false]))
    const ids = got.flatMap(({ messageId }) => messageId ?? [])
    expect(ids).not.toContain(0)
    expect(new Set(ids).size).toBe(5)
  })
})

describe('QoS 2 from a client', () => {
  test('a PUBLISH that is sent again before PUBREL is one message, with PUBREC each time, also over a reconnect [MQTT-4.3.3-8] [MQTT-4.3.3-10] [MQTT-4.3.3-11]', async () => {
    const broker = await startBroker()
    const watcher = await listener(broker, 5, '#', 2)
    const first = await RawClient.connected(broker, 5, kept('c'))
    for (const dup of [false, true]) {
      first.send(publish('t', 'once', { qos: 2, messageId: 5, dup }))
      expect(await first.next()).toMatchObject({ cmd: 'pubrec', messageId: 5 })
    }
    first.destroy()
    const { client, present } = await join(broker, 5, kept('c'))
    expect(present).toBe(true)
    client.send(publish('t', 'once', { qos: 2, messageId: 5, dup: true }))
    expect(await client.next()).toMatchObject({ cmd: 'pubrec', messageId: 5 })
    client.send({ cmd: 'pubrel', messageId: 5 })
    expect(await client.next()).toMatchObject({ cmd: 'pubcomp', messageId: 5, reasonCode: 0 })
    await deliver(client, 't', 'end', 2)
    expect(payloadsOf(await receive(watcher))).toEqual(['once'])
  })

  test('PUBREL goes on where PUBREC ended, over a reconnect [MQTT-4.3.3-11] [MQTT-4.4.0-1]', async () => {
    const broker = await startBroker()
    const first = await RawClient.connected(broker, 5, kept('c'))
    first.send(publish('t', 'x', { qos: 2, messageId: 9 }))
    await first.nextOf('pubrec')
    first.destroy()
    const { client } = await join(broker, 5, kept('c'))
    client.send({ cmd: 'pubrel', messageId: 9 })
    expect(await client.next()).toMatchObject({ cmd: 'pubcomp', messageId: 9, reasonCode: 0 })
    // PUBCOMP was lost and PUBREL comes again: it is answered, though the identifier is free now.
    client.send({ cmd: 'pubrel', messageId: 9 })
    const answer = await client.nextOf('pubcomp')
    expect(answer.messageId).toBe(9)
    expect([0, 0x92]).toContain(answer.reasonCode)
  })

  test('after PUBCOMP the identifier stands for a new message, with or without DUP [MQTT-4.3.3-12]', async () => {
    const broker = await startBroker()
    const watcher = await listener(broker, 5, '#', 2)
    const client = await RawClient.connected(broker)
    for (const [payload, dup] of [['first', false], ['second', false], ['third', true]] as const) {
      client.send(publish('t', payload, { qos: 2, messageId: 3, dup }))
      await client.nextOf('pubrec')
      client.send({ cmd: 'pubrel', messageId: 3 })
      await client.nextOf('pubcomp')
    }
    expect(payloadsOf(await receive(watcher, 3))).toEqual(['first', 'second', 'third'])
  })

  test('after a PUBREC that refuses, the identifier stands for a new message [MQTT-4.3.3-9]', async () => {
    const broker = await startBroker()
    const watcher = await listener(broker, 5, 't', 2)
    const client = await RawClient.connected(broker)
    client.send(publish('$SYS/broker/forged', 'x', { qos: 2, messageId: 4 }))
    expect((await client.nextOf('pubrec')).reasonCode).toBeGreaterThanOrEqual(0x80)
    client.send(publish('t', 'new', { qos: 2, messageId: 4 }))
    expect(await client.nextOf('pubrec')).toMatchObject({ messageId: 4, reasonCode: 0 })
    expect(payloadsOf(await receive(watcher, 1))).toEqual(['new'])
  })

  test('with Clean Start 1 the old identifiers are forgotten [MQTT-3.1.2-4]', async () => {
    const broker = await startBroker()
    const watcher = await listener(broker, 5, '#', 2)
    const { client: first } = await join(broker, 5, { ...kept('c'), clean: true })
    first.send(publish('t', 'first', { qos: 2, messageId: 5 }))
    await first.nextOf('pubrec')
    first.destroy()
    const { client } = await join(broker, 5, { ...kept('c'), clean: true })
    client.send(publish('t', 'second', { qos: 2, messageId: 5 }))
    await client.nextOf('pubrec')
    client.send({ cmd: 'pubrel', messageId: 5 })
    expect(await client.next()).toMatchObject({ cmd: 'pubcomp', messageId: 5, reasonCode: 0 })
    // A server may pass a message on at PUBLISH or at PUBREL; what was never released may be seen or not.
    await receive(watcher, 'second')
  })
})

describe('QoS 1 from a client', () => {
  test('after PUBACK the same identifier is a new message, whatever DUP says [MQTT-4.3.2-4] [MQTT-4.3.2-5]', async () => {
    const broker = await startBroker()
    const watcher = await listener(broker, 5, 't', 1)
    const client = await RawClient.connected(broker)
    for (const [payload, dup] of [['first', false], ['second', true]] as const) {
      client.send(publish('t', payload, { qos: 1, messageId: 2, dup }))
      expect(await client.next()).toMatchObject({ cmd: 'puback', messageId: 2 })
    }
    const got = await receive(watcher, 2)
    expect(payloadsOf(got)).toEqual(['first', 'second'])
    // DUP says what this connection did, not what the sender's did.
    expect(got.map(({ dup }) => dup)).toEqual([false, false])
  })
})
