// The request `clients`, and the log lines of a subscriber that becomes slow and catches up.
import { describe, expect, test } from 'vitest'
import type { Packet } from 'mqtt-packet'
import { rightsOf } from '../../broker/access.js'
import { Clients } from '../../broker/clients.js'
import { LOCAL } from '../../shared/access.js'
import { systemClock } from '../../shared/clock.js'
import { ClientList, type ClientRow } from '../../shared/schemas.js'
import { REQUEST_FILTER } from '../../shared/topics.js'
import { AcceptingConsumer, startBroker, type TestBroker } from '../support/broker.js'
import { memoryBroker } from '../support/memory-broker.js'
import { RawClient, type Version } from '../support/raw-client.js'

const publish = (topic: string, payload: string, qos: 0 | 1 = 0, messageId?: number): Packet =>
  ({ cmd: 'publish', topic, payload, qos, dup: false, retain: false, ...(messageId !== undefined && { messageId }) })

async function subscribe (client: RawClient, ...filters: string[]): Promise<void> {
  client.send({ cmd: 'subscribe', messageId: 1, subscriptions: filters.map(topic => ({ topic, qos: 1 })) })
  await client.nextOf('suback')
}

const request = (body: object | string, responseTopic: string | null = 'replies/operator', topic = 'requests/clients'): Packet => ({
  cmd: 'publish', topic, payload: typeof body === 'string' ? body : JSON.stringify(body), qos: 1, messageId: 9, dup: false, retain: false,
  properties: { ...(responseTopic !== null && { responseTopic }), correlationData: Buffer.from([0, 1, 254, 255]) }
})

async function operator (broker: TestBroker): Promise<RawClient> {
  const client = await RawClient.connected(broker, 5, { clientId: 'operator' })
  await subscribe(client, 'replies/operator')
  return client
}

/** The next reply, acknowledged. */
async function reply (client: RawClient): Promise<{ ok: boolean, result?: unknown, error?: { code: string, message: string } }> {
  const packet = await client.nextOf('publish')
  expect(packet.properties?.correlationData).toEqual(Buffer.from([0, 1, 254, 255]))
  client.send({ cmd: 'puback', messageId: packet.messageId ?? 0 })
  return JSON.parse(packet.payload.toString()) as Awaited<ReturnType<typeof reply>>
}

async function listed (client: RawClient, body: object = {}): Promise<ClientList> {
  client.send(request(body))
  return ClientList.parse((await reply(client)).result)
}

const named = (list: ClientList, id: string): ClientRow | undefined => list.clients.find(({ client }) => client === id)

/** Publishes with QoS 1 and waits until all are acknowledged. */
async function send (sender: RawClient, topic: string, count: number, payload = 'x'): Promise<void> {
  sender.send(...Array.from({ length: count }, (_, i) => publish(topic, payload, 1, i + 1)))
  for (let i = 0; i < count; i++) await sender.nextOf('puback')
}

describe('a row', () => {
  test.each<[Version, string]>([[3, '3.1'], [4, '3.1.1'], [5, '5.0']])('of a client with protocol level %i says %s, where it comes from and since when', async (version, protocol) => {
    const broker = await startBroker()
    const beforeMs = Date.now()
    const client = await RawClient.connected(broker, version, { clientId: 'gate', will: { topic: 'sensors/gate/status', payload: Buffer.from('offline'), qos: 0, retain: false } })
    await subscribe(client, 'a', 'b/#')
    const row = named(await listed(await operator(broker)), 'gate')
    expect(row).toMatchObject({
      connected: true, address: '127.0.0.1', protocol, subscriptions: 2, window: 20, inflight: 0, queued: 0, queuedBytes: 0, sent: 0, dropped: 0, conflated: 0,
      slow: false, expirySeconds: 0, will: true
    })
    expect(Date.parse(row?.connectedSince ?? '')).toBeGreaterThanOrEqual(beforeMs)
    expect(Date.parse(row?.connectedSince ?? '')).toBeLessThanOrEqual(Date.now())
    expect(Math.abs(Date.parse(row?.lastProgress ?? '') - Date.now())).toBeLessThan(5_000)
  })

  test('says how far a subscriber is behind and what it lost', async () => {
    const broker = await startBroker({ limits: { queueMessages: 5 } })
    const slow = await RawClient.connected(broker, 5, { clientId: 'slow', properties: { receiveMaximum: 2 } })
    await subscribe(slow, 'a', 'sensors/s/status')
    const sender = await RawClient.connected(broker, 5, { clientId: 'sender' })
    await send(sender, 'a', 10)
    await send(sender, 'sensors/s/status', 3)
    const asking = await operator(broker)
    const row = named(await listed(asking), 'slow')
    expect(row).toMatchObject({ window: 2, inflight: 2, queued: 6, sent: 2, dropped: 3, conflated: 2, slow: true, will: false })
    expect(row?.queuedBytes).toBeGreaterThan(6 * 'x'.length)
    expect(named(await listed(asking), 'sender')).toMatchObject({ inflight: 0, queued: 0, slow: false })
  })

  test('of a client that is away stays as long as its session', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker, 5, { clientId: 'away', properties: { sessionExpiryInterval: 77 } })
    await subscribe(client, 'a')
    client.send({ cmd: 'disconnect' })
    await client.closed()
    const asking = await operator(broker)
    await send(asking, 'a', 4)
    expect(named(await listed(asking), 'away')).toMatchObject({ connected: false, address: null, protocol: null, connectedSince: null, queued: 4, inflight: 0, expirySeconds: 77, will: false })
    const again = await RawClient.connected(broker, 5, { clientId: 'away', clean: true })
    again.send({ cmd: 'disconnect' })
    await again.closed()
    expect(named(await listed(asking), 'away')).toBeUndefined()
  })
})

describe('which rows', () => {
  test('slow ones come first, then the longest queues', async () => {
    const broker = await startBroker({ limits: { queueMessages: 5 } })
    const sender = await RawClient.connected(broker, 5, { clientId: 'a-sender' })
    for (const [clientId, count] of [['c-short', 3], ['d-long', 5], ['e-slow', 9]] as const) {
      const client = await RawClient.connected(broker, 5, { clientId, properties: { receiveMaximum: 1 } })
      await subscribe(client, clientId)
      await send(sender, clientId, count)
    }
    const asking = await operator(broker)
    expect((await listed(asking)).clients.map(({ client }) => client)).toEqual(['e-slow', 'd-long', 'c-short', 'a-sender', 'operator'])
    expect((await listed(asking, { slow: true })).clients.map(({ client }) => client)).toEqual(['e-slow'])
    expect((await listed(asking, { client: 'd-long' })).clients.map(({ client }) => client)).toEqual(['d-long'])
    expect((await listed(asking, { client: 'd-long', slow: true })).clients).toEqual([])
    expect((await listed(asking, { client: '__proto__' })).clients).toEqual([])
  })

  test('there are at most 1,000, and how many more there are is told', async () => {
    const engine = await memoryBroker()
    const { bus, sessions, report } = engine
    const parts = { bus, metrics: report.metrics, clock: systemClock, log: report.log, sessions: () => sessions.all, connections: () => engine.connections.values() }
    await bus.consume('requests/clients', new Clients(parts))
    const replies = new AcceptingConsumer()
    await bus.consume('replies/#', replies)
    for (let i = 0; i < 1_005; i++) sessions.open({ clientId: `${i}-${'ü'.repeat(i === 3 ? 30_000 : 1)}`, cleanStart: true, expirySeconds: 0, rights: rightsOf(LOCAL) })
    await bus.publish('requests/clients', '{}', { properties: { responseTopic: 'replies/x' } })
    const { payload } = await replies.delivery(0)
    const { result } = JSON.parse(Buffer.from(payload).toString()) as { result: unknown }
    const list = ClientList.parse(result)
    expect(list.clients).toHaveLength(1_000)
    expect(list.more).toBe(5)
    // One with an endless client id does not make it endless.
    expect(payload.length).toBeLessThan(1_000 * 500)
  })
})

describe('a request', () => {
  test('is answered here and not by the services behind', async () => {
    const services = new AcceptingConsumer()
    const broker = await startBroker({ prepare: async ({ bus }) => await bus.consume(REQUEST_FILTER, services) })
    const asking = await operator(broker)
    asking.send(request({}, 'replies/operator', 'requests/lots'))
    await asking.nextOf('puback')
    expect((await listed(asking)).clients).toHaveLength(1)
    expect(services.deliveries.map(({ topic }) => topic)).toEqual(['requests/lots'])
    expect(broker.methods).toEqual(['clients'])
    expect(await broker.count('requests_total{method=clients,code=ok}')).toBe(1)
  })

  test.each([['[]', 'the body must be a JSON object'], ['{', 'not JSON'], ['{"slow":"yes"}', 'slow: ']])('with the body %s is refused with bad_request', async (body, words) => {
    const broker = await startBroker()
    const asking = await operator(broker)
    asking.send(request(body))
    const packets = [await asking.next(), await asking.next()]
    expect(packets.find(packet => packet.cmd === 'puback')).toMatchObject({ reasonCode: 0x99 })
    const answer = packets.find(packet => packet.cmd === 'publish')
    expect(JSON.parse(answer?.payload.toString() ?? '')).toMatchObject({ ok: false, error: { code: 'bad_request', message: expect.stringContaining(words) as string } })
    expect(await broker.count('requests_total{method=clients,code=bad_request}')).toBe(1)
    expect(broker.logged).toHaveLength(1)
  })

  test.each([[null, 'no_response_topic'], ['lots/LOT-A/free', 'forbidden_response_topic'], ['$SYS/broker/uptime', 'forbidden_response_topic']])('with the Response Topic %s is refused and not answered', async (responseTopic, code) => {
    const broker = await startBroker()
    const watcher = await RawClient.connected(broker)
    await subscribe(watcher, '#', '$SYS/#')
    const asking = await operator(broker)
    asking.send(request({}, responseTopic))
    expect((await asking.nextOf('puback')).reasonCode).toBeGreaterThanOrEqual(0x80)
    expect(await watcher.flushed()).toEqual([])
    expect(await broker.count(`requests_unanswered_total{code=${code}}`)).toBe(1)
  })

  test('of a 3.1.1 client names its way back in the body', async () => {
    const broker = await startBroker()
    const asking = await RawClient.connected(broker, 4, { clientId: 'old' })
    await subscribe(asking, 'replies/old')
    asking.send(publish('requests/clients', '{"replyTo":"replies/old","correlation":"7","client":"old"}', 1, 3))
    const answer = await asking.nextOf('publish')
    expect(JSON.parse(answer.payload.toString())).toMatchObject({ ok: true, correlation: '7', result: { clients: [{ client: 'old', protocol: '3.1.1' }], more: 0 } })
  })
})

describe('the log', () => {
  const slowLines = (broker: TestBroker): unknown[] => broker.logged.filter(({ clientId, msg }) => clientId === 'slow' && String(msg).includes('slow')).map(({ msg, level }) => [level, msg])
  const STARTED = [40, 'a subscriber is slow: messages for it are dropped or replaced by newer ones']
  const STOPPED = [30, 'a slow subscriber has caught up']

  test('says once that a subscriber which does not acknowledge is slow, and once that it has caught up', async () => {
    const broker = await startBroker({ limits: { queueMessages: 20 } })
    const slow = await RawClient.connected(broker, 5, { clientId: 'slow', properties: { receiveMaximum: 1 } })
    await subscribe(slow, 'a')
    const sender = await RawClient.connected(broker)
    await send(sender, 'a', 50)
    expect(slowLines(broker)).toEqual([STARTED])
    expect(broker.logged.find(({ clientId }) => clientId === 'slow')).toMatchObject({ dropped: 1, queued: 20, inflight: 1 })
    for (let i = 0; i < 21; i++) {
      const { messageId } = await slow.nextOf('publish')
      slow.send({ cmd: 'puback', messageId: messageId ?? 0 })
    }
    await slow.flushed()
    expect(slowLines(broker)).toEqual([STARTED, STOPPED])
    expect(named(await listed(await operator(broker)), 'slow')).toMatchObject({ slow: false, dropped: 29, sent: 21 })
  })

  test('also of one that does not read', async () => {
    const broker = await startBroker({ limits: { queueMessages: 20 } })
    const slow = await RawClient.connected(broker, 5, { clientId: 'slow' })
    slow.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 0 }] })
    await slow.nextOf('suback')
    slow.stream.pause()
    const sender = await RawClient.connected(broker)
    const large = 'x'.repeat(100_000)
    // The sockets' buffers take the first megabytes.
    for (let i = 0; i < 500 && slowLines(broker).length === 0; i++) await send(sender, 'a', 1, large)
    expect(slowLines(broker)).toEqual([STARTED])
    slow.stream.resume()
    await expect.poll(() => slowLines(broker)).toEqual([STARTED, STOPPED])
  })
})
