// What a request may do with reservations: admission, ownership, change and extension. Pure: the shell loads, saves and
// answers. The life of a reservation itself is the state machine of shared/reservation.ts.
//
// Admission: at every instant of the window the overlapping reservations stay within capacity - buffer, and when the
// window covers now a place is free now as well. What a reservation has already is not asked for again.
import type { Refusal } from '../../shared/errors.js'
import { freePlaces, type Lot } from '../../shared/lot.js'
import { begun, keepsPlace, transition, type Reservation, type ReservationEvent, type ReservationTimes, type TransitionRefusal } from '../../shared/reservation.js'
import { partsWithout, type Overlaps, type Window } from '../../shared/windows.js'

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

/** A lot, and how many of its reservations overlap at each instant; everything due has been applied. */
export interface Place {
  readonly lot: Lot
  readonly overlaps: Pick<Overlaps, 'peak' | 'steps'>
}

/** How the rules are set (shared/config.ts). */
export interface Rules {
  readonly times: ReservationTimes
  /** The length of a hold that names none. */
  readonly holdMs: number
  /** The longest that a hold may last from its begin: that of one that waited is when it had its place. */
  readonly longestHoldMs: number
  readonly bookAheadMs: number
  readonly waitMs: number
}

/** What somebody asks for: a hold of this length from now, or a booking of this window. */
export type Wish =
  | { readonly kind: 'hold', readonly holdMs: number }
  | { readonly kind: 'booking', readonly window: Window }

/** What is new in a reservation; absent parts stay. */
export interface Change {
  readonly fromMs?: number
  readonly toMs?: number
  readonly plate?: string
  /** Another lot. */
  readonly place?: Place
}

/** What a reservation has in a lot before it asks for more. */
interface Had {
  readonly window: Window | null
  /** Whether a place is held for it now, or its car is in. */
  readonly hasPlaceNow: boolean
}

const NOTHING: Had = { window: null, hasPlaceNow: false }
const MINUTE_MS = 60_000

/** Makes a hold or a booking if there is room for it. */
export function reserve (place: Place, plate: string, wish: Wish, asker: Asker, fresh: Fresh, nowMs: number, rules: Rules): Decision<Reservation> {
  const window = windowOfWish(wish, nowMs, rules)
  if (!window.ok) return window
  const refused = admit(place, window.value, nowMs)
  if (refused) return refused
  return decided(placed(unplaced(place.lot, plate, wish.kind, window.value, asker, fresh, nowMs), nowMs, rules.times))
}

/** The same, put on the waiting list when the lot is full. */
export function wait (place: Place, plate: string, wish: Wish, asker: Asker, fresh: Fresh, nowMs: number, rules: Rules): Decision<Reservation> {
  const made = reserve(place, plate, wish, asker, fresh, nowMs, rules)
  if (made.ok || made.refusal.code !== 'lot_full') return made
  const window = wish.kind === 'booking' ? wish.window : { fromMs: nowMs, toMs: nowMs + rules.waitMs }
  // A booking is waited for until its window begins: then its time runs out.
  const dueAtMs = wish.kind === 'booking' && window.fromMs > nowMs ? window.fromMs : window.toMs
  return decided({ ...unplaced(place.lot, plate, wish.kind, window, asker, fresh, nowMs), dueAtMs })
}

/** Gives a waiting reservation its place if there is room for it now. */
export function promote (place: Place, waiting: Reservation, nowMs: number, rules: Rules): Decision<Reservation> {
  const window = waiting.kind === 'hold' ? { fromMs: nowMs, toMs: nowMs + rules.holdMs } : waiting
  const refused = admit(place, window, nowMs)
  if (refused) return refused
  return decided(placed({ ...waiting, fromMs: window.fromMs, toMs: window.toMs, originalToMs: window.toMs }, nowMs, rules.times))
}

/** Changes times, lot or plate, all or nothing. `here` is the lot that it is in. */
export function change (here: Place, reservation: Reservation, asked: Change, nowMs: number, rules: Rules): Decision<Reservation> {
  const { status, kind } = reservation
  const fixed = changeable(reservation, asked)
  if (fixed) return fixed
  const there = asked.place ?? here
  const moves = there.lot.id !== here.lot.id
  const window = { fromMs: asked.fromMs ?? reservation.fromMs, toMs: asked.toMs ?? reservation.toMs }
  const isSame = window.fromMs === reservation.fromMs && window.toMs === reservation.toMs
  const plate = asked.plate ?? reservation.plate
  if (isSame && !moves) return decided(plate === reservation.plate ? reservation : { ...reservation, plate })
  if (!isSame) {
    const wrong = checkWindow(window, nowMs, rules, reservation.fromMs)
    if (wrong) return wrong
  }
  const refused = admit(there, window, nowMs, moves ? NOTHING : hadBy(reservation))
  if (refused) return refused
  const moved = { ...reservation, ...window, plate, lot: there.lot.id, ...(!isSame && { originalToMs: window.toMs }) }
  // A hold only goes to another lot, until the same time.
  if (kind === 'hold' || status === 'arriving') return decided(moved)
  if (status === 'booked') return decided(placed(moved, nowMs, rules.times))
  if (status !== 'held') return decided({ ...moved, status: 'arrived', dueAtMs: window.toMs })
  return decided(window.fromMs > nowMs ? { ...moved, status: 'booked', dueAtMs: window.fromMs } : { ...moved, dueAtMs: noShowAtMs(moved, rules.times) })
}

/** Until when a reservation is to last: at least until then, or so much longer than it was booked for. */
export type Until = { readonly untilMs: number } | { readonly byMs: number }

/** Makes its end at least this late. It never makes it earlier, so the same once more changes nothing. */
export function extend (here: Place, reservation: Reservation, until: Until, nowMs: number, rules: Rules): Decision<Reservation> {
  const { id, kind, status } = reservation
  const over = endedRefusal(reservation)
  if (over) return over
  if (kind === 'hold' && status !== 'held') return refuse('already_arrived', `the car of the reservation ${id} is in: a hold has no end then that could be later`)
  const toMs = 'untilMs' in until ? until.untilMs : reservation.originalToMs + until.byMs
  if (toMs <= reservation.toMs) return decided(reservation)
  if (kind === 'hold' && toMs > reservation.fromMs + rules.longestHoldMs) return refuse('over_limit', `a hold lasts ${rules.longestHoldMs / 1_000} s at most; book a window for longer`)
  const window = { fromMs: reservation.fromMs, toMs }
  const wrong = checkWindow(window, nowMs, rules, reservation.fromMs)
  if (wrong) return wrong
  const refused = admit(here, window, nowMs, hadBy(reservation))
  if (refused) return refused
  const longer = { ...reservation, toMs }
  if (status === 'held') return decided({ ...longer, dueAtMs: kind === 'hold' ? toMs : noShowAtMs(longer, rules.times) })
  if (status === 'arrived' || status === 'overstayed') return decided({ ...longer, status: 'arrived', dueAtMs: toMs })
  return decided(longer)
}

/** Takes the reservation one step through its life. Before its window a booking's car needs a place that is free. */
export function step (lot: Lot | undefined, reservation: Reservation, event: ReservationEvent, nowMs: number, times: ReservationTimes): Decision<Reservation> {
  const result = transition(reservation, event, nowMs, times)
  if (!result.ok) return refuse(result.code, REFUSED_STEP[result.code](reservation))
  if (event.type === 'arrive' && reservation.status === 'booked' && lot && freePlaces(lot) < 1) {
    return refuse('lot_full', `the lot ${lot.id} has no free place before the window of ${reservation.id} begins at ${shown(reservation.fromMs)}; come then`)
  }
  return decided(result.reservation)
}

/**
 * Which of the candidates the asker means and may use: the user who made it, whoever shows its secret, or an operator.
 * Among several of the same plate a live one counts before one that is over, then the one whose window is nearest, then
 * the newest.
 */
export function choose (candidates: readonly Reservation[], named: string, asker: Asker): Decision<Reservation> {
  if (candidates.length === 0) return refuse('unknown_reservation', `there is no reservation ${named}`)
  const own = asker.actsForOthers ? [...candidates] : candidates.filter(candidate => isOwn(candidate, asker))
  const [chosen] = own.sort((a, b) => rank(a) - rank(b) || (a.status === 'booked' ? a.fromMs - b.fromMs : 0) || b.madeAtMs - a.madeAtMs)
  if (chosen) return decided(chosen)
  return refuse('not_yours', asker.secretHash === null
    ? `the reservation ${named} ${asker.user === null ? '' : 'is not yours and '}needs its secret: send the one that reserve, book or wait returned`
    : `the secret is not that of the reservation ${named}`)
}

/** Made by the same user, or its secret is shown. */
export function isOwn (reservation: Reservation, asker: Asker): boolean {
  return reservation.secretHash === asker.secretHash || (reservation.owner !== null && reservation.owner === asker.user)
}

/** Null if there is room for the window in the lot. */
function admit ({ lot, overlaps }: Place, window: Window, nowMs: number, had: Had = NOTHING): Refused | null {
  const asked = partsWithout({ fromMs: Math.max(window.fromMs, nowMs), toMs: window.toMs }, had.window)
  const now = window.fromMs <= nowMs && !had.hasPlaceNow
  if (asked.length === 0 && !now) return null
  if (!lot.open) return refuse('lot_closed', `the lot ${lot.id} is closed`)
  if (now && freePlaces(lot) < 1) return refuse('lot_full', `the lot ${lot.id} has no free place; try another lot, or wait`)
  const places = lot.capacity - lot.buffer
  for (const part of asked) {
    if (overlaps.peak(part) < places) continue
    const full = [...overlaps.steps(part)].find(step => step.count >= places)
    return refuse('lot_full', `all ${places} places of the lot ${lot.id} are reserved from ${shown(full?.fromMs ?? part.fromMs)} on; try another time, another lot, or wait`)
  }
  return null
}

/** Null if the window may be asked for. `begunAtMs` is the begin that a reservation has already. */
function checkWindow ({ fromMs, toMs }: Window, nowMs: number, { bookAheadMs }: Rules, begunAtMs?: number): Refused | null {
  if (fromMs >= toMs) return refuse('bad_request', `to: ${shown(toMs)} is not after from, ${shown(fromMs)}`)
  // The minute that has begun still counts.
  const past = fromMs !== begunAtMs && fromMs < nowMs - nowMs % MINUTE_MS
  if (past || toMs <= nowMs) return refuse('window_past', past ? `from: ${shown(fromMs)} is over; the time is ${shown(nowMs)}` : `to: ${shown(toMs)} is over; the time is ${shown(nowMs)}`)
  if (toMs > nowMs + bookAheadMs) return refuse('over_limit', `to: ${shown(toMs)} is more than ${Math.floor(bookAheadMs / 86_400_000)} days ahead (times.bookAheadMs)`)
  return null
}

function windowOfWish (wish: Wish, nowMs: number, rules: Rules): Decision<Window> {
  if (wish.kind === 'hold') return decided({ fromMs: nowMs, toMs: nowMs + wish.holdMs })
  const wrong = checkWindow(wish.window, nowMs, rules)
  return wrong ?? decided(wish.window)
}

/** Why what is asked for may not be changed in its status; null if it may. */
function changeable (reservation: Reservation, { fromMs, toMs, place }: Change): Refused | null {
  const { id, kind, status } = reservation
  const over = endedRefusal(reservation)
  if (over) return over
  const isIn = status === 'arriving' || status === 'arrived' || status === 'overstayed'
  if (isIn && (fromMs !== undefined || place !== undefined)) return refuse('already_arrived', `the car of the reservation ${id} has arrived: its lot and its begin stay`)
  if (kind === 'hold' && (fromMs !== undefined || toMs !== undefined)) return refuse('bad_request', `${id} is a hold and has no window; extend it, or book a window`)
  return null
}

function endedRefusal (reservation: Reservation): Refused | null {
  if (reservation.status === 'waiting') return refuse('still_waiting', REFUSED_STEP.still_waiting(reservation))
  if (reservation.status === 'cancelled') return refuse('already_cancelled', REFUSED_STEP.already_cancelled(reservation))
  return reservation.dueAtMs === null ? refuse('reservation_ended', REFUSED_STEP.reservation_ended(reservation)) : null
}

function hadBy ({ status, fromMs, toMs }: Reservation): Had {
  return { window: { fromMs, toMs }, hasPlaceNow: keepsPlace(status) || status === 'arrived' || status === 'overstayed' }
}

/** A reservation that has no place yet: as it stands on a waiting list. */
function unplaced (lot: Lot, plate: string, kind: Reservation['kind'], window: Window, asker: Asker, fresh: Fresh, nowMs: number): Reservation {
  return {
    id: fresh.id, kind, lot: lot.id, plate, status: 'waiting', fromMs: window.fromMs, toMs: window.toMs, originalToMs: window.toMs,
    dueAtMs: null, secretHash: fresh.secretHash, owner: asker.user, madeAtMs: nowMs
  }
}

/** With its window admitted: held when that covers now, else booked. */
function placed (reservation: Reservation, nowMs: number, times: ReservationTimes): Reservation {
  if (reservation.kind === 'hold') return { ...reservation, status: 'held', dueAtMs: reservation.toMs }
  return reservation.fromMs <= nowMs ? begun(reservation, nowMs, times) : { ...reservation, status: 'booked', dueAtMs: reservation.fromMs }
}

/**
 * When a booking whose window has begun is given up, after a change of that: so long after its begin or its making, at its
 * end, but never earlier than before. One that waited for its place while its window ran has its time from then on.
 */
function noShowAtMs ({ fromMs, toMs, madeAtMs, dueAtMs }: Reservation, { noShowMs }: ReservationTimes): number {
  return Math.min(Math.max(dueAtMs ?? 0, Math.max(fromMs, madeAtMs) + noShowMs), toMs)
}

/** What a plate most likely means first. */
function rank ({ status, dueAtMs }: Reservation): number {
  return dueAtMs === null ? 3 : status === 'waiting' ? 2 : status === 'booked' ? 1 : 0
}

const REFUSED_STEP: Record<TransitionRefusal, (reservation: Reservation) => string> = {
  already_arrived: r => `the car of the reservation ${r.id} has arrived`,
  already_cancelled: r => `the reservation ${r.id} was cancelled before`,
  not_arrived: r => `the car of the reservation ${r.id} has not arrived; use arrive or cancel`,
  reservation_ended: r => `the reservation ${r.id} is over (${r.status})`,
  still_waiting: r => `the reservation ${r.id} is on the waiting list; a message comes when it has its place`,
  too_early: r => `the window of the reservation ${r.id} begins at ${shown(r.fromMs)}; come then, or shortly before`
}

function shown (ms: number): string {
  return new Date(ms).toISOString().replace(/\.000Z$/, 'Z')
}

export type Refused = { readonly ok: false, readonly refusal: Refusal }

export function decided<T> (value: T): Decision<T> {
  return { ok: true, value }
}

export function refuse (code: Refusal['code'], message: string): Refused {
  return { ok: false, refusal: { code, message } }
}
