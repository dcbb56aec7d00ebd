// How fast one client may publish: a bucket that fills with time and holds one second's worth. Who is faster waits and
// is not read from meanwhile; nothing is dropped.

export class Rate {
  readonly #perMs: number
  readonly #most: number
  #tokens: number
  #countedAtMs = performance.now()

  constructor (perSecond: number) {
    this.#perMs = perSecond / 1_000
    this.#most = perSecond
    this.#tokens = perSecond
  }

  /** Takes one message's worth and returns for how long the next one has to wait, in milliseconds; mostly 0. */
  take (nowMs: number): number {
    this.#tokens = Math.min(this.#most, this.#tokens + (nowMs - this.#countedAtMs) * this.#perMs) - 1
    this.#countedAtMs = nowMs
    return this.#tokens >= 0 ? 0 : Math.max(1, -this.#tokens / this.#perMs)
  }
}
