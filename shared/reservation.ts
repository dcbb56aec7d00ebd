// A reservation and its life: the one state machine that the reservation service (requests), the occupancy service
// (a gate saw the car) and the ledger (a time has come) all go through. Pure.
//
//       wait                reserve                      book
//         |                    |                           |
//         v    a place frees   v     its window begins     v
//      waiting -------------> held <--------------------- booked          a car may come 15 min before
//         |                    |                           |              (earlyArrivalMs), if a place is free
//         | waited in vain     |-- arrive, sensors count --|
//         v                    |        |                  |
//      expired <-- a hold -----|        v                  |
//                    is over   |     arriving              |
//      no_show <-- a booking's |        | a car is counted, or arrivalGraceMs is over
//                    car is    |        v                  |
//                    late      '----> arrived <------------'              a gate saw the plate, or arrive where requests count
//                                       |   |
//                        depart, or a   |   | a booking's window is over
//                        hold's maxStay |   v
//                                       | overstayed
//                                       v   | depart, or maxStayMs
//                                     departed
//
//      cancel: waiting, booked, held and arriving -> cancelled
//
// `held` and `arriving` keep a place of the lot (they are counted in the lot's `held`); the others do not. A window never
// becomes longer by a transition, or a reservation that was admitted could crowd out one that was admitted later.
import { copyOf, type Counting, type Id, type Lot } from './lot.js'
import type { Window } from './windows.js'
import type { Writable } from './writable.js'

export const RESERVATION_STATUSES = ['waiting', 'booked', 'held', 'arriving', 'arrived', 'overstayed', 'departed', 'cancelled', 'expired', 'no_show'] as const
export type ReservationStatus = (typeof RESERVATION_STATUSES)[number]

/** A hold begins now and expires unless the car comes; a booking is for a window of time. */
export type ReservationKind = 'hold' | 'booking'

/** Statuses in which time or a request can still change the reservation. */
export const LIVE_STATUSES: readonly ReservationStatus[] = ['waiting', 'booked', 'held', 'arriving', 'arrived', 'overstayed']

/** Statuses in which its car has not come yet: what the limits for plates and users count. */
export const PENDING_STATUSES: readonly ReservationStatus[] = ['waiting', 'booked', 'held', 'arriving']

export interface Reservation {
  /** `R-` and 12 characters. */
  readonly id: string
  readonly kind: ReservationKind
  readonly lot: Id
  readonly plate: string
  readonly status: ReservationStatus
  /** The window [fromMs, toMs) in which it counts against the lot's places; of a waiting hold, the time in which it waits. */
  readonly fromMs: number
  readonly toMs: number
  /** The end as it was booked or last changed, before any `extend`. */
  readonly originalToMs: number
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
  /** How long an arrived hold, or an overstayed booking, stays when nobody says `depart`. */
  readonly maxStayMs: number
  /** How long after its begin a booking is given up when its car has not come. */
  readonly noShowMs: number
  /** How long before its begin the car of a booking may come. */
  readonly earlyArrivalMs: number
}

export type ReservationEvent =
  | { readonly type: 'due' }
  | { readonly type: 'arrive', readonly counting: Counting }
  | { readonly type: 'car_counted' }
  | { readonly type: 'depart' }
  | { readonly type: 'cancel' }

/** Why an event does not fit the reservation's status; the names are error codes of `errors.ts`. */
export type TransitionRefusal = 'already_arrived' | 'already_cancelled' | 'reservation_ended' | 'not_arrived' | 'still_waiting' | 'too_early'

export type Transition =
  | { readonly ok: true, readonly reservation: Reservation }
  | { readonly ok: false, readonly code: TransitionRefusal }

/** Whether a reservation in this status keeps a place in its lot's `held`. */
export function keepsPlace (status: ReservationStatus): boolean {
  return status === 'held' || status === 'arriving'
}

/** The window in which it counts against its lot's places now and later; null when it does not. */
export function windowOf ({ status, dueAtMs, fromMs, toMs }: Reservation): Window | null {
  return dueAtMs === null || status === 'waiting' || fromMs >= toMs ? null : { fromMs, toMs }
}

/** Whether the car may come now. Before its window a booking has no place of its own: it needs a free one. */
export function mayArrive ({ status, fromMs }: Reservation, atMs: number, { earlyArrivalMs }: ReservationTimes): boolean {
  return keepsPlace(status) || (status === 'booked' && atMs >= fromMs - earlyArrivalMs)
}

/**
 * What `event` makes of `reservation` at `atMs`. For `due`, `atMs` is the due time itself, not the time somebody
 * noticed it, so that a late timer gives the same history as a prompt one.
 */
export function transition (reservation: Reservation, event: ReservationEvent, atMs: number, times: ReservationTimes): Transition {
  switch (event.type) {
    case 'due': return due(reservation, atMs, times)
    case 'arrive': return arrive(reservation, event.counting, atMs, times)
    case 'car_counted': return mayArrive(reservation, atMs, times) ? done(arrived(reservation, atMs, times)) : refusedArrival(reservation)
    case 'depart': return depart(reservation, atMs)
    case 'cancel': return cancel(reservation, atMs)
    default: return unreachable(event)
  }
}

/** A booking whose window has begun at `atMs`: its place is held until its car comes or it is given up. */
export function begun (reservation: Reservation, atMs: number, { noShowMs }: ReservationTimes): Reservation {
  return { ...reservation, status: 'held', dueAtMs: Math.min(atMs + noShowMs, reservation.toMs) }
}

/**
 * The lot after one of its reservations went from `before` (null when it is new there) to `after` (null when it went to
 * another lot): its places kept and, in a lot where requests count, its cars. `carCountedElsewhere` says that a sensor's
 * delta already counts this car.
 */
export function lotAfter (lot: Lot, before: Reservation | null, after: Reservation | null, carCountedElsewhere = false): Writable<Lot> {
  const requestsCount = lot.counting === 'requests' && !carCountedElsewhere
  const more = (of: (status: ReservationStatus) => boolean): number => Number(after !== null && of(after.status)) - Number(before !== null && of(before.status))
  const next = copyOf(lot)
  next.held += more(keepsPlace)
  next.arriving += more(status => status === 'arriving')
  next.waiting += more(status => status === 'waiting')
  if (requestsCount) next.counted += more(isIn)
  return next
}

/** A reservation for its owner or an operator, as replies and notices carry it; times are ISO 8601. Never its secret. */
export function shownReservation (reservation: Reservation): Record<string, unknown> {
  return {
    reservation: reservation.id,
    kind: reservation.kind,
    lot: reservation.lot,
    plate: reservation.plate,
    status: reservation.status,
    from: new Date(reservation.fromMs).toISOString(),
    until: new Date(reservation.toMs).toISOString()
  }
}

/** Whether its car is in the lot. */
function isIn (status: ReservationStatus): boolean {
  return status === 'arrived' || status === 'overstayed'
}

function due (reservation: Reservation, atMs: number, times: ReservationTimes): Transition {
  switch (reservation.status) {
    case 'waiting': return done(ended(reservation, 'expired', atMs))
    case 'booked': return done(begun(reservation, atMs, times))
    case 'held': return done(ended(reservation, reservation.kind === 'hold' ? 'expired' : 'no_show', atMs))
    // No sensor saw the car in time: the driver is believed, the place is no longer kept, the count stays the sensors'.
    case 'arriving': return done(arrived(reservation, atMs, times))
    case 'arrived': return done(reservation.kind === 'hold' ? ended(reservation, 'departed', atMs) : { ...reservation, status: 'overstayed', dueAtMs: atMs + times.maxStayMs })
    case 'overstayed': return done(ended(reservation, 'departed', atMs))
    case 'departed': case 'cancelled': case 'expired': case 'no_show': return { ok: false, code: 'reservation_ended' }
    default: return unreachable(reservation.status)
  }
}

function arrive (reservation: Reservation, counting: Counting, atMs: number, times: ReservationTimes): Transition {
  if (reservation.status === 'arriving' || !mayArrive(reservation, atMs, times)) return refusedArrival(reservation)
  if (counting === 'requests') return done(arrived(reservation, atMs, times))
  // The place is kept although the window may be over first: a car is in its way.
  return done({ ...reservation, status: 'arriving', dueAtMs: atMs + times.arrivalGraceMs })
}

function depart (reservation: Reservation, atMs: number): Transition {
  switch (reservation.status) {
    // A car that leaves before any sensor counted it gives its place back.
    case 'arriving': case 'arrived': case 'overstayed': return done(ended(reservation, 'departed', atMs))
    case 'waiting': return { ok: false, code: 'still_waiting' }
    case 'booked': case 'held': return { ok: false, code: 'not_arrived' }
    case 'departed': case 'cancelled': case 'expired': case 'no_show': return { ok: false, code: 'reservation_ended' }
    default: return unreachable(reservation.status)
  }
}

function cancel (reservation: Reservation, atMs: number): Transition {
  switch (reservation.status) {
    case 'waiting': case 'booked': case 'held': case 'arriving': return done(ended(reservation, 'cancelled', atMs))
    case 'arrived': case 'overstayed': return { ok: false, code: 'already_arrived' }
    case 'cancelled': return { ok: false, code: 'already_cancelled' }
    case 'departed': case 'expired': case 'no_show': return { ok: false, code: 'reservation_ended' }
    default: return unreachable(reservation.status)
  }
}

/** A hold has done its work when the car is in (docs/decisions/012); a booking keeps its window to its end. */
function arrived (reservation: Reservation, atMs: number, times: ReservationTimes): Reservation {
  return reservation.kind === 'hold'
    ? { ...reservation, status: 'arrived', toMs: Math.min(reservation.toMs, atMs), dueAtMs: atMs + times.maxStayMs }
    : { ...reservation, status: 'arrived', dueAtMs: Math.max(reservation.toMs, atMs) }
}

function ended (reservation: Reservation, status: 'departed' | 'cancelled' | 'expired' | 'no_show', atMs: number): Reservation {
  return { ...reservation, status, toMs: Math.max(reservation.fromMs, Math.min(reservation.toMs, atMs)), dueAtMs: null }
}

function refusedArrival (reservation: Reservation): Transition {
  switch (reservation.status) {
    case 'waiting': return { ok: false, code: 'still_waiting' }
    case 'booked': return { ok: false, code: 'too_early' }
    case 'held': case 'arriving': case 'arrived': case 'overstayed': return { ok: false, code: 'already_arrived' }
    case 'departed': case 'cancelled': case 'expired': case 'no_show': return { ok: false, code: 'reservation_ended' }
    default: return unreachable(reservation.status)
  }
}

function done (reservation: Reservation): Transition {
  return { ok: true, reservation }
}

function unreachable (value: never): never {
  throw new Error(`not a known reservation status or event: ${JSON.stringify(value)}`)
}
