// All migrations in order. The number of a migration is its place in the file's history; a ledger with a higher number
// was written by a newer parkmq.
import { Migrator, type Kysely, type Migration } from 'kysely'
import type { Database, Engine } from '../rows.js'
import { initial } from './001-initial.js'
import { auditOfAccess } from './002-audit-of-access.js'
import { windowsAndWaiting } from './003-windows-and-waiting.js'
import { sources } from './004-sources.js'
import { severalNodes } from './005-several-nodes.js'
import { addressesOfNodes } from './006-addresses-of-nodes.js'
import { leases } from './007-leases.js'
import { lists } from './008-lists.js'

/** Name by number. Names sort in their order. */
export function migrations (engine: Engine): Record<string, Migration> {
  return {
    '001-initial': { up: initial(engine) },
    '002-audit-of-access': { up: auditOfAccess(engine) },
    '003-windows-and-waiting': { up: windowsAndWaiting(engine) },
    '004-sources': { up: sources(engine) },
    ...(engine === 'postgres' && { '005-several-nodes': { up: severalNodes }, '006-addresses-of-nodes': { up: addressesOfNodes }, '007-leases': { up: leases } }),
    '008-lists': { up: lists(engine) }
  }
}

/** Those that change indexes alone: rows of before fit into the tables after them as they are. */
export const OF_INDEXES: ReadonlySet<string> = new Set(['008-lists'])

/** Brings the tables to the newest shape, or to the one after the migration `last`. Throws what the failing migration threw. */
export async function migrate ({ kysely, engine }: Database, last?: string): Promise<void> {
  const migrator = new Migrator({
    db: kysely as Kysely<unknown> as never,
    provider: { getMigrations: async () => migrations(engine) }
  })
  const { error } = await (last === undefined ? migrator.migrateToLatest() : migrator.migrateTo(last))
  if (error) throw error instanceof Error ? error : new Error('a migration failed', { cause: error })
}

/** Migrations that the file has had, by name; none when it is new. */
export async function appliedMigrations ({ kysely }: Database): Promise<string[]> {
  const tables = await kysely.introspection.getTables({ withInternalKyselyTables: true })
  if (!tables.some(table => table.name === 'kysely_migration')) return []
  const rows = await (kysely as unknown as Kysely<{ kysely_migration: { name: string } }>).selectFrom('kysely_migration').select('name').orderBy('name').execute()
  return rows.map(row => row.name)
}
