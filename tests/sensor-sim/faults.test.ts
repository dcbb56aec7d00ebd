import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { withFaults, type FaultOptions } from '../../services/sensor-sim/faults.js'
import { deltaPayload, numbered, type Reading, type SensorMessage } from '../../services/sensor-sim/messages.js'
import { SensorDelta } from '../../shared/schemas.js'
import { countedBy, id, sumOf } from './support.js'

const CLEAN: FaultOptions = { seed: 1, epoch: 100, restartEvery: 0, duplicate: 0, lose: 0, reorder: 0 }

function readings (count: number, gates = 1): Reading[] {
  return Array.from({ length: count }, (_, i) => ({ lot: id('LOT-A'), sensor: id(`gate-${i % gates}`), delta: i % 3 === 2 ? -1 : 1, atMs: i * 1_000, dueMs: i }))
}

const someReadings = fc.array(fc.record({
  lot: fc.constantFrom('LOT-A', 'LOT-B').map(id), sensor: fc.constantFrom('gate-1', 'gate-2').map(id), delta: fc.integer({ min: -40, max: 40 }), atMs: fc.constant(0), dueMs: fc.constant(0)
}), { maxLength: 1_500 })
const someFaults = fc.record({
  seed: fc.nat(), epoch: fc.nat(), restartEvery: fc.constantFrom(0, 1, 2, 10, 70, 500),
  duplicate: fc.constantFrom(0, 0.05, 0.5, 1), reorder: fc.constantFrom(0, 0.01, 0.3, 1), lose: fc.constant(0)
})

function apply (source: Iterable<Reading>, options: Partial<FaultOptions>): { messages: SensorMessage[], counts: ReturnType<typeof withFaults>['counts'] } {
  const { messages, counts } = withFaults(source, { ...CLEAN, ...options })
  return { messages: [...messages], counts }
}

describe('numbering', () => {
  test('counts from 1 for each sensor, and starts again in the next epoch after a restart', () => {
    const restarts: number[] = []
    const all = [...numbered(readings(7, 2), { epoch: 100, restartEvery: 2 }, () => restarts.push(1))]
    expect(all.filter(m => m.sensor === 'gate-0').map(m => [m.epoch, m.seq])).toEqual([[100, 1], [100, 2], [101, 1], [101, 2]])
    expect(all.filter(m => m.sensor === 'gate-1').map(m => [m.epoch, m.seq])).toEqual([[100, 1], [100, 2], [101, 1]])
    expect(restarts).toHaveLength(2)
  })

  test('gives payloads that the schema of the sensors takes', () => {
    for (const message of numbered(readings(3), { epoch: 1_800_000_000_000, restartEvery: 0 })) {
      expect(SensorDelta.parse(JSON.parse(deltaPayload(message)))).toMatchObject({ sensor: 'gate-0', epoch: 1_800_000_000_000, seq: message.seq, delta: message.delta })
    }
  })
})

describe('faults', () => {
  test('without any, the messages are the numbered readings in their order', () => {
    const { messages, counts } = apply(readings(100, 3), {})
    expect(messages).toEqual([...numbered(readings(100, 3), CLEAN)])
    expect(counts).toEqual({ duplicated: 0, duplicatedFar: 0, lost: 0, reordered: 0, restarts: 0 })
  })

  test('without loss, exactly-once counting of the faulty stream gives the cars of the clean one', () => {
    fc.assert(fc.property(someReadings, someFaults, (source, faults) => {
      expect(countedBy(apply(source, faults).messages).counted).toEqual(sumOf(source))
    }), { numRuns: 300 })
  })

  test('what is not lost is sent at least once, what is lost never, and every number is used', () => {
    fc.assert(fc.property(someReadings, someFaults, fc.constantFrom(0.02, 0.5, 1), (source, faults, lose) => {
      const all = [...numbered(source, faults)]
      const { messages, counts } = apply(source, { ...faults, lose })
      const name = (m: SensorMessage): string => `${m.lot}/${m.sensor}/${m.epoch}/${m.seq}`
      const sent = new Set(messages.map(name))
      expect(sent.size).toBe(all.length - counts.lost)
      expect(messages).toHaveLength(all.length - counts.lost + counts.duplicated)
      const known = new Set(all.map(name))
      expect(messages.every(m => known.has(name(m)))).toBe(true)
    }), { numRuns: 200 })
  })

  test('the same seed gives the same faults, another seed gives others', () => {
    const faults = { duplicate: 0.1, lose: 0.1, reorder: 0.1, restartEvery: 50 }
    const one = apply(readings(500), { ...faults, seed: 5 }).messages
    expect(apply(readings(500), { ...faults, seed: 5 }).messages).toEqual(one)
    expect(apply(readings(500), { ...faults, seed: 6 }).messages).not.toEqual(one)
  })

  test('the rate of one fault does not change which messages another hits', () => {
    const lost = (others: Partial<FaultOptions>): number[] => {
      const sent = new Set(apply(readings(2_000), { ...others, lose: 0.05 }).messages.map(m => m.seq))
      return Array.from({ length: 2_000 }, (_, i) => i + 1).filter(seq => !sent.has(seq))
    }
    expect(lost({})).toHaveLength(lost({ duplicate: 0.5, reorder: 0.5 }).length)
    expect(lost({ duplicate: 0.5, reorder: 0.5 })).toEqual(lost({}))
  })

  test('come at the rates that were asked for', () => {
    const { counts } = apply(readings(20_000, 4), { duplicate: 0.05, lose: 0.02, reorder: 0.01, restartEvery: 500 })
    expect(counts.lost / 20_000).toBeCloseTo(0.02, 2)
    expect(counts.duplicated / 20_000).toBeCloseTo(0.05 * 0.98, 2)
    expect(counts.reordered / 20_000).toBeCloseTo(0.01 * 0.98, 2)
    expect(counts.restarts).toBe(4 * (20_000 / 4 / 500 - 1))
    expect(counts.duplicatedFar / counts.duplicated).toBeGreaterThan(0.05)
    expect(counts.duplicatedFar / counts.duplicated).toBeLessThan(0.2)
  })

  test('a delayed message is overtaken by 1 to 20 of its own sensor', () => {
    const { messages, counts } = apply(readings(5_000, 2), { reorder: 0.05 })
    const overtaken = new Map<string, number>()
    const latest = new Map<string, number>()
    for (const { sensor, seq } of messages) {
      const behind = (latest.get(sensor) ?? 0) - seq
      if (behind > 0) overtaken.set(`${sensor}/${seq}`, behind)
      latest.set(sensor, Math.max(latest.get(sensor) ?? 0, seq))
    }
    expect(Math.max(...overtaken.values())).toBe(20)
    // One whose overtakers are all delayed as well, or that is at the end, keeps its place.
    expect(overtaken.size).toBeGreaterThan(counts.reordered * 0.9)
    expect(overtaken.size).toBeLessThanOrEqual(counts.reordered)
  })

  test('very late duplicates are beyond what the ledger remembers', () => {
    const ledger = countedBy(apply(readings(5_000), { duplicate: 0.1 }).messages)
    expect(ledger.outcomes.tooOld).toBeGreaterThan(10)
    expect(ledger.outcomes.duplicate).toBeGreaterThan(ledger.outcomes.tooOld)
  })

  test('a duplicate may come after the restart of its sensor, an original never', () => {
    const { messages } = apply(readings(5_000), { duplicate: 0.2, reorder: 0.3, restartEvery: 25 })
    const seen = new Set<string>()
    let epoch = 0
    let late = 0
    for (const m of messages) {
      const isNew = !seen.has(`${m.epoch}/${m.seq}`)
      seen.add(`${m.epoch}/${m.seq}`)
      if (m.epoch < epoch) {
        expect(isNew).toBe(false)
        late++
      }
      epoch = Math.max(epoch, m.epoch)
    }
    expect(late).toBeGreaterThan(0)
  })
})
