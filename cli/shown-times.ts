// Instants as people read them: on the wall clock of the lot, with its time zone named and the day in a word where there is one.
import { Temporal } from 'temporal-polyfill'
import { comesTwice } from './times.js'

/** The time zone of this machine's user. */
export function localZone (): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone
}

/** Whether times can be shown in this time zone here: a newer parkmq may know one that this machine does not. */
export function isKnownZone (timeZone: string): boolean {
  try {
    return Temporal.Now.instant().toZonedDateTimeISO(timeZone).timeZoneId !== ''
  } catch {
    return false
  }
}

/** `2026-12-24 18:30` of an ISO 8601 instant, with seconds only where there are any, and an offset only where the clock shows it twice. */
export function shownTime (iso: string, timeZone: string): string {
  const at = zoned(iso, timeZone)
  return `${at.toPlainDate().toString()} ${clock(at)}`
}

/** `today 2026-12-24 18:30 to 20:30 (Europe/Berlin)`. */
export function shownWindow (from: string, until: string, timeZone: string, nowMs: number): string {
  const [begin, end] = [zoned(from, timeZone), zoned(until, timeZone)]
  const sameDay = begin.toPlainDate().equals(end.toPlainDate())
  return `${withDay(begin, nowMs)} to ${sameDay ? clock(end) : withDay(end, nowMs)} (${timeZone})`
}

/** `today 2026-12-24 18:30 (Europe/Berlin)`. */
export function shownMoment (iso: string, timeZone: string, nowMs: number): string {
  return `${withDay(zoned(iso, timeZone), nowMs)} (${timeZone})`
}

/** `Thu 2026-12-24` of a date. */
export function shownDate (date: string): string {
  return `${WEEKDAY[Temporal.PlainDate.from(date).dayOfWeek - 1]} ${date}`
}

/** `18:30` within the day of this date; its end is `24:00`. */
export function shownClock (iso: string, timeZone: string, date: string): string {
  const at = zoned(iso, timeZone)
  return at.toPlainDate().toString() > date ? '24:00' : clock(at)
}

const WEEKDAY = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun']

function withDay (at: Temporal.ZonedDateTime, nowMs: number): string {
  const today = Temporal.Instant.fromEpochMilliseconds(nowMs).toZonedDateTimeISO(at.timeZoneId).toPlainDate()
  const days = today.until(at.toPlainDate()).days
  const word = days === 0 ? 'today' : days === 1 ? 'tomorrow' : days === -1 ? 'yesterday' : WEEKDAY[at.dayOfWeek - 1]
  return `${word} ${at.toPlainDate().toString()} ${clock(at)}`
}

function clock (at: Temporal.ZonedDateTime): string {
  return `${at.toPlainTime().toString({ smallestUnit: at.second === 0 ? 'minute' : 'second' })}${comesTwice(at) ? at.offset : ''}`
}

function zoned (iso: string, timeZone: string): Temporal.ZonedDateTime {
  return Temporal.Instant.from(iso).toZonedDateTimeISO(timeZone)
}
