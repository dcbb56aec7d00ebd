// `builds`: another build of parkmq and this one under the same load in turn, to see what a change does.
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { DEFAULT_SEED } from './baseline.js'
import { besideSensors, CAPACITY, makeGates, type BesideSensors } from './beside-sensors.js'
import { say, whole } from './figures.js'
import { GateGenerator } from './gate-generator.js'
import { percentileOf } from './latency.js'
import type { Options } from './options.js'
import { PROGRAM_FILES } from './processes.js'
import { Progress } from './progress.js'
import { Recorder } from './recorder.js'
import { RequestGenerator } from './request-generator.js'
import { countsOf, faultsOf, p95Of, sayRecordedRatios, USUAL_CLIENTS } from './request-rounds.js'
import type { ScenarioResult } from './results.js'
import { lotNames, startSystem, type System } from './systems.js'
import { UsageError } from './usage-error.js'
import type { Workload } from './workloads.js'

const LOTS = 4
const SENSORS_PER_SECOND = 1_000
/** As long as so many measurements. */
const WARM_UP = 2
export const BUILDS = ['this build', 'the other'] as const
export type BuildName = (typeof BUILDS)[number]

interface Load {
  readonly workload: Workload
  readonly perSecond: number | null
}

const LOADS: readonly Load[] = [
  { workload: 'writes', perSecond: null }, { workload: 'writes', perSecond: SENSORS_PER_SECOND },
  { workload: 'reads', perSecond: null }, { workload: 'reads', perSecond: SENSORS_PER_SECOND }
]

interface Measured extends BesideSensors {
  /** Of a request, with what the sensors cost meanwhile. */
  readonly cpuUs: number
}

/** Throws `UsageError` where there is no build to compare with. */
export async function builds ({ against = '', rounds = 10, seconds = 1, lots = LOTS, clients = [USUAL_CLIENTS], ids = 'on', seed = DEFAULT_SEED }: Options): Promise<ScenarioResult> {
  const roots: Record<BuildName, string | undefined> = { 'this build': undefined, 'the other': otherBuild(against) }
  const title = `Requests without sensors and beside ${whole(SENSORS_PER_SECOND)} sensor messages/s, to this build and to another in turn`
  const recorder = new Recorder({ scenario: 'builds', title, parameters: { against: resolve(against), clients, rounds, seconds, lots, capacity: CAPACITY, requestIds: ids === 'on', seed } })
  recorder.note('What asks and listens is of this build, so both are asked the same.')
  say(`builds: ${title}; ${rounds} rounds of ${seconds} s, ${lots} lots; seed ${seed}`)
  const names = lotNames(lots)
  const systems = new Map<BuildName, System>()
  const requests = new RequestGenerator()
  const gates = new GateGenerator()
  const progress = new Progress('builds', BUILDS.length * (1 + rounds * LOADS.length * clients.length))
  const measure = async (build: BuildName, { workload, perSecond }: Load, count: number, forSeconds: number): Promise<Measured> => {
    const system = systems.get(build) as System
    progress.next(`${build}, ${workload}, ${count} clients, ${sensorsIn(perSecond)}`)
    const parts = { ports: system.ports, answers: system.answers, clients: count, workload, lots: names, requestIds: ids === 'on', seed, pace: { type: 'closed', seconds: forSeconds } as const }
    const beforeMs = system.cpuMs()
    const measured = await besideSensors({ system, gates, name: build, perSecond, seconds: forSeconds }, async () => await requests.run(parts, progress))
    return { ...measured, cpuUs: (system.cpuMs() - beforeMs) * 1_000 / Math.max(1, measured.requests.answered) }
  }
  try {
    for (const build of BUILDS) {
      const root = roots[build]
      systems.set(build, await startSystem('parkmq', { lots: names, capacity: CAPACITY, ...root !== undefined && { root } }))
      await makeGates(gates, build, { system: systems.get(build) as System, lots: names, clients: Math.max(...clients) })
      await measure(build, { workload: 'writes', perSecond: SENSORS_PER_SECOND }, Math.max(...clients), WARM_UP * seconds)
    }
    for (let round = 1; round <= rounds; round++) {
      for (const count of clients) {
        for (const load of LOADS) {
          const inTurn = round % 2 === 0 ? [...BUILDS].reverse() : BUILDS
          const measured = new Map<BuildName, Measured>()
          for (const build of inTurn) measured.set(build, await measure(build, load, count, seconds))
          for (const build of BUILDS) record(recorder, build, load, count, measured.get(build) as Measured)
          compare(recorder, load, count, measured.get('this build') as Measured, measured.get('the other') as Measured)
        }
      }
      say(`  round ${round} of ${rounds} is done`)
    }
  } finally {
    await gates.stop()
    await requests.stop()
    for (const system of systems.values()) await system.stop()
  }
  sayRecordedRatios(recorder)
  return recorder.result()
}

/** The folder of another build. Throws `UsageError` where there is none. */
export function otherBuild (against: string): string {
  const root = resolve(against)
  const missing = PROGRAM_FILES.find(file => !existsSync(join(root, file)))
  if (missing !== undefined) throw new UsageError(`--against ${against} is no build of parkmq: it has no ${missing}; \`npm ci\` there makes one`)
  return root
}

function sensorsIn (perSecond: number | null): string {
  return perSecond === null ? 'no sensors' : `${whole(perSecond)}/s in all`
}

function record (recorder: Recorder, build: BuildName, { workload, perSecond }: Load, clients: number, { requests, sensors, cpuUs }: Measured): void {
  const of = { build, workload, clients: String(clients) }
  const level = sensorsIn(perSecond)
  const x = { name: 'sensor load', unit: '' }
  for (const fault of faultsOf(requests)) say(`  ${build}, ${workload}, ${level}: ${fault}`)
  recorder.account({ ...of, sensors: level, what: 'requests' }, countsOf(requests))
  recorder.add({ what: 'throughput', of, x, y: { name: 'requests', unit: '1/s' } }, level, requests.perSecond)
  recorder.add({ what: 'processor time', of, x, y: { name: 'processor time of a request', unit: 'us' } }, level, cpuUs)
  recorder.add({ what: 'p95', of, x, y: { name: 'round trip', unit: 'ms' } }, level, p95Of(requests))
  if (sensors === null) return
  const { sent, acknowledged, heard } = sensors
  recorder.account({ ...of, sensors: level, what: 'sensors' }, { sent, acknowledged, 'heard of': heard })
  if (acknowledged < sent || heard < sent) say(`  ${build}, ${workload}, ${level}: ${whole(sent - acknowledged)} sensor messages NOT ACKNOWLEDGED, the effect of ${whole(sent - heard)} NOT HEARD`)
  for (const percentile of [50, 95] as const) recorder.add({ what: 'delivery lag', of: { ...of, percentile: `p${percentile}` }, x, y: { name: 'lag of free', unit: 'ms' } }, level, percentileOf(sensors.lag, percentile))
}

function compare (recorder: Recorder, { workload, perSecond }: Load, clients: number, ours: Measured, theirs: Measured): void {
  const of = { workload, clients: String(clients), sensors: sensorsIn(perSecond) }
  const ratio = (what: string, better: 'higher' | 'lower', value: number): void => {
    if (Number.isFinite(value)) recorder.ratio({ what, of, numerator: 'this build', denominator: 'the other', better }, value)
  }
  ratio('throughput', 'higher', ours.requests.perSecond / theirs.requests.perSecond)
  ratio('p95', 'lower', p95Of(ours.requests) / p95Of(theirs.requests))
  ratio('processor time', 'lower', ours.cpuUs / theirs.cpuUs)
  if (ours.sensors === null || theirs.sensors === null) return
  for (const percentile of [50, 95] as const) ratio(`delivery lag p${percentile}`, 'lower', percentileOf(ours.sensors.lag, percentile) / percentileOf(theirs.sensors.lag, percentile))
}
