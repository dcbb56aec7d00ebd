// scrypt on a thread of its own that has less of the processors than all others: what an address that has failed before
// makes the broker compute keeps neither messages nor the log-ins of others waiting, also where every processor is busy.
// It never sees who a password belongs to.
import { Worker } from 'node:worker_threads'
import { scryptOptions, type Derive } from './password.js'

/**
 * Beyond the process's own: about a tenth of what others get where they compete for a processor, and all of it where they do
 * not. Less, and somebody who has mistyped would never be let in on a busy machine.
 */
const NICENESS = 10

// As text, so that it is there however parkmq is built. On Linux setPriority concerns the calling thread alone; elsewhere it
// would slow down the whole process.
const CODE = `
const { parentPort } = require('node:worker_threads')
const { scryptSync } = require('node:crypto')
const { getPriority, setPriority } = require('node:os')
if (process.platform === 'linux') setPriority(Math.min(19, getPriority() + ${NICENESS}))
parentPort.on('message', ({ id, password, salt, length, options }) => {
  try {
    parentPort.postMessage({ id, key: scryptSync(password, salt, length, options) })
  } catch (error) {
    parentPort.postMessage({ id, error })
  }
})
`

interface Answer {
  readonly id: number
  readonly key?: Uint8Array
  readonly error?: Error
}

interface Asked {
  readonly resolve: (key: Buffer) => void
  readonly reject: (error: Error) => void
}

export class BackgroundScrypt {
  readonly #asked = new Map<number, Asked>()
  #worker: Worker | null = null
  #lastId = 0
  #isClosed = false

  /** One after the other, in the order of asking. Rejects when the thread ends, also by `close`. */
  readonly derive: Derive = async (password, salt, length, cost) => await new Promise((resolve, reject) => {
    if (this.#isClosed) throw new Error('the thread for password checks is closed')
    const id = ++this.#lastId
    this.#asked.set(id, { resolve, reject })
    // Most brokers never need it.
    this.#worker ??= this.#start()
    this.#worker.postMessage({ id, password, salt, length, options: scryptOptions(cost) })
  })

  /** Ends the thread. What is being computed is rejected. */
  close (): void {
    this.#isClosed = true
    void this.#worker?.terminate()
  }

  #start (): Worker {
    const worker = new Worker(CODE, { eval: true, name: 'password checks', env: {}, execArgv: [] })
    // It alone never keeps the process alive.
    worker.unref()
    worker.on('message', ({ id, key, error }: Answer) => {
      const asked = this.#asked.get(id)
      this.#asked.delete(id)
      if (key !== undefined) asked?.resolve(Buffer.from(key.buffer, key.byteOffset, key.byteLength))
      else asked?.reject(error ?? new Error('a password check gave nothing'))
    })
    const ended = (error: Error): void => {
      // The next one gets a new thread.
      if (this.#worker === worker) this.#worker = null
      for (const { reject } of this.#asked.values()) reject(error)
      this.#asked.clear()
    }
    worker.on('error', ended)
    worker.on('exit', () => { if (this.#worker === worker) ended(new Error('the thread for password checks has ended')) })
    return worker
  }
}
