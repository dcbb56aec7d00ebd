// Times as people write them: read before anything is sent, and made the service's own form in the lot's calendar. A time
// without an offset is sent without one: what the lot's wall clock means, the service decides.
import { Temporal } from 'temporal-polyfill'
import { UsageError } from './client.js'

/** A time as somebody wrote it. `next` is a time of day alone: the next one. */
export interface Written {
  readonly day: 'next' | 'today' | 'tomorrow' | { readonly date: string }
  /** `18:30`. */
  readonly time: string
  /** `+01:00` or `Z`; null for the lot's own wall clock. */
  readonly offset: string | null
  /** As it was written, with its option, for messages. */
  readonly named: string
}

/** A window as somebody wrote it: its end is a time, or so many minutes after its begin. */
export interface WrittenWindow {
  readonly from: Written
  readonly to: Written | { readonly minutes: number }
}

/** A time as the service takes it. */
export interface Resolved {
  readonly minute: string
  /** Milliseconds since 1970; the service refuses a time that the clock skips or shows twice, and this is then one of the two. */
  readonly ms: number
  /** What a person should know about how it was read; null when there is nothing. */
  readonly note: string | null
}

export interface ResolvedWindow {
  readonly from: string
  readonly to: string
  readonly notes: readonly string[]
}

export const TIME_HELP = `
Times are those of the lot's own clock unless they have an offset: 18:30 (today, or tomorrow when that is past), "tomorrow 18:30",
2026-12-24T18:30, "2026-12-24 18:30", 2026-12-24T18:30+01:00. As an end, 18:30 is the first one after the begin.`

const MINUTE_MS = 60_000
const EXAMPLES = '18:30, "tomorrow 18:30" or 2026-12-24T18:30 (the lot\'s own time), or 2026-12-24T18:30+01:00'
const TIME = /^(?:(?<date>\d{4}-\d\d-\d\d)(?:T| +)|(?<day>today|tomorrow) +)?(?<hour>\d{1,2}):(?<minute>\d\d)(?::00(?:\.0{1,9})?)?(?<offset>Z|[+-]\d\d:\d\d)?$/i

/** Reads a time. `option` names it for the message. Throws `UsageError` that names the value and shows examples. */
export function readTime (text: string, option: string): Written {
  const groups = TIME.exec(text.trim())?.groups
  if (!groups) throw new UsageError(`${option} ${text} is not a time; write ${EXAMPLES}`)
  const { date, day, hour = '', minute = '' } = groups
  const offset = groups.offset?.toUpperCase() ?? null
  const time = `${hour.padStart(2, '0')}:${minute}`
  try {
    Temporal.PlainDateTime.from(`${date ?? '2000-01-01'}T${time}`, { overflow: 'reject' }).toZonedDateTime(zoneOf(offset) ?? 'UTC')
  } catch {
    throw new UsageError(`${option} ${text}: there is no such time; write ${EXAMPLES}`)
  }
  return { day: date !== undefined ? { date } : day === undefined ? 'next' : day.toLowerCase() as 'today' | 'tomorrow', time, offset, named: `${option} ${text}` }
}

/** A length of time in minutes: `30m`, `2h`, `1h30m` or `2d`. Throws `UsageError`. */
export function readMinutes (text: string, option: string): number {
  const match = /^(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m)?$/i.exec(text.trim())
  const minutes = match === null ? 0 : Number(match[1] ?? 0) * 24 * 60 + Number(match[2] ?? 0) * 60 + Number(match[3] ?? 0)
  if (minutes === 0) throw new UsageError(`${option} ${text} is not a length of time of at least a minute; write 30m, 2h or 1h30m`)
  return minutes
}

/** The same, later or with a minus earlier: `30m` or `-30m`. Throws `UsageError`. */
export function readShift (text: string, option: string): number {
  const match = /^([+-]?)(.+)$/.exec(text.trim())
  try {
    return readMinutes(match?.[2] ?? '', option) * (match?.[1] === '-' ? -1 : 1)
  } catch {
    throw new UsageError(`${option} ${text} is not a length of time; write 30m for later, -30m for earlier`)
  }
}

/** The window of `--from` with `--to` or `--for`; null without any of them. Throws `UsageError`. */
export function readWindow ({ from, to, for: length }: { from?: string, to?: string, for?: string }): WrittenWindow | null {
  if (from === undefined && to === undefined && length === undefined) return null
  if (from === undefined) throw new UsageError(`${to === undefined ? '--for' : '--to'} needs --from, such as --from 18:30`)
  if (to !== undefined && length !== undefined) throw new UsageError('--to and --for both say when it ends; leave one of them out')
  if (to !== undefined) return { from: readTime(from, '--from'), to: readTime(to, '--to') }
  if (length !== undefined) return { from: readTime(from, '--from'), to: { minutes: readMinutes(length, '--for') } }
  throw new UsageError('--from needs an end as well: --to, such as --to 20:30, or --for, such as --for 2h')
}

/** Which day a time of day alone is of: the first on which it is after an instant, or the day of an instant. */
export type Beside = { readonly afterMs: number } | { readonly onDayOfMs: number }

/**
 * What a time is in a lot's calendar at `nowMs`. A time of day alone is that of today, or of tomorrow when it is past; with
 * `beside` it is what that says. With an offset, the days are those of that offset.
 */
export function resolveTime (written: Written, timeZone: string, nowMs: number, beside?: Beside): Resolved {
  const { day, offset } = written
  const zone = zoneOf(offset) ?? timeZone
  if (typeof day === 'object') return onDate(written, Temporal.PlainDate.from(day.date), zone)
  const today = dateAt(nowMs, zone)
  if (day === 'today') return onDate(written, today, zone)
  if (day === 'tomorrow') return onDate(written, today.add({ days: 1 }), zone)
  if (beside !== undefined) {
    return 'onDayOfMs' in beside
      ? onDate(written, dateAt(beside.onDayOfMs, zone), zone)
      : nextAfter(written, dateAt(beside.afterMs, zone), zone, ms => ms > beside.afterMs)
  }
  // The minute that has begun still counts.
  const found = nextAfter(written, today, zone, ms => ms >= nowMs - nowMs % MINUTE_MS)
  const isToday = found.minute.startsWith(today.toString())
  return isToday ? found : { ...found, note: `${written.time} is past today in ${zone}; it is taken as tomorrow's, ${found.minute.slice(0, 10)}` }
}

/** Both ends of a window in a lot's calendar. Throws `UsageError` when it would end before it begins. */
export function resolveWindow (window: WrittenWindow, timeZone: string, nowMs: number): ResolvedWindow {
  const from = resolveTime(window.from, timeZone, nowMs)
  const notes = from.note === null ? [] : [from.note]
  if ('minutes' in window.to) return { from: from.minute, to: minuteAt(from.ms + window.to.minutes * MINUTE_MS, window.from.offset, timeZone), notes }
  const to = resolveTime(window.to, timeZone, nowMs, { afterMs: from.ms })
  if (to.ms <= from.ms && typeof window.to.day !== 'string') throw new UsageError(`${window.to.named} is not after ${window.from.named}`)
  if (to.ms <= from.ms) throw new UsageError(`${window.to.named}, which is ${to.minute}, is not after ${window.from.named}, which is ${from.minute}`)
  return { from: from.minute, to: to.minute, notes }
}

/** An instant as the service takes it: the wall clock of the lot, with an offset only where that comes twice. */
function minuteAt (ms: number, offset: string | null, timeZone: string): string {
  const at = Temporal.Instant.fromEpochMilliseconds(ms).toZonedDateTimeISO(zoneOf(offset) ?? timeZone)
  const wall = at.toPlainDateTime().toString({ smallestUnit: 'minute' })
  if (offset !== null) return `${wall}${offset}`
  return comesTwice(at) ? `${wall}${at.offset}` : wall
}

/** Whether the clock shows this time twice, or it is one that it skips. */
export function comesTwice (at: Temporal.ZonedDateTime): boolean {
  const wall = at.toPlainDateTime()
  const [earlier, later] = (['earlier', 'later'] as const).map(disambiguation => wall.toZonedDateTime(at.timeZoneId, { disambiguation }).epochMilliseconds)
  return earlier !== later
}

function nextAfter (written: Written, day: Temporal.PlainDate, zone: string, fits: (ms: number) => boolean): Resolved {
  // Of a time that comes twice the later one: as long as that is to come, the service asks which of them is meant.
  const onDay = `${day.toString()}T${written.time}`
  const laterMs = Temporal.PlainDateTime.from(onDay).toZonedDateTime(zone, { disambiguation: 'later' }).epochMilliseconds
  return onDate(written, fits(laterMs) ? day : day.add({ days: 1 }), zone)
}

function onDate ({ time, offset }: Written, date: Temporal.PlainDate, zone: string): Resolved {
  const wall = `${date.toString()}T${time}`
  return { minute: `${wall}${offset ?? ''}`, ms: Temporal.PlainDateTime.from(wall).toZonedDateTime(zone).epochMilliseconds, note: null }
}

function dateAt (ms: number, zone: string): Temporal.PlainDate {
  return Temporal.Instant.fromEpochMilliseconds(ms).toZonedDateTimeISO(zone).toPlainDate()
}

function zoneOf (offset: string | null): string | null {
  return offset === 'Z' ? 'UTC' : offset
}
