// What our SQLite files have in common, whichever driver interface opens them: who may read them, how commits reach the
// disk, whose file it is, and whether it is still there. It knows no tables.
import { accessSync, closeSync, constants, mkdirSync, openSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { messageOf, OperatorError } from '../shared/errors.js'

/** The pragmas of every connection, in this order. */
export const PRAGMAS = [
  'journal_mode = WAL',
  // Without FULL, a commit in WAL mode survives the process but not a power loss.
  'synchronous = FULL',
  'foreign_keys = ON',
  'temp_store = MEMORY',
  'cache_size = -16384',
  // 16 MB of log: pages that change all the time go back into the file a quarter as often.
  'wal_autocheckpoint = 4000'
] as const

/** Makes the data folder, for its owner only, where there is none. `path` is absolute. Throws `OperatorError` `cannot_open`. */
export function makeFolder (path: string): void {
  try {
    makeAll(path)
  } catch (error) {
    throw new OperatorError('cannot_open', `cannot make the data folder ${path}: ${messageOf(error)}; choose another with --data`, { cause: error })
  }
  try {
    accessSync(path, constants.W_OK | constants.X_OK)
  } catch (error) {
    throw new OperatorError('cannot_open', `cannot write in the data folder ${path}: ${messageOf(error)}; check its permissions or choose another with --data`, { cause: error })
  }
}

/** `recursive` of mkdir never returns where a folder cannot have folders and says so as /proc does: that there is no such file. */
function makeAll (path: string): void {
  const isFolder = (): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
  if (isFolder()) return
  if (dirname(path) !== path) makeAll(dirname(path))
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    // Another process may have made it meanwhile.
    if (!isFolder()) throw error
  }
}

/**
 * Makes the file, for its owner only, where there is none: SQLite itself would let everybody read it. Its log gets the
 * same mode from SQLite. A file that is there keeps its mode: the operator may have chosen it.
 */
export function makePrivateFile (file: string): void {
  closeSync(openSync(file, 'a', 0o600))
}

/**
 * Throws `OperatorError` `foreign_file` when the file has a table and not our mark, which is its application id
 * (https://www.sqlite.org/fileformat.html#application_id). `kind` says what file was expected.
 */
export function refuseForeignFile (file: string, kind: string, mark: { readonly wanted: number, readonly found: number }, table: string | undefined): void {
  if (mark.found === mark.wanted || table === undefined) return
  throw new OperatorError('foreign_file', `${file} is not a parkmq ${kind} (it has the table ${table}); choose another folder with --data`)
}

/** Returns how to ask whether the file is still where it is now: one that was deleted or replaced is written to nowhere. */
export function placeOf (file: string): () => boolean {
  const inode = statSync(file).ino
  return () => statSync(file, { throwIfNoEntry: false })?.ino === inode
}
