// The change feed: which lots have a new version. It carries ids only, so that it is the same whether the change was
// made in this process or, with PostgreSQL, on another node; whoever needs the lot reads the newest.
import type { Id, Lot } from '../shared/lot.js'
import type { EventsRead } from './audit.js'

/** What is known of a commit without reading it again. Only where nobody else writes is it the newest. */
export interface Committed {
  /** Changed lots as they are now; one that was removed is not here. */
  readonly lots: ReadonlyMap<Id, Lot>
  /** Null when it added no lines. */
  readonly events: EventsRead | null
}

/** `withBays`: those of the lots whose bays changed as well. `committed` is null when all of it is to be read. */
export type FeedListener = (lots: ReadonlySet<Id>, withBays: ReadonlySet<Id>, committed: Committed | null) => void

export class ChangeFeed {
  readonly #listeners = new Set<FeedListener>()

  /** Calls `listener` after every commit that changed lots. Returns how to stop it. */
  listen (listener: FeedListener): () => void {
    this.#listeners.add(listener)
    return () => { this.#listeners.delete(listener) }
  }

  /** Told by the ledger after a commit, never before. */
  tell (lots: ReadonlySet<Id>, withBays: ReadonlySet<Id>, committed: Committed | null): void {
    if (lots.size === 0) return
    for (const listener of this.#listeners) listener(lots, withBays, committed)
  }
}

/** News without details. */
export class Bell {
  readonly #listeners = new Set<() => void>()

  /** Calls `listener` at every ring. Returns how to stop it. */
  listen (listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => { this.#listeners.delete(listener) }
  }

  ring (): void {
    for (const listener of this.#listeners) listener()
  }
}
