// `soak`: everything at once for as long as one likes: sensors at a fixed rate, a display a lot, and clients that come, ask, and
// go again. How memory and lag change over time, and how fast memory still grows at the end.
import { DEFAULT_SEED } from './baseline.js'
import { say, whole } from './figures.js'
import { GateGenerator } from './gate-generator.js'
import type { GateFigures } from './gate-load.js'
import { percentileOf } from './latency.js'
import { perSample } from './memory-watch.js'
import type { Options } from './options.js'
import { Progress } from './progress.js'
import { Recorder } from './recorder.js'
import { RequestGenerator } from './request-generator.js'
import type { LoadFigures } from './request-load.js'
import { countsOf, faultsOf, USUAL_CLIENTS } from './request-rounds.js'
import type { ScenarioResult } from './results.js'
import { lotNames, startSystem, type System } from './systems.js'

const MINUTES = 2
const LOTS = 20
const CAPACITY = 1_000_000
const SENSORS_PER_SECOND = 500
const REQUESTS_PER_SECOND = 200
/** Length of each slice, after which its figures are noted and other clients come. */
const SLICE_SECONDS = 10
const SAMPLE_MS = 1_000
const GATES = 'soak'
/** From fewer samples, one a second, nobody could tell a slope from the noise. */
const LEAST_SAMPLES = 30
const HOUR_MS = 3_600_000

const MINUTE_AXIS = { name: 'time', unit: 'min' }

export async function soak ({ minutes = MINUTES, seconds = SLICE_SECONDS, lots = LOTS, clients = [USUAL_CLIENTS], rate = REQUESTS_PER_SECOND, ids = 'on', seed = DEFAULT_SEED }: Options): Promise<ScenarioResult> {
  const slices = Math.max(1, Math.round(minutes * 60 / seconds))
  const title = `Sensors at ${SENSORS_PER_SECOND}/s, a QoS 1 subscriber of each lots/{lot}/free, and clients that make ${rate} requests/s and are replaced every ${seconds} s`
  const recorder = new Recorder({ scenario: 'soak', title, parameters: { minutes, seconds, lots, clients, rate, sensorsPerSecond: SENSORS_PER_SECOND, requestIds: ids === 'on', seed } })
  recorder.note('The slope of memory is that of the second half: in the first the heap and the caches find their size.')
  say(`soak: ${title}, for ${minutes} minutes; seed ${seed}`)
  const names = lotNames(lots)
  const most = Math.max(...clients)
  const system = await startSystem('parkmq', { lots: names, capacity: CAPACITY })
  const requests = new RequestGenerator()
  const gates = new GateGenerator()
  const progress = new Progress('soak', slices)
  const memory = new MemoryOverTime(system, recorder)
  try {
    await gates.make(GATES, { ports: system.ports, hearing: 'free', gates: names.map(lot => ({ lot, capacity: CAPACITY, step: 2 * most })) })
    await gates.connected(GATES, async run => {
      for (let slice = 0; slice < slices; slice++) {
        progress.next(`slice ${slice + 1}`)
        const [sensors, asked] = await Promise.all([
          run({ type: 'rate', perSecond: SENSORS_PER_SECOND, seconds }),
          requests.run({ ports: system.ports, answers: system.answers, clients: most, workload: 'mixed', lots: names, requestIds: ids === 'on', seed: seed + slice, pace: { type: 'open', perSecond: rate, seconds } }, progress)
        ])
        record(recorder, memory, sensors, asked)
      }
    })
  } finally {
    memory.stop()
    await gates.stop()
    await requests.stop()
    await system.stop()
  }
  sayMemory(recorder, memory)
  return recorder.result()
}

function record (recorder: Recorder, memory: MemoryOverTime, sensors: GateFigures, requests: LoadFigures): void {
  const minute = memory.minutes
  for (const fault of faultsOf(requests)) say(`  minute ${minute.toFixed(1)}: ${fault}`)
  const { sent, acknowledged, heard, updates, unsent, closed } = sensors
  recorder.account({ what: 'requests' }, countsOf(requests))
  recorder.account({ what: 'sensors' }, { sent, acknowledged, 'heard of': heard, 'free updates delivered': updates, unsent, closed: closed.length })
  if (heard < sent) say(`  minute ${minute.toFixed(1)}: the effect of ${whole(sent - heard)} sensor messages was NOT HEARD`)
  const { all } = requests.latency
  for (const percentile of [50, 95, 99] as const) {
    const of = { percentile: `p${percentile}` }
    recorder.add({ what: 'delivery lag over time', of, x: MINUTE_AXIS, y: { name: 'lag of free', unit: 'ms' } }, minute, percentileOf(sensors.lag, percentile))
    if (all !== undefined) recorder.add({ what: 'latency over time', of, x: MINUTE_AXIS, y: { name: 'round trip', unit: 'ms' } }, minute, percentileOf(all, percentile))
  }
  say(`  minute ${minute.toFixed(1)}: ${whole(memory.lastBytes / 1e6)} MB; free after p95 ${percentileOf(sensors.lag, 95).toFixed(2)} ms; round trip p95 ${all === undefined ? '-' : percentileOf(all, 95).toFixed(2)} ms`)
}

function sayMemory (recorder: Recorder, memory: MemoryOverTime): void {
  const { samples } = memory
  const bytes = { name: 'resident memory', unit: 'bytes' }
  const half = samples.slice(Math.floor(samples.length / 2))
  const perHour = half.length < LEAST_SAMPLES ? null : perSample(half) * HOUR_MS / SAMPLE_MS
  if (perHour !== null) recorder.add({ what: 'slope of memory', of: {}, x: { name: 'part', unit: '' }, y: { ...bytes, name: 'growth an hour' } }, 'second half', perHour)
  else recorder.absent('the slope of memory', 'it was too short for one')
  const mb = (value: number): string => whole(value / 1e6)
  say(`  memory: ${mb(samples[0] ?? 0)} MB at the start, ${mb(samples.at(-1) ?? 0)} MB at the end, at most ${mb(Math.max(...samples))} MB` +
    (perHour === null ? '; too short for a slope' : `; the second half grows by ${(perHour / 1e6).toFixed(1)} MB/h`))
}

/** Samples every second from its making on. */
class MemoryOverTime {
  readonly samples: number[] = []
  readonly #system: System
  readonly #recorder: Recorder
  readonly #startedMs = performance.now()
  readonly #timer: NodeJS.Timeout

  constructor (system: System, recorder: Recorder) {
    this.#system = system
    this.#recorder = recorder
    this.#sample()
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS)
  }

  get minutes (): number { return Math.round((performance.now() - this.#startedMs) / 600) / 100 }
  get lastBytes (): number { return this.samples.at(-1) ?? NaN }

  stop (): void {
    clearInterval(this.#timer)
  }

  #sample (): void {
    const bytes = this.#system.memoryBytes()
    this.samples.push(bytes)
    this.#recorder.add({ what: 'memory over time', of: {}, x: MINUTE_AXIS, y: { name: 'resident memory', unit: 'bytes' } }, this.minutes, bytes)
  }
}
