// Work of minutes at the command line: how far it is, and a clean end at Ctrl-C.
import { OperatorError } from '../shared/errors.js'

const SHOWN_EVERY_MS = 500
const SAID_EVERY_MS = 10_000

/** Tells on stderr how many rows are done: in one line that changes on a terminal, elsewhere in a new one every 10 s. */
export class RowsShown {
  readonly #what: string
  readonly #isTerminal = process.stderr.isTTY
  #atMs = performance.now()
  #isShown = false

  constructor (what: string) {
    this.#what = what
  }

  show = (rows: number): void => {
    const nowMs = performance.now()
    if (nowMs - this.#atMs < (this.#isTerminal ? SHOWN_EVERY_MS : SAID_EVERY_MS)) return
    this.#atMs = nowMs
    this.#isShown = true
    process.stderr.write(`${this.#isTerminal ? '\r' : ''}${this.#what}: ${rows} rows${this.#isTerminal ? '' : '\n'}`)
  }

  end (): void {
    if (this.#isTerminal && this.#isShown) process.stderr.write('\n')
  }
}

/** Runs `work` with a signal that Ctrl-C or SIGTERM aborts. Throws `OperatorError` `stopped` then. */
export async function untilStopped<T> (undone: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stopping = new AbortController()
  const stop = (): void => stopping.abort()
  process.on('SIGINT', stop).on('SIGTERM', stop)
  try {
    return await work(stopping.signal)
  } catch (error) {
    if (stopping.signal.aborted) throw new OperatorError('stopped', `stopped: ${undone}`, { cause: error })
    throw error
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop)
  }
}
