// One fault under load: the load begins, the fault, the load goes on until all are acknowledged again, the cluster is healed under
// load, and then everything is looked at.
import { countedBefore, whatIsWrong } from './check.js'
import { CutOffNode, type NodeParts } from './cut-off-node.js'
import type { Fault, Target } from './faults.js'
import { ClusterLoad, type Pace } from './load.js'
import type { RunningCluster } from './running-cluster.js'
import type { ClusterSensor } from './sensors.js'

export interface Round {
  /** Longest gaps in acknowledgements after the fault, in milliseconds: of clients of the node that is hit (null: none is), of all others. */
  readonly hitMs: number | null
  readonly othersMs: number
  /** The longest while the cluster was healed: what the way back costs. */
  readonly healingMs: number
  /** How long the way back took. */
  readonly healedAfterMs: number
  readonly longestAnswerMs: number
  readonly acknowledged: number
  readonly reservations: number
  readonly wrong: readonly string[]
}

const STEADY_MS = 1_500
/** Everybody has an acknowledgement that is so new, for so long. */
const ACKNOWLEDGED_WITHIN_MS = 500
const SETTLED_MS = 1_000
const RECOVERED_WITHIN_MS = 90_000

/** `parts`: what a node more is started with. */
export async function runRound (cluster: RunningCluster, fault: Fault, pace: Pace, parts: NodeParts): Promise<Round> {
  const cutOff = fault.wantsCutOff ? await CutOffNode.start(cluster, parts) : null
  try {
    return await strikeUnderLoad({ cluster, cutOff }, fault, pace)
  } finally {
    await cutOff?.close()
  }
}

async function strikeUnderLoad (target: Target, fault: Fault, pace: Pace): Promise<Round> {
  const { cluster, cutOff } = target
  const nodes = [...cluster.urls, ...cutOff ? [cutOff.url] : []]
  const before = await countedBefore(cluster)
  const load = await ClusterLoad.start(nodes, pace)
  try {
    await pause(STEADY_MS)
    await settled(load.sensors, 'before the fault')
    for (const sensor of load.sensors) sensor.forgetGaps()
    const struckMs = performance.now()
    const hit = await fault.strike(target)
    await pause(struckMs + fault.leastMs - performance.now())
    if (fault.undo !== undefined) {
      await pause(struckMs + fault.undo.afterMs - performance.now())
      await fault.undo.work(target)
    }
    await settled(load.sensors, 'after the fault')
    const [hitSensors, otherSensors] = [load.sensors.filter(({ home }) => hit !== null && home === hit), load.sensors.filter(({ home }) => hit === null || home !== hit)]
    const [hitMs, othersMs] = [hit === null ? null : longestOf(hitSensors), longestOf(otherSensors)]
    for (const sensor of load.sensors) sensor.forgetGaps()
    const healingMs = performance.now()
    await cluster.heal()
    await settled(load.sensors, 'after the cluster was healed')
    const healed = { healingMs: longestOf(load.sensors), healedAfterMs: Math.round(performance.now() - healingMs) }
    await load.finish()
    const wrong = await whatIsWrong(cluster, load, before, nodes)
    await load.giveBack()
    return {
      hitMs, othersMs, ...healed, longestAnswerMs: Math.round(load.history.longestAnswerMs),
      acknowledged: load.sensors.reduce((sum, sensor) => sum + sensor.acknowledged, 0), reservations: load.history.granted.size, wrong
    }
  } finally {
    await load.end()
  }
}

/** What there was to be seen, in a line. */
export function roundText (name: string, { hitMs, othersMs, healingMs, healedAfterMs, longestAnswerMs, acknowledged, reservations, wrong }: Round): string {
  return [
    `${name.padEnd(16)}longest gap`, ...hitMs === null ? [] : [`at the node ${hitMs} ms,`], `others ${othersMs} ms; longest request ${longestAnswerMs} ms;`,
    `joined again after ${healedAfterMs} ms, gap meanwhile ${healingMs} ms; ${acknowledged} messages, ${reservations} reservations,`, wrong.length === 0 ? 'all there once' : `${wrong.length} THINGS WRONG`
  ].join(' ')
}

function longestOf (sensors: readonly ClusterSensor[]): number {
  return Math.round(Math.max(...sensors.map(sensor => sensor.longestGapMs())))
}

/** Until all are acknowledged, and stay so. */
async function settled (sensors: readonly ClusterSensor[], when: string): Promise<void> {
  const untilMs = performance.now() + RECOVERED_WITHIN_MS
  let sinceMs = performance.now()
  while (performance.now() - sinceMs < SETTLED_MS) {
    await pause(20)
    const silent = sensors.filter(sensor => sensor.silentMs() > ACKNOWLEDGED_WITHIN_MS)
    if (silent.length > 0) sinceMs = performance.now()
    if (performance.now() > untilMs) throw new Error(`${when}: ${silent.length} of ${sensors.length} sensors have no acknowledgement for ${Math.round(Math.max(...silent.map(sensor => sensor.silentMs())))} ms`)
  }
}

async function pause (ms: number): Promise<void> {
  if (ms > 0) await new Promise(resolve => setTimeout(resolve, ms))
}
