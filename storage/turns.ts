// Whose turn it is on the one connection: pieces of work that wait together are done together, in the order they came.
// When one of them fails, nothing of any is done and each is tried by itself, so that it fails alone.

/** So that one who has much to do makes nobody wait long. */
const MOST_TOGETHER = 8

interface Waiting<Work> {
  readonly work: Work
  readonly alone: boolean
  readonly done: (result: unknown) => void
  readonly failed: (error: unknown) => void
}

export interface Together {
  /** Of each piece of work. */
  readonly results: readonly unknown[]
  /** Tells whoever is to know that it is done. */
  readonly tell: () => void
}

export class Turns<Work> {
  /** Does all of these or nothing. */
  readonly #together: (works: readonly Work[]) => Promise<Together>
  #waiting: Waiting<Work>[] = []
  #running = false

  constructor (together: (works: readonly Work[]) => Promise<Together>) {
    this.#together = together
  }

  /** Resolves with the result when the work is done, `alone` or with others; throws what it threw. */
  async take (work: Work, alone: boolean): Promise<unknown> {
    return await new Promise((done, failed) => {
      this.#waiting.push({ work, alone, done, failed })
      if (!this.#running) void this.#run()
    })
  }

  async #run (): Promise<void> {
    this.#running = true
    while (this.#waiting.length > 0) {
      // Others that are ready now come along, and who was answered goes on first.
      await new Promise<void>(resolve => { process.nextTick(resolve) })
      await this.#settle(this.#next())
    }
    this.#running = false
  }

  /** Who wants to be alone waits for nobody's commit. */
  #next (): Waiting<Work>[] {
    const lone = this.#waiting.findIndex(({ alone }) => alone)
    return lone === -1 ? this.#waiting.splice(0, MOST_TOGETHER) : this.#waiting.splice(lone, 1)
  }

  async #settle (group: readonly Waiting<Work>[]): Promise<void> {
    let together: Together
    try {
      together = await this.#together(group.map(({ work }) => work))
    } catch (error) {
      if (group.length === 1) group[0]?.failed(error)
      else for (const one of group) await this.#settle([one])
      return
    }
    // It is done: whatever goes wrong from here on, nothing of it is done again here.
    try {
      together.tell()
      for (const [i, { done }] of group.entries()) done(together.results[i])
    } catch (error) {
      for (const { failed } of group) failed(error)
    }
  }
}
