// How many places reservations take at each instant of a window. Pure.

/** A half-open window of time [fromMs, toMs). */
export interface Window {
  readonly fromMs: number
  readonly toMs: number
}

/**
 * The most windows that overlap at one instant of `within`. Windows that only touch (one ends where the other begins)
 * do not overlap. Sweeps over the ends in order of time: n log n.
 */
export function peakOverlap (windows: readonly Window[], within: Window): number {
  const steps: { atMs: number, change: 1 | -1 }[] = []
  for (const { fromMs, toMs } of windows) {
    const from = Math.max(fromMs, within.fromMs)
    const to = Math.min(toMs, within.toMs)
    if (from < to) steps.push({ atMs: from, change: 1 }, { atMs: to, change: -1 })
  }
  // At the same instant the ends come first, so that abutting windows are fine.
  steps.sort((a, b) => a.atMs - b.atMs || a.change - b.change)
  let now = 0
  let peak = 0
  for (const { change } of steps) {
    now += change
    if (now > peak) peak = now
  }
  return peak
}

/** Whether one more window fits into `places` beside those that are there. */
export function fits (windows: readonly Window[], another: Window, places: number): boolean {
  // Fewer windows than places can never be too many at once.
  return windows.length < places || peakOverlap(windows, another) < places
}
