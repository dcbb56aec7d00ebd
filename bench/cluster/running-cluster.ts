// A cluster on this machine, driven as a person does: by `parkmq cluster`.
import { execFile, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { constants, setPriority, tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'

const run = promisify(execFile)

interface Plan {
  readonly nodes: readonly { readonly port: number }[]
  readonly databases: readonly { readonly port: number }[]
  readonly passwords: { readonly parkmq: string }
}

export interface Status {
  readonly well: boolean
  readonly parts: readonly { readonly name: string, readonly state: string, readonly role: string | null }[]
}

/** How long it is asked which of the databases can be written. */
const PRIMARY_WITHIN_MS = 60_000

/** The message says what to install. */
export class NotInstalledError extends Error {}

export class RunningCluster {
  readonly #program: string
  readonly folder: string
  /** `mqtt://` of each node. */
  readonly urls: readonly string[]
  readonly databasePorts: readonly number[]
  readonly password: string

  private constructor (program: string, folder: string) {
    this.#program = program
    const plan = JSON.parse(readFileSync(join(folder, 'cluster.json'), 'utf8')) as Plan
    this.folder = folder
    this.urls = plan.nodes.map(({ port }) => `mqtt://127.0.0.1:${port}`)
    this.databasePorts = plan.databases.map(({ port }) => port)
    this.password = plan.passwords.parkmq
  }

  /**
   * In a new folder. `program`: bin/parkmq.js. `settings`: the file of the nodes' settings. However this process ends but by SIGKILL,
   * nothing of the cluster is left. Throws `NotInstalledError`.
   */
  static async up ({ program, settings }: { program: string, settings: string }): Promise<RunningCluster> {
    const folder = mkdtempSync(join(tmpdir(), 'parkmq-cluster-'))
    // PostgreSQL is another user's where this is root's.
    chmodSync(folder, 0o755)
    process.once('exit', () => {
      if (existsSync(join(folder, 'cluster.json'))) spawnSync(process.execPath, [program, 'cluster', 'down', '--remove', '--folder', folder])
      rmSync(folder, { recursive: true, force: true })
    })
    try {
      await parkmqCluster(program, 'up', ['--folder', folder, '--config', settings])
    } catch (error) {
      const said = (error as { stderr?: string }).stderr ?? ''
      throw said.includes('not installed: ') ? new NotInstalledError(said.slice(said.indexOf('not installed: ')).trim(), { cause: error }) : error
    }
    return new RunningCluster(program, folder)
  }

  async kill (...names: string[]): Promise<void> { await this.#strike('kill', ...names) }
  async pause (...names: string[]): Promise<void> { await this.#strike('pause', ...names) }
  async resume (...names: string[]): Promise<void> { await this.#strike('resume', ...names) }
  async heal (): Promise<void> { await this.#call('heal') }

  async status (): Promise<Status> {
    // It ends with 1 when something is not well, and has said what.
    const stdout = await parkmqCluster(this.#program, 'status', ['--folder', this.folder, '--json']).catch((error: { stdout?: string }) => error.stdout ?? '')
    return JSON.parse(stdout) as Status
  }

  /** Kills all of it and removes the folder. */
  async down (): Promise<void> { await this.#call('down', '--remove') }

  /** Asks the primary, whichever it is by then. */
  async query<R extends object> (text: string): Promise<R[]> {
    const untilMs = performance.now() + PRIMARY_WITHIN_MS
    for (let n = 0; ; n++) {
      const port = this.databasePorts[n % this.databasePorts.length] as number
      try {
        return await queryAt<R>(port, this.password, text)
      } catch (error) {
        if (performance.now() > untilMs) throw error
        await new Promise(resolve => setTimeout(resolve, 100))
      }
    }
  }

  /** What strikes starts no part of the cluster, and takes no processor from it: gaps are those of the fault. */
  async #strike (name: string, ...names: string[]): Promise<void> {
    await parkmqCluster(this.#program, name, [...names, '--folder', this.folder], constants.priority.PRIORITY_LOW)
  }

  async #call (name: string, ...args: string[]): Promise<string> {
    return await parkmqCluster(this.#program, name, [...args, '--folder', this.folder])
  }
}

async function queryAt<R extends object> (port: number, password: string, text: string): Promise<R[]> {
  const client = new pg.Client({ host: '127.0.0.1', port, user: 'parkmq', password, database: 'parkmq', connectionTimeoutMillis: 1_000, query_timeout: 20_000 })
  // The query fails as well.
  client.on('error', () => {})
  await client.connect()
  try {
    const { rows } = await client.query<{ standby: boolean }>('select pg_is_in_recovery() as standby')
    if (rows[0]?.standby !== false) throw new Error(`the database on port ${port} is a standby`)
    return (await client.query(text)).rows as R[]
  } finally {
    await client.end()
  }
}

async function parkmqCluster (program: string, name: string, args: readonly string[], priority: number = constants.priority.PRIORITY_NORMAL): Promise<string> {
  const running = run(process.execPath, [program, 'cluster', name, ...args])
  if (running.child.pid !== undefined && priority !== constants.priority.PRIORITY_NORMAL) setPriority(running.child.pid, priority)
  return (await running).stdout
}
