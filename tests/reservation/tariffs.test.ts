// What a stay costs: literal prices for each rule, and every price against counting the intervals one by one.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { priceOfStay, type Tariff } from '../../services/reservation/tariffs.js'

const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS
const BEGIN_MS = Date.parse('2026-12-24T18:30:00Z')
const price = (lengthMs: number, tariff: Tariff, fromMs = BEGIN_MS): number => priceOfStay({ fromMs, toMs: fromMs + lengthMs }, tariff)

/** 2.00 an hour, a quarter of an hour free, at most 15.00 in 24 hours: the tariff of the settings. */
const STANDARD: Tariff = { intervalMinutes: 60, intervalCents: 200, freeMinutes: 15, dayCapCents: 1_500 }
const UNCAPPED: Tariff = { intervalMinutes: 60, intervalCents: 200, freeMinutes: 15 }
const HOURLY: Tariff = { intervalMinutes: 60, intervalCents: 200, freeMinutes: 0, dayCapCents: 1_500 }
const MINUTELY: Tariff = { intervalMinutes: 1, intervalCents: 3, freeMinutes: 0 }
/** Intervals that are no part of a day. */
const ODD: Tariff = { intervalMinutes: 1_000, intervalCents: 500, freeMinutes: 100, dayCapCents: 700 }
const WEEKLY: Tariff = { intervalMinutes: 7 * 1_440, intervalCents: 5_000, freeMinutes: 0, dayCapCents: 2_000 }
const TWO_DAYS_FREE: Tariff = { intervalMinutes: 60, intervalCents: 100, freeMinutes: 2 * 1_440, dayCapCents: 500 }

describe('the price of a stay', () => {
  test.each<[string, number, Tariff, number]>([
    ['of no time is nothing', 0, HOURLY, 0],
    ['that ends before it begins is nothing', -90, HOURLY, 0],
    ['within the free minutes is nothing', 14, STANDARD, 0],
    ['of exactly the free minutes is nothing', 15, STANDARD, 0],
    ['of one minute more is a whole interval', 16, STANDARD, 200],
    ['has the free minutes taken off: the first interval ends after them', 75, STANDARD, 200],
    ['has each started interval in it', 76, STANDARD, 400],
    ['without free minutes has an interval from its first minute on', 1, HOURLY, 200],
    ['of exactly one interval is that of one', 60, HOURLY, 200],
    ['of a minute more is that of two', 61, HOURLY, 400],
    ['by the minute is that of its minutes', 137, MINUTELY, 411],
    ['just below the cap is not capped', 15 + 7 * 60, STANDARD, 1_400],
    ['is capped from there on', 15 + 7 * 60 + 1, STANDARD, 1_500],
    ['of a whole day is the cap', 1_440, STANDARD, 1_500],
    ['of less than an interval more is still that of the day in which it began', 1_440 + 15, STANDARD, 1_500],
    ['of the first interval of the second day adds one', 1_440 + 16, STANDARD, 1_700],
    ['of a second day that is not full is capped as well', 1_440 + 15 + 8 * 60, STANDARD, 3_000],
    ['of two days is two caps', 2_880, STANDARD, 3_000],
    ['of a year with its leap day is as many caps', 366 * 1_440, STANDARD, 549_000],
    ['without a cap goes on', 1_440, UNCAPPED, 4_800],
    ['without a cap has one free time a stay, not one a day', 2 * 1_440, UNCAPPED, 9_600],
    ['has an interval over midnight of its days in the day where it begins', 1_440, ODD, 700],
    ['has the next such interval when that begins', 2_101, ODD, 1_200],
    ['of intervals longer than a day is capped in the day where each begins', 1_440, WEEKLY, 2_000],
    ['of such an interval costs no more in its other days', 7 * 1_440, WEEKLY, 2_000],
    ['of such an interval costs again when the next begins', 7 * 1_440 + 1, WEEKLY, 4_000],
    ['may be free for days', 2 * 1_440, TWO_DAYS_FREE, 0],
    ['after free days is capped from the third on', 3 * 1_440, TWO_DAYS_FREE, 500],
    ['that costs nothing is nothing', 1_440, { ...HOURLY, intervalCents: 0 }, 0],
    ['with a cap of nothing is nothing', 10_000, { ...HOURLY, dayCapCents: 0 }, 0]
  ])('%s', (_, minutes, tariff, cents) => {
    expect(price(minutes * MINUTE_MS, tariff)).toBe(cents)
  })

  test('begins an interval with its first millisecond', () => {
    expect([15 * MINUTE_MS, 15 * MINUTE_MS + 1, 75 * MINUTE_MS, 75 * MINUTE_MS + 1].map(ms => price(ms, STANDARD))).toEqual([0, 200, 200, 400])
  })

  test('begins a capped day with the stay, and not at midnight', () => {
    // 20:00 to 10:00: at midnight 8.00 would begin anew.
    expect(price(14 * 60 * MINUTE_MS, HOURLY, Date.parse('2026-12-24T20:00:00Z'))).toBe(1_500)
  })
})

const Minutes = fc.integer({ min: 1, max: 7 * 1_440 })
const Tariffs: fc.Arbitrary<Tariff> = fc.record({
  intervalMinutes: fc.oneof(fc.constantFrom(1, 15, 30, 60, 1_440), Minutes),
  intervalCents: fc.oneof(fc.integer({ min: 0, max: 500 }), fc.integer({ min: 0, max: 1_000_000 })),
  freeMinutes: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 120 }), Minutes),
  dayCapCents: fc.option(fc.oneof(fc.integer({ min: 0, max: 5_000 }), fc.integer({ min: 0, max: 100_000_000 })), { nil: undefined })
})
/** Most end on a minute, some within. */
const Lengths = fc.tuple(fc.oneof(fc.integer({ min: 0, max: 3 * 1_440 }), fc.integer({ min: 0, max: 366 * 1_440 })), fc.constantFrom(0, 0, 1, 59_999))
  .map(([minutes, ms]) => minutes * MINUTE_MS + ms)
const RUNS = { numRuns: 2_000 }

/** The rules as they are told: interval after interval, each put into its day. */
function countedPrice (lengthMs: number, { intervalMinutes, intervalCents, freeMinutes, dayCapCents }: Tariff): number {
  const days = new Map<number, number>()
  for (let atMs = freeMinutes * MINUTE_MS; atMs < lengthMs; atMs += intervalMinutes * MINUTE_MS) {
    const day = Math.floor(atMs / DAY_MS)
    days.set(day, (days.get(day) ?? 0) + intervalCents)
  }
  return [...days.values()].reduce((sum, cents) => sum + (dayCapCents === undefined ? cents : Math.min(cents, dayCapCents)), 0)
}

describe('for every tariff and stay', () => {
  test('it is what counting interval by interval gives', () => {
    fc.assert(fc.property(Tariffs, fc.integer({ min: 0, max: 10 * 1_440 }), fc.constantFrom(0, 1, 59_999), (tariff, minutes, ms) => {
      const lengthMs = minutes * MINUTE_MS + ms
      expect(price(lengthMs, tariff)).toBe(countedPrice(lengthMs, tariff))
    }), RUNS)
  })

  test('it is a whole number of cents, never negative, and exact', () => {
    fc.assert(fc.property(Tariffs, Lengths, (tariff, lengthMs) => {
      const cents = price(lengthMs, tariff)
      expect(Number.isSafeInteger(cents) && cents >= 0).toBe(true)
    }), RUNS)
  })

  test('a longer stay never costs less', () => {
    fc.assert(fc.property(Tariffs, Lengths, fc.oneof(fc.integer({ min: 0, max: 10 * MINUTE_MS }), Lengths), (tariff, lengthMs, moreMs) => {
      expect(price(lengthMs + moreMs, tariff)).toBeGreaterThanOrEqual(price(lengthMs, tariff))
    }), RUNS)
  })

  test('a cap makes nothing dearer, and without one free minutes do not either', () => {
    fc.assert(fc.property(Tariffs, Lengths, (tariff, lengthMs) => {
      const uncapped = price(lengthMs, { ...tariff, dayCapCents: undefined })
      expect(price(lengthMs, tariff)).toBeLessThanOrEqual(uncapped)
      expect(uncapped).toBeLessThanOrEqual(price(lengthMs, { ...tariff, dayCapCents: undefined, freeMinutes: 0 }))
    }), RUNS)
  })

  test('no day of a stay costs more than its cap, full or not', () => {
    fc.assert(fc.property(Tariffs, Lengths, fc.integer({ min: 0, max: 366 }), (tariff, lengthMs, day) => {
      const untilDay = (days: number): number => price(Math.min(lengthMs, days * DAY_MS), tariff)
      expect(untilDay(day + 1) - untilDay(day)).toBeLessThanOrEqual(tariff.dayCapCents ?? Infinity)
    }), RUNS)
  })

  test('a stay within the free minutes costs nothing', () => {
    fc.assert(fc.property(Tariffs, fc.nat(), (tariff, ms) => {
      expect(price(Math.min(ms, tariff.freeMinutes * MINUTE_MS), tariff)).toBe(0)
    }), RUNS)
  })

  test('it depends on how long the stay is, and not on when', () => {
    fc.assert(fc.property(Tariffs, Lengths, fc.integer({ min: 0, max: 4_000_000_000_000 }), (tariff, lengthMs, fromMs) => {
      expect(price(lengthMs, tariff, fromMs)).toBe(price(lengthMs, tariff, 0))
    }), RUNS)
  })
})
