// `stress`: what sensors do to those who make reservations, and how late displays hear of the cars meanwhile.
import { DEFAULT_SEED } from './baseline.js'
import { besideSensors, CAPACITY, makeGates, type BesideSensors } from './beside-sensors.js'
import { say, whole } from './figures.js'
import { GateGenerator } from './gate-generator.js'
import type { GateFigures } from './gate-load.js'
import { percentileOf } from './latency.js'
import type { Options } from './options.js'
import { Progress } from './progress.js'
import { Recorder } from './recorder.js'
import { RequestGenerator } from './request-generator.js'
import { countsOf, faultsOf, p95Of, USUAL_CLIENTS, warmUpSeconds } from './request-rounds.js'
import type { ScenarioResult } from './results.js'
import { lotNames, startSystem } from './systems.js'
import type { Workload } from './workloads.js'

const LOTS = 4
const PER_LOT = 10
const IN_ALL = [1_000, 10_000]
const WORKLOADS = ['reads', 'writes'] as const
const GATES = 'stress'

interface Level {
  readonly name: string
  /** Null: no sensors and nobody who listens. */
  readonly perSecond: number | null
}

export async function stress ({ rounds = 3, seconds = 4, lots = LOTS, clients = [USUAL_CLIENTS], ids = 'on', seed = DEFAULT_SEED }: Options): Promise<ScenarioResult> {
  const levels: Level[] = [{ name: 'no sensors', perSecond: null }, { name: `${PER_LOT}/s a lot`, perSecond: PER_LOT * lots }, ...IN_ALL.map(perSecond => ({ name: `${whole(perSecond)}/s in all`, perSecond }))]
  const title = 'Requests as in baseline with and without sensors that publish at a fixed rate, each in a lot of its own, and one QoS 1 subscriber of lots/{lot}/free a lot'
  const recorder = new Recorder({ scenario: 'stress', title, parameters: { clients, rounds, seconds, lots, capacity: CAPACITY, levels: levels.map(({ name }) => name), requestIds: ids === 'on', seed } })
  recorder.note('The lag of every sensor message is from when it was due to the first `free` that includes it, whether that update is of its own or of many.')
  recorder.note('Requests, sensors and subscribers share the processors with parkmq: some of the impact is theirs.')
  say(`stress: ${title}; ${rounds} rounds of ${seconds} s, ${lots} lots; seed ${seed}`)
  const names = lotNames(lots)
  const system = await startSystem('parkmq', { lots: names, capacity: CAPACITY })
  const requests = new RequestGenerator()
  const gates = new GateGenerator()
  const progress = new Progress('stress', (rounds * levels.length + 1) * clients.length * WORKLOADS.length)
  try {
    await makeGates(gates, GATES, { system, lots: names, clients: Math.max(...clients) })
    const measure = async (workload: Workload, count: number, level: Level, forSeconds: number): Promise<BesideSensors> => {
      progress.next(`${workload}, ${count} clients, ${level.name}`)
      const parts = { ports: system.ports, answers: system.answers, clients: count, workload, lots: names, requestIds: ids === 'on', seed, pace: { type: 'closed', seconds: forSeconds } as const }
      return await besideSensors({ system, gates, name: GATES, perSecond: level.perSecond, seconds: forSeconds }, async () => await requests.run(parts, progress))
    }
    for (const count of clients) {
      for (const workload of WORKLOADS) await measure(workload, count, { name: 'warm-up', perSecond: 1_000 }, warmUpSeconds(seconds))
      for (let round = 1; round <= rounds; round++) {
        for (const workload of WORKLOADS) {
          const measured = new Map<Level, BesideSensors>()
          for (let i = 0; i < levels.length; i++) {
            const level = levels[(i + round) % levels.length] as Level
            measured.set(level, await measure(workload, count, level, seconds))
          }
          for (const level of levels) record(recorder, workload, count, level, measured.get(level) as BesideSensors, measured.get(levels[0] as Level) as BesideSensors)
        }
        say(`  round ${round} of ${rounds} with ${count} clients is done`)
      }
    }
  } finally {
    await gates.stop()
    await requests.stop()
    await system.stop()
  }
  sayStress(recorder)
  return recorder.result()
}

function record (recorder: Recorder, workload: Workload, clients: number, level: Level, { requests, sensors, counted }: BesideSensors, calm: BesideSensors): void {
  const of = { workload, clients: String(clients) }
  const x = { name: 'sensor load', unit: '' }
  const at = { ...of, sensors: level.name }
  for (const fault of faultsOf(requests)) say(`  ${workload}, ${level.name}: ${fault}`)
  recorder.account({ ...at, what: 'requests' }, countsOf(requests))
  recorder.add({ what: 'throughput', of, x, y: { name: 'requests', unit: '1/s' } }, level.name, requests.perSecond)
  if (requests.latency.all !== undefined) {
    for (const percentile of [50, 95, 99] as const) recorder.add({ what: 'latency', of: { ...of, percentile: `p${percentile}` }, x, y: { name: 'round trip', unit: 'ms' } }, level.name, percentileOf(requests.latency.all, percentile))
  }
  if (sensors === null) return
  const compared = { of, numerator: level.name, denominator: 'no sensors' }
  recorder.ratio({ what: 'throughput', ...compared, better: 'higher' }, requests.perSecond / calm.requests.perSecond)
  recorder.ratio({ what: 'p95', ...compared, better: 'lower' }, p95Of(requests) / p95Of(calm.requests))
  recordSensors(recorder, at, sensors, counted)
}

function recordSensors (recorder: Recorder, at: Record<string, string>, sensors: GateFigures, counted: Record<string, number>): void {
  const { sent, acknowledged, heard, updates, unsent, closed } = sensors
  recorder.account({ ...at, what: 'sensors' }, { sent, acknowledged, 'heard of': heard, 'free updates delivered': updates, unsent, closed: closed.length, ...counted })
  for (const fault of [...unsent > 0 ? [`${whole(unsent)} sensor messages could not be sent in time`] : [], ...acknowledged < sent ? [`${whole(sent - acknowledged)} sensor messages NOT ACKNOWLEDGED`] : [], ...heard < sent ? [`the effect of ${whole(sent - heard)} sensor messages was NOT HEARD`] : [], ...closed]) {
    say(`  ${at.workload}, ${at.sensors}: ${fault}`)
  }
  for (const percentile of [50, 95, 99] as const) {
    const key = { what: 'delivery lag', of: { workload: at.workload ?? '', clients: at.clients ?? '', percentile: `p${percentile}` }, x: { name: 'sensor load', unit: '' }, y: { name: 'lag of free', unit: 'ms' } }
    recorder.add(key, at.sensors ?? '', percentileOf(sensors.lag, percentile))
    const overTime = { what: 'delivery lag over time', of: { ...at, percentile: `p${percentile}` }, x: { name: 'time', unit: 's' }, y: { name: 'lag of free', unit: 'ms' } }
    for (const [second, lag] of sensors.lagBySecond.entries()) if (lag.count > 0) recorder.add(overTime, second, percentileOf(lag, percentile))
  }
}

/** Medians over the rounds, and the impact in per cent. */
function sayStress (recorder: Recorder): void {
  const { series, accounts } = recorder.result()
  const at = (what: string, of: Record<string, string>, x: number | string): string => {
    const found = series.find(one => one.what === what && Object.entries(of).every(([name, value]) => one.of[name] === value))?.points.find(point => point.x === x)
    return found === undefined ? '-' : found.y.median.toFixed(2)
  }
  for (const { of, points } of series.filter(({ what }) => what === 'throughput')) {
    for (const { x, y } of points) {
      const lag = at('delivery lag', { ...of, percentile: 'p50' }, x)
      say(`  ${of.workload}, ${of.clients} clients, ${String(x).padEnd(13)} ${whole(y.median).padStart(7)}/s, p50 ${at('latency', { ...of, percentile: 'p50' }, x)} ms, p95 ${at('latency', { ...of, percentile: 'p95' }, x)} ms${lag === '-' ? '' : `; free after median ${lag} ms, p95 ${at('delivery lag', { ...of, percentile: 'p95' }, x)} ms`}`)
    }
  }
  for (const { of, counts } of accounts.filter(account => account.of.what === 'sensors')) {
    say(`  ${of.workload}, ${of.sensors}: ${Object.entries(counts).map(([name, count]) => `${name} ${whole(count)}`).join(', ')}`)
  }
  for (const { what, of, numerator, median, min, max } of recorder.ratios()) {
    const percent = (ratio: number): string => `${ratio >= 1 ? '+' : ''}${((ratio - 1) * 100).toFixed(0)} %`
    say(`  ${of.workload}, ${of.clients} clients, ${numerator}: ${what} ${percent(median)} (${percent(min)} to ${percent(max)})`)
  }
}
