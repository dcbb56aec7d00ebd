// The line before the password check: few checks at once, one for each address, and the addresses take turns, so that
// nobody's flood keeps anybody else waiting. Checks also share processors, so an address that has failed before is checked
// when nobody else is, and rests as long as it worked. Nobody is sent away at once: that would only be the next try.
import type { Clock, Timer } from '../shared/clock.js'

/** Milliseconds: the longest wait. A client gives up after that, and the broker after limits.connectTimeoutMs. */
const PATIENCE_MS = 8_000

/** Milliseconds: how long a suspect that may be checked gives way to others. */
const GIVES_WAY_MS = 4_000

/** Milliseconds: the longest rest after a check; the clock may have been set meanwhile. */
const LONGEST_REST_MS = 1_000

/** One log-in that waits to be checked. */
export interface Waiting {
  /** Whose turn it takes: the address. */
  readonly key: string
  /** Milliseconds since 1970 before which nobody of this address may be checked; asked again when its turn comes. */
  keyUntilMs (): number
  /** The same for this one alone. */
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
  readonly patience: Timer
  /** Ends the delay that it waits for by itself. */
  delay: Timer | null
  /** The line was full: it waits only to be sent away. */
  readonly isOver: boolean
}

/** Everybody of one address. */
interface Queue {
  readonly key: string
  /** In the order of coming; those that wait for a delay of their own are not among them. */
  readonly ready: Set<Place>
  /** Also those that are delayed; not those that the line is too full for. */
  size: number
  isChecking: boolean
  /** Ends the delay of the address. */
  sleep: Timer | null
  /** Since when it may be checked and is not. */
  readySinceMs: number
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
  /** The same of those that have failed before. */
  readonly #suspects = new Set<Queue>()
  readonly #places = new Map<Waiting, Place>()
  #checking = 0
  #isSuspectChecked = false
  /** No suspect is checked until it ends: they have a processor for half of the time. */
  #rest: Timer | null = null
  /** Ends the time for which the first suspect gives way. */
  #wake: Timer | null = null
  #isClosed = false

  constructor (parts: LineParts) {
    this.#parts = parts
  }

  /** Addresses that somebody waits for. */
  get size (): number { return this.#queues.size }

  /** Whoever finds the line of its address full waits as well, for nothing: an answer would make room for the next try. */
  join (waiting: Waiting): void {
    const { clock, perKey } = this.#parts
    const queue = this.#queues.get(waiting.key) ?? { key: waiting.key, ready: new Set<Place>(), size: 0, isChecking: false, sleep: null, readySinceMs: 0 }
    const place: Place = {
      waiting, delay: null, isOver: queue.size >= perKey,
      patience: clock.after(PATIENCE_MS, () => { if (this.leave(waiting)) waiting.sendAway() })
    }
    this.#places.set(waiting, place)
    if (place.isOver) return
    this.#queues.set(waiting.key, queue)
    queue.size++
    this.#arrive(queue, place)
    this.#next()
  }

  /** Takes somebody out of the line; false when that one is being checked already, or was never there. */
  leave (waiting: Waiting): boolean {
    const place = this.#places.get(waiting)
    if (place === undefined) return false
    const queue = this.#queues.get(waiting.key)
    this.#remove(queue, place)
    if (queue !== undefined) this.#tidy(queue)
    return true
  }

  /** Sends everybody away who is not being checked. */
  close (): void {
    for (const waiting of [...this.#places.keys()]) if (this.leave(waiting)) waiting.sendAway()
    this.#isClosed = true
    this.#rest?.cancel()
    this.#wake?.cancel()
    this.#rest = this.#wake = null
  }

  #arrive (queue: Queue, place: Place): void {
    const { clock } = this.#parts
    const delayMs = place.waiting.untilMs() - clock.nowMs()
    if (delayMs <= 0) {
      queue.ready.add(place)
      this.#lineUp(queue)
      return
    }
    place.delay = clock.after(delayMs, () => {
      place.delay = null
      this.#arrive(queue, place)
      this.#next()
    })
  }

  /** Gives a queue its place among those whose turn comes, or lets it sleep until its address may be checked. */
  #lineUp (queue: Queue): void {
    const [first] = queue.ready
    if (first === undefined || queue.isChecking || queue.sleep !== null || this.#turns.has(queue) || this.#suspects.has(queue)) return
    const { clock } = this.#parts
    const delayMs = first.waiting.keyUntilMs() - clock.nowMs()
    if (delayMs > 0) {
      queue.sleep = clock.after(delayMs, () => {
        queue.sleep = null
        this.#lineUp(queue)
        this.#next()
      })
      return
    }
    queue.readySinceMs = clock.nowMs()
    ;(first.waiting.isSuspect() ? this.#suspects : this.#turns).add(queue)
  }

  #next (): void {
    for (let queue = this.#turn(); queue !== null; queue = this.#turn()) {
      const isSuspect = this.#suspects.delete(queue)
      this.#turns.delete(queue)
      const place = this.#firstOf(queue)
      if (place === null) continue
      this.#remove(queue, place)
      void this.#check(queue, place.waiting, isSuspect)
    }
    this.#wakeLater()
  }

  /** The first of a queue that may be checked. Those whose name has become delayed since they came wait for that. */
  #firstOf (queue: Queue): Place | null {
    const nowMs = this.#parts.clock.nowMs()
    for (const place of queue.ready) {
      if (place.waiting.untilMs() <= nowMs) return place
      queue.ready.delete(place)
      this.#arrive(queue, place)
    }
    return null
  }

  /** Whose turn it is; null when nobody's. */
  #turn (): Queue | null {
    if (this.#checking >= this.#parts.atOnce) return null
    const [queue] = this.#turns
    if (queue !== undefined) return queue
    const [suspect] = this.#suspects
    if (suspect === undefined || this.#isSuspectChecked || this.#rest !== null) return null
    return this.#checking === 0 || this.#givesWayMs(suspect) <= 0 ? suspect : null
  }

  /** How much longer a suspect gives way, in milliseconds. */
  #givesWayMs (suspect: Queue): number {
    return suspect.readySinceMs + GIVES_WAY_MS - this.#parts.clock.nowMs()
  }

  #wakeLater (): void {
    this.#wake?.cancel()
    this.#wake = null
    const [suspect] = this.#suspects
    // The end of a check or of the rest brings its turn otherwise.
    if (suspect === undefined || this.#isSuspectChecked || this.#rest !== null || this.#checking >= this.#parts.atOnce) return
    this.#wake = this.#parts.clock.after(this.#givesWayMs(suspect), () => this.#next())
  }

  async #check (queue: Queue, waiting: Waiting, isSuspect: boolean): Promise<void> {
    const { clock } = this.#parts
    const startedMs = clock.nowMs()
    this.#checking++
    if (isSuspect) this.#isSuspectChecked = true
    queue.isChecking = true
    try {
      await waiting.check()
    } finally {
      this.#checking--
      queue.isChecking = false
      if (isSuspect) {
        this.#isSuspectChecked = false
        this.#restFor(clock.nowMs() - startedMs)
      }
      this.#lineUp(queue)
      this.#tidy(queue)
      this.#next()
    }
  }

  #restFor (ms: number): void {
    if (ms <= 0 || this.#isClosed) return
    this.#rest = this.#parts.clock.after(Math.min(ms, LONGEST_REST_MS), () => {
      this.#rest = null
      this.#next()
    })
  }

  #remove (queue: Queue | undefined, place: Place): void {
    place.patience.cancel()
    place.delay?.cancel()
    place.delay = null
    this.#places.delete(place.waiting)
    if (queue === undefined || place.isOver) return
    queue.ready.delete(place)
    queue.size--
  }

  #tidy (queue: Queue): void {
    if (queue.ready.size === 0) {
      this.#turns.delete(queue)
      this.#suspects.delete(queue)
    }
    if (queue.size > 0 || queue.isChecking) return
    queue.sleep?.cancel()
    queue.sleep = null
    this.#queues.delete(queue.key)
  }
}
