// What the requests of one batch share, and who each of them is from.
import { ACCESS } from '../../shared/access.js'
import type { Config } from '../../shared/config.js'
import type { Id } from '../../shared/lot.js'
import { whoIs } from '../../storage/audit.js'
import type { Cause, LedgerTransaction } from '../../storage/transaction.js'
import { refuse, type Asker, type Place, type Refused, type Rules } from './core.js'
import type { LotDefaults } from './lots.js'
import type { MonitorDraft, OpenMonitors } from './monitor-requests.js'
import type { Pending } from './pending.js'
import type { PermitSales } from './permits.js'
import { sha256, type Request } from './requests.js'

export interface BatchSettings {
  readonly rules: Rules
  readonly limits: Pick<Config['limits'], 'reservationsPerPlate' | 'reservationsPerUser' | 'waitingPerLot'>
  readonly lots: LotDefaults
  /** Whether a repeat gets the reply that was given before. False in `parkmq experiment` alone (experiment.ts). */
  readonly remembers: boolean
  readonly prices: Pick<Config, 'tariffs' | 'currency' | 'permits'>
  readonly monitors: OpenMonitors
  /** `ping`, `info` and `stats`: what the process says of itself. */
  readonly about: (method: 'ping' | 'info' | 'stats') => Promise<unknown>
}

export interface Work {
  readonly tx: LedgerTransaction
  readonly settings: BatchSettings
  readonly pending: Pending
  readonly monitors: MonitorDraft
  /** Lots in which nobody on the waiting list can be given a place, unless something changes there. */
  readonly settled: Set<Id>
  /** Lots that were asked about or changed: those who wait there have their turn at the end. */
  readonly touched: Set<Id>
  readonly permits: PermitSales
}

/** A lot with its windows as they are now; a refusal when there is no such lot. */
export async function placeIn ({ tx, touched }: Work, id: Id): Promise<{ ok: true, value: Place } | Refused> {
  touched.add(id)
  await tx.loadWindows([id])
  const lot = tx.lot(id)
  return lot ? { ok: true, value: { lot, overlaps: tx.overlaps(id) } } : unknownLot(id)
}

export function unknownLot (id: Id): Refused {
  return refuse('unknown_lot', `there is no lot ${id}; lots lists them`)
}

export function askerOf (request: Request, secret: string | undefined): Asker {
  const { user, role } = request
  return { user, secretHash: secret === undefined ? null : sha256(secret), actsForOthers: role !== null && ACCESS[role].actsForOthers }
}

export function causeOf ({ user, clientId, from }: Request): Cause {
  const who = whoIs(user, clientId)
  return from === null ? { who } : { who, address: from }
}
