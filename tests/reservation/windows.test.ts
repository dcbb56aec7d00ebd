import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fits, peakOverlap, type Window } from '../../services/reservation/windows.js'

const w = (fromMs: number, toMs: number): Window => ({ fromMs, toMs })

describe('the most windows at one instant', () => {
  test.each<[string, Window[], Window, number]>([
    ['is 0 without windows', [], w(0, 10), 0],
    ['does not count windows that only touch', [w(0, 5), w(5, 10)], w(0, 10), 1],
    ['counts those that overlap', [w(0, 6), w(5, 10), w(5, 7)], w(0, 10), 3],
    ['looks only within', [w(0, 6), w(5, 10)], w(6, 10), 1],
    ['ignores windows that end where it begins', [w(0, 6)], w(6, 10), 0]
  ])('%s', (_, windows, within, peak) => {
    expect(peakOverlap(windows, within)).toBe(peak)
  })

  const Windows = fc.array(fc.tuple(fc.integer({ min: 0, max: 30 }), fc.integer({ min: 1, max: 10 })).map(([from, length]) => w(from, from + length)), { maxLength: 30 })

  test('equals counting at every instant', () => {
    fc.assert(fc.property(Windows, Windows.filter(list => list.length > 0), (windows, [within]) => {
      if (!within) return
      let most = 0
      for (let t = within.fromMs; t < within.toMs; t++) most = Math.max(most, windows.filter(x => x.fromMs <= t && t < x.toMs).length)
      expect(peakOverlap(windows, within)).toBe(most)
    }), { numRuns: 1_000 })
  })

  test('admitting only what fits never has more than the places at any instant', () => {
    fc.assert(fc.property(Windows, fc.integer({ min: 0, max: 5 }), (asked, places) => {
      const admitted: Window[] = []
      for (const window of asked) if (fits(admitted, window, places)) admitted.push(window)
      for (let t = 0; t < 50; t++) expect(admitted.filter(x => x.fromMs <= t && t < x.toMs).length).toBeLessThanOrEqual(places)
    }), { numRuns: 500 })
  })
})
