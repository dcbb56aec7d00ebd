// Starts the brokers that are measured, each in a process of its own on free ports of 127.0.0.1, and ends them. Nothing
// outlives the bench, also when it fails.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Ports } from './raw-client.js'

export interface Target extends Ports {
  readonly process: ChildProcess
  /** Where parkmq serves /metrics, with `--http-port`. */
  readonly http?: string
  /** Milliseconds from the start of the process to its `ready`. */
  readonly readyMs: number
  /** Resident memory in bytes. */
  memoryBytes (): number
  /** Processor time used so far, in milliseconds, by the kernel's clock of 10 ms. */
  cpuMs (): number
  /** SIGTERM, and SIGKILL when that takes longer than 5 seconds. */
  stop (): Promise<void>
}

/** The folder of package.json, seen from `dist/bench/`. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const STOP_MS = 5_000
const START_MS = 30_000
const CLOCK_TICK_MS = 10

/** What is to be ended and removed when the bench ends, however it does. */
const atExit = new Set<() => void>()
process.once('exit', () => { for (const end of atExit) end() })

/** Of a build of parkmq: what is started, and what that needs to be there. */
export const PROGRAM_FILES = ['bin/parkmq.js', 'dist/cli/main.js'] as const

export interface ParkmqParts {
  /** The folder of the build; default: this one. */
  readonly root?: string | undefined
  /** Runs it below strace, which makes each sync take longer by so many milliseconds. */
  readonly syncMs?: number | undefined
}

/** `parkmq start` on free ports with a new data folder. */
export async function startParkmq (args: readonly string[] = [], { root = ROOT, syncMs }: ParkmqParts = {}): Promise<Target> {
  const data = newFolder()
  const [program, ...before] = syncMs === undefined ? [process.execPath] : slowlySynced(syncMs)
  return await startTarget({
    program,
    args: [...before, join(root, PROGRAM_FILES[0]), 'start', '--port', '0', '--ws-port', '0', '--data', data, ...args],
    ready: line => {
      const said = JSON.parse(line) as { msg?: string, mqtt?: string, ws?: string, http?: string }
      return said.msg === 'ready' ? { port: Number(new URL(said.mqtt ?? '').port), wsPort: Number(new URL(said.ws ?? '').port), ...said.http !== undefined && { http: said.http } } : null
    },
    folder: data
  })
}

/** Node below strace, which makes each sync take longer and looks at nothing else; the process is Node's own. */
export function slowlySynced (syncMs: number): [string, ...string[]] {
  const calls = 'fsync,fdatasync'
  return ['strace', '-D', '-f', '-qq', '--seccomp-bpf', '-o', '/dev/null', '-e', `trace=${calls}`, '-e', `inject=${calls}:delay_exit=${syncMs * 1_000}`, process.execPath]
}

/** The same with TLS on both doors, with a certificate of its own that `openssl` makes. */
export async function startSecureParkmq (args: readonly string[] = []): Promise<Target> {
  const folder = newFolder()
  try {
    const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert], { stdio: 'ignore' })
    const target = await startParkmq(['--tls-cert', cert, '--tls-key', key, ...args])
    return { ...target, certificate: readFileSync(cert, 'utf8') }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Aedes as it comes, with TCP_NODELAY, in memory. */
export async function startStockAedes (): Promise<Target> {
  return await startTarget({
    program: process.execPath, args: [join(ROOT, 'dist/bench/stock-aedes.js')], ready: line => ({ port: Number(line), wsPort: null }), folder: null
  })
}

/** Where mosquitto is; null when it is not installed. Debian keeps it outside a user's PATH. */
export function findMosquitto (): string | null {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin', '/opt/homebrew/sbin']
  return folders.map(folder => join(folder, 'mosquitto')).find(path => existsSync(path)) ?? null
}

/** mosquitto with TCP_NODELAY and without limits that would make it drop. `durable`: it saves its sessions at every change. */
export async function startMosquitto ({ durable }: { durable: boolean }): Promise<Target> {
  const program = findMosquitto()
  if (program === null) throw new Error('mosquitto is not installed')
  const folder = newFolder()
  const port = await freePort()
  const config = join(folder, 'mosquitto.conf')
  writeFileSync(config, [
    `listener ${port} 127.0.0.1`, 'allow_anonymous true', 'set_tcp_nodelay true', 'log_dest stderr',
    'max_inflight_messages 0', 'max_queued_messages 0',
    ...(durable ? ['persistence true', `persistence_location ${folder}/`, 'autosave_on_changes true', 'autosave_interval 1'] : ['persistence false']),
    // Started by root, it would become a user that may not write the folder.
    'user root', ''
  ].join('\n'))
  return await startTarget({ program, args: ['-c', config], says: 'stderr', ready: line => line.endsWith(' running') ? { port, wsPort: null } : null, folder })
}

/** A compiled script of bench/ that serves at the broker on `port`, given as its first argument, and prints `ready`. */
export async function startBeside (script: string, port: number, args: readonly string[] = [], folder: string | null = null): Promise<Target> {
  return await startTarget({
    program: process.execPath, args: [join(ROOT, 'dist/bench', script), String(port), ...args], ready: line => line === 'ready' ? { port, wsPort: null } : null, folder
  })
}

type Ready = Ports & Pick<Target, 'http'>

interface TargetParts {
  readonly program: string
  readonly args: readonly string[]
  readonly says?: 'stdout' | 'stderr'
  /** Null: this line does not say that it is ready. */
  readonly ready: (line: string) => Ready | null
  /** Removed at the end. */
  readonly folder: string | null
}

async function startTarget ({ program, args, says = 'stdout', ready, folder }: TargetParts): Promise<Target> {
  const startedMs = performance.now()
  // Settings of the person who measures are none of what is measured.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('PARKMQ_')))
  const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', says === 'stderr' ? 'pipe' : 'inherit'] })
  const end = (): void => {
    child.kill('SIGKILL')
    if (folder !== null) rmSync(folder, { recursive: true, force: true })
  }
  atExit.add(end)
  const ports = await new Promise<Ready>((resolve, reject) => {
    const fail = (why: string): void => reject(new Error(`${program} ${args.join(' ')} ${why}`))
    const late = setTimeout(() => fail(`was not ready within ${START_MS / 1_000} s`), START_MS)
    child.once('error', error => fail(error.message))
    child.once('exit', code => fail(`ended with ${code}`))
    const output = child[says]
    if (output === null) return
    const lines = createInterface({ input: output }).on('line', line => {
      const found = ready(line)
      if (found === null) return
      clearTimeout(late)
      lines.close()
      // What it says later is read as well, or a full pipe would stop it.
      output.resume()
      resolve(found)
    })
  })
  child.removeAllListeners('exit')
  const readyMs = performance.now() - startedMs
  const proc = (file: string): string => readFileSync(`/proc/${child.pid}/${file}`, 'utf8')
  return {
    ...ports,
    process: child,
    readyMs,
    memoryBytes: () => Number(/VmRSS:\s+(\d+)/.exec(proc('status'))?.[1]) * 1_024,
    cpuMs: () => {
      // Fields 14 and 15, counted behind the name, which may contain spaces.
      const fields = proc('stat').split(') ')[1]?.split(' ') ?? []
      return (Number(fields[11]) + Number(fields[12])) * CLOCK_TICK_MS
    },
    stop: async () => {
      if (child.exitCode === null && child.signalCode === null) {
        const gone = once(child, 'exit')
        child.kill('SIGTERM')
        const force = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
        await gone
        clearTimeout(force)
      }
      atExit.delete(end)
      end()
    }
  }
}

/** A new empty folder; it is gone at the end of the bench at the latest. */
export function newFolder (): string {
  const folder = mkdtempSync(join(tmpdir(), 'parkmq-bench-'))
  atExit.add(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
