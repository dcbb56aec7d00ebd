// Opens the ledger in a PostgreSQL database, which several processes use at the same time. Whatever is only of PostgreSQL is in
// the files beside this one; none of them is loaded where the ledger is a file.
import { Kysely, PostgresDialect, sql } from 'kysely'
import { messageOf, OperatorError } from '../shared/errors.js'
import type { Log } from '../shared/log.js'
import { appliedMigrations, migrate, migrations } from './migrations/index.js'
import { WritablePool, writableHost } from './postgres-pool.js'
import { parsePostgresUrl, type PostgresTarget } from './postgres-url.js'
import type { Database } from './rows.js'
import type { Tables } from './tables.js'

/** Of session locks, apart from those of transactions (locks.ts): `pkmq`, and what it is for. */
export const SESSION_LOCKS = 0x706b6d71
/** Held while the tables are made or filled: nodes that start meanwhile wait for it. */
export const MIGRATING = 0
/** Marks the database as ours. */
const MARK = 'parkmq_ledger'

export interface OpenedPostgres {
  readonly database: Database
  readonly pool: WritablePool
  close (): Promise<void>
}

export interface PostgresParts {
  readonly target: PostgresTarget
  readonly node: string
  /** Most connections for transactions and reads. */
  readonly connections: number
  readonly log?: Log | undefined
}

/**
 * Connects to the host that can be written, makes the tables where there are none, and brings them to the newest shape; nodes that
 * start together do so one after the other. Throws `OperatorError`: `foreign_file`, `newer_file`, `cannot_open`.
 */
export async function openPostgres ({ target, node, connections, log }: PostgresParts): Promise<OpenedPostgres> {
  const name = `parkmq ${node}`
  const pool = new WritablePool({ target, max: connections, name, log })
  const kysely = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) })
  try {
    await prepare(target, name)
    await warn(kysely, log)
    return { database: { kysely, engine: 'postgres' }, pool, close: async () => await kysely.destroy() }
  } catch (error) {
    await kysely.destroy()
    if (error instanceof OperatorError) throw error
    throw new OperatorError('cannot_open', `cannot open the ledger in the database ${target.database}: ${messageOf(error)}; check --database, and that the server lets this user in and make tables`, { cause: error })
  }
}

/** What `parkmq doctor` tells of a database. Throws why it cannot be used. */
export async function describePostgres (url: string): Promise<{ host: string, version: string, commit: string, isSafe: boolean }> {
  const target = parsePostgresUrl(url)
  const kysely = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: new WritablePool({ target, max: 1, name: 'parkmq doctor' }) }) })
  try {
    const { host, port } = await writableHost(target, 'parkmq doctor')
    const { rows: [row] } = await sql<{ version: string }>`select current_setting('server_version') as version`.execute(kysely)
    return { host: `${host}:${port}`, version: row?.version ?? '', ...await safetyOf(kysely) }
  } finally {
    await kysely.destroy()
  }
}

/** One connection, without limits on the time of a statement. */
export function connectPostgres (target: PostgresTarget, name: string): Kysely<Tables> {
  return new Kysely<Tables>({ dialect: new PostgresDialect({ pool: new WritablePool({ target, max: 1, name, timeouts: false }) }) })
}

async function prepare (target: PostgresTarget, name: string): Promise<void> {
  // The lock's connection does nothing else: the migrations have one of their own, for as long as they take.
  const guard = connectPostgres(target, name)
  const kysely = connectPostgres(target, name)
  try {
    await guard.connection().execute(async one => {
      await sql`select pg_advisory_lock(${SESSION_LOCKS}::int, ${MIGRATING}::int)`.execute(one)
      const database: Database = { kysely, engine: 'postgres' }
      await refuseForeign(database, target.database)
      await sql`create table if not exists ${sql.table(MARK)} (made_at timestamptz not null default now())`.execute(kysely)
      await migrate(database)
    })
  } finally {
    // The end of its connection gives the lock back.
    await guard.destroy()
    await kysely.destroy()
  }
}

/** Throws `OperatorError` `foreign_file` or `newer_file`. */
export async function refuseForeign (database: Database, name: string): Promise<void> {
  const { rows } = await sql<{ name: string }>`select tablename as name from pg_tables where schemaname = current_schema() order by tablename`.execute(database.kysely)
  if (rows.length > 0 && !rows.some(table => table.name === MARK)) {
    throw new OperatorError('foreign_file', `the database ${name} is not a parkmq ledger (it has the table ${rows[0]?.name}); name another with --database`)
  }
  const known = migrations('postgres')
  const unknown = (await appliedMigrations(database)).filter(migration => !Object.hasOwn(known, migration))
  if (unknown.length > 0) {
    throw new OperatorError('newer_file', `the database ${name} was written by a newer parkmq (it has the change ${unknown.join(', ')}); install that version, or restore a backup made before it`)
  }
}

/** PUBACK means what the server's settings make of a commit: that is the operator's, and said where it is less than it sounds. */
async function warn (kysely: Kysely<Tables>, log: Log | undefined): Promise<void> {
  const { commit, isSafe } = await safetyOf(kysely)
  if (!isSafe) log?.warn({ commit }, 'the database answers a commit before it is on disk: what was acknowledged may be lost in a crash of its machine')
}

async function safetyOf (kysely: Kysely<Tables>): Promise<{ commit: string, isSafe: boolean }> {
  const { rows: [row] } = await sql<{ commit: string, sync: string }>`select current_setting('synchronous_commit') as commit, current_setting('fsync') as sync`.execute(kysely)
  const { commit = '', sync = '' } = row ?? {}
  return { commit: `synchronous_commit ${commit}, fsync ${sync}`, isSafe: commit !== 'off' && sync === 'on' }
}
