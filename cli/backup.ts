// `parkmq backup FILE`: the ledger as of one moment, while parkmq runs on it. The file is there only when it is whole.
import { Command } from 'commander'
import { constants, createWriteStream } from 'node:fs'
import { access, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { usersFileOf } from '../broker/users-file.js'
import { loadConfig, type Config } from '../shared/config.js'
import { messageOf, OperatorError } from '../shared/errors.js'
import type { Counts, Snapshot } from '../storage/backup/format.js'
import { snapshotOfSqlite } from '../storage/backup/sqlite-snapshot.js'
import { writeBackup } from '../storage/backup/write.js'
import { RowsShown, untilStopped } from './long-work.js'
import { version } from './version.js'

interface BackupOptions {
  data?: string
  database?: string
  users?: string
  config?: string
  ledgerOnly?: boolean
  force?: boolean
}

/** Options of `backup` and `restore` that name what `start` runs on. */
export function withPlace (command: Command): Command {
  return command
    .option('--data <folder>', 'folder of the ledger (PARKMQ_DATA; default ./data)')
    .option('--database <url>', 'the ledger is in this PostgreSQL database (PARKMQ_DATABASE)')
    .option('--users <file>', 'the users file (PARKMQ_USERS; default users.yaml in the data folder)')
    .option('--config <file>', 'settings in YAML or JSON (PARKMQ_CONFIG)')
    .option('--ledger-only', 'leave the users file alone')
}

export function backupCommand (): Command {
  return withPlace(new Command('backup'))
    .description('write the ledger and the users file into one file, also while parkmq runs')
    .argument('<file>', 'the file to make; - for standard output')
    .option('--force', 'replace the file if it is there')
    .addHelpText('after', `
Everything that was acknowledged before it began is in it. The file has personal data and hashes of passwords: it is
made for its owner alone. Sessions, queues and retained messages of clients are not in it.

Examples:
  parkmq backup monday.parkmq
  parkmq backup --database postgres://parkmq@db1,db2/parkmq monday.parkmq
  parkmq backup - | ssh vault 'cat > monday.parkmq'`)
    .action(async (file: string, { config: settings, ledgerOnly, force, ...flags }: BackupOptions) => {
      const { config } = loadConfig({ file: settings, flags: { ...flags } })
      const startedMs = performance.now()
      const done = file === '-' ? await toOutput(config, ledgerOnly) : await toFile(file, force === true, config, ledgerOnly)
      const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1)
      const out = file === '-' ? process.stderr : process.stdout
      out.write(`backed up ${summaryOf(done)} in ${seconds} s\n`)
    })
}

/** What a person knows the ledger by. */
export function summaryOf (counts: Counts): string {
  const { lots = 0, reservations = 0, audit = 0, users = 0 } = counts
  const rows = Object.values(counts).reduce((sum, count) => sum + count, 0)
  return `${lots} lots, ${reservations} reservations, ${audit} lines of the audit${users > 0 ? ', the users file' : ''} (${rows} rows)`
}

async function toOutput (config: Config, ledgerOnly = false): Promise<Counts> {
  if (process.stdout.isTTY) throw new OperatorError('usage', 'a backup is no text for a terminal: name a file, or send the output on with | or >')
  // Other commands are done when whoever reads their output is; this one has failed then.
  process.stdout.removeAllListeners('error')
  try {
    return await write(config, process.stdout, ledgerOnly)
  } catch (error) {
    if (error instanceof OperatorError) throw error
    throw new OperatorError('cannot_write', `the backup could not be written to standard output: ${messageOf(error)}`, { cause: error })
  }
}

async function toFile (file: string, force: boolean, config: Config, ledgerOnly = false): Promise<Counts> {
  const there = await stat(file).catch((error: NodeJS.ErrnoException) => { if (error.code === 'ENOENT') return null; throw error })
  if (there !== null && !there.isFile()) throw new OperatorError('file_exists', `${file} is no file that could be replaced; choose another name`)
  if (there !== null && !force) throw new OperatorError('file_exists', `${file} is there already; choose another name, or replace it with --force`)
  const unfinished = `${file}.${process.pid}.part`
  try {
    await access(dirname(file), constants.W_OK)
    await removeAbandoned(file)
    try {
      // It is on disk before it has its name.
      const counts = await write(config, createWriteStream(unfinished, { flags: 'wx', mode: 0o600, flush: true }), ledgerOnly)
      await rename(unfinished, file)
      await syncFolder(dirname(file))
      return counts
    } finally {
      await rm(unfinished, { force: true })
    }
  } catch (error) {
    if (error instanceof OperatorError) throw error
    throw new OperatorError('cannot_write', `cannot write the backup ${file}: ${messageOf(error)}`, { cause: error })
  }
}

/** Longer than a backup that is being written stays as it is: its process may be one of another container, and not be seen from here. */
const ABANDONED_AFTER_MS = 10 * 60_000

/** What killed backups to this file have left. */
async function removeAbandoned (file: string): Promise<void> {
  const folder = dirname(file)
  for (const name of await readdir(folder)) {
    const pid = name.startsWith(`${basename(file)}.`) ? /^(\d+)\.part$/.exec(name.slice(basename(file).length + 1))?.[1] : undefined
    if (pid === undefined || isRunning(Number(pid))) continue
    const part = join(folder, name)
    const changed = await stat(part).catch(() => null)
    if (changed?.isFile() && Date.now() - changed.mtimeMs > ABANDONED_AFTER_MS) await rm(part, { force: true })
  }
}

function isRunning (pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}

async function write (config: Config, output: NodeJS.WritableStream, ledgerOnly: boolean): Promise<Counts> {
  const usersFile = ledgerOnly ? null : usersFileOf(config)
  const snapshot = await snapshotOf(config)
  const shown = new RowsShown('backup')
  try {
    return await untilStopped('there is no backup', async signal => await writeBackup({
      snapshot, output, about: { node: config.node, parkmq: version, nowMs: Date.now() },
      users: usersFile === null ? null : await readFile(usersFile, 'utf8'), signal, onRows: shown.show
    }))
  } finally {
    shown.end()
    await snapshot.close()
  }
}

async function snapshotOf ({ data, database }: Config): Promise<Snapshot> {
  if (database === undefined) return await snapshotOfSqlite(data)
  // Whoever has a file never loads the driver.
  const { snapshotOfPostgres } = await import('../storage/backup/postgres-snapshot.js')
  return await snapshotOfPostgres(database)
}

/** So that the name survives a loss of power. */
export async function syncFolder (path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
