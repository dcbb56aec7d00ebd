// The processes that look at frames: each has one frame at a time. One that dies or hangs is replaced, and its frame fails with
// an error.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Log } from '../../shared/log.js'
import type { Asked, Look, Looked, Said, WorkerSetup } from './look.js'

/** A frame that takes longer is given up with its process, in milliseconds. */
const LOOK_WITHIN_MS = 30_000
/** Memory of a process for JavaScript objects, in MB; pictures are outside of it and have limits of their own. */
const HEAP_MB = 512

export interface WorkersParts {
  readonly count: number
  readonly setup: WorkerSetup
  readonly log: Log
  /** The compiled worker.ts. */
  readonly program: URL
  /** Told when a process has taken the place of a lost one. */
  readonly onFree: () => void
}

interface Worker {
  readonly process: ChildProcess
  busy: { readonly resolve: (looked: Looked) => void, readonly reject: (error: Error) => void, readonly timer: NodeJS.Timeout } | null
}

export class Workers {
  readonly #parts: WorkersParts
  readonly #workers = new Set<Worker>()
  /** Started and not ready yet. */
  readonly #starting = new Set<ChildProcess>()
  #stopping = false

  private constructor (parts: WorkersParts) {
    this.#parts = parts
  }

  /** Resolves when all have loaded their classifiers. Throws why one could not. */
  static async start (parts: WorkersParts): Promise<Workers> {
    const workers = new Workers(parts)
    try {
      for (let i = 0; i < parts.count; i++) await workers.#add()
    } catch (error) {
      await workers.stop()
      throw error
    }
    return workers
  }

  /** Whether `look` may be called. */
  get isFree (): boolean {
    for (const worker of this.#workers) if (worker.busy === null) return true
    return false
  }

  /** Lets a free process look at a frame. Throws when there is none, and when it died or took too long. */
  async look (look: Look): Promise<Looked> {
    const worker = [...this.#workers].find(({ busy }) => busy === null)
    if (worker === undefined) throw new Error('no process is free')
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#lose(worker, new Error(`the frame of ${look.camera} was not looked at within ${LOOK_WITHIN_MS} ms`)), LOOK_WITHIN_MS)
      worker.busy = { resolve, reject, timer }
      ask(worker.process, { type: 'look', look })
    })
  }

  /** Ends all of them; frames in work fail. */
  async stop (): Promise<void> {
    this.#stopping = true
    const processes = [...this.#starting, ...[...this.#workers].map(worker => worker.process)].filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null)
    const ended = processes.map(async process => { await once(process, 'exit') })
    for (const worker of [...this.#workers]) this.#lose(worker, new Error('parkmq stops'))
    for (const process of processes) process.kill('SIGKILL')
    await Promise.all(ended)
  }

  async #add (): Promise<void> {
    const process = fork(fileURLToPath(this.#parts.program), { serialization: 'advanced', execArgv: [`--max-old-space-size=${HEAP_MB}`], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    this.#starting.add(process)
    try {
      await setUp(process, this.#parts.setup)
      if (this.#stopping) throw new Error('parkmq stops')
    } catch (error) {
      process.kill('SIGKILL')
      throw error
    } finally {
      this.#starting.delete(process)
    }
    const worker: Worker = { process, busy: null }
    process.on('message', (said: Said) => this.#take(worker, said))
    process.on('error', error => this.#lose(worker, error))
    process.on('exit', (code, signal) => this.#lose(worker, new Error(`the process that looked at the frame ended with ${signal ?? code}`)))
    this.#workers.add(worker)
  }

  #take (worker: Worker, said: Said): void {
    const { busy } = worker
    worker.busy = null
    if (busy === null) return
    clearTimeout(busy.timer)
    if (said.type === 'looked') busy.resolve(said.looked)
    else busy.reject(new Error(said.type === 'failed' ? said.why : `the process that looked at the frame said ${said.type}`))
  }

  /** It is of no more use: another takes its place. */
  #lose (worker: Worker, error: Error): void {
    if (!this.#workers.delete(worker)) return
    const { busy } = worker
    worker.busy = null
    worker.process.kill('SIGKILL')
    if (busy !== null) {
      clearTimeout(busy.timer)
      busy.reject(error)
    }
    if (this.#stopping) return
    this.#parts.log.error({ err: error }, 'a process that looks at frames is lost; another takes its place')
    this.#add().then(() => this.#parts.onFree(), (err: unknown) => {
      if (!this.#stopping) this.#parts.log.fatal({ err }, 'no process can be started that looks at frames')
    })
  }
}

/** Resolves when it has loaded its classifiers. Throws why it could not. */
async function setUp (process: ChildProcess, setup: WorkerSetup): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const ended = (code: number | null, signal: string | null): void => reject(new Error(`the process for frames ended with ${signal ?? code} while it started`))
    process.once('error', reject)
    process.once('exit', ended)
    process.once('message', (said: Said) => {
      process.off('error', reject).off('exit', ended)
      if (said.type === 'ready') resolve()
      else reject(new Error(said.type === 'failed' ? said.why : `the process for frames said ${said.type} while it started`))
    })
    ask(process, { type: 'setup', setup })
  })
}

function ask (process: ChildProcess, asked: Asked): void {
  process.send(asked)
}
