// MQTT 5.0 sections 3.1.2.5 to 3.1.2.7, 3.1.3.2 and 3.14.4: when a will is published, when it is not, and with what.
import { describe, expect, test } from 'vitest'
import { startBroker, type TestBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'
import { connectBytes, expectDisconnect, field, pass, payloadsUntil, properties, publish, publishesIn, subscribe, subscriber, text, userProperty, userPropertiesOf } from './v5-wire.js'

const WILL = { topic: 't/will', payload: 'gone' } as const

/** Publishes the end, and tells what came before it. */
async function cameBefore (watcher: RawClient, broker: TestBroker): Promise<string[]> {
  const sender = await RawClient.connected(broker)
  sender.send(publish('t/end', 'end'))
  return await payloadsUntil(watcher)
}

describe('the will is published when the connection ends', () => {
  test.each<[string, (client: RawClient, broker: TestBroker) => Promise<void> | void]>([
    ['because it broke [MQTT-3.1.2-7] [MQTT-3.1.2-8]', client => client.destroy()],
    ['by a protocol error [MQTT-3.1.2-8]', async client => await expectDisconnect(client, '0000', 0x81, 0x82)],
    ['by DISCONNECT 0x04 [3.14.2.1]', client => client.send({ cmd: 'disconnect', reasonCode: 0x04 })],
    ['by DISCONNECT 0x81 [MQTT-3.1.2-8]', client => client.send({ cmd: 'disconnect', reasonCode: 0x81 })],
    ['because another connection began the session anew [MQTT-3.1.2-8]', async (_, broker) => { await RawClient.connected(broker, 5, { clientId: 'mortal' }) }],
    ['because another connection took the session over, without a delay [3.1.4]', async (_, broker) => { await RawClient.connected(broker, 5, { clientId: 'mortal', clean: false }) }]
  ])('%s', async (_, end) => {
    const broker = await startBroker()
    const watcher = await subscriber(broker, 't/#')
    const client = await RawClient.connected(broker, 5, { clientId: 'mortal', will: WILL, properties: { sessionExpiryInterval: 100 } })
    await end(client, broker)
    expect(await watcher.nextOf('publish')).toMatchObject({ topic: 't/will', payload: Buffer.from('gone') })
  })
})

test('DISCONNECT 0x00 discards the will [MQTT-3.1.2-10] [MQTT-3.14.4-3] [MQTT-3.1.2-8]', async () => {
  const broker = await startBroker()
  const watcher = await subscriber(broker, 't/#')
  for (const bytes of ['e000', 'e00100', 'e0020000']) {
    const client = await RawClient.connected(broker, 5, { clientId: 'mortal', will: WILL })
    client.write(bytes)
    await client.closed()
  }
  expect(await cameBefore(watcher, broker)).toEqual([])
})

test('a will is published once, and does not outlive it [MQTT-3.1.2-10]', async () => {
  const broker = await startBroker()
  const watcher = await subscriber(broker, 't/#')
  const session = { clientId: 'mortal', clean: false, properties: { sessionExpiryInterval: 100 } }
  const first = await RawClient.connected(broker, 5, { ...session, will: WILL })
  first.destroy()
  await watcher.nextOf('publish')
  const second = await RawClient.connected(broker, 5, session)
  second.destroy()
  await second.closed()
  expect(await cameBefore(watcher, broker)).toEqual([])
})

test('the will of a connection is the one of its own CONNECT [MQTT-3.1.2-7]', async () => {
  const broker = await startBroker()
  const watcher = await subscriber(broker, 't/#')
  const session = { clientId: 'mortal', clean: false, properties: { sessionExpiryInterval: 100 } }
  const first = await RawClient.connected(broker, 5, { ...session, will: { ...WILL, payload: 'first' } })
  first.send({ cmd: 'disconnect', reasonCode: 0 })
  await first.closed()
  const second = await RawClient.connected(broker, 5, { ...session, will: { ...WILL, payload: 'second' } })
  second.destroy()
  expect((await watcher.nextOf('publish')).payload.toString()).toBe('second')
})

test.each([0, 1, 2] as const)('a will with QoS %i is delivered with it [MQTT-3.1.2-12]', async qos => {
  const broker = await startBroker()
  const watcher = await subscriber(broker, 't/#', { qos: 2 })
  const client = await RawClient.connected(broker, 5, { will: { ...WILL, qos } })
  client.destroy()
  expect(await watcher.nextOf('publish')).toMatchObject({ topic: 't/will', qos })
})

test('Will Retain 0 leaves nothing behind, Will Retain 1 is kept [MQTT-3.1.2-14] [MQTT-3.1.2-15]', async () => {
  const broker = await startBroker()
  const watcher = await subscriber(broker, 't/#')
  for (const retain of [false, true]) {
    const client = await RawClient.connected(broker, 5, { will: { topic: `t/${retain}`, payload: 'gone', retain } })
    client.destroy()
    expect(await watcher.nextOf('publish')).toMatchObject({ topic: `t/${retain}`, retain: false })
  }
  const late = await RawClient.connected(broker)
  late.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 't/#', qos: 0 }] })
  expect(await late.nextOf('publish')).toMatchObject({ topic: 't/true', retain: true })
  expect(await cameBefore(late, broker)).toEqual([])
})

test('subscribers see the will with its properties, user properties in their order, and no Will Delay Interval [MQTT-3.1.3-10] [3.1.3.2]', async () => {
  const broker = await startBroker()
  const watcher = await subscriber(broker, 't/#')
  const client = await RawClient.open(broker)
  const pairs: [string, string][] = [['b', '1'], ['a', '2'], ['b', '1'], ['', ''], ['a', '1'], ['__proto__', 'x']]
  client.write(connectBytes({
    flags: '06',
    payload: text('c') + properties(
      '1800000000', '0101', '0200000064', '03' + text('text/plain'), '08' + text('t/reply'), '09' + field('00ff'), ...pairs.map(([name, value]) => userProperty(name, value))
    ) + text('t/will') + text('gone')
  }))
  await client.nextOf('connack')
  client.destroy()
  const { properties: props } = await watcher.nextOf('publish')
  expect(props).toMatchObject({ payloadFormatIndicator: true, contentType: 'text/plain', responseTopic: 't/reply', correlationData: Buffer.from('00ff', 'hex') })
  expect(props?.messageExpiryInterval).toBeGreaterThanOrEqual(99)
  expect(userPropertiesOf(publishesIn(watcher)[0] ?? Buffer.alloc(0))).toEqual(pairs)
})

describe('Will Delay Interval', () => {
  const delayed = (seconds: number) => ({ ...WILL, properties: { willDelayInterval: seconds } })

  test('the will waits for it while the session lives [MQTT-3.1.2-8] [3.1.3.2.2]', async () => {
    const broker = await startBroker()
    const watcher = await subscriber(broker, 't/#')
    const client = await RawClient.connected(broker, 5, { will: delayed(1), properties: { sessionExpiryInterval: 100 } })
    const fromMs = performance.now()
    client.destroy()
    expect(await watcher.nextOf('publish')).toMatchObject({ topic: 't/will' })
    expect(performance.now() - fromMs).toBeGreaterThan(900)
  })

  test('the end of the session comes first when it is sooner [MQTT-3.1.2-8]', async () => {
    const broker = await startBroker()
    const watcher = await subscriber(broker, 't/#')
    const atOnce = await RawClient.connected(broker, 5, { will: { ...delayed(100), payload: 'no session' } })
    atOnce.destroy()
    expect((await watcher.nextOf('publish')).payload.toString()).toBe('no session')
    const soon = await RawClient.connected(broker, 5, { will: { ...delayed(100), payload: 'expired' }, properties: { sessionExpiryInterval: 1 } })
    soon.destroy()
    expect((await watcher.nextOf('publish')).payload.toString()).toBe('expired')
    const session = { clientId: 'mortal', properties: { sessionExpiryInterval: 100 } }
    const replaced = await RawClient.connected(broker, 5, { ...session, will: { ...delayed(100), payload: 'replaced' } })
    replaced.destroy()
    await replaced.closed()
    await RawClient.connected(broker, 5, { ...session, clean: true })
    expect((await watcher.nextOf('publish')).payload.toString()).toBe('replaced')
  })

  test('who comes back in time was never gone [MQTT-3.1.3-9] [MQTT-3.1.2-8]', async () => {
    const broker = await startBroker()
    const watcher = await subscriber(broker, 't/#')
    const session = { clientId: 'mortal', clean: false, properties: { sessionExpiryInterval: 100 } }
    const first = await RawClient.connected(broker, 5, { ...session, will: delayed(1) })
    first.destroy()
    await first.closed()
    await RawClient.connected(broker, 5, session)
    // Also when the new connection comes before the old one has ended.
    await RawClient.connected(broker, 5, { ...session, clientId: 'taken', will: delayed(1) })
    await RawClient.connected(broker, 5, { ...session, clientId: 'taken' })
    await pass(1_500)
    expect(await cameBefore(watcher, broker)).toEqual([])
  })
})

test('a will goes to topics a client may publish on, and not to others [3.1.2.5]', async () => {
  const broker = await startBroker()
  const watcher = await RawClient.connected(broker)
  await subscribe(watcher, [{ topic: 'lots/#', qos: 0 }, { topic: 't/#', qos: 0 }])
  const client = await RawClient.open(broker)
  const connack = await client.connect({ will: { topic: 'lots/LOT-A/free', payload: '99', retain: true } })
  client.destroy()
  if (connack.reasonCode === 0) await client.closed()
  expect(await cameBefore(watcher, broker)).toEqual([])
})
