// Retained messages that new subscriptions of one session are due: looked for one by one, as the client takes them, so
// that a filter may match more than any queue holds. A long search never keeps the event loop to itself.
import type { Entry } from './out-queue.js'

/** The retained messages of one subscription; null asks for a pause. */
export type RetainedSource = Iterator<Entry | null, void, undefined>

/** Searches that wait at most, but for one of each subscription. */
const MOST_SOURCES = 1_000

export class RetainedDue {
  readonly #goOn: () => void
  #sources: { readonly filter: string, readonly source: RetainedSource }[] = []
  #isPaused = false

  /** `goOn` is called in a later turn when `next` has paused. */
  constructor (goOn: () => void) {
    this.#goOn = goOn
  }

  /** `filter` as the client wrote it. Whoever subscribes to the same again and again, and takes nothing, gets it once. */
  add (filter: string, source: RetainedSource): void {
    if (this.#sources.length >= MOST_SOURCES) this.cancel(filter)
    this.#sources.push({ filter, source })
  }

  /** The subscription is over: what it would have brought is not due any more. */
  cancel (filter: string): void {
    this.#sources = this.#sources.filter(due => due.filter !== filter)
  }

  clear (): void {
    this.#sources = []
  }

  /** The next one; undefined when there is none, or none yet. */
  next (): Entry | undefined {
    if (this.#isPaused) return undefined
    for (let first = this.#sources[0]; first !== undefined; first = this.#sources[0]) {
      const { done, value } = first.source.next()
      if (done) {
        this.#sources.shift()
        continue
      }
      if (value !== null) return value
      this.#isPaused = true
      setImmediate(() => {
        this.#isPaused = false
        this.#goOn()
      })
      break
    }
    return undefined
  }
}
