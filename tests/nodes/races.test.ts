// Guarantees 3 and 4 where two nodes write at the same time: whatever one batch decides on, no other batch changes meanwhile.
import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { AskingClient, type Told } from '../support/asking.js'
import { ABSENT, serverOfFile, SKIPPED, startNodes } from './support.js'

/** An hour of tomorrow. */
const hour = (n: number): string => `${new Date(Date.now() + 24 * 3_600_000).toISOString().slice(0, 10)}T${String(n).padStart(2, '0')}:00Z`
const requestId = (): string => randomBytes(12).toString('hex')

describe.skipIf(ABSENT !== null)(`two nodes on one database${SKIPPED}`, () => {
  const server = serverOfFile()

  async function start (settings: Record<string, unknown>): Promise<{ clients: [AskingClient, AskingClient], query: (text: string) => Promise<Record<string, unknown>[]> }> {
    const url = await server().database()
    const nodes = await startNodes(url, ['a', 'b'], settings)
    const [a, b] = await Promise.all(nodes.map(async node => await AskingClient.connect(node.url)))
    return { clients: [a as AskingClient, b as AskingClient], query: async text => await server().query(url, text) }
  }
  const both = async (clients: readonly AskingClient[], ask: (client: AskingClient, n: number) => Promise<Told>): Promise<Told[]> => await Promise.all(clients.map(ask))

  test('the last place of a lot goes to exactly one of two, 60 times', async () => {
    const lots = Array.from({ length: 60 }, (_, i) => ({ lot: `L-${i}`, capacity: 1 }))
    const { clients } = await start({ lots })
    // All at once: batches of both nodes meet in many lots, in opposite orders.
    const told = await Promise.all([lots, [...lots].reverse()].flatMap((order, n) => order.map(async ({ lot }) => (
      { lot, ...await (clients[n] as AskingClient).ask('reserve', { lot, plate: `P${n}${lot}`, requestId: requestId() }) }
    ))))
    for (const { lot } of lots) expect(told.filter(one => one.lot === lot).map(one => one.error).sort(), lot).toEqual(['lot_full', null])
    const { result } = await clients[0].ask('lots', { limit: 100 })
    expect((result.lots as { held: number, free: number }[]).map(({ held, free }) => [held, free])).toEqual(lots.map(() => [1, 0]))
  })

  test('the same request at two nodes at once is carried out once, and both get its reply, 40 times', async () => {
    const { clients, query } = await start({ lots: [{ lot: 'L', capacity: 100 }] })
    for (let i = 0; i < 40; i++) {
      const body = { lot: 'L', plate: `P${i}`, requestId: requestId() }
      const [one, other] = await both(clients, async client => await client.ask('reserve', body))
      expect(one).toMatchObject({ ok: true })
      expect(other?.text).toBe(one?.text)
      expect([one?.replayed, other?.replayed].sort()).toEqual([false, true])
    }
    expect(await query('select count(*)::int as n from reservations')).toEqual([{ n: 40 }])
  })

  test('of two who cancel the same reservation one does, and its place is given back once, 40 times', async () => {
    const { clients } = await start({ lots: [{ lot: 'L', capacity: 100 }] })
    // So that a place that is given back twice is one of these.
    for (let i = 0; i < 10; i++) await clients[0].ask('reserve', { lot: 'L', plate: `STAYS${i}`, requestId: requestId() })
    for (let i = 0; i < 40; i++) {
      const { result: { reservation, secret } } = await clients[i % 2 as 0 | 1].ask('reserve', { lot: 'L', plate: `P${i}`, requestId: requestId() })
      const told = await both(clients, async client => await client.ask('cancel', { reservation, secret, requestId: requestId() }))
      expect(told.map(({ error }) => error).sort()).toEqual(['already_cancelled', null])
    }
    expect((await clients[0].ask('lots', {})).result.lots).toMatchObject([{ held: 10 }])
  })

  test('a reservation that is moved to another lot while it is cancelled is gone from both, 40 times', async () => {
    const { clients, query } = await start({ lots: [{ lot: 'L', capacity: 100 }, { lot: 'M', capacity: 100 }] })
    for (let i = 0; i < 40; i++) {
      const { result: { reservation, secret } } = await clients[i % 2 as 0 | 1].ask('book', { lot: 'L', plate: `P${i}`, from: hour(8), to: hour(9), requestId: requestId() })
      // While one cancels it, the other sends it to another lot.
      const [cancelled, changed] = await both(clients, async (client, n) => n === 0
        ? await client.ask('cancel', { reservation, secret, requestId: requestId() })
        : await client.ask('change', { reservation, secret, lot: 'M', requestId: requestId() }))
      expect(cancelled).toMatchObject({ ok: true })
      expect([null, 'reservation_ended', 'already_cancelled']).toContain(changed?.error)
      const again = await both(clients, async client => await client.ask('cancel', { reservation, secret, requestId: requestId() }))
      expect(again.map(({ error }) => error)).toEqual(['already_cancelled', 'already_cancelled'])
    }
    expect(await query('select count(*)::int as n from reservations where due_at_ms is not null')).toEqual([{ n: 0 }])
    // Nothing of them is left in the memory of either: the whole lot can be booked.
    const told = await Promise.all(Array.from({ length: 100 }, async (_, i) => await clients[i % 2 as 0 | 1].ask('book', { lot: 'L', plate: `Q${i}`, from: hour(8), to: hour(9), requestId: requestId() })))
    expect(told.filter(({ ok }) => ok)).toHaveLength(100)
    expect(await clients[0].ask('book', { lot: 'L', plate: 'Q', from: hour(8), to: hour(9), requestId: requestId() })).toMatchObject({ error: 'lot_full' })
  })

  test('the limit of a plate holds over lots and nodes', async () => {
    const lots = Array.from({ length: 20 }, (_, i) => ({ lot: `L-${i}`, capacity: 10 }))
    const { clients, query } = await start({ lots, limits: { reservationsPerPlate: 3 } })
    for (let round = 0; round < 10; round++) {
      const plate = `P${round}`
      const told = await Promise.all(lots.map(async ({ lot }, i) => await clients[i % 2 as 0 | 1].ask('reserve', { lot, plate, requestId: requestId() })))
      expect(told.filter(({ ok }) => ok)).toHaveLength(3)
    }
    expect(await query('select max(n)::int as n from (select count(*) as n from reservations group by plate) as counts')).toEqual([{ n: 3 }])
  })

  test('a permit is never sold more often than there are', async () => {
    const { clients, query } = await start({ permits: [{ permit: 'DAY', name: 'Day', priceCents: 1, stock: 30 }] })
    const told = await Promise.all(Array.from({ length: 100 }, async (_, i) => await clients[i % 2 as 0 | 1].ask('buyPermit', { permit: 'DAY', plate: `P${i}`, requestId: requestId() })))
    expect(told.filter(({ ok }) => ok)).toHaveLength(30)
    expect(new Set(told.map(({ error }) => error))).toEqual(new Set([null, 'sold_out']))
    expect(await query('select (select sold from permits)::int as sold, (select count(*) from permit_sales)::int as sales')).toEqual([{ sold: 30, sales: 30 }])
  })

  test('a lot that two nodes make at once is made once', async () => {
    const { clients, query } = await start({ lots: [] })
    for (let i = 0; i < 20; i++) {
      const told = await both(clients, async (client, n) => await client.ask('lot.add', { lot: `NEW-${i}`, capacity: 5 + n, requestId: requestId() }))
      expect(told.map(({ error }) => error).sort()).toEqual(['lot_exists', null])
    }
    expect(await query('select count(*)::int as n, max(version)::int as version from lots')).toEqual([{ n: 20, version: 1 }])
  })

  test('bookings that two nodes admit in turn and at once never overlap more than the places, whatever each has in memory', async () => {
    const { clients, query } = await start({ lots: [{ lot: 'L', capacity: 3, timeZone: 'UTC' }] })
    const told: Told[] = []
    for (let round = 0; round < 20; round++) {
      told.push(...await Promise.all(Array.from({ length: 6 }, async (_, i) => {
        const from = (round * 7 + i * 3) % 20
        return await clients[(round + i) % 2 as 0 | 1].ask('book', { lot: 'L', plate: `P${round}-${i}`, from: hour(from), to: hour(from + 1 + (i % 3)), requestId: requestId() })
      })))
    }
    expect(new Set(told.map(({ error }) => error))).toEqual(new Set([null, 'lot_full']))
    const [row] = await query(`select max(n)::int as most, count(*)::int as n
      from (select (select count(*) from reservations r where r.from_ms <= s.from_ms and s.from_ms < r.to_ms) as n from reservations s) as counts`)
    expect(row).toEqual({ most: 3, n: told.filter(({ ok }) => ok).length })
  })

  test('a sensor that moves from node to node is counted once', async () => {
    const { clients, query } = await start({ lots: [{ lot: 'L', capacity: 1_000 }] })
    await Promise.all(Array.from({ length: 300 }, async (_, i) => {
      const message = { sensor: 'gate', epoch: 1, seq: i + 1, delta: 1 }
      // Each at both nodes, at the same time.
      await Promise.all(clients.map(async client => await client.publish('lots/L/sensor', message)))
    }))
    // And one at each node, which wait for each PUBACK, so that there are many batches.
    await Promise.all(clients.map(async (client, n) => {
      for (let seq = 1; seq <= 100; seq++) await client.publish('lots/L/sensor', { sensor: `gate-${n}`, epoch: 1, seq, delta: 1 })
    }))
    expect(await query('select counted::int as counted from lots')).toEqual([{ counted: 500 }])
    expect(await query('select high::int as high, missing::int as missing from sensors order by sensor')).toEqual([{ high: 300, missing: 0 }, { high: 100, missing: 0 }, { high: 100, missing: 0 }])
  })
})
