// Restores into an empty PostgreSQL database in one transaction. Nodes that start meanwhile wait for its end.
import { sql, type Kysely } from 'kysely'
import { messageOf, OperatorError } from '../../shared/errors.js'
import { eventsCursor } from '../node-rows.js'
import { connectPostgres, MIGRATING, openPostgres, SESSION_LOCKS } from '../postgres.js'
import { parsePostgresUrl, type PostgresTarget } from '../postgres-url.js'
import type { Database } from '../rows.js'
import type { Tables } from '../tables.js'
import { fill, type Rest, type Told } from './fill.js'
import { LEDGER_TABLES, NUMBERED } from './format.js'
import type { OpenedBackup } from './read.js'
import type { RestoreOptions } from './sqlite-restore.js'

export interface PostgresPlace {
  readonly url: string
  /** Which node takes the place of the one process of a ledger in a file. */
  readonly node: string
}

/** Throws `OperatorError`: `bad_config`, `data_in_use`, `not_empty`, `older_file`, `bad_backup`, `foreign_file`, `newer_file`, `cannot_open`. */
export async function restoreIntoDatabase ({ url, node }: PostgresPlace, backup: OpenedBackup, options: RestoreOptions): Promise<Rest> {
  const target = parsePostgresUrl(url)
  if (backup.olderShape !== null) {
    throw new OperatorError('older_file', `the backup was made by an older parkmq (${backup.header.parkmq}): restore it into a folder with --data, start this parkmq on that once, and move it here with a new backup`)
  }
  // Makes the tables.
  await (await openPostgres({ target, node: 'restore', connections: 1 })).close()
  const connection = connectPostgres(target, 'parkmq restore')
  try {
    return await connection.transaction().setIsolationLevel('read committed').execute(async kysely => {
      for (const name of ['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout']) await sql`set local ${sql.raw(name)} = 0`.execute(kysely)
      await sql`select pg_advisory_xact_lock(${SESSION_LOCKS}::int, ${MIGRATING}::int)`.execute(kysely)
      await refuseUsed(kysely, target)
      const rest = await fill({ kysely, engine: 'postgres' }, backup, options)
      await finish({ kysely, engine: 'postgres' }, rest, node)
      options.signal?.throwIfAborted()
      await options.beforeEnd(rest)
      return rest
    })
  } catch (error) {
    if (error instanceof OperatorError || options.signal?.aborted === true) throw error
    throw new OperatorError('cannot_open', `cannot restore into the database ${target.database}: ${messageOf(error)}; nothing was changed`, { cause: error })
  } finally {
    await connection.destroy()
  }
}

async function refuseUsed (kysely: Kysely<Tables>, { database }: PostgresTarget): Promise<void> {
  // Every node holds a lock on its name as long as it lives.
  const { rows: nodes } = await sql`select from pg_locks where locktype = 'advisory' and classid = ${SESSION_LOCKS} and objid <> ${MIGRATING}
    and database = (select oid from pg_database where datname = current_database())`.execute(kysely)
  if (nodes.length > 0) throw new OperatorError('data_in_use', `${nodes.length} running parkmq use the database ${database}; stop them or name another with --database`)
  for (const table of LEDGER_TABLES) {
    const { rows: [row] } = await sql<{ is_used: boolean }>`select exists (select from ${sql.table(table)}) as is_used`.execute(kysely)
    if (row?.is_used === true) throw new OperatorError('not_empty', `the database ${database} has a ledger already (there are ${table}); make a new one with createdb, and name it with --database`)
  }
}

async function finish ({ kysely }: Database, { numbers, told }: Rest, node: string): Promise<void> {
  for (const [table, column] of Object.entries(NUMBERED)) {
    const last = numbers.get(table as keyof typeof NUMBERED) ?? 0
    if (last > 0) await sql`select setval(${`${table}_${column}_seq`}, ${last}::bigint)`.execute(kysely)
  }
  await sql`delete from cursors`.execute(kysely)
  await sql`delete from nodes`.execute(kysely)
  for (const one of placesOf(told, node)) {
    await kysely.insertInto('cursors').values({ name: eventsCursor(one.node), position: one.events }).execute()
    // Seen just now, or its place would be forgotten; without addresses, since it is not there.
    await sql`insert into nodes (node, seen_at_ms, noticed) values (${one.node}, floor(extract(epoch from clock_timestamp()) * 1000)::bigint, ${one.notices})`.execute(kysely)
  }
}

/** Nodes go on where they were. One that was not there goes on for all, so that what nobody has told yet is told. */
function placesOf (told: readonly Told[], node: string): Told[] {
  const named = told.filter(one => one.node !== '')
  if (told.length === 0 || named.some(one => one.node === node)) return named
  return [...named, { node, events: Math.min(...told.map(({ events }) => events)), notices: Math.min(...told.map(({ notices }) => notices)) }]
}
