// The windows of lots' reservations as they are committed, kept in memory between transactions. A transaction takes those
// of a lot out and only its commit puts them back, so what a failed transaction did to them is never seen by another.
import type { Id, Lot } from '../shared/lot.js'
import type { Overlaps } from '../shared/windows.js'

/** Steps of all lots together, 12 bytes each: those that were not used for longest go first. */
const MOST_STEPS = 4_000_000

interface Kept {
  readonly version: number
  readonly overlaps: Overlaps
}

export class WindowsCache {
  /** The last used is last. */
  readonly #kept = new Map<Id, Kept>()
  #steps = 0

  /** Takes out the windows of a lot; null when they are not here, or others than the lot's row speaks of. */
  take ({ id, windowsVersion }: Lot): Overlaps | null {
    const kept = this.#kept.get(id)
    if (!kept) return null
    this.#drop(id, kept)
    return kept.version === windowsVersion ? kept.overlaps : null
  }

  /** Keeps the windows of a lot as they were just committed. */
  put ({ id, windowsVersion }: Lot, overlaps: Overlaps): void {
    const before = this.#kept.get(id)
    if (before) {
      if (before.version > windowsVersion) return
      this.#drop(id, before)
    }
    this.#kept.set(id, { version: windowsVersion, overlaps })
    this.#steps += overlaps.size
    for (const [oldest, kept] of this.#kept) {
      if (this.#steps <= MOST_STEPS || oldest === id) break
      this.#drop(oldest, kept)
    }
  }

  #drop (id: Id, kept: Kept): void {
    this.#kept.delete(id)
    this.#steps -= kept.overlaps.size
  }
}
