// The audit: an append-only list of what changed, by whom and why, written in the transaction of the change. What
// concerns the public leaves on `lots/{lot}/events` by a cursor, at least once, across restarts.
import { sql } from 'kysely'
import type { Id } from '../shared/lot.js'
import type { LotEvent } from '../shared/schemas.js'
import { insertRows, upsert, type Database } from './rows.js'
import type { AuditTable } from './tables.js'

/** One line. `type` is `{noun}.{past tense}`; before and after are small JSON values without personal data. */
export interface AuditEntry {
  readonly lot: Id
  readonly type: string
  /** `sensor:{id}`, `client:{id}`, `user:{name}` or `time`. */
  readonly who: string
  readonly why?: string
  readonly reservation?: string
  readonly sensor?: Id
  readonly before?: unknown
  readonly after?: unknown
}

const COLUMNS = ['at_ms', 'lot', 'type', 'who', 'why', 'reservation', 'sensor', 'before', 'after'] as const

export async function appendAudit (database: Database, atMs: number, entries: readonly AuditEntry[]): Promise<void> {
  await insertRows(database, 'audit', COLUMNS, entries.map(entry => ({
    at_ms: atMs,
    lot: entry.lot,
    type: entry.type,
    who: entry.who,
    why: entry.why ?? null,
    reservation: entry.reservation ?? null,
    sensor: entry.sensor ?? null,
    before: entry.before === undefined ? null : JSON.stringify(entry.before),
    after: entry.after === undefined ? null : JSON.stringify(entry.after)
  })))
}

/** At most `limit` events after `position`, oldest first, as they are published. */
export async function eventsAfter ({ kysely }: Database, position: number, limit: number): Promise<LotEvent[]> {
  const rows = await kysely.selectFrom('audit').selectAll().where('id', '>', position).orderBy('id').limit(limit).execute()
  return rows.map(eventOf)
}

function eventOf (row: AuditTable): LotEvent {
  return {
    id: row.id,
    type: row.type,
    lot: row.lot,
    at: new Date(row.at_ms).toISOString(),
    ...(row.reservation !== null && { reservation: row.reservation }),
    ...(row.sensor !== null && { sensor: row.sensor }),
    ...(row.why !== null && { why: row.why }),
    ...(row.before !== null && { before: JSON.parse(row.before) as unknown }),
    ...(row.after !== null && { after: JSON.parse(row.after) as unknown })
  }
}

/** Where the reader named `name` stands; null when it has never read. */
export async function cursorOf ({ kysely }: Database, name: string): Promise<number | null> {
  const row = await kysely.selectFrom('cursors').select('position').where('name', '=', name).executeTakeFirst()
  return row?.position ?? null
}

export async function moveCursor (database: Database, name: string, position: number): Promise<void> {
  await upsert(database, 'cursors', ['name'], [{ name, position }])
}

/** Forgets at most `limit` lines older than `beforeMs` that every cursor has passed. Returns how many. */
export async function pruneAudit ({ kysely }: Database, beforeMs: number, limit: number): Promise<number> {
  const result = await sql`delete from audit where id in (
    select id from audit where at_ms < ${beforeMs} and id <= (select coalesce(min(position), 0) from cursors) order by id limit ${limit}
  )`.execute(kysely)
  return Number(result.numAffectedRows ?? 0)
}
