// The processes that write one ledger together, as the ledger and its services see them. Where the ledger is a file there are none.
import type { Id } from '../shared/lot.js'
import type { NodeAddress } from '../shared/nodes.js'
import type { Question } from './questions.js'
import type { Database } from './rows.js'

/** Tables whose rows are read in the order of their numbers by whoever tells of them. */
export type Numbered = 'audit' | 'notices'

export interface Settled {
  /** No row with this number or a lower one is still to come. */
  readonly upTo: number
  /** Whether that is every number given by now; where it is not, it will be soon. */
  readonly isAll: boolean
}

/** What one process tells the others of its commits. */
export interface News {
  /** Lots that were changed, with their versions; null of one that was removed. */
  readonly lots: ReadonlyMap<Id, number | null>
  /** Those of them whose bays were changed. */
  readonly withBays: ReadonlySet<Id>
  readonly hasNotices: boolean
  /** Whether there are lines in the audit that are to be published. */
  readonly hasEvents: boolean
}

/** Told of what becomes of the nodes. */
export interface NodesWatcher {
  /** The nodes that clients can use, by name, whenever that changes. */
  onNodes (nodes: readonly NodeAddress[]): void
  /** The database has not answered for 2 s. */
  onLost (): void
  /** It answers again, and the feed has told of every lot that changed meanwhile. */
  onBack (): void
}

export interface LedgerNodes {
  /** The name of this one. */
  readonly node: string
  /**
   * Whose place in the events and notices is gone by here: the node's own, since it tells all of them on its own broker; or that
   * of all processes that share one broker, of which one at a time tells them.
   */
  readonly teller: string
  /** Tells the others of a commit. */
  tell (news: News): void
  /** Asks for rows of a table, and how far they may be read: numbers are given before the commit, so a lower one may become visible later. */
  readSettled<R> (table: Numbered, question: (database: Database) => Question<R>): Promise<Settled & { readonly answer: R }>
  /** There is one watcher. It is told of the nodes at once. Returns how to stop it. */
  watch (watcher: NodesWatcher): () => void
  /** Clients can come to this node by these URLs: from now on all nodes are told. */
  advertise (urls: readonly string[]): void
}
