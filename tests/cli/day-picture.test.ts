// The picture of days: how high a sign is, what is over, and days that have not 24 hours. Days are made by the service's own calendar.
import { expect, test } from 'vitest'
import { dayPicture, freeWindows, type ShownDay } from '../../cli/day-picture.js'
import { dayOf } from '../../services/reservation/calendar.js'

/** A day with so many places in each of its hours. */
function day (date: string, zone: string, free: (hour: number, at: number) => number, windows: ShownDay['windows'] = []): ShownDay {
  const { window, hours } = dayOf(date, zone, 0)
  const iso = (ms: number): string => new Date(ms).toISOString()
  return { date, from: iso(window.fromMs), to: iso(window.toMs), windows, hours: hours.map(({ hour, fromMs }, at) => ({ hour, from: iso(fromMs), free: free(hour, at) })) }
}

const drawn = (days: readonly ShownDay[], capacity: number, nowMs = 0): string[] => dayPicture(days, capacity, nowMs).split('\n')

test('a sign is as high as the fewest places of its hour: none is a dot, one of many is something, and only nearly all is a full bar', () => {
  const [, line = ''] = drawn([day('2026-12-24', 'UTC', hour => [0, 1, 12, 13, 50, 51, 87, 88, 100][hour] ?? 100)], 100)
  expect(line).toBe('Thu 2026-12-24 │·▁▁▂▄▅▇█████████████████│')
})

test('hours that are over are blank, the one that runs is not', () => {
  const lines = drawn([day('2026-12-24', 'UTC', hour => hour < 3 ? 0 : 4)], 4, Date.parse('2026-12-24T03:59:59Z'))
  expect(lines[1]).toBe('Thu 2026-12-24 │   █████████████████████│')
  expect(lines[2]).toContain('blank: over')
  expect(drawn([day('2026-12-24', 'UTC', () => 0)], 4, Date.parse('2026-12-24T04:00:00Z'))[1]).toBe('Thu 2026-12-24 │    ····················│')
})

test('a lot without places has none', () => {
  expect(drawn([day('2026-12-24', 'UTC', () => 0)], 0)[1]).toBe(`Thu 2026-12-24 │${'·'.repeat(24)}│`)
})

test('the ruler stands over its hours, also where the clock shows one twice or skips one', () => {
  // 06 has one place, the second 02 two: whoever looks up finds them under their labels.
  const days = ['2027-10-31', '2027-03-28', '2027-07-01'].map(date => day(date, 'Europe/Berlin', (hour, at) => hour === 6 ? 1 : date === '2027-10-31' && at === 3 ? 4 : 8))
  const lines = drawn(days, 8)
  expect(lines.slice(0, 4)).toEqual([
    '                00  03 06 09 12 15 18 21',
    'Sun 2027-10-31 │███▄███▁█████████████████│ 25 hours: the clock is put back',
    'Sun 2027-03-28 │██--███▁█████████████████│ 23 hours: the clock is put forward',
    'Thu 2027-07-01 │███-███▁█████████████████│'
  ])
  for (const line of lines.slice(1, 4)) expect(line.indexOf('▁')).toBe(lines[0]?.indexOf('06'))
})

test('a day whose clock changes by half an hour, and one that begins at one, have each of their hours once', () => {
  expect(drawn([day('2027-04-04', 'Australia/Lord_Howe', () => 1)], 1)[1]).toMatch(/^Sun 2027-04-04 │█+│ 24.5 hours: the clock is put back$/)
  const [, spring = ''] = drawn([day('2027-10-03', 'Australia/Lord_Howe', () => 1)], 1)
  expect(spring).toBe(`Sun 2027-10-03 │${'█'.repeat(24)}│ 23.5 hours: the clock is put forward`)
  expect(drawn([day('2026-04-24', 'Africa/Cairo', () => 1)], 1)[1]).toBe(`Fri 2026-04-24 │-${'█'.repeat(23)}│ 23 hours: the clock is put forward`)
})

test('the windows of a day are on its own clock, and a day without any says so', () => {
  const one = day('2026-12-24', 'Europe/Berlin', () => 4, [{ from: '2026-12-23T23:00:00.000Z', to: '2026-12-24T17:30:00.000Z', free: 2 }, { from: '2026-12-24T18:00:00.000Z', to: '2026-12-24T23:00:00.000Z', free: 4 }])
  const none = { ...day('2026-12-25', 'Europe/Berlin', () => 0), more: true }
  expect(freeWindows([one, none], 'Europe/Berlin').split('\n')).toEqual([
    'FREE ON         FROM   TO     AT LEAST',
    'Thu 2026-12-24  00:00  18:30         2',
    '                19:00  24:00         4',
    'Fri 2026-12-25  -      -             0',
    'Fri 2026-12-25 has more of them than are shown'
  ])
})
