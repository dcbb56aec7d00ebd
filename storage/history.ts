// The request history: the reply to every changing request that carries a requestId, stored in the transaction of its
// effect. A repeat gets the same reply, and its effect does not happen again.
import { sql } from 'kysely'
import type { Question } from './questions.js'
import { byKeys, upsert, type Database } from './rows.js'
import type { RequestHistoryTable } from './tables.js'

export interface StoredReply {
  /** The broker's user, or the empty string where there is none: ids of different users never meet. */
  readonly caller: string
  readonly requestId: string
  readonly method: string
  readonly bodyHash: string
  /** JSON. */
  readonly reply: string
}

export function historyKey (caller: string, requestId: string): string {
  return `${requestId} ${caller}`
}

/** The stored replies of these requests, by `historyKey`. */
export function storedReplies (database: Database, keys: readonly { readonly caller: string, readonly requestId: string }[]): Question<Map<string, StoredReply>> {
  const { query, read } = byKeys(database, 'request_history', ['caller', 'request_id'], keys.map(key => [key.caller, key.requestId]))
  return {
    query,
    read: rows => new Map(read(rows).map(row => [historyKey(row.caller, row.request_id), {
      caller: row.caller, requestId: row.request_id, method: row.method, bodyHash: row.body_hash, reply: row.reply
    }]))
  }
}

export async function storeReplies (database: Database, replies: readonly StoredReply[], atMs: number): Promise<void> {
  await upsert(database, 'request_history', ['caller', 'request_id'], replies.map((stored): RequestHistoryTable => ({
    caller: stored.caller, request_id: stored.requestId, method: stored.method, body_hash: stored.bodyHash, reply: stored.reply, at_ms: atMs
  })))
}

/** Forgets at most `limit` replies older than `beforeMs`. Returns how many. */
export async function pruneHistory ({ kysely }: Database, beforeMs: number, limit: number): Promise<number> {
  const result = await sql`delete from request_history where (caller, request_id) in (
    select caller, request_id from request_history where at_ms < ${beforeMs} order by at_ms limit ${limit}
  )`.execute(kysely)
  return Number(result.numAffectedRows ?? 0)
}
