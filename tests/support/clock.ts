// A clock that a test turns by hand.
import type { Clock, Timer } from '../../shared/clock.js'

export class ManualClock implements Clock {
  #nowMs: number
  #timers: { dueAtMs: number, fire: () => void }[] = []
  #armed: (() => void)[] = []

  constructor (nowMs = 1_800_000_000_000) { this.#nowMs = nowMs }

  nowMs (): number { return this.#nowMs }

  after (delayMs: number, fire: () => void): Timer {
    const timer = { dueAtMs: this.#nowMs + Math.max(0, delayMs), fire }
    this.#timers.push(timer)
    for (const wake of this.#armed.splice(0)) wake()
    return { cancel: () => { this.#timers = this.#timers.filter(other => other !== timer) } }
  }

  /** Timers that wait. */
  get waiting (): number { return this.#timers.length }

  /** Resolves as soon as a timer waits that comes due soon, and not only what is done now and then. */
  async armed (withinMs = 5_000): Promise<void> {
    while (!this.#timers.some(timer => timer.dueAtMs <= this.#nowMs + withinMs)) await new Promise<void>(resolve => this.#armed.push(resolve))
  }

  /** Lets `ms` pass: fires every timer that comes due, in the order of their times. */
  advance (ms: number): void {
    const untilMs = this.#nowMs + ms
    for (;;) {
      const next = this.#timers.filter(timer => timer.dueAtMs <= untilMs).sort((a, b) => a.dueAtMs - b.dueAtMs)[0]
      if (!next) break
      this.#timers = this.#timers.filter(timer => timer !== next)
      this.#nowMs = Math.max(this.#nowMs, next.dueAtMs)
      next.fire()
    }
    this.#nowMs = untilMs
  }
}
