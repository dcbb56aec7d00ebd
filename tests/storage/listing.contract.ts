// What `list` and forgetting must do, whatever the engine: everything is found, in parts, and no part is large.
import { describe, expect, onTestFinished, test } from 'vitest'
import { pruneSensors, silentLots } from '../../services/occupancy/store.js'
import { newLot } from '../../services/reservation/lot-settings.js'
import { listReservations, type ListedPage } from '../../services/reservation/listing.js'
import { pruneReservations } from '../../services/reservation/store.js'
import type { Clock } from '../../shared/clock.js'
import type { Id } from '../../shared/lot.js'
import type { Reservation } from '../../shared/reservation.js'
import { NewLot, REQUESTS, type RequestBody } from '../../shared/schemas.js'
import type { Ledger } from '../../storage/ledger.js'
import { rowOfReservation } from '../../storage/records.js'
import { insertRows, upsert } from '../../storage/rows.js'
import { COLUMN_TYPES, type ReservationsTable, type SensorsTable } from '../../storage/tables.js'
import { choicesOf, seeds } from '../simulation/random.js'
import { StandingClock } from './contract.js'

const LOTS = ['LOT-A', 'LOT-B', 'LOT-C'] as Id[]
const PLATES = ['P1', 'P2', 'P3', 'P4']
const OWNERS = ['ann', 'bob', null]
const STATUSES = ['held', 'booked', 'cancelled', 'expired'] as const

export function listingContract (name: string, openNew: (clock: Clock) => Promise<Ledger>): void {
  describe(`listing on ${name}`, () => {
    const clock = new StandingClock()
    const open = async (): Promise<Ledger> => {
      const ledger = await openNew(clock)
      onTestFinished(() => ledger.close())
      return ledger
    }
    const write = async (ledger: Ledger, reservations: readonly Reservation[]): Promise<void> => {
      const columns = Object.keys(COLUMN_TYPES.reservations) as (keyof ReservationsTable)[]
      await ledger.transact('test', async tx => await insertRows(tx.database, 'reservations', columns, reservations.map(rowOfReservation)))
    }
    const one = (n: number, over: Partial<Reservation>): Reservation => {
      const status = over.status ?? 'cancelled'
      return {
        id: `R-${String(n).padStart(4, '0')}`, kind: 'hold', lot: LOTS[0] as Id, plate: 'P1', status, fromMs: 0, toMs: 1, originalToMs: 1,
        dueAtMs: status === 'held' || status === 'booked' ? clock.ms + 1_000 : null, secretHash: '', owner: null, madeAtMs: n, ...over
      }
    }
    const page = async (ledger: Ledger, body: object, owner: string | null = null, lookedAtOnce?: number): Promise<ListedPage> => {
      return await ledger.read(async database => await listReservations(database, REQUESTS.list.parse(body), owner, lookedAtOnce))
    }
    /** All pages together, and how many reservations each has. */
    const pages = async (ledger: Ledger, body: object, owner: string | null, lookedAtOnce?: number): Promise<{ ids: string[], counts: number[] }> => {
      const [ids, counts]: [string[], number[]] = [[], []]
      for (let after: string | undefined; ;) {
        const { reservations, next } = await page(ledger, { ...body, ...after !== undefined && { after } }, owner, lookedAtOnce)
        ids.push(...reservations.map(({ id }) => id))
        counts.push(reservations.length)
        if (next === null) return { ids, counts }
        expect(next).not.toBe(after)
        after = next
      }
    }

    test.each(seeds(2, [1]))('whatever is asked for, the pages together have each that fits once, the newest first; seed %i', async seed => {
      const ledger = await open()
      const { pick, below, chance } = choicesOf(seed)
      // Few times, so that many are made at the same one.
      const all = Array.from({ length: 300 }, (_, n) => one(n, { lot: pick(LOTS), plate: pick(PLATES), owner: pick(OWNERS), status: pick(STATUSES), madeAtMs: 1_000 + below(40) }))
      await write(ledger, all)
      const inOrder = all.toSorted((a, b) => b.madeAtMs - a.madeAtMs || (a.id < b.id ? 1 : -1))
      for (let round = 0; round < 60; round++) {
        const which: Partial<RequestBody<'list'>> = {
          ...chance(0.5) && { lot: pick(LOTS) }, ...chance(0.5) && { plate: pick(PLATES) }, ...chance(0.5) && { status: pick(STATUSES) }
        }
        const owner = pick(OWNERS)
        const fits = inOrder.filter(({ lot, plate, status, owner: of }) =>
          [[which.lot, lot], [which.plate, plate], [which.status, status], [owner ?? undefined, of]].every(([wanted, is]) => wanted === undefined || wanted === is))
        const { ids } = await pages(ledger, { ...which, limit: pick([3, 7, 50, 1_000]) }, owner, pick([2, 10, 60, 10_000]))
        expect(ids, JSON.stringify({ which, owner })).toEqual(fits.map(({ id }) => id))
      }
    })

    test('one request looks at a part of the history, however rare is what it asks for', async () => {
      const ledger = await open()
      await write(ledger, [one(0, { status: 'held', plate: 'RARE', owner: 'ann' }), ...Array.from({ length: 99 }, (_, n) => one(n + 1, { owner: 'bob' }))])
      expect(await pages(ledger, { status: 'held' }, null, 30)).toEqual({ ids: ['R-0000'], counts: [0, 0, 0, 1] })
      // A plate's or a user's own alone are looked at.
      expect(await pages(ledger, { plate: 'RARE', status: 'held' }, null, 30)).toEqual({ ids: ['R-0000'], counts: [1] })
      expect(await pages(ledger, { status: 'held' }, 'ann', 30)).toEqual({ ids: ['R-0000'], counts: [1] })
      expect(await pages(ledger, { status: 'held' }, 'bob', 30)).toEqual({ ids: [], counts: [0, 0, 0, 0] })
      expect((await pages(ledger, { plate: 'P1', status: 'held' }, null, 30)).counts).toEqual([0, 0, 0, 0])
    })

    test('silent lots are found a part at a time', async () => {
      const ledger = await open()
      const heard = [5, 50, 5, 5, 50, 5, 50]
      await ledger.transact('test', async tx => { for (const [n, heardAtMs] of heard.entries()) tx.setLot({ ...newLot(NewLot.parse({ lot: `LOT-${n}`, capacity: 1 }), 'UTC'), heardAtMs, quality: 'live' }) })
      await ledger.transact('test', async ({ database: { kysely } }) => { await kysely.updateTable('lots').set({ quality: 'live' }).execute() })
      const parts: Id[][] = []
      for (let after: Id | null = null; ;) {
        const { found, next } = await ledger.read(async database => await silentLots(database, 10, after, 3))
        parts.push([...found].sort())
        if (next === null) break
        after = next
      }
      expect(parts).toEqual([['LOT-0', 'LOT-2'], ['LOT-3', 'LOT-5'], []])
    })

    test('reservations that were over long ago are forgotten a part at a time, and those of later parts when their turn comes', async () => {
      const ledger = await open()
      const over = (n: number, madeAtMs: number, toMs = madeAtMs + 1): Reservation => one(n, { madeAtMs, toMs })
      // Of the second the window is not over for as long, the third still has to come, and four were made at one time.
      await write(ledger, [over(1, 10), over(2, 10, 200), one(3, { madeAtMs: 11, status: 'booked' }), ...[4, 5, 6, 7].map(n => over(n, 20)), over(8, 30), over(9, 40), over(10, 150)])
      const left = async (): Promise<number[]> => (await pages(ledger, {}, null)).ids.map(id => Number(id.slice(2))).sort((a, b) => a - b)
      const steps: [number, number[]][] = []
      for (let afterMs: number | null = 0; afterMs !== null;) {
        const from: number = afterMs
        const { pruned, next } = await ledger.transact('test', async tx => await pruneReservations(tx.database, 100, from, { count: 3, limit: 2 }))
        steps.push([pruned, await left()])
        expect(steps.length).toBeLessThan(20)
        afterMs = next
      }
      expect(steps).toEqual([
        [1, [2, 3, 4, 5, 6, 7, 8, 9, 10]],
        [2, [2, 3, 6, 7, 8, 9, 10]], [2, [2, 3, 8, 9, 10]], [2, [2, 3, 10]], [0, [2, 3, 10]]
      ])
    })

    test('silent sensors are forgotten a part at a time, and those of later parts when their turn comes', async () => {
      const ledger = await open()
      const sensor = (lot: string, sensor: string, heardAtMs: number): SensorsTable => ({
        lot: lot as Id, sensor: sensor as Id, epoch: 1, high: 1, seen_low: 0, seen_high: 0, missing: 0, reported: 0, gap_due_at_ms: null, heard_at_ms: heardAtMs, told_at_ms: 0, stands_until_ms: null
      })
      await ledger.transact('test', async tx => await upsert(tx.database, 'sensors', ['lot', 'sensor'], [
        sensor('A', 'x', 50), sensor('A', 'y', 5), sensor('A', 'z', 5), sensor('B', 'a', 5), sensor('B', 'b', 50), sensor('B', 'c', 5)
      ]))
      const steps: string[][] = []
      for (let after: { lot: Id, sensor: Id } | null = null; ;) {
        const { found, next } = await ledger.transact('test', async tx => await pruneSensors(tx.database, 10, after, { count: 4, limit: 2 }))
        steps.push(found.map(({ lot, sensor }) => `${lot}/${sensor}`))
        if (next === null) break
        after = next
      }
      expect(steps).toEqual([['A/y', 'A/z'], ['B/a', 'B/c'], []])
      expect(await ledger.read(async ({ kysely }) => await kysely.selectFrom('sensors').select('sensor').orderBy('sensor').execute())).toEqual([{ sensor: 'b' }, { sensor: 'x' }])
    })
  })
}
