// When a database counts as lost: after the first question without an answer, and only while one is waited for.
import { expect, test } from 'vitest'
import { Silence } from '../../storage/silence.js'
import { ManualClock } from '../support/clock.js'

function watched (): { clock: ManualClock, silence: Silence, told: string[] } {
  const clock = new ManualClock()
  const told: string[] = []
  return { clock, told, silence: new Silence({ clock, afterMs: 2_000, onSilent: () => told.push('silent'), onAnswer: () => told.push('answer') }) }
}

test('counts from the first question, not from the last', () => {
  const { clock, silence, told } = watched()
  for (let n = 0; n < 4; n++) {
    silence.asked()
    clock.advance(500)
  }
  expect(told).toEqual([])
  clock.advance(100)
  expect([told, silence.isSilent]).toEqual([['silent'], true])
})

test('an answer in time is no news, and nobody asks is no silence', () => {
  const { clock, silence, told } = watched()
  silence.asked()
  clock.advance(1_900)
  silence.answered()
  clock.advance(60_000)
  expect(told).toEqual([])
})

test('is told once, and so is its end', () => {
  const { clock, silence, told } = watched()
  silence.asked()
  clock.advance(5_000)
  silence.asked()
  clock.advance(5_000)
  silence.answered()
  silence.answered()
  expect(told).toEqual(['silent', 'answer'])
})

test('an answer that is read just behind the timer counts: a stopped process finds both at once', () => {
  const { clock, silence, told } = watched()
  silence.asked()
  clock.advance(2_000)
  silence.answered()
  clock.advance(60_000)
  expect(told).toEqual([])
})
