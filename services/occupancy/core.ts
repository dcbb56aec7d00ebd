// What a sensor's message does to its lot. Pure: the shell (service.ts) loads what the message may touch, applies one
// message after the other in the order they came, and saves the results in one transaction.
//
//   message -> admitted by (sensor, epoch, seq)?  no  -> duplicate or too_old: the count stays
//                                                 yes -> delta:   counted += delta; a plate checks its reservation in or out
//                                                        recount: counted  = occupied, suspect ends
//                                                        bays:    each bay newer than its last word; counted = taken + unknown
//   a source whose word no longer stands                      -> its bays are unknown and lapsed
import { copyOf, isCountedBesides, type BayState, type Id, type Lot, type Source } from '../../shared/lot.js'
import type { Refusal } from '../../shared/errors.js'
import { mayArrive, type Reservation, type ReservationTimes } from '../../shared/reservation.js'
import type { Writable } from '../../shared/writable.js'
import { admit, superseded, type SensorSeen } from './sequence.js'

interface FromSensor {
  readonly lot: Id
  readonly sensor: Id
  readonly epoch: number
  readonly seq: number
}

export type SensorMessage =
  | { readonly type: 'bare', readonly lot: Id, readonly delta: number }
  | FromSensor & { readonly type: 'delta', readonly delta: number, readonly plate: string | null }
  | FromSensor & { readonly type: 'recount', readonly occupied: number }
  | FromSensor & SaidOfBays & { readonly type: 'bays' }

interface SaidOfBays {
  readonly bays: ReadonlyMap<Id, BayState>
  /** It is all that its sensor knows: what that said before no longer matters. */
  readonly whole: boolean
  /** How long its sensor may be silent before this word lapses; null for as long as it likes. */
  readonly standsForMs: number | null
}

export interface Bay {
  readonly bay: Id
  readonly state: BayState
  readonly listed: boolean
  /** Whether the source of the last word fell silent for longer than it said: the state is then `unknown`. */
  readonly lapsed: boolean
  /** The last word on this bay: whose and which; null before any. */
  readonly by: { readonly sensor: Id, readonly epoch: number, readonly seq: number } | null
}

/** What a message may look at. */
export interface World {
  readonly lot: Lot
  /** What is known of the message's sensor; null when it was never heard. */
  readonly seen: SensorSeen | null
  /** All bays of the lot; only for a `bays` message. */
  readonly bays: ReadonlyMap<Id, Bay>
  /** Live reservations of the message's plate, or those that wait for a car when it has none; the oldest first. */
  readonly waiting: readonly Reservation[]
}

export interface Rules {
  readonly gapGraceMs: number
  /** Most bays that a lot may have. */
  readonly maxBays: number
  readonly staleAfterMs: number
  readonly times: ReservationTimes
}

/** What the shell saves and tells; absent parts do not change. */
export interface Applied {
  readonly outcome: 'applied' | 'duplicate' | 'too_old' | 'superseded' | 'refused'
  readonly refusal?: Refusal
  readonly lot?: Lot
  readonly seen?: SensorSeen
  /** When the sensor's word lapses unless it is heard again; null for never. */
  readonly standsUntilMs?: number | null
  readonly bays?: readonly Bay[]
  /** Reservations whose car was just counted in. */
  readonly arrived?: readonly Reservation[]
  /** The reservation whose car was just counted out. */
  readonly departed?: Reservation
  /** An absolute count: everything missing before it no longer matters. */
  readonly recount?: number
  readonly gapsSettled?: boolean
  /** Messages that were just found to be lost. */
  readonly lost?: number
  readonly restarted?: boolean
}

/** Cars: counted beyond this is a faulty sensor, not a car park. */
const MAX_COUNTED = 1_000_000_000

/** Applies one message. `nowMs` is the time of the transaction. */
export function apply (world: World, message: SensorMessage, nowMs: number, rules: Rules): Applied {
  if (message.type === 'bare') return counted(world, { delta: message.delta, plate: null, sensor: null }, nowMs, rules)
  const admission = admit(world.seen, message.epoch, message.seq, nowMs, rules.gapGraceMs)
  switch (admission.verdict) {
    case 'duplicate': return { outcome: 'duplicate', ...heardAgain(world.lot, nowMs) }
    case 'too_old': return { outcome: 'too_old', lot: { ...world.lot, heardAtMs: nowMs, suspect: true } }
    case 'next': case 'late': {
      const effect = applyForm(world, message, admission.verdict === 'late', nowMs, rules)
      // A refused message leaves its seq open: the sensor may send it again, corrected.
      if (effect.outcome === 'refused') return effect
      const isWhole = message.type === 'bays' && message.whole
      const complete = effect.recount !== undefined || effect.gapsSettled === true || isWhole
      const seen = complete && admission.verdict === 'next' ? superseded(admission.seen) : admission.seen
      const lot = effect.lot ?? heard(world.lot, nowMs)
      // A loss found now does not matter when this very message says the whole truth.
      effect.lot = admission.lost > 0 && !complete ? { ...lot, suspect: true } : lot
      effect.seen = seen
      if (message.type === 'bays' && admission.verdict === 'next') effect.standsUntilMs = message.standsForMs === null ? null : nowMs + message.standsForMs
      if (admission.lost > 0 && !isWhole) effect.lost = admission.lost
      if (admission.restarted) effect.restarted = true
      return effect
    }
    default: return admission satisfies never
  }
}

function applyForm (world: World, message: Exclude<SensorMessage, { type: 'bare' }>, late: boolean, nowMs: number, rules: Rules): Writable<Applied> {
  switch (message.type) {
    case 'delta': return counted(world, message, nowMs, rules)
    case 'recount': return late ? { outcome: 'superseded' } : { outcome: 'applied', recount: message.occupied, lot: heard(world.lot, nowMs) }
    case 'bays': return occupiedBays(world, message, late, nowMs, rules)
    default: return message satisfies never
  }
}

function counted ({ lot, waiting }: World, { delta, plate, sensor }: { delta: number, plate: string | null, sensor: Id | null }, nowMs: number, { times }: Rules): Writable<Applied> {
  const total = lot.counted + delta
  if (Math.abs(total) > MAX_COUNTED) {
    return refused('over_limit', `the count of ${lot.id} would be ${total}, beyond ${MAX_COUNTED}; send a recount`)
  }
  const corrected: Source = { sensor, said: 'delta', atMs: nowMs }
  const next = copyOf(lot)
  next.counted = total
  next.heardAtMs = nowMs
  next.corrected = corrected
  if (delta < 0) {
    const departed = plate === null ? undefined : waiting.find(({ status }) => status === 'arrived' || status === 'overstayed')
    return { outcome: 'applied', lot: next, ...(departed && { departed }) }
  }
  // With a plate it is that car; without one, the next of those who said that they have arrived.
  const expected = plate === null
    ? waiting.filter(reservation => reservation.status === 'arriving').slice(0, delta)
    : waiting.filter(reservation => mayArrive(reservation, nowMs, times)).sort((a, b) => Number(a.status === 'booked') - Number(b.status === 'booked')).slice(0, Math.min(delta, 1))
  return { outcome: 'applied', lot: next, ...(expected.length > 0 && { arrived: expected }) }
}

function occupiedBays ({ lot, bays: known }: World, message: FromSensor & SaidOfBays, late: boolean, nowMs: number, rules: Rules): Writable<Applied> {
  const lists = [...known.values()].some(bay => bay.listed)
  const by = { sensor: message.sensor, epoch: message.epoch, seq: message.seq }
  const changed: Bay[] = []
  let added = 0
  for (const [id, state] of message.bays) {
    const bay = known.get(id)
    if (!bay?.listed && lists) return refused('unknown_bay', `the lot ${lot.id} has no bay ${id}; add it with lot.set, or correct the id`)
    if (!bay && known.size + ++added > rules.maxBays) return refused('over_limit', `the lot ${lot.id} has ${known.size} bays; a lot may have ${rules.maxBays}`)
    // A late message must not undo a newer word of the same sensor on the same bay.
    const newer = late && bay?.by?.sensor === message.sensor && bay.by.epoch === message.epoch && bay.by.seq > message.seq
    if (!newer) changed.push({ bay: id, state, listed: bay?.listed ?? false, lapsed: false, by })
  }
  // It is back: of what it leaves out it is not sure, but it looks.
  if (message.whole && !late) {
    for (const bay of known.values()) if (bay.lapsed && bay.by?.sensor === message.sensor && !message.bays.has(bay.bay)) changed.push({ ...bay, lapsed: false })
  }
  if (changed.length === 0) return { outcome: message.bays.size === 0 ? 'applied' : 'superseded', lot: heard(lot, nowMs) }
  const after = new Map(known)
  for (const bay of changed) after.set(bay.bay, bay)
  const next = countedByBays(heard(lot, nowMs), after, { sensor: message.sensor, said: 'bays', atMs: nowMs }, nowMs, rules)
  if (!lot.baysCover) return { outcome: 'applied', lot: next, bays: changed }
  const complete = !late && [...known.values()].every(bay => !bay.listed || message.bays.has(bay.bay))
  return { outcome: 'applied', lot: complete ? { ...next, suspect: false } : next, bays: changed, ...(complete && { gapsSettled: true }) }
}

/**
 * What becomes of a lot when `sensors` were silent for longer than they said: bays of which nobody else has said a word
 * since are `unknown`. The other bays, the sensors' deltas and their numbers stay. Null when no bay was theirs.
 */
export function lapse ({ lot, bays: known }: Pick<World, 'lot' | 'bays'>, sensors: ReadonlySet<Id>, nowMs: number, rules: Pick<Rules, 'staleAfterMs'>): { readonly lot: Lot, readonly bays: readonly Bay[] } | null {
  const changed: Bay[] = []
  for (const bay of known.values()) {
    if (bay.by !== null && sensors.has(bay.by.sensor) && !bay.lapsed) changed.push({ ...bay, state: 'unknown', lapsed: true })
  }
  if (changed.length === 0) return null
  const after = new Map(known)
  for (const bay of changed) after.set(bay.bay, bay)
  return { lot: countedByBays(lot, after, lot.absolute, nowMs, rules), bays: changed }
}

/**
 * The lot with its count by its bays, where they cover it. While nobody vouches for some of them, whoever counts besides
 * them knows better: then the count is left to that.
 */
function countedByBays (lot: Lot, bays: ReadonlyMap<Id, Bay>, absolute: Source | null, nowMs: number, { staleAfterMs }: Pick<Rules, 'staleAfterMs'>): Lot {
  let lapsedBays = 0
  for (const bay of bays.values()) if (bay.lapsed) lapsedBays++
  const next = { ...lot, lapsedBays }
  if (!lot.baysCover || (lapsedBays > 0 && isCountedBesides(lot, nowMs, staleAfterMs))) return next
  return { ...next, counted: notFree(bays), absolute }
}

/** Cars by the lot's listed bays: a bay that nobody can vouch for is not given away. */
export function notFree (bays: ReadonlyMap<Id, Bay>): number {
  let cars = 0
  for (const bay of bays.values()) if (bay.listed && bay.state !== 'free') cars++
  return cars
}

function heard (lot: Lot, nowMs: number): Lot {
  const next = copyOf(lot)
  next.heardAtMs = nowMs
  return next
}

/** A duplicate is a word of the sensor too, but a flood of them must not write the lot each time. */
function heardAgain (lot: Lot, nowMs: number): { lot?: Lot } {
  return lot.heardAtMs !== null && nowMs - lot.heardAtMs < HEARD_EVERY_MS ? {} : { lot: heard(lot, nowMs) }
}

const HEARD_EVERY_MS = 1_000

function refused (code: Refusal['code'], message: string): Applied {
  return { outcome: 'refused', refusal: { code, message } }
}
