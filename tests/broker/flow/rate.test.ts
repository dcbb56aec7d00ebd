// The bucket that slows a client which publishes faster than it may.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Rate } from '../../../broker/rate.js'

/** As many takes as are allowed, beginning at `nowMs`. */
function takeFreely (rate: Rate, nowMs: number): number {
  for (let taken = 0; ; taken++) if (rate.take(nowMs) > 0) return taken
}

test('one second\'s worth goes at once, then each message waits for its own', () => {
  const rate = new Rate(100)
  const start = performance.now()
  expect(takeFreely(rate, start)).toBe(100)
  // The one that was too much owes ten milliseconds.
  expect(rate.take(start)).toBeCloseTo(20, 5)
})

test('a rest fills it again, but never above one second\'s worth', () => {
  const rate = new Rate(50)
  const start = performance.now()
  takeFreely(rate, start)
  expect(takeFreely(rate, start + 3_600_000)).toBe(50)
})

test('who waits as long as it says is never faster than the rate, and hardly slower', () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 100_000 }), fc.integer({ min: 1, max: 3_000 }), (perSecond, count) => {
    const start = performance.now()
    const rate = new Rate(perSecond)
    let nowMs = start
    for (let i = 0; i < count; i++) nowMs += rate.take(nowMs)
    const tookMs = nowMs - start
    const leastMs = Math.max(0, count - perSecond) / perSecond * 1_000
    expect(tookMs).toBeGreaterThanOrEqual(leastMs - 2)
    // A wait is at least a millisecond, which is what timers have.
    expect(tookMs).toBeLessThanOrEqual(leastMs + Math.max(2, 2_000 / perSecond))
  }), { numRuns: 300 })
})
