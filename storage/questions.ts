// What a transaction asks, apart from the asking: a question that is known before its turn can go to PostgreSQL together with one before
// it, and is answered by the time it is asked. To write to a socket, to wake who reads it and to wait costs more than a small statement, and
// whoever has locked a lot keeps all others from it meanwhile.
import { CompiledQuery } from 'kysely'
import type { Database } from './rows.js'

export interface Question<R> {
  /** Null where there is nothing to ask. */
  readonly query: CompiledQuery | null
  readonly read: (rows: readonly unknown[]) => R
}

/** What `askAhead` says to a connection, in place of a statement. Never sent to a server. */
export const AHEAD = 'parkmq: asked next'

export async function ask<R> ({ kysely }: Database, { query, read }: Question<R>): Promise<R> {
  return read(query === null ? [] : (await kysely.executeQuery(query)).rows)
}

/**
 * Tells that the transaction is going to ask these, in this order, after its next statement. Where statements travel they go with that
 * one; each answer counts only if nothing else is asked before it, so it is the one that would have been given then. They may lock, and
 * never write: the transaction may turn out not to have begun.
 */
export async function askAhead ({ kysely, engine }: Database, questions: readonly Question<unknown>[]): Promise<void> {
  if (engine === 'sqlite') return
  const queries = questions.flatMap(({ query }) => query ?? [])
  if (queries.length > 0) await kysely.executeQuery(CompiledQuery.raw(AHEAD, queries))
}
