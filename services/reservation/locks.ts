// What a batch of requests must have to itself where several nodes write one ledger, besides its lots: request ids, whose history
// it reads; plates and users, whose reservations in all lots it counts; permits, whose sales it counts. All at once and before
// any lot, so that two batches never wait for each other. In a ledger of one process there is nobody else.
import { ACCESS } from '../../shared/access.js'
import { lockNames } from '../../storage/locks.js'
import type { LedgerTransaction } from '../../storage/transaction.js'
import type { Reservation } from '../../shared/reservation.js'
import { READ_ONLY } from '../../shared/schemas.js'
import type { Request } from './requests.js'

export async function lockFor ({ database }: LedgerTransaction, requests: readonly Request[]): Promise<void> {
  if (database.engine === 'sqlite') return
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
  await lockNames(database, names)
}

/**
 * Loads the lots of the reservations that `read` finds, and `lots`. Where other nodes write as well, only what is read under
 * its lot's lock holds: it is read again then, and may even have gone to another lot.
 */
export async function loadLotsOf (tx: LedgerTransaction, lots: Iterable<Reservation['lot']>, read: () => Promise<Reservation[]>): Promise<Reservation[]> {
  let found = await read()
  await tx.load([...lots, ...found.map(({ lot }) => lot)])
  while (tx.database.engine !== 'sqlite') {
    found = await read()
    const elsewhere = found.flatMap(({ lot }) => tx.isLoaded(lot) ? [] : [lot])
    if (elsewhere.length === 0) break
    await tx.load(elsewhere)
  }
  return found
}
