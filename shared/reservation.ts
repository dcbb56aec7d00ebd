// A reservation and its life: the one state machine that the reservation service (requests), the occupancy service
// (a gate saw the car) and the ledger (a time has come) all go through. Pure.
//
//              reserve            arrive, sensors count            a car is counted, or arrivalGrace is over
//   (nothing) ---------> held ---------------------------> arriving ------------------------------------> arrived
//                         |  \____ a gate saw the plate, or arrive where requests count ______________/     |
//              cancel     |  due                              | cancel                       depart, or due |
//            cancelled <--+--> expired                    cancelled                                     departed
//
// `held` and `arriving` keep a place of the lot (they are counted in the lot's `held`); the others do not.
import type { Counting, Id, Lot } from './lot.js'

export type ReservationStatus = 'held' | 'arriving' | 'arrived' | 'departed' | 'cancelled' | 'expired'

/** Statuses in which time or a request can still change the reservation. */
export const LIVE_STATUSES: readonly ReservationStatus[] = ['held', 'arriving', 'arrived']

export interface Reservation {
  /** `R-` and 12 characters. */
  readonly id: string
  readonly lot: Id
  readonly plate: string
  readonly status: ReservationStatus
  /** The window [fromMs, toMs) in which it counts against the lot's places. */
  readonly fromMs: number
  readonly toMs: number
  /** When time next changes it; null when it never will. */
  readonly dueAtMs: number | null
  /** SHA-256 of the secret that its owner shows, hexadecimal. */
  readonly secretHash: string
  /** The broker's name for who made it; null where the broker knows no users. */
  readonly owner: string | null
  readonly madeAtMs: number
}

/** Named times of the life of a reservation, in milliseconds. */
export interface ReservationTimes {
  /** How long a place stays held after `arrive` while no sensor has counted the car. */
  readonly arrivalGraceMs: number
  /** How long an arrived hold keeps its place in the windows when nobody says `depart`. */
  readonly maxStayMs: number
}

export type ReservationEvent =
  | { readonly type: 'due' }
  | { readonly type: 'arrive', readonly counting: Counting }
  | { readonly type: 'car_counted' }
  | { readonly type: 'depart' }
  | { readonly type: 'cancel' }

/** Why an event does not fit the reservation's status; the names are error codes of `errors.ts`. */
export type TransitionRefusal = 'already_arrived' | 'already_cancelled' | 'reservation_ended' | 'not_arrived'

export type Transition =
  | { readonly ok: true, readonly reservation: Reservation }
  | { readonly ok: false, readonly code: TransitionRefusal }

/** Whether a reservation in this status keeps a place in its lot's `held`. */
export function keepsPlace (status: ReservationStatus): boolean {
  return status === 'held' || status === 'arriving'
}

/**
 * What `event` makes of `reservation` at `atMs`. For `due`, `atMs` is the due time itself, not the time somebody
 * noticed it, so that a late timer gives the same history as a prompt one.
 */
export function transition (reservation: Reservation, event: ReservationEvent, atMs: number, times: ReservationTimes): Transition {
  switch (event.type) {
    case 'due': return due(reservation, atMs, times)
    case 'arrive': return arrive(reservation, event.counting, atMs, times)
    case 'car_counted': return keepsPlace(reservation.status) ? done(arrived(reservation, atMs, times)) : refusedAsArrived(reservation)
    case 'depart': return depart(reservation, atMs)
    case 'cancel': return cancel(reservation, atMs)
    default: return unreachable(event)
  }
}

/**
 * The lot after one of its reservations went from `before` (null when it is new) to `after`: its places kept and, in a
 * lot where requests count, its cars. `carCountedElsewhere` says that a sensor's delta already counts this car.
 */
export function lotAfter (lot: Lot, before: Reservation | null, after: Reservation, carCountedElsewhere = false): Lot {
  const entered = before?.status !== 'arrived' && after.status === 'arrived'
  const left = before?.status === 'arrived' && after.status !== 'arrived'
  const requestsCount = lot.counting === 'requests' && !carCountedElsewhere
  return {
    ...lot,
    held: lot.held + places(after.status) - (before ? places(before.status) : 0),
    arriving: lot.arriving + Number(after.status === 'arriving') - Number(before?.status === 'arriving'),
    counted: requestsCount ? lot.counted + Number(entered) - Number(left) : lot.counted
  }
}

function places (status: ReservationStatus): number {
  return keepsPlace(status) ? 1 : 0
}

function due (reservation: Reservation, atMs: number, times: ReservationTimes): Transition {
  switch (reservation.status) {
    case 'held': return done(ended(reservation, 'expired', atMs))
    // No sensor saw the car in time: the driver is believed, the place is no longer kept, the count stays the sensors'.
    case 'arriving': return done(arrived(reservation, atMs, times))
    case 'arrived': return done(ended(reservation, 'departed', atMs))
    case 'departed': case 'cancelled': case 'expired': return { ok: false, code: 'reservation_ended' }
    default: return unreachable(reservation.status)
  }
}

function arrive (reservation: Reservation, counting: Counting, atMs: number, times: ReservationTimes): Transition {
  if (reservation.status !== 'held') return refusedAsArrived(reservation)
  if (counting === 'requests') return done(arrived(reservation, atMs, times))
  return done({ ...reservation, status: 'arriving', toMs: Math.max(reservation.toMs, atMs + times.arrivalGraceMs), dueAtMs: atMs + times.arrivalGraceMs })
}

function depart (reservation: Reservation, atMs: number): Transition {
  switch (reservation.status) {
    // A car that leaves before any sensor counted it gives its place back.
    case 'arriving': case 'arrived': return done(ended(reservation, 'departed', atMs))
    case 'held': return { ok: false, code: 'not_arrived' }
    case 'departed': case 'cancelled': case 'expired': return { ok: false, code: 'reservation_ended' }
    default: return unreachable(reservation.status)
  }
}

function cancel (reservation: Reservation, atMs: number): Transition {
  switch (reservation.status) {
    case 'held': case 'arriving': return done(ended(reservation, 'cancelled', atMs))
    case 'arrived': return { ok: false, code: 'already_arrived' }
    case 'cancelled': return { ok: false, code: 'already_cancelled' }
    case 'departed': case 'expired': return { ok: false, code: 'reservation_ended' }
    default: return unreachable(reservation.status)
  }
}

function arrived (reservation: Reservation, atMs: number, times: ReservationTimes): Reservation {
  return { ...reservation, status: 'arrived', toMs: atMs + times.maxStayMs, dueAtMs: atMs + times.maxStayMs }
}

function ended (reservation: Reservation, status: 'departed' | 'cancelled' | 'expired', atMs: number): Reservation {
  return { ...reservation, status, toMs: Math.min(reservation.toMs, atMs), dueAtMs: null }
}

function refusedAsArrived (reservation: Reservation): Transition {
  return { ok: false, code: reservation.status === 'arriving' || reservation.status === 'arrived' ? 'already_arrived' : 'reservation_ended' }
}

function done (reservation: Reservation): Transition {
  return { ok: true, reservation }
}

function unreachable (value: never): never {
  throw new Error(`not a known reservation status or event: ${JSON.stringify(value)}`)
}
