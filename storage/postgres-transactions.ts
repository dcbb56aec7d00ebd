// Carries out transactions on PostgreSQL. Several nodes write at once, so one may lose against another and is tried again; and a
// connection may end between COMMIT and its answer. Then nobody knows whether it is committed, and doing it again could do it
// twice. Each transaction therefore leaves a mark in a row of its own (process, slot), with its first statement: whether the mark is
// there afterwards is whether it is committed, for whatever was in it. Asking for it writes the row as well, so it waits for a
// commit that is still on its way, also for the one that makes the row.
import { randomUUID } from 'node:crypto'
import { sql, type Kysely } from 'kysely'
import type { Clock } from '../shared/clock.js'
import { messageOf, UnavailableError } from '../shared/errors.js'
import type { FirstQuestions, Run } from './ledger.js'
import { isConflict, isConnectionLost, isPostgresUnavailable, isRolledBack, NoWritableHostError } from './postgres-errors.js'
import { askAhead } from './questions.js'
import type { Database } from './rows.js'
import type { Tables } from './tables.js'

/** Times that one transaction is tried. */
const MOST_TRIES = 5
/** Rest before another try, times the number of tries so far, in milliseconds; half of it by chance, so that two do not meet again. */
const REST_MS = 20
/** After this a lost connection is not made up for any more. */
const RECONNECT_WITHIN_MS = 2_000
/** How long the outcome of a commit is asked for before it counts as unknown, in milliseconds. */
const RESOLVE_WITHIN_MS = 15_000
const ASK_EVERY_MS = 100

export interface TransactionsParts {
  readonly kysely: Kysely<Tables>
  /** Most transactions at the same time: as many as there are connections for them. */
  readonly slots: number
  readonly time: DatabaseTime
  /** Of tests: what counts as now in a transaction. Default the database's time. */
  readonly nowMs?: () => number
}

/** The database's clock, as it is known here: what time it is where all nodes agree on it. */
export class DatabaseTime implements Clock {
  readonly #clock: Clock
  #offsetMs = 0
  #roundTripMs = Infinity
  #learntAtMs = -Infinity

  constructor (clock: Clock) {
    this.#clock = clock
  }

  nowMs (): number { return Math.round(this.#clock.nowMs() + this.#offsetMs) }

  after: Clock['after'] = (delayMs, fire) => this.#clock.after(delayMs, fire)

  /** The database said `nowMs` when it was asked at `askedAtMs` of `performance.now()`; the answer came just now. */
  learn (nowMs: number, askedAtMs: number): void {
    const atMs = performance.now()
    const roundTripMs = atMs - askedAtMs
    // An answer that was long on its way says little. One that is better, or any after some time, is taken.
    if (roundTripMs > this.#roundTripMs && atMs - this.#learntAtMs < LEARN_EVERY_MS) return
    this.#offsetMs = nowMs + roundTripMs / 2 - this.#clock.nowMs()
    this.#roundTripMs = roundTripMs
    this.#learntAtMs = atMs
  }
}

const LEARN_EVERY_MS = 10_000

export class PostgresTransactions {
  readonly #parts: TransactionsParts
  /** Not the node's name: a process that lost it may still have a commit in doubt. */
  readonly #process = randomUUID()
  readonly #free: number[]
  readonly #waiting: ((slot: number) => void)[] = []

  constructor (parts: TransactionsParts) {
    this.#parts = parts
    this.#free = Array.from({ length: parts.slots }, (_, slot) => slot)
  }

  /**
   * Runs `work` in a transaction, again when it lost against another. Its last run is the only one that is committed, so it may
   * change nothing but the database. What it asks `first` goes with the beginning. Throws `UnavailableError` when the database is not to
   * be reached or written.
   */
  run: Run = async (work, first) => {
    const slot = this.#free.pop() ?? await new Promise<number>(resolve => this.#waiting.push(resolve))
    try {
      return await this.#tryAgain(slot, work, first)
    } finally {
      const next = this.#waiting.shift()
      if (next) next(slot)
      else this.#free.push(slot)
    }
  }

  async #tryAgain<T> (slot: number, work: (database: Database, nowMs: number) => Promise<T>, first?: FirstQuestions): Promise<T> {
    const untilMs = performance.now() + RECONNECT_WITHIN_MS
    for (let tries = 1; ; tries++) {
      const mark = randomUUID()
      let done: { readonly result: T } | null = null
      try {
        await this.#parts.kysely.transaction().setIsolationLevel('read committed').execute(async kysely => {
          const database: Database = { kysely, engine: 'postgres' }
          if (first) await askAhead(database, first(database))
          const nowMs = await this.#begin(kysely, slot, mark)
          done = { result: await work(database, nowMs) }
        })
        return (done as { readonly result: T } | null ?? fail()).result
      } catch (error) {
        // All that was left was the commit.
        const last = done as { readonly result: T } | null
        if (last !== null && !isRolledBack(error) && await this.#isCommitted(slot, mark, error)) return last.result
        // A new connection may do where one was lost; where there is none to be had, whoever asked holds its messages and comes again.
        if (!isConflict(error) && !(isWorthAnother(error) && performance.now() < untilMs)) throw error
        if (tries >= MOST_TRIES) throw new UnavailableError(`the ledger is unavailable: tried ${tries} times, at last: ${messageOf(error)}`, { cause: error })
      }
      await rest(REST_MS * tries * (0.5 + Math.random() / 2))
    }
  }

  /** The first statement: it also gives the transaction its number before any row of the audit or notices gets one (settled.ts). */
  async #begin (kysely: Kysely<Tables>, slot: number, mark: string): Promise<number> {
    const { time, nowMs } = this.#parts
    const askedAtMs = performance.now()
    const { rows: [row] } = await sql<{ now_ms: number }>`insert into transactions (process, slot, mark, at_ms)
      values (${this.#process}, ${slot}, ${mark}, floor(extract(epoch from clock_timestamp()) * 1000)::bigint)
      on conflict (process, slot) do update set mark = excluded.mark, at_ms = excluded.at_ms returning at_ms as now_ms`.execute(kysely)
    if (!row) throw new Error('the mark of a transaction was not written')
    time.learn(row.now_ms, askedAtMs)
    return nowMs?.() ?? row.now_ms
  }

  /** Whether the transaction with this mark is committed, once that is certain. `cause` is why it is asked. */
  async #isCommitted (slot: number, mark: string, cause: unknown): Promise<boolean> {
    const { kysely } = this.#parts
    const untilMs = performance.now() + RESOLVE_WITHIN_MS
    for (;;) {
      try {
        // To lock the row would not do: there is none to lock while the first commit of this slot is on its way.
        const { rows: [row] } = await sql<{ mark: string }>`insert into transactions (process, slot, mark, at_ms)
          values (${this.#process}, ${slot}, ${randomUUID()}, floor(extract(epoch from clock_timestamp()) * 1000)::bigint)
          on conflict (process, slot) do update set mark = transactions.mark returning mark`.execute(kysely)
        return row?.mark === mark
      } catch (error) {
        if (!isPostgresUnavailable(error)) throw error
        if (performance.now() >= untilMs) {
          throw new UnavailableError(`the ledger is unavailable, and whether the last transaction is committed is not known: ${messageOf(error)}`, { cause })
        }
      }
      await rest(ASK_EVERY_MS)
    }
  }
}

function isWorthAnother (error: unknown): boolean {
  return isConnectionLost(error) && isPostgresUnavailable(error) && !(error instanceof NoWritableHostError)
}

function fail (): never {
  throw new Error('a transaction ended without its work')
}

async function rest (ms: number): Promise<void> {
  await new Promise(resolve => setTimeout(resolve, ms))
}
