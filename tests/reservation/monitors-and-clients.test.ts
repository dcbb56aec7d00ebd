// Monitors and the clients that they are for: a stream that loses nothing and tells nothing too early, the end with the
// connection, and clients that do not take what they are told.
import type { IPublishPacket } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import { editUsersFile } from '../../broker/users-file.js'
import { startReservation } from '../../services/reservation/service.js'
import { lotDefaultsOf } from '../../services/reservation/intake.js'
import { seedLots } from '../../services/reservation/lots.js'
import { Config } from '../../shared/config.js'
import { UnavailableError } from '../../shared/errors.js'
import { createLog } from '../../shared/log.js'
import { counterValues, createMetrics, type Metrics } from '../../shared/metrics.js'
import type { Ledger } from '../../storage/ledger.js'
import { openLedger } from '../../storage/open.js'
import { connectTestClient, startTestApp, testFolder, type TestClient } from '../support/app.js'
import { afterThisTest, startBroker } from '../support/broker.js'
import { ManualClock } from '../support/clock.js'
import { MonitorClient, type Said } from '../support/monitor-client.js'
import { RawClient } from '../support/raw-client.js'
import { whileTicking } from '../support/ticking.js'
import { writeUsers } from '../support/users-file.js'
import { StreamClient } from '../broker/flow/stream-client.js'

async function open (metrics: Metrics): Promise<number> {
  return (await counterValues(metrics)).parkmq_monitors ?? 0
}

interface Wraps {
  readonly transact?: (real: Ledger['transact']) => Ledger['transact']
  readonly lots?: (real: Ledger['lots']) => Ledger['lots']
}

/** The service with a ledger that the test may hold or let fail. */
async function service ({ transact = real => real, lots = real => real }: Wraps = {}) {
  const clock = new ManualClock()
  const metrics = createMetrics()
  const config = Config.parse({ data: testFolder() })
  const ledger = await openLedger({ config, clock, metrics })
  afterThisTest(() => ledger.close())
  await seedLots(ledger, config.lots, lotDefaultsOf(config))
  const wrapped = Object.create(ledger, { transact: { value: transact(ledger.transact.bind(ledger)) }, feed: { value: ledger.feed }, lots: { value: lots(ledger.lots.bind(ledger)) } }) as Ledger
  for (const name of ['read', 'lotsDue'] as const) Object.defineProperty(wrapped, name, { value: ledger[name].bind(ledger) })
  const broker = await startBroker({
    clock,
    prepare: async ({ bus }) => {
      const running = await startReservation({ bus, ledger: wrapped, clock, log: createLog('silent', false), metrics, config, version: '1' })
      afterThisTest(() => running.stop())
    }
  })
  const url = `mqtt://127.0.0.1:${broker.port}`
  return { broker, clock, metrics, ledger, url, other: await connectTestClient(url) }
}

function request (method: string, body: object, correlation: string, messageId = 1): IPublishPacket {
  return { cmd: 'publish', topic: `requests/${method}`, payload: JSON.stringify(body), qos: 1, dup: false, retain: false, messageId, properties: { responseTopic: 'me', correlationData: Buffer.from(correlation) } }
}

/** A raw client that has subscribed to `me`. */
async function rawClient (broker: { port: number, wsPort: number }, options: Parameters<typeof RawClient.connected>[2] = {}): Promise<RawClient> {
  const raw = await RawClient.connected(broker, 5, options)
  raw.send({ cmd: 'subscribe', messageId: 9, subscriptions: [{ topic: 'me', qos: 0 }] })
  await raw.nextOf('suback')
  return raw
}

function saidOn (raw: RawClient): (Said & { correlation: string })[] {
  return raw.packets.flatMap(packet => packet.cmd === 'publish' ? [{ correlation: packet.properties?.correlationData?.toString() ?? '', ...(JSON.parse(packet.payload.toString()) as { result: Said }).result }] : [])
}

describe('between the request and its reply', () => {
  test('no change is lost and none comes before the reply, whatever the batch does before and behind it', async () => {
    const at = await service()
    const raw = await rawClient(at.broker)
    const reserve = (plate: string, messageId: number): IPublishPacket => request('reserve', { lot: 'LOT-A', plate }, plate, messageId)
    // One write, one batch.
    raw.send(reserve('P1', 1), request('monitor', { lot: 'LOT-A', forSeconds: 60 }, 'c', 2), reserve('P2', 3), reserve('P3', 4))
    while (!saidOn(raw).some(({ monitor }) => monitor === 'update')) await raw.next()
    const stream = saidOn(raw).filter(({ correlation }) => correlation === 'c')
    expect(stream.map(({ monitor, free }) => [monitor, free])).toEqual([['started', 49], ['update', 47]])
  })

  test('of requests in one batch the last word counts', async () => {
    const at = await service()
    const raw = await rawClient(at.broker)
    const monitor = (lot: string, correlation: string, messageId: number): IPublishPacket => request('monitor', { lot, forSeconds: 60 }, correlation, messageId)
    raw.send(
      monitor('LOT-A', 'a1', 1), request('unmonitor', { lot: 'LOT-A' }, 'u', 2), monitor('LOT-A', 'a2', 3), monitor('LOT-A', 'a3', 4),
      monitor('LOT-B', 'b', 5), request('unmonitor', { lot: 'LOT-B' }, 'u', 6), request('unmonitor', { lot: 'LOT-B' }, 'u', 7)
    )
    while (saidOn(raw).filter(({ correlation }) => correlation === 'u').length < 3) await raw.next()
    await raw.flushed()
    const ended = saidOn(raw).filter(({ monitor }) => monitor === 'end').map(({ correlation, why }) => [correlation, why])
    expect(ended).toEqual([['a1', 'unmonitored'], ['a2', 'replaced'], ['b', 'unmonitored']])
    expect(saidOn(raw).filter(({ correlation }) => correlation === 'u').map(said => said.ended)).toEqual([true, true, false])
    expect(await open(at.metrics)).toBe(1)
  })

  test('a batch that is not committed leaves no monitor and says nothing of it; when it is tried again there is one', async () => {
    let failures = 1
    const at = await service({ transact: real => async (name, work) => {
      if (name !== 'reservation') return await real(name, work)
      return await real(name, async tx => {
        const result = await work(tx)
        if (Array.isArray(result) && failures-- > 0) throw new UnavailableError('the disk is full', { cause: null })
        return result
      })
    } })
    const raw = await rawClient(at.broker)
    raw.send(request('monitor', { lot: 'LOT-A', forSeconds: 60 }, 'c'))
    await at.clock.armed(100)
    while (failures > 0) await new Promise(resolve => setImmediate(resolve))
    expect([await open(at.metrics), saidOn(raw)]).toEqual([0, []])
    at.clock.advance(100)
    await raw.nextOf('publish')
    expect([await open(at.metrics), saidOn(raw)]).toMatchObject([1, [{ monitor: 'started' }]])
  })

  test('a client that is gone when its request is committed has no monitor', async () => {
    let letGo = (): void => {}
    let held = (): void => {}
    const isHeld = new Promise<void>(resolve => { held = resolve })
    const at = await service({ transact: real => async (name, work) => await real(name, async tx => {
      const result = await work(tx)
      if (Array.isArray(result)) {
        held()
        await new Promise<void>(resolve => { letGo = resolve })
      }
      return result
    }) })
    const options = { clientId: 'me', clean: false, properties: { sessionExpiryInterval: 1_000 } }
    const raw = await rawClient(at.broker, options)
    raw.send(request('monitor', { lot: 'LOT-A', forSeconds: 60 }, 'c'))
    await isHeld
    // Its next connection is there before the request of this one is committed.
    const next = await RawClient.connected(at.broker, 5, options)
    letGo()
    expect((await next.nextOf('publish')).topic).toBe('me')
    expect([await open(at.metrics), saidOn(next).map(({ monitor }) => monitor)]).toEqual([0, ['started']])
  })
})

test('what was read before a monitor began is not told to it: it never goes back', async () => {
  let hold = false
  let letGo = (): void => {}
  let held = (): void => {}
  const isHeld = new Promise<void>(resolve => { held = resolve })
  const at = await service({ lots: real => async ids => {
    const lots = await real(ids)
    if (!hold) return lots
    hold = false
    held()
    await new Promise<void>(resolve => { letGo = resolve })
    return lots
  } })
  const client = await MonitorClient.connected(at.url)
  await client.monitor('LOT-A', 60, 'c')
  await at.other.request('ping')
  hold = true
  await at.other.request('reserve', { lot: 'LOT-A', plate: 'P1' })
  await isHeld
  await at.other.request('reserve', { lot: 'LOT-A', plate: 'P2' })
  // Renewed, and one that is new to the lot.
  await client.monitor('LOT-A', 60, 'c')
  const second = await MonitorClient.connected(at.url)
  await second.monitor('LOT-A', 60, 'd')
  letGo()
  await whileTicking(at.clock, Promise.all([at.other.request('reserve', { lot: 'LOT-A', plate: 'P3' }), client.first('c', ({ free }) => free === 47), second.first('d', ({ free }) => free === 47)]), 10)
  expect(client.said('c').map(({ free }) => free)).toEqual([50, 48, 47])
  expect(second.said('d').map(({ free }) => free)).toEqual([48, 47])
})

test('the end does not wait for a ledger that cannot be read; the changes are told when it can be', async () => {
  let fails = false
  const at = await service({ lots: real => async ids => {
    if (fails) throw new UnavailableError('the disk is gone', { cause: null })
    return await real(ids)
  } })
  const client = await MonitorClient.connected(at.url)
  await client.monitor('LOT-A', 60, 'short')
  await client.monitor('LOT-B', 600, 'long')
  await at.other.request('ping')
  fails = true
  for (const lot of ['LOT-A', 'LOT-B']) await at.other.request('reserve', { lot, plate: 'P1' })
  expect(await whileTicking(at.clock, client.end('short'), 1_000)).toMatchObject({ why: 'expired' })
  fails = false
  expect(await whileTicking(at.clock, client.until('long', 2), 10)).toMatchObject({ monitor: 'update', free: 74 })
})

describe('the connection ends', () => {
  test.each<[string, (client: MonitorClient) => unknown]>([
    ['by DISCONNECT', async client => await client.mqtt.endAsync()],
    ['by a cut', client => client.mqtt.stream.destroy()]
  ])('%s: its monitors end silently, also when its session stays', async (_, leave) => {
    const clock = new ManualClock()
    const at = await startTestApp({ clock })
    const other = await at.connect()
    const options = { clientId: 'me', clean: false, sessionExpirySeconds: 1_000, topic: 'replies/me/m' }
    const client = await MonitorClient.connected(at.url, options)
    await client.monitor('LOT-A', 600, 'a')
    await client.monitor('LOT-B', 600, 'b')
    const stays = await MonitorClient.connected(at.url)
    await stays.monitor('LOT-A', 600, 'stays')
    expect(await open(at.app.metrics)).toBe(3)
    await leave(client)
    while (await open(at.app.metrics) !== 1) await other.request('ping')
    await other.request('reserve', { lot: 'LOT-A', plate: 'P1' })
    await stays.until('stays', 2)
    clock.advance(700_000)
    await stays.end('stays')
    const back = await MonitorClient.connected(at.url, options)
    await back.ask('ping', {}, 'p')
    // Nothing waited for it: neither an update nor an end.
    expect(back.come.map(({ correlation }) => correlation)).toEqual(['p'])
  })

  test('by a takeover: the monitors of the old connection end, those of the new one do not', async () => {
    const clock = new ManualClock()
    const at = await startTestApp({ clock })
    const other = await at.connect()
    const options = { clientId: 'me', clean: false, sessionExpirySeconds: 1_000, topic: 'replies/me/m' }
    const first = await MonitorClient.connected(at.url, options)
    await first.monitor('LOT-A', 600, 'old')
    await first.monitor('LOT-B', 600, 'old-b')
    const second = await MonitorClient.connected(at.url, options)
    expect(await open(at.app.metrics)).toBe(0)
    await second.monitor('LOT-A', 600, 'new')
    // The broker has heard of the end of the old socket by now.
    for (let i = 0; i < 20; i++) await other.request('ping')
    await other.request('reserve', { lot: 'LOT-A', plate: 'P1' })
    await other.request('reserve', { lot: 'LOT-B', plate: 'P1' })
    expect(await second.until('new', 2)).toMatchObject({ monitor: 'update', free: 49 })
    expect(second.come.map(({ correlation }) => correlation)).toEqual(['new', 'new'])
    expect(await open(at.app.metrics)).toBe(1)
  })

  test('because its user was changed: a monitor does not outlive the rights of its user', async () => {
    const data = testFolder()
    const users = [{ name: 'ann', password: 'ann-password' }, { name: 'olga', role: 'operator', password: 'olga-password' }]
    const file = await writeUsers(users, `${data}/users.yaml`)
    const at = await startTestApp({ data })
    const ann = await MonitorClient.connected(at.url, { username: 'ann', password: 'ann-password' })
    expect(await ann.monitor('LOT-A', 600, 'c')).toMatchObject({ monitor: 'started' })
    const olga: TestClient = await at.connect({ username: 'olga', password: 'olga-password' })
    const closed = new Promise(resolve => { ann.mqtt.once('close', () => resolve(null)) })
    await editUsersFile(file, all => all.map(user => user.name === 'ann' ? { ...user, role: 'display' } : user))
    await closed
    while (await open(at.app.metrics) !== 0) await olga.request('ping')
    await olga.request('reserve', { lot: 'LOT-A', plate: 'P1' })
    expect(ann.said('c')).toHaveLength(1)
  })

  test('before it began: a will begins no monitor', async () => {
    const at = await service()
    const watcher = await rawClient(at.broker)
    const raw = await RawClient.connected(at.broker, 5, { will: { topic: 'requests/monitor', payload: Buffer.from('{"lot":"LOT-A","forSeconds":60}'), qos: 1, retain: false, properties: { responseTopic: 'me', correlationData: Buffer.from('w') } } })
    raw.destroy()
    const reply = await watcher.nextOf('publish')
    expect(JSON.parse(reply.payload.toString())).toMatchObject({ ok: false, error: { code: 'bad_request' } })
    expect(await open(at.metrics)).toBe(0)
  })
})

describe.each<[string, (slow: StreamClient) => void]>([
  ['never reads', slow => slow.stream.pause()],
  ['reads and never acknowledges', () => {}]
])('a client that monitors and %s', (_, freeze) => {
  test('holds nobody up, costs a bounded queue, and loses its connection and its monitors', { timeout: 60_000 }, async () => {
    const clock = new ManualClock()
    const limits = { queueMessages: 50 }
    const at = await startTestApp({ clock, settings: { limits } })
    const ports = { port: at.app.port ?? 0, wsPort: at.app.wsPort ?? 0 }
    const slow = await StreamClient.subscriber(ports, 'slow/+', 1, { acks: false })
    slow.send(request('monitor', { lot: 'LOT-A', forSeconds: 3_600 }, 's'))
    slow.send({ ...request('monitor', { lot: 'LOT-B', forSeconds: 3_600 }, 't', 2), properties: { responseTopic: 'slow/b', correlationData: Buffer.from('t') } })
    slow.send({ ...request('monitor', { lot: 'LOT-A', forSeconds: 3_600 }, 's', 3), properties: { responseTopic: 'slow/a', correlationData: Buffer.from('s') } })
    await slow.until(() => slow.count === 2, 'two replies')
    const healthy = await MonitorClient.connected(at.url)
    await healthy.monitor('LOT-A', 3_600, 'c')
    const other = await at.connect()
    expect(await open(at.app.metrics)).toBe(3)
    freeze(slow)
    let most = 0
    let rounds = 0
    for (; await open(at.app.metrics) > 1; rounds++) {
      if (rounds > 200) throw new Error('the slow client is still there')
      const count = healthy.said('c').length
      for (const lot of ['LOT-A', 'LOT-B']) await other.publish(`lots/${lot}/sensor`, rounds % 2 === 0 ? '1' : '-1')
      // It is told of each change at once, as if the other were not there.
      await whileTicking(clock, healthy.until('c', count + 1), 10)
      expect((await other.request('availability', { lot: 'LOT-A' })).error).toBeUndefined()
      most = Math.max(most, (await counterValues(at.app.metrics)).parkmq_broker_queued_messages ?? 0)
    }
    // 20 on their way, 50 that wait, two in a round.
    expect(rounds).toBeLessThan(45)
    expect(most).toBeLessThanOrEqual(51)
    expect(await open(at.app.metrics)).toBe(1)
    const before = healthy.said('c').length
    await other.publish('lots/LOT-A/sensor', rounds % 2 === 0 ? '1' : '-1')
    await whileTicking(clock, healthy.until('c', before + 1), 10)
    slow.stream.resume()
    await slow.closed()
    expect(slow.told).toBe(0x97)
  })
})
