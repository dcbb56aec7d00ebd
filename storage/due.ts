// What time has made due in a lot is applied before anything else in a transaction sees it, in the order of time. So a
// late timer can never admit too many: the timers only make it prompt.
import { sql } from 'kysely'
import { placesLeft, type Id } from '../shared/lot.js'
import { transition, windowOf, type Reservation, type ReservationStatus } from '../shared/reservation.js'
import { reservationOf } from './records.js'
import type { Database } from './rows.js'
import { CAR_IS_HERE } from './tables.js'
import type { LedgerTransaction } from './transaction.js'

/** Why a reservation took a step by itself, by the status that it had. */
const WHY: Partial<Record<ReservationStatus, string>> = {
  waiting: 'waited_in_vain', booked: 'window_began', held: 'not_arrived_in_time', arriving: 'arrival_grace_over',
  overstayed: 'longest_stay_over'
}

/** Applies what is due in these lots, which are loaded, and works out when the next of each is. */
export async function applyDue (tx: LedgerTransaction, ids: readonly Id[]): Promise<void> {
  if (ids.length === 0) return
  const rows = await selectDue(tx.database, ids, tx.nowMs)
  const queue = tx.know(rows.map(reservationOf))
  const lotsWithOverstay = new Set<Id>()
  for (let at = 0; at < queue.length; at++) {
    const before = queue[at] as Reservation
    const after = step(tx, before)
    if (after === null) continue
    if (after.status === 'overstayed') lotsWithOverstay.add(after.lot)
    // It may be due again by now: then it takes its turn in the order of time.
    if (isDue(after, tx.nowMs)) queue.splice(placeOf(queue, at + 1, after.dueAtMs), 0, after)
  }
  for (const lot of lotsWithOverstay) await warnNext(tx, lot)
  // Those changed just now are not written yet: their own due times count, the stored ones of the others do.
  const nextDue = new Map((await selectNextDue(tx.database, ids, tx.nowMs)).map(row => [row.lot, row.due_at_ms ?? Infinity]))
  for (const { id, lot } of queue) nextDue.set(lot, Math.min(nextDue.get(lot) ?? Infinity, tx.reservation(id)?.dueAtMs ?? Infinity))
  for (const id of ids) {
    const lot = tx.lot(id)
    const next = nextDue.get(id) ?? Infinity
    if (lot) tx.setLot({ ...lot, dueAtMs: next === Infinity ? null : next })
  }
}

/** One step of a reservation at its due time; null when it is not due any more. */
function step (tx: LedgerTransaction, before: Reservation): (Reservation & { dueAtMs: number | null }) | null {
  if (!isDue(before, tx.nowMs)) return null
  const result = transition(before, { type: 'due' }, before.dueAtMs, tx.times)
  if (!result.ok) throw new Error(`reservation ${before.id} is due but ${before.status}`)
  const why = before.status === 'arrived' ? (before.kind === 'hold' ? 'longest_stay_over' : 'window_over') : WHY[before.status]
  tx.setReservation(before, result.reservation, { who: 'time', ...(why !== undefined && { why }) })
  const lot = tx.lot(before.lot)
  // The place of a booking is promised; whether a car stands there is another thing.
  if (before.status === 'booked' && lot && placesLeft(lot) < 0) {
    tx.audit({ lot: lot.id, type: 'reservation.conflict', reservation: before.id, who: 'time', why: 'no_place_left' })
  }
  return result.reservation
}

/** Tells the next booking when cars that have overstayed may stand in its place. */
async function warnNext (tx: LedgerTransaction, id: Id): Promise<void> {
  await tx.loadWindows([id])
  // The due ones of before must be on their tables for the questions below.
  await tx.flush()
  const lot = tx.lot(id)
  const next = await nextBooked(tx.database, id, tx.nowMs + tx.times.conflictNoticeMs)
  const window = next && windowOf(next)
  if (!lot || !next || !window) return
  const overstayed = await countOverstayed(tx.database, id)
  if (tx.overlaps(id).peak(window) + overstayed <= lot.capacity - lot.buffer) return
  tx.audit({ lot: id, type: 'reservation.conflict', reservation: next.id, who: 'time', why: 'overstay', after: { overstayed, from: new Date(next.fromMs).toISOString() } })
}

function isDue (reservation: Reservation, nowMs: number): reservation is Reservation & { readonly dueAtMs: number } {
  return reservation.dueAtMs !== null && reservation.dueAtMs <= nowMs
}

/** Where one that is due at `dueAtMs` belongs in a queue that is in order from `first` on: behind those of the same time. */
function placeOf (queue: readonly Reservation[], first: number, dueAtMs: number): number {
  let low = first
  let high = queue.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((queue[middle]?.dueAtMs ?? 0) <= dueAtMs) low = middle + 1
    else high = middle
  }
  return low
}

async function selectDue ({ kysely }: Database, ids: readonly Id[], nowMs: number) {
  return kysely.selectFrom('reservations').selectAll()
    .where('lot', 'in', ids).where('due_at_ms', 'is not', null).where('due_at_ms', '<=', nowMs)
    .orderBy('due_at_ms').orderBy('made_at_ms').execute()
}

/** A question for each lot: a group by would read all that are to come. */
async function selectNextDue ({ kysely }: Database, ids: readonly Id[], nowMs: number): Promise<{ lot: Id, due_at_ms: number | null }[]> {
  const { rows } = await sql<{ lot: Id, due_at_ms: number | null }>`
    select l.id as lot, (select min(r.due_at_ms) from reservations as r where r.lot = l.id and r.due_at_ms > ${nowMs}) as due_at_ms
    from lots as l where l.id in (${sql.join(ids)})`.execute(kysely)
  return rows
}

async function nextBooked ({ kysely }: Database, lot: Id, untilMs: number): Promise<Reservation | null> {
  const row = await kysely.selectFrom('reservations').selectAll()
    .where('lot', '=', lot).where('status', '=', 'booked').where('due_at_ms', '<=', untilMs).orderBy('due_at_ms').limit(1).executeTakeFirst()
  return row ? reservationOf(row) : null
}

async function countOverstayed ({ kysely }: Database, lot: Id): Promise<number> {
  const row = await kysely.selectFrom('reservations').select(e => e.fn.countAll<number>().as('count'))
    .where('lot', '=', lot).where('status', '=', 'overstayed').where(sql<boolean>`${sql.raw(CAR_IS_HERE)}`).executeTakeFirst()
  return Number(row?.count ?? 0)
}
