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
