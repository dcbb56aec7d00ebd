// One line on a terminal that tells how far a scenario is and how long it still takes. Nothing where the output is no
// terminal: a log shall have the figures alone.
import { createLogUpdate } from 'log-update'

const line = process.stderr.isTTY ? createLogUpdate(process.stderr) : null

export function clearProgress (): void {
  line?.clear()
}

/** Counts the measurements of a scenario, which last about the same each. */
export class Progress {
  readonly #scenario: string
  readonly #total: number
  readonly #startedMs = performance.now()
  #done = 0
  #label = ''

  constructor (scenario: string, measurements: number) {
    this.#scenario = scenario
    this.#total = measurements
  }

  /** The next measurement begins. */
  next (label: string): void {
    this.#label = label
    this.#done++
    this.show('')
  }

  /** What is known of the present one. */
  show (text: string): void {
    if (line === null) return
    const elapsedMs = performance.now() - this.#startedMs
    const leftMs = this.#done <= 1 ? null : elapsedMs / (this.#done - 1) * (this.#total - this.#done + 1)
    const left = leftMs === null ? '' : `, about ${leftMs < 90_000 ? `${Math.ceil(leftMs / 1_000)} s` : `${Math.ceil(leftMs / 60_000)} min`} left`
    line(`${this.#scenario}: ${this.#done} of ${this.#total}${left}: ${this.#label}${text === '' ? '' : `, ${text}`}`)
  }
}
