// PostgreSQL gives a row its number before its transaction is committed, and transactions end in any order: a reader that goes by
// numbers would pass a row that is not there yet and never see it. So it reads up to a number only when every transaction that
// ran after that number was given has ended. That holds since a transaction of ours has its own number before it gives any to a
// row (postgres-transactions.ts): whoever took a number up to `last` is below the end of a snapshot made after `last` was read.
import { sql, type Kysely } from 'kysely'
import type { Numbered, Settled } from './nodes.js'
import type { Tables } from './tables.js'

/** A server that took over may count its transactions from lower on: then a new beginning is made. In milliseconds. */
const LONGEST_WAIT_MS = 10_000

interface Waiting {
  readonly last: number
  /** The transactions that must have ended: those with a lower number. */
  readonly before: bigint
  readonly sinceMs: number
}

export class SettledNumbers {
  readonly #table: Numbered
  #upTo = 0
  #waiting: Waiting | null = null

  constructor (table: Numbered) {
    this.#table = table
  }

  /** Costs two small statements. */
  async ask (kysely: Kysely<Tables>): Promise<Settled> {
    // In this order, never in one statement: its snapshot would be older than the number.
    const { rows: [sequence] } = await sql<{ last: number }>`select case when is_called then last_value else 0 end as last from ${sql.table(`${this.#table}_id_seq`)}`.execute(kysely)
    const { rows: [snapshot] } = await sql<{ low: string, high: string }>`select pg_snapshot_xmin(s)::text as low, pg_snapshot_xmax(s)::text as high from pg_current_snapshot() as s`.execute(kysely)
    if (!sequence || !snapshot) throw new Error(`the numbers of ${this.#table} could not be read`)
    const low = BigInt(snapshot.low)
    const now: Waiting = { last: sequence.last, before: BigInt(snapshot.high), sinceMs: performance.now() }
    const isOld = this.#waiting !== null && now.sinceMs - this.#waiting.sinceMs > LONGEST_WAIT_MS
    if (this.#waiting !== null && low >= this.#waiting.before) {
      this.#upTo = this.#waiting.last
      this.#waiting = null
    }
    if (this.#waiting === null || isOld) this.#waiting = now
    if (low >= now.before) {
      this.#upTo = now.last
      this.#waiting = null
    }
    return { upTo: this.#upTo, isAll: this.#upTo >= now.last }
  }
}
