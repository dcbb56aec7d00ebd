import { eventsUpTo, linesAfter, type Events } from '../../storage/audit.js'
import { ask } from '../../storage/questions.js'
import type { Database } from '../../storage/rows.js'

/** The events among at most `limit` lines of the audit after `position`, whether they are settled or not. */
export async function eventsAfter (database: Database, position: number, limit: number): Promise<Events> {
  return eventsUpTo(await ask(database, linesAfter(database, position, limit)), Number.MAX_SAFE_INTEGER)
}
