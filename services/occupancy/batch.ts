// One batch of sensor messages in one transaction: load, apply in order, save. What to tell the world is returned.
import type { Refusal } from '../../shared/errors.js'
import type { Id } from '../../shared/lot.js'
import { transition, type Reservation, type ReservationEvent } from '../../shared/reservation.js'
import { MAX_BAYS } from '../../shared/schemas.js'
import { lockedLots } from '../../storage/locks.js'
import type { Question } from '../../storage/questions.js'
import type { Database } from '../../storage/rows.js'
import type { LedgerTransaction } from '../../storage/transaction.js'
import { apply, type Applied, type Rules, type SensorMessage } from './core.js'
import { settled } from './sequence.js'
import { waitingFor, Working, type Sensor } from './store.js'

export interface BatchRules {
  readonly gapGraceMs: number
  readonly sensorsPerLot: number
}

/** What became of one message. */
export interface Applying {
  readonly outcome: Applied['outcome']
  readonly refusal?: Refusal
  readonly lost: number
  /** Cars by which a recount differed. */
  readonly drift: number
}

/** A sensor's messages from before its restart are told of at most this often. */
const TELL_EVERY_MS = 60_000

/** What `applyBatch` asks first, unless something is due. */
export function batchQuestions (database: Database, messages: readonly SensorMessage[]): Question<unknown>[] {
  return [lockedLots(database, [...new Set(messages.map(message => message.lot))]), ...Working.questions(database, messages)]
}

/** Applies `messages` in their order; one result for each. Nothing is committed yet. */
export async function applyBatch (tx: LedgerTransaction, messages: readonly SensorMessage[], rules: BatchRules): Promise<Applying[]> {
  await tx.load(messages.map(message => message.lot))
  const working = await Working.load(tx, messages)
  const coreRules: Rules = { gapGraceMs: rules.gapGraceMs, maxBays: MAX_BAYS, staleAfterMs: tx.times.staleAfterMs, times: tx.times }
  const results: Applying[] = []
  for (const message of messages) results.push(await applyOne(tx, working, message, coreRules, rules.sensorsPerLot))
  await working.save(tx)
  return results
}

async function applyOne (tx: LedgerTransaction, working: Working, message: SensorMessage, rules: Rules, sensorsPerLot: number): Promise<Applying> {
  const lot = tx.lot(message.lot)
  if (!lot) return refused('unknown_lot', `there is no lot ${message.lot}; make it with lot.add`)
  const sensor = message.type === 'bare' ? null : working.sensor(message.lot, message.sensor)
  if (message.type !== 'bare' && !sensor && working.sensorsIn(lot.id) >= sensorsPerLot) {
    return refused('over_limit', `the lot ${lot.id} remembers ${sensorsPerLot} sensors (limits.sensorsPerLot); ${message.sensor} is one too many`)
  }
  const bays = message.type === 'bays' ? working.bays(lot.id) : NO_BAYS
  const applied = apply({ lot, seen: sensor?.seen ?? null, bays, waiting: waitingFor(tx, message) }, message, tx.nowMs, rules)
  if (applied.refusal) return { outcome: 'refused', refusal: applied.refusal, lost: 0, drift: 0 }

  if (applied.lot) tx.setLot(applied.lot)
  for (const bay of applied.bays ?? []) working.setBay(lot.id, bay)
  if (applied.bays) tx.lotsWithChangedBays.add(lot.id)
  for (const reservation of applied.arrived ?? []) move(tx, reservation, { type: 'car_counted' }, message)
  if (applied.departed) move(tx, applied.departed, { type: 'depart' }, message)
  const drift = message.type === 'bare' ? 0 : await applyAbsolute(tx, working, applied, lot.id, message.sensor)
  if (message.type !== 'bare') note(tx, working, applied, sensor, message)
  return { outcome: applied.outcome, lost: applied.lost ?? 0, drift }
}

async function applyAbsolute (tx: LedgerTransaction, working: Working, applied: Applied, lotId: Id, sensor: Id): Promise<number> {
  let drift = 0
  const lot = tx.lot(lotId)
  if (applied.recount !== undefined && lot) drift = await tx.recount(lot, applied.recount, { who: `sensor:${sensor}`, sensor })
  else if (applied.gapsSettled) await tx.settleGaps(lotId)
  else return 0
  // Rows of this batch are written after the statement that settled the stored ones: settle them as well.
  working.mapSensors(lotId, settled)
  return drift
}

function move (tx: LedgerTransaction, reservation: Reservation, event: ReservationEvent, message: SensorMessage): void {
  const result = transition(reservation, event, tx.nowMs, tx.times)
  if (!result.ok) throw new Error(`reservation ${reservation.id} is ${reservation.status} and cannot take ${event.type}`)
  const who = message.type === 'bare' ? 'sensors' : `sensor:${message.sensor}`
  tx.setReservation(reservation, result.reservation, { who, why: 'counted_by_sensor' }, true)
}

/** Saves what is known of the sensor, and tells of losses, restarts and messages that came too late. */
function note (tx: LedgerTransaction, working: Working, applied: Applied, sensor: Sensor | null, message: Exclude<SensorMessage, { type: 'bare' }>): void {
  const from = { lot: message.lot, sensor: message.sensor, who: `sensor:${message.sensor}` }
  if (applied.outcome === 'too_old' && sensor) {
    if (tx.nowMs - sensor.toldAtMs < TELL_EVERY_MS) return
    working.setSensor({ ...sensor, toldAtMs: tx.nowMs })
    tx.audit({ ...from, type: 'sensor.too_old', before: { epoch: sensor.seen.epoch, high: sensor.seen.high }, after: { epoch: message.epoch, seq: message.seq } })
    return
  }
  if (!applied.seen) return
  if (applied.restarted) tx.audit({ ...from, type: 'sensor.restarted', before: { epoch: sensor?.seen.epoch }, after: { epoch: message.epoch } })
  if (applied.lost) tx.audit({ ...from, type: 'sensor.gap', after: { missing: applied.lost, epoch: message.epoch } })
  const standsUntilMs = applied.standsUntilMs === undefined ? sensor?.standsUntilMs ?? null : applied.standsUntilMs
  working.setSensor({ lot: message.lot, sensor: message.sensor, seen: applied.seen, heardAtMs: tx.nowMs, toldAtMs: sensor?.toldAtMs ?? 0, standsUntilMs })
}

const NO_BAYS = new Map<Id, never>()

function refused (code: Refusal['code'], message: string): Applying {
  return { outcome: 'refused', refusal: { code, message }, lost: 0, drift: 0 }
}
