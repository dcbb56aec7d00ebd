// What the reservation service does by itself: due transitions on time, places for those who wait, and forgetting.
import type { Config } from '../../shared/config.js'
import { UnavailableError } from '../../shared/errors.js'
import type { Id } from '../../shared/lot.js'
import type { Log } from '../../shared/log.js'
import { pruneHistory } from '../../storage/history.js'
import type { Ledger } from '../../storage/ledger.js'
import { forgetNodes } from '../../storage/node-rows.js'
import type { Rules } from './core.js'
import { pruneSales } from './permits.js'
import { lotsWithMany, lotsWithWaiting, pruneReservations } from './store.js'
import { promoteWaiting } from './waiting.js'

const LOTS_AT_ONCE = 200
const PRUNE_AT_ONCE = 500
/** Reservations that are looked at without a turn of the event loop: some 5 ms. */
const LOOKED_AT_ONCE = 5_000

/** Applies what is due in every lot. */
export async function applyDue (ledger: Ledger, log: Log): Promise<void> {
  for (;;) {
    const lots = await ledger.lotsDue(LOTS_AT_ONCE)
    if (lots.length === 0) return
    const apply = async (some: readonly Id[]): Promise<void> => await ledger.transact('reservation', async tx => await tx.load(some))
    try {
      await apply(lots)
    } catch (error) {
      if (error instanceof UnavailableError) throw error
      // One lot with a fault must not keep the others from their time.
      let failed = 0
      for (const lot of lots) {
        await apply([lot]).catch((err: unknown) => {
          failed++
          log.error({ err, lot }, 'what is due in this lot cannot be applied')
        })
      }
      if (failed === lots.length) return
    }
    await turn()
  }
}

/** Gives places to those who wait, in every lot where there are any. Throws `UnavailableError`. */
export async function giveFreePlaces (ledger: Ledger, rules: Rules, log: Log): Promise<void> {
  for (const lot of await ledger.read(lotsWithWaiting)) {
    try {
      await ledger.transact('reservation', async tx => {
        await tx.load([lot])
        await promoteWaiting(tx, lot, rules)
      })
    } catch (error) {
      if (error instanceof UnavailableError) throw error
      // One lot with a fault must not keep the others from their places.
      log.error({ err: error, lot }, 'places of this lot cannot be given to those who wait')
    }
    await turn()
  }
}

/** Live reservations from which on a lot's windows are read at the start, and not at the first question, which would wait for it. */
const MANY = 5_000

/** Reads the windows of the lots with the most reservations. */
export async function readLargeLots (ledger: Ledger): Promise<void> {
  for (const lot of await ledger.read(async database => await lotsWithMany(database, MANY))) {
    await ledger.transact('reservation', async tx => {
      await tx.load([lot])
      await tx.loadWindows([lot])
    })
    await turn()
  }
}

/**
 * What forgets replies and sales that are older than they are kept, and ended reservations among those that follow the ones it looked at before.
 */
export function forgetting (ledger: Ledger, times: Pick<Config['times'], 'historyMs' | 'auditMs'>): () => Promise<void> {
  let afterMs = 0
  return async () => {
    for (;;) {
      const { reservations, others } = await ledger.transact('reservation', async tx => ({
        reservations: await pruneReservations(tx.database, tx.nowMs - times.auditMs, afterMs, { count: LOOKED_AT_ONCE, limit: PRUNE_AT_ONCE }),
        others: Math.max(
          await pruneHistory(tx.database, tx.nowMs - times.historyMs, PRUNE_AT_ONCE),
          await pruneSales(tx.database, tx.nowMs - times.auditMs, PRUNE_AT_ONCE)
        )
      }))
      afterMs = reservations.next ?? 0
      if (Math.max(reservations.pruned, others) < PRUNE_AT_ONCE) break
      await turn()
    }
    // A node that was away for longer than replies are kept is not waited for.
    if (ledger.nodes !== null) await ledger.transact('reservation', async tx => await forgetNodes(tx.database, tx.nowMs - times.historyMs))
  }
}

async function turn (): Promise<void> {
  await new Promise(resolve => setImmediate(resolve))
}
