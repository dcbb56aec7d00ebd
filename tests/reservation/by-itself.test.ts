// What the service does by itself, as time passes: windows begin, bookings are given up, cars overstay, the next one is
// warned. Also when nobody ran at that time.
import { expect, test } from 'vitest'
import { ManualClock } from '../support/clock.js'
import { letPass } from '../support/ticking.js'
import { json, startTestApp, testFolder, type TestClient } from '../support/app.js'

const BEGIN_MS = Date.parse('2026-12-01T08:00Z')
const MINUTE_MS = 60_000
const settings = { lots: [{ lot: 'S', capacity: 1, timeZone: 'UTC' }], times: { noShowMs: 30 * MINUTE_MS, conflictNoticeMs: 30 * MINUTE_MS, maxStayMs: 120 * MINUTE_MS } }

async function book (client: TestClient, plate: string, from: string, to: string): Promise<{ reservation: string, secret: string }> {
  return await client.request('book', { lot: 'S', plate, from: `2026-12-01T${from}Z`, to: `2026-12-01T${to}Z` })
}

/** Resolves with the event of this type that names the reservation. */
async function eventOf (client: TestClient, type: string, reservation: string): Promise<Record<string, unknown>> {
  const { text } = await client.until(`${type} of ${reservation}`, message => message.topic === 'lots/S/events' && json(message.text).type === type && json(message.text).reservation === reservation)
  return json(text)
}

test('a window begins, keeps a place, and is given up when nobody comes', async () => {
  const clock = new ManualClock(BEGIN_MS)
  const { connect } = await startTestApp({ clock, settings })
  const client = await (await connect()).subscribe('lots/S/events', 'lots/S/free')
  const { reservation } = await book(client, 'A1', '09:00', '10:00')
  await client.last('lots/S/free', '1')
  await letPass(clock, 60 * MINUTE_MS)
  expect(await eventOf(client, 'reservation.held', reservation)).toMatchObject({ why: 'window_began', before: 'booked' })
  await client.last('lots/S/free', '0')
  await letPass(clock, 30 * MINUTE_MS)
  expect(await eventOf(client, 'reservation.no_show', reservation)).toMatchObject({ why: 'not_arrived_in_time', before: 'held' })
  await client.last('lots/S/free', '1')
  // What it gave back may be booked again.
  expect(await client.request('book', { lot: 'S', plate: 'A2', from: '2026-12-01T09:30Z', to: '2026-12-01T10:00Z' })).toMatchObject({ status: 'held' })
})

test('what came due while nobody ran is done at the start, in the order of time', async () => {
  const clock = new ManualClock(BEGIN_MS)
  const data = testFolder()
  const before = await startTestApp({ clock, data, settings })
  const client = await before.connect()
  const first = await book(client, 'A1', '09:00', '09:40')
  const second = await book(client, 'A2', '09:40', '12:00')
  await client.end()
  await before.app.stop()
  clock.advance(115 * MINUTE_MS)
  const { connect, app } = await startTestApp({ clock, data, settings })
  const after = await connect()
  expect(await after.request('get', first)).toMatchObject({ status: 'no_show', until: '2026-12-01T09:30:00.000Z' })
  expect(await after.request('get', second)).toMatchObject({ status: 'held' })
  const events = await app.ledger.database.kysely.selectFrom('audit').select(['type', 'reservation']).where('reservation', 'is not', null).orderBy('id').execute()
  expect(events.map(({ type, reservation }) => `${type} ${reservation === first.reservation ? 'first' : 'second'}`)).toEqual([
    'reservation.booked first', 'reservation.booked second', 'reservation.held first', 'reservation.no_show first', 'reservation.held second'
  ])
})

test('a car that stays is told as overstayed and the next booking is warned; the one that finds no place as well', async () => {
  const clock = new ManualClock(BEGIN_MS)
  const { connect } = await startTestApp({ clock, settings })
  const client = await (await connect()).subscribe('lots/S/events')
  const stays = await book(client, 'A1', '08:00', '09:00')
  const next = await book(client, 'A2', '09:20', '10:00')
  await client.publish('lots/S/sensor', { sensor: 'g', epoch: 1, seq: 1, delta: 1, plate: 'A1' })
  expect(await eventOf(client, 'reservation.arrived', stays.reservation)).toMatchObject({ why: 'counted_by_sensor' })
  await letPass(clock, 60 * MINUTE_MS)
  expect(await eventOf(client, 'reservation.overstayed', stays.reservation)).toMatchObject({ why: 'window_over' })
  expect(await eventOf(client, 'reservation.conflict', next.reservation)).toMatchObject({ why: 'overstay', after: { overstayed: 1, from: '2026-12-01T09:20:00.000Z' } })
  await letPass(clock, 20 * MINUTE_MS)
  await client.until('no place left', message => message.topic === 'lots/S/events' && json(message.text).why === 'no_place_left' && json(message.text).reservation === next.reservation)
  await client.publish('lots/S/sensor', { sensor: 'g', epoch: 1, seq: 2, delta: -1, plate: 'A1' })
  expect(await eventOf(client, 'reservation.departed', stays.reservation)).toMatchObject({ before: 'overstayed' })
})

test('nobody is warned where the next booking has a place of its own', async () => {
  const clock = new ManualClock(BEGIN_MS)
  const { connect, app } = await startTestApp({ clock, settings: { ...settings, lots: [{ lot: 'S', capacity: 2, timeZone: 'UTC' }] } })
  const client = await (await connect()).subscribe('lots/S/events')
  const stays = await book(client, 'A1', '08:00', '09:00')
  await book(client, 'A2', '09:20', '10:00')
  await client.publish('lots/S/sensor', { sensor: 'g', epoch: 1, seq: 1, delta: 1, plate: 'A1' })
  await letPass(clock, 60 * MINUTE_MS)
  await eventOf(client, 'reservation.overstayed', stays.reservation)
  expect(await app.ledger.database.kysely.selectFrom('audit').select('type').where('type', '=', 'reservation.conflict').execute()).toEqual([])
})

test('a gate checks the car of a booking in that comes a little early, and not one that comes hours before', async () => {
  const clock = new ManualClock(BEGIN_MS)
  const { connect } = await startTestApp({ clock, settings: { ...settings, lots: [{ lot: 'S', capacity: 5, timeZone: 'UTC' }] } })
  const client = await (await connect()).subscribe('lots/S/events', 'lots/S/free')
  const booked = await book(client, 'A1', '09:00', '10:00')
  await client.publish('lots/S/sensor', { sensor: 'g', epoch: 1, seq: 1, delta: 1, plate: 'A1' })
  await client.publish('lots/S/sensor', { sensor: 'g', epoch: 1, seq: 2, delta: -1, plate: 'A1' })
  expect(await client.request('get', booked)).toMatchObject({ status: 'booked' })
  await letPass(clock, 50 * MINUTE_MS)
  await client.publish('lots/S/sensor', { sensor: 'g', epoch: 1, seq: 3, delta: 1, plate: 'A1' })
  expect(await eventOf(client, 'reservation.arrived', booked.reservation)).toMatchObject({ before: 'booked' })
  expect(await client.request('get', booked)).toMatchObject({ status: 'arrived', until: '2026-12-01T10:00:00.000Z' })
  // The car is counted, its window is still its own, and no place is held beside it.
  expect((await client.request<{ lots: object[] }>('lots', { lot: 'S' })).lots).toMatchObject([{ counted: 1, held: 0, free: 4 }])
})

test('a booking that was made long ago is remembered for as long after its end as any other', async () => {
  const clock = new ManualClock(BEGIN_MS)
  const days = 24 * 60 * MINUTE_MS
  const { connect } = await startTestApp({ clock, settings: { ...settings, times: { ...settings.times, auditMs: 5 * days } } })
  const client = await connect()
  const booked = await client.request('book', { lot: 'S', plate: 'A1', from: '2026-12-11T08:00Z', to: '2026-12-11T09:00Z' })
  await letPass(clock, 11 * days)
  // What is forgotten is forgotten once a minute.
  await letPass(clock, MINUTE_MS)
  expect(await client.request('get', { reservation: booked.reservation, secret: booked.secret })).toMatchObject({ status: 'no_show' })
  await letPass(clock, 5 * days)
  await letPass(clock, MINUTE_MS)
  expect(await client.request('get', { reservation: booked.reservation, secret: booked.secret })).toMatchObject({ error: 'unknown_reservation' })
})
