import { describe, expect, test } from 'vitest'
import { apply, lapse, notFree, type Applied, type Bay, type Rules, type SensorMessage, type World } from '../../services/occupancy/core.js'
import type { SensorSeen } from '../../services/occupancy/sequence.js'
import { qualityAt, type BayState, type Id, type Lot } from '../../shared/lot.js'
import type { Reservation, ReservationStatus } from '../../shared/reservation.js'

const id = (text: string): Id => text as Id
const NOW = 1_000_000
const TIMES = { arrivalGraceMs: 120_000, maxStayMs: 86_400_000, noShowMs: 600_000, earlyArrivalMs: 60_000 }
const RULES: Rules = { gapGraceMs: 5_000, maxBays: 4, staleAfterMs: 900_000, times: TIMES }

const LOT: Lot = {
  id: id('LOT-A'), name: 'A', capacity: 100, buffer: 0, counted: 50, held: 0, arriving: 0, open: true, counting: 'sensors',
  baysCover: false, suspect: false, heardAtMs: NOW - 500, absolute: null, corrected: null, lapsedBays: 0, quality: 'live', version: 7, changedAtMs: 0, dueAtMs: null,
  waiting: 0, windowsVersion: 0, timeZone: 'UTC', tariff: id('standard')
}
const SEEN: SensorSeen = { epoch: 3, high: 10, seenLow: 0xffffffff, seenHigh: 0xffffffff, missing: 0, reported: 0, gapDueAtMs: null }
const world = (over: Partial<World> = {}): World => ({ lot: LOT, seen: SEEN, bays: new Map(), waiting: [], ...over })
const from = (seq: number, epoch = 3) => ({ lot: LOT.id, sensor: id('gate-1'), epoch, seq })
const delta = (n: number, seq = 11, plate: string | null = null, epoch = 3): SensorMessage => ({ ...from(seq, epoch), type: 'delta', delta: n, plate })
const recount = (occupied: number, seq = 11): SensorMessage => ({ ...from(seq), type: 'recount', occupied })
const bays = (states: Record<string, BayState>, seq = 11, over: { sensor?: Id, whole?: boolean, standsForMs?: number } = {}): SensorMessage => ({ ...from(seq), type: 'bays', whole: false, standsForMs: null, ...over, bays: new Map(Object.entries(states) as [Id, BayState][]) })
const bay = (name: string, state: BayState, listed: boolean, seq = 0): [Id, Bay] => [id(name), { bay: id(name), state, listed, lapsed: false, by: seq > 0 ? { sensor: id('gate-1'), epoch: 3, seq } : null }]
const reservation = (status: ReservationStatus, plate = 'ABC123', name = 'R-1'): Reservation => ({
  id: name, kind: 'hold', lot: LOT.id, plate, status, fromMs: 0, toMs: NOW + 1_000, originalToMs: NOW + 1_000, dueAtMs: NOW + 1_000, secretHash: '', owner: null, madeAtMs: 0
})
const run = (message: SensorMessage, over: Partial<World> = {}): Applied => apply(world(over), message, NOW, RULES)

describe('a delta', () => {
  test.each<[string, SensorMessage, Partial<World>, Partial<Applied>, number | undefined]>([
    ['counts', delta(1), {}, { outcome: 'applied' }, 51],
    ['counts out', delta(-1), {}, { outcome: 'applied' }, 49],
    ['goes below zero unclamped', delta(-60), {}, { outcome: 'applied' }, -10],
    ['goes above the capacity unclamped', delta(70), {}, { outcome: 'applied' }, 120],
    ['of a sensor never heard counts', delta(1, 1), { seen: null }, { outcome: 'applied' }, 51],
    ['seen before does not count', delta(1, 10), {}, { outcome: 'duplicate' }, undefined],
    ['of an older epoch does not count', delta(1, 11, null, 2), {}, { outcome: 'too_old' }, 50],
    ['of a newer epoch is a restart and counts as it is', delta(1, 1, null, 4), {}, { outcome: 'applied', restarted: true }, 51],
    ['beyond reason is refused', delta(100_000), { lot: { ...LOT, counted: 1_000_000_000 } }, { outcome: 'refused' }, undefined],
    ['without identity counts as it comes', { type: 'bare', lot: LOT.id, delta: 2 }, { seen: null }, { outcome: 'applied' }, 52]
  ])('%s', (_, message, over, expected, counted) => {
    const applied = run(message, over)
    expect(applied).toMatchObject(expected)
    expect(applied.lot?.counted).toBe(counted)
  })

  test('of an older epoch makes the lot suspect', () => {
    expect(run(delta(1, 11, null, 2)).lot?.suspect).toBe(true)
  })

  test('that shows a message can never come makes the lot suspect at once', () => {
    expect(run(delta(1, 200))).toMatchObject({ outcome: 'applied', lost: 125, lot: { suspect: true } })
  })

  test('that leaves a gap makes nothing suspect yet', () => {
    expect(run(delta(1, 12))).toMatchObject({ lot: { suspect: false }, seen: { missing: 1, gapDueAtMs: NOW + 5_000 } })
  })

  test('a refused message may be sent again with the same number', () => {
    expect(run(delta(100_000), { lot: { ...LOT, counted: 1_000_000_000 } }).seen).toBeUndefined()
  })

  test('a duplicate shows that the sensor lives, at most once a second', () => {
    expect(run(delta(1, 10)).lot).toBeUndefined()
    expect(run(delta(1, 10), { lot: { ...LOT, heardAtMs: NOW - 5_000 } }).lot?.heardAtMs).toBe(NOW)
  })
})

describe('a delta and reservations', () => {
  test.each<[string, SensorMessage, Reservation[], string[], string | undefined]>([
    ['a plate that holds a place arrives', delta(1, 11, 'ABC123'), [reservation('held')], ['R-1'], undefined],
    ['a plate whose driver said so arrives', delta(1, 11, 'ABC123'), [reservation('arriving')], ['R-1'], undefined],
    ['only one of a plate\'s reservations arrives, the oldest', delta(1, 11, 'ABC123'), [reservation('held'), reservation('held', 'ABC123', 'R-2')], ['R-1'], undefined],
    ['a plate that is in already does not arrive again', delta(1, 11, 'ABC123'), [reservation('arrived')], [], undefined],
    ['a plate that leaves departs', delta(-1, 11, 'ABC123'), [reservation('arrived')], [], 'R-1'],
    ['a plate that leaves without having arrived departs from nothing', delta(-1, 11, 'ABC123'), [reservation('held')], [], undefined],
    ['a car without a plate is the next of those who said so', delta(1), [reservation('arriving'), reservation('arriving', 'X', 'R-2')], ['R-1'], undefined],
    ['two cars without plates are two of those', delta(2), [reservation('arriving'), reservation('arriving', 'X', 'R-2')], ['R-1', 'R-2'], undefined]
  ])('%s', (_, message, waiting, arrived, departed) => {
    const applied = run(message, { waiting })
    expect((applied.arrived ?? []).map(r => r.id)).toEqual(arrived)
    expect(applied.departed?.id).toBe(departed)
  })
})

describe('a recount', () => {
  test('is told to the ledger and contains the sensor\'s earlier messages', () => {
    expect(run(recount(37, 15))).toMatchObject({ outcome: 'applied', recount: 37, seen: { high: 15, missing: 0 } })
  })

  test('older than what the sensor said since is not applied', () => {
    const seen = { ...SEEN, seenLow: 0xfffffffe, missing: 1 }
    const applied = run(recount(37, 9), { seen })
    expect(applied).toMatchObject({ outcome: 'superseded', lot: { counted: 50 }, seen: { missing: 0 } })
    expect(applied.recount).toBeUndefined()
  })

  test('a loss found with it does not matter', () => {
    expect(run(recount(37, 500)).lot?.suspect).toBe(false)
  })
})

describe('bays', () => {
  const COVERED = { ...LOT, baysCover: true, suspect: true, counted: 3 }
  const known = new Map([bay('A-1', 'taken', true, 5), bay('A-2', 'free', true, 5), bay('A-3', 'unknown', true)])

  test('of a lot that they cover give the count: taken and unknown', () => {
    expect(run(bays({ 'A-1': 'free' }), { lot: COVERED, bays: known })).toMatchObject({ outcome: 'applied', lot: { counted: 1, suspect: true } })
  })

  test('complete, they end suspicion', () => {
    expect(run(bays({ 'A-1': 'taken', 'A-2': 'taken', 'A-3': 'free' }), { lot: COVERED, bays: known }))
      .toMatchObject({ outcome: 'applied', gapsSettled: true, lot: { counted: 2, suspect: false } })
  })

  test('of a lot that they do not cover change no count', () => {
    const applied = run(bays({ 'A-1': 'taken' }), { lot: LOT })
    expect(applied).toMatchObject({ outcome: 'applied', lot: { counted: 50 } })
    expect(applied.bays).toEqual([{ bay: 'A-1', state: 'taken', listed: false, lapsed: false, by: { sensor: 'gate-1', epoch: 3, seq: 11 } }])
  })

  test('a late message does not undo a newer word of the same sensor', () => {
    const seen = { ...SEEN, seenLow: 0xffffffdf, missing: 1 }
    const late = new Map([bay('A-1', 'taken', true, 9), bay('A-2', 'free', true, 2), bay('A-3', 'unknown', true)])
    const applied = run(bays({ 'A-1': 'free', 'A-2': 'taken' }, 4), { lot: COVERED, bays: late, seen })
    expect(applied.bays?.map(b => b.bay)).toEqual(['A-2'])
  })

  test('a bay that the lot does not list is refused', () => {
    expect(run(bays({ 'B-9': 'free' }), { lot: COVERED, bays: known })).toMatchObject({ outcome: 'refused', refusal: { code: 'unknown_bay' } })
  })

  test('more bays than a lot may have are refused', () => {
    expect(run(bays({ a: 'free', b: 'free', c: 'free', d: 'free', e: 'free' }))).toMatchObject({ outcome: 'refused', refusal: { code: 'over_limit' } })
  })

  test('ids such as constructor are bays like others', () => {
    const message: SensorMessage = { ...from(11), type: 'bays', whole: false, standsForMs: null, bays: new Map([[id('constructor'), 'taken']]) }
    expect(run(message).bays).toHaveLength(1)
  })

  test('only listed bays are counted', () => {
    expect(notFree(new Map([bay('A-1', 'taken', true), bay('A-2', 'taken', false), bay('A-3', 'unknown', true)]))).toBe(2)
  })
})

describe('bays by cameras', () => {
  const [north, south] = [id('cam-north'), id('cam-south')]
  const COVERED = { ...LOT, baysCover: true, counted: 2 }
  const by = (name: string, state: BayState, sensor: Id, over: Partial<Bay> = {}): [Id, Bay] => [id(name), { bay: id(name), state, listed: true, lapsed: false, by: { sensor, epoch: 3, seq: 5 }, ...over }]
  const known = new Map([by('A-1', 'taken', north), by('A-2', 'free', north), by('A-3', 'taken', south)])
  const gate = { sensor: id('gate-1'), said: 'delta', atMs: NOW - 1_000 } as const
  const quality = (lot: Lot | undefined): string => lot === undefined ? 'no lot' : qualityAt(lot, NOW, RULES.staleAfterMs)

  test('a whole message makes what is missing of its sensor no loss', () => {
    const missing = { ...SEEN, seenLow: 0xfffffffe, missing: 1, gapDueAtMs: NOW + 10 }
    expect(run(bays({ 'A-1': 'taken' }, 15, { sensor: north, whole: true }), { lot: COVERED, bays: known, seen: missing })).toMatchObject({ outcome: 'applied', seen: { high: 15, missing: 0, gapDueAtMs: null } })
    expect(run(bays({ 'A-1': 'taken' }, 15, { sensor: north }), { lot: COVERED, bays: known, seen: missing })).toMatchObject({ seen: { missing: 5 } })
    expect(run(bays({ 'A-1': 'taken' }, 200, { sensor: north, whole: true }), { lot: COVERED, bays: known })).not.toHaveProperty('lost')
  })

  test('an older frame behind a whole message is a duplicate', () => {
    const { seen } = run(bays({ 'A-1': 'taken' }, 15, { sensor: north, whole: true }), { lot: COVERED, bays: known })
    expect(run(bays({ 'A-1': 'free' }, 14, { sensor: north, whole: true }), { lot: COVERED, bays: known, seen: seen ?? null })).toMatchObject({ outcome: 'duplicate' })
  })

  test('a whole message does not end the suspicion that others are under', () => {
    expect(run(bays({ 'A-1': 'taken' }, 11, { sensor: north, whole: true }), { lot: { ...COVERED, suspect: true }, bays: known })).toMatchObject({ lot: { suspect: true } })
  })

  test('a word stands for as long as it says, from when it came', () => {
    expect(run(bays({ 'A-1': 'free' }, 11, { standsForMs: 30_000 }), { bays: known }).standsUntilMs).toBe(NOW + 30_000)
    expect(run(bays({ 'A-1': 'free' }), { bays: known }).standsUntilMs).toBeNull()
    expect(run(delta(1)).standsUntilMs).toBeUndefined()
  })

  test('a late message does not make it stand longer', () => {
    const seen = { ...SEEN, seenLow: 0xfffffffe, missing: 1 }
    expect(run(bays({ 'A-1': 'free' }, 9, { standsForMs: 30_000 }), { bays: known, seen }).standsUntilMs).toBeUndefined()
  })

  test('of a silent source are unknown and count as taken, and the lot is stale', () => {
    const lapsed = lapse({ lot: COVERED, bays: known }, new Set([north]), NOW, RULES)
    expect(lapsed?.bays).toEqual([by('A-1', 'unknown', north, { lapsed: true })[1], by('A-2', 'unknown', north, { lapsed: true })[1]])
    expect(lapsed?.lot).toMatchObject({ counted: 3, lapsedBays: 2 })
    expect(quality(lapsed?.lot)).toBe('stale')
  })

  test('of a silent source that another has seen since stay as that says', () => {
    const taken = new Map([by('A-1', 'taken', south), by('A-2', 'free', south), by('A-3', 'taken', south)])
    expect(lapse({ lot: COVERED, bays: taken }, new Set([north]), NOW, RULES)).toBeNull()
  })

  test('of a silent source in a lot with a gate: the gate goes on counting and the lot is live', () => {
    const lapsed = lapse({ lot: { ...COVERED, corrected: gate }, bays: known }, new Set([north]), NOW, RULES)
    expect(lapsed?.lot).toMatchObject({ counted: 2, lapsedBays: 2 })
    expect(quality(lapsed?.lot)).toBe('live')
    const counted = run(delta(1), { lot: lapsed?.lot ?? LOT })
    expect(counted.lot).toMatchObject({ counted: 3 })
    expect(quality(counted.lot)).toBe('live')
  })

  test('a gate that has fallen silent as well covers nothing', () => {
    const lapsed = lapse({ lot: { ...COVERED, corrected: { ...gate, atMs: NOW - 900_000 } }, bays: known }, new Set([north]), NOW, RULES)
    expect(lapsed?.lot).toMatchObject({ counted: 3 })
    expect(quality(lapsed?.lot)).toBe('stale')
  })

  const half = new Map([by('A-1', 'unknown', north, { lapsed: true }), by('A-2', 'unknown', north, { lapsed: true }), by('A-3', 'taken', south)])

  test('of one camera do not make up for another that is silent', () => {
    const applied = run(bays({ 'A-3': 'free' }, 11, { sensor: south, whole: true }), { lot: { ...COVERED, lapsedBays: 2 }, bays: half })
    expect(applied.lot).toMatchObject({ counted: 2, lapsedBays: 2 })
    expect(quality(applied.lot)).toBe('stale')
  })

  test('of one camera leave the count to the gate while another camera is silent', () => {
    expect(run(bays({ 'A-3': 'free' }, 11, { sensor: south, whole: true }), { lot: { ...COVERED, counted: 7, lapsedBays: 2, corrected: gate }, bays: half }).lot).toMatchObject({ counted: 7 })
  })

  test('end with the camera\'s next word, also for bays that it is not sure of', () => {
    const applied = run(bays({ 'A-1': 'free' }, 11, { sensor: north, whole: true }), { lot: { ...COVERED, lapsedBays: 2, corrected: gate }, bays: half })
    expect(applied.lot).toMatchObject({ counted: 2, lapsedBays: 0, absolute: { sensor: north, said: 'bays', atMs: NOW } })
    expect(applied.bays).toMatchObject([{ bay: 'A-1', state: 'free', lapsed: false }, { bay: 'A-2', state: 'unknown', lapsed: false }])
    expect(quality(applied.lot)).toBe('live')
  })

  test('correct what the gate missed, and the gate what comes after', () => {
    const after = run(bays({ 'A-1': 'free', 'A-2': 'free', 'A-3': 'free' }, 11, { sensor: north }), { lot: { ...COVERED, counted: 9, corrected: gate }, bays: known }).lot ?? LOT
    expect(after.counted).toBe(0)
    expect(run(delta(1, 12), { lot: after }).lot).toMatchObject({ counted: 1, absolute: { sensor: north, said: 'bays' }, corrected: { sensor: 'gate-1', said: 'delta', atMs: NOW } })
  })
})
