// MQTT 5.0 section 4.6: messages of one topic and QoS reach each subscriber in the order in which their publisher sent
// them, whatever comes between: other QoS, other topics, a full window, a retained message, a broken connection.
import { describe, expect, test } from 'vitest'
import type { QoS } from 'mqtt-packet'
import { startBroker } from '../support/broker.js'
import { RawClient, type Transport, type Version } from '../support/raw-client.js'
import { deliver, deliverAll, freshId, join, kept, leave, listener, numbered, payloadsOf, receive } from './parties.js'
import { publish } from './v5-wire.js'

const payloads = numbered('m', 200)

describe.each<[Version, Transport]>([[3, 'tcp'], [4, 'tcp'], [4, 'ws'], [5, 'tcp'], [5, 'ws']])('protocol level %i over %s', (version, transport) => {
  test.each<QoS>([0, 1, 2])('messages that are sent without a pause with QoS %i arrive in order [MQTT-4.6.0-5] [MQTT-4.6.0-6]', async qos => {
    const broker = await startBroker()
    const watcher = await listener(broker, version, 't', 2, { transport })
    const sender = await RawClient.connected(broker, version, { transport })
    const received = receive(watcher, payloads.length)
    await deliverAll(sender, payloads.map(payload => ({ topic: 't', payload, qos })))
    expect(payloadsOf(await received)).toEqual(payloads)
  })
})

test('each QoS keeps its order where they are mixed [MQTT-4.6.0-5]', async () => {
  const broker = await startBroker()
  const watcher = await listener(broker, 5, 't', 2)
  const sender = await RawClient.connected(broker)
  const received = receive(watcher, 300)
  await deliverAll(sender, numbered('m', 300).map((payload, i) => ({ topic: 't', payload, qos: (i * 7) % 3 as QoS })))
  const got = await received
  for (const qos of [0, 1, 2]) {
    expect(payloadsOf(got.filter(message => message.qos === qos))).toEqual(numbered('m', 300).filter((_, i) => (i * 7) % 3 === qos))
  }
})

test('a subscription that lowers the QoS changes no order [MQTT-4.6.0-5]', async () => {
  const broker = await startBroker()
  const watchers = [await listener(broker, 5, 't', 0), await listener(broker, 5, 't', 1)]
  const sender = await RawClient.connected(broker)
  const received = Promise.all(watchers.map(watcher => receive(watcher, payloads.length)))
  await deliverAll(sender, payloads.map(payload => ({ topic: 't', payload, qos: 2 })))
  for (const got of await received) expect(payloadsOf(got)).toEqual(payloads)
})

test('of several publishers each has its order, also over filters that overlap [MQTT-4.6.0-5] [MQTT-4.6.0-6]', async () => {
  const broker = await startBroker()
  const watcher = await RawClient.connected(broker)
  watcher.send({ cmd: 'subscribe', messageId: 1, subscriptions: ['t', '+', '#'].map(topic => ({ topic, qos: 1 })) })
  await watcher.nextOf('suback')
  const names = ['a', 'b', 'c']
  const senders = await Promise.all(names.map(async () => await RawClient.connected(broker)))
  // A server may send one copy or one a subscription.
  const orders = new Map<string, string[]>()
  const received = (async () => {
    while (![...names].every(name => orders.get(name)?.includes(`${name}100`))) {
      const [message] = await receive(watcher, 1)
      const payload = message?.payload.toString() ?? ''
      const order = orders.get(payload.charAt(0)) ?? []
      if (!order.includes(payload)) orders.set(payload.charAt(0), [...order, payload])
    }
  })()
  await Promise.all(senders.map(async (sender, i) => {
    for (let at = 0; at < 100; at += 10) await deliverAll(sender, numbered(names[i] ?? '', 100).slice(at, at + 10).map(payload => ({ topic: 't', payload, qos: 1 })))
  }))
  await received
  for (const name of names) expect(orders.get(name)).toEqual(numbered(name, 100))
})

test('who subscribes while a retained value changes never sees an older one after a newer one [MQTT-4.6.0-5] [MQTT-3.3.1-9]', async () => {
  const broker = await startBroker()
  const sender = await RawClient.connected(broker)
  await deliver(sender, 'state', '0', 1, { retain: true })
  const watchers = await Promise.all(Array.from({ length: 6 }, async () => await RawClient.connected(broker)))
  const seen: Promise<number[]>[] = []
  for (let value = 1; value <= 120;) {
    const next = Array.from({ length: 4 }, () => publish('state', `${value++}`, { qos: 1, retain: true, messageId: freshId(sender) }))
    const watcher = value % 16 === 5 ? watchers.pop() : undefined
    watcher?.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'state', qos: 1 }] })
    if (watcher !== undefined) seen.push(receive(watcher, '120').then(got => payloadsOf(got).map(Number)))
    sender.send(...next)
    for (let i = 0; i < 4; i++) await sender.nextOf('puback')
  }
  expect(seen).toHaveLength(6)
  for (const order of await Promise.all(seen)) {
    expect(order.length).toBeGreaterThan(0)
    expect(order).toEqual([...order].sort((a, b) => a - b))
    // After the first one nothing is missing: each value follows its predecessor, or repeats it.
    const [first = 0] = order
    expect([...new Set(order)]).toEqual(Array.from({ length: 120 - first }, (_, i) => first + i))
  }
})

test.each<[Version, QoS]>([[4, 1], [4, 2], [5, 1], [5, 2]])('queue, what is sent again and live messages of protocol level %i and QoS %i keep their order over many reconnects [MQTT-4.6.0-5] [MQTT-4.4.0-1]', async (version, qos) => {
  const broker = await startBroker()
  await leave(await listener(broker, version, 't', qos, kept('c', version)))
  const sender = await RawClient.connected(broker, version)
  const all = numbered('m', 160)
  const firstSeen: string[] = []
  const note = ({ packets }: RawClient): void => {
    for (const payload of payloadsOf(packets.filter(packet => packet.cmd === 'publish'))) if (!firstSeen.includes(payload)) firstSeen.push(payload)
  }
  let at = 0
  for (let round = 0; round < 8; round++) {
    await deliverAll(sender, all.slice(at, at + 10).map(payload => ({ topic: 't', payload, qos })))
    const { client } = await join(broker, version, kept('c', version))
    await deliverAll(sender, all.slice(at + 10, at + 20).map(payload => ({ topic: 't', payload, qos })))
    at += 20
    // It answers five and is gone.
    await receive(client, 5)
    note(client)
    client.destroy()
  }
  const { client } = await join(broker, version, kept('c', version))
  await deliver(sender, 't', 'end', qos)
  await receive(client)
  note(client)
  expect(firstSeen).toEqual([...all, 'end'])
})

test('acknowledgements go out in the order of the messages [MQTT-4.6.0-2] [MQTT-4.6.0-3]', async () => {
  const broker = await startBroker()
  const sender = await RawClient.connected(broker)
  const ids = [9, 3, 700, 1, 44]
  for (const [qos, cmd] of [[1, 'puback'], [2, 'pubrec']] as const) {
    sender.send(...ids.map(messageId => publish('t', 'x', { qos, messageId })))
    for (const messageId of ids) expect(await sender.next()).toMatchObject({ cmd, messageId })
  }
})
