// How benches say what they measured.
import { build, type Histogram } from 'hdr-histogram-js'
import type { Broker } from './brokers.js'
import { clearProgress } from './progress.js'

export function say (line: string): void {
  clearProgress()
  process.stdout.write(`${line}\n`)
}

/** `41,234`. */
export function whole (value: number): string {
  return Math.round(value).toLocaleString('en')
}

/** The middle value, or the mean of the two in the middle; NaN of none. */
export function median (values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const upper = sorted[Math.floor(sorted.length / 2)] ?? NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[sorted.length / 2 - 1] ?? NaN) + upper) / 2
}

/** A histogram of microseconds up to a minute. */
export function newLatency (): Histogram {
  return build({ lowestDiscernibleValue: 1, highestTrackableValue: 60_000_000, numberOfSignificantValueDigits: 3 })
}

/** A percentile of a histogram of microseconds, as milliseconds. */
export function percentileMs (latency: Histogram, percentile: number): string {
  return (latency.getValueAtPercentile(percentile) / 1_000).toFixed(2)
}

/** `20,000 of 20,000`, with what is missing where something is. */
export function sayDelivered (delivered: number, expected: number): string {
  return `${whole(delivered)} of ${whole(expected)}${delivered < expected ? ` (${whole(expected - delivered)} MISSING)` : ''}`
}

/** Says the median over all rounds of parkmq's figure divided by each other broker's of the same round. */
export function sayRatios (rounds: readonly ReadonlyMap<Broker, number>[], what: string): void {
  const others = new Set(rounds.flatMap(round => [...round.keys()]))
  for (const other of others) {
    if (other === 'parkmq') continue
    const ratios = rounds.flatMap(round => {
      const ours = round.get('parkmq')
      const theirs = round.get(other)
      return ours === undefined || theirs === undefined ? [] : [ours / theirs]
    })
    if (ratios.length === 0) continue
    say(`  ${what}: parkmq / ${other} = ${median(ratios).toFixed(2)} (median; ${ratios.map(ratio => ratio.toFixed(2)).join(', ')})`)
  }
}
