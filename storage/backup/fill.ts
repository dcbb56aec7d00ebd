// Puts the rows of a backup into empty tables, in the caller's transaction; the same for both engines. The end of each
// engine's own is in sqlite-restore.ts and postgres-restore.ts.
import { sql } from 'kysely'
import { messageOf } from '../../shared/errors.js'
import { jsonRows, type Database } from '../rows.js'
import { LEDGER_TABLES, NUMBERED, NUMBERS, TOLD, USERS, type Counts, type Row, type Section } from './format.js'
import { badBackup } from './lines.js'
import type { OpenedBackup } from './read.js'

/** How far a node has told the events and the notices. */
export interface Told {
  /** Empty for the one process of a ledger in a file. */
  readonly node: string
  readonly events: number
  readonly notices: number
}

/** What is in a backup besides the rows of the tables. */
export interface Rest {
  readonly counts: Counts
  /** The highest number ever given, by table. */
  readonly numbers: ReadonlyMap<keyof typeof NUMBERED, number>
  readonly told: readonly Told[]
  readonly users: string | null
}

export interface FillOptions {
  readonly signal?: AbortSignal | undefined
  readonly onRows?: ((rows: number) => void) | undefined
}

/** Throws `OperatorError` `bad_backup`; what was inserted by then must be undone. */
export async function fill (database: Database, backup: OpenedBackup, { signal, onRows }: FillOptions): Promise<Rest> {
  const others: Record<string, Row[]> = { [NUMBERS.name]: [], [TOLD.name]: [], [USERS.name]: [] }
  const counts: Counts = {}
  let total = 0
  for await (const { section, rows, lastLine } of backup.parts()) {
    signal?.throwIfAborted()
    counts[section.name] = (counts[section.name] ?? 0) + rows.length
    total += rows.length
    if ((LEDGER_TABLES as readonly string[]).includes(section.name)) await insert(database, section, rows, lastLine)
    else others[section.name]?.push(...rows)
    onRows?.(total)
    // The driver frees its statements only when the event loop turns.
    await new Promise(resolve => setImmediate(resolve))
  }
  const numbers = new Map(Object.keys(NUMBERED).map(table => [table as keyof typeof NUMBERED, 0]))
  for (const [table, last] of others[NUMBERS.name] ?? []) numbers.set(table as keyof typeof NUMBERED, Number(last))
  return {
    counts, numbers,
    told: (others[TOLD.name] ?? []).map(([node, events, notices]) => ({ node: String(node), events: Number(events), notices: Number(notices) })),
    users: (others[USERS.name]?.[0]?.[0] ?? null) as string | null
  }
}

async function insert ({ kysely, engine }: Database, { name, columns }: Section, rows: readonly Row[], lastLine: number): Promise<void> {
  const into = sql.join(columns.map(([column]) => sql.ref(column)))
  // Rows keep their numbers.
  const overriding = engine === 'postgres' ? sql` overriding system value` : sql``
  try {
    await sql`insert into ${sql.table(name)} (${into})${overriding} select * from ${jsonRows(engine, columns, rows)} as given`.execute(kysely)
  } catch (error) {
    throw badBackup(`rows of ${name} before line ${lastLine + 1} do not fit into its table (${messageOf(error)})`, error)
  }
}
