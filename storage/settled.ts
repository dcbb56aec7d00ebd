// PostgreSQL gives a row its number before its transaction is committed, and transactions end in any order: a reader that goes by
// numbers would pass a row that is not there yet and never see it. So it reads up to a number only when every transaction that
// ran after that number was given has ended. That holds since a transaction of ours has its own number before it gives any to a
// row (postgres-transactions.ts): whoever took a number up to `last` is below the end of a snapshot made after `last` was read.
import { sql, type Kysely } from 'kysely'
import type { Numbered, Settled } from './nodes.js'
import { ask, askAhead, type Question } from './questions.js'
import type { Database } from './rows.js'
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
  #last: Promise<unknown> = Promise.resolve()

  constructor (table: Numbered) {
    this.#table = table
  }

  /**
   * Asks what is there, and how far it holds: what it read of rows up to that number is all there will be of them. One round trip,
   * and one after the other: what another has learnt meanwhile may be newer than what was read here.
   */
  async read<R> (kysely: Kysely<Tables>, question: (database: Database) => Question<R>): Promise<Settled & { readonly answer: R }> {
    const read = this.#last.then(async () => await this.#readNow(kysely, question))
    this.#last = read.catch(() => { /* Whoever asked is told. */ })
    return await read
  }

  async #readNow<R> (kysely: Kysely<Tables>, questionIn: (database: Database) => Question<R>): Promise<Settled & { readonly answer: R }> {
    return await kysely.connection().execute(async kysely => {
      const database: Database = { kysely, engine: 'postgres' }
      const [sequence, snapshot, question] = [this.#lastNumber(kysely), runningTransactions(kysely), questionIn(database)]
      // In this order, never in one statement: its snapshot would be older than the number. And the rows are as of a later one.
      await askAhead(database, [snapshot, question])
      const last = await ask(database, sequence)
      const settled = this.#learn(last, await ask(database, snapshot))
      return { ...settled, answer: await ask(database, question) }
    })
  }

  #lastNumber (kysely: Kysely<Tables>): Question<number> {
    return {
      query: sql`select case when is_called then last_value else 0 end as last from ${sql.table(`${this.#table}_id_seq`)}`.compile(kysely),
      read: rows => (rows as { last: number }[])[0]?.last ?? fail(`the numbers of ${this.#table} could not be read`)
    }
  }

  #learn (last: number, { low, high }: Running): Settled {
    const now: Waiting = { last, before: high, sinceMs: performance.now() }
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

/** Every transaction below `low` has ended, and none from `high` on has begun. */
interface Running {
  readonly low: bigint
  readonly high: bigint
}

function runningTransactions (kysely: Kysely<Tables>): Question<Running> {
  return {
    query: sql`select pg_snapshot_xmin(s)::text as low, pg_snapshot_xmax(s)::text as high from pg_current_snapshot() as s`.compile(kysely),
    read: rows => {
      const [row] = rows as { low: string, high: string }[]
      return row ? { low: BigInt(row.low), high: BigInt(row.high) } : fail('the transactions under way could not be read')
    }
  }
}

function fail (message: string): never {
  throw new Error(message)
}
