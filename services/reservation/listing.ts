// `list`: reservations a page at a time, the newest first. Whatever is asked for and however many there are, one request looks
// at so many rows: a status that is rare in a long history must not hold everybody up while all of it is read.
import { sql, type RawBuilder } from 'kysely'
import type { Reservation } from '../../shared/reservation.js'
import type { RequestBody } from '../../shared/schemas.js'
import { reservationOf } from '../../storage/records.js'
import type { Database } from '../../storage/rows.js'
import type { ReservationsTable } from '../../storage/tables.js'

/** Rows that one request looks at; more only where as many were made in one millisecond. */
const LOOKED_AT_ONCE = 10_000

export interface ListedPage {
  readonly reservations: Reservation[]
  /** What `after` of the next page is; null when there is none. A page may be short, or empty, and still not be the last one. */
  readonly next: string | null
}

/** At most `limit` reservations that fit, the newest first; only those of `owner` unless that is null. */
export async function listReservations (
  database: Database, { lot, plate, status, after, limit }: RequestBody<'list'>, owner: string | null, lookedAtOnce = LOOKED_AT_ONCE
): Promise<ListedPage> {
  const wanted = whereEqual({ lot, plate, status, owner: owner ?? undefined })
  const from = after === undefined ? null : placeOf(after)
  // These have an index of their own.
  const [first] = whereEqual(owner === null ? { plate } : { owner })
  const areFew = first !== undefined && await countUpTo(database, first, lookedAtOnce + 1) <= lookedAtOnce
  const lookedAtUntilMs = areFew || wanted.length === 0 ? null : await madeBefore(database, from, lookedAtOnce)
  const rows = await newest(database, [
    ...wanted, ...isAfter(from), ...lookedAtUntilMs === null ? [] : [sql<boolean>`made_at_ms >= ${lookedAtUntilMs}`]
  ], limit, areFew)
  const last = rows.length === limit ? rows.at(-1) : undefined
  const next = last ? { madeAtMs: last.made_at_ms, id: last.id } : lookedAtUntilMs === null ? null : { madeAtMs: lookedAtUntilMs, id: '' }
  return { reservations: rows.map(reservationOf), next: next && textOf(next) }
}

/** Behind a reservation, or with an empty id behind all that were made at that time: an id is never less than that. */
interface Place {
  readonly madeAtMs: number
  readonly id: string
}

/** As schemas.ts has it. */
function textOf ({ madeAtMs, id }: Place): string {
  return id === '' ? String(madeAtMs) : `${madeAtMs}.${id}`
}

function placeOf (text: string): Place {
  const [madeAtMs, id = ''] = text.split('.')
  return { madeAtMs: Number(madeAtMs), id }
}

function isAfter (place: Place | null): RawBuilder<boolean>[] {
  return place === null ? [] : [sql`made_at_ms <= ${place.madeAtMs}`, sql`(made_at_ms < ${place.madeAtMs} or id < ${place.id})`]
}

function whereEqual (columns: Partial<Record<keyof ReservationsTable, string | undefined>>): RawBuilder<boolean>[] {
  return Object.entries(columns).flatMap(([column, value]) => value === undefined ? [] : [sql<boolean>`${sql.ref(column)} = ${value}`])
}

function allOf (conditions: readonly RawBuilder<boolean>[]): RawBuilder<boolean> {
  return sql`${sql.join([sql`true`, ...conditions], sql` and `)}`
}

/** How many there are, or `most`. */
async function countUpTo ({ kysely }: Database, where: RawBuilder<boolean>, most: number): Promise<number> {
  const { rows: [row] } = await sql<{ count: number }>`select count(*) as count from (select 1 from reservations where ${where} limit ${most}) as found`.execute(kysely)
  return Number(row?.count)
}

/** When the one was made that is `count` behind the place, by time; null when there are not so many. */
async function madeBefore ({ kysely }: Database, from: Place | null, count: number): Promise<number | null> {
  const row = await kysely.selectFrom('reservations').select('made_at_ms').where(allOf(isAfter(from))).orderBy('made_at_ms', 'desc').offset(count).limit(1).executeTakeFirst()
  return row?.made_at_ms ?? null
}

/** By the index of times, unless the conditions alone leave few. */
async function newest ({ kysely, engine }: Database, where: readonly RawBuilder<boolean>[], limit: number, areFew: boolean): Promise<ReservationsTable[]> {
  const byTime = engine === 'sqlite' && !areFew ? sql`indexed by reservations_made` : sql``
  const { rows } = await sql<ReservationsTable>`select * from reservations ${byTime} where ${allOf(where)}
    order by made_at_ms desc, id desc limit ${limit}`.execute(kysely)
  return rows
}
