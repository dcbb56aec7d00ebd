// The waiting list of a lot: whoever waits gets a place in order, before any newcomer. Who waits for a window that is
// full does not keep others from a window that is not.
import type { Id } from '../../shared/lot.js'
import type { LedgerTransaction } from '../../storage/transaction.js'
import { waitingOf } from '../../storage/waiting.js'
import { promote, type Rules } from './core.js'

const CAUSE = { who: 'time', why: 'place_freed' }

/** Gives places to those who wait in a lot, as far as there are any. Returns to how many. */
export async function promoteWaiting (tx: LedgerTransaction, id: Id, rules: Rules): Promise<number> {
  const before = tx.lot(id)
  if (!before?.open || before.waiting === 0) return 0
  await tx.loadWindows([id])
  // Who has just joined or left must be on the tables.
  await tx.flush()
  let promoted = 0
  let holdsAreOut = false
  for (const waiting of tx.know(await waitingOf(tx.database, id))) {
    const lot = tx.lot(id)
    if (!lot || waiting.status !== 'waiting' || (waiting.kind === 'hold' && holdsAreOut)) continue
    const given = promote({ lot, overlaps: tx.overlaps(id) }, waiting, tx.nowMs, rules)
    if (given.ok) {
      tx.setReservation(waiting, given.value, CAUSE)
      promoted++
    } else if (waiting.kind === 'hold') {
      // All holds are the same window.
      holdsAreOut = true
    }
  }
  return promoted
}
