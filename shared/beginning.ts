// When the batches of several consumers begin. Those that are ready at the same time begin together, so that the ledger commits
// them together: a commit costs as much as ten messages, whatever is in it.

export class Beginning {
  #next: Promise<void> | null = null
  readonly #gatherings = new Set<Promise<void>>()
  #tellEnd = (): void => {}
  #ended = this.#upcomingEnd()

  /** Resolves one turn of the event loop later, for all who ask meanwhile at once, and not while anybody gathers. */
  async ready (): Promise<void> {
    await (this.#next ??= this.#whenReady())
  }

  /** The others begin only when `wait` is over. It must not take long. */
  async gather (wait: Promise<void>): Promise<void> {
    this.#gatherings.add(wait)
    await wait
    this.#gatherings.delete(wait)
    this.#tellEnd()
    this.#ended = this.#upcomingEnd()
  }

  /** Resolves when `wait` is over, or before, when others have gathered and will begin. */
  async gatherUnlessOthers (wait: Promise<void>): Promise<void> {
    await Promise.race([wait, this.#ended])
  }

  async #whenReady (): Promise<void> {
    // The event loop must turn once a batch in any case: sockets are read, and the SQLite driver frees its statements.
    await new Promise(resolve => setImmediate(resolve))
    while (this.#gatherings.size > 0) await Promise.all(this.#gatherings)
    this.#next = null
  }

  #upcomingEnd (): Promise<void> {
    return new Promise(resolve => { this.#tellEnd = resolve })
  }
}
