// Times as people write them: what they are in a lot's calendar, on the days on which the clock is changed as well, and what is no time.
import { describe, expect, test } from 'vitest'
import { readDays } from '../../cli/days.js'
import { shownClock, shownTime, shownWindow } from '../../cli/shown-times.js'
import { readMinutes, readShift, readTime, readWindow, resolveTime, resolveWindow } from '../../cli/times.js'

const BERLIN = 'Europe/Berlin'
const ms = (iso: string): number => Date.parse(iso)
/** 18:30:40 in Berlin. */
const NOW = ms('2026-11-26T17:30:40Z')

describe('a time', () => {
  test.each([
    ['18:31', '2026-11-26T18:31', '2026-11-26T17:31:00Z'],
    // The minute that has begun still counts.
    ['18:30', '2026-11-26T18:30', '2026-11-26T17:30:00Z'],
    ['18:29', '2026-11-27T18:29', '2026-11-27T17:29:00Z'],
    ['9:05', '2026-11-27T09:05', '2026-11-27T08:05:00Z'],
    ['today 08:00', '2026-11-26T08:00', '2026-11-26T07:00:00Z'],
    ['tomorrow 18:30', '2026-11-27T18:30', '2026-11-27T17:30:00Z'],
    [' Tomorrow  0:00 ', '2026-11-27T00:00', '2026-11-26T23:00:00Z'],
    ['2026-12-24T18:30', '2026-12-24T18:30', '2026-12-24T17:30:00Z'],
    ['2026-12-24 18:30', '2026-12-24T18:30', '2026-12-24T17:30:00Z'],
    ['2026-12-24T18:30:00', '2026-12-24T18:30', '2026-12-24T17:30:00Z'],
    ['2026-07-24 18:30', '2026-07-24T18:30', '2026-07-24T16:30:00Z'],
    ['2026-12-24T18:30:00.000Z', '2026-12-24T18:30Z', '2026-12-24T18:30:00Z'],
    ['2026-12-24 18:30-05:00', '2026-12-24T18:30-05:00', '2026-12-24T23:30:00Z'],
    // With an offset, today and tomorrow are those of the offset: there it is already the 27th.
    ['08:00+14:00', '2026-11-27T08:00+14:00', '2026-11-26T18:00:00Z'],
    ['tomorrow 08:00+14:00', '2026-11-28T08:00+14:00', '2026-11-27T18:00:00Z'],
    ['17:30z', '2026-11-26T17:30Z', '2026-11-26T17:30:00Z']
  ])('%j at 18:30 in Berlin is %s', (text, minute, iso) => {
    expect(resolveTime(readTime(text, '--from'), BERLIN, NOW)).toMatchObject({ minute, ms: ms(iso) })
  })

  test('of the lot is that of its own calendar, wherever the user is', () => {
    // Auckland has the 27th, 06:30.
    expect(resolveTime(readTime('07:00', '--from'), 'Pacific/Auckland', NOW).minute).toBe('2026-11-27T07:00')
    expect(resolveTime(readTime('tomorrow 07:00', '--from'), 'Pacific/Auckland', NOW).minute).toBe('2026-11-28T07:00')
  })

  test('that is taken as tomorrow\'s says so; one that names its day says nothing', () => {
    expect(resolveTime(readTime('18:29', '--from'), BERLIN, NOW).note).toBe('18:29 is past today in Europe/Berlin; it is taken as tomorrow\'s, 2026-11-27')
    for (const text of ['18:31', 'today 08:00', 'tomorrow 08:00', '2020-01-01T00:00']) expect(resolveTime(readTime(text, '--from'), BERLIN, NOW).note).toBeNull()
  })

  test.each(['', 'soon', '7pm', '24:00', '18:60', '18', '1830', '18:30:30', '2026-02-30T12:00', '2026-13-01 12:00', '2026-12-24', '24.12.2026 18:30', '2026-12-24T18:30+25:00', '2026-12-24T18:30 Europe/Berlin', 'yesterday 12:00', 'monday 12:00', '-1:00', '18:30\u0000'])('%j is none: the message names it and shows one', text => {
    expect(() => readTime(text, '--from')).toThrow(expect.objectContaining({ code: 'usage', message: expect.stringMatching(/^--from .*write 18:30, "tomorrow 18:30" or 2026-12-24T18:30/s) as string }) as Error)
    expect(() => readTime(text, '--from')).toThrow(`--from ${text}`)
  })
})

describe('when the clock is put forward, 2027-03-28 in Berlin', () => {
  /** 01:30, half an hour before. */
  const before = ms('2027-03-28T00:30:00Z')

  test('a time of day that is skipped is sent as it is, for the service to refuse', () => {
    expect(resolveTime(readTime('02:30', '--from'), BERLIN, before).minute).toBe('2027-03-28T02:30')
    expect(resolveTime(readTime('02:30', '--from'), BERLIN, ms('2027-03-28T01:00:00Z')).minute).toBe('2027-03-28T02:30')
    expect(resolveTime(readTime('02:30', '--from'), BERLIN, ms('2027-03-28T01:31:00Z')).minute).toBe('2027-03-29T02:30')
  })

  test('two hours from 01:30 on end at 04:30, and a day later is an hour later by the clock', () => {
    expect(resolveWindow(readWindow({ from: '01:30', for: '2h' }) ?? expect.fail(), BERLIN, before)).toMatchObject({ from: '2027-03-28T01:30', to: '2027-03-28T04:30' })
    expect(resolveWindow(readWindow({ from: '2027-03-27T12:00', for: '1d' }) ?? expect.fail(), BERLIN, before).to).toBe('2027-03-28T13:00')
  })

  test('the day before is no less the day before', () => {
    expect(resolveTime(readTime('tomorrow 00:30', '--from'), BERLIN, ms('2027-03-27T22:30:00Z'))).toMatchObject({ minute: '2027-03-28T00:30', ms: ms('2027-03-27T23:30:00Z') })
  })
})

describe('when the clock is put back, 2026-10-25 in Berlin', () => {
  test('a time of day that comes twice is today\'s until it has come twice', () => {
    const at = (iso: string): string => resolveTime(readTime('02:30', '--from'), BERLIN, ms(iso)).minute
    expect(at('2026-10-25T00:00:00Z')).toBe('2026-10-25T02:30')
    // After the first, before the second.
    expect(at('2026-10-25T00:45:00Z')).toBe('2026-10-25T02:30')
    expect(at('2026-10-25T01:31:00Z')).toBe('2026-10-26T02:30')
  })

  test('an end that the clock shows twice is sent with its offset', () => {
    const end = (length: string, from = '2026-10-25T01:30'): string => resolveWindow(readWindow({ from, for: length }) ?? expect.fail(), BERLIN, NOW).to
    expect(end('1h')).toBe('2026-10-25T02:30+02:00')
    expect(end('2h')).toBe('2026-10-25T02:30+01:00')
    expect(end('3h')).toBe('2026-10-25T03:30')
    expect(end('2h', '2026-10-25T01:30+02:00')).toBe('2026-10-25T03:30+02:00')
  })

  test('both are shown with their offsets, others without', () => {
    expect(shownTime('2026-10-25T00:30:00Z', BERLIN)).toBe('2026-10-25 02:30+02:00')
    expect(shownTime('2026-10-25T01:30:00Z', BERLIN)).toBe('2026-10-25 02:30+01:00')
    expect(shownTime('2026-10-25T02:30:00Z', BERLIN)).toBe('2026-10-25 03:30')
  })
})

describe('a window', () => {
  const resolved = (from: string, to: string): { from: string, to: string } => resolveWindow(readWindow({ from, to }) ?? expect.fail(), BERLIN, NOW)

  test('ends at the first such time after its begin', () => {
    expect(resolved('20:00', '22:00')).toMatchObject({ from: '2026-11-26T20:00', to: '2026-11-26T22:00' })
    expect(resolved('22:00', '06:00')).toMatchObject({ from: '2026-11-26T22:00', to: '2026-11-27T06:00' })
    expect(resolved('tomorrow 22:00', '06:00')).toMatchObject({ from: '2026-11-27T22:00', to: '2026-11-28T06:00' })
    expect(resolved('2026-12-24T18:30', '18:30')).toMatchObject({ from: '2026-12-24T18:30', to: '2026-12-25T18:30' })
  })

  test('that ends before it begins is a usage error with both times', () => {
    expect(() => resolved('2026-12-24T18:30', '2026-12-24T18:30')).toThrow('--to 2026-12-24T18:30 is not after --from 2026-12-24T18:30')
    expect(() => resolved('10:00', 'today 20:00')).toThrow('--to today 20:00, which is 2026-11-26T20:00, is not after --from 10:00, which is 2026-11-27T10:00')
  })

  test.each([
    [{ from: '18:30' }, /--from needs an end/],
    [{ to: '18:30' }, /--to needs --from/],
    [{ for: '2h' }, /--for needs --from/],
    [{ from: '18:30', to: '20:30', for: '2h' }, /leave one of them out/],
    [{ from: '18:30', for: 'long' }, /--for long is not a length of time/],
    [{ from: '18:30', for: '0m' }, /--for 0m is not a length of time of at least a minute/]
  ])('%j is a usage error', (options, message) => {
    expect(() => readWindow(options)).toThrow(expect.objectContaining({ code: 'usage', message: expect.stringMatching(message) as string }) as Error)
  })

  test('is shown with the day in a word, the end without its day when that is the same, and the zone', () => {
    expect(shownWindow('2026-11-26T17:30:00Z', '2026-11-26T19:30:00Z', BERLIN, NOW)).toBe('today 2026-11-26 18:30 to 20:30 (Europe/Berlin)')
    expect(shownWindow('2026-11-26T22:59:00Z', '2026-11-26T23:00:00Z', BERLIN, NOW)).toBe('today 2026-11-26 23:59 to tomorrow 2026-11-27 00:00 (Europe/Berlin)')
    expect(shownWindow('2026-12-24T17:30:10Z', '2026-12-24T18:30:00Z', BERLIN, NOW)).toBe('Thu 2026-12-24 18:30:10 to 19:30 (Europe/Berlin)')
  })
})

test('a time of day alone beside a reservation is of its day, or the first after it', () => {
  const beganMs = ms('2026-12-24T21:00:00Z')
  expect(resolveTime(readTime('19:00', '--from'), BERLIN, NOW, { onDayOfMs: beganMs }).minute).toBe('2026-12-24T19:00')
  expect(resolveTime(readTime('23:00', '--to'), BERLIN, NOW, { afterMs: beganMs }).minute).toBe('2026-12-24T23:00')
  expect(resolveTime(readTime('22:00', '--to'), BERLIN, NOW, { afterMs: beganMs }).minute).toBe('2026-12-25T22:00')
  expect(resolveTime(readTime('tomorrow 23:00', '--to'), BERLIN, NOW, { afterMs: beganMs }).minute).toBe('2026-11-27T23:00')
})

test.each([['30m', 30], ['2h', 120], ['1h30m', 90], ['2d', 2_880], ['1d1h1m', 1_501]])('a length of %s is %i minutes', (text, minutes) => {
  expect(readMinutes(text, '--for')).toBe(minutes)
  expect(readShift(`-${text}`, '--shift')).toBe(-minutes)
  expect(readShift(text, '--shift')).toBe(minutes)
})

test.each(['', '30', '1.5h', '-30m', '30s', '90 m', '9999999m'])('%j is no length of time', text => {
  expect(() => readMinutes(text, '--by')).toThrow(expect.objectContaining({ code: 'usage', message: expect.stringContaining(`--by ${text}`) as string }) as Error)
})

test('a shift of nothing is none', () => {
  for (const text of ['0m', '-0m', '--30m', '-']) expect(() => readShift(text, '--shift')).toThrow(`--shift ${text} is not a length of time; write 30m for later, -30m for earlier`)
})

describe('days', () => {
  test.each([
    ['mon,tue', ['monday', 'tuesday']],
    ['Su, we,thurs', ['sunday', 'wednesday', 'thursday']],
    ['2026-12-24,today,tomorrow', ['2026-12-24', 'today', 'tomorrow']],
    ['mon,monday', ['monday']],
    ['week', ['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday']]
  ])('%j are %j', (text, days) => expect(readDays(text, '--days')).toEqual(days))

  test.each(['someday', 'm', '2026-02-30', '24.12.', 'mon tue'])('%j is none', text => {
    expect(() => readDays(text, '--days')).toThrow(`--days ${text} is not a day; write days such as mon,tue, 2026-12-24, today, tomorrow or week`)
  })

  test('of none, and of more than can be asked for, are refused', () => {
    expect(() => readDays(' , ', '--days')).toThrow('--days names no day')
    expect(() => readDays(Array.from({ length: 32 }, (_, i) => `2026-${i < 31 ? '01' : '02'}-${String(i % 31 + 1).padStart(2, '0')}`).join(','), '--days')).toThrow('--days names 32 days; at most 31')
  })

  test('end at 24:00 of their own clock', () => {
    expect(shownClock('2026-10-25T23:00:00Z', BERLIN, '2026-10-25')).toBe('24:00')
    expect(shownClock('2026-10-25T22:00:00Z', BERLIN, '2026-10-25')).toBe('23:00')
  })
})
