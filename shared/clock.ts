// Time comes in through here, so that tests can turn it by hand.

/** A timer that can be taken back. */
export interface Timer { cancel (): void }

export interface Clock {
  /** Milliseconds since 1970. */
  nowMs (): number
  /** Calls `fire` once, `delayMs` from now; any delay, also above the 2^31 - 1 ms at which `setTimeout` fires at once. */
  after (delayMs: number, fire: () => void): Timer
}

const LONGEST_TIMEOUT_MS = 2 ** 31 - 1

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  after (delayMs, fire) {
    let handle: NodeJS.Timeout
    const wait = (leftMs: number): void => {
      const chunkMs = Math.min(Math.max(leftMs, 0), LONGEST_TIMEOUT_MS)
      handle = setTimeout(() => leftMs > chunkMs ? wait(leftMs - chunkMs) : fire(), chunkMs)
      // A timer alone never keeps the process alive: listeners and connections do.
      handle.unref()
    }
    wait(delayMs)
    return { cancel: () => clearTimeout(handle) }
  }
}
