import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { idOfName, parseTime, parseWhole } from '../../services/sensor-sim/cells.js'
import { readRecording, replay, type RecordedLot } from '../../services/sensor-sim/replay.js'
import { MAX_DELTA_CARS } from '../../shared/schemas.js'
import { id, sumOf } from './support.js'

function file (text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'parkmq-replay-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'samples.csv')
  writeFileSync(path, text)
  return path
}

const HEADER = 'SystemCodeNumber,Capacity,Occupancy,LastUpdated'

/** The kinds of dirt that the real files have, and some more. */
const DIRTY = `\uFEFF${HEADER}
NIA North,480,21,2016-10-04 08:00:00
NIA North,480,-8,2016-10-04 08:30:00
BHMBCCTHL01,387,380,2016-10-04 08:00:10
BHMBCCTHL01,387,403,2016-10-04 09:00:10
BHMBCCTHL01,387,403,2016-10-04 09:00:10
BHMBCCTHL01,387,390,2016-10-04 08:30:10
NIA North,480,5,2016-10-04 09:00:00
NIA North,480,7,2016-10-04 09:00:00
NIA North,480,,2016-10-04 09:30:00
NIA North,480,many,2016-10-04 09:30:00
NIA North,480,9,2016-02-30 09:30:00

,480,9,2016-10-04 09:30:00
"Bull, Ring",x,11.0,2016-10-04T10:00:00+01:00
NIA North,480,12
Tail,10,-3,2016-10-04 08:00:00
`

describe('reading a recording', () => {
  test('reads a dirty file: sorts, merges the same time, keeps strange values, and tells of every other row', async () => {
    const { lots, rows } = await readRecording(file(DIRTY))
    const samples = (name: string): number[] | undefined => lots.find(lot => lot.name === name)?.samples.map(sample => sample.occupied)
    expect(lots.map(({ id, name, capacity }) => [id, name, capacity])).toEqual([
      ['BHMBCCTHL01', 'BHMBCCTHL01', 387], ['Bull--Ring', 'Bull, Ring', null], ['NIA-North', 'NIA North', 480], ['Tail', 'Tail', 10]
    ])
    expect(samples('NIA North')).toEqual([21, -8, 7])
    expect(samples('BHMBCCTHL01')).toEqual([380, 390, 403])
    expect(samples('Bull, Ring')).toEqual([11])
    expect(lots[1]?.samples[0]?.atMs).toBe(Date.UTC(2016, 9, 4, 9))
    expect(rows).toEqual({
      read: 15, duplicate: 1, replaced: 1, badCapacity: 1, negative: 2, overCapacity: 3,
      unusable: { 'Occupancy is not a whole number': 2, 'LastUpdated is not a time': 2, 'no SystemCodeNumber': 1 },
      examples: ['line 10: Occupancy is not a whole number', 'line 11: Occupancy is not a whole number', 'line 12: LastUpdated is not a time', 'line 14: no SystemCodeNumber', 'line 16: LastUpdated is not a time']
    })
  })

  test('finds columns by other headers, in any order and case', async () => {
    const { lots } = await readRecording(file('at;x,taken,CAR PARK\n1475568000,3,P 1\n1475571600000,4,P 1\n'), { name: 'car park', capacity: 'Capacity', occupancy: 'Taken', time: 'at;x' })
    expect(lots).toEqual([{ id: 'P-1', name: 'P 1', capacity: null, samples: [{ atMs: 1_475_568_000_000, occupied: 3 }, { atMs: 1_475_571_600_000, occupied: 4 }] }])
  })

  test('takes the capacity of the latest row', async () => {
    const { lots } = await readRecording(file(`${HEADER}\nA,20,1,2016-10-05 08:00:00\nA,10,1,2016-10-04 08:00:00\nA,,1,2016-10-06 08:00:00\n`))
    expect(lots[0]?.capacity).toBe(20)
  })

  test.each([
    ['two names with the same id', `${HEADER}\nNIA North,1,1,2016-10-04 08:00:00\nNIA_North,1,1,2016-10-04 08:00:00\nNIA/North,1,1,2016-10-04 08:00:00\n`, /"NIA North" and "NIA\/North" both give the lot id NIA-North/],
    ['a name without a letter', `${HEADER}\n北,1,1,2016-10-04 08:00:00\n`, /"北" has no letter or digit/],
    ['a missing column', 'SystemCodeNumber,Capacity,Cars,LastUpdated\nA,1,1,2016-10-04 08:00:00\n', /no column "Occupancy"; it has "SystemCodeNumber", "Capacity", "Cars".*--columns/],
    ['an empty file', '', /is empty; it needs a header line/],
    ['only a header', `${HEADER}\n`, /has no usable row$/],
    ['no usable row', `${HEADER}\nA,1,x,y\n`, /no usable row among 1: line 2: Occupancy/]
  ])('refuses %s with a message that names it', async (_, text, message) => {
    await expect(readRecording(file(text))).rejects.toMatchObject({ code: 'bad_file', message: expect.stringMatching(message) as string })
  })

  test('refuses a file that is not there, a folder, and a row without an end', async () => {
    await expect(readRecording('/nowhere/samples.csv')).rejects.toMatchObject({ code: 'bad_file', message: expect.stringContaining('ENOENT') as string })
    await expect(readRecording(tmpdir())).rejects.toMatchObject({ code: 'bad_file' })
    await expect(readRecording(file(`${HEADER}\n${'x'.repeat(200_000)}`))).rejects.toMatchObject({ code: 'bad_file' })
  })

  test('takes a stray quote inside a cell as it is, and names the line of one that is never closed', async () => {
    const { lots } = await readRecording(file(`${HEADER}\nA "old",10,1,2016-10-04 08:00:00\n`))
    expect(lots[0]).toMatchObject({ id: 'A--old-', name: 'A "old"' })
    await expect(readRecording(file(`${HEADER}\nA,10,1,2016-10-04 08:00:00\nA,10,"2,2016-10-04 09:00:00\nA,10,3,2016-10-04 10:00:00\n`))).rejects.toMatchObject({ code: 'bad_file', message: expect.stringContaining('after line 2: Quote Not Closed') as string })
  })
})

describe('cells', () => {
  test.each([['12', 12], ['-8', -8], ['+3', 3], ['12.0', 12], ['007', 7], ['12.5', null], ['', null], ['1e3', null], ['0x10', null], ['1,000', null], ['NaN', null], ['9999999999999', null]])('whole number %j is %j', (cell, value) => {
    expect(parseWhole(cell)).toBe(value)
  })

  test.each([
    ['2016-10-04 07:59:42', '2016-10-04T07:59:42.000Z'], ['2016-10-04T07:59', '2016-10-04T07:59:00.000Z'], ['2016-10-04T07:59:42.1239Z', '2016-10-04T07:59:42.123Z'],
    ['2016-10-04T07:59:42+01:00', '2016-10-04T06:59:42.000Z'], ['2016-10-04T07:59:42-0530', '2016-10-04T13:29:42.000Z'], ['1475567982', '2016-10-04T07:59:42.000Z'], ['1475567982000', '2016-10-04T07:59:42.000Z'],
    ['2016-02-29 00:00:00', '2016-02-29T00:00:00.000Z'], ['2015-02-29 00:00:00', null], ['2016-13-01 00:00:00', null], ['2016-10-04 24:00:00', null], ['2016-10-04 07:60:00', null], ['04/10/2016 07:59', null], ['soon', null], ['', null]
  ])('time %j is %j', (cell, iso) => {
    const atMs = parseTime(cell)
    expect(atMs === null ? null : new Date(atMs).toISOString()).toBe(iso)
  })

  test.each([['NIA North', 'NIA-North'], ['Others-CCCPS133', 'Others-CCCPS133'], ['  P', 'P'], ['_x', 'x'], ['Straße 1', 'Stra-e-1'], ['a/b#+$', 'a-b---'], ['...', null], ['', null], ['x'.repeat(70), 'x'.repeat(64)]])('name %j gives the id %j', (name, expected) => {
    expect(idOfName(name)).toBe(expected)
  })
})

describe('replay', () => {
  const lot = (name: string, ...samples: [number, number][]): RecordedLot => ({ id: id(name), name, capacity: 100, samples: samples.map(([atMs, occupied]) => ({ atMs, occupied })) })

  test('sends the differences by time over all lots, also those of 0, at the asked speed', () => {
    const lots = [lot('A', [0, 5], [60_000, 9], [180_000, 9]), lot('B', [30_000, 3], [120_000, -2])]
    const sent = [...replay(lots, { speed: 60, seed: 1, startAt: new Map([[id('A'), 5], [id('B'), 0]]) })]
    expect(sent.map(r => [r.lot, r.delta, r.atMs, r.dueMs])).toEqual([
      ['B', 3, 30_000, 0], ['A', 4, 60_000, 500], ['B', -5, 120_000, 1_500], ['A', 0, 180_000, 2_500]
    ])
    expect(new Set(sent.map(r => r.sensor))).toEqual(new Set(['sim-1-replay-1', 'sim-1-replay-2']))
    expect([...replay(lots, { speed: Infinity, seed: 1, startAt: new Map() })].every(r => r.dueMs === 0)).toBe(true)
  })

  test('splits a difference that no message may carry', () => {
    const sent = [...replay([lot('A', [0, 0], [1, 250_000], [2, -1])], { speed: 1, seed: 1, startAt: new Map() })]
    expect(sent.every(r => Math.abs(r.delta) <= MAX_DELTA_CARS)).toBe(true)
    expect(sent.map(r => r.delta)).toEqual([100_000, 100_000, 50_000, -100_000, -100_000, -50_001])
  })

  test('ends every lot at its last sample, wherever it starts', () => {
    const samples = fc.array(fc.tuple(fc.nat(1_000), fc.integer({ min: -20, max: 5_000 })), { minLength: 1, maxLength: 30 })
    fc.assert(fc.property(samples, samples, fc.integer({ min: -5, max: 500 }), fc.integer({ min: -5, max: 500 }), (a, b, startA, startB) => {
      const byTime = (list: [number, number][]): [number, number][] => [...new Map(list)].sort((x, y) => x[0] - y[0])
      const lots = [lot('A', ...byTime(a)), lot('B', ...byTime(b))]
      const startAt = new Map([[id('A'), startA], [id('B'), startB]])
      const sums = sumOf(replay(lots, { speed: 1, seed: 1, startAt }))
      for (const { id: name, samples } of lots) expect((startAt.get(name) ?? 0) + (sums.get(name) ?? 0)).toBe(samples.at(-1)?.occupied)
    }))
  })
})
