// `ping`, `info` and `stats`: what the process says of itself.
import { build, type Histogram } from 'hdr-histogram-js'
import type { Clock } from '../../shared/clock.js'
import type { Config } from '../../shared/config.js'
import { counterValues, type Metrics } from '../../shared/metrics.js'
import { REQUESTS, type Method } from '../../shared/schemas.js'

export interface About {
  answer (method: 'ping' | 'info' | 'stats'): Promise<unknown>
  /** Records how long a request took, in milliseconds from its arrival to its reply. */
  took (method: Method, ms: number): void
}

export interface AboutParts {
  readonly clock: Clock
  readonly metrics: Metrics
  readonly version: string
  readonly config: Pick<Config, 'node'>
  /** Methods that others answer on the same broker, for the list of `info`; default none. */
  readonly otherMethods?: readonly string[]
}

export function createAbout ({ clock, metrics, version, config, otherMethods = [] }: AboutParts): About {
  const startedAtMs = clock.nowMs()
  const latencies = new Map<Method, Histogram>()
  const name = { service: 'reservation', node: config.node, version }
  return {
    async answer (method) {
      switch (method) {
        case 'ping': return { ...name, at: new Date(clock.nowMs()).toISOString() }
        case 'info': return { ...name, methods: [...Object.keys(REQUESTS), ...otherMethods] }
        case 'stats': return {
          ...name,
          uptimeSeconds: Math.floor((clock.nowMs() - startedAtMs) / 1_000),
          latencyMs: Object.fromEntries([...latencies].map(([of, h]) => [of, {
            count: h.totalCount, p50: h.getValueAtPercentile(50), p95: h.getValueAtPercentile(95), p99: h.getValueAtPercentile(99), max: h.maxValue
          }])),
          counters: await counterValues(metrics)
        }
        default: return method satisfies never
      }
    },
    took (method, ms) {
      let histogram = latencies.get(method)
      if (!histogram) latencies.set(method, histogram = build({ lowestDiscernibleValue: 1, highestTrackableValue: 60_000, numberOfSignificantValueDigits: 2, autoResize: false }))
      histogram.recordValue(Math.min(Math.round(ms), 60_000))
    }
  }
}
