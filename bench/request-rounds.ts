// The same requests to several systems in turn, for one and for many clients: what `baseline` and `mixed` have in common.
import { say, whole } from './figures.js'
import { PERCENTILES, percentileOf, sayLatency, type Latency } from './latency.js'
import { Progress } from './progress.js'
import { CLIENTS, PER_SECOND, type Recorder } from './recorder.js'
import { RequestGenerator } from './request-generator.js'
import type { LoadFigures, LoadParts, Pace } from './request-load.js'
import type { Labels } from './results.js'
import { startSystem, type System, type SystemName } from './systems.js'
import type { Workload } from './workloads.js'

export interface RoundsParts {
  readonly scenario: string
  readonly workloads: readonly Workload[]
  readonly systems: readonly SystemName[]
  readonly clients: readonly number[]
  /** Requests a second for the latencies at a fixed rate; null leaves them out. */
  readonly rate: number | null
  readonly rounds: number
  readonly seconds: number
  readonly lots: readonly string[]
  readonly requestIds: boolean
  readonly seed: number
}

/** Places of each lot: more than clients ever hold at once, so that nothing is refused. */
export const CAPACITY = 10_000
/** For the latencies at a fixed rate, and for the distribution. */
export const USUAL_CLIENTS = 16
const WARM_UP_SECONDS = 4

/** How long each workload warms up before rounds of so many seconds: a process that has just started is slower, until V8 has compiled what it does often. */
export function warmUpSeconds (seconds: number): number {
  return WARM_UP_SECONDS * Math.min(1, seconds)
}

/** One measurement: processor time is that of the system, in microseconds a request. */
export interface Measured extends LoadFigures {
  readonly cpuUs: number
}

interface Slice {
  readonly workload: Workload
  readonly clients: number
  readonly pace: Extract<Pace, { seconds: number }>
}

/**
 * Starts all systems, warms each up, and measures them in rounds. Within a round they take turns at each number of clients, each
 * round beginning with another, so that what else this machine does meets them alike.
 */
export async function requestRounds (parts: RoundsParts, recorder: Recorder): Promise<void> {
  const { systems: names, rounds } = parts
  const slices = slicesOf(parts)
  const systems: System[] = []
  const generator = new RequestGenerator()
  const progress = new Progress(parts.scenario, names.length * (parts.workloads.length + rounds * slices.length))
  try {
    for (const name of names) systems.push(await startSystem(name, { lots: parts.lots, capacity: CAPACITY }))
    for (const workload of parts.workloads) {
      for (const system of systems) await measure(generator, system, parts, { workload, clients: USUAL_CLIENTS, pace: { type: 'closed', seconds: warmUpSeconds(parts.seconds) } }, progress)
    }
    for (let round = 1; round <= rounds; round++) {
      for (const slice of slices) {
        const measured = new Map<SystemName, Measured>()
        for (let i = 0; i < systems.length; i++) {
          const system = systems[(i + round) % systems.length] as System
          measured.set(system.name, await measure(generator, system, parts, slice, progress))
        }
        for (const [name, figures] of measured) record(recorder, name, slice, figures)
        compare(recorder, slice, measured)
      }
      say(`  round ${round} of ${rounds} is done`)
    }
  } finally {
    await generator.stop()
    for (const system of systems) await system.stop()
  }
}

function slicesOf ({ workloads, clients, rate, seconds }: RoundsParts): Slice[] {
  return workloads.flatMap(workload => [
    ...clients.map((count): Slice => ({ workload, clients: count, pace: { type: 'closed', seconds } })),
    ...rate === null ? [] : [{ workload, clients: USUAL_CLIENTS, pace: { type: 'open', perSecond: rate, seconds } } satisfies Slice]
  ])
}

async function measure (generator: RequestGenerator, system: System, { lots, requestIds, seed }: Pick<LoadParts, 'lots' | 'requestIds' | 'seed'>, { workload, clients, pace }: Slice, progress: Progress): Promise<Measured> {
  progress.next(`${system.name}, ${workload}, ${clients} client${clients === 1 ? '' : 's'}${pace.type === 'open' ? ` at ${whole(pace.perSecond)}/s` : ''}`)
  const before = system.cpuMs()
  const figures = await generator.run({ ports: system.ports, answers: system.answers, clients, workload, lots, requestIds, seed, pace }, progress)
  const measured = { ...figures, cpuUs: (system.cpuMs() - before) * 1_000 / Math.max(1, figures.answered) }
  for (const fault of faultsOf(figures)) say(`  ${system.name}, ${workload}, ${clients} clients: ${fault}`)
  return measured
}

/** What must not be in a measurement, in words. Refusals are no faults: they are counted by their code. */
export function faultsOf (figures: LoadFigures): string[] {
  const { unanswered, unacknowledged, unsent, repeated, strange, replayed, closed, refusedByBroker } = figures
  const counts = { 'NOT ANSWERED': unanswered, 'NOT ACKNOWLEDGED': unacknowledged, 'could not be sent in time': unsent, 'answered twice': repeated, 'answers to nothing that was asked': strange, 'marked as answered before': replayed, 'refused by the broker': refusedByBroker }
  const wrong = Object.entries(counts).flatMap(([what, count]) => count > 0 ? [`${whole(count)} ${what}`] : [])
  const refused = Object.entries(figures.refused).map(([code, count]) => `${whole(count)} refused: ${code}`)
  return [...wrong, ...refused, ...closed.length > 0 ? [`${closed.length} connections closed: ${closed[0]}`] : []]
}

/** The counts that must come out even. */
export function countsOf (figures: LoadFigures): Record<string, number> {
  const { sent, acknowledged, answered, ok, unanswered, unacknowledged, unsent, repeated, strange, replayed, refusedByBroker } = figures
  return { sent, acknowledged, answered, ok, unanswered, unacknowledged, unsent, repeated, strange, replayed, refusedByBroker, closed: figures.closed.length, ...Object.fromEntries(Object.entries(figures.refused).map(([code, count]) => [`refused ${code}`, count])) }
}

export function record (recorder: Recorder, system: string, { workload, clients, pace }: Slice, figures: Measured): void {
  const of = { system, workload }
  recorder.account(of, countsOf(figures))
  const { all } = figures.latency
  if (all === undefined) return
  if (pace.type === 'open') {
    distribution(recorder, 'latency distribution at a fixed rate', { ...of, rate: String(pace.perSecond) }, all)
    return
  }
  recorder.add({ what: 'throughput', of, x: CLIENTS, y: PER_SECOND }, clients, figures.perSecond)
  recorder.add({ what: 'processor time', of, x: CLIENTS, y: { name: 'processor time of a request', unit: 'us' } }, clients, figures.cpuUs)
  for (const [act, latency] of Object.entries(figures.latency)) {
    for (const percentile of [50, 95, 99] as const) {
      recorder.add({ what: 'latency', of: { ...of, act, percentile: `p${percentile}` }, x: CLIENTS, y: ROUND_TRIP }, clients, percentileOf(latency, percentile))
    }
  }
  if (clients === USUAL_CLIENTS) distribution(recorder, 'latency distribution', { ...of, clients: String(clients) }, all)
}

const ROUND_TRIP = { name: 'round trip', unit: 'ms' }

function distribution (recorder: Recorder, what: string, of: Labels, latency: Latency): void {
  for (const [i, percentile] of PERCENTILES.entries()) recorder.add({ what, of, x: { name: 'percentile', unit: '%' }, y: ROUND_TRIP }, percentile, latency.at[i] ?? 0)
}

/** parkmq beside each other system in the same round. */
function compare (recorder: Recorder, { workload, clients, pace }: Slice, measured: ReadonlyMap<SystemName, Measured>): void {
  const ours = measured.get('parkmq')
  if (ours === undefined) return
  for (const [denominator, theirs] of measured) {
    if (denominator === 'parkmq' || theirs.answered === 0) continue
    const at = { workload, clients: String(clients), ...pace.type === 'open' && { rate: String(pace.perSecond) } }
    const ratio = (what: string, better: 'higher' | 'lower', value: number): void => {
      if (Number.isFinite(value)) recorder.ratio({ what, of: at, numerator: 'parkmq', denominator, better }, value)
    }
    if (pace.type === 'closed') ratio('throughput', 'higher', ours.perSecond / theirs.perSecond)
    ratio('p95', 'lower', p95Of(ours) / p95Of(theirs))
    ratio('processor time', 'lower', ours.cpuUs / theirs.cpuUs)
  }
}

/** In milliseconds; NaN when nothing was answered. */
export function p95Of ({ latency: { all } }: LoadFigures): number {
  return all === undefined ? NaN : percentileOf(all, 95)
}

/** The medians of all rounds, one line for each system and number of clients. */
export function sayRounds (recorder: Recorder): void {
  const { series } = recorder.result()
  const latency = (of: Labels, x: number | string, percentile: string): string => {
    const found = series.find(one => one.what === 'latency' && one.of.act === 'all' && one.of.percentile === percentile && one.of.system === of.system && one.of.workload === of.workload)
    return `${percentile} ${found?.points.find(point => point.x === x)?.y.median.toFixed(2) ?? '?'} ms`
  }
  for (const { of, points } of series.filter(one => one.what === 'throughput')) {
    for (const { x, y } of points) {
      const cpu = series.find(one => one.what === 'processor time' && one.of.system === of.system && one.of.workload === of.workload)?.points.find(point => point.x === x)
      say(`  ${of.workload}, ${String(x).padStart(2)} clients: ${of.system?.padEnd(16)} ${whole(y.median).padStart(7)}/s (${whole(y.min)} to ${whole(y.max)}), ` +
        `${['p50', 'p95', 'p99'].map(percentile => latency(of, x, percentile)).join(', ')}; ${(cpu?.y.median ?? 0).toFixed(0)} us of processor time each`)
    }
  }
  for (const { of, points } of series.filter(one => one.what === 'latency distribution at a fixed rate')) {
    const at = points.map(({ y }) => y.median)
    say(`  ${of.workload} at ${whole(Number(of.rate))}/s: ${of.system?.padEnd(16)} ${sayLatency({ count: 0, meanMs: 0, at })}, longest ${(at.at(-1) ?? 0).toFixed(1)} ms, from when each was due`)
  }
}

/** Every ratio so far with its spread over the rounds, one line for each pair under the same conditions. */
export function sayRecordedRatios (recorder: Recorder): void {
  const lines = new Map<string, string[]>()
  for (const { what, of, numerator, denominator, median, min, max } of recorder.ratios()) {
    const where = Object.entries(of).map(([name, value]) => name === 'workload' ? value : name === 'rate' ? `${value}/s` : `${name} ${value}`).join(', ')
    const line = `${where === '' ? '' : `${where}: `}${numerator} / ${denominator}`
    lines.set(line, [...lines.get(line) ?? [], `${what} ${median.toFixed(2)} (${min.toFixed(2)} to ${max.toFixed(2)})`])
  }
  for (const [line, said] of lines) say(`  ${line}: ${said.join(', ')}`)
}
