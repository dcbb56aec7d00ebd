// What availability shows of a window and of a day, and that it is what a booking is granted.
import { describe, expect, test } from 'vitest'
import { dayAnswer, windowAnswer } from '../../services/reservation/availability.js'
import { dayOf } from '../../services/reservation/calendar.js'
import { reserve } from '../../services/reservation/core.js'
import type { Lot } from '../../shared/lot.js'
import type { Window } from '../../shared/windows.js'
import { ANN, at, FRESH, MINUTE, NOW, place, RULES, window } from './core-words.js'

const part = (from: string, to: string, free: number) => ({ from: iso(from), to: iso(to), free })
const iso = (time: string): string => new Date(at(time)).toISOString()

describe('of a window', () => {
  test.each<[string, string, string, Window[], Partial<Lot>, number, ReturnType<typeof part>[]]>([
    ['without reservations is one part', '11:00', '12:00', [], {}, 2, [part('11:00', '12:00', 2)]],
    ['has a part for each number of free places', '11:00', '13:00', [window('11:30', '12:00')], {}, 1, [part('11:00', '11:30', 2), part('11:30', '12:00', 1), part('12:00', '13:00', 2)]],
    ['leaves out where none is free', '11:00', '13:00', [window('11:30', '12:30'), window('12:00', '13:00')], {}, 0, [part('11:00', '11:30', 2), part('11:30', '12:00', 1), part('12:30', '13:00', 1)]],
    ['is cut at its ends', '11:10', '11:20', [window('11:00', '12:00')], {}, 1, [part('11:10', '11:20', 1)]],
    ['does not count what only touches it', '11:00', '12:00', [window('10:30', '11:00'), window('12:00', '12:30')], {}, 2, [part('11:00', '12:00', 2)]],
    ['never shows the buffer', '11:00', '12:00', [], { buffer: 1 }, 1, [part('11:00', '12:00', 1)]],
    ['of a lot that has become too small has none, not less than none', '11:00', '12:00', [window('11:00', '12:00'), window('11:00', '12:00')], { capacity: 1 }, 0, []],
    ['of a closed lot has none', '11:00', '12:00', [], { open: false }, 0, []],
    ['that is over has none', '09:00', '10:00', [], {}, 0, []]
  ])('%s', (_, from, to, windows, lot, free, parts) => {
    expect(windowAnswer(place(windows, lot), window(from, to), NOW)).toEqual({ lot: 'LOT-A', from: iso(from), to: iso(to), free, windows: parts })
  })

  test('that has begun shows what is left of it, and needs a place that is free now', () => {
    const shown = windowAnswer(place([window('10:10', '10:20')], { counted: 2 }), window('10:00', '10:30'), NOW)
    expect(shown.free).toBe(0)
    // What begins in the next minute does not cover now.
    expect(shown.windows).toMatchObject([{ from: iso('10:01'), to: iso('10:10'), free: 2 }, { free: 1 }, { to: iso('10:30') }])
    expect(windowAnswer(place([], { counted: 1 }), window('10:00', '10:30'), NOW).free).toBe(1)
  })

  test('says that there are more parts than it tells', () => {
    const every = Array.from({ length: 600 }, (_, i) => ({ fromMs: at('11:00') + 2 * i * MINUTE, toMs: at('11:00') + (2 * i + 1) * MINUTE }))
    const shown = windowAnswer(place(every), { fromMs: at('11:00'), toMs: at('11:00') + 1_300 * MINUTE }, NOW)
    expect(shown.windows).toHaveLength(500)
    expect(shown.more).toBe(true)
  })

  test('shows as many places as bookings are granted', () => {
    const taken = [window('11:00', '11:40'), window('11:20', '12:00')]
    for (let from = at('10:45'); from < at('12:15'); from += 5 * MINUTE) {
      for (const length of [5, 10, 30, 60]) {
        const asked = { fromMs: from, toMs: from + length * MINUTE }
        for (const counted of [0, 2]) {
          const { free } = windowAnswer(place(taken, { counted }), asked, NOW)
          let granted = 0
          for (const windows = [...taken]; reserve(place(windows, { counted }), 'X', { kind: 'booking', window: asked }, ANN, FRESH, NOW, RULES).ok; granted++) windows.push(asked)
          expect(granted, `${new Date(from).toISOString()} for ${length} minutes`).toBe(free)
        }
      }
    }
  })
})

describe('of a day', () => {
  const today = dayOf('today', 'UTC', NOW)

  test('joins neighbours, with the fewest places of each', () => {
    const shown = dayAnswer(place([window('12:00', '13:00'), window('12:30', '13:30'), window('15:00', '16:00')]), today, NOW)
    expect(shown).toMatchObject({ date: '2026-06-01', from: iso('00:00'), to: '2026-06-02T00:00:00.000Z' })
    expect(shown.windows).toEqual([part('10:00:30', '12:30', 1), { from: iso('13:00'), to: '2026-06-02T00:00:00.000Z', free: 1 }])
  })

  test('tells of each hour the fewest places, and none of hours that are over', () => {
    const shown = dayAnswer(place([window('12:30', '13:30'), window('13:10', '13:20')], { counted: 1 }), today, NOW)
    const hours = shown.hours as { hour: number, from: string, free: number }[]
    expect(hours).toHaveLength(24)
    // Now a car is in; for hours to come only reservations count.
    expect(hours.map(({ free }) => free)).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 1, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2])
    expect(hours[13]).toEqual({ hour: 13, from: iso('13:00'), free: 0 })
  })

  test('has 25 hours when the clocks go back', () => {
    const hours = dayAnswer(place(), dayOf('2026-10-25', 'Europe/Berlin', NOW), NOW).hours as { hour: number, from: string }[]
    expect(hours.slice(1, 5)).toMatchObject([
      { hour: 1, from: '2026-10-24T23:00:00.000Z' }, { hour: 2, from: '2026-10-25T00:00:00.000Z' }, { hour: 2, from: '2026-10-25T01:00:00.000Z' }, { hour: 3, from: '2026-10-25T02:00:00.000Z' }
    ])
    expect(hours).toHaveLength(25)
  })
})
