// From what people write to instants and back to the days of a lot, where clocks change: Berlin at 01:00 UTC on the last
// Sundays of March and October, New York at two in the night on March 8 and November 1 of 2026.
import { describe, expect, test } from 'vitest'
import { dayOf, msOfMinute, windowOfMinutes } from '../../services/reservation/calendar.js'

const BERLIN = 'Europe/Berlin'
const NEW_YORK = 'America/New_York'
const HOUR = 3_600_000
const refused = (message: string) => ({ ok: false, refusal: { code: 'bad_request', message } })

describe('a minute', () => {
  test.each([
    ['2026-07-01T10:00', BERLIN, '2026-07-01T08:00Z'],
    ['2026-12-24T18:30', BERLIN, '2026-12-24T17:30Z'],
    ['2026-07-01T10:00', NEW_YORK, '2026-07-01T14:00Z'],
    ['2026-07-01T10:00:00', NEW_YORK, '2026-07-01T14:00Z'],
    ['2026-07-01T10:00:00.000', NEW_YORK, '2026-07-01T14:00Z'],
    ['2028-02-29T00:00', 'UTC', '2028-02-29T00:00Z'],
    // The last minute before the clocks change, and the first after it.
    ['2026-03-29T01:59', BERLIN, '2026-03-29T00:59Z'],
    ['2026-03-29T03:00', BERLIN, '2026-03-29T01:00Z'],
    ['2026-10-25T01:59', BERLIN, '2026-10-24T23:59Z'],
    ['2026-10-25T03:00', BERLIN, '2026-10-25T02:00Z'],
    ['2026-03-08T01:59', NEW_YORK, '2026-03-08T06:59Z'],
    ['2026-03-08T03:00', NEW_YORK, '2026-03-08T07:00Z'],
    ['2026-11-01T00:59', NEW_YORK, '2026-11-01T04:59Z'],
    ['2026-11-01T02:00', NEW_YORK, '2026-11-01T07:00Z'],
    // With an offset the lot's clock does not matter.
    ['2026-10-25T02:30+02:00', BERLIN, '2026-10-25T00:30Z'],
    ['2026-10-25T02:30+01:00', BERLIN, '2026-10-25T01:30Z'],
    ['2026-03-29T02:30+01:00', BERLIN, '2026-03-29T01:30Z'],
    ['2026-03-29T02:30Z', BERLIN, '2026-03-29T02:30Z'],
    ['2026-07-01T10:00-04:00', BERLIN, '2026-07-01T14:00Z'],
    ['2026-07-01T10:00+05:45', NEW_YORK, '2026-07-01T04:15Z'],
    ['2026-07-01T10:00:00.000000000Z', NEW_YORK, '2026-07-01T10:00Z']
  ])('%s in %s is %s', (text, timeZone, instant) => {
    expect(msOfMinute(text, timeZone, 'from')).toEqual({ ok: true, value: Date.parse(instant) })
  })

  test.each([
    ['2026-03-29T02:00', BERLIN, 'the clocks of Europe/Berlin skip 2026-03-29T02:00: write 2026-03-29T03:00 or an offset'],
    ['2026-03-29T02:59', BERLIN, 'the clocks of Europe/Berlin skip 2026-03-29T02:59: write 2026-03-29T03:59 or an offset'],
    ['2026-03-08T02:30', NEW_YORK, 'the clocks of America/New_York skip 2026-03-08T02:30: write 2026-03-08T03:30 or an offset'],
    ['2026-10-25T02:00', BERLIN, '2026-10-25T02:00 comes twice in Europe/Berlin: write 2026-10-25T02:00+02:00 or 2026-10-25T02:00+01:00'],
    ['2026-10-25T02:59', BERLIN, '2026-10-25T02:59 comes twice in Europe/Berlin: write 2026-10-25T02:59+02:00 or 2026-10-25T02:59+01:00'],
    ['2026-11-01T01:30', NEW_YORK, '2026-11-01T01:30 comes twice in America/New_York: write 2026-11-01T01:30-04:00 or 2026-11-01T01:30-05:00'],
    ['2026-02-30T10:00', BERLIN, 'there is no such time as 2026-02-30T10:00'],
    ['2026-02-29T10:00', BERLIN, 'there is no such time as 2026-02-29T10:00'],
    ['2026-13-01T10:00', BERLIN, 'there is no such time as 2026-13-01T10:00'],
    ['2026-06-01T24:00', BERLIN, 'there is no such time as 2026-06-01T24:00'],
    ['2026-06-01T10:60', BERLIN, 'there is no such time as 2026-06-01T10:60'],
    // Not days of the month after.
    ['2026-02-30T10:00Z', BERLIN, 'there is no such time as 2026-02-30T10:00Z'],
    ['2026-02-30T10:00+01:00', BERLIN, 'there is no such time as 2026-02-30T10:00+01:00'],
    ['2026-06-31T10:00:00Z', BERLIN, 'there is no such time as 2026-06-31T10:00:00Z'],
    ['2026-06-01T24:00Z', BERLIN, 'there is no such time as 2026-06-01T24:00Z'],
    ['2026-06-01T10:00+24:00', BERLIN, 'there is no such time as 2026-06-01T10:00+24:00'],
    ['2026-06-01T10:00+01:60', BERLIN, 'there is no such time as 2026-06-01T10:00+01:60']
  ])('%s in %s is refused', (text, timeZone, message) => {
    expect(msOfMinute(text, timeZone, 'until')).toEqual(refused(`until: ${message}`))
  })
})

test('a window over the night in which the clocks change is as long as that night', () => {
  const night = (from: string, to: string): number => {
    const window = windowOfMinutes(from, to, BERLIN)
    return window.ok ? (window.value.toMs - window.value.fromMs) / HOUR : NaN
  }
  expect(night('2026-03-28T22:00', '2026-03-29T06:00')).toBe(7)
  expect(night('2026-10-24T22:00', '2026-10-25T06:00')).toBe(9)
  expect(night('2026-06-01T22:00', '2026-06-02T06:00')).toBe(8)
})

test('a window names the field that is wrong, the begin first', () => {
  expect(windowOfMinutes('2026-02-30T10:00', '2026-02-31T10:00', BERLIN)).toEqual(refused('from: there is no such time as 2026-02-30T10:00'))
  expect(windowOfMinutes('2026-02-01T10:00', '2026-02-31T10:00', BERLIN)).toEqual(refused('to: there is no such time as 2026-02-31T10:00'))
})

describe('a day', () => {
  test.each([
    ['2026-06-01', BERLIN, '2026-05-31T22:00Z', 24],
    ['2026-06-01', NEW_YORK, '2026-06-01T04:00Z', 24],
    ['2026-03-29', BERLIN, '2026-03-28T23:00Z', 23],
    ['2026-10-25', BERLIN, '2026-10-24T22:00Z', 25],
    ['2026-03-08', NEW_YORK, '2026-03-08T05:00Z', 23],
    ['2026-11-01', NEW_YORK, '2026-11-01T04:00Z', 25]
  ])('%s in %s begins at %s and has %i hours', (date, timeZone, begin, hours) => {
    const day = dayOf(date, timeZone, 0)
    const beginMs = Date.parse(begin)
    expect(day.date).toBe(date)
    expect(day.window).toEqual({ fromMs: beginMs, toMs: beginMs + hours * HOUR })
    expect(day.hours.map(({ fromMs, toMs }) => [fromMs, toMs])).toEqual(Array.from({ length: hours }, (_, i) => [beginMs + i * HOUR, beginMs + (i + 1) * HOUR]))
  })

  test('names its hours as its clock shows them: one is missing in spring, one comes twice in autumn', () => {
    const all = Array.from({ length: 24 }, (_, hour) => hour)
    const shown = (date: string, timeZone: string): number[] => dayOf(date, timeZone, 0).hours.map(({ hour }) => hour)
    expect(shown('2026-06-01', BERLIN)).toEqual(all)
    expect(shown('2026-03-29', BERLIN)).toEqual(all.filter(hour => hour !== 2))
    expect(shown('2026-10-25', BERLIN)).toEqual([0, 1, 2, ...all.slice(2)])
    expect(shown('2026-03-08', NEW_YORK)).toEqual(all.filter(hour => hour !== 2))
    expect(shown('2026-11-01', NEW_YORK)).toEqual([0, 1, ...all.slice(1)])
  })

  test('begins at one where the clocks skip midnight', () => {
    // https://www.timeanddate.com/time/change/cuba/havana: 0:00 becomes 1:00.
    const day = dayOf('2026-03-08', 'America/Havana', 0)
    expect(day.window.fromMs).toBe(Date.parse('2026-03-08T05:00Z'))
    expect(day.hours).toHaveLength(23)
    expect(day.hours[0]?.hour).toBe(1)
  })

  test('has no gap and no end of its own where the clocks change by half an hour', () => {
    // Lord Howe Island, 2026-04-05: 2:00 becomes 1:30.
    const day = dayOf('2026-04-05', 'Australia/Lord_Howe', 0)
    expect(day.window.toMs - day.window.fromMs).toBe(24.5 * HOUR)
    expect(day.hours.map(({ fromMs, toMs }) => toMs - fromMs)).toEqual([...Array.from({ length: 24 }, () => HOUR), HOUR / 2])
    expect(day.hours.at(-1)?.toMs).toBe(day.window.toMs)
  })

  // A Wednesday in Berlin, half an hour after midnight, and still Tuesday in New York.
  const NOW = Date.parse('2026-06-02T22:30Z')
  test.each([
    ['today', BERLIN, '2026-06-03'], ['tomorrow', BERLIN, '2026-06-04'], ['wednesday', BERLIN, '2026-06-03'], ['thursday', BERLIN, '2026-06-04'],
    ['sunday', BERLIN, '2026-06-07'], ['monday', BERLIN, '2026-06-08'], ['tuesday', BERLIN, '2026-06-09'],
    ['today', NEW_YORK, '2026-06-02'], ['tomorrow', NEW_YORK, '2026-06-03'], ['tuesday', NEW_YORK, '2026-06-02'], ['monday', NEW_YORK, '2026-06-08']
  ])('%s in %s is %s', (text, timeZone, date) => {
    expect(dayOf(text, timeZone, NOW).date).toBe(date)
  })

  test('tomorrow of the last day of February is there in a year with a leap day', () => {
    expect(dayOf('tomorrow', 'UTC', Date.parse('2028-02-28T12:00Z')).date).toBe('2028-02-29')
    expect(dayOf('tomorrow', 'UTC', Date.parse('2026-02-28T12:00Z')).date).toBe('2026-03-01')
  })
})
