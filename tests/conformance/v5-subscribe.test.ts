// MQTT 5.0 sections 3.8 to 3.11: SUBSCRIBE and UNSUBSCRIBE, what they answer and what they change. Retain Handling,
// Retain As Published and Subscription Identifiers are with the messages they change, in v5-publish.test.ts.
import { describe, expect, test } from 'vitest'
import { startBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'
import { acknowledge, expectDisconnect, nextMessages, packet, packetsIn, payloadsOf, payloadsUntil, properties, publish, publishAcknowledged, subscribe, subscriber, text, userProperty } from './v5-wire.js'

const SUBSCRIBE_REASONS = [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2]
const UNSUBSCRIBE_REASONS = [0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91]

async function unsubscribe (client: RawClient, ...unsubscriptions: string[]): Promise<unknown> {
  client.send({ cmd: 'unsubscribe', messageId: 10, unsubscriptions })
  return (await client.nextOf('unsuback')).granted
}

describe('a SUBSCRIBE that ends the connection', () => {
  const filter = (name: string, options: string): string => packet('82', '0001', '00', text(name), options)
  test.each<[string, string, number[]]>([
    ['without a filter [MQTT-3.8.3-2]', packet('82', '0001', '00'), [0x81, 0x82]],
    ['without the options of its filter [MQTT-3.8.3-2]', packet('82', '0001', '00', text('t/1')), [0x81]],
    ['with reserved bits in its options [MQTT-3.8.3-5]', filter('t/1', '40'), [0x81]],
    ['with the other reserved bit in its options [MQTT-3.8.3-5]', filter('t/1', '80'), [0x81]],
    ['with No Local on a shared subscription [MQTT-3.8.3-4]', filter('$share/g/t/1', '04'), [0x82]],
    ['with QoS 3 [3.8.3.1]', filter('t/1', '03'), [0x81, 0x82]],
    ['with Retain Handling 3 [3.8.3.1]', filter('t/1', '30'), [0x81, 0x82]],
    ['with a property that it has not [3.8.2.1]', packet('82', '0001', properties('2100ff'), text('t/1'), '00'), [0x81, 0x82]]
  ])('%s', async (_, bytes, reasons) => {
    const broker = await startBroker()
    await expectDisconnect(await RawClient.connected(broker), bytes, ...reasons)
  })
})

test('none of the filters of a SUBSCRIBE that ends the connection is subscribed to [MQTT-3.8.3-5]', async () => {
  const broker = await startBroker()
  const session = { clientId: 'c', properties: { sessionExpiryInterval: 100 } }
  const first = await RawClient.connected(broker, 5, session)
  await expectDisconnect(first, packet('82', '0001', '00', text('t/1'), '00', text('t/2'), '40'), 0x81)
  const again = await RawClient.connected(broker, 5, { ...session, clean: false })
  await subscribe(again, 'end')
  again.send(publish('t/1', 'x'), publish('end', 'end'))
  await payloadsUntil(again)
  expect(payloadsOf(again)).toEqual(['end'])
})

test('No Local: not what the same client published, whatever the connection, but everything of others [MQTT-3.8.3-3]', async () => {
  const broker = await startBroker()
  const session = { clientId: 'me', properties: { sessionExpiryInterval: 100 } }
  const first = await RawClient.connected(broker, 5, session)
  await subscribe(first, [{ topic: 't/#', qos: 1, nl: true }, { topic: 'u/#', qos: 1, nl: false }])
  for (const qos of [0, 1, 2] as const) await publishAcknowledged(first, 't/1', 'mine', { qos })
  const other = await RawClient.connected(broker)
  await publishAcknowledged(other, 't/1', 'another\'s')
  expect((await first.nextOf('publish')).payload.toString()).toBe('another\'s')
  first.send(publish('u/1', 'mine too'))
  expect((await first.nextOf('publish')).payload.toString()).toBe('mine too')
  expect(payloadsOf(first)).toEqual(['another\'s', 'mine too'])
  first.destroy()
  await first.closed()
  // The option belongs to the session.
  const again = await RawClient.connected(broker, 5, { ...session, clean: false })
  await publishAcknowledged(again, 't/1', 'mine again')
  await publishAcknowledged(other, 't/1', 'end')
  await payloadsUntil(again)
  // What the first connection did not acknowledge comes again, and nothing of its own.
  expect(payloadsOf(again)).toEqual(['another\'s', 'end'])
})

test('SUBACK has one code for each filter, in their order, each with the granted QoS [MQTT-3.8.4-1] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT-3.8.4-5]', async () => {
  const broker = await startBroker()
  const client = await RawClient.connected(broker)
  const filters = [['b', 2], ['7', 1], ['a', 0], ['1', 2], ['constructor', 1], ['b', 1], ['toString', 0], ['t/#', 2]] as const
  const { granted } = await subscribe(client, filters.map(([topic, qos]) => ({ topic, qos })))
  expect(granted).toEqual(filters.map(([, qos]) => qos))
  const sender = await RawClient.connected(broker)
  for (const [topic] of filters) {
    if (topic === 't/#') continue
    await publishAcknowledged(sender, topic, topic, { qos: 2 })
    const message = await client.nextOf('publish')
    // Of a filter that comes twice the later one counts, as in two packets.
    expect([message.topic, message.qos]).toEqual([topic, Math.max(...filters.filter(([name]) => name === topic).slice(-1).map(([, qos]) => qos))])
    await acknowledge(client, message)
  }
})

test('answers with the codes of the lists, whatever the filter [MQTT-3.9.3-2] [MQTT-3.11.3-2]', async () => {
  const broker = await startBroker()
  const client = await RawClient.connected(broker)
  const filters = ['#', '+', '/', '//', '$SYS/#', '$share/g/t/1', 'x'.repeat(10_000), 'lots/+/free', '__proto__', ' ']
  const { granted } = await subscribe(client, filters.map(topic => ({ topic, qos: 1 })))
  expect(granted).toHaveLength(filters.length)
  for (const code of granted) expect(SUBSCRIBE_REASONS).toContain(code)
  const codes = await unsubscribe(client, ...filters) as number[]
  expect(codes).toHaveLength(filters.length)
  for (const code of codes) expect(UNSUBSCRIBE_REASONS).toContain(code)
})

test('a filter with more levels than it takes is refused with 0x8F [MQTT-3.9.3-2]', async () => {
  const broker = await startBroker()
  const client = await RawClient.connected(broker)
  client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a/'.repeat(200), qos: 0 }] })
  const answer = await client.next()
  expect(answer.cmd === 'suback' ? answer.granted : answer.cmd === 'disconnect' ? [answer.reasonCode] : []).toEqual([0x8f])
})

test('the same filter again replaces its subscription: one copy, with the new QoS [MQTT-3.8.4-3]', async () => {
  const broker = await startBroker()
  const client = await RawClient.connected(broker)
  const sender = await RawClient.connected(broker)
  for (const qos of [2, 0, 1] as const) {
    await subscribe(client, 't/+', { qos })
    await publishAcknowledged(sender, 't/1', `${qos}`, { qos: 2 })
    expect(await client.nextOf('publish')).toMatchObject({ payload: Buffer.from(`${qos}`), qos })
  }
  client.send(publish('t/1', 'end'))
  expect(await payloadsUntil(client)).toEqual([])
})

test('nothing is lost while a subscription is replaced, and what is retained comes again [MQTT-3.8.4-4]', async () => {
  const broker = await startBroker()
  const sender = await RawClient.connected(broker)
  await publishAcknowledged(sender, 't/kept', 'kept', { retain: true })
  const client = await subscriber(broker, 't/#', { qos: 1 })
  const sent: string[] = []
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 5; i++) {
      sent.push(`${sent.length}`)
      sender.send(publish('t/live', `${sent.length - 1}`, { qos: 1, messageId: 1 + i }))
    }
    client.send({ cmd: 'subscribe', messageId: 9, subscriptions: [{ topic: 't/#', qos: 1 }] })
    for (let i = 0; i < 5; i++) await sender.nextOf('puback')
  }
  sender.send(publish('t/live', 'end', { qos: 1, messageId: 1 }))
  const live: string[] = []
  let kept = 0
  let isOver = false
  // What is retained may come later than what is live, once for each SUBSCRIBE.
  while (!isOver || kept < 20) {
    const message = await client.nextOf('publish')
    await acknowledge(client, message)
    const payload = message.payload.toString()
    if (payload === 'kept') kept++
    else if (payload === 'end') isOver = true
    else live.push(payload)
  }
  expect(live).toEqual(sent)
})

test('messages come with the smaller of their QoS and the granted one [MQTT-3.8.4-8]', async () => {
  const broker = await startBroker()
  const sender = await RawClient.connected(broker)
  for (const granted of [0, 1, 2] as const) {
    const client = await subscriber(broker, 't/1', { qos: granted })
    for (const qos of [0, 1, 2] as const) {
      await publishAcknowledged(sender, 't/1', 'x', { qos })
      const message = await client.nextOf('publish')
      expect([granted, qos, message.qos]).toEqual([granted, qos, Math.min(granted, qos)])
      await acknowledge(client, message)
    }
  }
})

test('a retained message too comes with the smaller QoS [MQTT-3.8.4-8]', async () => {
  const broker = await startBroker()
  const sender = await RawClient.connected(broker)
  for (const qos of [0, 1, 2] as const) await publishAcknowledged(sender, `t/${qos}`, 'x', { qos, retain: true })
  for (const granted of [0, 1, 2] as const) {
    const client = await subscriber(broker, 't/#', { qos: granted })
    const got = new Map<string, number>()
    while (got.size < 3) {
      const { topic, qos } = await client.nextOf('publish')
      got.set(topic, qos)
    }
    expect([...got].sort()).toEqual([['t/0', 0], ['t/1', Math.min(1, granted)], ['t/2', Math.min(2, granted)]])
  }
})

test('SUBSCRIBE and UNSUBSCRIBE may carry user properties [3.8.2.1.3] [3.10.2.1.2]', async () => {
  const broker = await startBroker()
  const client = await RawClient.connected(broker)
  const props = properties(userProperty('a', '1'), userProperty('a', '1'))
  client.write(packet('82', '0001', props, text('t/1'), '01'))
  expect(await client.next()).toMatchObject({ cmd: 'suback', granted: [1] })
  client.write(packet('a2', '0002', props, text('t/1')))
  expect(await client.next()).toMatchObject({ cmd: 'unsuback', granted: [0] })
})

test('no SUBACK or UNSUBACK is larger than the client takes [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2]', async () => {
  const broker = await startBroker()
  // Each code is one byte: header 2, packet identifier 2, Property Length 1, codes 40.
  const client = await RawClient.connected(broker, 5, { properties: { maximumPacketSize: 45 } })
  const filters = Array.from({ length: 40 }, (_, i) => `${'$share/g/'.repeat(i % 2)}t/${i}`)
  const { granted } = await subscribe(client, filters.map(topic => ({ topic, qos: 0 })))
  expect(granted).toHaveLength(40)
  expect(await unsubscribe(client, ...filters)).toHaveLength(40)
  for (const bytes of packetsIn(client.bytes)) expect(bytes.length).toBeLessThanOrEqual(45)
})

describe('UNSUBSCRIBE', () => {
  test('without a filter ends the connection [MQTT-3.10.2-2]', async () => {
    const broker = await startBroker()
    await expectDisconnect(await RawClient.connected(broker), packet('a2', '0001', '00'), 0x81, 0x82)
  })

  test('takes away exactly the filter it names, character by character [MQTT-3.10.4-1] [MQTT-3.10.4-2]', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker)
    await subscribe(client, [{ topic: 't/+', qos: 0 }, { topic: 't/1', qos: 0 }, { topic: 'u/#', qos: 0 }, { topic: 'end', qos: 0 }])
    expect(await unsubscribe(client, 't/#', 't/2', 'T/+', 'u/1', 'u', '#')).toEqual([0x11, 0x11, 0x11, 0x11, 0x11, 0x11])
    expect(await unsubscribe(client, 't/1')).toEqual([0])
    for (const topic of ['t/1', 'u/1', 'end']) client.send(publish(topic, topic))
    expect(await payloadsUntil(client)).toEqual(['t/1', 'u/1'])
    expect(await unsubscribe(client, 't/+', 'u/#')).toEqual([0, 0])
    for (const topic of ['t/1', 'u/1', 'end']) client.send(publish(topic, topic))
    expect(await payloadsUntil(client)).toEqual([])
  })

  test('is answered also when nothing was subscribed to [MQTT-3.10.4-4] [MQTT-3.10.4-5]', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker)
    client.send({ cmd: 'unsubscribe', messageId: 77, unsubscriptions: ['never'] })
    expect(await client.next()).toMatchObject({ cmd: 'unsuback', messageId: 77, granted: [0x11] })
  })

  test('with several filters gets one UNSUBACK with their codes in order [MQTT-3.10.4-6] [MQTT-3.11.3-1]', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker)
    await subscribe(client, [{ topic: 'b', qos: 0 }, { topic: '7', qos: 0 }, { topic: 'a', qos: 0 }])
    expect(await unsubscribe(client, 'b', 'never', '7', 'b', 'a')).toEqual([0, 0x11, 0, 0x11, 0])
    expect((await client.flushed()).filter(({ cmd }) => cmd === 'unsuback')).toEqual([])
  })

  test('lets what is on its way be finished, also after a reconnect [MQTT-3.10.4-3]', async () => {
    const broker = await startBroker()
    const session = { clientId: 'c', properties: { sessionExpiryInterval: 100 } }
    const client = await subscriber(broker, 't/#', { qos: 2, ...session })
    const sender = await RawClient.connected(broker)
    for (const qos of [1, 2] as const) await publishAcknowledged(sender, 't/1', `QoS ${qos}`, { qos })
    const onTheWay = await nextMessages(client, 2)
    expect(await unsubscribe(client, 't/#')).toEqual([0])
    for (const message of onTheWay) if (message.qos === 2) await acknowledge(client, message)
    client.destroy()
    await client.closed()
    const again = await RawClient.connected(broker, 5, { ...session, clean: false })
    const repeated = await again.nextOf('publish')
    expect(repeated).toMatchObject({ dup: true, payload: Buffer.from('QoS 1'), messageId: onTheWay.find(({ qos }) => qos === 1)?.messageId })
    await acknowledge(again, repeated)
    // And nothing new.
    await subscribe(again, 'end')
    await publishAcknowledged(sender, 't/1', 'x')
    await publishAcknowledged(sender, 'end', 'end')
    expect(await payloadsUntil(again)).toEqual([])
  })
})
