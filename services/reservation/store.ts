// The reservation service's queries: what a batch of requests may touch, and the lists it answers.
import { sql } from 'kysely'
import type { Id } from '../../shared/lot.js'
import type { Reservation } from '../../shared/reservation.js'
import { lotOf, reservationOf } from '../../storage/records.js'
import { livePlates } from '../../storage/live-plates.js'
import { lockedLots } from '../../storage/locks.js'
import type { Question } from '../../storage/questions.js'
import { byKeys, type Database } from '../../storage/rows.js'
import type { ReservationsTable } from '../../storage/tables.js'
import type { LedgerTransaction } from '../../storage/transaction.js'
import type { Lot } from '../../shared/lot.js'
import { loadLotsOf } from './locks.js'
import { Pending, type ReservationLimits } from './pending.js'
import type { Request } from './requests.js'

/** What requests may touch. */
interface Needs {
  readonly lots: Set<Id>
  /** Lots in which somebody asks for a place or a window. */
  readonly placesIn: Set<Id>
  readonly plates: Set<string>
  readonly users: Set<string>
  /** Ids of reservations. */
  readonly byId: Set<string>
  /** Those of them whose own places are asked for. */
  readonly placesOf: Set<string>
  /** Reservations by lot and plate. */
  readonly byPlate: Map<string, [Id, string]>
}

function needsOf (requests: readonly Request[]): Needs {
  const needs: Needs = { lots: new Set(), placesIn: new Set(), plates: new Set(), users: new Set(), byId: new Set(), placesOf: new Set(), byPlate: new Map() }
  for (const { call, user } of requests) {
    const { method, body } = call
    if ('lot' in body && body.lot !== undefined) needs.lots.add(body.lot)
    if ('reservation' in body) needs.byId.add(body.reservation)
    if (method === 'reserve' || method === 'book' || method === 'wait') {
      needs.placesIn.add(body.lot)
      needs.plates.add(body.plate)
      if (user !== null) needs.users.add(user)
    } else if (method === 'change' || method === 'extend') {
      needs.placesOf.add(body.reservation)
      if (method === 'change' && body.lot !== undefined) needs.placesIn.add(body.lot)
      if (method === 'change' && body.plate !== undefined) needs.plates.add(body.plate)
    } else if ((method === 'cancel' || method === 'arrive' || method === 'depart') && 'plate' in body) {
      needs.byPlate.set(`${body.lot}/${body.plate}`, [body.lot, body.plate])
    }
  }
  return needs
}

/** What `loadFor` asks first, unless something is due: the lots of reservations have to be found before they are locked. */
export function loadQuestions (database: Database, requests: readonly Request[]): Question<unknown>[] {
  const needs = needsOf(requests)
  const named = namedIn(database, needs)
  return named.length > 0 ? named : [lockedLots(database, [...needs.lots]), ...Pending.questions(database, needs.plates, needs.users)]
}

/** Loads what the requests may touch, with a fixed number of statements. Returns what their plates and users have pending. */
export async function loadFor (tx: LedgerTransaction, requests: readonly Request[], limits: ReservationLimits): Promise<Pending> {
  const needs = needsOf(requests)
  const { lots, placesIn, plates, users, placesOf } = needs
  // The lots first: applying what is due changes reservations, and those read here must then not be the older ones.
  const named = await loadLotsOf(tx, lots, namedIn(tx.database, needs), Pending.questions(tx.database, plates, users))
  tx.know(named)
  for (const { id, lot } of named) if (placesOf.has(id)) placesIn.add(lot)
  const pending = await Pending.load(tx, plates, users, limits)
  await tx.loadWindows(placesIn)
  return pending
}

/** The reservations that are named, each way of naming that is used a question. */
function namedIn (database: Database, { byId, byPlate }: Needs): Question<ReservationsTable[]>[] {
  return [
    byKeys(database, 'reservations', ['id'], [...byId].map(id => [id])),
    livePlates(database, [...byPlate.values()])
  ].filter(({ query }) => query !== null)
}

/** Reservations of a plate that are looked at: it may have thousands. */
const NEWEST_LOOKED_AT = 200

/** Those of the newest reservations of a plate that are in this lot, for telling how they ended. */
export async function newestOf ({ kysely }: Database, lot: Id, plate: string): Promise<Reservation[]> {
  const newest = kysely.selectFrom('reservations').selectAll().where('plate', '=', plate).orderBy('made_at_ms', 'desc').limit(NEWEST_LOOKED_AT)
  const rows = await kysely.selectFrom(newest.as('newest')).selectAll().where('lot', '=', lot).orderBy('made_at_ms', 'desc').limit(20).execute()
  return rows.map(reservationOf)
}

/** At most `limit` lots by id after `after`. */
export async function listLots ({ kysely }: Database, after: Id | undefined, limit: number): Promise<Lot[]> {
  const rows = await kysely.selectFrom('lots').selectAll()
    .$if(after !== undefined, query => query.where('id', '>', after as Id))
    .orderBy('id').limit(limit).execute()
  return rows.map(lotOf)
}

/** Every lot with a reservation that is due by now. */
export async function lotsWithDue ({ kysely }: Database, nowMs: number): Promise<Id[]> {
  const rows = await kysely.selectFrom('lots').select('id').where('due_at_ms', 'is not', null).where('due_at_ms', '<=', nowMs).execute()
  return rows.map(row => row.id)
}

export async function hasLiveReservations ({ kysely }: Database, lot: Id): Promise<boolean> {
  const row = await kysely.selectFrom('reservations').select('id').where('lot', '=', lot).where('due_at_ms', 'is not', null).limit(1).executeTakeFirst()
  return row !== undefined
}

/**
 * Forgets at most `limit` reservations that were over before `beforeMs`, among the `count` that were made from `afterMs` on and before
 * that: one that was made long ago may be of a window a year later. Returns how many, and where the next part begins; null behind the last one.
 */
export async function pruneReservations ({ kysely }: Database, beforeMs: number, afterMs: number, { count, limit }: { readonly count: number, readonly limit: number }): Promise<{ pruned: number, next: number | null }> {
  const following = kysely.selectFrom('reservations').where('made_at_ms', '>=', afterMs).orderBy('made_at_ms')
  const last = await following.select('made_at_ms').where('made_at_ms', '<', beforeMs).offset(count).limit(1).executeTakeFirst()
  // All that were made in one millisecond belong together.
  const endMs = last ? Math.max(last.made_at_ms, afterMs + 1) : beforeMs
  const old = await following.select(['id', 'made_at_ms']).where('made_at_ms', '<', endMs).where('to_ms', '<', beforeMs).where('due_at_ms', 'is', null).limit(limit).execute()
  if (old.length > 0) await kysely.deleteFrom('reservations').where('id', 'in', old.map(row => row.id)).execute()
  if (old.length === limit) return { pruned: old.length, next: old.at(-1)?.made_at_ms ?? null }
  return { pruned: old.length, next: last ? endMs : null }
}

/** Lots with a waiting list that are open. */
export async function lotsWithWaiting ({ kysely }: Database): Promise<Id[]> {
  // Not as a parameter: the index is of this very condition.
  const rows = await kysely.selectFrom('lots').select('id').where(sql<boolean>`waiting > 0`).where('is_open', '=', 1).execute()
  return rows.map(row => row.id)
}

/** Lots with more than `many` live reservations. */
export async function lotsWithMany ({ kysely }: Database, many: number): Promise<Id[]> {
  const rows = await kysely.selectFrom('reservations').select('lot').where('due_at_ms', 'is not', null)
    .groupBy('lot').having(e => e.fn.countAll<number>(), '>', many).execute()
  return rows.map(row => row.lot)
}
