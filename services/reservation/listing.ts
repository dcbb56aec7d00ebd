// `list`: reservations a page at a time, the newest first. Whatever is asked for and however many there are, one request looks
// at so many rows: a status that is rare in a long history must not hold everybody up while all of it is read.
import { sql, type RawBuilder } from 'kysely'
import type { Reservation } from '../../shared/reservation.js'
import type { RequestBody } from '../../shared/schemas.js'
import { reservationOf } from '../../storage/records.js'
import type { Database, Engine } from '../../storage/rows.js'
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
  const index = owner !== null ? 'reservations_owner' : plate !== undefined ? 'reservations_plate' : 'reservations_made'
  const inIndex = whereEqual(owner !== null ? { owner } : { plate })
  const others = whereEqual(owner !== null ? { plate, lot, status } : { lot, status })
  const from = after === undefined ? null : placeOf(after)
  const following = [...inIndex, ...isAfter(from)]
  const lookedAtUntilMs = others.length === 0 ? null : await madeBefore(database, index, following, lookedAtOnce)
  const rows = await newest(database, index, [
    ...following, ...others, ...lookedAtUntilMs === null ? [] : [sql<boolean>`made_at_ms >= ${lookedAtUntilMs}`]
  ], limit)
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

/** When the one was made that has `count` before it, of those for which `where` holds and the newest first; null when there are not so many. */
async function madeBefore ({ kysely, engine }: Database, index: string, where: readonly RawBuilder<boolean>[], count: number): Promise<number | null> {
  const { rows: [row] } = await sql<{ made_at_ms: number }>`select made_at_ms from reservations ${byIndex(engine, index)} where ${allOf(where)}
    order by made_at_ms desc limit 1 offset ${count}`.execute(kysely)
  return row?.made_at_ms ?? null
}

async function newest ({ kysely, engine }: Database, index: string, where: readonly RawBuilder<boolean>[], limit: number): Promise<ReservationsTable[]> {
  const { rows } = await sql<ReservationsTable>`select * from reservations ${byIndex(engine, index)} where ${allOf(where)}
    order by made_at_ms desc, id desc limit ${limit}`.execute(kysely)
  return rows
}

/** SQLite has no figures of the table, and would take any index that has one of the columns. */
function byIndex (engine: Engine, index: string): RawBuilder<unknown> {
  return engine === 'sqlite' ? sql`indexed by ${sql.ref(index)}` : sql``
}
