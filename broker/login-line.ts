// The line before the password check: few checks at once, one for each address, and the addresses take turns, so that
// nobody's flood keeps anybody else waiting. Checks also share processors, so an address that has failed before gives way
// to those that have not. Whoever waits too long, or comes when the own line is full, is sent away.
import type { Clock, Timer } from '../shared/clock.js'

/** Milliseconds: the longest wait. A client gives up after that, and the broker after limits.connectTimeoutMs. */
const PATIENCE_MS = 8_000

/** Milliseconds: how long a suspect gives way to others. */
const GIVES_WAY_MS = 1_000

/** One log-in that waits to be checked. */
export interface Waiting {
  /** Whose turn it takes: the address. */
  readonly key: string
  /** Milliseconds since 1970 before which it may not be checked; asked again when its turn comes. */
  untilMs (): number
  /** Whether its address has failed before. */
  isSuspect (): boolean
  /** Checks it. Must not throw. */
  check (): Promise<void>
  /** Its time is over, or the line is closed. */
  sendAway (): void
}

interface Place {
  readonly waiting: Waiting
  readonly sinceMs: number
  readonly patience: Timer
  /** Ends the delay that it waits for. */
  delay: Timer | null
}

/** Everybody of one address. */
interface Queue {
  readonly key: string
  /** In the order of coming; those that may not be checked yet are not among them. */
  readonly ready: Set<Place>
  /** Also those that are delayed. */
  size: number
  isChecking: boolean
}

export interface LineParts {
  readonly clock: Clock
  /** Checks at once, over all addresses. */
  readonly atOnce: number
  /** Most that wait for one address. */
  readonly perKey: number
}

export class LoginLine {
  readonly #parts: LineParts
  readonly #queues = new Map<string, Queue>()
  /** Queues that have somebody ready and no check under way; the first has the next turn. */
  readonly #turns = new Set<Queue>()
  readonly #places = new Map<Waiting, Place>()
  #checking = 0

  constructor (parts: LineParts) {
    this.#parts = parts
  }

  /** Addresses that somebody waits for. */
  get size (): number { return this.#queues.size }

  /** False when the line of this address is full: it does not wait then. */
  join (waiting: Waiting): boolean {
    const { clock, perKey } = this.#parts
    const queue = this.#queues.get(waiting.key) ?? { key: waiting.key, ready: new Set<Place>(), size: 0, isChecking: false }
    if (queue.size >= perKey) return false
    this.#queues.set(waiting.key, queue)
    queue.size++
    const place: Place = {
      waiting, delay: null, sinceMs: clock.nowMs(),
      patience: clock.after(PATIENCE_MS, () => { if (this.leave(waiting)) waiting.sendAway() })
    }
    this.#places.set(waiting, place)
    this.#arrive(queue, place)
    this.#next()
    return true
  }

  /** Takes somebody out of the line; false when that one is being checked already, or was never there. */
  leave (waiting: Waiting): boolean {
    const place = this.#places.get(waiting)
    const queue = this.#queues.get(waiting.key)
    if (place === undefined || queue === undefined) return false
    this.#remove(queue, place)
    this.#tidy(queue)
    return true
  }

  /** Sends everybody away who is not being checked. */
  close (): void {
    for (const waiting of [...this.#places.keys()]) if (this.leave(waiting)) waiting.sendAway()
  }

  #arrive (queue: Queue, place: Place): void {
    const { clock } = this.#parts
    const delayMs = place.waiting.untilMs() - clock.nowMs()
    if (delayMs <= 0) {
      queue.ready.add(place)
      if (!queue.isChecking) this.#turns.add(queue)
      return
    }
    place.delay = clock.after(delayMs, () => {
      place.delay = null
      this.#arrive(queue, place)
      this.#next()
    })
  }

  #next (): void {
    while (this.#checking < this.#parts.atOnce) {
      const queue = this.#turn()
      if (queue === null) return
      this.#turns.delete(queue)
      const [place] = queue.ready
      if (place === undefined) continue
      queue.ready.delete(place)
      // Others of this address may have failed since it came.
      if (place.waiting.untilMs() > this.#parts.clock.nowMs()) {
        this.#arrive(queue, place)
        if (queue.ready.size > 0) this.#turns.add(queue)
        continue
      }
      this.#remove(queue, place)
      void this.#check(queue, place.waiting)
    }
  }

  /** Whose turn it is; null when nobody's, or only that of suspects, who wait until nothing else is checked. */
  #turn (): Queue | null {
    let suspect: Queue | null = null
    for (const queue of this.#turns) {
      const [place] = queue.ready
      if (place === undefined || !place.waiting.isSuspect()) return queue
      if (this.#checking === 0 || this.#parts.clock.nowMs() - place.sinceMs >= GIVES_WAY_MS) suspect ??= queue
    }
    return suspect
  }

  async #check (queue: Queue, waiting: Waiting): Promise<void> {
    this.#checking++
    queue.isChecking = true
    try {
      await waiting.check()
    } finally {
      this.#checking--
      queue.isChecking = false
      if (queue.ready.size > 0) this.#turns.add(queue)
      this.#tidy(queue)
      this.#next()
    }
  }

  #remove (queue: Queue, place: Place): void {
    place.patience.cancel()
    place.delay?.cancel()
    place.delay = null
    queue.ready.delete(place)
    queue.size--
    this.#places.delete(place.waiting)
  }

  #tidy (queue: Queue): void {
    if (queue.ready.size === 0) this.#turns.delete(queue)
    if (queue.size === 0 && !queue.isChecking) this.#queues.delete(queue.key)
  }
}
