// What a stay costs under a tariff. Pure, and whole cents throughout: no value here is ever a fraction of a cent.
// 1. The first `freeMinutes` of a stay cost nothing; they are taken off, once a stay and not once a day.
// 2. The rest is cut into intervals, one after the other from the end of the free time on; each that has begun costs
//    `intervalCents`, wholly, and counts for the day in which it begins.
// 3. A day is 24 hours counted from the beginning of the stay, whatever clocks and calendars do; it costs `dayCapCents` at
//    most, also the last one that the stay does not fill.
import type { Window } from '../../shared/windows.js'

/** Whole minutes and whole cents, as shared/config.ts has them. */
export interface Tariff {
  /** At least 1. */
  readonly intervalMinutes: number
  readonly intervalCents: number
  readonly freeMinutes: number
  /** Absent: no cap. */
  readonly dayCapCents?: number | undefined
}

const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS

/**
 * The price of the stay [fromMs, toMs) in cents: a whole number, 0 or more, and never less for a longer stay. A stay that
 * ends where it begins, or before, costs nothing. It takes time in proportion to the days of the stay.
 */
export function priceOfStay ({ fromMs, toMs }: Window, tariff: Tariff): number {
  const stayMs = toMs - fromMs
  let priceCents = 0
  for (let dayMs = 0; dayMs < stayMs; dayMs += DAY_MS) {
    const begun = intervalsBegun(Math.min(stayMs, dayMs + DAY_MS), tariff) - intervalsBegun(dayMs, tariff)
    priceCents += Math.min(begun * tariff.intervalCents, tariff.dayCapCents ?? Infinity)
  }
  return priceCents
}

/** How many intervals have begun before `afterMs` of a stay have passed: one that would begin just then has not. */
function intervalsBegun (afterMs: number, { intervalMinutes, freeMinutes }: Tariff): number {
  const paidMs = afterMs - freeMinutes * MINUTE_MS
  return Math.max(0, Math.ceil(paidMs / (intervalMinutes * MINUTE_MS)))
}
