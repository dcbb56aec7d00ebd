// How many windows overlap, against counting at every instant.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Overlaps, partsWithout, type Window } from '../../shared/windows.js'

const w = (fromMs: number, toMs: number): Window => ({ fromMs, toMs })
const END = 45
const Windows = fc.array(fc.tuple(fc.integer({ min: 0, max: 30 }), fc.integer({ min: 1, max: 10 })).map(([from, length]) => w(from, from + length)), { maxLength: 30 })
const Within = fc.tuple(fc.integer({ min: -3, max: END }), fc.integer({ min: -3, max: END })).map(([from, to]) => w(from, to))
const countAt = (windows: readonly Window[], t: number): number => windows.filter(x => x.fromMs <= t && t < x.toMs).length

describe('the most windows at one instant', () => {
  test.each<[string, Window[], Window, number]>([
    ['is 0 without windows', [], w(0, 10), 0],
    ['does not count windows that only touch', [w(0, 5), w(5, 10)], w(0, 10), 1],
    ['counts those that overlap', [w(0, 6), w(5, 10), w(5, 7)], w(0, 10), 3],
    ['looks only within', [w(0, 6), w(5, 10)], w(6, 10), 1],
    ['ignores windows that end where it begins', [w(0, 6)], w(6, 10), 0],
    ['ignores windows that begin where it ends', [w(6, 9)], w(0, 6), 0],
    ['counts the same window as often as it is there', [w(2, 4), w(2, 4)], w(3, 4), 2],
    ['is 0 of no time', [w(0, 6)], w(3, 3), 0]
  ])('%s', (_, windows, within, peak) => {
    expect(new Overlaps(windows).peak(within)).toBe(peak)
  })

  test('equals counting at every instant, however the windows came and went', () => {
    fc.assert(fc.property(Windows, Windows, Windows, Within, (first, added, alsoAdded, within) => {
      const overlaps = new Overlaps(first)
      for (const window of [...added, ...alsoAdded]) overlaps.add(window)
      for (const window of added) overlaps.remove(window)
      const there = [...first, ...alsoAdded]
      let most = 0
      for (let t = within.fromMs; t < within.toMs; t++) most = Math.max(most, countAt(there, t))
      expect(overlaps.peak(within)).toBe(most)
    }), { numRuns: 2_000 })
  })

  test('admitting only what fits never has more than the places at any instant', () => {
    fc.assert(fc.property(Windows, fc.integer({ min: 0, max: 5 }), (asked, places) => {
      const overlaps = new Overlaps()
      const admitted: Window[] = []
      for (const window of asked) {
        if (overlaps.peak(window) >= places) continue
        overlaps.add(window)
        admitted.push(window)
      }
      for (let t = 0; t < END; t++) expect(countAt(admitted, t)).toBeLessThanOrEqual(places)
    }), { numRuns: 500 })
  })
})

describe('the steps of a time', () => {
  test('cover it without a gap, each with its count, and no two neighbours alike', () => {
    fc.assert(fc.property(Windows, Within, (windows, within) => {
      const steps = [...new Overlaps(windows).steps(within)]
      let at = within.fromMs
      for (const [index, step] of steps.entries()) {
        expect(step.fromMs).toBe(at)
        for (let t = step.fromMs; t < step.toMs; t++) expect(countAt(windows, t)).toBe(step.count)
        if (index > 0) expect(step.count).not.toBe(steps[index - 1]?.count)
        at = step.toMs
      }
      expect(at).toBe(Math.max(within.fromMs, within.toMs))
    }), { numRuns: 1_000 })
  })
})

test('keeps nothing of windows that were taken away', () => {
  fc.assert(fc.property(Windows, windows => {
    const overlaps = new Overlaps()
    for (const window of windows) overlaps.add(window)
    for (const window of windows) overlaps.remove(window)
    expect(overlaps.size).toBe(0)
  }))
})

test('a window that was never there cannot be taken away, and one of no time is none', () => {
  expect(() => new Overlaps([w(0, 5)]).remove(w(3, 8))).toThrow('could be taken away')
  expect(() => new Overlaps().add(w(5, 5))).toThrow('must end after it begins')
})

describe('the parts of a window', () => {
  test.each<[string, Window, Window | null, Window[]]>([
    ['are all of it without another', w(2, 8), null, [w(2, 8)]],
    ['are all of it when the other only touches', w(2, 8), w(8, 9), [w(2, 8)]],
    ['are what comes before', w(2, 8), w(5, 9), [w(2, 5)]],
    ['are what comes after', w(2, 8), w(1, 5), [w(5, 8)]],
    ['are both sides', w(2, 8), w(4, 5), [w(2, 4), w(5, 8)]],
    ['are none within another', w(2, 8), w(2, 8), []]
  ])('%s', (_, window, without, parts) => {
    expect(partsWithout(window, without)).toEqual(parts)
  })
})
