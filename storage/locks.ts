// What a transaction must lock where several processes write one ledger. A row of `lots` stands for everything of that lot: its
// sensors, bays, reservations and waiting list are read only after it is locked. What is not of one lot has a name that is locked.
// Locks are taken in one order and last until the transaction ends. SQLite has one writer at a time and needs none.
import { createHash } from 'node:crypto'
import { sql } from 'kysely'
import type { Id } from '../shared/lot.js'
import { ask, type Question } from './questions.js'
import { byKeys, type Database } from './rows.js'
import type { LotsTable } from './tables.js'

/** Groups of lots that do not exist, less one: a power of two. */
const GROUPS = 63n

/** The rows of those of these lots that exist, locked; nobody else makes the others meanwhile. */
export async function lockLots (database: Database, ids: readonly Id[]): Promise<LotsTable[]> {
  const found = await ask(database, lockedLots(database, ids))
  if (database.engine === 'sqlite' || found.length === ids.length) return found
  // A lot that is not there has no row to lock, and another node may be making it. Anybody can name a thousand such lots, and
  // the server has room for so many locks only: those of one group share one.
  const known = new Set(found.map(row => row.id))
  const missing = ids.filter(id => !known.has(id))
  await lockNames(database, missing.map(id => `new lots ${keyOf(id) & GROUPS}`))
  return [...found, ...await ask(database, lockedLots(database, missing))]
}

/** The rows of those that exist, locked in the order of their ids. */
export function lockedLots (database: Database, ids: readonly Id[]): Question<LotsTable[]> {
  return byKeys(database, 'lots', ['id'], [...ids].sort().map(id => [id]), { locks: true })
}

/** Locks names that processes agree on, such as `plate ABC123`. */
export async function lockNames (database: Database, names: Iterable<string>): Promise<void> {
  await ask(database, lockedNames(database, names))
}

export function lockedNames ({ kysely, engine }: Database, names: Iterable<string>): Question<void> {
  const keys = engine === 'sqlite' ? [] : [...new Set([...names].map(keyOf))].sort((a, b) => a < b ? -1 : 1)
  const query = keys.length === 0 ? null : sql`select pg_advisory_xact_lock(key) from unnest(${keys.map(String)}::bigint[]) as key`.compile(kysely)
  return { query, read: () => {} }
}

/** 64 bits of a hash: two names with the same key would wait for each other, and nothing worse. */
function keyOf (name: string): bigint {
  return createHash('sha256').update(name).digest().readBigInt64BE()
}
