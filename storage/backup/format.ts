// A backup file: gzip of lines of JSON, the same for both engines (docs/decisions/016-backup.md). First a header; then each
// section, a line with its name and columns before its rows, one a line; last a line with the counts and a SHA-256 of all before.
import { z } from 'zod'
import { migrations } from '../migrations/index.js'
import { COLUMN_TYPES, type Cell, type ColumnType, type Tables } from '../tables.js'

export const FORMAT = 'parkmq backup'
export const FORMAT_VERSION = 1
/** Longest line, in bytes: far more than any row, so that a file that is none of ours does not fill the memory. */
export const MOST_LINE_BYTES = 16 * 1024 * 1024

export type Row = readonly Cell[]

type LedgerTable = Exclude<keyof Tables, 'cursors'>

/** Tables whose rows have numbers that are never given again, and the column of the number. */
export const NUMBERED = { waiting: 'position', notices: 'id', audit: 'id' } as const satisfies { readonly [T in keyof Tables]?: keyof Tables[T] }

/** Tables in the order of the file, with the columns that put their rows in order. */
const TABLE_KEYS: { readonly [T in LedgerTable]: readonly (keyof Tables[T] & string)[] } = {
  meta: ['key'], lots: ['id'], sensors: ['lot', 'sensor'], bays: ['lot', 'bay'], reservations: ['id'], waiting: ['position'], notices: ['id'],
  permits: ['permit'], permit_sales: ['id'], request_history: ['caller', 'request_id'], audit: ['id']
}
export const LEDGER_TABLES = Object.keys(TABLE_KEYS) as readonly LedgerTable[]

export interface Section {
  readonly name: string
  readonly columns: readonly (readonly [name: string, type: ColumnType])[]
}

/** The rows of `ledger`'s tables as they are. */
export function tableSection (name: LedgerTable): Section & { readonly name: LedgerTable, readonly keys: readonly string[] } {
  return { name, columns: Object.entries(COLUMN_TYPES[name]), keys: TABLE_KEYS[name] }
}

/** The highest number that was ever given, by table. */
export const NUMBERS: Section = { name: 'numbers', columns: [['table', 'text'], ['last', 'integer']] }
/** How far each node has told the events and the notices; the ledger in a file has one, without a name. */
export const TOLD: Section = { name: 'told', columns: [['node', 'text'], ['events', 'integer'], ['notices', 'integer']] }
/** The users file, if there is one. */
export const USERS: Section = { name: 'users', columns: [['text', 'text']] }
export const SECTIONS: readonly Section[] = [...LEDGER_TABLES.map(tableSection), NUMBERS, TOLD, USERS]

/** Names of the changes that made the tables of a backup. Those of PostgreSQL alone are of tables that are not in it. */
export function schemaNames (): string[] {
  return Object.keys(migrations('sqlite'))
}

export const Header = z.object({
  format: z.literal(FORMAT),
  version: z.int(),
  schema: z.array(z.string().max(100)).min(1).max(1_000),
  engine: z.enum(['sqlite', 'postgres']),
  node: z.string().max(100),
  madeAt: z.iso.datetime(),
  parkmq: z.string().max(100)
})
export type Header = z.infer<typeof Header>

export const SectionLine = z.object({ section: z.string().max(100), columns: z.array(z.string().max(100)).max(1_000) })

export const EndLine = z.object({ end: z.literal(true), rows: z.record(z.string(), z.int().min(0)), sha256: z.string().length(64) })
export type EndLine = z.infer<typeof EndLine>
export type Counts = EndLine['rows']

/** What a backup is made of. */
export interface Snapshot {
  readonly engine: Header['engine']
  /** All rows as of one moment, section by section, in parts. It is read once. */
  parts (): AsyncGenerator<{ readonly section: Section, readonly rows: readonly Row[] }, void>
  close (): Promise<void>
}
