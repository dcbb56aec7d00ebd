// Opens the ledger's SQLite file: one connection, WAL, every commit synced to disk before it returns, one process at a
// time. Of the driver, nothing outside this file, sqlite-dialect.ts, broker-store.ts and backup/ knows.
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import Driver from 'libsql'
import { Kysely, type SqliteDatabase, type SqliteStatement } from 'kysely'
import { messageOf, OperatorError } from '../shared/errors.js'
import { MeasuredPace, type CommitPace } from './commit-pace.js'
import { appliedMigrations, migrate, migrations } from './migrations/index.js'
import type { Database } from './rows.js'
import { PacedSqliteDialect } from './sqlite-dialect.js'
import { makeFolder, makePrivateFile, placeOf, PRAGMAS, refuseForeignFile } from './sqlite-file.js'
import type { Cell, Tables } from './tables.js'

/** `pkmq`: marks the file as ours (https://www.sqlite.org/fileformat.html#application_id). */
const APPLICATION_ID = 0x706b6d71
const MOST_CACHED_STATEMENTS = 200
/** A call of the driver costs as much as four rows. A power of two, so that there are few texts. */
const MOST_ROWS_AT_ONCE = 32

export interface OpenedSqlite {
  readonly database: Database
  /** Whether the file is still where it was opened: one that was deleted or replaced is written to nowhere. */
  isThere (): boolean
  close (): Promise<void>
}

export interface SqliteConnection {
  readonly driver: Driver.Database
  readonly database: Database
}

/** A connection to the file as it is. The end of its Kysely closes it. */
export function connectSqlite (file: string, pace: CommitPace = new MeasuredPace()): SqliteConnection {
  const driver = new Driver(file)
  const statements = cachingStatements(driver)
  const database: Database = {
    kysely: new Kysely<Tables>({ dialect: new PacedSqliteDialect({ driver, statements, pace }) }),
    engine: 'sqlite',
    runEach: (textOf, rows) => {
      for (let at = 0; at < rows.length;) {
        const count = rowsAtOnce(rows.length - at)
        const cells: Cell[] = []
        for (let i = at; i < at + count; i++) cells.push(...rows[i] ?? [])
        statements.prepare(textOf(count)).run(cells)
        at += count
      }
    }
  }
  return { driver, database }
}

export interface OpenSqliteOptions {
  /** The migration after which it stops; default: the newest. */
  readonly shape?: string | undefined
  /** Where its commits are done; default: by how long they take. */
  readonly pace?: CommitPace
}

/**
 * Opens `{folder}/ledger.db`, makes it when it is not there, and brings it to the newest shape, or to another one.
 * Throws `OperatorError`: `data_in_use`, `foreign_file`, `newer_file`, `cannot_open`.
 */
export async function openSqlite (folder: string, { shape, pace }: OpenSqliteOptions = {}): Promise<OpenedSqlite> {
  const path = resolve(folder)
  makeFolder(path)
  const release = lockFolder(path)
  try {
    const file = join(path, 'ledger.db')
    makePrivateFile(file)
    const { driver, database, database: { kysely } } = connectSqlite(file, pace)
    try {
      // Nothing is written before it is certain that the file is ours.
      await refuseForeign(database, driver, file)
      driver.pragma(`application_id = ${APPLICATION_ID}`)
      for (const pragma of PRAGMAS) driver.pragma(pragma)
      await migrate(database, shape)
    } catch (error) {
      await kysely.destroy()
      throw error
    }
    return {
      database,
      isThere: placeOf(file),
      close: async () => {
        // The log goes back into the file, so that a stopped ledger is one file.
        driver.pragma('wal_checkpoint(TRUNCATE)')
        await kysely.destroy()
        release()
      }
    }
  } catch (error) {
    release()
    if (error instanceof OperatorError) throw error
    throw new OperatorError('cannot_open', `cannot open the ledger in ${path}: ${messageOf(error)}`, { cause: error })
  }
}

/** Makes the data folder and holds it for as long as the process lives, as an open ledger does. Returns how to let it go. */
export function holdFolder (folder: string): () => void {
  const path = resolve(folder)
  makeFolder(path)
  return lockFolder(path)
}

/**
 * Holds an exclusive SQLite lock on `{folder}/lock` for as long as the process lives: the system frees it also after
 * kill -9, which a lock file with a process number does not give.
 */
function lockFolder (path: string): () => void {
  const file = join(path, 'lock')
  let lock: Driver.Database
  try {
    lock = new Driver(file)
    lock.exec('begin exclusive')
  } catch (error) {
    if (/locked|busy/i.test(messageOf(error))) {
      throw new OperatorError('data_in_use', `the data folder ${path} is in use by another parkmq; stop that one or choose another folder with --data`, { cause: error })
    }
    throw new OperatorError('cannot_open', `cannot lock the data folder ${path}: ${messageOf(error)}; check its permissions or choose another with --data`, { cause: error })
  }
  return () => lock.close()
}

/** Whether another process holds the folder, which has a lock file. */
export function isFolderInUse (path: string): boolean {
  if (!existsSync(join(path, 'lock'))) return false
  try {
    lockFolder(path)()
    return false
  } catch (error) {
    if (error instanceof OperatorError && error.code === 'data_in_use') return true
    throw error
  }
}

/** Throws `OperatorError` `foreign_file` or `newer_file`. */
export async function refuseForeign (database: Database, driver: Driver.Database, file: string): Promise<void> {
  const [{ application_id: id } = { application_id: 0 }] = driver.pragma('application_id') as { application_id: number }[]
  const tables = await database.kysely.introspection.getTables({ withInternalKyselyTables: true })
  refuseForeignFile(file, 'ledger', { wanted: APPLICATION_ID, found: id }, tables[0]?.name)
  const known = migrations('sqlite')
  const unknown = (await appliedMigrations(database)).filter(name => !Object.hasOwn(known, name))
  if (unknown.length > 0) {
    throw new OperatorError('newer_file', `${file} was written by a newer parkmq (it has the change ${unknown.join(', ')}); install that version, or restore a backup made before it`)
  }
}

/** The greatest power of two that is not more than `rows`, or than what one statement takes. */
function rowsAtOnce (rows: number): number {
  return Math.min(MOST_ROWS_AT_ONCE, 2 ** (31 - Math.clz32(rows)))
}

/** Kysely prepares at each call; the texts are few (rows.ts), so each is prepared once. */
function cachingStatements (driver: Driver.Database): SqliteDatabase {
  const statements = new Map<string, SqliteStatement>()
  const rollback: SqliteStatement = {
    reader: false,
    all: () => [],
    iterate: () => [][Symbol.iterator](),
    // SQLite rolls back by itself on a full disk; a second rollback would hide that error behind its own.
    run: () => {
      if (driver.inTransaction) driver.exec('rollback')
      return { changes: 0, lastInsertRowid: 0 }
    }
  }
  return {
    prepare (text) {
      if (text === 'rollback') return rollback
      let statement = statements.get(text)
      if (statement) {
        // The one that was not used for longest makes room.
        statements.delete(text)
        statements.set(text, statement)
        return statement
      }
      statement = driver.prepare(text)
      if (statements.size >= MOST_CACHED_STATEMENTS) statements.delete(statements.keys().next().value ?? '')
      statements.set(text, statement)
      return statement
    },
    close: () => driver.close()
  }
}

const STORAGE_CODES = /^SQLITE_(FULL|IOERR|READONLY|CANTOPEN|BUSY|LOCKED|NOMEM|PERM|AUTH|PROTOCOL|CORRUPT|NOTADB)/

/** Whether the error says that the ledger cannot be read or written now, rather than that a statement is wrong. */
export function isSqliteUnavailable (error: unknown): boolean {
  const code: unknown = error instanceof Error ? (error as Error & { code?: unknown }).code : undefined
  if (typeof code === 'string' && STORAGE_CODES.test(code)) return true
  // The driver gives some I/O errors no code of their own.
  return /disk is full|disk I\/O error|readonly database|unable to open database file|database is locked|malformed|not a database/i.test(messageOf(error))
}
