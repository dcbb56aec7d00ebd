// The words in which the tests of the core speak: one lot with two places, a Monday at half a minute past ten.
import type { Asker, Decision, Place, Rules } from '../../services/reservation/core.js'
import type { Id, Lot } from '../../shared/lot.js'
import type { Reservation, ReservationStatus } from '../../shared/reservation.js'
import { Overlaps, type Window } from '../../shared/windows.js'

export const at = (time: string): number => Date.parse(`2026-06-01T${time}${time.length === 5 ? ':00' : ''}Z`)
export const NOW = at('10:00:30')
export const MINUTE = 60_000

export const RULES: Rules = {
  times: { arrivalGraceMs: 2 * MINUTE, maxStayMs: 24 * 60 * MINUTE, noShowMs: 30 * MINUTE, earlyArrivalMs: 15 * MINUTE },
  holdMs: 5 * MINUTE, longestHoldMs: 60 * MINUTE, bookAheadMs: 7 * 24 * 60 * MINUTE, waitMs: 120 * MINUTE
}

export const LOT: Lot = {
  id: 'LOT-A' as Id, name: 'A', capacity: 2, buffer: 0, counted: 0, held: 0, arriving: 0, open: true, counting: 'sensors', baysCover: false,
  suspect: false, absolute: null, corrected: null, lapsedBays: 0, heardAtMs: NOW, quality: 'live', version: 7, changedAtMs: 0, dueAtMs: null, waiting: 0, windowsVersion: 3, timeZone: 'UTC', tariff: 'standard' as Id
}
export const LOT_B: Lot = { ...LOT, id: 'LOT-B' as Id, name: 'B' }

/** From `10:00` to `11:00`. */
export const window = (from: string, to: string): Window => ({ fromMs: at(from), toMs: at(to) })

/** The lot with these windows taken in it. */
export const place = (windows: readonly Window[] = [], over: Partial<Lot> = {}): Place => ({ lot: { ...LOT, ...over }, overlaps: new Overlaps(windows) })

export const ANN: Asker = { user: 'ann', secretHash: null, actsForOthers: false }
export const FRESH = { id: 'R-NEW', secretHash: 'hash-new' }

const STATUS_DUE: Record<ReservationStatus, string | null> = {
  waiting: '12:00', booked: '11:00', held: '10:20', arriving: '10:02', arrived: '10:30', overstayed: '23:00', departed: null, cancelled: null, expired: null, no_show: null
}

/** A booking from 10:00 to 10:30, or from 11:00 to 11:30 if it is still to come; made at nine, with ann's name on it. */
export function booking (status: ReservationStatus, over: Partial<Reservation> = {}): Reservation {
  const due = STATUS_DUE[status]
  const { fromMs, toMs } = status === 'booked' || status === 'waiting' ? window('11:00', '11:30') : status === 'overstayed' ? window('09:00', '10:00') : window('10:00', '10:30')
  return {
    id: 'R-1', kind: 'booking', lot: LOT.id, plate: 'ABC123', status, fromMs, toMs, originalToMs: toMs, dueAtMs: due === null ? null : at(due),
    secretHash: 'hash-1', owner: 'ann', madeAtMs: at('09:00'), ...over
  }
}

/** A hold from 09:58 to 10:03. */
export function hold (status: ReservationStatus, over: Partial<Reservation> = {}): Reservation {
  const toMs = at('10:03')
  return { ...booking(status), kind: 'hold', fromMs: at('09:58'), toMs, originalToMs: toMs, madeAtMs: at('09:58'), ...(STATUS_DUE[status] !== null && { dueAtMs: toMs }), ...over }
}

/** The code of a refusal, or what of the value is expected to be looked at. */
export function outcome<T extends object> (decision: Decision<T>, keys: readonly (keyof T)[]): unknown {
  return decision.ok ? Object.fromEntries(keys.map(key => [key, decision.value[key]])) : decision.refusal.code
}
