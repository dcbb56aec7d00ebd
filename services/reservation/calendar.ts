// The calendar and the wall clock of a lot: from what people write to instants, and back to its days and hours. A day has
// 23, 24 or 25 hours; a time that the clock skips or shows twice is refused, never guessed.
import { Temporal } from 'temporal-polyfill'
import { WEEKDAYS } from '../../shared/schemas.js'
import type { Window } from '../../shared/windows.js'
import { decided, refuse, type Decision } from './core.js'

const HOUR_MS = 3_600_000

/** A day of a lot's calendar with its hours, each with the hour that its clock shows at its begin. */
export interface CalendarDay {
  /** `2026-12-24`. */
  readonly date: string
  readonly window: Window
  readonly hours: readonly (Window & { readonly hour: number })[]
}

/** The instant of a `Minute`, in milliseconds since 1970. `field` names it for the refusal. */
export function msOfMinute (text: string, timeZone: string, field: string): Decision<number> {
  const hasOffset = /(?:Z|[+-]\d\d:\d\d)$/.test(text)
  let wall: Temporal.PlainDateTime
  try {
    // Date.parse takes February 30 for a day in March.
    if (hasOffset) return decided(Temporal.Instant.from(text).epochMilliseconds)
    wall = Temporal.PlainDateTime.from(text, { overflow: 'reject' })
  } catch {
    return refuse('bad_request', `${field}: there is no such time as ${text}`)
  }
  const earlier = wall.toZonedDateTime(timeZone, { disambiguation: 'earlier' })
  const later = wall.toZonedDateTime(timeZone, { disambiguation: 'later' })
  if (earlier.epochMilliseconds === later.epochMilliseconds) return decided(earlier.epochMilliseconds)
  return refuse('bad_request', earlier.toPlainDateTime().equals(wall)
    ? `${field}: ${text} comes twice in ${timeZone}: write ${text}${earlier.offset} or ${text}${later.offset}`
    : `${field}: the clocks of ${timeZone} skip ${text}: write ${later.toPlainDateTime().toString({ smallestUnit: 'minute' })} or an offset`)
}

/** The instants of `from` and `to`. */
export function windowOfMinutes (from: string, to: string, timeZone: string): Decision<Window> {
  const fromMs = msOfMinute(from, timeZone, 'from')
  if (!fromMs.ok) return fromMs
  const toMs = msOfMinute(to, timeZone, 'to')
  if (!toMs.ok) return toMs
  return decided({ fromMs: fromMs.value, toMs: toMs.value })
}

/** The day that a `Day` names: a date, today, tomorrow, or the next such weekday from today on. */
export function dayOf (text: string, timeZone: string, nowMs: number): CalendarDay {
  const today = Temporal.Instant.fromEpochMilliseconds(nowMs).toZonedDateTimeISO(timeZone).toPlainDate()
  const weekday = (WEEKDAYS as readonly string[]).indexOf(text) + 1
  const date = text === 'today'
    ? today
    : text === 'tomorrow' ? today.add({ days: 1 }) : weekday > 0 ? today.add({ days: (weekday - today.dayOfWeek + 7) % 7 }) : Temporal.PlainDate.from(text)
  const begin = date.toZonedDateTime(timeZone)
  const end = date.add({ days: 1 }).toZonedDateTime(timeZone)
  return { date: date.toString(), window: { fromMs: begin.epochMilliseconds, toMs: end.epochMilliseconds }, hours: hoursOf(begin, end) }
}

function hoursOf (begin: Temporal.ZonedDateTime, end: Temporal.ZonedDateTime): CalendarDay['hours'] {
  const beginMs = begin.epochMilliseconds
  const endMs = end.epochMilliseconds
  // Where the clock was not turned it need not be asked, which takes longer than all the rest of an answer.
  const hourAt = endMs - beginMs === 24 * HOUR_MS
    ? (ms: number): number => (ms - beginMs) / HOUR_MS
    : (ms: number): number => Temporal.Instant.fromEpochMilliseconds(ms).toZonedDateTimeISO(begin.timeZoneId).hour
  const hours: (Window & { hour: number })[] = []
  for (let fromMs = beginMs; fromMs < endMs; fromMs += HOUR_MS) {
    hours.push({ hour: hourAt(fromMs), fromMs, toMs: Math.min(fromMs + HOUR_MS, endMs) })
  }
  return hours
}
