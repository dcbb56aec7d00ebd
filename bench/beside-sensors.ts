// Requests beside sensors that publish at a fixed rate, each in a lot of its own, while a subscriber of each lot listens.
import type { GateGenerator } from './gate-generator.js'
import type { GateFigures } from './gate-load.js'
import { grown, readMetrics } from './metrics-page.js'
import type { LoadFigures } from './request-load.js'
import type { System } from './systems.js'

/** Places of each lot: enough for the steps in which the cars come. */
export const CAPACITY = 1_000_000
/** Sensors begin so much before the requests and end so much after them, in seconds; as long as the requests last when that is less. */
const MARGIN_SECONDS = 0.5

export interface BesideSensors<T = LoadFigures> {
  /** What was made beside them. */
  readonly requests: T
  /** Null without sensors. */
  readonly sensors: GateFigures | null
  /** What parkmq counted meanwhile. */
  readonly counted: Record<string, number>
}

export interface BesideParts {
  readonly system: System
  readonly gates: GateGenerator
  /** Of the set of gates that was made for this system. */
  readonly name: string
  /** Sensor messages of all lots together; null: no sensors and nobody who listens. */
  readonly perSecond: number | null
  readonly seconds: number
}

/** `clients` is the most that make requests at once. */
export async function makeGates (gates: GateGenerator, name: string, { system, lots, clients }: { system: System, lots: readonly string[], clients: number }): Promise<void> {
  // More cars a message than all clients hold at once, so that a `free` tells which message it includes.
  await gates.make(name, { ports: system.ports, hearing: 'free', gates: lots.map(lot => ({ lot, capacity: CAPACITY, step: 2 * clients })) })
}

/** Makes requests, or whatever else lasts so long, while the sensors publish. */
export async function besideSensors<T = LoadFigures> ({ system, gates, name, perSecond, seconds }: BesideParts, request: () => Promise<T>): Promise<BesideSensors<T>> {
  if (perSecond === null) return { requests: await request(), sensors: null, counted: {} }
  return await gates.connected(name, async run => {
    const { http } = system
    if (http === null) throw new Error('parkmq serves no /metrics here')
    const before = await readMetrics(http)
    const marginSeconds = Math.min(MARGIN_SECONDS, seconds)
    const running = run({ type: 'rate', perSecond, seconds: seconds + 2 * marginSeconds })
    await new Promise(resolve => setTimeout(resolve, marginSeconds * 1_000))
    const [requests, sensors] = await Promise.all([request(), running])
    const after = await readMetrics(http)
    return {
      requests, sensors,
      counted: {
        'published by the services (free and state)': grown(before, after, 'parkmq_published_total', 'kind="lot"'),
        dropped: grown(before, after, 'parkmq_broker_dropped_messages_total'),
        conflated: grown(before, after, 'parkmq_broker_conflated_messages_total')
      }
    }
  })
}
