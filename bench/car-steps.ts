// Makes the newest sensor message that a lot's `free` includes readable from that bare number: each message of the lot's
// only sensor moves the count by `step` cars, round and round, and holds of a reservation bench, fewer than `step` at once, stay below
// that. Pure.

/** Cars: the most that one delta may say. */
const MOST_DELTA = 100_000

export interface StepsParts {
  /** Places of the lot, which is empty at first. */
  readonly capacity: number
  /** Cars a message; more than are ever held at once. */
  readonly step: number
}

export class CarSteps {
  readonly #capacity: number
  readonly #step: number
  /** How many different counts there are before they come again. */
  readonly around: number

  constructor ({ capacity, step }: StepsParts) {
    this.#capacity = capacity
    this.#step = step
    this.around = Math.min(Math.floor(MOST_DELTA / step) + 1, Math.floor(capacity / step))
    if (this.around < 2) throw new RangeError(`${capacity} places are too few for steps of ${step}`)
  }

  /** What message `n`, counted from 1, says. */
  delta (n: number): number {
    return n % this.around === 0 ? -this.#step * (this.around - 1) : this.#step
  }

  /**
   * The newest message that `free` includes, when `before` was it so far. It is wrong when more than `around` messages
   * came between two updates; then it falls behind what was sent, and the caller sees that the last one never comes.
   */
  newest (free: number, before: number): number {
    const position = Math.floor((this.#capacity - free) / this.#step) % this.around
    return before + (position - before % this.around + this.around) % this.around
  }
}
