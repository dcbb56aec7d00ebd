// Repeating tasks arm their next timer only when the last run has ended: time must go on in small steps while a test
// waits for what they do.
import type { ManualClock } from './clock.js'

/** Lets time pass in steps until `awaited` settles. */
export async function whileTicking<T> (clock: ManualClock, awaited: Promise<T>, stepMs = 100): Promise<T> {
  let settled = false
  const settle = (): void => { settled = true }
  awaited.then(settle, settle)
  while (!settled) {
    await new Promise(resolve => setImmediate(resolve))
    clock.advance(stepMs)
  }
  return await awaited
}

/** Lets a time pass, and then two seconds in which everything that repeats has its turn at the new time. */
export async function letPass (clock: ManualClock, ms: number): Promise<void> {
  clock.advance(ms)
  for (let step = 0; step < 10; step++) {
    await clock.armed(200)
    clock.advance(200)
  }
}
