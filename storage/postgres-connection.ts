// A connection while somebody has it from the pool. What has nothing to say but that it went well - the beginning of a transaction, a
// lock on names, rows that are inserted - is not waited for: it goes to the server with the next statement that is, in one write (the
// driver's pipeline mode). To write to a socket and to wake who reads it costs as much as a small statement. What fails of it is
// thrown by that next statement, at the latest by the commit. And what is known to be asked next (questions.ts) goes with it too.
import { isDeepStrictEqual } from 'node:util'
import type { CompiledQuery, PostgresPoolClient } from 'kysely'
import type pg from 'pg'
import { isConnectionLost, isOldPlan, isReadOnly, noteRolledBack } from './postgres-errors.js'
import { AHEAD } from './questions.js'

/** Statements that nobody waits for: each holds its rows in memory. */
const MOST_UNANSWERED = 16
const BEGINS = /^(begin|start transaction)\b/
const SAYS_NOTHING = /^(insert into\b(?![^]*\breturning\b)|select pg_advisory_xact_lock\(|set local\b)/

export interface ConnectionParts {
  readonly client: pg.PoolClient
  /** Whether it waits for every statement: where the error of each must be known before the next. */
  readonly waitsForEach: boolean
  /** Told that the host is none that can be written. */
  readonly onReadOnly: () => void
}

/** A statement that was sent before it is asked. */
interface Early {
  readonly query: CompiledQuery
  readonly sent: Promise<pg.QueryResult>
}

export class PostgresConnection implements PostgresPoolClient {
  readonly #parts: ConnectionParts
  readonly #onError = (): void => { this.#lost = true }
  #lost = false
  /** `begun`: the server has answered a statement in the transaction, so that it is one. */
  #transaction: 'none' | 'beginning' | 'begun' = 'none'
  /** Whether what is sent waits to be written. */
  #isHeld = false
  /** Not waited for, in order. */
  #unanswered: Promise<pg.QueryResult>[] = []
  /** To be sent with the next statement that is waited for. */
  #ahead: readonly CompiledQuery[] = []
  /** Sent, and to be asked next in this order. */
  #early: Early[] = []

  constructor (parts: ConnectionParts) {
    this.#parts = parts
    // Without a listener, the end of a connection that waits for its next statement would end the process.
    parts.client.on('error', this.#onError)
  }

  /** Throws what the server or the driver says, of this statement or of those before it that nobody waited for. */
  query = (async (text: string, values: readonly unknown[]): Promise<pg.QueryResult> => {
    if (text === AHEAD) {
      if (!this.#parts.waitsForEach) this.#ahead = values as readonly CompiledQuery[]
      return NOTHING
    }
    if (this.#parts.waitsForEach) return text === 'rollback' && this.#lost ? NOTHING : await this.#send(text, values)
    if (BEGINS.test(text)) {
      this.#transaction = 'beginning'
      return this.#sendOnly(text, values)
    }
    if (text === 'rollback') return await this.#rollBack()
    const early = this.#takeEarly(text, values)
    if (early !== null) return await this.#answerOf(early, false)
    if (this.#transaction === 'begun' && this.#unanswered.length < MOST_UNANSWERED && SAYS_NOTHING.test(text)) return this.#sendOnly(text, values)
    const isCommit = text === 'commit'
    if (isCommit) this.#ahead = []
    const last = this.#sendWithNext(text, values)
    this.#letGo()
    const answer = await this.#answerOf(last, isCommit)
    this.#transaction = this.#transaction === 'none' || isCommit ? 'none' : 'begun'
    return answer
  }) as unknown as PostgresPoolClient['query']

  release (): void {
    this.#letGo()
    this.#parts.client.off('error', this.#onError)
    this.#parts.client.release(this.#lost)
  }

  /** The answer to what was sent early, if this is what was to be asked. If not, nothing of it holds: what is asked now may change it. */
  #takeEarly (text: string, values: readonly unknown[]): Promise<pg.QueryResult> | null {
    const [first] = this.#early
    if (first === undefined) return null
    if (first.query.sql === text && isDeepStrictEqual(first.query.parameters, values)) return this.#early.shift()?.sent ?? null
    this.#unanswered.push(...this.#early.splice(0).map(({ sent }) => sent))
    return null
  }

  #sendWithNext (text: string, values: readonly unknown[]): Promise<pg.QueryResult> {
    if (this.#ahead.length === 0) return this.#send(text, values)
    this.#hold()
    const last = this.#send(text, values)
    this.#early = this.#ahead.map(query => ({ query, sent: unheard(this.#send(query.sql, query.parameters)) }))
    this.#ahead = []
    return last
  }

  #sendOnly (text: string, values: readonly unknown[]): pg.QueryResult {
    this.#hold()
    this.#unanswered.push(unheard(this.#send(text, values)))
    return NOTHING
  }

  /** The answer to the last of what was sent; throws what failed first of it. */
  async #answerOf (last: Promise<pg.QueryResult>, isCommit: boolean): Promise<pg.QueryResult> {
    const before = this.#unanswered.splice(0)
    const answers = await Promise.allSettled([...before, last])
    const failed = answers.find(answer => answer.status === 'rejected')
    if (failed === undefined) {
      const answer = await last
      if (!isCommit || answer.command === 'COMMIT') return answer
    }
    const error: unknown = failed?.reason ?? new Error('the server has rolled back a transaction and not said why')
    // To commit a transaction that has failed is to roll it back, and is no error to the server.
    const answer = answers.at(-1)
    if (isCommit && answer?.status === 'fulfilled' && answer.value.command === 'ROLLBACK') noteRolledBack(error)
    throw error
  }

  async #rollBack (): Promise<pg.QueryResult> {
    this.#transaction = 'none'
    // What the lost connection had begun is rolled back by the server; a second error would hide the first.
    if (this.#lost) return NOTHING
    this.#unanswered = []
    const rolledBack = this.#send('rollback', [])
    this.#letGo()
    return await rolledBack
  }

  #hold (): void {
    if (this.#isHeld) return
    this.#isHeld = true
    this.#parts.client.connection.stream.cork()
  }

  #letGo (): void {
    if (!this.#isHeld) return
    this.#isHeld = false
    this.#parts.client.connection.stream.uncork()
  }

  async #send (text: string, values: readonly unknown[]): Promise<pg.QueryResult> {
    try {
      // Without values there is little to plan: begin, commit.
      return values.length === 0 ? await this.#parts.client.query(text) : await this.#parts.client.query({ name: nameOf(text), text, values: [...values] })
    } catch (error) {
      if (isConnectionLost(error) || isOldPlan(error)) this.#lost = true
      if (isReadOnly(error)) {
        this.#lost = true
        this.#parts.onReadOnly()
      }
      throw error
    }
  }
}

/** Whoever waits for a later statement is told what fails. */
function unheard (sent: Promise<pg.QueryResult>): Promise<pg.QueryResult> {
  sent.catch(() => {})
  return sent
}

const NOTHING: pg.QueryResult = { command: '', rowCount: null, oid: 0, fields: [], rows: [] }

/**
 * Names of statements, so that the server keeps their plans for a connection: a quarter of its work for a batch. There are few texts (rows.ts); those with a list of
 * values of any length are many, and the later ones have no name.
 */
const names = new Map<string, string>()
const MOST_NAMES = 200

function nameOf (text: string): string | undefined {
  const known = names.get(text)
  if (known !== undefined || names.size >= MOST_NAMES) return known
  const name = `parkmq_${names.size}`
  names.set(text, name)
  return name
}
