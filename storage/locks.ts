// What a transaction must lock where several processes write one ledger. A row of `lots` stands for everything of that lot: its
// sensors, bays, reservations and waiting list are read only after it is locked. What is not of one lot has a name that is locked.
// Locks are taken in one order and last until the transaction ends. SQLite has one writer at a time and needs none.
import { createHash } from 'node:crypto'
import { sql } from 'kysely'
import type { Id } from '../shared/lot.js'
import { selectByKeys, type Database } from './rows.js'
import type { LotsTable } from './tables.js'

/** Groups of lots that do not exist, less one: a power of two. */
const GROUPS = 63n

/** The rows of those of these lots that exist, locked; nobody else makes the others meanwhile. */
export async function lockLots (database: Database, ids: readonly Id[]): Promise<LotsTable[]> {
  if (database.engine === 'sqlite') return await selectByKeys(database, 'lots', ['id'], ids.map(id => [id]))
  const found = await lockRows(database, ids)
  if (found.length === ids.length) return found
  // A lot that is not there has no row to lock, and another node may be making it. Anybody can name a thousand such lots, and
  // the server has room for so many locks only: those of one group share one.
  const known = new Set(found.map(row => row.id))
  const missing = ids.filter(id => !known.has(id))
  await lockNames(database, missing.map(id => `new lots ${keyOf(id) & GROUPS}`))
  return [...found, ...await lockRows(database, missing)]
}

async function lockRows ({ kysely }: Database, ids: readonly Id[]): Promise<LotsTable[]> {
  if (ids.length === 0) return []
  const { rows } = await sql<LotsTable>`select * from lots where id = any(${ids}::text[]) order by id for update`.execute(kysely)
  return rows
}

/** Locks names that processes agree on, such as `plate ABC123`. */
export async function lockNames ({ kysely, engine }: Database, names: Iterable<string>): Promise<void> {
  if (engine === 'sqlite') return
  const keys = [...new Set([...names].map(keyOf))].sort((a, b) => a < b ? -1 : 1)
  if (keys.length > 0) await sql`select pg_advisory_xact_lock(key) from unnest(${keys.map(String)}::bigint[]) as key`.execute(kysely)
}

/** 64 bits of a hash: two names with the same key would wait for each other, and nothing worse. */
function keyOf (name: string): bigint {
  return createHash('sha256').update(name).digest().readBigInt64BE()
}
