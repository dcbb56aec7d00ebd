import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createRandom } from '../../shared/random.js'
import { traffic, usualFill, type TrafficOptions } from '../../services/sensor-sim/traffic.js'
import { ID_PATTERN } from '../../shared/topics.js'
import { id } from './support.js'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const MONDAY = Date.parse('2026-11-23T00:00:00Z')
const LOTS = [{ id: id('LOT-A'), capacity: 100, counted: 50 }, { id: id('LOT-B'), capacity: 300, counted: 10 }]

/** A whole week at an hour a second. */
const WEEK: TrafficOptions = { lots: LOTS, gates: 2, rate: 200, durationMs: 7 * 24_000, speed: 3_600, seed: 3, startMs: MONDAY }

describe('random numbers', () => {
  test('are the same for the same seed and stream, and others for another', () => {
    const draws = (seed: number, stream: string): number[] => { const random = createRandom(seed, stream); return Array.from({ length: 20 }, () => random.next()) }
    expect(draws(1, 'a')).toEqual(draws(1, 'a'))
    for (const other of [draws(2, 'a'), draws(1, 'b'), draws(2 ** 32 + 1, 'a')]) expect(other).not.toEqual(draws(1, 'a'))
  })

  test('are uniform, whole numbers reach both ends, and waiting times have their mean', () => {
    const random = createRandom(9, 'test')
    const bins = Array.from({ length: 10 }, () => 0)
    const faces = new Set<number>()
    let waited = 0
    for (let i = 0; i < 100_000; i++) {
      const bin = Math.floor(random.next() * 10)
      bins[bin] = (bins[bin] ?? 0) + 1
      faces.add(random.int(1, 6))
      waited += random.exponential(4)
    }
    for (const bin of bins) expect(Math.abs(bin - 10_000)).toBeLessThan(500)
    expect([...faces].sort()).toEqual([1, 2, 3, 4, 5, 6])
    expect(waited / 100_000).toBeCloseTo(0.25, 2)
  })
})

describe('synthetic traffic', () => {
  test('is the same for the same seed and different for another', () => {
    const first = [...traffic({ ...WEEK, durationMs: 5_000 })]
    expect([...traffic({ ...WEEK, durationMs: 5_000 })]).toEqual(first)
    expect([...traffic({ ...WEEK, durationMs: 5_000, seed: 4 })]).not.toEqual(first)
  })

  test('has the asked rate on average over the run, at night as over a week', () => {
    for (const options of [WEEK, { ...WEEK, durationMs: 60_000, speed: 1, startMs: MONDAY + 3 * HOUR_MS }]) {
      const messages = [...traffic(options)].length
      expect(messages / (options.durationMs / 1_000) / options.rate).toBeCloseTo(1, 1)
    }
  })

  test('keeps every lot between 0 and its capacity', () => {
    fc.assert(fc.property(fc.nat(), fc.integer({ min: 1, max: 40 }), fc.integer({ min: 0, max: 40 }), (seed, capacity, counted) => {
      let cars = Math.min(counted, capacity)
      for (const { delta } of traffic({ ...WEEK, lots: [{ id: id('LOT-A'), capacity, counted: cars }], seed, durationMs: 24_000 })) {
        cars += delta
        if (cars < 0 || cars > capacity) return false
      }
      return true
    }), { numRuns: 30 })
  })

  test('brings a lot that starts out of range back into it and keeps it there', () => {
    for (const counted of [-30, 150]) {
      let cars = counted
      for (const { delta } of traffic({ ...WEEK, lots: [{ id: id('LOT-A'), capacity: 100, counted }], durationMs: 24_000 })) cars += delta
      expect(cars).toBeGreaterThanOrEqual(0)
      expect(cars).toBeLessThanOrEqual(100)
    }
  })

  test('fills in the morning, empties in the evening, and is quieter at weekends', () => {
    const cars = new Map<number, number>()
    const arrivals = new Map<string, number>()
    let total = 60
    for (const { atMs, delta } of traffic({ ...WEEK, rate: 50 })) {
      total += delta
      const day = Math.floor((atMs - MONDAY) / DAY_MS)
      const hour = Math.floor((atMs - MONDAY) % DAY_MS / HOUR_MS)
      cars.set(day * 24 + hour, total)
      const key = `${day >= 5 ? 'weekend' : 'weekday'} ${delta > 0 ? 'in' : 'out'} ${hour < 12 ? 'am' : 'pm'}`
      arrivals.set(key, (arrivals.get(key) ?? 0) + 1)
    }
    const at = (day: number, hour: number): number => (cars.get(day * 24 + hour) ?? 0) / 400
    for (const day of [0, 1, 2, 3, 4]) {
      expect(at(day, 4)).toBeLessThan(0.2)
      expect(at(day, 11)).toBeGreaterThan(0.75)
      expect(at(day, 20)).toBeLessThan(0.35)
    }
    for (const day of [5, 6]) expect(at(day, 11)).toBeLessThan(0.55)
    const n = (key: string): number => arrivals.get(key) ?? 0
    expect(n('weekday in am')).toBeGreaterThan(n('weekday out am') * 1.5)
    expect(n('weekday out pm')).toBeGreaterThan(n('weekday in pm') * 1.5)
    const daily = (part: string, days: number): number => (n(`${part} in am`) + n(`${part} in pm`) + n(`${part} out am`) + n(`${part} out pm`)) / days
    expect(daily('weekend', 2)).toBeLessThan(daily('weekday', 5) * 0.75)
  })

  test('gives every gate of every lot its own sensor, with ids that fit a topic', () => {
    const sensors = new Map<string, string>()
    for (const { lot, sensor } of traffic({ ...WEEK, durationMs: 10_000, seed: 2 ** 32 - 1 })) {
      expect(sensor).toMatch(ID_PATTERN)
      expect(sensors.get(sensor) ?? lot).toBe(lot)
      sensors.set(sensor, lot)
    }
    expect([...sensors.keys()].sort()).toEqual([1, 2, 3, 4].map(n => `sim-4294967295-gate-${n}`))
  })

  test('at rate 0 all is due at once and there is no end, while simulated time goes on', () => {
    const source = traffic({ ...WEEK, rate: 0, durationMs: 1, speed: 600 })
    let last = 0
    for (let i = 0; i < 10_000; i++) {
      const { value } = source.next() as { value: { dueMs: number, atMs: number } }
      expect(value.dueMs).toBe(0)
      expect(value.atMs).toBeGreaterThanOrEqual(last)
      last = value.atMs
    }
    expect((last - MONDAY) / HOUR_MS).toBeGreaterThan(1)
  })

  test('leaves a lot without places alone and refuses to run on none', () => {
    const lots = [{ id: id('NONE'), capacity: 0, counted: 0 }, ...LOTS]
    expect([...traffic({ ...WEEK, lots, durationMs: 2_000 })].every(({ lot }) => lot !== 'NONE')).toBe(true)
    expect(() => [...traffic({ ...WEEK, lots: lots.slice(0, 1) })]).toThrow('capacity above 0')
  })

  test('the usual fill is a share, and does not jump', () => {
    for (let atMs = MONDAY; atMs < MONDAY + 8 * DAY_MS; atMs += 60_000) {
      expect(usualFill(atMs)).toBeGreaterThan(0)
      expect(usualFill(atMs)).toBeLessThan(1)
      expect(Math.abs(usualFill(atMs + 60_000) - usualFill(atMs))).toBeLessThan(0.01)
    }
  })
})
