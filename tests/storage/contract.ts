// What every ledger must do, whatever the engine. Runs on SQLite now; a second engine is a second call.
import { describe, expect, onTestFinished, test } from 'vitest'
import { auditLines, cursorOf, moveCursor, pruneAudit, type AuditEntry, type AuditQuery } from '../../storage/audit.js'
import { listBays, listedBays } from '../../storage/bays.js'
import { historyKey, pruneHistory, storedReplies, storeReplies } from '../../storage/history.js'
import type { Committed } from '../../storage/feed.js'
import type { Ledger } from '../../storage/ledger.js'
import { ask } from '../../storage/questions.js'
import { newLot as newLotIn } from '../../services/reservation/lot-settings.js'
import type { Clock } from '../../shared/clock.js'
import type { Id, Lot } from '../../shared/lot.js'
import type { Reservation } from '../../shared/reservation.js'
import { NewLot } from '../../shared/schemas.js'
import { eventsAfter } from '../support/events.js'

/** A clock that stands where the test puts it; the ledger sets no timers. */
export class StandingClock implements Clock {
  ms = 1_700_000_000_000
  nowMs (): number { return this.ms }
  after (): never { throw new Error('the ledger sets no timers') }
}

/** Writes these lines in one transaction. */
export async function audit (ledger: Ledger, entries: readonly AuditEntry[]): Promise<void> {
  await ledger.transact('test', async tx => { for (const entry of entries) tx.audit(entry) })
}

const id = (text: string): Id => text as Id
const A = id('LOT-A')
const newLot = (settings: NewLot): Lot => newLotIn(settings, 'UTC')

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
      id: name, kind: 'hold', lot: A, plate: 'ABC123', status: 'held', fromMs: clock.ms, toMs: clock.ms + forMs, originalToMs: clock.ms + forMs, dueAtMs: clock.ms + forMs, secretHash: 'x', owner: null, madeAtMs: clock.ms, ...over
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
      const { events } = await eventsAfter(ledger.database, 0, 10)
      expect(events.at(-1)).toMatchObject({ type: 'reservation.expired', reservation: 'R-1', why: 'not_arrived_in_time', before: 'held', after: 'expired' })
    })

    test('transitions that follow from one another are all applied, each at its own time', async () => {
      const { ledger, clock } = await open()
      const start = clock.ms
      await make(ledger, hold(clock, 'R-1', 1_000, { status: 'arriving' }))
      clock.ms += 100 * 24 * 3_600_000
      await ledger.transact('test', async tx => { await tx.load([A]) })
      const [row] = await ledger.database.kysely.selectFrom('reservations').selectAll().execute()
      expect(row).toMatchObject({ status: 'departed', due_at_ms: null, to_ms: start + 1_000 })
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
      expect((await eventsAfter(ledger.database, 0, 10)).events).toMatchObject([{ type: 'lot.removed' }])
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
      const found = await ask(ledger.database, storedReplies(ledger.database, [stored, { caller: 'bob', requestId: stored.requestId }]))
      expect([...found]).toEqual([[historyKey('', stored.requestId), stored]])
      expect(await pruneHistory(ledger.database, clock.ms, 10)).toBe(0)
      expect(await pruneHistory(ledger.database, clock.ms + 1, 1)).toBe(1)
      expect(await pruneHistory(ledger.database, clock.ms + 1, 10)).toBe(1)
    })

    test('who is handed what a commit changed is handed what is on the tables', async () => {
      const { ledger, clock } = await open()
      const handed: (Committed | null)[] = []
      ledger.feed.listen((_lots, _withBays, committed) => handed.push(committed))
      await make(ledger, hold(clock, 'R-1', 1_000))
      await expect(ledger.transact('test', async tx => {
        tx.audit({ lot: A, type: 'never', who: 'test' })
        await tx.flush()
        throw new Error('on purpose')
      })).rejects.toThrow('on purpose')
      await audit(ledger, [{ type: 'login.refused', who: 'user:ann' }, { lot: A, type: 'a', who: 'test', after: { n: 1 } }])
      const { events } = await eventsAfter(ledger.database, 0, 10)
      expect(events.map(({ type }) => type)).toEqual(['reservation.held', 'a'])
      const told = handed.filter(one => one !== null)
      // Null where others may write as well: then all of it is to be read.
      if (told.length === 0) return
      expect(told).toHaveLength(2)
      expect(told.flatMap(({ events: own }) => own?.events ?? [])).toEqual(events)
      expect(told[1]?.events).toMatchObject({ first: Number(events[1]?.id) - 1, last: events[1]?.id })
      expect([...told[0]?.lots.values() ?? []]).toEqual(await ledger.lots([A]))
    })

    test('audit lines are never pruned before they were told', async () => {
      const { ledger, clock } = await open()
      await audit(ledger, [{ lot: A, type: 'a', who: 'test' }, { lot: A, type: 'b', who: 'test' }])
      await moveCursor(ledger.database, 'events', 1)
      expect(await cursorOf(ledger.database, 'events')).toBe(1)
      expect(await pruneAudit(ledger.database, clock.ms + 1, 10)).toBe(1)
      expect((await eventsAfter(ledger.database, 0, 10)).events).toMatchObject([{ id: 2, type: 'b' }])
    })

    test('lines without a lot are no events, the cursor passes them, and none waits for it to be pruned', async () => {
      const { ledger, clock } = await open()
      const { database } = ledger
      const line = { type: 'login.refused', who: 'user:ann', address: '10.0.0.1' }
      const told: unknown[] = []
      ledger.feed.listen(lots => told.push([...lots]))
      await ledger.transact('test', async tx => tx.audit(line))
      expect(told).toEqual([])
      await audit(ledger, [{ lot: A, type: 'lot.closed', who: 'user:olga', address: '10.0.0.2', why: 'w' }, line, line])
      expect(await eventsAfter(database, 0, 1)).toEqual({ events: [], position: 1 })
      expect(await eventsAfter(database, 0, 10)).toEqual({ events: [{ id: 2, type: 'lot.closed', lot: A, at: new Date(clock.ms).toISOString(), why: 'w' }], position: 4 })
      expect(await eventsAfter(database, 4, 10)).toEqual({ events: [], position: null })
      expect(await pruneAudit(database, clock.ms + 1, 2)).toBe(2)
      expect(await pruneAudit(database, clock.ms + 1, 10)).toBe(1)
      expect(await eventsAfter(database, 0, 10)).toMatchObject({ events: [{ id: 2 }] })
      await moveCursor(database, 'events', 4)
      expect(await pruneAudit(database, clock.ms + 1, 10)).toBe(1)
    })

    test('the audit is asked by time, lot and user, in the order of its numbers and page by page', async () => {
      const { ledger, clock } = await open()
      const { database } = ledger
      const start = clock.ms
      const users = ['ann', 'olga'] as const
      await audit(ledger, Array.from({ length: 10 }, (_, i) => ({
        ...(i % 3 === 0 ? {} : { lot: id(`LOT-${i % 3}`) }), type: 't', who: `user:${users[i % 2]}`, atMs: start + i * 1_000, ...(i === 4 && { before: 'x', after: { times: 3 } })
      })))
      const ask = async (query: Partial<AuditQuery>) => {
        const { lines, next } = await auditLines(database, { limit: 100, ...query })
        return [lines.map(line => line.id), next]
      }
      expect(await ask({})).toEqual([[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], null])
      expect(await ask({ sinceMs: start + 3_000, untilMs: start + 6_000 })).toEqual([[4, 5, 6], null])
      expect(await ask({ lot: id('LOT-2') })).toEqual([[3, 6, 9], null])
      expect(await ask({ lot: id('LOT-2'), user: 'olga' })).toEqual([[6], null])
      expect(await ask({ user: 'ann', limit: 2 })).toEqual([[1, 3], 3])
      expect(await ask({ user: 'ann', limit: 2, after: 3 })).toEqual([[5, 7], 7])
      expect(await ask({ user: 'nobody' })).toEqual([[], null])
      expect(await ask({ sinceMs: start + 60_000 })).toEqual([[], null])
      expect(await ask({ untilMs: start })).toEqual([[], null])
      expect((await auditLines(database, { after: 4, limit: 1 })).lines).toEqual([{ id: 5, at: new Date(start + 4_000).toISOString(), type: 't', who: 'user:ann', lot: 'LOT-1', before: 'x', after: { times: 3 } }])
      // Written late: its number is later than its time.
      await audit(ledger, [{ type: 'late', who: 'user:ann', atMs: start + 2_500 }])
      expect(await ask({ sinceMs: start + 2_000, untilMs: start + 4_000 })).toEqual([[3, 4, 11], null])
      expect(await ask({ sinceMs: start + 2_500 })).toEqual([[4, 5, 6, 7, 8, 9, 10, 11], null])
    })

    test('one page looks at a part of a long audit, and says where the next begins', async () => {
      const { ledger } = await open()
      const { database } = ledger
      for (let i = 0; i < 3; i++) await audit(ledger, Array.from({ length: 10_000 }, () => ({ type: 't', who: 'user:ann' })))
      await audit(ledger, [{ type: 't', who: 'user:olga' }])
      const pages = []
      for (let after: number | undefined; ;) {
        const { lines, next } = await auditLines(database, { user: 'olga', after, limit: 10 })
        pages.push(lines.map(line => line.id))
        if (next === null) break
        after = next
      }
      expect(pages).toEqual([[], [], [], [30_001]])
    })

    test('ten thousand rows travel in one statement', async () => {
      const { ledger } = await open()
      const ids = Array.from({ length: 10_000 }, (_, i) => id(`L-${i}`))
      await ledger.transact('test', async tx => { for (const lot of ids) tx.setLot(newLot(NewLot.parse({ lot, capacity: 5 }))) })
      expect(await ledger.lots(ids)).toHaveLength(10_000)
    })
  })
}
