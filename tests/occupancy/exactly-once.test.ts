// Guarantee 2 as a property: whatever a faulty way does to a sensor's messages, the core counts the sum of those that came,
// each once, and what did not come is known.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { apply, type SensorMessage } from '../../services/occupancy/core.js'
import type { SensorSeen } from '../../services/occupancy/sequence.js'
import type { Id, Lot } from '../../shared/lot.js'

const id = (text: string): Id => text as Id
const RULES = { gapGraceMs: 5_000, staleAfterMs: 900_000, maxBays: 10, times: { arrivalGraceMs: 0, maxStayMs: 0, noShowMs: 0, earlyArrivalMs: 0 } }
const LOT: Lot = {
  id: id('L'), name: 'L', capacity: 50, buffer: 0, counted: 0, held: 0, arriving: 0, open: true, counting: 'sensors', baysCover: false,
  suspect: false, absolute: null, corrected: null, lapsedBays: 0, heardAtMs: null, quality: 'unknown', version: 1, changedAtMs: 0, dueAtMs: null,
  waiting: 0, windowsVersion: 0, timeZone: 'UTC', tariff: id('standard')
}

interface Sent { epoch: number, seq: number, delta: number }

/** A stream of one sensor: deltas in epochs, each message sent 0 to 3 times, each copy late by less than the window. */
const Streams = fc.array(fc.record({
  delta: fc.integer({ min: -3, max: 3 }),
  copies: fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 3 }),
  restart: fc.integer({ min: 0, max: 30 }).map(n => n === 0)
}), { minLength: 1, maxLength: 200 }).map(steps => {
  let epoch = 1
  let seq = 0
  const copies: (Sent & { at: number })[] = []
  let epochStart = 0
  steps.forEach((step, i) => {
    if (step.restart) {
      epoch++
      seq = 0
      // What is late does not overtake a restart: the old epoch's last copy comes before it.
      epochStart = Math.max(epochStart, ...copies.map(copy => copy.at + 1), i)
    }
    seq++
    for (const late of step.copies) copies.push({ epoch, seq, delta: step.delta, at: Math.max(i, epochStart) + late })
  })
  const arrived = copies.map((copy, i) => ({ copy, i })).sort((a, b) => a.copy.at - b.copy.at || a.i - b.i).map(({ copy }) => copy)
  return arrived
})

test('counts each message that came once, and knows which did not come', () => {
  fc.assert(fc.property(Streams, stream => {
    let lot = LOT
    let seen: SensorSeen | null = null
    let lost = 0
    const came = new Map<string, Sent>()
    for (const sent of stream) {
      const message: SensorMessage = { type: 'delta', lot: LOT.id, sensor: id('g'), epoch: sent.epoch, seq: sent.seq, delta: sent.delta, plate: null }
      const applied = apply({ lot, seen, bays: new Map(), waiting: [] }, message, 0, RULES)
      const key = `${sent.epoch}/${sent.seq}`
      expect(applied.outcome).toBe(came.has(key) ? 'duplicate' : 'applied')
      came.set(key, sent)
      lot = applied.lot ?? lot
      seen = applied.seen ?? seen
      lost += applied.lost ?? 0
    }
    expect(lot.counted).toBe([...came.values()].reduce((sum, { delta }) => sum + delta, 0))
    // Of the last epoch: what is missing now. Of the epochs before: what was found lost at the restart.
    const last = Math.max(0, ...[...came.values()].map(sent => sent.epoch))
    const inEpoch = (epoch: number): Sent[] => [...came.values()].filter(sent => sent.epoch === epoch)
    const missingOf = (epoch: number): number => Math.max(0, ...inEpoch(epoch).map(sent => sent.seq)) - inEpoch(epoch).length
    expect((seen)?.missing ?? 0).toBe(missingOf(last))
    const before = [...new Set([...came.values()].map(sent => sent.epoch))].filter(epoch => epoch !== last).reduce((sum, epoch) => sum + missingOf(epoch), 0)
    expect(lost).toBeGreaterThanOrEqual(before)
    expect(lot.suspect).toBe(lost > 0)
  }), { numRuns: 1_000 })
})
