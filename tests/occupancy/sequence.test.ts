import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { admit, settled, superseded, tellGap, WINDOW, type Admission, type SensorSeen } from '../../services/occupancy/sequence.js'

const GRACE_MS = 5_000
const at = (seen: SensorSeen | null, seq: number, epoch = 1, nowMs = 0): Admission => admit(seen, epoch, seq, nowMs, GRACE_MS)

/** Feeds messages one after the other and returns the verdicts and the last state. */
function feed (seqs: readonly (number | [epoch: number, seq: number])[]): { verdicts: string[], seen: SensorSeen | null, lost: number } {
  let seen: SensorSeen | null = null
  let lost = 0
  const verdicts = seqs.map(item => {
    const [epoch, seq] = typeof item === 'number' ? [1, item] : item
    const admission = at(seen, seq, epoch)
    if ('seen' in admission) {
      seen = admission.seen
      lost += admission.lost
    }
    return admission.verdict
  })
  return { verdicts, seen, lost }
}

describe('admission of a message', () => {
  test.each<[string, (number | [number, number])[], string[]]>([
    ['takes messages in order', [1, 2, 3], ['next', 'next', 'next']],
    ['refuses the same message again', [1, 1], ['next', 'duplicate']],
    ['takes a late message once', [1, 3, 2, 2], ['next', 'next', 'late', 'duplicate']],
    ['takes the message at the far end of the window', [1, 66, 2, 1], ['next', 'next', 'late', 'too_old']],
    ['calls a message before the window too old', [200, 135], ['next', 'too_old']],
    ['takes number 0 first', [0, 1], ['next', 'next']],
    ['takes number 0 late', [1, 0, 0], ['next', 'late', 'duplicate']],
    ['starts again after a restart', [[1, 9], [2, 1], [2, 1]], ['next', 'next', 'duplicate']],
    ['calls a message of an older epoch too old', [[2, 1], [1, 2]], ['next', 'too_old']],
    ['takes a jump over more than the window', [1, 1_000, 999, 936, 935], ['next', 'next', 'late', 'late', 'too_old']],
    ['takes steps of exactly 32, 33, 64 and 65', [1, 33, 66, 130, 195, 129, 132], ['next', 'next', 'next', 'next', 'next', 'too_old', 'late']]
  ])('%s', (_, seqs, verdicts) => {
    expect(feed(seqs).verdicts).toEqual(verdicts)
  })
})

describe('missing messages', () => {
  test('a gap is due after the grace and closed by its late message', () => {
    const first = at(null, 1)
    const jump = at('seen' in first ? first.seen : null, 3, 1, 100)
    if (!('seen' in jump)) throw new Error('not admitted')
    expect(jump.seen).toMatchObject({ missing: 1, gapDueAtMs: 100 + GRACE_MS })
    const late = at(jump.seen, 2, 1, 200)
    expect(late).toMatchObject({ verdict: 'late', seen: { missing: 0, gapDueAtMs: null } })
  })

  test('the first message of an epoch tells of those before it', () => {
    expect(feed([4]).seen).toMatchObject({ missing: 3, gapDueAtMs: GRACE_MS })
  })

  test('a message that leaves the window unseen is lost at once, and told once', () => {
    const { seen, lost } = feed([1, 3, 67])
    expect(lost).toBe(1)
    expect(seen).toMatchObject({ missing: 64, reported: 1 })
    expect(tellGap(seen as unknown as SensorSeen).told).toBe(63)
  })

  test('a gap that was told is not told again when it leaves the window', () => {
    const { seen } = feed([1, 3])
    const told = tellGap(seen as unknown as SensorSeen)
    expect(told).toMatchObject({ told: 1, seen: { gapDueAtMs: null, reported: 1 } })
    let state = told.seen
    for (let seq = 4; seq < 200; seq++) {
      const next = at(state, seq)
      if (!('seen' in next)) throw new Error('not admitted')
      expect(next.lost).toBe(0)
      state = next.seen
    }
  })

  test('a restart tells of what the old epoch still missed', () => {
    expect(feed([[1, 1], [1, 4], [2, 1]]).lost).toBe(2)
  })

  test('a count by another source makes the gap meaningless, but a late message still counts', () => {
    const { seen } = feed([1, 3])
    const after = settled(seen as unknown as SensorSeen)
    expect(tellGap(after).told).toBe(0)
    expect(at(after, 2).verdict).toBe('late')
  })

  test('a count by the sensor itself contains its earlier messages', () => {
    const { seen } = feed([1, 5])
    const after = superseded(seen as unknown as SensorSeen)
    expect(at(after, 3).verdict).toBe('duplicate')
    expect(at(after, 6)).toMatchObject({ verdict: 'next', seen: { missing: 0 } })
  })
})

test('agrees with a plain set of everything seen, for any order, duplicates and jumps', () => {
  fc.assert(fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 150 })), { maxLength: 300 }), messages => {
    let seen: SensorSeen | null = null
    let model = { epoch: 0, high: 0, had: new Set<number>() }
    for (const [epoch, seq] of messages) {
      const admission = at(seen, seq, epoch)
      if (epoch > model.epoch) model = { epoch, high: 0, had: new Set() }
      const expected = epoch < model.epoch ? 'too_old'
        : seq > model.high ? 'next'
          : seq < model.high - WINDOW ? 'too_old'
            : model.had.has(seq) ? 'duplicate' : 'late'
      // Outside the window a duplicate cannot be told from a late one: both change nothing.
      expect(admission.verdict).toBe(expected)
      if (!('seen' in admission)) continue
      seen = admission.seen
      model.had.add(seq)
      model.high = Math.max(model.high, seq)
      expect(seen.missing).toBe(model.high - model.had.size)
      expect(seen.reported).toBeLessThanOrEqual(seen.missing)
      expect(seen.gapDueAtMs === null).toBe(seen.missing === seen.reported)
    }
  }), { numRuns: 500 })
})
