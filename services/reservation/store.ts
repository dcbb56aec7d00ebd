// The reservation service's queries: what a batch of requests may touch, and the lists it answers.
import { sql } from 'kysely'
import type { Id } from '../../shared/lot.js'
import type { Reservation } from '../../shared/reservation.js'
import type { RequestBody } from '../../shared/schemas.js'
import { lotOf, reservationOf } from '../../storage/records.js'
import { readThrough, selectByKeys, type Database } from '../../storage/rows.js'
import type { LedgerTransaction } from '../../storage/transaction.js'
import type { Lot } from '../../shared/lot.js'
import { loadLotsOf } from './locks.js'
import { Pending, type ReservationLimits } from './pending.js'
import type { Request } from './requests.js'

/** Loads what the requests may touch, with a fixed number of statements. Returns what their plates and users have pending. */
export async function loadFor (tx: LedgerTransaction, requests: readonly Request[], limits: ReservationLimits): Promise<Pending> {
  const lots = new Set<Id>()
  /** Lots in which somebody asks for a place or a window. */
  const placesIn = new Set<Id>()
  const plates = new Set<string>()
  const users = new Set<string>()
  const byId = new Set<string>()
  const placesOf = new Set<string>()
  const byPlate = new Map<string, [Id, string]>()
  for (const { call, user } of requests) {
    const { method, body } = call
    if ('lot' in body && body.lot !== undefined) lots.add(body.lot)
    if ('reservation' in body) byId.add(body.reservation)
    if (method === 'reserve' || method === 'book' || method === 'wait') {
      placesIn.add(body.lot)
      plates.add(body.plate)
      if (user !== null) users.add(user)
    } else if (method === 'change' || method === 'extend') {
      placesOf.add(body.reservation)
      if (method === 'change' && body.lot !== undefined) placesIn.add(body.lot)
      if (method === 'change' && body.plate !== undefined) plates.add(body.plate)
    } else if ((method === 'cancel' || method === 'arrive' || method === 'depart') && 'plate' in body) {
      byPlate.set(`${body.lot}/${body.plate}`, [body.lot, body.plate])
    }
  }
  const { database } = tx
  // The lots first: applying what is due changes reservations, and those read here must then not be the older ones.
  const named = await loadLotsOf(tx, lots, async () => {
    const live = await selectByKeys(database, 'reservations', ['lot', 'plate'], [...byPlate.values()], 't.due_at_ms is not null')
    return [...await selectByKeys(database, 'reservations', ['id'], [...byId].map(id => [id])), ...live].map(reservationOf)
  })
  tx.know(named)
  for (const { id, lot } of named) if (placesOf.has(id)) placesIn.add(lot)
  await tx.loadWindows(placesIn)
  return await Pending.load(tx, plates, users, limits)
}

/** The newest reservations of a plate, for telling how they ended: a plate may have thousands. */
export async function newestOf ({ kysely }: Database, lot: Id, plate: string): Promise<Reservation[]> {
  const rows = await kysely.selectFrom('reservations').selectAll().where('lot', '=', lot).where('plate', '=', plate).orderBy('made_at_ms', 'desc').limit(20).execute()
  return rows.map(reservationOf)
}

/** At most `limit` lots by id after `after`. */
export async function listLots ({ kysely }: Database, after: Id | undefined, limit: number): Promise<Lot[]> {
  const rows = await kysely.selectFrom('lots').selectAll()
    .$if(after !== undefined, query => query.where('id', '>', after as Id))
    .orderBy('id').limit(limit).execute()
  return rows.map(lotOf)
}

/** At most `limit` reservations that fit, by id after `after`; only those of `owner` unless that is null. */
export async function listReservations (database: Database, { lot, plate, status, after, limit }: RequestBody<'list'>, owner: string | null): Promise<Reservation[]> {
  const query = database.kysely.selectFrom('reservations').selectAll()
    .$if(lot !== undefined, query => query.where('lot', '=', lot as Id))
    .$if(plate !== undefined, query => query.where('plate', '=', plate as string))
    .$if(status !== undefined, query => query.where('status', '=', status as Reservation['status']))
    .$if(after !== undefined, query => query.where('id', '>', after as string))
    .$if(owner !== null, query => query.where('owner', '=', owner))
    .orderBy('id').limit(limit)
  const rows = lot === undefined && plate === undefined ? await readThrough(database, async () => await query.execute()) : await query.execute()
  return rows.map(reservationOf)
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

/** Forgets at most `limit` reservations that were over before `beforeMs`: a booking may have been made a year before. Returns how many. */
export async function pruneReservations ({ kysely }: Database, beforeMs: number, limit: number): Promise<number> {
  const old = await kysely.selectFrom('reservations').select('id').where('made_at_ms', '<', beforeMs).where('to_ms', '<', beforeMs).where('due_at_ms', 'is', null).orderBy('made_at_ms').limit(limit).execute()
  if (old.length > 0) await kysely.deleteFrom('reservations').where('id', 'in', old.map(row => row.id)).execute()
  return old.length
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
