// Connections to whichever host of the list can be written now. When that one goes or becomes a standby, the others are asked
// again at the next use: a failover is no more than a few failed connections. Nobody is ever given a connection to a standby.
import type { PostgresPool, PostgresPoolClient } from 'kysely'
import pg from 'pg'
import { messageOf } from '../shared/errors.js'
import type { Log } from '../shared/log.js'
import { PostgresConnection } from './postgres-connection.js'
import { NoWritableHostError } from './postgres-errors.js'
import type { PostgresHost, PostgresTarget } from './postgres-url.js'

/** How long a host may take to answer before the next one is tried, in milliseconds. */
const CONNECT_WITHIN_MS = 2_000
/** What the server gives up after: a statement, a wait for a lock, a transaction whose process says nothing more, in milliseconds. */
const STATEMENT_MS = 10_000
const LOCK_MS = 5_000
/**
 * Far less than LOCK_MS: a process that is stopped in a transaction, with another behind it, must not make others fail that wait for
 * its locks. A process that is only slow for so long tries again.
 */
const IDLE_IN_TRANSACTION_MS = 1_500
/**
 * The server may be out of reach and never say so: after this, without the answer to anything that was sent, the connection counts as lost.
 * Waits for locks that were sent together add up.
 */
const ANSWER_WITHIN_MS = STATEMENT_MS + 2_000

/**
 * A plan that is made for a table of ten rows is kept for a while when it has a hundred thousand: no table is read whole that has an index
 * for what is asked. To compile what looks up a few rows takes longer than to do it.
 */
const LOOK_UP = 'set enable_seqscan = off; set jit = off'
const IS_READ_ONLY = 'select pg_is_in_recovery() or current_setting(\'transaction_read_only\')::boolean as read_only'
const BIGINT = 20

export interface PoolParts {
  readonly target: PostgresTarget
  /** Most connections. */
  readonly max: number
  /** How the connections are named in pg_stat_activity. */
  readonly name: string
  readonly log?: Log | undefined
  /** Without them, each statement waited for and tables read as a whole, for what may take long: backups, the changes of the tables. Default true. */
  readonly timeouts?: boolean
}

export class WritablePool implements PostgresPool {
  readonly #parts: PoolParts
  #current: Promise<pg.Pool> | null = null
  #ended = false

  constructor (parts: PoolParts) {
    this.#parts = parts
  }

  /** A connection to the writable host. Throws `NoWritableHostError`, or why there is no connection. */
  async connect (): Promise<PostgresPoolClient> {
    if (this.#ended) throw new Error('the pool of connections has ended: Connection terminated')
    const first = this.#current ??= this.#find()
    try {
      return this.#connectionOf(await (await first).connect(), first)
    } catch (error) {
      if (isQueueFull(error)) throw error
      this.#forget(first)
      if (error instanceof NoWritableHostError) throw error
    }
    // The host that was writable a moment ago is not: another one may be.
    const second = this.#current ??= this.#find()
    try {
      return this.#connectionOf(await (await second).connect(), second)
    } catch (error) {
      if (!isQueueFull(error)) this.#forget(second)
      throw error
    }
  }

  #connectionOf (client: pg.PoolClient, pool: Promise<pg.Pool>): PostgresConnection {
    const { timeouts = true } = this.#parts
    return new PostgresConnection({ client, waitsForEach: !timeouts, onReadOnly: () => this.#forget(pool) })
  }

  async end (): Promise<void> {
    this.#ended = true
    const current = await this.#current?.catch(() => null)
    this.#current = null
    await current?.end()
  }

  async #find (): Promise<pg.Pool> {
    const { target, max, name, log, timeouts = true } = this.#parts
    const host = await writableHost(target, name)
    const pool = new pg.Pool({
      ...clientOptions(target, host, name), max,
      // Whoever takes its time has it between two statements as well.
      ...(timeouts ? { pipeline: true, statement_timeout: STATEMENT_MS, lock_timeout: LOCK_MS, idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS, query_timeout: ANSWER_WITHIN_MS } : { idleTimeoutMillis: 0 }),
      // It may have become a standby since it was asked. The pool waits for the answer, other than its types say.
      onConnect: (async (client: pg.ClientBase) => {
        if (timeouts) await client.query(LOOK_UP)
        await refuseReadOnly(client)
      }) as unknown as (client: pg.ClientBase) => void
    })
    pool.on('error', err => log?.debug({ err }, 'an idle connection to the database is lost'))
    return pool
  }

  #forget (pool: Promise<pg.Pool>): void {
    if (this.#current !== pool) return
    this.#current = null
    // Whoever still has a connection of it gives it back first.
    pool.then(async old => await old.end(), () => {}).catch((err: unknown) => this.#parts.log?.debug({ err }, 'old connections to the database did not end cleanly'))
  }
}

/** All connections are in use and none came back in time: that says nothing of the host. */
function isQueueFull (error: unknown): boolean {
  return messageOf(error) === 'timeout exceeded when trying to connect'
}

/** How a connection to one of the hosts is made. */
export function clientOptions ({ user, password, database, ssl }: PostgresTarget, { host, port }: PostgresHost, name: string): pg.ClientConfig {
  return {
    host, port, database, ssl, application_name: name, connectionTimeoutMillis: CONNECT_WITHIN_MS, keepAlive: true,
    ...(user !== undefined && { user }), ...(password !== undefined && { password }),
    // Milliseconds and counts are far below 2^53.
    types: { getTypeParser: (oid: number, format?: 'text' | 'binary'): unknown => oid === BIGINT ? Number : pg.types.getTypeParser(oid, format) }
  }
}

/** The first host that answers and can be written. Throws `NoWritableHostError`, which says what each of them is. */
export async function writableHost (target: PostgresTarget, name: string): Promise<PostgresHost> {
  const { hosts } = target
  try {
    return await Promise.any(hosts.map(async host => {
      const client = new pg.Client({ ...clientOptions(target, host, name), query_timeout: CONNECT_WITHIN_MS })
      client.on('error', () => { /* The question below fails. */ })
      try {
        await client.connect()
        await refuseReadOnly(client)
      } finally {
        // Nobody waits for a goodbye.
        client.end().catch(() => {})
      }
      return host
    }))
  } catch (error) {
    const whys = error instanceof AggregateError ? error.errors : [error]
    const said = hosts.map(({ host, port }, i) => `${host}:${port}: ${messageOf(whys[i]) || 'no answer'}`).join('; ')
    throw new NoWritableHostError(`no host of the database can be written (${said})`, { cause: error })
  }
}

async function refuseReadOnly (client: pg.ClientBase): Promise<void> {
  const { rows: [row] } = await client.query<{ read_only: boolean }>(IS_READ_ONLY)
  if (row?.read_only !== false) throw new Error('it is a standby or read only')
}
