// A connection while somebody has it from the pool. What has nothing to say but that it went well - the beginning of a transaction, a
// lock on names, rows that are inserted - is not waited for: it goes to the server with the next statement that is, in one write (the
// driver's pipeline mode). To write to a socket and to wake who reads it costs as much as a small statement. What fails of it is
// thrown by that next statement, at the latest by the commit.
import type { PostgresPoolClient } from 'kysely'
import type pg from 'pg'
import { isConnectionLost, isOldPlan, isReadOnly, noteRolledBack } from './postgres-errors.js'

/** Statements that nobody waits for: each holds its rows in memory. */
const MOST_UNANSWERED = 16
const BEGINS = /^(begin|start transaction)\b/
const SAYS_NOTHING = /^(insert into\b(?![^]*\breturning\b)|select pg_advisory_xact_lock\()/

export class PostgresConnection implements PostgresPoolClient {
  readonly #client: pg.PoolClient
  readonly #onReadOnly: () => void
  readonly #onError = (): void => { this.#lost = true }
  #lost = false
  #inTransaction = false
  /** Whether what is sent waits to be written. */
  #isHeld = false
  /** Not waited for, in order. */
  #unanswered: Promise<pg.QueryResult>[] = []

  /** `onReadOnly`: told that the host is none that can be written. */
  constructor (client: pg.PoolClient, onReadOnly: () => void) {
    this.#client = client
    this.#onReadOnly = onReadOnly
    // Without a listener, the end of a connection that waits for its next statement would end the process.
    client.on('error', this.#onError)
  }

  /** Throws what the server or the driver says, of this statement or of those before it that nobody waited for. */
  query = (async (text: string, values: readonly unknown[]): Promise<pg.QueryResult> => {
    if (BEGINS.test(text)) {
      this.#inTransaction = true
      return this.#sendOnly(text, values)
    }
    if (text === 'rollback') return await this.#rollBack()
    if (this.#inTransaction && this.#unanswered.length < MOST_UNANSWERED && statementOf(text).saysNothing) return this.#sendOnly(text, values)
    const isCommit = text === 'commit'
    if (isCommit) this.#inTransaction = false
    const last = this.#send(text, values)
    this.#letGo()
    return await this.#answerOf(last, isCommit)
  }) as unknown as PostgresPoolClient['query']

  release (): void {
    this.#letGo()
    this.#client.off('error', this.#onError)
    this.#client.release(this.#lost)
  }

  #sendOnly (text: string, values: readonly unknown[]): pg.QueryResult {
    this.#hold()
    const sent = this.#send(text, values)
    // Whoever waits for the next statement is told.
    sent.catch(() => {})
    this.#unanswered.push(sent)
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
    if (isCommit && answers.at(-1)?.status === 'fulfilled') noteRolledBack(error)
    throw error
  }

  async #rollBack (): Promise<pg.QueryResult> {
    this.#inTransaction = false
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
    this.#client.connection.stream.cork()
  }

  #letGo (): void {
    if (!this.#isHeld) return
    this.#isHeld = false
    this.#client.connection.stream.uncork()
  }

  async #send (text: string, values: readonly unknown[]): Promise<pg.QueryResult> {
    try {
      // Without values there is little to plan: begin, commit.
      return values.length === 0 ? await this.#client.query(text) : await this.#client.query({ name: statementOf(text).name, text, values: [...values] })
    } catch (error) {
      if (isConnectionLost(error) || isOldPlan(error)) this.#lost = true
      if (isReadOnly(error)) {
        this.#lost = true
        this.#onReadOnly()
      }
      throw error
    }
  }
}

const NOTHING: pg.QueryResult = { command: '', rowCount: null, oid: 0, fields: [], rows: [] }

interface Statement {
  /** So that the server keeps its plan for the connection: a quarter of its work for a batch. */
  readonly name: string | undefined
  readonly saysNothing: boolean
}

/** There are few texts (rows.ts); those with a list of values of any length are many, and the later ones have no name. */
const statements = new Map<string, Statement>()
const MOST_NAMES = 200

function statementOf (text: string): Statement {
  const known = statements.get(text)
  if (known !== undefined) return known
  const saysNothing = SAYS_NOTHING.test(text)
  if (statements.size >= MOST_NAMES) return { name: undefined, saysNothing }
  const statement = { name: `parkmq_${statements.size}`, saysNothing }
  statements.set(text, statement)
  return statement
}
