// How the cells of a recorded file are read: whole numbers, times and names of lots. Each gives null for what it is not.
import type { Id } from '../../shared/lot.js'
import { ID_PATTERN } from '../../shared/topics.js'

const WHOLE = /^[+-]?\d{1,12}(?:\.0{1,6})?$/

/** `12`, `-8` or `12.0`; null for anything else. */
export function parseWhole (cell: string): number | null {
  // `+ 0` makes -0 a plain 0.
  return WHOLE.test(cell) ? Number(cell) + 0 : null
}

const TIME = /^(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s*(Z|[+-]\d{2}:?\d{2})?$/i
const UNIX = /^\d{9,13}$/
/** Unix times below this are seconds, above it milliseconds. */
const LARGEST_UNIX_SECONDS = 100_000_000_000

/**
 * `2016-10-04 07:59:42` or ISO 8601, without an offset read as UTC; or Unix time in seconds or milliseconds.
 * Gives milliseconds since 1970; null for anything else, such as 30 February.
 */
export function parseTime (cell: string): number | null {
  if (UNIX.test(cell)) {
    const unix = Number(cell)
    return unix < LARGEST_UNIX_SECONDS ? unix * 1_000 : unix
  }
  const match = TIME.exec(cell)
  if (!match) return null
  const [year, month, day, hour, minute, second] = [1, 2, 3, 4, 5, 6].map(i => Number(match[i] ?? 0)) as [number, number, number, number, number, number]
  const ms = Math.floor(Number(`0.${match[7] ?? '0'}`) * 1_000)
  const atMs = Date.UTC(year, month - 1, day, hour, minute, second, ms)
  const date = new Date(atMs)
  // Date.UTC turns 30 February into 1 March; a cell that says so is a fault to be told, not to be mended.
  const isReal = date.getUTCMonth() === month - 1 && date.getUTCDate() === day && hour < 24 && minute < 60 && second < 60
  return isReal ? atMs - offsetMs(match[8]) : null
}

function offsetMs (offset: string | undefined): number {
  if (offset === undefined || offset.toUpperCase() === 'Z') return 0
  const minutes = Number(offset.slice(1, 3)) * 60 + Number(offset.slice(-2))
  return (offset.startsWith('-') ? -minutes : minutes) * 60_000
}

/**
 * The lot id of a name: what may not stand in an id becomes `-`, leading `-`, `.` and `_` go, at most 64 characters.
 * `NIA North` gives `NIA-North`; null when nothing is left.
 */
export function idOfName (name: string): Id | null {
  const id = name.replace(/[^A-Za-z0-9._-]/g, '-').replace(/^[-._]+/, '').slice(0, 64)
  return ID_PATTERN.test(id) ? id as Id : null
}
