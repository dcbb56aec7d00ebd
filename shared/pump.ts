// Work that is done again whenever there is news: never twice at once, once for all news that came meanwhile, and tried
// again when it fails.
import type { Clock, Timer } from './clock.js'

const RETRY_MS = 250

export interface PumpParts {
  readonly clock: Clock
  /** Does everything that there is to do. */
  readonly work: () => Promise<void>
  readonly onError: (error: unknown) => void
  /** Least time from the end of the work to its next begin, in milliseconds; default 0. */
  readonly restMs?: number
  /** Whether the work begins one turn of the event loop after the first news, so that much that happens at once is one piece of news; default true. */
  readonly waitsForMore?: boolean
}

export class Pump {
  readonly #parts: PumpParts
  #news = false
  #running: Promise<void> | null = null
  #stopped = false
  #rest: { timer: Timer, over: () => void } | null = null

  constructor (parts: PumpParts) {
    this.#parts = parts
  }

  /** There is news: the work is done soon, once more if it is being done. */
  wake (): void {
    this.#news = true
    if (this.#running || this.#stopped) return
    this.#running = this.#run().finally(() => {
      this.#running = null
      // News of the very last moment.
      if (this.#news) this.wake()
    })
  }

  /** Resolves when the work for all news until now is done; what fails from now on is not tried again. */
  async stop (): Promise<void> {
    this.#stopped = true
    this.#rest?.timer.cancel()
    this.#rest?.over()
    await this.#running
  }

  async #run (): Promise<void> {
    const { clock, work, onError, restMs = 0, waitsForMore = true } = this.#parts
    if (waitsForMore) await new Promise(resolve => setImmediate(resolve))
    while (this.#news) {
      this.#news = false
      let pauseMs = restMs
      try {
        await work()
      } catch (error) {
        onError(error)
        if (this.#stopped) return
        this.#news = true
        pauseMs = Math.max(restMs, RETRY_MS)
      }
      if (pauseMs > 0 && !this.#stopped) await this.#pause(clock, pauseMs)
    }
  }

  async #pause (clock: Clock, ms: number): Promise<void> {
    await new Promise<void>(resolve => { this.#rest = { timer: clock.after(ms, resolve), over: resolve } })
    this.#rest = null
  }
}
