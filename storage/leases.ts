// Shares of the lots, where several processes take the messages of one external broker: each share is one process's at a time, by a
// lease in the database with an epoch that grows with every change of owner (docs/decisions/017). The SQL is in postgres-leases.ts.
import { sql } from 'kysely'
import { FencedError } from '../shared/errors.js'
import type { Id } from '../shared/lot.js'
import type { Question } from './questions.js'
import type { Database } from './rows.js'

/** The share of everything that is of no single lot: requests, replies, promises, events. */
export const REQUESTS_SHARE = 'requests'

export interface Lease {
  /** `00`, `01` ... of lots, or `requests`. */
  readonly share: string
  readonly epoch: number
}

/** What a process learns when it says that it is there. */
export interface Renewed {
  /** Those that were prolonged. */
  readonly kept: readonly Lease[]
  /** Leases that nobody has, and all there are. */
  readonly free: number
  readonly all: number
  /** Processes that take shares, this one among them if it does. */
  readonly processes: number
}

export interface Leases {
  /** How many shares the lots have; the same for all processes. */
  readonly lotShares: number
  /**
   * Prolongs those of `held` that are still this process's. `takesPart`: it counts among those who take shares. What it has and does not
   * name, since the answer to its taking or giving back was lost, ends by itself. Throws when the database does not answer.
   */
  renew (takesPart: boolean, held: readonly Lease[]): Promise<Renewed>
  /** Takes at most `most` of the leases that nobody has. */
  take (most: number): Promise<Lease[]>
  /** Gives leases back and tells the others; those that are another's by now are left alone. */
  release (leases: readonly Lease[]): Promise<void>
  /** Whether a lease is still this process's: no other has taken it, whether its time is over or not. */
  isOurs (lease: Lease): Promise<boolean>
  /** To be asked first in every transaction for a share. Throws `FencedError` when the lease is another's; otherwise nobody takes it before the commit. */
  fence (lease: Lease): Fence
  /** Calls `listener` when another process has given leases back, has come or has gone. */
  onNews (listener: () => void): void
  /** This process takes no shares any more. */
  leave (): Promise<void>
  close (): Promise<void>
}

export type Fence = (database: Database) => Question<void>

/** How leases are opened; there are none where the ledger is a file. */
export type OpenLeases = (parts: { readonly prefix: string, readonly leaseMs: number }) => Promise<Leases>

/** Whose word `process` is, in a row of `leases`. */
export function fenceOf (prefix: string, process: string, { share, epoch }: Lease): Fence {
  return ({ kysely }) => ({
    // `for key share`: taking the lease waits for the end of this transaction, prolonging it does not.
    query: sql`select from leases where prefix = ${prefix} and share = ${share} and epoch = ${epoch} and process = ${process} for key share`.compile(kysely),
    read: rows => { if (rows.length === 0) throw new FencedError(`the share ${share} has another owner since its epoch ${epoch}`) }
  })
}

/** The share of a lot, the same for ever: FNV-1a of its id, which is ASCII. */
export function shareOf (lot: Id, shares: number): string {
  let hash = 0x811c9dc5
  for (let i = 0; i < lot.length; i++) hash = Math.imul(hash ^ lot.charCodeAt(i), 0x01000193)
  return shareName((hash >>> 0) % shares)
}

export function shareName (number: number): string {
  return String(number).padStart(2, '0')
}
