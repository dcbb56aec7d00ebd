// Restores into a data folder without a ledger: a new file beside its place, which is renamed when it is whole and on disk.
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { sql } from 'kysely'
import { OperatorError } from '../../shared/errors.js'
import type { Database } from '../rows.js'
import { holdFolder, openSqlite } from '../sqlite.js'
import { fill, type FillOptions, type Rest } from './fill.js'
import type { OpenedBackup } from './read.js'

/** Within the data folder; what a killed restore left of it is taken away by the next one. */
const UNFINISHED = 'restoring'
const LEDGER_FILES = ['ledger.db', 'ledger.db-wal'] as const

export interface RestoreOptions extends FillOptions {
  /** Called when the rest is certain, and before it is there. An error undoes the restore. */
  readonly beforeEnd: (rest: Rest) => Promise<void>
}

/** Throws `OperatorError`: `data_in_use`, `not_empty`, `bad_backup`, `cannot_open`. */
export async function restoreIntoFolder (folder: string, backup: OpenedBackup, options: RestoreOptions): Promise<Rest> {
  const path = resolve(folder)
  const release = holdFolder(path)
  const unfinished = join(path, UNFINISHED)
  try {
    for (const name of LEDGER_FILES) {
      if (existsSync(join(path, name))) throw new OperatorError('not_empty', `there is a ledger already: ${join(path, name)}; move it away, or choose another folder with --data`)
    }
    rmSync(unfinished, { recursive: true, force: true })
    const opened = await openSqlite(unfinished, { shape: backup.olderShape ?? undefined })
    let rest: Rest
    try {
      rest = await opened.database.kysely.transaction().execute(async kysely => {
        const database: Database = { kysely, engine: 'sqlite' }
        const filled = await fill(database, backup, options)
        await finish(database, filled)
        return filled
      })
    } finally {
      await opened.close()
    }
    options.signal?.throwIfAborted()
    await options.beforeEnd(rest)
    renameSync(join(unfinished, 'ledger.db'), join(path, 'ledger.db'))
    syncFolder(path)
    return rest
  } finally {
    rmSync(unfinished, { recursive: true, force: true })
    release()
  }
}

async function finish ({ kysely }: Database, { numbers, told }: Rest): Promise<void> {
  for (const [table, last] of numbers) {
    await sql`insert into sqlite_sequence (name, seq) select ${table}, 0 where not exists (select 1 from sqlite_sequence where name = ${table})`.execute(kysely)
    await sql`update sqlite_sequence set seq = max(seq, ${last}) where name = ${table}`.execute(kysely)
  }
  // Of several nodes the one that is furthest behind: what the others have told is told again.
  if (told.length > 0) await kysely.insertInto('cursors').values({ name: 'events', position: Math.min(...told.map(({ events }) => events)) }).execute()
}

/** So that the name survives a loss of power. */
function syncFolder (path: string): void {
  const folder = openSync(path, 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}
