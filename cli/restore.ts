// `parkmq restore FILE`: makes an empty ledger what it was when the backup was made. All of it, or nothing.
import { createReadStream, existsSync } from 'node:fs'
import { link, mkdir, open, readFile, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Command } from 'commander'
import { defaultUsersFile, readUsersFile } from '../broker/users-file.js'
import { loadConfig, type Config } from '../shared/config.js'
import { messageOf, OperatorError } from '../shared/errors.js'
import type { Rest } from '../storage/backup/fill.js'
import { openBackup, type OpenedBackup } from '../storage/backup/read.js'
import { restoreIntoFolder, type RestoreOptions } from '../storage/backup/sqlite-restore.js'
import { summaryOf, syncFolder, withPlace } from './backup.js'
import { RowsShown, untilStopped } from './long-work.js'

interface CommandOptions {
  data?: string
  database?: string
  users?: string
  config?: string
  node?: string
  ledgerOnly?: boolean
}

export function restoreCommand (): Command {
  return withPlace(new Command('restore'))
    .description('make a new ledger from a backup; all of it or nothing')
    .argument('<file>', 'what `parkmq backup` has made; - for standard input')
    .option('--node <name>', 'with --database: the node that goes on with events and promises that were not told yet (PARKMQ_NODE; default node-1)')
    .addHelpText('after', `
Only into a folder or database without a ledger, on which no parkmq runs. A backup of a folder may be restored into a
database, and one of a database into a folder. What happened after the backup is lost: who was acknowledged since must
send again.

Examples:
  parkmq restore monday.parkmq --data ./new
  createdb --template=template0 --locale=C --encoding=UTF8 parkmq && parkmq restore monday.parkmq --database postgres://parkmq@db1/parkmq`)
    .action(async (file: string, { config: settings, ledgerOnly, ...flags }: CommandOptions) => {
      const { config } = loadConfig({ file: settings, flags: { ...flags } })
      const startedMs = performance.now()
      const shown = new RowsShown('restore')
      try {
        const { counts, users } = await untilStopped('nothing was restored', async signal => {
          const backup = await openBackup(inputOf(file))
          const beforeEnd = async ({ users }: Rest): Promise<void> => { if (users !== null && ledgerOnly !== true) await restoreUsers(users, config) }
          return await restore(config, backup, { signal, onRows: shown.show, beforeEnd })
        })
        const kept = ledgerOnly === true || users === null ? { ...counts, users: 0 } : counts
        process.stdout.write(`restored ${summaryOf(kept)} in ${((performance.now() - startedMs) / 1_000).toFixed(1)} s\n`)
      } catch (error) {
        throw named(error, file)
      } finally {
        shown.end()
      }
    })
}

function inputOf (file: string): NodeJS.ReadableStream {
  if (file !== '-') return createReadStream(file)
  if (process.stdin.isTTY) throw new OperatorError('usage', 'nothing comes from standard input: name a file, or send one with | or <')
  return process.stdin
}

function named (error: unknown, file: string): unknown {
  const name = file === '-' ? 'standard input' : file
  if (error instanceof OperatorError) return error.code === 'bad_backup' ? new OperatorError(error.code, `${name}: ${error.message}`, { cause: error }) : error
  return new OperatorError('cannot_restore', `cannot restore ${name}: ${messageOf(error)}; nothing was restored`, { cause: error })
}

async function restore (config: Config, backup: OpenedBackup, options: RestoreOptions): Promise<Rest> {
  if (config.database === undefined) return await restoreIntoFolder(config.data, backup, options)
  // Whoever has a file never loads the driver.
  const { restoreIntoDatabase } = await import('../storage/backup/postgres-restore.js')
  return await restoreIntoDatabase({ url: config.database, node: config.node }, backup, options)
}

/**
 * Before the ledger is there: a ledger without its users would let anybody in. The same file may be there already, such as from a
 * restore that was killed here; another one never makes room.
 */
async function restoreUsers (text: string, config: Config): Promise<void> {
  const file = config.users ?? defaultUsersFile(config.data)
  if (existsSync(file)) {
    if (await readFile(file, 'utf8') === text) return
    throw new OperatorError('not_empty', `there is another users file already: ${file}; move it away, or restore with --ledger-only`)
  }
  const unfinished = `${file}.${process.pid}.part`
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 })
    const handle = await open(unfinished, 'wx', 0o600)
    try {
      await handle.writeFile(text)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await readUsersFile(unfinished)
    // Unlike a new name for it, a link replaces nothing.
    await link(unfinished, file)
    await syncFolder(dirname(file))
  } catch (error) {
    if (error instanceof OperatorError) throw error
    throw new OperatorError('cannot_write', `cannot write the users file ${file}: ${messageOf(error)}`, { cause: error })
  } finally {
    await rm(unfinished, { force: true })
  }
}
