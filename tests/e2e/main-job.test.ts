// The main job over real connections: sensors in, free counts out, reservations answered.
import { get } from 'node:http'
import { describe, expect, test } from 'vitest'
import { json, startTestApp, testFolder } from '../support/app.js'
import { ManualClock } from '../support/clock.js'
import { whileTicking } from '../support/ticking.js'

interface Made { reservation: string, secret: string, status: string, until: string }

describe('occupancy', () => {
  test('the four lots are there at once, and a bare delta changes one', async () => {
    const { connect } = await startTestApp()
    const client = await (await connect()).subscribe('lots/+/free')
    for (const [lot, free] of [['A', 50], ['B', 75], ['C', 40], ['D', 80]]) await client.last(`lots/LOT-${lot}/free`, String(free))
    await client.publish('lots/LOT-A/sensor', '1')
    await client.last('lots/LOT-A/free', '49')
    await client.publish('lots/LOT-A/sensor', '-2')
    await client.last('lots/LOT-A/free', '51')
  })

  test('a duplicate counts once, a restart counts on, and the state says how far it can be trusted', async () => {
    const { connect } = await startTestApp()
    const client = await (await connect()).subscribe('lots/LOT-A/#')
    await client.last('lots/LOT-A/state', text => json(text).quality === 'unknown')
    const delta = { sensor: 'gate-1', epoch: 1, seq: 1, delta: 1, at: '2026-11-21T08:00:00Z' }
    await client.publish('lots/LOT-A/sensor', delta)
    await client.publish('lots/LOT-A/sensor', delta)
    await client.publish('lots/LOT-A/sensor', { ...delta, epoch: 2 })
    await client.last('lots/LOT-A/free', '48')
    const state = json(await client.last('lots/LOT-A/state', text => json(text).free === 48))
    expect(state).toMatchObject({ lot: 'LOT-A', capacity: 100, occupied: 52, held: 0, free: 48, open: true, quality: 'live' })
    await client.until('the restart', m => m.topic === 'lots/LOT-A/events' && json(m.text).type === 'sensor.restarted')
  })

  test('a missing message makes the lot suspect after the grace, a recount ends it with the drift', async () => {
    const { connect } = await startTestApp({ settings: { times: { gapGraceMs: 100 } } })
    const client = await (await connect()).subscribe('lots/LOT-A/#')
    await client.publish('lots/LOT-A/sensor', { sensor: 'gate-1', epoch: 1, seq: 1, delta: 1 })
    await client.publish('lots/LOT-A/sensor', { sensor: 'gate-1', epoch: 1, seq: 3, delta: 1 })
    await client.last('lots/LOT-A/state', text => json(text).quality === 'suspect')
    await client.until('the gap', m => m.topic.endsWith('events') && json(m.text).type === 'sensor.gap')
    await client.publish('lots/LOT-A/sensor', { sensor: 'attendant', epoch: 1, seq: 1, occupied: 37 })
    await client.last('lots/LOT-A/state', text => json(text).quality === 'live')
    await client.last('lots/LOT-A/free', '63')
    const recounted = await client.until('the recount', m => m.topic.endsWith('events') && json(m.text).type === 'lot.recounted')
    expect(json(recounted.text)).toMatchObject({ before: { counted: 52 }, after: { counted: 37, drift: 15 } })
  })

  test('silence is told without anybody asking', async () => {
    const clock = new ManualClock()
    const { connect } = await startTestApp({ clock })
    const client = await (await connect()).subscribe('lots/LOT-A/#')
    await client.publish('lots/LOT-A/sensor', '1')
    await client.last('lots/LOT-A/state', text => json(text).quality === 'live')
    clock.advance(15 * 60_000)
    await whileTicking(clock, client.last('lots/LOT-A/state', text => json(text).quality === 'stale'))
    await client.publish('lots/LOT-A/sensor', '1')
    await client.last('lots/LOT-A/state', text => json(text).quality === 'live')
  })

  test('bays that cover a lot give its count', async () => {
    const { connect } = await startTestApp({ settings: { lots: [{ lot: 'B', capacity: 3, bays: ['B-1', 'B-2', 'B-3'], baysCover: true }] } })
    const client = await (await connect()).subscribe('lots/B/#')
    await client.last('lots/B/free', '0')
    await client.last('lots/B/bays/B-3', 'unknown')
    await client.publish('lots/B/sensor', { sensor: 'cam-1', epoch: 1, seq: 1, bays: { 'B-1': 'taken', 'B-2': 'free', 'B-3': 'free' } })
    await client.last('lots/B/free', '2')
    await client.last('lots/B/bays/B-2', 'free')
  })
})

describe('reservation', () => {
  test('a hold takes a place, its secret gives it back', async () => {
    const { connect } = await startTestApp()
    const client = await (await connect()).subscribe('lots/+/free')
    const made = await client.request<Made>('reserve', { lot: 'LOT-A', plate: 'abc-123' })
    expect(made).toMatchObject({ status: 'held', plate: 'ABC123', reservation: expect.stringMatching(/^R-/) as string, secret: expect.any(String) as string })
    await client.last('lots/LOT-A/free', '49')
    expect(await client.request('cancel', { reservation: made.reservation })).toMatchObject({ error: 'not_yours' })
    expect(await client.request('cancel', { reservation: made.reservation, secret: 'wrong' })).toMatchObject({ error: 'not_yours' })
    expect(await client.request('get', { reservation: made.reservation, secret: made.secret })).toMatchObject({ status: 'held' })
    expect(await client.request('cancel', { reservation: made.reservation, secret: made.secret })).toMatchObject({ status: 'cancelled' })
    await client.last('lots/LOT-A/free', '50')
    expect(await client.request('cancel', { reservation: made.reservation, secret: made.secret })).toMatchObject({ error: 'already_cancelled' })
  })

  test('a hold expires at its time', async () => {
    const clock = new ManualClock()
    const { connect } = await startTestApp({ clock })
    const client = await (await connect()).subscribe('lots/LOT-A/#')
    const start = clock.nowMs()
    await client.request('reserve', { lot: 'LOT-A', plate: 'ABC123' })
    await client.last('lots/LOT-A/free', '49')
    clock.advance(299_000)
    expect(await client.request('availability', { lot: 'LOT-A' })).toMatchObject({ lots: [{ free: 49 }] })
    await whileTicking(clock, client.last('lots/LOT-A/free', '50'), 10)
    expect(clock.nowMs()).toBeGreaterThanOrEqual(start + 300_000)
    await client.until('the expiry', m => m.topic.endsWith('events') && json(m.text).type === 'reservation.expired')
  })

  test('a hold expires also when nobody ran at its time', async () => {
    const data = testFolder()
    const clock = new ManualClock()
    const first = await startTestApp({ data, clock })
    await (await first.connect()).request('reserve', { lot: 'LOT-A', plate: 'ABC123' })
    await first.app.stop()
    clock.advance(300_000)
    const second = await startTestApp({ data, clock })
    const client = await (await second.connect()).subscribe('lots/LOT-A/free')
    await client.last('lots/LOT-A/free', '50')
    // Nobody saw the place as taken after the restart.
    expect(client.received.map(m => m.text)).toEqual(['50'])
  })

  test('a gate that sees the plate checks the reservation in without a flicker of free', async () => {
    const { connect } = await startTestApp()
    const client = await (await connect()).subscribe('lots/LOT-A/#')
    const made = await client.request<Made>('reserve', { lot: 'LOT-A', plate: 'ABC 123' })
    await client.last('lots/LOT-A/free', '49')
    await client.publish('lots/LOT-A/sensor', { sensor: 'gate-1', epoch: 1, seq: 1, delta: 1, plate: 'abc123' })
    const state = await client.last('lots/LOT-A/state', text => json(text).occupied === 51)
    expect(json(state)).toMatchObject({ held: 0, free: 49 })
    expect(await client.request('get', made)).toMatchObject({ status: 'arrived' })
    await client.publish('lots/LOT-A/sensor', { sensor: 'gate-1', epoch: 1, seq: 2, delta: -1, plate: 'ABC123' })
    await client.last('lots/LOT-A/free', '50')
    expect(await client.request('get', made)).toMatchObject({ status: 'departed' })
    expect(client.received.filter(m => m.topic === 'lots/LOT-A/free').map(m => m.text)).toEqual(['50', '49', '50'])
    expect(client.received.filter(m => m.topic.endsWith('events') && m.text.includes('ABC'))).toEqual([])
  })

  test('an announced arrival keeps its place until the next car without a plate', async () => {
    const { connect } = await startTestApp()
    const client = await (await connect()).subscribe('lots/LOT-A/state')
    const made = await client.request<Made>('reserve', { lot: 'LOT-A', plate: 'ABC123' })
    expect(await client.request('arrive', made)).toMatchObject({ status: 'arriving' })
    await client.last('lots/LOT-A/state', text => json(text).held === 1)
    await client.publish('lots/LOT-A/sensor', '1')
    expect(json(await client.last('lots/LOT-A/state', text => json(text).occupied === 51))).toMatchObject({ held: 0, free: 49 })
    expect(await client.request('depart', made)).toMatchObject({ status: 'departed' })
    expect(await client.request('availability', { lot: 'LOT-A' })).toMatchObject({ lots: [{ free: 49 }] })
  })

  test('where requests count, arrive and depart change the count', async () => {
    const { connect } = await startTestApp({ settings: { lots: [{ lot: 'Q', capacity: 2, counting: 'requests' }] } })
    const client = await connect()
    const made = await client.request<Made>('reserve', { lot: 'Q', plate: 'X1' })
    await client.request('arrive', made)
    expect(await client.request('lots', { lot: 'Q' })).toMatchObject({ lots: [{ counted: 1, held: 0, free: 1 }] })
    await client.request('depart', made)
    expect(await client.request('lots', { lot: 'Q' })).toMatchObject({ lots: [{ counted: 0, held: 0, free: 2 }] })
  })

  test('the same request gets the same reply, errors too; another body is refused', async () => {
    const { connect } = await startTestApp({ settings: { lots: [{ lot: 'Q', capacity: 1 }] } })
    const client = await connect()
    const requestId = 'request-0000000001'
    const first = await client.request('reserve', { lot: 'Q', plate: 'X1', requestId })
    expect(await client.request('reserve', { plate: 'X1', lot: 'Q', requestId })).toEqual(first)
    expect(await client.request('reserve', { lot: 'Q', plate: 'X2', requestId })).toMatchObject({ error: 'request_id_reused' })
    const refused = await client.request('reserve', { lot: 'Q', plate: 'X3', requestId: 'request-0000000002' })
    expect(refused).toMatchObject({ error: 'lot_full' })
    await client.request('cancel', first)
    expect(await client.request('reserve', { lot: 'Q', plate: 'X3', requestId: 'request-0000000002' })).toEqual(refused)
    expect(await client.request('lots', { lot: 'Q' })).toMatchObject({ lots: [{ held: 0 }] })
  })

  test('a thousand at once for a hundred places: exactly a hundred get one', async () => {
    const { app, connect } = await startTestApp({ settings: { lots: [{ lot: 'Q', capacity: 100 }] } })
    const clients = await Promise.all(Array.from({ length: 10 }, () => connect()))
    const replies = await Promise.all(clients.flatMap((client, c) => Array.from({ length: 100 }, (_, i) => client.request('reserve', { lot: 'Q', plate: `P${c}-${i}` }))))
    expect(replies.filter(reply => reply.error === undefined)).toHaveLength(100)
    expect(replies.filter(reply => reply.error === 'lot_full')).toHaveLength(900)
    expect(await app.ledger.allLots()).toMatchObject([{ held: 100 }])
    const rows = await app.ledger.database.kysely.selectFrom('reservations').selectAll().execute()
    expect(rows).toHaveLength(100)
  })

  test('operators make, change, close, open and remove lots', async () => {
    const { connect } = await startTestApp()
    const client = await (await connect()).subscribe('lots/LOT-E/#')
    expect(await client.request('lot.add', { lot: 'LOT-E', capacity: 10, occupied: 3, name: 'Harbour' })).toMatchObject({ lot: 'LOT-E', free: 7, version: 1 })
    await client.last('lots/LOT-E/free', '7')
    expect(await client.request('lot.add', { lot: 'LOT-E', capacity: 10 })).toMatchObject({ error: 'lot_exists' })
    expect(await client.request('lot.set', { lot: 'LOT-E', buffer: 2 })).toMatchObject({ free: 5 })
    expect(await client.request('lot.set', { lot: 'LOT-E', buffer: 11 })).toMatchObject({ error: 'bad_request' })
    await client.request('lot.close', { lot: 'LOT-E' })
    await client.last('lots/LOT-E/free', '0')
    expect(await client.request('reserve', { lot: 'LOT-E', plate: 'X1' })).toMatchObject({ error: 'lot_closed' })
    await client.request('lot.open', { lot: 'LOT-E' })
    const made = await client.request('reserve', { lot: 'LOT-E', plate: 'X1' })
    expect(await client.request('lot.remove', { lot: 'LOT-E' })).toMatchObject({ error: 'lot_in_use' })
    await client.request('cancel', made)
    expect(await client.request('recount', { lot: 'LOT-E', occupied: 5 })).toMatchObject({ drift: -2 })
    expect(await client.request('lot.remove', { lot: 'LOT-E' })).toMatchObject({ removed: true })
    await client.last('lots/LOT-E/free', '')
    await client.last('lots/LOT-E/state', '')
    const late = await (await connect()).subscribe('lots/+/free')
    await late.last('lots/LOT-D/free', '80')
    expect(late.received.map(m => m.topic)).not.toContain('lots/LOT-E/free')
  })

  test('ping, info and stats answer', async () => {
    const { connect } = await startTestApp()
    const client = await connect()
    expect(await client.request('ping')).toMatchObject({ service: 'reservation' })
    expect(await client.request('info')).toMatchObject({ methods: expect.arrayContaining(['reserve', 'lot.add']) as string[] })
    expect(await client.request('stats')).toMatchObject({ latencyMs: { ping: { count: 1 } }, counters: { 'parkmq_requests_total{method=ping,code=ok}': 1 } })
  })
})

describe('what reviewers found', () => {
  test('a lot removed and made again in one batch is there', async () => {
    const { connect } = await startTestApp()
    const client = await (await connect()).subscribe('lots/LOT-A/#')
    await client.last('lots/LOT-A/free', '50')
    const replies = await Promise.all([client.request('lot.remove', { lot: 'LOT-A' }), client.request('lot.add', { lot: 'LOT-A', capacity: 20, bays: ['A-1'] })])
    expect(replies).toMatchObject([{ removed: true }, { lot: 'LOT-A', capacity: 20 }])
    expect(await client.request('lots', { lot: 'LOT-A' })).toMatchObject({ lots: [{ capacity: 20, free: 20 }] })
    await client.last('lots/LOT-A/free', '20')
    await client.last('lots/LOT-A/bays/A-1', 'unknown')
  })

  test('other bays give another count, and those that nobody vouched for are not given away', async () => {
    const { connect } = await startTestApp({ settings: { lots: [{ lot: 'B', capacity: 2, bays: ['a', 'b'], baysCover: true }] } })
    const client = await connect()
    await client.publish('lots/B/sensor', { sensor: 'c', epoch: 1, seq: 1, bays: { a: 'free', b: 'free' } })
    expect(await client.request('lot.set', { lot: 'B', bays: ['d', 'e'] })).toMatchObject({ counted: 2, free: 0 })
    expect(await client.request('reserve', { lot: 'B', plate: 'X1' })).toMatchObject({ error: 'lot_full' })
  })

  test('a request that was wrong may come again with the same requestId', async () => {
    const { connect } = await startTestApp()
    const client = await connect()
    const requestId = 'wrong-and-then-right'
    expect(await client.request('lot.set', { lot: 'LOT-C', buffer: 90, requestId })).toMatchObject({ error: 'bad_request' })
    await client.request('lot.set', { lot: 'LOT-C', capacity: 100 })
    expect(await client.request('lot.set', { lot: 'LOT-C', buffer: 90, requestId })).toMatchObject({ buffer: 90 })
  })

  test('a lot that was silent while nobody ran is stale for the first client', async () => {
    const data = testFolder()
    const clock = new ManualClock()
    const first = await startTestApp({ data, clock })
    await (await first.connect()).publish('lots/LOT-A/sensor', '1')
    await first.app.stop()
    clock.advance(3_600_000)
    const second = await startTestApp({ data, clock })
    const client = await (await second.connect()).subscribe('lots/LOT-A/state')
    expect(json((await client.until('the state', m => m.topic === 'lots/LOT-A/state')).text)).toMatchObject({ quality: 'stale' })
  })

  test('list answers only what fits when it is answered', async () => {
    const clock = new ManualClock()
    const { connect } = await startTestApp({ clock })
    const client = await connect()
    await client.request('reserve', { lot: 'LOT-A', plate: 'X1', holdSeconds: 1 })
    clock.advance(1_000)
    expect(await client.request('list', { status: 'held' })).toMatchObject({ reservations: [] })
    expect(await client.request('list', { status: 'expired' })).toMatchObject({ reservations: [{ status: 'expired' }] })
  })

  test('an operator\'s recount counts its drift', async () => {
    const { app, connect } = await startTestApp()
    await (await connect()).request('recount', { lot: 'LOT-A', occupied: 40 })
    expect((await app.metrics.driftCars.get()).values).toMatchObject([{ value: 10 }])
  })

  test('every request of a crowd is answered', async () => {
    const { app, connect } = await startTestApp({ settings: { lots: [{ lot: 'Q', capacity: 10_000 }] } })
    const client = await connect()
    const replies = new Set<string>()
    client.mqtt.on('message', (topic, _, packet) => { if (topic === 'replies/crowd') replies.add(String(packet.properties?.correlationData)) })
    await client.mqtt.subscribeAsync('replies/crowd', { qos: 1 })
    let next = 0
    const ask = async (): Promise<void> => {
      while (next < 3_000) {
        const n = next++
        await client.mqtt.publishAsync('requests/reserve', JSON.stringify({ lot: 'Q', plate: `P${n}` }), { qos: 1, properties: { responseTopic: 'replies/crowd', correlationData: Buffer.from(String(n)) } })
      }
    }
    await Promise.all(Array.from({ length: 200 }, ask))
    await expect.poll(() => replies.size, { timeout: 10_000 }).toBe(3_000)
    expect(await app.ledger.allLots()).toMatchObject([{ held: 3_000 }])
  })

  test('any HTTP path is answered', async () => {
    const { app } = await startTestApp({ settings: { httpPort: 0 } })
    const status = async (path: string): Promise<number | undefined> => await new Promise((resolve, reject) => {
      get({ host: '127.0.0.1', port: app.httpPort, path }, response => {
        response.resume()
        resolve(response.statusCode)
      }).on('error', reject)
    })
    expect(await status('//')).toBe(404)
    expect(await status('/health?x=1')).toBe(200)
    expect(await status('/metrics')).toBe(200)
  })
})

test('after a restart the retained topics equal the ledger before the first client is let in', async () => {
  const data = testFolder()
  const first = await startTestApp({ data })
  const client = await first.connect()
  await client.publish('lots/LOT-A/sensor', '7')
  await client.request('reserve', { lot: 'LOT-B', plate: 'X1' })
  await client.request('lot.remove', { lot: 'LOT-C' })
  await first.app.stop()
  const second = await startTestApp({ data })
  const again = await (await second.connect()).subscribe('lots/+/free')
  await again.last('lots/LOT-D/free', '80')
  expect(again.received.map(m => `${m.topic} ${m.text}`).sort()).toEqual(['lots/LOT-A/free 43', 'lots/LOT-B/free 74', 'lots/LOT-D/free 80'])
})
