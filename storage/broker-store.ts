// What the embedded broker keeps over a crash, in a SQLite file beside the ledger (docs/decisions/008). One connection; a
// batch is one transaction; its commit, which waits for the disk, runs beside the event loop. Never called by the services.
import { join, resolve } from 'node:path'
import Driver from 'libsql/promise'
import type { BrokerChanges, BrokerState, BrokerStore } from '../shared/broker-store.js'
import { messageOf, OperatorError, UnavailableError } from '../shared/errors.js'
import type { Metrics } from '../shared/metrics.js'
import { SHAPES, stateOf, statementTexts, stepsOf, TABLES, TABLES_OF_A_SESSION, type Row, type Rows, type Step, type Table } from './broker-tables.js'
import { makeFolder, makePrivateFile, placeOf, PRAGMAS, refuseForeignFile } from './sqlite-file.js'
import { isSqliteUnavailable } from './sqlite.js'

/** `pkms`: marks the file as ours. */
const APPLICATION_ID = 0x706b6d73
/** Pages of 4 KB in the log before it goes into the file, which costs syncs of its own; a busy broker fills SQLite's 1,000 with one batch. */
const PAGES_BEFORE_CHECKPOINT = 4_000
/** The event loop turns after as many rows of a batch: some 5 ms. */
const ROWS_A_TURN = 1_000
const LOOK_EVERY_MS = 1_000

/** What this file uses of the driver, whose own types say `any`. `run` does its work at once, the others beside the event loop. */
interface Connection {
  readonly inTransaction: boolean
  prepare (text: string): Promise<Statement>
  exec (text: string): Promise<void>
  pragma (text: string): Promise<unknown>
  close (): void
}

interface Statement {
  run (row: Row): unknown
  all (row: Row): Promise<unknown[]>
  /** Rows are arrays from now on. */
  raw (): Statement
}

/** Every statement, prepared once: the driver frees them late. */
interface Statements {
  readonly begin: Statement
  readonly tables: Readonly<Record<Table, { readonly put: Statement, readonly gone: Statement, readonly all: Statement }>>
  readonly sessionGone: readonly Statement[]
  readonly unneededMessagesGone: Statement
}

/**
 * Opens `{folder}/sessions.db`, makes it when it is not there, and brings it to the newest shape. The caller holds the
 * folder's lock, which opening the ledger takes. Throws `OperatorError`: `foreign_file`, `newer_file`, `cannot_open`.
 */
export async function openBrokerStore (folder: string, { metrics }: { readonly metrics?: Metrics } = {}): Promise<BrokerStore> {
  const path = resolve(folder)
  const file = join(path, 'sessions.db')
  makeFolder(path)
  try {
    makePrivateFile(file)
    const connection = new Driver(file, {}) as unknown as Connection
    try {
      // Nothing is written before it is certain that the file is ours.
      const shape = await shapeOf(connection, file)
      for (const pragma of [...PRAGMAS, `wal_autocheckpoint = ${PAGES_BEFORE_CHECKPOINT}`, `application_id = ${APPLICATION_ID}`]) await connection.pragma(pragma)
      for (let next = shape; next < SHAPES.length; next++) await connection.exec(`begin; ${SHAPES[next]}; pragma user_version = ${next + 1}; commit`)
      return new SqliteBrokerStore({ connection, statements: await prepareAll(connection), isThere: placeOf(file), metrics })
    } catch (error) {
      connection.close()
      throw error
    }
  } catch (error) {
    if (error instanceof OperatorError) throw error
    throw new OperatorError('cannot_open', `cannot open the sessions in ${file}: ${messageOf(error)}`, { cause: error })
  }
}

/** How many of the shapes the file has gone through; 0 when it is new. */
async function shapeOf (connection: Connection, file: string): Promise<number> {
  const ask = async (text: string): Promise<unknown> => (await (await connection.prepare(text)).raw().all([]) as unknown[][])[0]?.[0]
  const table = await ask('select name from sqlite_master where type = \'table\'') as string | undefined
  refuseForeignFile(file, 'sessions file', { wanted: APPLICATION_ID, found: Number(await ask('pragma application_id')) }, table)
  const shape = Number(await ask('pragma user_version'))
  if (shape > SHAPES.length) {
    throw new OperatorError('newer_file', `${file} was written by a newer parkmq (it has the shape ${shape}, this one knows ${SHAPES.length}); install that version, or restore a backup made before it`)
  }
  return shape
}

async function prepareAll (connection: Connection): Promise<Statements> {
  const prepare = async (text: string): Promise<Statement> => await connection.prepare(text)
  const tables: Partial<Record<Table, Statements['tables'][Table]>> = {}
  for (const table of TABLES) {
    const { put, gone, all } = statementTexts(table)
    tables[table] = { put: await prepare(put), gone: await prepare(gone), all: (await prepare(all)).raw() }
  }
  const sessionGone: Statement[] = []
  for (const table of TABLES_OF_A_SESSION) sessionGone.push(await prepare(`delete from ${table} where client_id = ?`))
  return {
    begin: await prepare('begin immediate'),
    tables: tables as Statements['tables'],
    sessionGone,
    unneededMessagesGone: await prepare('delete from messages where number not in (select message from entries)')
  }
}

interface Parts {
  readonly connection: Connection
  readonly statements: Statements
  /** Whether what is written still goes to where the store was opened. */
  readonly isThere: () => boolean
  readonly metrics: Metrics | undefined
}

class SqliteBrokerStore implements BrokerStore {
  readonly #parts: Parts
  /** Ends when all that was asked for so far is done. It never rejects. */
  #last: Promise<unknown> = Promise.resolve()
  #closed: Promise<void> | null = null
  #lookedAtMs = performance.now()

  constructor (parts: Parts) {
    this.#parts = parts
  }

  async load (): Promise<BrokerState> {
    const { tables, unneededMessagesGone } = this.#parts.statements
    return await this.#inTurn(async () => {
      await this.#transact(async () => { unneededMessagesGone.run([]) })
      const rows: Partial<Record<Table, unknown[]>> = {}
      for (const table of TABLES) rows[table] = await tables[table].all.all([])
      return stateOf(rows as unknown as Rows)
    })
  }

  async write (changes: BrokerChanges): Promise<void> {
    await this.#inTurn(async () => {
      const startedMs = performance.now()
      await this.#transact(async () => {
        let rows = 0
        for (const step of stepsOf(changes)) {
          this.#carryOut(step)
          if (++rows % ROWS_A_TURN === 0) await new Promise(resolve => { setImmediate(resolve) })
        }
      })
      this.#parts.metrics?.commitSeconds.observe({ service: 'sessions' }, (performance.now() - startedMs) / 1_000)
    })
  }

  /** The log goes back into the file, so that a stopped broker's sessions are one file. */
  async close (): Promise<void> {
    const { connection } = this.#parts
    this.#closed ??= this.#last.then(async () => {
      try {
        await connection.pragma('wal_checkpoint(TRUNCATE)')
      } finally {
        connection.close()
      }
    })
    await this.#closed
  }

  #carryOut (step: Step): void {
    const { tables, sessionGone } = this.#parts.statements
    if (step.type === 'sessionGone') for (const statement of sessionGone) statement.run(step.row)
    else tables[step.table][step.type].run(step.row)
  }

  /** All of `work` is on disk when it resolves, or nothing of it is in the file. */
  async #transact (work: () => Promise<void>): Promise<void> {
    const { connection, statements } = this.#parts
    statements.begin.run([])
    try {
      await work()
      await connection.exec('commit')
    } catch (error) {
      // SQLite rolls back by itself on a full disk; a second rollback would hide that error behind its own.
      if (connection.inTransaction) await connection.exec('rollback')
      throw error
    }
  }

  /** Runs `work` after all that was asked for before: there is one connection, and it has one transaction. */
  async #inTurn<T> (work: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new Error('the sessions are closed already')
    const result = this.#last.then(async () => await this.#reaching(work))
    this.#last = result.catch(() => {})
    return await result
  }

  async #reaching<T> (work: () => Promise<T>): Promise<T> {
    try {
      this.#look()
      return await work()
    } catch (error) {
      if (error instanceof UnavailableError || !isSqliteUnavailable(error)) throw error
      throw new UnavailableError(`the stored sessions are unavailable: ${messageOf(error)}`, { cause: error })
    }
  }

  /** Now and then, since it costs a call of the system. */
  #look (): void {
    const nowMs = performance.now()
    if (nowMs - this.#lookedAtMs < LOOK_EVERY_MS) return
    if (!this.#parts.isThere()) throw new UnavailableError('the stored sessions were deleted or replaced while parkmq runs; start parkmq again', { cause: null })
    this.#lookedAtMs = nowMs
  }
}
