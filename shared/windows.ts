// How many places reservations take at each instant: a step function over time, kept up to date one window at a time.
// Pure. The ledger has one for each lot whose reservations are asked about, so that a question about an hour of a lot
// with a hundred thousand reservations reads only that hour.

/** A half-open window of time [fromMs, toMs). */
export interface Window {
  readonly fromMs: number
  readonly toMs: number
}

/** A part of time in which the same number of windows overlap. */
export interface Step extends Window {
  readonly count: number
}

const LEAST_ROOM = 16

/**
 * The number of windows that overlap at each instant. Windows that only touch (one ends where the other begins) do not
 * overlap. A question costs the logarithm of all steps and the steps that it spans; a change also moves the steps behind
 * it, which is one copy of memory.
 */
export class Overlaps {
  /** Instants at which the count changes, ascending; the first `#length` are in use. */
  #at: Float64Array
  /** The count from that instant on; 0 before the first and from the last on. */
  #count: Int32Array
  #length = 0

  constructor (windows: readonly Window[] = []) {
    for (const { fromMs, toMs } of windows) check(fromMs, toMs)
    const begins = Float64Array.from(windows, window => window.fromMs).sort()
    const ends = Float64Array.from(windows, window => window.toMs).sort()
    this.#at = new Float64Array(Math.max(LEAST_ROOM, windows.length * 2))
    this.#count = new Int32Array(Math.max(LEAST_ROOM, windows.length * 2))
    let [begun, ended] = [0, 0]
    while (ended < ends.length) {
      const atMs = Math.min(begins[begun] ?? Infinity, ends[ended] ?? Infinity)
      const before = begun - ended
      while (begins[begun] === atMs) begun++
      while (ends[ended] === atMs) ended++
      if (begun - ended === before) continue
      this.#at[this.#length] = atMs
      this.#count[this.#length++] = begun - ended
    }
  }

  /** Steps that it keeps: what it costs in memory, 12 bytes each. */
  get size (): number { return this.#length }

  add (window: Window): void { this.#change(window, 1) }

  /** Takes away a window that was added. */
  remove (window: Window): void { this.#change(window, -1) }

  /** The most windows that overlap at one instant of `within`; 0 when that is empty. */
  peak ({ fromMs, toMs }: Window): number {
    if (fromMs >= toMs) return 0
    let index = this.#lastUpTo(fromMs)
    let peak = index < 0 ? 0 : this.#count[index] ?? 0
    for (index++; index < this.#length && (this.#at[index] ?? 0) < toMs; index++) {
      const count = this.#count[index] ?? 0
      if (count > peak) peak = count
    }
    return peak
  }

  /** The steps of `within`, in order and without gaps; none when that is empty. */
  * steps ({ fromMs, toMs }: Window): Generator<Step> {
    let index = this.#lastUpTo(fromMs)
    let beginMs = fromMs
    while (beginMs < toMs) {
      const nextMs = index + 1 < this.#length ? this.#at[index + 1] ?? toMs : toMs
      const endMs = Math.min(nextMs, toMs)
      yield { fromMs: beginMs, toMs: endMs, count: index < 0 ? 0 : this.#count[index] ?? 0 }
      beginMs = endMs
      index++
    }
  }

  #change ({ fromMs, toMs }: Window, by: 1 | -1): void {
    check(fromMs, toMs)
    const first = this.#edge(fromMs)
    const end = this.#edge(toMs)
    for (let index = first; index < end; index++) {
      const count = (this.#count[index] ?? 0) + by
      if (count < 0) throw new Error(`no window is there at ${fromMs} to ${toMs} that could be taken away`)
      this.#count[index] = count
    }
    // From behind, so that the first index stays right.
    this.#merge(end)
    this.#merge(first)
  }

  /** The index of the step that begins at `atMs`, made where there is none. */
  #edge (atMs: number): number {
    const before = this.#lastUpTo(atMs)
    if (before >= 0 && this.#at[before] === atMs) return before
    const index = before + 1
    if (this.#length === this.#at.length) this.#grow()
    this.#at.copyWithin(index + 1, index, this.#length)
    this.#count.copyWithin(index + 1, index, this.#length)
    this.#at[index] = atMs
    this.#count[index] = before < 0 ? 0 : this.#count[before] ?? 0
    this.#length++
    return index
  }

  /** A step with the count of the one before it is none. */
  #merge (index: number): void {
    const before = index === 0 ? 0 : this.#count[index - 1]
    if (this.#count[index] !== before) return
    this.#at.copyWithin(index, index + 1, this.#length)
    this.#count.copyWithin(index, index + 1, this.#length)
    this.#length--
  }

  /** The last index whose instant is not after `atMs`; -1 when there is none. */
  #lastUpTo (atMs: number): number {
    let low = 0
    let high = this.#length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#at[middle] ?? 0) <= atMs) low = middle + 1
      else high = middle
    }
    return low - 1
  }

  #grow (): void {
    const at = new Float64Array(this.#at.length * 2)
    const count = new Int32Array(this.#at.length * 2)
    at.set(this.#at)
    count.set(this.#count)
    this.#at = at
    this.#count = count
  }
}

/** The parts of `window` that are not in `without`, in order: none, one or two. */
export function partsWithout (window: Window, without: Window | null): Window[] {
  if (without === null || without.toMs <= window.fromMs || without.fromMs >= window.toMs) return [window]
  return [{ fromMs: window.fromMs, toMs: without.fromMs }, { fromMs: without.toMs, toMs: window.toMs }].filter(({ fromMs, toMs }) => fromMs < toMs)
}

function check (fromMs: number, toMs: number): void {
  if (!(fromMs < toMs)) throw new Error(`a window must end after it begins: ${fromMs} to ${toMs}`)
}
