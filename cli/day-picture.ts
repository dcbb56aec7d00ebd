// The picture of days in a terminal: a line a day and a sign an hour, as high as the fewest places that may be booked in it.
// Hours that a day's clock skips or shows twice have their place in the picture. Pure.
import { shownClock, shownDate } from './shown-times.js'
import { table } from './table.js'

/** A day as `availability` answers it. */
export interface ShownDay {
  readonly date: string
  readonly from: string
  readonly to: string
  readonly windows: readonly { readonly from: string, readonly to: string, readonly free: number }[]
  /** There are more windows than the answer has. */
  readonly more?: boolean
  /** Of each hour of its clock, in order, the fewest places that may be booked; 0 when it is over. */
  readonly hours: readonly { readonly hour: number, readonly from: string, readonly free: number }[]
}

const BARS = '▁▂▃▄▅▆▇█'
const NONE = '·'
const OVER = ' '
const MISSING = '-'
/** An hour has a label every so many hours: they are two signs wide. */
const LABEL_EVERY = 3

/** The picture with its ruler and a line that explains the signs. `capacity` is what a full bar stands for. */
export function dayPicture (days: readonly ShownDay[], capacity: number, nowMs: number): string {
  const keys = days.map(({ hours }) => keysOf(hours.map(({ hour }) => hour)))
  const columns = columnsOf(keys)
  const width = Math.max(...days.map(({ date }) => shownDate(date).length))
  const lines = days.map((day, i) => {
    const signs = columns.map(column => {
      const at = keys[i]?.indexOf(column) ?? -1
      return at < 0 ? MISSING : signOf(day, at, capacity, nowMs)
    })
    return `${shownDate(day.date).padEnd(width)} │${signs.join('')}│${unusual(day)}`
  })
  const drawn = lines.map(line => line.slice(line.indexOf('│') + 1, line.lastIndexOf('│'))).join('')
  const legend = [`█ up to ${capacity}`, '▁ few', `${NONE} none`, drawn.includes(OVER) && 'blank: over', drawn.includes(MISSING) && `${MISSING} not in that day`].filter(part => part !== false)
  return [`${' '.repeat(width)}  ${ruler(columns)}`, ...lines, `each sign is an hour: the fewest places that may be booked in it (${legend.join(', ')})`].join('\n')
}

/** The windows of each day in which at least one place may be booked, as a table. */
export function freeWindows (days: readonly ShownDay[], timeZone: string): string {
  const rows = days.flatMap(({ date, to, windows }) => windows.length === 0
    ? [[shownDate(date), '-', '-', 0]]
    : windows.map((window, i) => [i === 0 ? shownDate(date) : '', shownClock(window.from, timeZone, date), window.to === to ? '24:00' : shownClock(window.to, timeZone, date), window.free]))
  const cut = days.filter(({ more }) => more).map(({ date }) => `\n${shownDate(date)} has more of them than are shown`)
  return table(['FREE ON', 'FROM', 'TO', 'AT LEAST'], rows) + cut.join('')
}

function signOf ({ hours, to }: ShownDay, at: number, capacity: number, nowMs: number): string {
  const { free } = hours[at] ?? { free: 0 }
  if (Date.parse(hours[at + 1]?.from ?? to) <= nowMs) return OVER
  if (free <= 0) return NONE
  return BARS[Math.min(BARS.length, Math.ceil(free / Math.max(capacity, free) * BARS.length)) - 1] ?? NONE
}

/** What is to be said of a day that has not 24 hours. */
function unusual ({ from, to }: ShownDay): string {
  const hours = (Date.parse(to) - Date.parse(from)) / 3_600_000
  return hours === 24 ? '' : ` ${hours} hours: the clock is put ${hours < 24 ? 'forward' : 'back'}`
}

/** `2` for the hour that the clock calls 2, `2.1` for the second of that name. */
function keysOf (hours: readonly number[]): string[] {
  return hours.map((hour, i) => {
    const before = hours.slice(0, i).filter(earlier => earlier === hour).length
    return before === 0 ? String(hour) : `${hour}.${before}`
  })
}

/** The hours of all the days, and at least those of a usual one. */
function columnsOf (days: readonly string[][]): string[] {
  const usual = Array.from({ length: 24 }, (_, hour) => String(hour))
  return [...new Set([...usual, ...days.flat()])].sort((a, b) => Number(a) - Number(b))
}

function ruler (columns: readonly string[]): string {
  let line = ''
  for (const [at, column] of columns.entries()) {
    if (column.includes('.') || Number(column) % LABEL_EVERY !== 0) continue
    line = line.padEnd(at) + column.padStart(2, '0')
  }
  return line
}
