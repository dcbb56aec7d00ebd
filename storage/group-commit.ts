// Group commit on the one connection: pieces of work that wait together are done one after the other and committed together.
// When one of them fails, nothing of any is done and each is tried by itself, so that it fails alone.

/** So that one who has much to do makes nobody wait long. */
const MOST_IN_A_GROUP = 8
/** Work that takes so long is worth a look at what came meanwhile, in milliseconds. */
const LONG_MS = 0.5

/**
 * `alone`: by itself and before all others. `last`: after the others of its group, and when what came while they were done is there,
 * so that it can take that in. Otherwise in the order they came.
 */
export type Place = 'alone' | 'last'

interface Waiting<Work> {
  readonly work: Work
  readonly place: Place | undefined
  readonly done: (result: unknown) => void
  readonly failed: (error: unknown) => void
}

export interface CommittedGroup {
  /** Of each piece of work. */
  readonly results: readonly unknown[]
  /** Tells whoever is to know that it is done. */
  readonly tell: () => void
}

export interface GroupCommitParts<Work> {
  /** Does and commits all of these or nothing; each is asked for when the one before it is done. */
  readonly commit: (works: AsyncIterable<Work>) => Promise<CommittedGroup>
  /**
   * Asked after a group where others wait already: resolves when those who were told have had the time to come along. Null where
   * commits are done at once: then they come along anyway.
   */
  readonly regather: () => Promise<void> | null
}

export class GroupCommit<Work> {
  readonly #parts: GroupCommitParts<Work>
  #waiting: Waiting<Work>[] = []
  #running: Promise<void> | null = null
  #settling: Promise<void> | null = null
  /** How many groups were begun. */
  #begun = 0
  /** Whether something may be committed that nobody is being told of yet. */
  #isCommitting = false

  constructor (parts: GroupCommitParts<Work>) {
    this.#parts = parts
  }

  /** Resolves with the result when the work is committed; throws what it threw. */
  async do (work: Work, place?: Place): Promise<unknown> {
    return await new Promise((done, failed) => {
      this.#waiting.push({ work, place, done, failed })
      this.#running ??= this.#run()
    })
  }

  /**
   * Does a read of its own. If it may have seen what was being committed meanwhile, whoever asked for that is told, and speaks, first: a
   * notice of a place would else come before the reply that gave it.
   */
  async beside<T> (read: () => Promise<T>): Promise<T> {
    const begunBefore = this.#begun
    const wasCommitting = this.#isCommitting
    const found = await read()
    if (wasCommitting || this.#begun !== begunBefore) {
      await this.#settling
      await turn()
    }
    return found
  }

  /** Resolves when nothing is being done and nothing waits. */
  async idle (): Promise<void> {
    await this.#running
  }

  async #run (): Promise<void> {
    while (this.#waiting.length > 0) {
      // Others that are ready now come along, and who was answered goes on first.
      await new Promise<void>(resolve => { process.nextTick(resolve) })
      this.#settling = this.#settle(this.#next())
      await this.#settling
      if (this.#waiting.length > 0 && !this.#hasLone) await this.#parts.regather()
    }
    this.#running = null
  }

  get #hasLone (): boolean { return this.#waiting.some(({ place }) => place === 'alone') }

  #next (): Waiting<Work>[] {
    const lone = this.#waiting.findIndex(({ place }) => place === 'alone')
    if (lone !== -1) return this.#waiting.splice(lone, 1)
    const group = this.#waiting.splice(0, MOST_IN_A_GROUP)
    return [...group.filter(({ place }) => place !== 'last'), ...group.filter(({ place }) => place === 'last')]
  }

  async* #worksOf (group: readonly Waiting<Work>[]): AsyncIterable<Work> {
    const startedMs = performance.now()
    const firstOfLast = group.findIndex(({ place }) => place === 'last')
    for (const [i, { work }] of group.entries()) {
      if (i === firstOfLast && performance.now() - startedMs >= LONG_MS) await turn()
      yield work
    }
  }

  async #settle (group: readonly Waiting<Work>[]): Promise<void> {
    let committed: CommittedGroup
    this.#begun++
    this.#isCommitting = true
    try {
      committed = await this.#parts.commit(this.#worksOf(group))
    } catch (error) {
      this.#isCommitting = false
      if (group.length === 1) group[0]?.failed(error)
      else for (const one of group) await this.#settle([one])
      return
    }
    this.#isCommitting = false
    // It is done: whatever goes wrong from here on, nothing of it is done again here.
    try {
      committed.tell()
      for (const [i, { done }] of group.entries()) done(committed.results[i])
    } catch (error) {
      for (const { failed } of group) failed(error)
    }
  }
}

/**
 * The event loop turns, so that sockets are read. With a transaction open, reads outside of it wait for its end, and what goes to the
 * driver by itself (`runEach`) is only ever done in a transaction.
 */
async function turn (): Promise<void> {
  await new Promise(resolve => setImmediate(resolve))
}
