import { describe, expect, test } from 'vitest'
import { apply, notFree, type Applied, type Bay, type Rules, type SensorMessage, type World } from '../../services/occupancy/core.js'
import type { SensorSeen } from '../../services/occupancy/sequence.js'
import type { BayState, Id, Lot } from '../../shared/lot.js'
import type { Reservation, ReservationStatus } from '../../shared/reservation.js'

const id = (text: string): Id => text as Id
const NOW = 1_000_000
const TIMES = { arrivalGraceMs: 120_000, maxStayMs: 86_400_000, noShowMs: 600_000, earlyArrivalMs: 60_000 }
const RULES: Rules = { gapGraceMs: 5_000, maxBays: 4, times: TIMES }

const LOT: Lot = {
  id: id('LOT-A'), name: 'A', capacity: 100, buffer: 0, counted: 50, held: 0, arriving: 0, open: true, counting: 'sensors',
  baysCover: false, suspect: false, heardAtMs: NOW - 500, quality: 'live', version: 7, changedAtMs: 0, dueAtMs: null,
  waiting: 0, windowsVersion: 0, timeZone: 'UTC', tariff: id('standard')
}
const SEEN: SensorSeen = { epoch: 3, high: 10, seenLow: 0xffffffff, seenHigh: 0xffffffff, missing: 0, reported: 0, gapDueAtMs: null }
const world = (over: Partial<World> = {}): World => ({ lot: LOT, seen: SEEN, bays: new Map(), waiting: [], ...over })
const from = (seq: number, epoch = 3) => ({ lot: LOT.id, sensor: id('gate-1'), epoch, seq })
const delta = (n: number, seq = 11, plate: string | null = null, epoch = 3): SensorMessage => ({ ...from(seq, epoch), type: 'delta', delta: n, plate })
const recount = (occupied: number, seq = 11): SensorMessage => ({ ...from(seq), type: 'recount', occupied })
const bays = (states: Record<string, BayState>, seq = 11): SensorMessage => ({ ...from(seq), type: 'bays', bays: new Map(Object.entries(states) as [Id, BayState][]) })
const bay = (name: string, state: BayState, listed: boolean, seq = 0): [Id, Bay] => [id(name), { bay: id(name), state, listed, by: seq > 0 ? { sensor: id('gate-1'), epoch: 3, seq } : null }]
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
    expect(applied.bays).toEqual([{ bay: 'A-1', state: 'taken', listed: false, by: { sensor: 'gate-1', epoch: 3, seq: 11 } }])
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
    const message: SensorMessage = { ...from(11), type: 'bays', bays: new Map([[id('constructor'), 'taken']]) }
    expect(run(message).bays).toHaveLength(1)
  })

  test('only listed bays are counted', () => {
    expect(notFree(new Map([bay('A-1', 'taken', true), bay('A-2', 'taken', false), bay('A-3', 'unknown', true)]))).toBe(2)
  })
})
