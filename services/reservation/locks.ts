// What a batch of requests must have to itself where several nodes write one ledger, besides its lots: request ids, whose history
// it reads; plates and users, whose reservations in all lots it counts; permits, whose sales it counts. All at once and before
// any lot, so that two batches never wait for each other. In a ledger of one process there is nobody else.
import { ACCESS } from '../../shared/access.js'
import { lockedNames } from '../../storage/locks.js'
import type { Id } from '../../shared/lot.js'
import type { Reservation } from '../../shared/reservation.js'
import { READ_ONLY } from '../../shared/schemas.js'
import { ask, askAhead, type Question } from '../../storage/questions.js'
import { reservationOf } from '../../storage/records.js'
import type { Database } from '../../storage/rows.js'
import type { ReservationsTable } from '../../storage/tables.js'
import type { LedgerTransaction } from '../../storage/transaction.js'
import type { Request } from './requests.js'

export function lockedFor (database: Database, requests: readonly Request[]): Question<void> {
  const names: string[] = []
  for (const { call: { method, body }, requestId, user, role } of requests) {
    if (requestId !== null && !READ_ONLY.has(method)) names.push(`request ${requestId} ${user ?? ''}`)
    if (method === 'reserve' || method === 'book' || method === 'wait') {
      names.push(`plate ${body.plate}`)
      // Who acts for others has no limit, and would otherwise wait for itself on another node.
      if (user !== null && !(role !== null && ACCESS[role].actsForOthers)) names.push(`user ${user}`)
    } else if (method === 'change' && body.plate !== undefined) {
      names.push(`plate ${body.plate}`)
    } else if (method === 'buyPermit') {
      names.push(`permit ${body.permit}`)
    }
  }
  return lockedNames(database, names)
}

/**
 * Loads the lots of the reservations that are asked for, and `lots`. Where other nodes write as well, only what is read under
 * its lot's lock holds: it is asked again then, and may even have gone to another lot. `next` is what is asked after it.
 */
export async function loadLotsOf (tx: LedgerTransaction, lots: ReadonlySet<Id>, questions: readonly Question<ReservationsTable[]>[], next: readonly Question<unknown>[]): Promise<Reservation[]> {
  const read = async (): Promise<Reservation[]> => {
    const rows: ReservationsTable[] = []
    for (const question of questions) rows.push(...await ask(tx.database, question))
    return rows.map(reservationOf)
  }
  let found = await read()
  const load = async (ids: readonly Id[]): Promise<void> => {
    if (questions.length > 0 && ids.length > 0) await askAhead(tx.database, [...questions, ...next])
    await tx.load(ids)
  }
  await load([...lots, ...found.map(({ lot }) => lot)])
  while (tx.database.engine !== 'sqlite') {
    found = await read()
    const elsewhere = found.flatMap(({ lot }) => tx.isLoaded(lot) ? [] : [lot])
    if (elsewhere.length === 0) break
    await load(elsewhere)
  }
  return found
}
