// Replay: a file of occupancy samples becomes the deltas that gates would have sent. Real files are dirty: every row that
// is not used as it stands is counted and told, none is dropped in silence. Values below 0 or above the capacity are
// kept, because that is what the source counted.
import { createReadStream } from 'node:fs'
import { parse } from 'csv-parse'
import { messageOf, OperatorError } from '../../shared/errors.js'
import type { Id } from '../../shared/lot.js'
import { MAX_CAPACITY, MAX_DELTA_CARS } from '../../shared/schemas.js'
import { sensorName, type Reading } from './messages.js'
import { idOfName, parseTime, parseWhole } from './cells.js'

/** The headers of the columns that are read. */
export interface Columns {
  readonly name: string
  /** May be missing in the file. */
  readonly capacity: string
  readonly occupancy: string
  readonly time: string
}

export const DEFAULT_COLUMNS: Columns = { name: 'SystemCodeNumber', capacity: 'Capacity', occupancy: 'Occupancy', time: 'LastUpdated' }

export interface Sample { readonly atMs: number, readonly occupied: number }

export interface RecordedLot {
  readonly id: Id
  readonly name: string
  /** Of the last row that has one; null when none has. */
  readonly capacity: number | null
  /** By time, one for each time; at least one. */
  readonly samples: readonly Sample[]
}

/** What the rows of the file were. */
export interface RowReport {
  read: number
  /** The same in all that is read as an earlier row. */
  duplicate: number
  /** Another row has the same lot and time: the later in the file counts. */
  replaced: number
  /** Not used, by the reason. */
  readonly unusable: Record<string, number>
  /** Line and reason of the first unusable rows. */
  readonly examples: string[]
  /** Used, though the capacity could not be read. */
  badCapacity: number
  /** Used as they are: the source counted fewer than 0 cars. */
  negative: number
  /** Used as they are: the source counted more cars than places. */
  overCapacity: number
}

export interface Recording {
  /** By id. */
  readonly lots: readonly RecordedLot[]
  readonly rows: Readonly<RowReport>
}

const MAX_ROWS = 5_000_000
const MAX_RECORD_CHARS = 64 * 1024
const MAX_EXAMPLES = 5

interface Collected { readonly id: Id, capacity: number | null, capacityAtMs: number, readonly samples: Map<number, number> }

/**
 * Reads a CSV file with a header line. Throws `OperatorError` (`bad_file`) when the file cannot be read, lacks a column,
 * has no usable row, or has two names that give the same lot id.
 */
export async function readRecording (path: string, columns: Columns = DEFAULT_COLUMNS): Promise<Recording> {
  const rows: RowReport = { read: 0, duplicate: 0, replaced: 0, unusable: {}, examples: [], badCapacity: 0, negative: 0, overCapacity: 0 }
  const lots = new Map<string, Collected>()
  const nameOfId = new Map<string, string>()
  const skip = (line: number, reason: string): void => {
    rows.unusable[reason] = (rows.unusable[reason] ?? 0) + 1
    if (rows.examples.length < MAX_EXAMPLES) rows.examples.push(`line ${line}: ${reason}`)
  }
  await eachRow(path, columns, (cells, line) => {
    if (++rows.read > MAX_ROWS) throw badFile(`${path} has more than ${MAX_ROWS} rows; split it`)
    if (cells.name === '') return skip(line, `no ${columns.name}`)
    const occupied = parseWhole(cells.occupancy)
    if (occupied === null) return skip(line, `${columns.occupancy} is not a whole number`)
    if (Math.abs(occupied) > MAX_CAPACITY) return skip(line, `${columns.occupancy} is beyond ${MAX_CAPACITY}`)
    const atMs = parseTime(cells.time)
    if (atMs === null) return skip(line, `${columns.time} is not a time`)

    let lot = lots.get(cells.name)
    if (!lot) lots.set(cells.name, lot = { id: newId(path, cells.name, nameOfId), capacity: null, capacityAtMs: -Infinity, samples: new Map() })
    const capacity = cells.capacity === null ? null : parseWhole(cells.capacity)
    const isCapacity = capacity !== null && capacity >= 0 && capacity <= MAX_CAPACITY
    if (cells.capacity !== null && !isCapacity) rows.badCapacity++
    if (isCapacity && atMs >= lot.capacityAtMs) {
      lot.capacity = capacity
      lot.capacityAtMs = atMs
    }
    const before = lot.samples.get(atMs)
    if (before !== undefined) rows[before === occupied ? 'duplicate' : 'replaced']++
    if (occupied < 0) rows.negative++
    if (isCapacity && occupied > capacity) rows.overCapacity++
    lot.samples.set(atMs, occupied)
  })
  if (lots.size === 0) throw badFile(`${path} has no usable row${rows.read === 0 ? '' : ` among ${rows.read}: ${rows.examples.join('; ')}`}`)
  return {
    lots: [...lots].map(([name, { id, capacity, samples }]) => ({
      id, name, capacity, samples: [...samples].map(([atMs, occupied]) => ({ atMs, occupied })).sort((a, b) => a.atMs - b.atMs)
    })).sort((a, b) => a.id < b.id ? -1 : 1),
    rows
  }
}

interface Cells { readonly name: string, readonly capacity: string | null, readonly occupancy: string, readonly time: string }

async function eachRow (path: string, columns: Columns, take: (cells: Cells, line: number) => void): Promise<void> {
  const parser = parse({ bom: true, trim: true, skip_empty_lines: true, relax_column_count: true, relax_quotes: true, max_record_size: MAX_RECORD_CHARS, info: true })
  const file = createReadStream(path)
  // A pipe does not carry errors on: without this a missing file would wait for ever.
  file.on('error', error => parser.destroy(error))
  file.pipe(parser)
  let at: Record<keyof Columns, number> | null = null
  let lastLine = 0
  try {
    for await (const { record, info } of parser as AsyncIterable<{ record: string[], info: { lines: number } }>) {
      lastLine = info.lines
      if (at === null) {
        at = positions(path, record, columns)
        continue
      }
      const cell = (key: keyof Columns): string => record[(at as Record<keyof Columns, number>)[key]] ?? ''
      take({ name: cell('name'), capacity: at.capacity < 0 ? null : cell('capacity'), occupancy: cell('occupancy'), time: cell('time') }, info.lines)
    }
  } catch (error) {
    if (error instanceof OperatorError) throw error
    throw new OperatorError('bad_file', `cannot read ${path}${lastLine > 0 ? ` after line ${lastLine}` : ''}: ${messageOf(error)}`, { cause: error })
  } finally {
    file.destroy()
  }
  if (at === null) throw badFile(`${path} is empty; it needs a header line with ${Object.values(columns).join(', ')}`)
}

function positions (path: string, header: readonly string[], columns: Columns): Record<keyof Columns, number> {
  const lower = header.map(cell => cell.toLowerCase())
  const find = (key: keyof Columns): number => {
    const position = lower.indexOf(columns[key].toLowerCase())
    if (position < 0 && key !== 'capacity') {
      throw badFile(`${path} has no column ${JSON.stringify(columns[key])}; it has ${header.map(cell => JSON.stringify(cell.slice(0, 40))).join(', ')}. Name its columns with --columns name=...,occupancy=...,time=...`)
    }
    return position
  }
  return { name: find('name'), capacity: find('capacity'), occupancy: find('occupancy'), time: find('time') }
}

function newId (path: string, name: string, nameOfId: Map<string, string>): Id {
  const id = idOfName(name)
  if (id === null) throw badFile(`${path}: the name ${JSON.stringify(name)} has no letter or digit of A-Z, a-z, 0-9 to make a lot id of; rename it in the file`)
  const other = nameOfId.get(id)
  if (other !== undefined) throw badFile(`${path}: the names ${JSON.stringify(other)} and ${JSON.stringify(name)} both give the lot id ${id}; rename one in the file`)
  nameOfId.set(id, name)
  return id
}

function badFile (message: string): OperatorError {
  return new OperatorError('bad_file', message)
}

export interface ReplayOptions {
  /** Simulated seconds a real second; `Infinity` sends as fast as it is acknowledged. */
  readonly speed: number
  readonly seed: number
  /** What each lot counts before the first sample is sent. A lot whose first sample equals it says nothing for that sample. */
  readonly startAt: ReadonlyMap<Id, number>
}

/** Yields the differences between the samples of every lot, by time over all lots. A difference of 0 is sent too: the source was heard. */
export function* replay (lots: readonly RecordedLot[], { speed, seed, startAt }: ReplayOptions): Generator<Reading> {
  const steps: { readonly lot: Id, readonly sensor: Id, readonly delta: number, readonly atMs: number }[] = []
  lots.forEach(({ id, samples }, i) => {
    const sensor = sensorName(seed, 'replay', i + 1)
    const start = startAt.get(id) ?? 0
    let counted = start
    samples.forEach(({ atMs, occupied }, n) => {
      if (n > 0 || occupied !== start) {
        for (const delta of parts(occupied - counted)) steps.push({ lot: id, sensor, delta, atMs })
      }
      counted = occupied
    })
  })
  steps.sort((a, b) => a.atMs - b.atMs)
  const firstMs = steps[0]?.atMs ?? 0
  for (const step of steps) yield { ...step, dueMs: (step.atMs - firstMs) / speed }
}

/** A difference as deltas that one message may carry. */
function* parts (difference: number): Generator<number> {
  let left = difference
  do {
    const delta = Math.max(-MAX_DELTA_CARS, Math.min(MAX_DELTA_CARS, left))
    yield delta
    left -= delta
  } while (left !== 0)
}
