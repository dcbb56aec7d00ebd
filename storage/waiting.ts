// The waiting lists' rows, and the notices: messages to single clients that are stored with what they tell of and leave
// after the commit, at least once, across restarts.
import { sql } from 'kysely'
import type { Id } from '../shared/lot.js'
import type { ReplyAddress } from '../shared/request-envelope.js'
import { shownReservation, type Reservation } from '../shared/reservation.js'
import { reservationOf } from './records.js'
import { insertRows, jsonRows, selectByKeys, type Database } from './rows.js'
import type { NoticesTable, ReservationsTable, WaitingTable } from './tables.js'

/** Who was just put on a waiting list, and where to tell what becomes of it. */
export interface NewWaiting {
  readonly reservation: string
  readonly lot: Id
  readonly address: ReplyAddress
}

export async function addWaiting (database: Database, added: readonly NewWaiting[]): Promise<void> {
  await insertRows(database, 'waiting', ['reservation', 'lot', 'topic', 'correlation_data', 'correlation'], added.map(({ reservation, lot, address }) => ({
    reservation, lot, ...rowOfAddress(address)
  })))
}

/**
 * Takes those that no longer wait off the lists, and notes for each what to tell: that it was promoted or has expired.
 * Who left by `cancel` has its reply and is told nothing else.
 */
export async function leaveWaiting (database: Database, left: readonly Reservation[], atMs: number): Promise<void> {
  if (left.length === 0) return
  const rows = await selectByKeys(database, 'waiting', ['reservation'], left.map(({ id }) => [id]))
  const byId = new Map(left.map(reservation => [reservation.id, reservation]))
  const told = rows.sort((a, b) => a.position - b.position).flatMap(row => {
    const reservation = byId.get(row.reservation)
    if (!reservation || reservation.status === 'cancelled') return []
    const event = reservation.status === 'expired' ? 'expired' : 'promoted'
    const payload = JSON.stringify({ ok: true, result: { event, ...shownReservation(reservation) } })
    return [{ topic: row.topic, correlation_data: row.correlation_data, correlation: row.correlation, payload, at_ms: atMs }]
  })
  await insertRows(database, 'notices', ['topic', 'correlation_data', 'correlation', 'payload', 'at_ms'], told)
  const positions = jsonRows(database.engine, [['position', 'integer']], rows.map(row => [row.position]))
  await sql`delete from waiting where position in (select position from ${positions} as given)`.execute(database.kysely)
}

/** Everybody on the waiting list of a lot, in order. */
export async function waitingOf ({ kysely }: Database, lot: Id): Promise<Reservation[]> {
  const { rows } = await sql<ReservationsTable>`select r.* from waiting as w join reservations as r on r.id = w.reservation where w.lot = ${lot} order by w.position`.execute(kysely)
  return rows.map(reservationOf)
}

/** A message that must reach its topic. */
export interface Notice {
  readonly id: number
  readonly address: ReplyAddress
  /** JSON of a `Reply`. */
  readonly text: string
}

/** At most `limit` notices, the oldest first. */
export async function noticesDue ({ kysely }: Database, limit: number): Promise<Notice[]> {
  const rows = await kysely.selectFrom('notices').selectAll().orderBy('id').limit(limit).execute()
  return rows.map(noticeOf)
}

export function noticeOf (row: NoticesTable): Notice {
  return { id: row.id, address: addressOf(row), text: row.payload }
}

/** Forgets notices that the broker has accepted. */
export async function forgetNotices ({ kysely }: Database, ids: readonly number[]): Promise<void> {
  if (ids.length > 0) await kysely.deleteFrom('notices').where('id', 'in', ids).execute()
}

function rowOfAddress ({ topic, correlationData, correlation }: ReplyAddress): Pick<WaitingTable, 'topic' | 'correlation_data' | 'correlation'> {
  return { topic, correlation_data: correlationData === undefined ? null : Buffer.from(correlationData).toString('base64'), correlation: correlation ?? null }
}

function addressOf ({ topic, correlation_data: data, correlation }: Pick<WaitingTable, 'topic' | 'correlation_data' | 'correlation'>): ReplyAddress {
  return { topic, ...(data !== null && { correlationData: Buffer.from(data, 'base64') }), ...(correlation !== null && { correlation }) }
}
