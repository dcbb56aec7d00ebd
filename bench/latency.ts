// Latencies as plain data: what processes tell each other and results keep of a histogram.
import type { Histogram } from 'hdr-histogram-js'

/** The percentiles that are kept, finer towards the end; 100 is the longest. */
export const PERCENTILES = [1, 10, 25, 50, 75, 90, 95, 97.5, 99, 99.5, 99.9, 99.99, 100] as const
export type Percentile = (typeof PERCENTILES)[number]

/** In milliseconds. `at` has one value for each of `PERCENTILES`, in their order; all are 0 when nothing was recorded. */
export interface Latency {
  readonly count: number
  readonly meanMs: number
  readonly at: readonly number[]
}

/** Of a histogram of microseconds. */
export function latencyOf (histogram: Histogram): Latency {
  return { count: histogram.totalCount, meanMs: histogram.totalCount === 0 ? 0 : histogram.mean / 1_000, at: PERCENTILES.map(percentile => histogram.totalCount === 0 ? 0 : histogram.getValueAtPercentile(percentile) / 1_000) }
}

export function percentileOf ({ at }: Latency, percentile: Percentile): number {
  return at[PERCENTILES.indexOf(percentile)] ?? 0
}

/** Adds milliseconds to a histogram of microseconds. */
export function recordMs (histogram: Histogram, ms: number): void {
  histogram.recordValue(Math.min(Math.max(1, Math.round(ms * 1_000)), histogram.highestTrackableValue))
}

/** `p50 0.52 ms, p95 1.20 ms, p99 2.31 ms`. */
export function sayLatency (latency: Latency): string {
  return ([50, 95, 99] as const).map(percentile => `p${percentile} ${percentileOf(latency, percentile).toFixed(2)} ms`).join(', ')
}
