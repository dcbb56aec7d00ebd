// How long commits take, and so where they are done: at once, or beside the event loop.

/**
 * From here on a commit is done beside the event loop, in milliseconds. To hand it over costs up to an eighth of that while the processors
 * are busy, and a commit that takes less keeps nobody waiting for long (docs/decisions/022).
 */
const SLOW_MS = 2.5
/** So many of the newest commits tell how fast the disk is: one hiccup does not. */
const NEWEST = 9
/** A commit beside the event loop that took less may have waited for the loop more than for the disk, in milliseconds. */
const UNCLEAR_MS = 10
/** After so many of those, one is done at once, to find out. */
const TRY_AFTER = 32

export interface CommitPace {
  /** Whether commits take long. */
  readonly isSlow: boolean
  /** Whether the next one is to be done beside the event loop. */
  readonly isBeside: boolean
  /** Told of every commit that changed anything. */
  took (ms: number, wasBeside: boolean): void
}

/** Goes by the median of the newest commits that were done at once. A new one takes the disk for fast. */
export class MeasuredPace implements CommitPace {
  #newest: number[] = []
  #isSlow = false
  #unclear = 0

  get isSlow (): boolean { return this.#isSlow }

  get isBeside (): boolean { return this.#isSlow && this.#unclear < TRY_AFTER }

  took (ms: number, wasBeside: boolean): void {
    if (wasBeside) {
      if (ms < UNCLEAR_MS) this.#unclear++
      return
    }
    this.#unclear = 0
    if (this.#isSlow) {
      // One was tried: a fast one makes a new beginning.
      if (ms < SLOW_MS) [this.#newest, this.#isSlow] = [[], false]
      return
    }
    this.#newest.push(ms)
    if (this.#newest.length > NEWEST) this.#newest.shift()
    this.#isSlow = this.#newest.length === NEWEST && ([...this.#newest].sort((a, b) => a - b)[(NEWEST - 1) / 2] ?? 0) >= SLOW_MS
  }
}
