// When the batches of several consumers begin. Those that are ready at the same time begin together, so that the ledger commits
// them together: a commit costs as much as ten messages, whatever is in it.

export class BatchStart {
  #next: Promise<void> | null = null
  readonly #gatherings = new Set<Promise<void>>()
  readonly #isSlow: () => boolean
  #gathered = 0

  /** `isSlow`: whether commits wait long for a disk, so that it pays to wait longer for who comes along. */
  constructor (isSlow: () => boolean = () => false) {
    this.#isSlow = isSlow
  }

  get isSlow (): boolean { return this.#isSlow() }

  /** How many times somebody has gathered: who waits for less stops when it changes, and begins with them. */
  get gathered (): number { return this.#gathered }

  get isGathering (): boolean { return this.#gatherings.size > 0 }

  /** Resolves one turn of the event loop later, for all who ask meanwhile at once, and not while anybody gathers. */
  async ready (): Promise<void> {
    await (this.#next ??= this.#whenReady())
  }

  /** The same when `wait` is over; until then the others do not begin. It must not take long. */
  async readyAfter (wait: Promise<void>): Promise<void> {
    this.#gatherings.add(wait)
    await wait
    this.#gathered++
    // Asked for before the others go on, so that they and this one begin together.
    const ready = this.ready()
    this.#gatherings.delete(wait)
    await ready
  }

  async #whenReady (): Promise<void> {
    // The event loop must turn once a batch in any case: sockets are read, and the SQLite driver frees its statements.
    await new Promise(resolve => setImmediate(resolve))
    while (this.#gatherings.size > 0) await Promise.all(this.#gatherings)
    this.#next = null
  }
}
