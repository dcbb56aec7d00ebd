// The ledger: the one truth that both services write. A transaction either is on disk when `transact` resolves, or
// nothing of it is. The change feed is told after the commit.
import { sql } from 'kysely'
import type { Clock } from '../shared/clock.js'
import { messageOf, UnavailableError } from '../shared/errors.js'
import type { Log } from '../shared/log.js'
import type { Id, Lot } from '../shared/lot.js'
import type { Metrics } from '../shared/metrics.js'
import { Bell, ChangeFeed } from './feed.js'
import { GroupCommit, type CommittedGroup, type Place } from './group-commit.js'
import type { OpenLeases } from './leases.js'
import { lotOf } from './records.js'
import type { LedgerNodes, Numbered, Settled } from './nodes.js'
import { ask, type Question } from './questions.js'
import { selectByKeys, type Database } from './rows.js'
import { LedgerTransaction, type LedgerTimes } from './transaction.js'
import { WindowsCache } from './windows-cache.js'

const LOOK_EVERY_MS = 1_000

export interface LedgerParts {
  readonly database: Database
  readonly close: () => Promise<void>
  /** Whether what is written still goes to where the ledger was opened. */
  readonly isThere: () => boolean
  readonly isUnavailable: (error: unknown) => boolean
  readonly clock: Clock
  readonly metrics: Metrics
  /** Where the fault of a listener is told; without it whoever made the change is told. */
  readonly log?: Log | undefined
  readonly times: LedgerTimes
  /**
   * Where this process alone writes: the number of the audit's next line. Then transactions take turns, and what one has
   * changed is known without reading it. Null where others write as well.
   */
  readonly nextLine: number | null
  /** Where transactions take turns: see `GroupCommitParts`. */
  readonly regather?: () => Promise<void> | null
  /** Runs work in a transaction and commits it; the work may then be run more than once. Default: once, on the one connection there is. */
  readonly run?: Run
  /** Where several processes write this ledger: what each tells the others, and how far it may read what they write. */
  readonly nodes?: LedgerNodes
  readonly openLeases?: OpenLeases
}

export type Work<T> = (tx: LedgerTransaction) => Promise<T>

/** What a transaction is known to ask first, found out when it begins. */
export type FirstQuestions = (database: Database) => readonly Question<unknown>[]

export interface TransactOptions {
  readonly place?: Place | undefined
  /** Where statements travel, called each time that the transaction begins. The work must then ask just these, or they are asked in vain. */
  readonly first?: FirstQuestions
}

export type Run = <T>(work: (database: Database, nowMs: number) => Promise<T>, first?: FirstQuestions) => Promise<T>

export class Ledger {
  readonly feed = new ChangeFeed()
  /** Rung after every commit that left notices (waiting.ts). */
  readonly notices = new Bell()
  /** Where others write as well: rung when there may be lines in the audit that are to be published. Elsewhere the feed hands them over. */
  readonly events = new Bell()
  /** What counts as now: on PostgreSQL the database's time, on which all nodes agree. */
  readonly clock: Clock
  /** The other processes on this ledger; null where it is this one's alone. */
  readonly nodes: LedgerNodes | null
  /** Shares of the lots among processes on one external broker; null where the ledger is this process's alone. */
  readonly openLeases: OpenLeases | null
  readonly #windows = new WindowsCache()
  /** Why the last transaction or read failed; null when it did not. */
  #failing: UnavailableError | null = null
  #lookedAtMs = performance.now()
  readonly #parts: LedgerParts
  readonly #group: GroupCommit<Work<unknown>>
  #nextLine: number
  readonly #numbers: ((count: number) => number) | null

  constructor (parts: LedgerParts) {
    this.#parts = parts
    this.#group = new GroupCommit({ commit: async works => await this.#commit(works), regather: parts.regather ?? (() => null) })
    this.clock = parts.clock
    this.nodes = parts.nodes ?? null
    this.openLeases = parts.openLeases ?? null
    this.#nextLine = parts.nextLine ?? 0
    // Numbers of a transaction that failed are not used again.
    this.#numbers = parts.nextLine === null ? null : count => (this.#nextLine += count) - count
  }

  /** For reads outside a transaction; each sees what is committed. */
  get database (): Database { return this.#parts.database }

  /**
   * Runs `work` in one transaction and commits it to disk. `service` names who for the metrics. Where this process alone writes,
   * those that are asked for together are one transaction of the engine, since its end costs as much as what ten messages change
   * (group-commit.ts). Work that will change next to nothing has its `place` alone and waits for nobody's commit; work that takes in
   * what has come until it runs has it last. `work` may be run again from its beginning, so it changes nothing but the transaction.
   * Throws `UnavailableError` when the ledger cannot be read or written now; then nothing was changed.
   */
  async transact<T> (service: string, work: Work<T>, { place, first }: TransactOptions = {}): Promise<T> {
    const startedMs = performance.now()
    const result = this.#numbers === null ? await this.#byItself(work, first) : await this.#group.do(work, place)
    this.#parts.metrics.commitSeconds.observe({ service }, (performance.now() - startedMs) / 1_000)
    return result as T
  }

  async #byItself (work: Work<unknown>, first: FirstQuestions | undefined): Promise<unknown> {
    const { results: [result], tell } = await this.#commit([work], first)
    tell()
    return result
  }

  /** One after the other in one transaction. */
  async #commit (works: Iterable<Work<unknown>> | AsyncIterable<Work<unknown>>, first?: FirstQuestions): Promise<CommittedGroup> {
    const { times, run = this.#once } = this.#parts
    const { results, tx } = await this.#reaching(async () => await run(async (database, nowMs) => {
      const tx = new LedgerTransaction(database, nowMs, times, this.#windows, this.#numbers)
      const results: unknown[] = []
      for await (const work of works) {
        results.push(await work(tx))
        await tx.finishWork()
      }
      return { results, tx }
    }, first))
    return { results, tell: () => this.#tell(tx) }
  }

  #tell (tx: LedgerTransaction): void {
    tx.committed()
    try {
      if (tx.hasNotices) this.notices.ring()
      this.feed.tell(tx.changedLots, tx.lotsWithChangedBays, this.#numbers && tx.outcome)
      if (this.nodes === null) return
      if (tx.hasEvents) this.events.ring()
      const lots = new Map([...tx.changedLots].map(id => [id, tx.lot(id)?.version ?? null]))
      this.nodes.tell({ lots, withBays: tx.lotsWithChangedBays, hasNotices: tx.hasNotices, hasEvents: tx.hasEvents })
    } catch (err) {
      // Whoever is told that it failed would do again what is committed.
      if (this.#parts.log === undefined) throw err
      this.#parts.log.error({ err, lots: [...tx.changedLots] }, 'a fault: a change is committed, and who listens could not be told of it')
    }
  }

  #once: Run = async work => {
    const { database, clock } = this.#parts
    return await database.kysely.transaction().execute(async kysely => await work({ ...database, kysely }, clock.nowMs()))
  }

  /** Runs a read outside a transaction, with the same errors as `transact`. */
  async read<T> (query: (database: Database) => Promise<T>): Promise<T> {
    return await this.#group.beside(async () => await this.#reaching(async () => await query(this.#parts.database)))
  }

  /** Asks for rows of a table, and how far they may be read in the order of their numbers (nodes.ts); to the last where nobody else writes. */
  async readSettled<R> (table: Numbered, question: (database: Database) => Question<R>): Promise<Settled & { readonly answer: R }> {
    const { nodes } = this
    if (nodes !== null) return await this.#reaching(async () => await nodes.readSettled(table, question))
    return { upTo: Number.MAX_SAFE_INTEGER, isAll: true, answer: await this.read(async database => await ask(database, question(database))) }
  }

  /** The lots with these ids as they are committed. */
  async lots (ids: readonly Id[]): Promise<Lot[]> {
    return await this.read(async database => (await selectByKeys(database, 'lots', ['id'], ids.map(id => [id]))).map(lotOf))
  }

  /** The ids of all lots, in their order: cheap, however many there are. */
  async lotIds (): Promise<Id[]> {
    const array = sql.raw(this.#parts.database.engine === 'sqlite' ? 'json_group_array' : 'json_agg')
    return await this.read(async ({ kysely }) => {
      const { rows: [row] } = await sql<{ ids: string | Id[] | null }>`select ${array}(id) as ids from (select id from lots order by id) as ordered`.execute(kysely)
      return typeof row?.ids === 'string' ? JSON.parse(row.ids) as Id[] : row?.ids ?? []
    })
  }

  /** Every lot as it is committed, by id. */
  async allLots (): Promise<Lot[]> {
    return await this.read(async ({ kysely }) => (await kysely.selectFrom('lots').selectAll().orderBy('id').execute()).map(lotOf))
  }

  /** Lots with a transition due by now: the timers' question. */
  async lotsDue (limit: number): Promise<Id[]> {
    const nowMs = this.#parts.clock.nowMs()
    return await this.read(async ({ kysely }) => {
      const rows = await kysely.selectFrom('lots').select('id').where('due_at_ms', 'is not', null).where('due_at_ms', '<=', nowMs).orderBy('due_at_ms').limit(limit).execute()
      return rows.map(row => row.id)
    })
  }

  /** Throws `UnavailableError` unless the ledger can be written and the last use of it went well: the health check's question. */
  async check (): Promise<void> {
    if (this.#failing) throw this.#failing
    await this.#reaching(async () => await this.#parts.database.kysely.transaction().execute(async kysely => {
      await sql`update cursors set position = position where 1 = 0`.execute(kysely)
    }))
  }

  /** Now and then, since it costs a call of the system: once a second. */
  #look (): void {
    const nowMs = performance.now()
    if (nowMs - this.#lookedAtMs < LOOK_EVERY_MS) return
    if (!this.#parts.isThere()) throw new UnavailableError('the ledger was deleted or replaced while parkmq runs; put it back, or start parkmq again', { cause: null })
    this.#lookedAtMs = nowMs
  }

  /** After what is being committed. */
  async close (): Promise<void> {
    await this.#group.idle()
    await this.#parts.close()
  }

  async #reaching<T> (work: () => Promise<T>): Promise<T> {
    try {
      this.#look()
      const result = await work()
      this.#failing = null
      return result
    } catch (error) {
      if (error instanceof UnavailableError) this.#failing = error
      else if (!this.#parts.isUnavailable(error)) throw error
      else this.#failing = new UnavailableError(`the ledger is unavailable: ${messageOf(error)}`, { cause: error })
      throw this.#failing
    }
  }
}
