// What the database keeps of each node: which notices it has sent, and when it was last there. Every node sends every notice on
// its own broker, since only that knows whom it reaches; a notice is forgotten when all nodes have sent it.
import { sql } from 'kysely'
import { lockNames } from './locks.js'
import type { Question } from './questions.js'
import type { Database } from './rows.js'
import type { NoticesTable } from './tables.js'
import { noticeOf, type Notice } from './waiting.js'

/** The place in the notices of a node that sends none, past all of them: nobody waits for it. Nor has it a place in the events. */
export const SENDS_NONE = Number.MAX_SAFE_INTEGER

/** At most `limit` notices that this node has not sent, the oldest first. */
export function noticesOfNode ({ kysely }: Database, node: string, limit: number): Question<Notice[]> {
  return {
    query: sql`select * from notices where id > (select noticed from nodes where node = ${node}) order by id limit ${limit}`.compile(kysely),
    read: rows => (rows as NoticesTable[]).map(noticeOf)
  }
}

/** This node has sent all notices up to `position`. */
export async function passNotices (database: Database, node: string, position: number): Promise<void> {
  const { kysely } = database
  // One node after the other: of two at once, neither would see that it is the last.
  await lockNames(database, ['notices'])
  await sql`update nodes set noticed = ${position} where node = ${node} and noticed < ${position}`.execute(kysely)
  await sql`delete from notices where id <= (select min(noticed) from nodes)`.execute(kysely)
}

/**
 * Forgets nodes that were last there before `beforeMs`, with their places in the events and notices, and notices from before then
 * whoever has not sent them: nothing is kept for a node that never comes back. One that does begins with what is new.
 */
export async function forgetNodes ({ kysely }: Database, beforeMs: number): Promise<void> {
  await sql`delete from nodes where seen_at_ms < ${beforeMs}`.execute(kysely)
  await sql`delete from cursors where name like ${`${eventsCursor('')}%`} and name not in (select ${eventsCursor('')} || node from nodes where noticed <> ${SENDS_NONE})`.execute(kysely)
  await sql`delete from transactions where at_ms < ${beforeMs}`.execute(kysely)
  await sql`delete from notices where at_ms < ${beforeMs} or id <= (select min(noticed) from nodes)`.execute(kysely)
}

/** The name of a node's place in the events. */
export function eventsCursor (node: string): string {
  return `events@${node}`
}
