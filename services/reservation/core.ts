// What a request may do: admission, ownership, and the operators' acts on lots. Pure: the shell loads, saves and answers.
// The life of a reservation itself is the state machine of shared/reservation.ts.
import type { Refusal } from '../../shared/errors.js'
import { freePlaces, type Id, type Lot } from '../../shared/lot.js'
import { transition, type Reservation, type ReservationEvent, type ReservationTimes, type TransitionRefusal } from '../../shared/reservation.js'
import type { NewLot, RequestBody } from '../../shared/schemas.js'
import { fits } from './windows.js'

/** Either what was decided or why not. */
export type Decision<T> = { readonly ok: true, readonly value: T } | { readonly ok: false, readonly refusal: Refusal }

/** What only the shell can make: random. */
export interface Fresh {
  readonly id: string
  readonly secretHash: string
}

/** Who asks, as far as it is known. */
export interface Asker {
  /** The broker's user; null where the broker knows none. */
  readonly user: string | null
  /** SHA-256 of the secret that came with the request; null without one. */
  readonly secretHash: string | null
  /** Whether it may use what is another's without its secret. */
  readonly actsForOthers: boolean
}

/**
 * Admits a hold from now. At every instant of its window the reservations stay within capacity - buffer, and a place is
 * free now. `live` are the lot's live reservations, after everything due has been applied.
 */
export function reserve (lot: Lot, live: readonly Reservation[], plate: string, holdMs: number, asker: Asker, fresh: Fresh, nowMs: number): Decision<Reservation> {
  if (!lot.open) return refuse('lot_closed', `the lot ${lot.id} is closed`)
  const window = { fromMs: nowMs, toMs: nowMs + holdMs }
  if (freePlaces(lot) < 1) return refuse('lot_full', `the lot ${lot.id} has no free place; try another lot, or later`)
  if (!fits(live, window, lot.capacity - lot.buffer)) {
    return refuse('lot_full', `all places of the lot ${lot.id} belong to reservations, some of cars that have not departed; try another lot, or later`)
  }
  return decided({
    id: fresh.id, lot: lot.id, plate, status: 'held', ...window, dueAtMs: window.toMs,
    secretHash: fresh.secretHash, owner: asker.user, madeAtMs: nowMs
  })
}

/**
 * Which of the candidates the asker means and may use: the user who made it, whoever shows its secret, or an operator.
 * Among several of the same plate the newest live one counts.
 */
export function choose (candidates: readonly Reservation[], named: string, asker: Asker): Decision<Reservation> {
  if (candidates.length === 0) return refuse('unknown_reservation', `there is no reservation ${named}`)
  const own = asker.actsForOthers ? [...candidates] : candidates.filter(candidate => isOwn(candidate, asker))
  const [chosen] = own.sort((a, b) => Number(b.dueAtMs !== null) - Number(a.dueAtMs !== null) || b.madeAtMs - a.madeAtMs)
  if (chosen) return decided(chosen)
  return refuse('not_yours', asker.secretHash === null
    ? `the reservation ${named} ${asker.user === null ? '' : 'is not yours and '}needs its secret: send the one that reserve returned`
    : `the secret is not that of the reservation ${named}`)
}

/** Made by the same user, or its secret is shown. */
export function isOwn (reservation: Reservation, asker: Asker): boolean {
  return reservation.secretHash === asker.secretHash || (reservation.owner !== null && reservation.owner === asker.user)
}

/** Takes the reservation one step through its life. */
export function step (reservation: Reservation, event: ReservationEvent, nowMs: number, times: ReservationTimes): Decision<Reservation> {
  const result = transition(reservation, event, nowMs, times)
  return result.ok ? decided(result.reservation) : refuse(result.code, REFUSED_STEP[result.code](reservation))
}

const REFUSED_STEP: Record<TransitionRefusal, (reservation: Reservation) => string> = {
  already_arrived: r => `the car of the reservation ${r.id} has arrived`,
  already_cancelled: r => `the reservation ${r.id} was cancelled before`,
  not_arrived: r => `the car of the reservation ${r.id} has not arrived; use arrive or cancel`,
  reservation_ended: r => `the reservation ${r.id} is ${r.status}`
}

/** A new lot. `quality` is worked out when it is written. */
export function newLot (settings: NewLot): Lot {
  return {
    id: settings.lot,
    name: settings.name ?? settings.lot,
    capacity: settings.capacity,
    buffer: settings.buffer,
    // Where bays give the count, one that nobody has vouched for is not given away.
    counted: settings.occupied ?? (settings.baysCover ? settings.bays.length : 0),
    held: 0,
    arriving: 0,
    open: settings.open,
    counting: settings.counting,
    baysCover: settings.baysCover,
    suspect: false,
    heardAtMs: null,
    quality: 'unknown',
    version: 0,
    changedAtMs: 0,
    dueAtMs: null
  }
}

/** A lot with some settings changed. `bays` are the lot's listed bays after the change. */
export function changeLot (lot: Lot, change: RequestBody<'lot.set'>, bays: readonly Id[]): Decision<Lot> {
  const next: Lot = {
    ...lot,
    name: change.name ?? lot.name,
    capacity: change.capacity ?? lot.capacity,
    buffer: change.buffer ?? lot.buffer,
    counting: change.counting ?? lot.counting,
    baysCover: change.baysCover ?? lot.baysCover
  }
  if (next.buffer > next.capacity) return refuse('bad_request', `buffer: ${next.buffer} is above the capacity ${next.capacity}`)
  if (next.baysCover && bays.length === 0) return refuse('bad_request', 'baysCover needs the list of bays')
  return decided(next)
}

/** What of a lot's settings the audit and the operator see. */
export function settingsOf (lot: Lot): Record<string, unknown> {
  return { name: lot.name, capacity: lot.capacity, buffer: lot.buffer, counting: lot.counting, baysCover: lot.baysCover, open: lot.open }
}

export function decided<T> (value: T): Decision<T> {
  return { ok: true, value }
}

export function refuse (code: Refusal['code'], message: string): { readonly ok: false, readonly refusal: Refusal } {
  return { ok: false, refusal: { code, message } }
}
