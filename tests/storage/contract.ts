// What every ledger must do, whatever the engine. Runs on SQLite now; a second engine is a second call.
import { describe, expect, onTestFinished, test } from 'vitest'
import { appendAudit, cursorOf, eventsAfter, moveCursor, pruneAudit } from '../../storage/audit.js'
import { listBays, listedBays } from '../../storage/bays.js'
import { historyKey, pruneHistory, storedReplies, storeReplies } from '../../storage/history.js'
import type { Ledger } from '../../storage/ledger.js'
import { newLot } from '../../services/reservation/core.js'
import type { Clock } from '../../shared/clock.js'
import type { Id } from '../../shared/lot.js'
import type { Reservation } from '../../shared/reservation.js'
import { NewLot } from '../../shared/schemas.js'

/** A clock that stands where the test puts it; the ledger sets no timers. */
export class StandingClock implements Clock {
  ms = 1_700_000_000_000
  nowMs (): number { return this.ms }
  after (): never { throw new Error('the ledger sets no timers') }
}

const id = (text: string): Id => text as Id
const A = id('LOT-A')

export function ledgerContract (name: string, openNew: (clock: Clock) => Promise<Ledger>): void {
  describe(`ledger contract on ${name}`, () => {
    const open = async (): Promise<{ ledger: Ledger, clock: StandingClock }> => {
      const clock = new StandingClock()
      const ledger = await openNew(clock)
      onTestFinished(() => ledger.close())
      await ledger.transact('test', async tx => tx.setLot(newLot(NewLot.parse({ lot: 'LOT-A', capacity: 10, occupied: 4 }))))
      return { ledger, clock }
    }
    const hold = (clock: StandingClock, name: string, forMs: number, over: Partial<Reservation> = {}): Reservation => ({
      id: name, lot: A, plate: 'ABC123', status: 'held', fromMs: clock.ms, toMs: clock.ms + forMs, dueAtMs: clock.ms + forMs, secretHash: 'x', owner: null, madeAtMs: clock.ms, ...over
    })
    const make = async (ledger: Ledger, reservation: Reservation): Promise<void> => {
      await ledger.transact('test', async tx => {
        await tx.load([A])
        tx.setReservation(null, reservation, { who: 'test' })
      })
    }

    test('a lot comes back as it was written, with its version counted', async () => {
      const { ledger, clock } = await open()
      expect(await ledger.lots([A])).toEqual([{ ...newLot(NewLot.parse({ lot: 'LOT-A', capacity: 10, occupied: 4 })), version: 1, changedAtMs: clock.ms }])
      clock.ms += 5
      await ledger.transact('test', async tx => {
        await tx.load([A])
        const lot = tx.lot(A)
        if (!lot) throw new Error('no lot')
        tx.setLot({ ...lot, counted: 5 })
        tx.setLot({ ...lot, counted: 6 })
      })
      expect(await ledger.lots([A, id('none')])).toMatchObject([{ counted: 6, version: 2, changedAtMs: clock.ms }])
    })

    test('a transaction that throws leaves nothing and tells nobody', async () => {
      const { ledger } = await open()
      const told: string[] = []
      ledger.feed.listen(lots => told.push(...lots))
      await expect(ledger.transact('test', async tx => {
        await tx.load([A])
        const lot = tx.lot(A)
        if (lot) tx.setLot({ ...lot, counted: 99 })
        await tx.flush()
        throw new Error('on purpose')
      })).rejects.toThrow('on purpose')
      expect(await ledger.lots([A])).toMatchObject([{ counted: 4, version: 1 }])
      expect(told).toEqual([])
    })

    test('the feed tells the changed lots after the commit', async () => {
      const { ledger } = await open()
      const told: unknown[] = []
      ledger.feed.listen(lots => told.push([...lots]))
      await ledger.transact('test', async tx => {
        tx.setLot(newLot(NewLot.parse({ lot: 'LOT-B', capacity: 1 })))
        tx.audit({ lot: A, type: 'lot.changed', who: 'test' })
        expect(told).toEqual([])
      })
      expect(told).toEqual([['LOT-B', 'LOT-A']])
    })

    test('transactions at the same time do not lose updates', async () => {
      const { ledger } = await open()
      await Promise.all(Array.from({ length: 50 }, () => ledger.transact('test', async tx => {
        await tx.load([A])
        const lot = tx.lot(A)
        if (lot) tx.setLot({ ...lot, counted: lot.counted + 1 })
      })))
      expect(await ledger.lots([A])).toMatchObject([{ counted: 54, version: 51 }])
    })

    test('a reservation keeps its place, and its lot knows when it is due', async () => {
      const { ledger, clock } = await open()
      await make(ledger, hold(clock, 'R-1', 1_000))
      await make(ledger, hold(clock, 'R-2', 500))
      expect(await ledger.lots([A])).toMatchObject([{ held: 2, dueAtMs: clock.ms + 500 }])
      expect(await ledger.lotsDue(10)).toEqual([])
      clock.ms += 500
      expect(await ledger.lotsDue(10)).toEqual([A])
    })

    test('what is due is applied before anything else in a transaction sees the lot', async () => {
      const { ledger, clock } = await open()
      await make(ledger, hold(clock, 'R-1', 1_000))
      await make(ledger, hold(clock, 'R-2', 2_000))
      const due = clock.ms + 1_000
      clock.ms += 1_500
      await ledger.transact('test', async tx => {
        await tx.load([A])
        expect(tx.lot(A)).toMatchObject({ held: 1, dueAtMs: due + 1_000 })
        expect(tx.reservation('R-1')).toMatchObject({ status: 'expired', toMs: due, dueAtMs: null })
      })
      expect(await ledger.lots([A])).toMatchObject([{ held: 1, dueAtMs: due + 1_000 }])
      const events = await eventsAfter(ledger.database, 0, 10)
      expect(events.at(-1)).toMatchObject({ type: 'reservation.expired', reservation: 'R-1', why: 'not_arrived_in_time', before: 'held', after: 'expired' })
    })

    test('transitions that follow from one another are all applied, each at its own time', async () => {
      const { ledger, clock } = await open()
      const start = clock.ms
      await make(ledger, hold(clock, 'R-1', 1_000, { status: 'arriving' }))
      clock.ms += 100 * 24 * 3_600_000
      await ledger.transact('test', async tx => { await tx.load([A]) })
      const [row] = await ledger.database.kysely.selectFrom('reservations').selectAll().execute()
      expect(row).toMatchObject({ status: 'departed', due_at_ms: null, to_ms: start + 1_000 + 24 * 3_600_000 })
      expect(await ledger.lots([A])).toMatchObject([{ held: 0, arriving: 0, counted: 4, dueAtMs: null }])
    })

    test('a recount sets the count, ends suspicion and settles the gaps of all sensors', async () => {
      const { ledger, clock } = await open()
      await ledger.database.kysely.insertInto('sensors').values({ lot: A, sensor: id('g'), epoch: 1, high: 9, seen_low: 0, seen_high: 0, missing: 3, reported: 1, gap_due_at_ms: clock.ms, heard_at_ms: 0, told_at_ms: 0 }).execute()
      const drift = await ledger.transact('test', async tx => {
        await tx.load([A])
        const lot = tx.lot(A)
        if (!lot) throw new Error('no lot')
        return await tx.recount({ ...lot, suspect: true }, 7, { who: 'test' })
      })
      expect(drift).toBe(-3)
      expect(await ledger.lots([A])).toMatchObject([{ counted: 7, suspect: false, quality: 'live' }])
      expect(await ledger.database.kysely.selectFrom('sensors').selectAll().execute()).toMatchObject([{ missing: 3, reported: 3, gap_due_at_ms: null }])
    })

    test('a removed lot is gone with its sensors and bays, and its removal is told', async () => {
      const { ledger, clock } = await open()
      await ledger.transact('test', async tx => await listBays(tx.database, A, [id('A-1')], clock.ms))
      await ledger.transact('test', async tx => {
        await tx.load([A])
        await tx.removeLot(A)
        tx.audit({ lot: A, type: 'lot.removed', who: 'test' })
      })
      expect(await ledger.allLots()).toEqual([])
      expect(await listedBays(ledger.database, A)).toEqual([])
      expect(await eventsAfter(ledger.database, 0, 10)).toMatchObject([{ type: 'lot.removed' }])
    })

    test('the list of bays can be changed without losing what is known of the others', async () => {
      const { ledger } = await open()
      const set = async (bays: string[]): Promise<void> => await ledger.transact('test', async tx => await listBays(tx.database, A, bays.map(id), 0))
      await set(['A-1', 'A-2'])
      await ledger.database.kysely.updateTable('bays').set({ state: 'taken' }).where('bay', '=', id('A-2')).execute()
      await set(['A-2', 'A-3'])
      expect(await ledger.database.kysely.selectFrom('bays').select(['bay', 'state']).orderBy('bay').execute()).toEqual([{ bay: 'A-2', state: 'taken' }, { bay: 'A-3', state: 'unknown' }])
    })

    test('stored replies come back to their caller only, and are pruned by age', async () => {
      const { ledger, clock } = await open()
      const stored = { caller: '', requestId: 'r'.repeat(16), method: 'reserve', bodyHash: 'h', reply: '{"ok":true}' }
      await ledger.transact('test', async tx => await storeReplies(tx.database, [stored, { ...stored, caller: 'ann', reply: '{}' }], clock.ms))
      const found = await storedReplies(ledger.database, [stored, { caller: 'bob', requestId: stored.requestId }])
      expect([...found]).toEqual([[historyKey('', stored.requestId), stored]])
      expect(await pruneHistory(ledger.database, clock.ms, 10)).toBe(0)
      expect(await pruneHistory(ledger.database, clock.ms + 1, 1)).toBe(1)
      expect(await pruneHistory(ledger.database, clock.ms + 1, 10)).toBe(1)
    })

    test('audit lines are never pruned before they were told', async () => {
      const { ledger, clock } = await open()
      await appendAudit(ledger.database, clock.ms, [{ lot: A, type: 'a', who: 'test' }, { lot: A, type: 'b', who: 'test' }])
      await moveCursor(ledger.database, 'events', 1)
      expect(await cursorOf(ledger.database, 'events')).toBe(1)
      expect(await pruneAudit(ledger.database, clock.ms + 1, 10)).toBe(1)
      expect(await eventsAfter(ledger.database, 0, 10)).toMatchObject([{ id: 2, type: 'b' }])
    })

    test('ten thousand rows travel in one statement', async () => {
      const { ledger } = await open()
      const ids = Array.from({ length: 10_000 }, (_, i) => id(`L-${i}`))
      await ledger.transact('test', async tx => { for (const lot of ids) tx.setLot(newLot(NewLot.parse({ lot, capacity: 5 }))) })
      expect(await ledger.lots(ids)).toHaveLength(10_000)
    })
  })
}
