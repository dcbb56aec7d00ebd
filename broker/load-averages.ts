// Moving averages as mosquitto has them on $SYS/broker/load/...: so much a minute, over the last 1, 5 and 15 minutes,
// where what is longer ago counts exponentially less (like the load average of Unix).

const MINUTE_MS = 60_000
const SPANS = [['1min', MINUTE_MS], ['5min', 5 * MINUTE_MS], ['15min', 15 * MINUTE_MS]] as const

export class LoadAverages {
  /** The counters at the last look. */
  readonly #before = new Map<string, number>()
  readonly #averages = new Map<string, number>()
  #atMs: number | null = null

  /**
   * Takes the present values of counters by name and returns the averages by `{name}/{span}`, such as
   * `publish/sent/5min`. They are 0 at the first look, and unchanged when no time has passed since the last.
   */
  take (counters: Readonly<Record<string, number>>, nowMs: number): ReadonlyMap<string, number> {
    const tookMs = this.#atMs === null ? -1 : nowMs - this.#atMs
    if (tookMs === 0) return this.#averages
    this.#atMs = nowMs
    for (const [name, value] of Object.entries(counters)) {
      const aMinute = (value - (this.#before.get(name) ?? value)) * MINUTE_MS / tookMs
      this.#before.set(name, value)
      for (const [span, spanMs] of SPANS) {
        const average = this.#averages.get(`${name}/${span}`) ?? 0
        // A clock that was set back must not turn an average around: that time is not counted.
        this.#averages.set(`${name}/${span}`, tookMs < 0 ? average : aMinute + Math.exp(-tookMs / spanMs) * (average - aMinute))
      }
    }
    return this.#averages
  }
}
