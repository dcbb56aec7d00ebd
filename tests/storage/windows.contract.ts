// What every ledger must do with the windows of reservations, the waiting lists and their notices, whatever the engine.
import { describe, expect, onTestFinished, test } from 'vitest'
import { newLot } from '../../services/reservation/lot-settings.js'
import type { Clock } from '../../shared/clock.js'
import type { Id } from '../../shared/lot.js'
import type { Reservation } from '../../shared/reservation.js'
import { NewLot } from '../../shared/schemas.js'
import type { Ledger } from '../../storage/ledger.js'
import type { LedgerTransaction } from '../../storage/transaction.js'
import { forgetNotices, noticesDue, waitingOf } from '../../storage/waiting.js'
import { StandingClock } from './contract.js'

const A = 'LOT-A' as Id
const B = 'LOT-B' as Id
const HOUR_MS = 3_600_000
const CAUSE = { who: 'test' }

export function windowsContract (name: string, openNew: (clock: Clock) => Promise<Ledger>): void {
  describe(`windows and waiting on ${name}`, () => {
    const clock = new StandingClock()
    const start = clock.ms
    const open = async (): Promise<Ledger> => {
      const ledger = await openNew(clock)
      clock.ms = start
      onTestFinished(() => ledger.close())
      await ledger.transact('test', async tx => { for (const lot of [A, B]) tx.setLot(newLot(NewLot.parse({ lot, capacity: 2 }), 'UTC')) })
      return ledger
    }
    /** A booking from so many hours after the start, for so many hours. */
    const booking = (id: string, fromHour: number, hours: number, over: Partial<Reservation> = {}): Reservation => {
      const fromMs = start + fromHour * HOUR_MS
      const toMs = fromMs + hours * HOUR_MS
      return { id, kind: 'booking', lot: A, plate: id, status: 'booked', fromMs, toMs, originalToMs: toMs, dueAtMs: fromMs, secretHash: 'x', owner: null, madeAtMs: start, ...over }
    }
    const within = async <T>(ledger: Ledger, work: (tx: LedgerTransaction) => Promise<T> | T): Promise<T> => await ledger.transact('test', async tx => {
      await tx.load([A, B])
      return await work(tx)
    })
    const peaks = async (ledger: Ledger, lot: Id = A): Promise<number[]> => await within(ledger, async tx => {
      await tx.loadWindows([lot])
      return Array.from({ length: 6 }, (_, hour) => tx.overlaps(lot).peak({ fromMs: start + hour * HOUR_MS, toMs: start + (hour + 1) * HOUR_MS }))
    })
    /** The same from a ledger that has to read them: nothing that is in memory may differ. */
    const stored = async (ledger: Ledger): Promise<number[]> => {
      const rows = await ledger.database.kysely.selectFrom('reservations').selectAll().where('lot', '=', A).where('due_at_ms', 'is not', null).where('status', '<>', 'waiting').execute()
      return Array.from({ length: 6 }, (_, hour) => rows.filter(row => row.from_ms < start + (hour + 1) * HOUR_MS && row.to_ms > start + hour * HOUR_MS).length)
    }

    test('windows follow every change, of any transaction', async () => {
      const ledger = await open()
      await within(ledger, tx => { tx.setReservation(null, booking('R-1', 1, 2), CAUSE) })
      expect(await peaks(ledger)).toEqual([0, 1, 1, 0, 0, 0])
      const second = booking('R-2', 2, 1)
      await within(ledger, tx => { tx.setReservation(null, second, CAUSE) })
      expect(await peaks(ledger)).toEqual([0, 1, 2, 0, 0, 0])
      await within(ledger, tx => { tx.setReservation(second, { ...second, fromMs: start + 4 * HOUR_MS, toMs: start + 5 * HOUR_MS, dueAtMs: start + 4 * HOUR_MS }, CAUSE) })
      expect(await peaks(ledger)).toEqual([0, 1, 1, 0, 1, 0])
      expect(await peaks(ledger)).toEqual(await stored(ledger))
    })

    test('what the same transaction has changed and not written yet is in them', async () => {
      const ledger = await open()
      expect(await within(ledger, async tx => {
        tx.setReservation(null, booking('R-1', 0, 1), CAUSE)
        await tx.loadWindows([A])
        tx.setReservation(null, booking('R-2', 0, 1), CAUSE)
        return tx.overlaps(A).peak({ fromMs: start, toMs: start + HOUR_MS })
      })).toBe(2)
    })

    test('a transaction that fails leaves the windows as they were', async () => {
      const ledger = await open()
      await within(ledger, tx => { tx.setReservation(null, booking('R-1', 1, 1), CAUSE) })
      await peaks(ledger)
      await expect(within(ledger, async tx => {
        await tx.loadWindows([A])
        tx.setReservation(null, booking('R-2', 1, 1), CAUSE)
        await tx.flush()
        throw new Error('on purpose')
      })).rejects.toThrow('on purpose')
      expect(await peaks(ledger)).toEqual([0, 1, 0, 0, 0, 0])
    })

    test('a reservation that goes to another lot takes its window and its place with it', async () => {
      const ledger = await open()
      const held = booking('R-1', 0, 2, { status: 'held', dueAtMs: start + HOUR_MS })
      await within(ledger, tx => { tx.setReservation(null, held, CAUSE) })
      await peaks(ledger)
      await within(ledger, tx => { tx.setReservation(held, { ...held, lot: B }, CAUSE) })
      expect(await peaks(ledger)).toEqual([0, 0, 0, 0, 0, 0])
      expect(await peaks(ledger, B)).toEqual([1, 1, 0, 0, 0, 0])
      expect(await ledger.lots([A, B])).toMatchObject([{ held: 0 }, { held: 1, dueAtMs: start + HOUR_MS }])
    })

    test('what time ends is taken out of them before anything else sees the lot', async () => {
      const ledger = await open()
      await within(ledger, tx => { tx.setReservation(null, booking('R-1', 1, 3), CAUSE) })
      await peaks(ledger)
      // Its car has not come half an hour after its begin.
      clock.ms = start + 2 * HOUR_MS
      expect(await peaks(ledger)).toEqual([0, 0, 0, 0, 0, 0])
      expect(await stored(ledger)).toEqual([0, 0, 0, 0, 0, 0])
    })

    test('windows of another version than the lot\'s are not believed', async () => {
      const ledger = await open()
      await within(ledger, tx => { tx.setReservation(null, booking('R-1', 1, 1), CAUSE) })
      await peaks(ledger)
      // As another node would do it.
      const { kysely } = ledger.database
      await kysely.updateTable('reservations').set({ from_ms: start + 3 * HOUR_MS, to_ms: start + 4 * HOUR_MS, due_at_ms: start + 3 * HOUR_MS }).execute()
      await kysely.updateTable('lots').set(e => ({ windows_version: e('windows_version', '+', 1) })).where('id', '=', A).execute()
      expect(await peaks(ledger)).toEqual([0, 0, 0, 1, 0, 0])
    })

    test('who waits stands in line in order, counts in no window, and what becomes of it is kept to be told', async () => {
      const ledger = await open()
      const wait = (id: string): Reservation => booking(id, 0, 2, { status: 'waiting', dueAtMs: start + 2 * HOUR_MS })
      const [first, second, third] = [wait('R-1'), wait('R-2'), wait('R-3')]
      await within(ledger, tx => {
        for (const one of [first, second, third]) {
          tx.setReservation(null, one, CAUSE)
          tx.putOnWaitingList(one, { topic: `replies/${one.id}`, correlationData: Buffer.from([0, 255]), correlation: 'c' })
        }
      })
      expect(await peaks(ledger)).toEqual([0, 0, 0, 0, 0, 0])
      expect((await waitingOf(ledger.database, A)).map(({ id }) => id)).toEqual(['R-1', 'R-2', 'R-3'])
      expect(await ledger.lots([A])).toMatchObject([{ waiting: 3, held: 0 }])
      await within(ledger, tx => {
        tx.setReservation(second, { ...second, status: 'held', dueAtMs: start + HOUR_MS }, CAUSE)
        tx.setReservation(third, { ...third, status: 'cancelled', dueAtMs: null }, CAUSE)
      })
      clock.ms = start + 2 * HOUR_MS
      await within(ledger, () => {})
      const notices = await noticesDue(ledger.database, 10)
      expect(notices.map(({ address, text }) => [address, JSON.parse(text) as unknown])).toEqual([
        [{ topic: 'replies/R-2', correlationData: Buffer.from([0, 255]), correlation: 'c' }, expect.objectContaining({ ok: true, result: expect.objectContaining({ event: 'promoted', reservation: 'R-2', status: 'held' }) as unknown })],
        [{ topic: 'replies/R-1', correlationData: Buffer.from([0, 255]), correlation: 'c' }, expect.objectContaining({ ok: true, result: expect.objectContaining({ event: 'expired', reservation: 'R-1', status: 'expired' }) as unknown })]
      ])
      await forgetNotices(ledger.database, notices.map(({ id }) => id))
      expect(await noticesDue(ledger.database, 10)).toEqual([])
      expect(await waitingOf(ledger.database, A)).toEqual([])
      expect(await ledger.lots([A])).toMatchObject([{ waiting: 0 }])
    })
  })
}
