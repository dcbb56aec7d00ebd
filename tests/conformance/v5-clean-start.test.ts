// MQTT 5.0 sections 3.1.2.4 and 3.1.2.11.2: Clean Start, what a session keeps, and for how long.
import { describe, expect, test } from 'vitest'
import { startBroker, type TestBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'
import { connectBytes, pass, payloadsOf, payloadsUntil, publish, publishAcknowledged, subscribe, subscriber } from './v5-wire.js'

const SESSION = { clientId: 'keeper', properties: { sessionExpiryInterval: 100 } }

/** A session with a subscription to t/# whose client has gone, and two messages that wait for it. */
async function leaveSession (broker: TestBroker): Promise<void> {
  const client = await subscriber(broker, 't/#', { qos: 1, ...SESSION })
  client.send({ cmd: 'disconnect', reasonCode: 0 })
  await client.closed()
  const sender = await RawClient.connected(broker)
  await publishAcknowledged(sender, 't/1', 'first')
  await publishAcknowledged(sender, 't/1', 'second')
}

async function sessionPresent (broker: TestBroker, options: Parameters<RawClient['connect']>[0] = {}): Promise<boolean> {
  const client = await RawClient.open(broker)
  const connack = await client.connect({ clientId: 'keeper', clean: false, ...options })
  expect(connack.reasonCode).toBe(0)
  return connack.sessionPresent
}

test('Clean Start 1 throws away the session and all that waits in it [MQTT-3.1.2-4] [MQTT-3.1.4-4] [MQTT-3.2.2-2]', async () => {
  const broker = await startBroker()
  await leaveSession(broker)
  const client = await RawClient.open(broker)
  expect(await client.connect({ ...SESSION, clean: true })).toMatchObject({ sessionPresent: false, reasonCode: 0 })
  // Neither the subscription is left nor a message.
  const sender = await RawClient.connected(broker)
  await publishAcknowledged(sender, 't/1', 'third')
  await subscribe(client, 'end', { qos: 1 })
  await publishAcknowledged(sender, 'end', 'end')
  await payloadsUntil(client)
  expect(payloadsOf(client)).toEqual(['end'])
})

test('Clean Start 0 goes on with the session: its subscriptions and what waits, in order [MQTT-3.1.2-5] [MQTT-3.2.2-3] [MQTT-3.1.2-23]', async () => {
  const broker = await startBroker()
  await leaveSession(broker)
  const client = await RawClient.open(broker)
  expect(await client.connect({ ...SESSION, clean: false })).toMatchObject({ sessionPresent: true, reasonCode: 0 })
  const sender = await RawClient.connected(broker)
  await publishAcknowledged(sender, 't/1', 'end')
  expect(await payloadsUntil(client)).toEqual(['first', 'second'])
})

test('sessions belong to client ids: another one gets nothing of it [MQTT-3.1.3-2]', async () => {
  const broker = await startBroker()
  await leaveSession(broker)
  const other = await RawClient.open(broker)
  expect(await other.connect({ clientId: 'Keeper', clean: false })).toMatchObject({ sessionPresent: false })
  await subscribe(other, 'end', { qos: 1 })
  const sender = await RawClient.connected(broker)
  await publishAcknowledged(sender, 'end', 'end')
  await payloadsUntil(other)
  expect(payloadsOf(other)).toEqual(['end'])
})

test('Clean Start 0 without a session begins one, which is there next time, also without subscriptions [MQTT-3.1.2-6] [MQTT-3.2.2-3]', async () => {
  const broker = await startBroker()
  expect(await sessionPresent(broker, SESSION)).toBe(false)
  // The same id takes over from the one before.
  expect(await sessionPresent(broker, SESSION)).toBe(true)
})

test('Clean Start 1 is no word on the end: the new session is kept as long as its expiry says [MQTT-3.1.2-23]', async () => {
  const broker = await startBroker()
  const client = await RawClient.connected(broker, 5, { ...SESSION, clean: true })
  client.destroy()
  expect(await sessionPresent(broker)).toBe(true)
})

describe('Session Expiry Interval', () => {
  test.each<[string, object]>([['absent', {}], ['0', { sessionExpiryInterval: 0 }]])('%s: the session ends with the connection [3.1.2.11.2]', async (_, properties) => {
    const broker = await startBroker()
    const client = await subscriber(broker, 't/#', { qos: 1, clientId: 'keeper', clean: false, properties })
    client.send({ cmd: 'disconnect', reasonCode: 0 })
    await client.closed()
    expect(await sessionPresent(broker)).toBe(false)
  })

  test('the session is kept while it has not passed, and gone when it has [MQTT-3.1.2-23]', async () => {
    const broker = await startBroker()
    const client = await subscriber(broker, 't/#', { qos: 1, clientId: 'keeper', properties: { sessionExpiryInterval: 1 } })
    client.destroy()
    await pass(300)
    expect(await sessionPresent(broker, { properties: { sessionExpiryInterval: 1 } })).toBe(true)
    const next = await RawClient.connected(broker, 5, { clientId: 'keeper', clean: false, properties: { sessionExpiryInterval: 1 } })
    // The interval begins at the end of the connection, not at CONNECT.
    await pass(1_300)
    next.send({ cmd: 'disconnect', reasonCode: 0 })
    await next.closed()
    expect(await sessionPresent(broker, { properties: { sessionExpiryInterval: 1 } })).toBe(true)
    const last = await RawClient.connected(broker, 5, { clientId: 'keeper', clean: false, properties: { sessionExpiryInterval: 1 } })
    last.destroy()
    await pass(1_500)
    expect(await sessionPresent(broker)).toBe(false)
  })

  test('each CONNECT sets it anew [3.1.2.11.2]', async () => {
    const broker = await startBroker()
    const first = await RawClient.connected(broker, 5, SESSION)
    first.send({ cmd: 'disconnect', reasonCode: 0 })
    await first.closed()
    const second = await RawClient.connected(broker, 5, { clientId: 'keeper', clean: false })
    second.send({ cmd: 'disconnect', reasonCode: 0 })
    await second.closed()
    expect(await sessionPresent(broker)).toBe(false)
  })

  test('DISCONNECT may set another: 0 ends the session, a longer one keeps it [3.14.2.2.2]', async () => {
    const broker = await startBroker()
    const first = await RawClient.connected(broker, 5, SESSION)
    first.send({ cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 0 } })
    await first.closed()
    expect(await sessionPresent(broker, { properties: { sessionExpiryInterval: 1 } })).toBe(false)
    const second = await RawClient.connected(broker, 5, { clientId: 'keeper', clean: false, properties: { sessionExpiryInterval: 1 } })
    second.send({ cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 100 } })
    await second.closed()
    await pass(1_500)
    expect(await sessionPresent(broker)).toBe(true)
  })
})

test('what is published while a client reconnects is not lost [MQTT-3.1.2-5]', async () => {
  const broker = await startBroker()
  const sender = await RawClient.connected(broker)
  let client = await subscriber(broker, 't/#', { qos: 1, ...SESSION })
  const got = new Set<string>()
  const sent: string[] = []
  for (let round = 0; round < 5; round++) {
    for (let i = 0; i < 10; i++) {
      sent.push(`${round} ${i}`)
      sender.send(publish('t/1', `${round} ${i}`, { qos: 1, messageId: 1 + i }))
    }
    client.destroy()
    client = await RawClient.open(broker)
    // CONNECT in the midst of them; what is lost of acknowledgements may come twice.
    client.write(connectBytes({ flags: '00', props: '1100000064', payload: '0006' + Buffer.from('keeper').toString('hex') }))
    while (got.size < sent.length) {
      const message = await client.nextOf('publish')
      got.add(message.payload.toString())
      client.send({ cmd: 'puback', messageId: message.messageId ?? 0, reasonCode: 0 })
    }
    await client.flushed()
  }
  expect([...got].sort()).toEqual(sent.sort())
})
