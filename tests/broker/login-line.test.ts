// The line before the password check, in the order of events: whose turn it is, who rests, and who is sent away when.
import { describe, expect, test } from 'vitest'
import { LoginLine, type Waiting } from '../../broker/login-line.js'
import { ManualClock } from '../support/clock.js'

/** A line whose checks end when the test says so; `begun` has the names of those that are or were checked. */
function manualLine ({ clock = new ManualClock(), perKey = 10 }: { clock?: ManualClock, perKey?: number } = {}): { line: LoginLine, clock: ManualClock, begun: string[], sentAway: string[], join: (name: string, parts?: { suspect?: boolean, key?: string, keyUntilMs?: () => number, untilMs?: () => number }) => Waiting, end: (name: string) => Promise<void> } {
  const line = new LoginLine({ clock, atOnce: 2, perKey })
  const begun: string[] = []
  const sentAway: string[] = []
  const ends = new Map<string, () => void>()
  const join: ReturnType<typeof manualLine>['join'] = (name, { suspect = false, key = name, keyUntilMs = () => 0, untilMs = () => 0 } = {}) => {
    const waiting: Waiting = {
      key, keyUntilMs, untilMs, isSuspect: () => suspect, sendAway: () => sentAway.push(name),
      check: async () => {
        begun.push(name)
        await new Promise<void>(resolve => ends.set(name, resolve))
      }
    }
    line.join(waiting)
    return waiting
  }
  const end = async (name: string): Promise<void> => {
    ends.get(name)?.()
    await new Promise(setImmediate)
  }
  return { line, clock, begun, sentAway, join, end }
}

describe('a flood of log-ins', () => {
  test('gives way to who has not failed, but not for ever', async () => {
    const { line, clock, begun, join, end } = manualLine()
    join('good-1')
    clock.advance(60_000)
    join('bad', { suspect: true })
    expect(begun).toEqual(['good-1'])
    join('good-2')
    join('good-3')
    await end('good-1')
    expect(begun).toEqual(['good-1', 'good-2', 'good-3'])
    await end('good-2')
    clock.advance(3_999)
    expect(begun).not.toContain('bad')
    clock.advance(1)
    expect(begun).toEqual(['good-1', 'good-2', 'good-3', 'bad'])
    join('bad-2', { suspect: true })
    clock.advance(4_000)
    // Only one that is suspect at a time, however long another waits and whatever is free.
    await end('good-3')
    expect(begun).not.toContain('bad-2')
    await end('bad')
    clock.advance(1_000)
    expect(begun).toContain('bad-2')
    await end('bad-2')
    expect(line.size).toBe(0)
  })

  test('rests as long as it was checked, and nobody else does', async () => {
    const { clock, begun, join, end } = manualLine()
    join('bad-1', { suspect: true })
    join('bad-2', { suspect: true })
    clock.advance(165)
    await end('bad-1')
    clock.advance(164)
    expect(begun).toEqual(['bad-1'])
    join('good')
    expect(begun).toEqual(['bad-1', 'good'])
    await end('good')
    expect(begun).toEqual(['bad-1', 'good'])
    clock.advance(1)
    expect(begun).toEqual(['bad-1', 'good', 'bad-2'])
  })

  test('is delayed as one: its address wakes once, and goes on in the order of coming', async () => {
    const { clock, begun, join, end } = manualLine()
    let untilMs = clock.nowMs() + 250
    const flood = Array.from({ length: 10 }, (_, i) => `bad-${i}`)
    for (const name of flood) join(name, { key: 'one', keyUntilMs: () => untilMs })
    // The patience of each, and one for the delay of all.
    expect(clock.waiting).toBe(flood.length + 1)
    clock.advance(250)
    expect(begun).toEqual(['bad-0'])
    untilMs = clock.nowMs() + 500
    await end('bad-0')
    clock.advance(499)
    expect(begun).toEqual(['bad-0'])
    clock.advance(1)
    expect(begun).toEqual(['bad-0', 'bad-1'])
  })

  test('that the line is too full for is not checked, and not answered before the others', async () => {
    const { line, clock, begun, sentAway, join, end } = manualLine({ perKey: 2 })
    for (const name of ['a', 'b', 'c', 'd']) join(name, { key: 'one' })
    const gone = join('e', { key: 'one' })
    expect(line.leave(gone)).toBe(true)
    clock.advance(7_999)
    for (const name of ['a', 'b', 'c']) await end(name)
    expect(begun).toEqual(['a', 'b', 'c'])
    expect(sentAway).toEqual([])
    clock.advance(1)
    expect(sentAway).toEqual(['d'])
    expect(line.size).toBe(0)
    expect(clock.waiting).toBe(0)
  })
})
