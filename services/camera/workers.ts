// The threads that look at frames: each has one frame at a time. A thread that dies or hangs is replaced, and its frame
// fails with an error.
import { Worker } from 'node:worker_threads'
import { messageOf } from '../../shared/errors.js'
import type { Log } from '../../shared/log.js'
import type { Look, Looked, WorkerSetup } from './look.js'

/** A frame that takes longer is given up with its thread, in milliseconds. */
const LOOK_WITHIN_MS = 30_000
/** Memory of a thread for JavaScript objects, in MB; pictures are outside of it and have limits of their own. */
const HEAP_MB = 512

export interface WorkersParts {
  readonly count: number
  readonly setup: WorkerSetup
  readonly log: Log
  /** The compiled worker.ts. */
  readonly program: URL
  /** Told when a thread has taken the place of a lost one. */
  readonly onFree: () => void
}

interface Thread {
  readonly worker: Worker
  busy: { readonly resolve: (looked: Looked) => void, readonly reject: (error: Error) => void, readonly timer: NodeJS.Timeout } | null
}

export class Workers {
  readonly #parts: WorkersParts
  readonly #threads = new Set<Thread>()
  #stopping = false

  private constructor (parts: WorkersParts) {
    this.#parts = parts
  }

  /** Resolves when all threads have loaded their classifiers. Throws what loading threw. */
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
    for (const thread of this.#threads) if (thread.busy === null) return true
    return false
  }

  /** Lets a free thread look at a frame. Throws when there is none, and when the thread died or took too long. */
  async look (look: Look): Promise<Looked> {
    const thread = [...this.#threads].find(({ busy }) => busy === null)
    if (thread === undefined) throw new Error('no thread is free')
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#lost(thread, new Error(`the frame of ${look.camera} was not looked at within ${LOOK_WITHIN_MS} ms`))
        void thread.worker.terminate()
      }, LOOK_WITHIN_MS)
      thread.busy = { resolve, reject, timer }
      thread.worker.postMessage(look)
    })
  }

  /** Ends all threads; frames in work fail. */
  async stop (): Promise<void> {
    this.#stopping = true
    const threads = [...this.#threads]
    for (const thread of threads) this.#lost(thread, new Error('parkmq stops'))
    await Promise.all(threads.map(async ({ worker }) => await worker.terminate()))
  }

  async #add (): Promise<void> {
    const worker = new Worker(this.#parts.program, { workerData: this.#parts.setup, resourceLimits: { maxOldGenerationSizeMb: HEAP_MB } })
    const thread: Thread = { worker, busy: null }
    await new Promise<void>((resolve, reject) => {
      worker.once('error', reject)
      worker.once('exit', code => reject(new Error(`the thread for frames ended with ${code} while it started`)))
      worker.once('message', () => resolve())
    })
    worker.removeAllListeners('error').removeAllListeners('exit')
    worker.on('message', (looked: Looked) => {
      const { busy } = thread
      thread.busy = null
      if (busy === null) return
      clearTimeout(busy.timer)
      busy.resolve(looked)
    })
    worker.on('error', error => this.#lost(thread, error instanceof Error ? error : new Error(messageOf(error))))
    worker.on('exit', code => this.#lost(thread, new Error(`the thread for frames ended with ${code}`)))
    this.#threads.add(thread)
  }

  #lost (thread: Thread, error: Error): void {
    if (!this.#threads.delete(thread)) return
    const { busy } = thread
    thread.busy = null
    if (busy !== null) {
      clearTimeout(busy.timer)
      busy.reject(error)
    }
    if (this.#stopping) return
    this.#parts.log.error({ err: error }, 'a thread that looks at frames is lost; another takes its place')
    this.#add().then(() => this.#parts.onFree(), (err: unknown) => this.#parts.log.fatal({ err }, 'no thread can be started that looks at frames'))
  }
}
