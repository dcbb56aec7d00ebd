// The warning that no client can turn into a flood.
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createLimitedWarn, createLog } from '../../shared/log.js'
import { ManualClock } from '../support/clock.js'

function build () {
  const clock = new ManualClock()
  const lines: Record<string, unknown>[] = []
  const log = pino({ base: null, timestamp: false }, new Writable({
    write (line: Buffer, _, done) {
      lines.push(JSON.parse(line.toString()) as Record<string, unknown>)
      done()
    }
  }))
  return { clock, lines, warn: createLimitedWarn(log, clock) }
}

test('a warning is logged once a second for each key, with how many were left out', () => {
  const { clock, lines, warn } = build()
  for (let i = 0; i < 5; i++) warn('gate-1', { clientId: 'gate-1', i }, 'bad message')
  warn('gate-2', { clientId: 'gate-2' }, 'bad message')
  clock.advance(999)
  warn('gate-1', { clientId: 'gate-1' }, 'bad message')
  clock.advance(1)
  warn('gate-1', { clientId: 'gate-1' }, 'bad message')
  clock.advance(5_000)
  warn('gate-1', { clientId: 'gate-1' }, 'bad message')
  expect(lines).toEqual([
    { level: 40, clientId: 'gate-1', i: 0, msg: 'bad message' },
    { level: 40, clientId: 'gate-2', msg: 'bad message' },
    { level: 40, clientId: 'gate-1', leftOut: 5, msg: 'bad message' },
    { level: 40, clientId: 'gate-1', msg: 'bad message' }
  ])
})

test('a flood of new keys does not fill the memory: the oldest is forgotten, the others are still limited', () => {
  const { lines, warn } = build()
  for (let i = 0; i <= 10_000; i++) warn(`client ${i}`, {}, 'bad message')
  expect(lines).toHaveLength(10_001)
  warn('client 10000', {}, 'bad message')
  warn('client 1', {}, 'bad message')
  expect(lines).toHaveLength(10_001)
  warn('client 0', {}, 'bad message')
  expect(lines).toHaveLength(10_002)
})

test('a log is at its level, for people and for programs', () => {
  expect([createLog('warn', false).level, createLog('silent', true).level]).toEqual(['warn', 'silent'])
})
