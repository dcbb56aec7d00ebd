// The ledger in a PostgreSQL database as of one moment: one read-only transaction at `repeatable read`. It locks nothing that
// nodes wait for.
import { sql, type Kysely } from 'kysely'
import { messageOf, OperatorError } from '../../shared/errors.js'
import { appliedMigrations, migrations } from '../migrations/index.js'
import { eventsCursor } from '../node-rows.js'
import { connectPostgres, refuseForeign } from '../postgres.js'
import { parsePostgresUrl } from '../postgres-url.js'
import type { Cell, Tables } from '../tables.js'
import { LEDGER_TABLES, NUMBERED, NUMBERS, tableSection, TOLD, type Row, type Section, type Snapshot } from './format.js'

const ROWS_A_PART = 2_000

/** Throws `OperatorError`: `bad_config`, `no_ledger`, `foreign_file`, `newer_file`, `older_file`, `cannot_open`. */
export async function snapshotOfPostgres (url: string): Promise<Snapshot> {
  const target = parsePostgresUrl(url)
  const kysely = connectPostgres(target, 'parkmq backup')
  try {
    const database = { kysely, engine: 'postgres' } as const
    await refuseForeign(database, target.database)
    const applied = new Set(await appliedMigrations(database))
    if (applied.size === 0) throw new OperatorError('no_ledger', `there is no ledger in the database ${target.database}; name another with --database`)
    const missing = Object.keys(migrations('postgres')).filter(name => !applied.has(name))
    if (missing.length > 0) {
      throw new OperatorError('older_file', `the database ${target.database} was written by an older parkmq (it lacks the change ${missing.join(', ')}); start this parkmq on it once, or back it up with that version`)
    }
    return { engine: 'postgres', parts: () => parts(kysely), close: async () => await kysely.destroy() }
  } catch (error) {
    await kysely.destroy()
    if (error instanceof OperatorError) throw error
    throw new OperatorError('cannot_open', `cannot read the ledger in the database ${target.database}: ${messageOf(error)}; check --database, and that the server lets this user in`, { cause: error })
  }
}

/** The pool has one connection, so every statement is of the one transaction. */
async function* parts (kysely: Kysely<Tables>): ReturnType<Snapshot['parts']> {
  const run = async (text: string): Promise<Record<string, Cell>[]> => (await sql<Record<string, Cell>>`${sql.raw(text)}`.execute(kysely)).rows
  await run('begin isolation level repeatable read read only')
  try {
    // Whoever takes the file may be slow.
    for (const name of ['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout']) await run(`set local ${name} = 0`)
    for (const table of LEDGER_TABLES) yield* rowsOf(run, tableSection(table))
    // Sequences are as they are now, which is no less than at that moment.
    const numbers: Row[] = []
    for (const [table, column] of Object.entries(NUMBERED)) {
      const [row] = await run(`select case when is_called then last_value else 0 end as last from ${table}_${column}_seq`)
      numbers.push([table, row?.last ?? 0])
    }
    yield { section: NUMBERS, rows: numbers }
    const told = await run(`select n.node, coalesce(c.position, 0) as events, n.noticed as notices from nodes as n join cursors as c on c.name = '${eventsCursor('')}' || n.node order by n.node collate "C"`)
    yield { section: TOLD, rows: told.map(row => cells(TOLD, row)) }
  } finally {
    await run('rollback')
  }
}

async function* rowsOf (run: (text: string) => Promise<Record<string, Cell>[]>, section: Section & { readonly keys: readonly string[] }): ReturnType<Snapshot['parts']> {
  // By the bytes of the key, as in the file: the same rows make the same backup.
  const types = new Map(section.columns)
  const order = section.keys.map(key => types.get(key) === 'text' ? `"${key}" collate "C"` : `"${key}"`)
  await run(`declare rows_of_backup no scroll cursor for select ${section.columns.map(([name]) => `"${name}"`).join(', ')} from ${section.name} order by ${order.join(', ')}`)
  for (;;) {
    const rows = await run(`fetch ${ROWS_A_PART} from rows_of_backup`)
    yield { section, rows: rows.map(row => cells(section, row)) }
    if (rows.length < ROWS_A_PART) break
  }
  await run('close rows_of_backup')
}

function cells ({ columns }: Section, row: Record<string, Cell>): Row {
  return columns.map(([name]) => row[name] ?? null)
}
