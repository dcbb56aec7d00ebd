// Tells when questions have had no answer for too long, and when there is one again. Time counts from the first question without
// an answer: while nobody asks, silence says nothing.
import type { Clock, Timer } from '../shared/clock.js'

/** A process that was stopped finds its timers due before the answers that it has not read yet. */
const GRACE_MS = 100

export interface SilenceParts {
  readonly clock: Clock
  readonly afterMs: number
  readonly onSilent: () => void
  readonly onAnswer: () => void
}

export class Silence {
  readonly #parts: SilenceParts
  #timer: Timer | null = null
  #isSilent = false

  constructor (parts: SilenceParts) {
    this.#parts = parts
  }

  get isSilent (): boolean { return this.#isSilent }

  /** A question is on its way, or cannot even be asked. */
  asked (): void {
    if (this.#timer !== null || this.#isSilent) return
    const { clock, afterMs } = this.#parts
    this.#timer = clock.after(afterMs, () => {
      this.#timer = clock.after(GRACE_MS, () => {
        this.#timer = null
        this.#isSilent = true
        this.#parts.onSilent()
      })
    })
  }

  answered (): void {
    this.stop()
    if (!this.#isSilent) return
    this.#isSilent = false
    this.#parts.onAnswer()
  }

  stop (): void {
    this.#timer?.cancel()
    this.#timer = null
  }
}
