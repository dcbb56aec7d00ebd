// Group commit on the one connection: pieces of work that wait together are done one after the other and committed together. What is
// asked for while they are done comes along, since the commit takes as long again and would have to be waited for.
// When one of them fails, nothing of any is done and each is tried by itself, so that it fails alone.

/** So that one who has much to do makes nobody wait long. */
const MOST_IN_A_GROUP = 8
/** Work that takes so long is worth a look at what came meanwhile, in milliseconds: the look costs a twentieth of it. */
const LONG_MS = 0.5

/**
 * `alone`: by itself and before all others. `last`: after the others of its group, when all that came while they were done is there.
 * Otherwise in the order they came.
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

export class GroupCommit<Work> {
  /** Does and commits all of these or nothing; it asks for the next one when one is done. */
  readonly #commit: (works: AsyncIterable<Work>) => Promise<CommittedGroup>
  #waiting: Waiting<Work>[] = []
  #running: Promise<void> | null = null

  constructor (commit: (works: AsyncIterable<Work>) => Promise<CommittedGroup>) {
    this.#commit = commit
  }

  /** Resolves with the result when the work is committed; throws what it threw. */
  async do (work: Work, place?: Place): Promise<unknown> {
    return await new Promise((done, failed) => {
      this.#waiting.push({ work, place, done, failed })
      this.#running ??= this.#run()
    })
  }

  /** Resolves when nothing is being done and nothing waits. */
  async idle (): Promise<void> {
    await this.#running
  }

  async #run (): Promise<void> {
    while (this.#waiting.length > 0) {
      // Others that are ready now come along, and who was answered goes on first.
      await new Promise<void>(resolve => { process.nextTick(resolve) })
      await this.#settle(this.#next())
    }
    this.#running = null
  }

  #next (): Waiting<Work>[] {
    const lone = this.#waiting.findIndex(({ place }) => place === 'alone')
    if (lone !== -1) return this.#waiting.splice(lone, 1)
    const group = this.#waiting.splice(0, MOST_IN_A_GROUP)
    return [...group.filter(({ place }) => place !== 'last'), ...group.filter(({ place }) => place === 'last')]
  }

  /** Those of the group, which grows by those that came while they were done. */
  async* #worksOf (group: Waiting<Work>[]): AsyncIterable<Work> {
    const startedMs = performance.now()
    let done = 0
    for (; done < group.length && group[done]?.place !== 'last'; done++) yield group[done]?.work as Work
    if (group[0]?.place !== 'alone' && performance.now() - startedMs >= LONG_MS) group.push(...await this.#late(MOST_IN_A_GROUP - group.length))
    for (; done < group.length; done++) yield group[done]?.work as Work
  }

  async #late (atMost: number): Promise<Waiting<Work>[]> {
    // In the first turn the sockets are read; who has got something from them asks in the second.
    await turn()
    await turn()
    const late = this.#waiting.filter(({ place }) => place !== 'alone').slice(0, atMost)
    this.#waiting = this.#waiting.filter(one => !late.includes(one))
    return late
  }

  async #settle (group: Waiting<Work>[]): Promise<void> {
    let committed: CommittedGroup
    try {
      committed = await this.#commit(this.#worksOf(group))
    } catch (error) {
      if (group.length === 1) group[0]?.failed(error)
      else for (const one of group) await this.#settle([one])
      return
    }
    // It is done: whatever goes wrong from here on, nothing of it is done again here.
    try {
      committed.tell()
      // To answer those who asked takes as long as the commit: who waits for news of it has it before.
      if (group.length > 1) await turn()
      for (const [i, { done }] of group.entries()) done(committed.results[i])
    } catch (error) {
      for (const { failed } of group) failed(error)
    }
  }
}

async function turn (): Promise<void> {
  await new Promise(resolve => setImmediate(resolve))
}
