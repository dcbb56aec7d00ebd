// MQTT 5.0 sections 4.1 and 4.3 and what hangs on them in section 3, as far as time is in it: sessions that expire, wills
// that wait, messages that are too old. The standard counts in seconds, so these tests take some.
import { describe, expect, test } from 'vitest'
import { startBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'
import { deliver, expectQuiet, join, kept, leave, listen, listener, payloadsOf, receive, take } from './parties.js'
import { pass, publish } from './v5-wire.js'

/** What is due after a second has happened by then. */
const SECOND_IS_OVER_MS = 1_600

/** CONNECT options with a will that says `payload` on `wills/{clientId}`. */
function withWill (clientId: string, { delay = 0, expiry = 0, payload = 'gone', clean = true }) {
  return {
    clientId, clean, properties: { sessionExpiryInterval: expiry },
    will: { topic: `wills/${clientId}`, payload: Buffer.from(payload), qos: 1 as const, retain: false, properties: { willDelayInterval: delay } }
  }
}

describe('a session', () => {
  test('ends when its expiry has passed without a connection, not before, and not with one [MQTT-4.1.0-1] [MQTT-4.1.0-2] [MQTT-3.1.2-23]', async () => {
    const broker = await startBroker()
    const sender = await RawClient.connected(broker)
    const short = { clean: false, properties: { sessionExpiryInterval: 1 } }
    const connected = await listener(broker, 5, 't', 1, { ...short, clientId: 'connected' })
    const without = await listener(broker, 5, 't', 1, { clean: true, clientId: 'without expiry' })
    for (const clientId of ['left', 'lost', 'long']) {
      const client = await listener(broker, 5, 't', 1, { ...short, clientId, ...(clientId === 'long' && kept('long')) })
      if (clientId === 'lost') client.destroy()
      else await leave(client)
    }
    const shortened = await listener(broker, 5, 't', 1, kept('shortened'))
    await leave(shortened, { sessionExpiryInterval: 1 })
    const prolonged = await listener(broker, 5, 't', 1, { ...short, clientId: 'prolonged' })
    await leave(prolonged, { sessionExpiryInterval: 100 })
    const back = await listener(broker, 5, 't', 1, { ...short, clientId: 'back in time' })
    await leave(back)
    const again = await join(broker, 5, { ...short, clientId: 'back in time' })
    expect(again.present).toBe(true)
    await deliver(sender, 't', 'queued')
    await pass(SECOND_IS_OVER_MS)
    const present: Record<string, boolean> = {}
    for (const clientId of ['left', 'lost', 'shortened', 'long', 'prolonged']) {
      const { client, present: known } = await join(broker, 5, kept(clientId))
      present[clientId] = known
      if (known) expect(payloadsOf(await receive(client, 1))).toEqual(['queued'])
      else await expectQuiet(client)
    }
    expect(present).toEqual({ left: false, lost: false, shortened: false, long: true, prolonged: true })
    await deliver(sender, 't', 'still here')
    for (const client of [connected, without, again.client]) expect(payloadsOf(await receive(client, 2))).toEqual(['queued', 'still here'])
  })

  test('is not resent anything by time alone while it is connected [MQTT-4.4.0-1]', async () => {
    const broker = await startBroker()
    const client = await listener(broker, 5, 't', 2)
    const sender = await RawClient.connected(broker)
    await deliver(sender, 't', 'one', 1)
    await deliver(sender, 't', 'two', 2)
    await take(client, 2)
    await pass(SECOND_IS_OVER_MS)
    await expectQuiet(client, sender)
  })
})

describe('a will', () => {
  test('with a delay comes after it, or when its session ends, whichever is first [MQTT-3.1.2-8] [3.1.3.2.2]', async () => {
    const broker = await startBroker()
    const watcher = await listener(broker, 5, 'wills/#', 1)
    const lose = async (options: ReturnType<typeof withWill>): Promise<void> => (await RawClient.connected(broker, 5, options)).destroy()
    await lose(withWill('session-0', { delay: 60, expiry: 0 }))
    expect((await watcher.nextOf('publish')).topic).toBe('wills/session-0')
    await lose(withWill('delay-1', { delay: 1, expiry: 60 }))
    await lose(withWill('session-1', { delay: 60, expiry: 1 }))
    await lose(withWill('delay-2', { delay: 2, expiry: 60 }))
    await lose(withWill('never-yet', { delay: 60, expiry: 60 }))
    await lose(withWill('no-delay', { delay: 0, expiry: 60 }))
    const order = (await take(watcher, 4)).map(({ topic }) => topic)
    expect(order[0]).toBe('wills/no-delay')
    expect(order.slice(1, 3).sort()).toEqual(['wills/delay-1', 'wills/session-1'])
    expect(order[3]).toBe('wills/delay-2')
    await expectQuiet(watcher)
  })

  test('is not sent when its client is back within the delay, nor once that connection has ended in order [MQTT-3.1.3-9] [MQTT-3.1.2-10]', async () => {
    const broker = await startBroker()
    const watcher = await listener(broker, 5, 'wills/#', 1)
    const first = await RawClient.connected(broker, 5, withWill('back', { delay: 1, expiry: 60 }))
    first.destroy()
    const { client, present } = await join(broker, 5, kept('back'))
    expect(present).toBe(true)
    const other = await RawClient.connected(broker, 5, withWill('in-order', { delay: 1, expiry: 60 }))
    await leave(other)
    await pass(SECOND_IS_OVER_MS)
    await leave(client)
    await expectQuiet(watcher)
  })

  test('is the one of the last CONNECT [MQTT-3.1.2-7] [MQTT-3.1.3-9]', async () => {
    const broker = await startBroker()
    const watcher = await listener(broker, 5, 'wills/#', 1)
    const first = await RawClient.connected(broker, 5, withWill('c', { delay: 1, expiry: 60, payload: 'old' }))
    first.destroy()
    const second = await RawClient.connected(broker, 5, withWill('c', { delay: 1, expiry: 60, payload: 'new', clean: false }))
    second.destroy()
    expect(payloadsOf(await take(watcher, 1))).toEqual(['new'])
    await expectQuiet(watcher)
  })

  test('that waits is sent when Clean Start 1 ends its session [MQTT-3.1.2-8] [MQTT-3.1.4-4]', async () => {
    const broker = await startBroker()
    const watcher = await listener(broker, 5, 'wills/#', 1)
    const first = await RawClient.connected(broker, 5, withWill('c', { delay: 60, expiry: 60 }))
    first.destroy()
    await join(broker, 5, { clientId: 'c', clean: true })
    expect((await watcher.nextOf('publish')).topic).toBe('wills/c')
  })

  test('of a connection that is taken over: at once without a delay, not with one, and with Clean Start 1 in any case [MQTT-3.1.2-8] [MQTT-3.1.3-9] [MQTT-3.1.4-3]', async () => {
    const broker = await startBroker()
    const watcher = await listener(broker, 5, 'wills/#', 1)
    const old: RawClient[] = []
    for (const [clientId, delay, clean] of [['delayed', 60, false], ['no-delay', 0, false], ['delayed-clean', 60, true]] as const) {
      old.push(await RawClient.connected(broker, 5, withWill(clientId, { delay, expiry: 60 })))
      await join(broker, 5, { ...kept(clientId), clean })
    }
    for (const client of old) {
      await client.closed()
      expect(client.packets.at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode: 0x8e })
    }
    const topics = (await take(watcher, 2)).map(({ topic }) => topic).sort()
    expect(topics).toEqual(['wills/delayed-clean', 'wills/no-delay'])
    await expectQuiet(watcher)
  })

  test('is sent after DISCONNECT 0x04, with its delay, and after a protocol error [MQTT-3.1.2-8] [3.14.2.1]', async () => {
    const broker = await startBroker()
    const watcher = await listener(broker, 5, 'wills/#', 1)
    const delayed = await RawClient.connected(broker, 5, withWill('delayed', { delay: 1, expiry: 60 }))
    delayed.send({ cmd: 'disconnect', reasonCode: 0x04 })
    await delayed.closed()
    const now = await RawClient.connected(broker, 5, withWill('now', {}))
    now.send({ cmd: 'disconnect', reasonCode: 0x04 })
    const wrong = await RawClient.connected(broker, 5, withWill('wrong', {}))
    wrong.write('0000')
    const topics = (await take(watcher, 3)).map(({ topic }) => topic)
    expect(topics.slice(0, 2).sort()).toEqual(['wills/now', 'wills/wrong'])
    expect(topics[2]).toBe('wills/delayed')
  })

  test('finds those who are away, and those who come later when it is retained [MQTT-4.5.0-1] [MQTT-3.1.2-14] [MQTT-3.1.2-15]', async () => {
    const broker = await startBroker()
    await leave(await listener(broker, 5, 'wills/#', 1, kept('away')))
    const watcher = await listener(broker, 5, 'wills/#', 1)
    for (const retain of [false, true]) {
      const options = withWill(retain ? 'retained' : 'plain', {})
      const client = await RawClient.connected(broker, 5, { ...options, will: { ...options.will, retain } })
      client.destroy()
      await watcher.nextOf('publish')
    }
    const { client } = await join(broker, 5, kept('away'))
    expect((await receive(client, 2)).map(({ topic, retain }) => [topic, retain])).toEqual([['wills/plain', false], ['wills/retained', false]])
    const late = await RawClient.connected(broker)
    await listen(late, ['wills/#'], 1)
    expect((await take(late, 1)).map(({ topic, retain }) => [topic, retain])).toEqual([['wills/retained', true]])
    await expectQuiet(late)
  })
})

describe('a message with an expiry', () => {
  test('is dropped where it waited too long: for a client that is away, behind a full window, as the retained one [MQTT-3.3.2-5]', async () => {
    const broker = await startBroker()
    await leave(await listener(broker, 5, '#', 1, kept('away')))
    const slow = await listener(broker, 5, '#', 1, { properties: { receiveMaximum: 1 } })
    const sender = await RawClient.connected(broker)
    await deliver(sender, 't/first', 'first')
    for (const [topic, messageExpiryInterval] of [['t/short', 1], ['t/long', 100]] as const) {
      await deliver(sender, topic, topic, 1, { retain: true, properties: { messageExpiryInterval } })
    }
    await deliver(sender, 't/none', 'end', 1)
    await pass(SECOND_IS_OVER_MS)
    expect(payloadsOf(await receive(slow))).toEqual(['first', 't/long'])
    const { client } = await join(broker, 5, kept('away'))
    expect(payloadsOf(await receive(client))).toEqual(['first', 't/long'])
    const late = await RawClient.connected(broker)
    await listen(late, ['t/#'], 1)
    expect((await take(late, 1)).map(({ topic }) => topic)).toEqual(['t/long'])
    await expectQuiet(late)
  })

  test('goes out with what is left of it, less the time it has waited [MQTT-3.3.2-6]', async () => {
    const broker = await startBroker()
    await leave(await listener(broker, 5, 't', 1, kept('away')))
    const live = await listener(broker, 5, 't', 1)
    const sender = await RawClient.connected(broker)
    await deliver(sender, 't', 'x', 1, { retain: true, properties: { messageExpiryInterval: 100 } })
    const [now] = await receive(live, 1)
    expect([99, 100]).toContain(now?.properties?.messageExpiryInterval)
    await pass(SECOND_IS_OVER_MS)
    const { client } = await join(broker, 5, kept('away'))
    const late = await listener(broker, 5, 't', 1)
    for (const waiting of [client, late]) {
      const [message] = await receive(waiting, 1)
      const left = message?.properties?.messageExpiryInterval ?? 0
      expect(left).toBeLessThanOrEqual(99)
      expect(left).toBeGreaterThan(0)
    }
  })

  test('is not given up once it is sent: PUBLISH and PUBREL go on after a reconnect [MQTT-4.3.3-7] [MQTT-4.4.0-1]', async () => {
    const broker = await startBroker()
    const first = await listener(broker, 5, 't', 2, kept('c'))
    const sender = await RawClient.connected(broker)
    const properties = { messageExpiryInterval: 1 }
    for (const [payload, qos] of [['released', 2], ['sent', 2], ['sent with QoS 1', 1]] as const) await deliver(sender, 't', payload, qos, { properties })
    const [released] = await take(first, 3)
    first.send({ cmd: 'pubrec', messageId: released?.messageId ?? 0 })
    await first.nextOf('pubrel')
    first.destroy()
    await pass(SECOND_IS_OVER_MS)
    const { client } = await join(broker, 5, kept('c'))
    const again = [await client.next(), await client.next(), await client.next()]
    expect(again).toContainEqual(expect.objectContaining({ cmd: 'pubrel', messageId: released?.messageId }))
    expect(again).toContainEqual(expect.objectContaining({ cmd: 'publish', dup: true, payload: Buffer.from('sent') }))
    expect(again).toContainEqual(expect.objectContaining({ cmd: 'publish', dup: true, payload: Buffer.from('sent with QoS 1') }))
  })

  test('from a client: its QoS 2 handshake goes on after it has expired [MQTT-4.3.3-13]', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker)
    client.send(publish('t', 'x', { qos: 2, messageId: 1, properties: { messageExpiryInterval: 1 } }))
    await client.nextOf('pubrec')
    await pass(SECOND_IS_OVER_MS)
    client.send(publish('t', 'x', { qos: 2, messageId: 1, dup: true, properties: { messageExpiryInterval: 1 } }))
    expect(await client.next()).toMatchObject({ cmd: 'pubrec', messageId: 1, reasonCode: 0 })
    client.send({ cmd: 'pubrel', messageId: 1 })
    expect(await client.next()).toMatchObject({ cmd: 'pubcomp', messageId: 1, reasonCode: 0 })
  })
})
