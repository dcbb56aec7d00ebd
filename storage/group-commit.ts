// Group commit on the one connection: pieces of work that wait together are done in the order they came and committed together.
// When one of them fails, nothing of any is done and each is tried by itself, so that it fails alone.

/** So that one who has much to do makes nobody wait long. */
const MOST_IN_A_GROUP = 8

interface Waiting<Work> {
  readonly work: Work
  readonly alone: boolean
  readonly done: (result: unknown) => void
  readonly failed: (error: unknown) => void
}

export interface CommittedGroup {
  /** Of each piece of work. */
  readonly results: readonly unknown[]
  /** Tells whoever is to know that it is done. */
  readonly tell: () => void
}

export class GroupCommit<Work> {
  /** Does and commits all of these or nothing. */
  readonly #commit: (works: readonly Work[]) => Promise<CommittedGroup>
  #waiting: Waiting<Work>[] = []
  #running = false

  constructor (commit: (works: readonly Work[]) => Promise<CommittedGroup>) {
    this.#commit = commit
  }

  /** Resolves with the result when the work is committed, `alone` or with others; throws what it threw. */
  async do (work: Work, alone: boolean): Promise<unknown> {
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
    return lone === -1 ? this.#waiting.splice(0, MOST_IN_A_GROUP) : this.#waiting.splice(lone, 1)
  }

  async #settle (group: readonly Waiting<Work>[]): Promise<void> {
    let committed: CommittedGroup
    try {
      committed = await this.#commit(group.map(({ work }) => work))
    } catch (error) {
      if (group.length === 1) group[0]?.failed(error)
      else for (const one of group) await this.#settle([one])
      return
    }
    // It is done: whatever goes wrong from here on, nothing of it is done again here.
    try {
      committed.tell()
      for (const [i, { done }] of group.entries()) done(committed.results[i])
    } catch (error) {
      for (const { failed } of group) failed(error)
    }
  }
}
