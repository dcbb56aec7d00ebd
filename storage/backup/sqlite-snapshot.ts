// The ledger's file as of one moment, read over a second connection: in WAL mode a reader waits for no writer and no writer
// for it. As long as it reads, the log cannot be begun anew, and grows by what is written meanwhile.
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { messageOf, OperatorError } from '../../shared/errors.js'
import { appliedMigrations } from '../migrations/index.js'
import { connectSqlite, refuseForeign, type SqliteConnection } from '../sqlite.js'
import { LEDGER_TABLES, NUMBERED, NUMBERS, schemaNames, tableSection, TOLD, type Row, type Snapshot } from './format.js'

const ROWS_A_PART = 2_000
const EVENTS = 'events'

/** Throws `OperatorError`: `no_ledger`, `foreign_file`, `newer_file`, `older_file`, `cannot_open`. */
export async function snapshotOfSqlite (folder: string): Promise<Snapshot> {
  const file = join(resolve(folder), 'ledger.db')
  if (!existsSync(file)) throw new OperatorError('no_ledger', `there is no ledger in ${resolve(folder)}; name its folder with --data, or its database with --database`)
  let connection: SqliteConnection | null = null
  try {
    connection = connectSqlite(file)
    const { driver, database } = connection
    // One that the newest shape is just being given to is waited for.
    driver.exec('pragma busy_timeout = 5000')
    await refuseForeign(database, driver, file)
    driver.exec('begin')
    const applied = new Set(await appliedMigrations(database))
    const missing = schemaNames().filter(name => !applied.has(name))
    if (missing.length > 0) {
      throw new OperatorError('older_file', `${file} was written by an older parkmq (it lacks the change ${missing.join(', ')}); start this parkmq on it once, or back it up with that version`)
    }
    return { engine: 'sqlite', parts: () => parts(driver), close: async () => await database.kysely.destroy() }
  } catch (error) {
    await connection?.database.kysely.destroy()
    if (error instanceof OperatorError) throw error
    throw new OperatorError('cannot_open', `cannot read the ledger ${file}: ${messageOf(error)}`, { cause: error })
  }
}

async function* parts (driver: SqliteConnection['driver']): ReturnType<Snapshot['parts']> {
  const rowsOf = (text: string): IterableIterator<Row> => (driver.prepare(text) as unknown as { raw (): { iterate (): IterableIterator<Row> } }).raw().iterate()
  for (const table of LEDGER_TABLES) {
    const section = tableSection(table)
    let rows: Row[] = []
    for (const row of rowsOf(`select ${section.columns.map(([name]) => `"${name}"`).join(', ')} from ${table} order by ${section.keys.join(', ')}`)) {
      if (rows.push(row) < ROWS_A_PART) continue
      yield { section, rows }
      rows = []
      // The driver frees what it has read only when the event loop turns.
      await new Promise(resolve => setImmediate(resolve))
    }
    yield { section, rows }
  }
  const numbers = Object.keys(NUMBERED).map(table => `select '${table}', coalesce((select seq from sqlite_sequence where name = '${table}'), 0)`)
  yield { section: NUMBERS, rows: [...rowsOf(numbers.join(' union all '))] }
  // Notices are forgotten when they are sent: none of those that are there was.
  yield { section: TOLD, rows: [...rowsOf(`select '', position, 0 from cursors where name = '${EVENTS}'`)] }
}
