// Reads a backup and checks everything that a reader can: shape and order of the lines, types of the cells, counts, hash. What
// came before an error has been handed over already: whoever takes it must be able to undo it.
import { createHash } from 'node:crypto'
import type { z } from 'zod'
import { OperatorError } from '../../shared/errors.js'
import { firstIssue } from '../../shared/schemas.js'
import { OF_INDEXES } from '../migrations/index.js'
import type { Cell } from '../tables.js'
import { EndLine, FORMAT, FORMAT_VERSION, Header, schemaNames, SectionLine, SECTIONS, type Counts, type Row, type Section } from './format.js'
import { badBackup, linesOf, type Line } from './lines.js'

export interface BackupPart {
  /** As in the file: a backup of an older parkmq has fewer columns. */
  readonly section: Section
  readonly rows: readonly Row[]
  readonly lastLine: number
}

export interface OpenedBackup {
  readonly header: Header
  /** The last migration of the backup's tables where its rows do not fit into ours. */
  readonly olderShape: string | null
  /** All of it, once; ends without an error only when the whole backup is right. */
  parts (): AsyncGenerator<BackupPart, void>
}

/** Reads the header. Throws `OperatorError`: `bad_backup`, `newer_file`. */
export async function openBackup (input: NodeJS.ReadableStream): Promise<OpenedBackup> {
  const lines = linesOf(input)
  const first = await lines.next()
  const [line] = first.done === true ? [] : first.value
  if (first.done === true || !line) throw badBackup('the backup is empty')
  const header = headerOf(line)
  const known = schemaNames()
  if (header.version > FORMAT_VERSION || header.schema.length > known.length) {
    throw new OperatorError('newer_file', `the backup was made by a newer parkmq (${header.parkmq}, with the change ${header.schema.at(-1)}); install that version to restore it`)
  }
  if (header.schema.some((name, i) => name !== known[i])) throw badBackup(`the backup has the changes ${header.schema.join(', ')}, which are not those of parkmq`)
  const olderShape = known.slice(header.schema.length).every(name => OF_INDEXES.has(name)) ? null : header.schema.at(-1) ?? null
  return {
    header, olderShape,
    parts: () => checkedParts(line, first.value.slice(1), lines, olderShape === null)
  }
}

function headerOf (line: Line): Header {
  const value = line.bytes[0] === 0x7b ? parsed(line) : null
  if ((value as { format?: unknown } | null)?.format !== FORMAT) throw badBackup('this is no parkmq backup (its first line is another)')
  return fitting(Header, value, line)
}

async function* checkedParts (first: Line, rest: readonly Line[], lines: AsyncGenerator<Line[], void>, isSameShape: boolean): AsyncGenerator<BackupPart, void> {
  const hash = createHash('sha256').update(first.bytes).update('\n')
  const counts: Counts = {}
  let section: Section | null = null
  let next = 0
  let ended = false
  let lastLine = first.number
  for (let some: readonly Line[] | undefined = rest; some; some = (await lines.next()).value ?? undefined) {
    let rows: Row[] = []
    for (const line of some) {
      if (ended) throw badBackup(`line ${line.number} comes after the last one`)
      lastLine = line.number
      if (line.bytes[0] === 0x5b) {
        if (!section) throw badBackup(`line ${line.number} is a row before any section`)
        rows.push(rowOf(section, line))
      } else {
        if (section && rows.length > 0) yield { section, rows, lastLine: line.number - 1 }
        if (section) counts[section.name] = (counts[section.name] ?? 0) + rows.length
        rows = []
        const value = parsed(line)
        if ((value as { end?: unknown } | null)?.end === true) {
          checkEnd(fitting(EndLine, value, line), counts, hash.digest('hex'), line)
          ended = true
          continue
        }
        section = sectionOf(value, line, next, isSameShape)
        next = SECTIONS.findIndex(({ name }) => name === section?.name) + 1
        counts[section.name] = 0
      }
      hash.update(line.bytes).update('\n')
    }
    if (section && rows.length > 0) {
      counts[section.name] = (counts[section.name] ?? 0) + rows.length
      yield { section, rows, lastLine }
    }
  }
  if (!ended) throw badBackup(`the backup ends after line ${lastLine}: the rest of it is missing`)
  if (isSameShape && Object.keys(counts).length !== SECTIONS.length) throw badBackup('sections are missing in the backup')
}

function checkEnd (end: EndLine, counts: Counts, sha256: string, line: Line): void {
  for (const name of new Set([...Object.keys(counts), ...Object.keys(end.rows)])) {
    if (end.rows[name] !== counts[name]) throw badBackup(`line ${line.number} says ${end.rows[name] ?? 'nothing'} rows of ${name}, and there are ${counts[name] ?? 'none'}`)
  }
  if (end.sha256 !== sha256) throw badBackup('the backup was changed after it was made (its SHA-256 is another)')
}

function sectionOf (value: unknown, line: Line, next: number, isSameShape: boolean): Section {
  const { section: name, columns } = fitting(SectionLine, value, line)
  const at = SECTIONS.findIndex((section, i) => i >= next && section.name === name)
  const known = SECTIONS[at]
  if (!known || (isSameShape && at !== next)) throw badBackup(`line ${line.number}: the section ${name} is unknown, or not in its place`)
  const types = new Map(known.columns)
  const given = columns.map(column => {
    const type = types.get(column)
    if (type === undefined) throw badBackup(`line ${line.number}: ${name} has no column ${column}`)
    return [column, type] as const
  })
  if (new Set(columns).size !== columns.length || (isSameShape && given.length !== types.size)) throw badBackup(`line ${line.number}: these are not the columns of ${name}`)
  return { name, columns: given }
}

function rowOf ({ name, columns }: Section, line: Line): Row {
  const row = parsed(line) as unknown[]
  if (row.length !== columns.length) throw badBackup(`line ${line.number}: a row of ${name} has ${columns.length} values, not ${row.length}`)
  for (let i = 0; i < row.length; i++) {
    const cell = row[i]
    const [column, type] = columns[i] as Section['columns'][number]
    // A text with U+0000 cannot come from a ledger: neither engine takes it.
    const fits = cell === null || (type === 'text' ? typeof cell === 'string' && !cell.includes('\0') : Number.isSafeInteger(cell))
    if (!fits) throw badBackup(`line ${line.number}: ${column} of ${name} is not ${type === 'text' ? 'a text' : 'an integer'}`)
  }
  return row as Cell[]
}

function parsed (line: Line): unknown {
  try {
    return JSON.parse(line.bytes.toString()) as unknown
  } catch (error) {
    throw badBackup(`line ${line.number} is not JSON`, error)
  }
}

function fitting<T> (schema: z.ZodType<T>, value: unknown, line: Line): T {
  const result = schema.safeParse(value)
  if (!result.success) throw badBackup(`line ${line.number}: ${firstIssue(result.error)}`)
  return result.data
}
