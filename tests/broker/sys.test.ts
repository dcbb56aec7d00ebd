// $SYS/broker/... and the broker's Prometheus metrics: the names and formats of mosquitto 2.0, and numbers that are right.
import { describe, expect, test } from 'vitest'
import type { Packet } from 'mqtt-packet'
import { LoadAverages } from '../../broker/load-averages.js'
import { createMetrics } from '../../shared/metrics.js'
import { startBroker, temporaryFolder, type BrokerOptions, type TestBroker } from '../support/broker.js'
import { ManualClock } from '../support/clock.js'
import { RawClient } from '../support/raw-client.js'

/** What mosquitto 2.0.11 publishes, without the loads. */
const OF_MOSQUITTO = [
  'bytes/received', 'bytes/sent', 'clients/active', 'clients/connected', 'clients/disconnected', 'clients/expired', 'clients/inactive', 'clients/maximum', 'clients/total',
  'heap/current', 'heap/maximum', 'messages/received', 'messages/sent', 'messages/stored', 'publish/bytes/received', 'publish/bytes/sent', 'publish/messages/dropped',
  'publish/messages/received', 'publish/messages/sent', 'retained messages/count', 'shared_subscriptions/count', 'store/messages/bytes', 'store/messages/count',
  'subscriptions/count'
]
const LOADS = ['bytes/received', 'bytes/sent', 'connections', 'messages/received', 'messages/sent', 'publish/dropped', 'publish/received', 'publish/sent', 'sockets']
const EVERY_MS = 10_000

const publish = (topic: string, payload: string, qos: 0 | 1 = 0, messageId?: number): Packet =>
  ({ cmd: 'publish', topic, payload, qos, dup: false, retain: false, ...(messageId !== undefined && { messageId }) })

interface Watched { readonly broker: TestBroker, readonly watcher: RawClient, readonly clock: ManualClock, readonly first: Map<string, string> }

/** A broker whose time stands still, and a client that has heard all of its $SYS. */
async function watched (options: Partial<BrokerOptions> = {}): Promise<Watched> {
  const clock = new ManualClock()
  const broker = await startBroker({ clock, times: { sysMs: EVERY_MS }, ...options })
  const watcher = await RawClient.connected(broker, 5, { clientId: 'watcher' })
  watcher.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '$SYS/broker/#', qos: 0 }] })
  await watcher.nextOf('suback')
  const packets = await watcher.flushed()
  expect(packets.every(packet => packet.cmd === 'publish' && packet.retain && packet.qos === 0)).toBe(true)
  return { broker, watcher, clock, first: bySys(packets) }
}

function bySys (packets: readonly Packet[]): Map<string, string> {
  return new Map(packets.flatMap(packet => packet.cmd === 'publish' ? [[packet.topic.replace('$SYS/broker/', ''), packet.payload.toString()]] : []))
}

/** Lets one interval pass and returns what was published then. */
async function next ({ watcher, clock }: Watched): Promise<Map<string, string>> {
  await clock.armed(EVERY_MS)
  clock.advance(EVERY_MS)
  // The uptime always changes, and is the first of its round.
  const uptime = await watcher.nextOf('publish')
  expect(uptime.topic).toBe('$SYS/broker/uptime')
  return bySys([uptime, ...await watcher.flushed()])
}

describe('before the first client is let in', () => {
  test('every name of mosquitto is there, in its format', async () => {
    const { first } = await watched()
    for (const name of OF_MOSQUITTO) expect([name, first.get(name)]).toEqual([name, expect.stringMatching(/^\d+$/)])
    for (const name of LOADS) for (const span of ['1min', '5min', '15min']) expect([name, first.get(`load/${name}/${span}`)]).toEqual([name, '0.00'])
    expect(first.get('uptime')).toBe('0 seconds')
    expect(first.get('clients/connected')).toBe('0')
    expect(Number(first.get('heap/current'))).toBeGreaterThan(1_000_000)
  })

  test('and what mosquitto does not have', async () => {
    const { first } = await watched()
    for (const name of ['dropped/conflate', 'dropped/drop-oldest', 'dropped/never', 'conflated', 'expired', 'too_large', 'inflight', 'queued']) expect(first.get(`publish/messages/${name}`)).toBe('0')
    for (const name of ['clients/slow', 'publish/held', 'publish/held_ms', 'publish/bytes/queued', 'limits/publishesPerSecond']) expect([name, first.get(name)]).toEqual([name, '0'])
  })

  test('with an interval of 0 there is nothing, ever', async () => {
    const { first } = await watched({ times: { sysMs: 0 } })
    expect([...first]).toEqual([])
  })
})

describe('later', () => {
  test('only what has changed is published', async () => {
    const all = await watched()
    const now = await next(all)
    expect(now.get('uptime')).toBe('10 seconds')
    expect(now.get('clients/connected')).toBe('1')
    expect(now.get('subscriptions/count')).toBe('1')
    expect([...now.keys()]).not.toContain('shared_subscriptions/count')
    expect([...now.keys()]).not.toContain('clients/expired')
    expect((await next(all)).has('clients/connected')).toBe(false)
  })

  test('clients, subscriptions and messages are counted', async () => {
    const all = await watched()
    const { broker } = all
    const stays = await RawClient.connected(broker, 4, { clientId: 'stays', clean: false })
    const leaves = await RawClient.connected(broker, 5, { clientId: 'leaves', clean: false, properties: { sessionExpiryInterval: 15 } })
    stays.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 0 }] })
    leaves.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '$share/g/b', qos: 1 }] })
    await leaves.nextOf('suback')
    await stays.nextOf('suback')
    leaves.send({ cmd: 'disconnect' })
    await leaves.closed()
    stays.send(publish('a', '12345'), publish('c', '1234567', 1, 2))
    await stays.nextOf('puback')
    const now = await next(all)
    const expected = {
      'clients/total': '3', 'clients/connected': '2', 'clients/active': '2', 'clients/disconnected': '1', 'clients/inactive': '1', 'clients/maximum': '3',
      'subscriptions/count': '2', 'shared_subscriptions/count': '1', 'publish/messages/received': '2', 'publish/bytes/received': '12',
      // Three CONNECT and SUBSCRIBE, PINGREQ, DISCONNECT, two PUBLISH.
      'messages/received': '10'
    }
    expect(Object.fromEntries([...now].filter(([name]) => name in expected))).toEqual(expected)
    expect(Number(now.get('publish/messages/sent'))).toBe(all.first.size + 1)
    // Three CONNACK and SUBACK, PINGRESP, PUBACK.
    expect(Number(now.get('messages/sent'))).toBe(all.first.size + 1 + 8)
    // Two in ten seconds are twelve a minute.
    expect(now.get('load/publish/received/1min')).toBe((12 * (1 - Math.exp(-10 / 60))).toFixed(2))
    expect(now.get('load/connections/15min')).toBe((18 * (1 - Math.exp(-10 / 900))).toFixed(2))
    expect(now.get('load/sockets/5min')).toBe((18 * (1 - Math.exp(-10 / 300))).toFixed(2))
    expect(now.has('clients/expired')).toBe(false)
    expect((await next(all)).get('clients/expired')).toBe('1')
  })

  test('what slow subscribers lose is counted by its policy, and limits that clients meet', async () => {
    const all = await watched({ limits: { queueMessages: 5, subscriptionsPerClient: 2 } })
    const slow = await RawClient.connected(all.broker, 5, { clientId: 'slow', properties: { receiveMaximum: 1 } })
    slow.send({ cmd: 'subscribe', messageId: 1, subscriptions: ['a', 'sensors/s/status', 'x'].map(topic => ({ topic, qos: 1 as const })) })
    await slow.nextOf('suback')
    const sender = await RawClient.connected(all.broker)
    for (let i = 0; i < 10; i++) sender.send(publish('a', `${i}`, 1, 1 + i))
    for (let i = 0; i < 4; i++) sender.send(publish('sensors/s/status', `${i}`, 1, 11 + i))
    for (let i = 0; i < 14; i++) await sender.nextOf('puback')
    const now = await next(all)
    // One is on its way, five wait, four are lost; of the states the last waits.
    const expected = {
      'publish/messages/dropped': '4', 'publish/messages/dropped/drop-oldest': '4', 'publish/messages/conflated': '3', 'publish/messages/inflight': '1',
      'publish/messages/queued': '6', 'clients/slow': '1', 'limits/subscriptions': '1'
    }
    expect(Object.fromEntries([...now].filter(([name]) => name in expected))).toEqual(expected)
    expect(now.get('load/publish/dropped/1min')).toBe((24 * (1 - Math.exp(-10 / 60))).toFixed(2))
  })
})

test('nothing of it is stored', async () => {
  const data = temporaryFolder()
  const before = await startBroker({ data, times: { sysMs: EVERY_MS } })
  await before.close()
  const { first } = await watched({ data, times: { sysMs: 0 } })
  expect([...first]).toEqual([])
})

test('Prometheus gets the same numbers, and no client is a label', async () => {
  const broker = await startBroker({ limits: { queueMessages: 5 } })
  const slow = await RawClient.connected(broker, 5, { clientId: 'slow-client', properties: { receiveMaximum: 1 } })
  slow.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 1 }, { topic: '$share/g/b', qos: 1 }] })
  await slow.nextOf('suback')
  const sender = await RawClient.connected(broker, 4, { clientId: 'away-client', clean: false })
  for (let i = 0; i < 10; i++) sender.send(publish('a', '12345', 1, 1 + i))
  for (let i = 0; i < 10; i++) await sender.nextOf('puback')
  sender.send({ cmd: 'disconnect' })
  await sender.closed()
  const text = await broker.metrics.registry.metrics()
  for (const line of [
    'sessions{state="connected"} 1', 'sessions{state="disconnected"} 1', 'subscriptions{kind="own"} 1', 'subscriptions{kind="shared"} 1', 'slow_subscribers 1', 'inflight_messages 1',
    'queued_messages 5', 'dropped_messages_total{policy="drop-oldest"} 4', 'dropped_messages_total{policy="never"} 0', 'conflated_messages_total 0', 'retained_messages 0',
    'publishes_total{direction="received"} 10', 'publishes_total{direction="sent"} 1', 'connections_total 2'
  ]) expect(text).toMatch(new RegExp(`^parkmq_broker_${line.replace(/[{}]/g, '\\$&')}$`, 'm'))
  expect(text).not.toContain('slow-client')
  // Asked again, what is counted is not counted twice.
  expect(await broker.count('broker_dropped_messages_total{policy=drop-oldest}')).toBe(4)
})

test('without an embedded broker there are no metrics of one', async () => {
  expect(await createMetrics().registry.metrics()).not.toContain('parkmq_broker_sessions')
})

describe('load averages', () => {
  test('follow what comes a minute, the short ones faster', () => {
    const loads = new LoadAverages()
    let averages = loads.take({ n: 1_000 }, 0)
    expect([...averages.values()]).toEqual([0, 0, 0])
    for (let minute = 1; minute <= 5; minute++) averages = loads.take({ n: 1_000 + 60 * minute }, minute * 60_000)
    expect(averages.get('n/1min')).toBeCloseTo(60 * (1 - Math.exp(-5)), 9)
    expect(averages.get('n/5min')).toBeCloseTo(60 * (1 - Math.exp(-1)), 9)
    expect(averages.get('n/15min')).toBeCloseTo(60 * (1 - Math.exp(-1 / 3)), 9)
  })

  test('do not depend on how often one looks', () => {
    const [often, seldom] = [new LoadAverages(), new LoadAverages()]
    for (let second = 0; second <= 60; second++) often.take({ n: 5 * second }, second * 1_000)
    seldom.take({ n: 0 }, 0)
    expect(often.take({ n: 300 }, 60_000).get('n/5min')).toBeCloseTo(seldom.take({ n: 300 }, 60_000).get('n/5min') ?? 0, 9)
  })

  test('are not turned around by a clock that is set back', () => {
    const loads = new LoadAverages()
    loads.take({ n: 0 }, 100_000)
    const before = new Map(loads.take({ n: 100 }, 110_000))
    expect(new Map(loads.take({ n: 200 }, 50_000))).toEqual(before)
    const after = loads.take({ n: 210 }, 60_000)
    expect(after.get('n/1min')).toBeCloseTo(60 + Math.exp(-1 / 6) * ((before.get('n/1min') ?? 0) - 60), 9)
  })
})
