// The audit: an append-only list of what changed, who came in and who was refused, written in the transaction of the
// change. What concerns a lot leaves on `lots/{lot}/events` by a cursor, at least once, across restarts; who did it and
// from where is never told there.
import { sql } from 'kysely'
import type { Id } from '../shared/lot.js'
import type { AuditLine, LotEvent } from '../shared/schemas.js'
import type { Question } from './questions.js'
import { insertRows, upsert, type Database } from './rows.js'
import type { AuditTable } from './tables.js'

/** One line. `type` is `{noun}.{past tense}`; before and after are small JSON values without personal data. */
export interface AuditEntry {
  /** Absent in a line that concerns no lot: it is not for the public. */
  readonly lot?: Id
  readonly type: string
  /** `sensor:{id}`, `client:{id}`, `user:{name}` or `time`. */
  readonly who: string
  /** Where it came from, if that is known. */
  readonly address?: string
  readonly why?: string
  readonly reservation?: string
  readonly sensor?: Id
  readonly before?: unknown
  readonly after?: unknown
  /** When it happened, if that was before the transaction. */
  readonly atMs?: number
}

/** How the audit names somebody who sent a message: the user, or the client where there is none. */
export function whoIs (user: string | null, clientId: string | null): string {
  return user !== null ? `user:${user}` : clientId !== null ? `client:${printable(clientId)}` : 'client'
}

/** Longest text of a client's making in a line, in characters. */
const LONGEST_TEXT = 200
/** What would write on an operator's terminal, turn its lines around, or be no text at all. */
const NOT_PRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Noncharacter_Code_Point}]/gu

/** The beginning of a text that a client made, without what is not to be seen. */
export function printable (text: string): string {
  const short = text.length <= LONGEST_TEXT ? text : `${text.slice(0, LONGEST_TEXT)}...`
  return short.replace(NOT_PRINTABLE, '?')
}

const COLUMNS = ['at_ms', 'lot', 'type', 'who', 'address', 'why', 'reservation', 'sensor', 'before', 'after'] as const
const NUMBERED = ['id', ...COLUMNS] as const

/** `firstId`: the number of the first line, where the writer gives them; null where the engine does. */
export async function appendAudit (database: Database, atMs: number, entries: readonly AuditEntry[], firstId: number | null): Promise<AuditTable[]> {
  const rows = entries.map((entry, i): AuditTable => ({
    id: (firstId ?? 0) + i,
    at_ms: entry.atMs ?? atMs,
    lot: entry.lot ?? null,
    type: entry.type,
    who: entry.who,
    address: entry.address ?? null,
    why: entry.why ?? null,
    reservation: entry.reservation ?? null,
    sensor: entry.sensor ?? null,
    before: entry.before === undefined ? null : JSON.stringify(entry.before),
    after: entry.after === undefined ? null : JSON.stringify(entry.after)
  }))
  await insertRows(database, 'audit', firstId === null ? COLUMNS : NUMBERED, rows)
  return rows
}

/** The number that the next line gets, where nobody else writes. */
export async function nextLine ({ kysely }: Database): Promise<number> {
  const { rows } = await sql<{ seq: number }>`select seq from sqlite_sequence where name = 'audit'`.execute(kysely)
  return (rows[0]?.seq ?? 0) + 1
}

/** Events of lines that have numbers without a gap. */
export interface EventsRead {
  readonly first: number
  readonly last: number
  readonly events: readonly LotEvent[]
}

/** What is to be published of lines that were just written; null of none. */
export function eventsOf (rows: readonly AuditTable[]): EventsRead | null {
  const [first, last] = [rows[0], rows.at(-1)]
  return first && last ? { first: first.id, last: last.id, events: rows.flatMap(eventOf) } : null
}

export interface Events {
  /** As they are published, oldest first. */
  readonly events: LotEvent[]
  /** Where the next ones begin; null when there are no lines any more. */
  readonly position: number | null
}

/** At most `limit` lines after `position`, by their numbers. */
export function linesAfter ({ kysely }: Database, position: number, limit: number): Question<AuditTable[]> {
  return { query: kysely.selectFrom('audit').selectAll().where('id', '>', position).orderBy('id').limit(limit).compile(), read: rows => rows as AuditTable[] }
}

/** The events among lines up to the number `upTo`: lines without a lot are for nobody, and are passed over. */
export function eventsUpTo (lines: readonly AuditTable[], upTo: number): Events {
  const settled = lines.filter(({ id }) => id <= upTo)
  return { events: settled.flatMap(eventOf), position: settled.at(-1)?.id ?? null }
}

function eventOf (row: AuditTable): LotEvent[] {
  return row.lot === null ? [] : [withDetails({ id: row.id, type: row.type, lot: row.lot, at: new Date(row.at_ms).toISOString() }, row)]
}

/** Which lines are asked for; all conditions hold together. */
export interface AuditQuery {
  /** From this time on. */
  readonly sinceMs?: number | undefined
  /** Before this time. */
  readonly untilMs?: number | undefined
  readonly lot?: Id | undefined
  readonly user?: string | undefined
  /** The last number of the page before. */
  readonly after?: number | undefined
  readonly limit: number
}

export interface AuditPage {
  readonly lines: AuditLine[]
  /** What `after` of the next page is; null when there is none. A page may be short, and still not be the last one. */
  readonly next: number | null
}

/** Lines that one query looks at: a rare user in a long audit must not stop the process while all of it is read. */
const LOOKED_AT_ONCE = 10_000
/** A line may have a number that is later than its time, by a delay of the ledger or a clock that was set: by so many lines at most. */
const DISORDER = 10_000

/** At most `limit` lines in the order of their numbers, with everything that operators may know. */
export async function auditLines (database: Database, { sinceMs, untilMs, lot, user, after, limit }: AuditQuery): Promise<AuditPage> {
  const { kysely } = database
  const first = after !== undefined ? after + 1 : sinceMs !== undefined ? await firstSince(database, sinceMs) : await edge(database, 'min')
  const last = untilMs !== undefined ? await lastBefore(database, untilMs) : await edge(database, 'max')
  if (first === null || last === null) return { lines: [], next: null }
  const end = Math.min(last, first + LOOKED_AT_ONCE - 1)
  const rows = await kysely.selectFrom('audit').selectAll().where('id', '>=', first).where('id', '<=', end)
    .$if(sinceMs !== undefined, query => query.where('at_ms', '>=', sinceMs as number))
    .$if(untilMs !== undefined, query => query.where('at_ms', '<', untilMs as number))
    .$if(lot !== undefined, query => query.where('lot', '=', lot as Id))
    .$if(user !== undefined, query => query.where('who', '=', `user:${user}`))
    .orderBy('id').limit(limit).execute()
  const seen = rows.length === limit ? rows.at(-1)?.id ?? end : end
  return { lines: rows.map(lineOf), next: seen < last ? seen : null }
}

/** The number of the newest line; 0 where there is none. */
export async function newestLine (database: Database): Promise<number> {
  return await edge(database, 'max') ?? 0
}

async function edge ({ kysely }: Database, which: 'min' | 'max'): Promise<number | null> {
  const row = await kysely.selectFrom('audit').select(e => e.fn<number | null>(which, ['id']).as('id')).executeTakeFirst()
  return row?.id ?? null
}

// `id + 0` keeps SQLite from walking along the numbers where the index of times is the short way.

async function firstSince ({ kysely }: Database, sinceMs: number): Promise<number | null> {
  const { rows } = await sql<{ id: number | null }>`select min(id) as id from (select id + 0 as id from audit where at_ms >= ${sinceMs}
    order by at_ms limit ${DISORDER}) as near`.execute(kysely)
  return rows[0]?.id ?? null
}

async function lastBefore ({ kysely }: Database, untilMs: number): Promise<number | null> {
  const { rows } = await sql<{ id: number | null }>`select max(id) as id from (select id + 0 as id from audit where at_ms < ${untilMs}
    order by at_ms desc limit ${DISORDER}) as near`.execute(kysely)
  return rows[0]?.id ?? null
}

function lineOf (row: AuditTable): AuditLine {
  const line: AuditLine = { id: row.id, at: new Date(row.at_ms).toISOString(), type: row.type, who: row.who }
  if (row.address !== null) line.address = row.address
  if (row.lot !== null) line.lot = row.lot
  return withDetails(line, row)
}

/** With what operators and the public may both know. */
function withDetails<T extends AuditLine | LotEvent> (shown: T, row: AuditTable): T {
  if (row.reservation !== null) shown.reservation = row.reservation
  if (row.sensor !== null) shown.sensor = row.sensor
  if (row.why !== null) shown.why = row.why
  if (row.before !== null) shown.before = JSON.parse(row.before) as unknown
  if (row.after !== null) shown.after = JSON.parse(row.after) as unknown
  return shown
}

/** Where the reader named `name` stands; null when it has never read. */
export async function cursorOf ({ kysely }: Database, name: string): Promise<number | null> {
  const row = await kysely.selectFrom('cursors').select('position').where('name', '=', name).executeTakeFirst()
  return row?.position ?? null
}

export async function moveCursor (database: Database, name: string, position: number): Promise<void> {
  await upsert(database, 'cursors', ['name'], [{ name, position }])
}

/**
 * Forgets at most `limit` lines older than `beforeMs` that every cursor has passed. No cursor waits for those without a
 * lot. Returns how many.
 */
export async function pruneAudit ({ kysely }: Database, beforeMs: number, limit: number): Promise<number> {
  const result = await sql`delete from audit where id in (
    select id from audit where at_ms < ${beforeMs} and (lot is null or id <= (select coalesce(min(position), 0) from cursors)) order by at_ms limit ${limit}
  )`.execute(kysely)
  return Number(result.numAffectedRows ?? 0)
}
