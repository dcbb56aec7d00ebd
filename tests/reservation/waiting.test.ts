// The waiting list: in order, before any newcomer, told once it is committed, also after a restart.
import { expect, test } from 'vitest'
import type { MqttClient } from 'mqtt'
import { ManualClock } from '../support/clock.js'
import { letPass } from '../support/ticking.js'
import { connectTestClient, json, startTestApp, testFolder, type TestClient } from '../support/app.js'

const LOT = { lot: 'S', capacity: 1, timeZone: 'UTC' }
const MINUTE_MS = 60_000

interface Notice { readonly event: string, readonly reservation: string, readonly status: string, readonly correlation: string }

/** Keeps what comes on a Response Topic, and tells of the notices among it. */
class Listener {
  readonly replies: Record<string, unknown>[] = []
  readonly notices: Notice[] = []
  #look = (): void => {}

  constructor (readonly client: MqttClient, readonly topic: string) {
    client.on('message', (topic, payload, packet) => {
      if (topic !== this.topic) return
      const { result } = json(payload.toString()) as { result?: Record<string, unknown> }
      const correlation = packet.properties?.correlationData?.toString() ?? ''
      if (result?.event !== undefined) this.notices.push({ ...result, correlation } as never)
      else this.replies.push(json(payload.toString()))
      this.#look()
    })
  }

  async until (notices: number): Promise<Notice[]> {
    await new Promise<void>(resolve => {
      this.#look = () => { if (this.notices.length >= notices) resolve() }
      this.#look()
    })
    return this.notices
  }
}

async function listen (client: TestClient, topic = 'replies/waiter/1'): Promise<Listener> {
  const listener = new Listener(client.mqtt, topic)
  await client.mqtt.subscribeAsync(topic, { qos: 1 })
  return listener
}

/** Joins the list with a Response Topic of one's own; the acknowledgement says that it is committed. */
async function join (client: TestClient, body: object, correlation: string, topic = 'replies/waiter/1'): Promise<void> {
  await client.mqtt.publishAsync('requests/wait', JSON.stringify(body), { qos: 1, properties: { responseTopic: topic, correlationData: Buffer.from(correlation) } })
}

test('who waits gets a place in order, with a hold and a message, before any newcomer', async () => {
  const { connect, app } = await startTestApp({ settings: { lots: [LOT] } })
  const client = await connect()
  const listener = await listen(client)
  const first = await client.request('reserve', { lot: 'S', plate: 'A1' })
  await join(client, { lot: 'S', plate: 'B1' }, 'b1')
  await join(client, { lot: 'S', plate: 'B2' }, 'b2')
  expect((await app.ledger.allLots())[0]).toMatchObject({ waiting: 2, held: 1 })
  // All in one batch: the place that comes free is not the newcomer's.
  const [, newcomer] = await Promise.all([
    client.request('cancel', { reservation: first.reservation, secret: first.secret }),
    client.request('reserve', { lot: 'S', plate: 'C1' })
  ])
  expect(newcomer.error).toBe('lot_full')
  expect(await listener.until(1)).toMatchObject([{ event: 'promoted', status: 'held', plate: 'B1', correlation: 'b1' }])
  expect((await app.ledger.allLots())[0]).toMatchObject({ waiting: 1, held: 1 })
  const [reply] = listener.replies as { result: { reservation: string, secret: string, position: number } }[]
  expect(reply?.result).toMatchObject({ status: 'waiting', position: 1, reservation: listener.notices[0]?.reservation })
  // The secret of the wait is that of the reservation that it has become.
  expect(await client.request('cancel', { reservation: reply?.result.reservation, secret: reply?.result.secret })).toMatchObject({ status: 'cancelled' })
  expect((await listener.until(2))[1]).toMatchObject({ event: 'promoted', plate: 'B2', correlation: 'b2' })
})

test.each<[string, (client: TestClient) => Promise<unknown>]>([
  ['a car leaves', async client => await client.publish('lots/S/sensor', '-1')],
  ['somebody counts', async client => await client.request('recount', { lot: 'S', occupied: 0 })],
  ['the lot gets more places', async client => await client.request('lot.set', { lot: 'S', capacity: 2 })]
])('a place is given by itself when %s', async (_, free) => {
  const { connect } = await startTestApp({ settings: { lots: [{ ...LOT, occupied: 1 }] } })
  const client = await connect()
  const listener = await listen(client)
  await join(client, { lot: 'S', plate: 'B1' }, 'b1')
  await free(client)
  expect(await listener.until(1)).toMatchObject([{ event: 'promoted', status: 'held' }])
})

test('a closed lot gives nothing, and gives it when it is opened', async () => {
  const { connect, app } = await startTestApp({ settings: { lots: [{ ...LOT, occupied: 1 }] } })
  const client = await connect()
  const listener = await listen(client)
  await join(client, { lot: 'S', plate: 'B1' }, 'b1')
  await client.request('lot.close', { lot: 'S' })
  await client.publish('lots/S/sensor', '-1')
  await client.request('lots')
  expect((await app.ledger.allLots())[0]).toMatchObject({ waiting: 1, held: 0 })
  expect(listener.notices).toEqual([])
  expect((await client.request('wait', { lot: 'S', plate: 'B2' })).error).toBe('lot_closed')
  await client.request('lot.open', { lot: 'S' })
  expect(await listener.until(1)).toMatchObject([{ event: 'promoted' }])
})

test('who waits for a full window keeps nobody from another, and is promoted when the window fits', async () => {
  const clock = new ManualClock(Date.parse('2026-12-01T08:00Z'))
  const { connect } = await startTestApp({ clock, settings: { lots: [LOT] } })
  const client = await connect()
  const listener = await listen(client)
  const book = async (plate: string, from: string, to: string) => await client.request('book', { lot: 'S', plate, from: `2026-12-01T${from}Z`, to: `2026-12-01T${to}Z` })
  const first = await book('A1', '10:00', '12:00')
  await join(client, { lot: 'S', plate: 'B1', from: '2026-12-01T11:00Z', to: '2026-12-01T13:00Z' }, 'b1')
  await join(client, { lot: 'S', plate: 'B2', from: '2026-12-01T11:30Z', to: '2026-12-01T12:00Z' }, 'b2')
  // Nobody waits for this window.
  const later = await book('C1', '12:00', '13:00')
  expect(later).toMatchObject({ status: 'booked' })
  // The first in line still cannot have all of its window, the second can.
  expect(await client.request('change', { reservation: first.reservation, secret: first.secret, shiftMinutes: -60 })).toMatchObject({ status: 'booked' })
  expect(await listener.until(1)).toMatchObject([{ event: 'promoted', plate: 'B2', status: 'booked', from: '2026-12-01T11:30:00.000Z', correlation: 'b2' }])
  for (const { reservation, secret } of [later, { reservation: listener.notices[0]?.reservation, secret: secretOf(listener, 'B2') }]) {
    expect(await client.request('cancel', { reservation, secret })).toMatchObject({ status: 'cancelled' })
  }
  expect((await listener.until(2))[1]).toMatchObject({ event: 'promoted', plate: 'B1', status: 'booked', until: '2026-12-01T13:00:00.000Z' })
})

/** The secret in the reply to the `wait` of this plate. */
function secretOf (listener: Listener, plate: string): string | undefined {
  return (listener.replies as { result: { plate: string, secret: string } }[]).find(({ result }) => result.plate === plate)?.result.secret
}

test('waiting has an end: a hold after waitMs, a booking when its window begins; both are told, who leaves is not', async () => {
  const clock = new ManualClock(Date.parse('2026-12-01T08:00Z'))
  const { connect, app } = await startTestApp({ clock, settings: { lots: [{ ...LOT, occupied: 1 }, { lot: 'T', capacity: 0, timeZone: 'UTC' }], times: { waitMs: 30 * MINUTE_MS } } })
  const client = await connect()
  const listener = await listen(client)
  await join(client, { lot: 'S', plate: 'B1' }, 'hold')
  await join(client, { lot: 'T', plate: 'B2', from: '2026-12-01T09:00Z', to: '2026-12-01T10:00Z' }, 'booking')
  const leaving = await client.request('wait', { lot: 'S', plate: 'B3' })
  expect(await client.request('cancel', { reservation: leaving.reservation, secret: leaving.secret })).toMatchObject({ status: 'cancelled' })
  await letPass(clock, 30 * MINUTE_MS)
  expect(await listener.until(1)).toMatchObject([{ event: 'expired', status: 'expired', correlation: 'hold' }])
  await letPass(clock, 30 * MINUTE_MS)
  expect((await listener.until(2))[1]).toMatchObject({ event: 'expired', correlation: 'booking' })
  expect(await app.ledger.allLots()).toMatchObject([{ waiting: 0 }, { waiting: 0 }])
  expect(await app.ledger.database.kysely.selectFrom('waiting').selectAll().execute()).toEqual([])
})

test('the list and what is to be told survive a restart', async () => {
  const data = testFolder()
  const settings = { lots: [{ ...LOT, occupied: 1 }] }
  const before = await startTestApp({ data, settings })
  const client = await before.connect()
  await join(client, { lot: 'S', plate: 'B1' }, 'b1')
  await join(client, { lot: 'S', plate: 'B2' }, 'b2')
  await client.end()
  await before.app.stop()
  const { url, app } = await startTestApp({ data, settings })
  const after = await connectTestClient(url)
  const listener = await listen(after)
  await after.publish('lots/S/sensor', '-1')
  expect(await listener.until(1)).toMatchObject([{ event: 'promoted', plate: 'B1', correlation: 'b1' }])
  expect((await app.ledger.allLots())[0]).toMatchObject({ waiting: 1, held: 1 })
})

test('a list that is full takes nobody, and one plate waits only so often', async () => {
  const { connect } = await startTestApp({ settings: { lots: [{ ...LOT, occupied: 1 }], limits: { waitingPerLot: 2, reservationsPerPlate: 1 } } })
  const client = await connect()
  expect(await client.request('wait', { lot: 'S', plate: 'B1' })).toMatchObject({ status: 'waiting', position: 1 })
  expect(await client.request('wait', { lot: 'S', plate: 'B1' })).toMatchObject({ error: 'over_limit', message: expect.stringContaining('reservationsPerPlate') as string })
  expect(await client.request('wait', { lot: 'S', plate: 'B2' })).toMatchObject({ status: 'waiting', position: 2 })
  expect(await client.request('wait', { lot: 'S', plate: 'B3' })).toMatchObject({ error: 'over_limit', message: expect.stringContaining('waitingPerLot') as string })
})
