// MQTT 5.0 sections 3.3.2.3 and 3.3.3: the properties of a message on its way to subscribers, and its expiry.
import { describe, expect, test } from 'vitest'
import { startBroker, type TestBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'
import { expectDisconnect, field, nextMessages, pass, payloadsUntil, publish, publishAcknowledged, publishBytes, publishesIn, subscribe, subscriber, text, userProperty, userPropertiesOf } from './v5-wire.js'

/** Names that repeat, apart from each other; empty ones; and one that means something to JavaScript. */
const PAIRS: [string, string][] = [['b', '1'], ['a', '2'], ['b', '1'], ['a', '1'], ['', ''], ['__proto__', 'x'], ['b', '0'], ['ü', '🚗']]
const PROPS = '0101' + '03' + text('text/plain; a=ü') + '08' + text('t/reply/ü') + '09' + field('00ff0001') + PAIRS.map(([name, value]) => userProperty(name, value)).join('')
const ARRIVED = { payloadFormatIndicator: true, contentType: 'text/plain; a=ü', responseTopic: 't/reply/ü', correlationData: Buffer.from('00ff0001', 'hex') }

/** A message with all properties, QoS 1 and packet identifier 1. */
async function publishAll (broker: TestBroker, first = '32', transport: 'tcp' | 'ws' = 'tcp'): Promise<void> {
  const sender = await RawClient.connected(broker, 5, { transport })
  sender.write(publishBytes({ first, id: '0001', props: PROPS }))
  expect((await sender.nextOf('puback')).reasonCode).toBeLessThan(0x80)
}

async function expectAll (client: RawClient): Promise<void> {
  expect(await client.nextOf('publish')).toMatchObject({ topic: 't/1', payload: Buffer.from('x'), properties: ARRIVED })
  expect(userPropertiesOf(publishesIn(client).at(-1) ?? Buffer.alloc(0))).toEqual(PAIRS)
}

describe('all properties arrive unaltered, user properties in their order [MQTT-3.3.2-4] [MQTT-3.3.2-13] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-19] [MQTT-3.3.2-20]', () => {
  test.each(['tcp', 'ws'] as const)('live, with each QoS over %s', async transport => {
    const broker = await startBroker()
    const watchers = await Promise.all(([0, 1, 2] as const).map(qos => subscriber(broker, 't/#', { qos, transport })))
    await publishAll(broker, '32', transport)
    for (const watcher of watchers) await expectAll(watcher)
  })

  test('as a retained message', async () => {
    const broker = await startBroker()
    await publishAll(broker, '33')
    await expectAll(await subscriber(broker, 't/#'))
    await expectAll(await subscriber(broker, 't/1', { qos: 1 }))
  })

  test('as a message that waited, and as one that is sent again', async () => {
    const broker = await startBroker()
    const session = { clientId: 'keeper', properties: { sessionExpiryInterval: 100 } }
    const first = await subscriber(broker, 't/#', { qos: 1, ...session })
    first.destroy()
    await first.closed()
    await publishAll(broker)
    for (let i = 0; i < 2; i++) {
      const client = await RawClient.connected(broker, 5, { ...session, clean: false })
      await expectAll(client)
      client.destroy()
      await client.closed()
    }
  })
})

test('Payload Format Indicator 0 and none arrive as that, with a payload that is no text [MQTT-3.3.2-4]', async () => {
  const broker = await startBroker()
  const client = await subscriber(broker, 't/#')
  client.write(publishBytes({ props: '0100', payload: 'c328' }), publishBytes({ payload: 'c328' }))
  const [zero, none] = await nextMessages(client, 2)
  expect(zero?.properties?.payloadFormatIndicator ?? false).toBe(false)
  expect(none?.properties ?? {}).toEqual({})
  expect(none?.payload.toString('hex')).toBe('c328')
})

test.each<[string, string, number[]]>([
  ['Payload Format Indicator 2 [3.3.2.3.2]', '0102', [0x82]],
  ['Payload Format Indicator twice [3.3.2.3.2]', '01000100', [0x82]],
  ['Message Expiry Interval twice [3.3.2.3.3]', '02000000010200000001', [0x82]],
  ['a Response Topic that is not UTF-8 [MQTT-3.3.2-13]', '08' + field('c328'), [0x81]],
  ['a Response Topic with # [MQTT-3.3.2-14]', '08' + text('t/#'), [0x81, 0x82, 0x90]],
  ['a Response Topic with + [MQTT-3.3.2-14]', '08' + text('t/+/1'), [0x81, 0x82, 0x90]],
  ['Response Topic twice [3.3.2.3.5]', '08' + text('a') + '08' + text('a'), [0x82]],
  ['Correlation Data twice [3.3.2.3.6]', '09' + field('00') + '09' + field('00'), [0x82]],
  ['a Content Type that is not UTF-8 [MQTT-3.3.2-19]', '03' + field('c328'), [0x81]],
  ['Content Type twice [3.3.2.3.9]', '03' + text('a') + '03' + text('a'), [0x82]]
])('%s ends the connection', async (_, props, reasons) => {
  const broker = await startBroker()
  await expectDisconnect(await RawClient.connected(broker), publishBytes({ props }), ...reasons)
})

test('a payload that is not the text it says it is gets 0x99, and goes to nobody [3.3.2.3.2]', async () => {
  const broker = await startBroker()
  const watcher = await subscriber(broker, 't/#')
  const client = await RawClient.connected(broker)
  client.write(publishBytes({ first: '32', id: '0001', props: '0101', payload: 'c328' }), publishBytes({ first: '34', id: '0002', props: '0101', payload: 'c328' }))
  expect(await client.next()).toMatchObject({ cmd: 'puback', messageId: 1, reasonCode: 0x99 })
  expect(await client.next()).toMatchObject({ cmd: 'pubrec', messageId: 2, reasonCode: 0x99 })
  client.send(publish('t/1', 'end'))
  expect(await payloadsUntil(watcher)).toEqual([])
})

describe('Message Expiry Interval', () => {
  const expiring = (seconds: number) => ({ properties: { messageExpiryInterval: seconds } })

  test('what waited arrives with the seconds that are left, and what has expired does not [MQTT-3.3.2-5] [MQTT-3.3.2-6]', async () => {
    const broker = await startBroker()
    const session = { clientId: 'keeper', properties: { sessionExpiryInterval: 100 } }
    const first = await subscriber(broker, 't/#', { qos: 1, ...session })
    first.send({ cmd: 'disconnect', reasonCode: 0 })
    await first.closed()
    const sender = await RawClient.connected(broker)
    for (const retain of [false, true]) {
      await publishAcknowledged(sender, `t/${retain}/short`, 'short', { ...expiring(1), retain })
      await publishAcknowledged(sender, `t/${retain}/long`, 'long', { ...expiring(100), retain })
      await publishAcknowledged(sender, `t/${retain}/ever`, 'ever', { retain })
    }
    await pass(1_600)
    // From the queue, and then what was retained.
    const again = await RawClient.connected(broker, 5, { ...session, clean: false })
    const waited = await nextMessages(again, 4)
    expect(waited.map(({ topic }) => topic)).toEqual(['t/false/long', 't/false/ever', 't/true/long', 't/true/ever'])
    const late = await subscriber(broker, 't/#', { qos: 1 })
    const retained = await nextMessages(late, 2)
    expect(retained.map(({ topic }) => topic).sort()).toEqual(['t/true/ever', 't/true/long'])
    await publishAcknowledged(sender, 't/end', 'end')
    expect(await payloadsUntil(again)).toEqual([])
    expect(await payloadsUntil(late)).toEqual([])
    for (const { payload, properties } of [...waited, ...retained]) {
      if (payload.toString() === 'ever') expect(properties ?? {}).not.toHaveProperty('messageExpiryInterval')
      else expect([98, 99]).toContain(properties?.messageExpiryInterval)
    }
  })

  test('what waits behind a full window expires too [MQTT-3.3.2-5] [MQTT-3.3.2-6]', async () => {
    const broker = await startBroker()
    const client = await subscriber(broker, 't/#', { qos: 1, properties: { receiveMaximum: 1 } })
    const sender = await RawClient.connected(broker)
    await publishAcknowledged(sender, 't/1', 'in the window', expiring(1))
    await publishAcknowledged(sender, 't/1', 'short', expiring(1))
    await publishAcknowledged(sender, 't/1', 'long', expiring(100))
    const { messageId = 0 } = await client.nextOf('publish')
    await pass(1_600)
    client.send({ cmd: 'puback', messageId, reasonCode: 0 })
    const next = await client.nextOf('publish')
    expect(next.payload.toString()).toBe('long')
    expect([98, 99]).toContain(next.properties?.messageExpiryInterval)
  })

  test('is passed on as it is when nothing waits [MQTT-3.3.2-6]', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker)
    await subscribe(client, 't/#')
    client.send(publish('t/1', 'x', expiring(100)))
    expect([99, 100]).toContain((await client.nextOf('publish')).properties?.messageExpiryInterval)
  })
})
