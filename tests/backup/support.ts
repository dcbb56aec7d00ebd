// Backups in memory, of either engine, and what is in them.
import { createHash } from 'node:crypto'
import { PassThrough, Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { gunzipSync, gzipSync } from 'node:zlib'
import type { Snapshot } from '../../storage/backup/format.js'
import type { Rest } from '../../storage/backup/fill.js'
import { restoreIntoDatabase } from '../../storage/backup/postgres-restore.js'
import { snapshotOfPostgres } from '../../storage/backup/postgres-snapshot.js'
import { openBackup } from '../../storage/backup/read.js'
import { restoreIntoFolder } from '../../storage/backup/sqlite-restore.js'
import { snapshotOfSqlite } from '../../storage/backup/sqlite-snapshot.js'
import { writeBackup } from '../../storage/backup/write.js'

/** Where a ledger is: with `database` it is there, and the folder is its node's. */
export interface Place {
  readonly data: string
  readonly database?: string
}

/** `between` is waited for after each part of the rows. */
export async function backup ({ data, database }: Place, between = async (): Promise<void> => {}): Promise<Buffer> {
  const taken = database === undefined ? await snapshotOfSqlite(data) : await snapshotOfPostgres(database)
  const snapshot: Snapshot = {
    ...taken,
    async* parts () {
      for await (const part of taken.parts()) {
        yield part
        await between()
      }
    }
  }
  try {
    const output = new PassThrough()
    const [bytes] = await Promise.all([buffer(output), writeBackup({ snapshot, output, about: { node: 'test', parkmq: 'test', nowMs: Date.now() }, users: null })])
    return bytes
  } finally {
    await snapshot.close()
  }
}

export async function restore (bytes: Buffer, { data, database }: Place, node = 'node-1'): Promise<Rest> {
  const opened = await openBackup(Readable.from([bytes]))
  const options = { beforeEnd: async () => {} }
  return database === undefined ? await restoreIntoFolder(data, opened, options) : await restoreIntoDatabase({ url: database, node }, opened, options)
}

export function linesOf (bytes: Buffer): string[] {
  return gunzipSync(bytes).toString().trimEnd().split('\n')
}

/** The tables' lines and the numbers, without what names engines, times and nodes. */
export function ledgerLines (bytes: Buffer): string[] {
  const lines = linesOf(bytes)
  return lines.slice(1, lines.findIndex(line => line.startsWith('{"section":"told"')))
}

type Row = Record<string, string | number | null>

/** The rows of a section, with the names of their columns. */
export function rowsOf (bytes: Buffer, section: string): Row[] {
  const lines = linesOf(bytes)
  const first = lines.findIndex(line => line.startsWith(`{"section":"${section}"`))
  const { columns } = JSON.parse(lines[first] ?? '') as { columns: string[] }
  const end = lines.findIndex((line, i) => i > first && line.startsWith('{'))
  return lines.slice(first + 1, end).map(line => Object.fromEntries((JSON.parse(line) as (string | number | null)[]).map((cell, i) => [columns[i], cell])) as Row)
}

/** A backup of these lines; `isSigned`: with a hash that is right, whatever is in it. */
export function backupOf (lines: readonly string[], { isSigned = false } = {}): Buffer {
  let all = lines
  if (isSigned) {
    const hash = createHash('sha256')
    for (const line of lines.slice(0, -1)) hash.update(`${line}\n`)
    all = [...lines.slice(0, -1), JSON.stringify({ ...JSON.parse(lines.at(-1) ?? '') as object, sha256: hash.digest('hex') })]
  }
  return gzipSync(all.map(line => `${line}\n`).join(''))
}
