// How long commits take, and so where they are done: at once, or beside the event loop.

/** To hand shorter ones over, and to hear of their end, costs more than they do; for longer ones nobody should be kept waiting. In milliseconds. */
const SLOW_MS = 2.5
/** So many of the newest commits tell how fast the disk is: one hiccup does not. */
const NEWEST = 9

export interface CommitPace {
  /** Whether the next commit is to be done beside the event loop. */
  readonly isSlow: boolean
  /** Told of every commit that changed anything. */
  took (ms: number): void
}

/** Goes by the median of the newest commits. A new one takes the disk for fast. */
export class MeasuredPace implements CommitPace {
  readonly #newest: number[] = []

  get isSlow (): boolean {
    return this.#newest.length === NEWEST && ([...this.#newest].sort((a, b) => a - b)[(NEWEST - 1) / 2] ?? 0) >= SLOW_MS
  }

  took (ms: number): void {
    this.#newest.push(ms)
    if (this.#newest.length > NEWEST) this.#newest.shift()
  }
}
