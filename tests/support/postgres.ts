// Starts a PostgreSQL server of its own on a free port of 127.0.0.1, from Debian's package, and stops it again. The server refuses
// to run as root, so it runs as Debian's user `postgres` there.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { systemClock, type Clock } from '../../shared/clock.js'
import { Config } from '../../shared/config.js'
import { createMetrics } from '../../shared/metrics.js'
import type { Ledger } from '../../storage/ledger.js'
import { openPostgresLedger } from '../../storage/postgres-ledger.js'
import { testFolder } from './app.js'

const PATIENCE_MS = 20_000
const DEBIAN = '/usr/lib/postgresql'

export interface TestPostgres {
  readonly port: number
  /** A new, empty database. */
  database (): Promise<string>
  /** The same database, as `psql` would ask it. */
  query<R extends pg.QueryResultRow>(url: string, text: string, values?: unknown[]): Promise<R[]>
  /** kill -9 of the server and everything of it. */
  kill (): Promise<void>
  /** Starts it again with what it has on disk. */
  start (): Promise<void>
  /** Stops every process of it (SIGSTOP): it neither answers nor ends a connection, until `goOn`. */
  freeze (): void
  goOn (): void
  /** Makes a standby the primary. */
  promote (): Promise<void>
  /** Stops it for good and removes its folder. */
  close (): Promise<void>
}

function findPostgres (): string | null {
  if (!existsSync(DEBIAN)) return null
  const newest = readdirSync(DEBIAN).sort((a, b) => Number(b) - Number(a)).find(version => existsSync(join(DEBIAN, version, 'bin', 'initdb')))
  return newest === undefined ? null : join(DEBIAN, newest, 'bin')
}

/** The user and group that the server runs as; null for those of this process. */
function userOf (): { uid: number, gid: number } | null {
  if (process.getuid?.() !== 0) return null
  const line = readFileSync('/etc/passwd', 'utf8').split('\n').find(line => line.startsWith('postgres:'))
  if (line === undefined) throw new Error('PostgreSQL does not run as root, and there is no user postgres')
  const [, , uid, gid] = line.split(':').map(Number)
  return { uid: uid as number, gid: gid as number }
}

/** Why tests with PostgreSQL are skipped; null when they can run. Says so on the terminal: a silent skip looks like a pass. */
export function whyNoPostgres (): string | null {
  if (findPostgres() !== null) return null
  const reason = 'PostgreSQL is not installed (Debian: apt-get install postgresql): its tests are skipped'
  process.stderr.write(`${reason}\n`)
  return reason
}

export interface PostgresOptions {
  /** Every commit is synced to disk, for what kills the server; other tests have no use for the wait. */
  readonly safe?: boolean
  /** It is a standby of this server, which from then on answers no commit that the standby does not have. */
  readonly standbyOf?: TestPostgres
}

export async function startPostgres ({ safe = false, standbyOf }: PostgresOptions = {}): Promise<TestPostgres> {
  const programs = findPostgres()
  if (programs === null) throw new Error('PostgreSQL is not installed')
  const folder = mkdtempSync(join(tmpdir(), 'parkmq-postgres-'))
  const user = userOf()
  if (user) chownSync(folder, user.uid, user.gid)
  chmodSync(folder, 0o700)
  const as = { ...(user ?? {}), env: { ...process.env, HOME: folder, LC_ALL: 'C' }, cwd: folder }
  const data = join(folder, 'data')
  const run = (program: string, args: readonly string[]): void => {
    const done = spawnSync(join(programs, program), args, { ...as, encoding: 'utf8' })
    if (done.status !== 0) throw new Error(`${program} failed: ${done.stderr}`)
  }
  if (standbyOf) run('pg_basebackup', ['-D', data, '-R', '-X', 'stream', '-c', 'fast', '-d', `host=127.0.0.1 port=${standbyOf.port} user=parkmq application_name=standby`])
  else run('initdb', ['-D', data, '-A', 'trust', '-U', 'parkmq', '--no-locale', '-E', 'UTF8', '--no-sync'])
  const port = await freePort()
  // Behind what the base backup has there: the way to its primary.
  appendFileSync(join(data, 'postgresql.auto.conf'), [
    '', `port = ${port}`, 'listen_addresses = \'127.0.0.1\'', 'unix_socket_directories = \'\'', 'max_connections = 100', 'shared_buffers = 32MB',
    'deadlock_timeout = 200ms', ...(safe ? [] : ['fsync = off']), ''
  ].join('\n'))
  let server: ChildProcess | null = null
  let said = ''
  const killWithUs = (): void => { server?.kill('SIGQUIT') }
  process.once('exit', killWithUs)

  async function start (): Promise<void> {
    const child = server = spawn(join(programs ?? '', 'postgres'), ['-D', data], { ...as, stdio: ['ignore', 'ignore', 'pipe'] })
    child.stderr?.on('data', (text: Buffer) => { said = (said + text.toString()).slice(-10_000) })
    const untilMs = Date.now() + PATIENCE_MS
    while (!await answers(port)) {
      if (child.exitCode !== null || Date.now() > untilMs) throw new Error(`PostgreSQL did not start: ${said}`)
      await new Promise(resolve => setTimeout(resolve, 50))
    }
  }
  async function stop (signal: 'SIGQUIT' | 'SIGKILL'): Promise<void> {
    const child = server
    server = null
    if (!child || child.exitCode !== null) return
    const ended = once(child, 'exit')
    const children = signal === 'SIGKILL' ? childrenOf(child.pid ?? 0) : []
    child.kill(signal)
    for (const pid of children) signalled(pid, 'SIGKILL')
    await ended
    // The next start needs their memory.
    const untilMs = Date.now() + PATIENCE_MS
    while (children.some(isThere) && Date.now() < untilMs) await new Promise(resolve => setTimeout(resolve, 10))
  }
  let databases = 0
  const query = async <R extends pg.QueryResultRow>(url: string, text: string, values: unknown[] = []): Promise<R[]> => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    try {
      return (await client.query<R>(text, values)).rows
    } finally {
      await client.end()
    }
  }
  await start()
  if (standbyOf) {
    const there = urlAt(standbyOf.port)
    await standbyOf.query(there, 'alter system set synchronous_standby_names = \'standby\'')
    await standbyOf.query(there, 'select pg_reload_conf()')
    const untilMs = Date.now() + PATIENCE_MS
    while ((await standbyOf.query(there, 'select from pg_stat_replication where sync_state = \'sync\'')).length === 0) {
      if (Date.now() > untilMs) throw new Error(`the standby did not follow: ${said}`)
      await new Promise(resolve => setTimeout(resolve, 50))
    }
  }
  return {
    port,
    query,
    async database () {
      const name = `test_${++databases}`
      await query(urlAt(port), `create database ${name}`)
      return urlAt(port, name)
    },
    start,
    async promote () {
      // No standby is left that a commit could wait for.
      await query(urlAt(port), 'select pg_promote()')
      await query(urlAt(port), 'alter system set synchronous_standby_names = \'\'')
      await query(urlAt(port), 'select pg_reload_conf()')
    },
    freeze () {
      const pid = server?.pid ?? 0
      // The one that makes the others first.
      for (const one of [pid, ...childrenOf(pid)]) signalled(one, 'SIGSTOP')
    },
    goOn () {
      const pid = server?.pid ?? 0
      for (const one of [...childrenOf(pid), pid]) signalled(one, 'SIGCONT')
    },
    kill: async () => await stop('SIGKILL'),
    async close () {
      await stop('SIGQUIT')
      process.off('exit', killWithUs)
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
    }
  }
}

function childrenOf (pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(text => text !== '').map(Number)
}

/** One that has ended by itself meanwhile is as good. */
function signalled (pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function isThere (pid: number): boolean {
  return existsSync(`/proc/${pid}`)
}

function urlAt (port: number, name = 'postgres'): string {
  return `postgres://parkmq@127.0.0.1:${port}/${name}`
}

async function answers (port: number): Promise<boolean> {
  const client = new pg.Client({ host: '127.0.0.1', port, user: 'parkmq', database: 'postgres', connectionTimeoutMillis: 1_000 })
  client.on('error', () => { /* The answer is no. */ })
  try {
    await client.connect()
    await client.query('select 1')
    return true
  } catch {
    return false
  } finally {
    await client.end().catch(() => {})
  }
}

export interface TestNodeOptions {
  readonly node?: string
  /** What counts as now; default the database's time. */
  readonly clock?: Pick<Clock, 'nowMs'>
}

/** The ledger of one node on a database of the server. */
export async function openTestLedger (url: string, { node = 'node-1', clock }: TestNodeOptions = {}): Promise<Ledger> {
  return await openPostgresLedger({
    config: { ...Config.parse({ data: testFolder() }), url, node },
    clock: systemClock, metrics: createMetrics(), ...(clock && { nowMs: () => clock.nowMs() })
  })
}

async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
