// `baseline` and `mixed`: what drivers get and how soon, beside what a bare broker and a hand-written service give them.
import { say, whole } from './figures.js'
import type { Options } from './options.js'
import { Recorder } from './recorder.js'
import { CAPACITY, requestRounds, sayRecordedRatios, sayRounds, USUAL_CLIENTS, type RoundsParts } from './request-rounds.js'
import type { ScenarioResult } from './results.js'
import { ANSWERING, availableSystems, lotNames, type SystemName } from './systems.js'
import type { Workload } from './workloads.js'

export const DEFAULT_SEED = 20_261_121
const CLIENTS = [1, 4, 8, 16, 64]
const MIXED_CLIENTS = [1, 16, 64]
const MIXED_SYSTEMS: readonly SystemName[] = ['parkmq', 'mosquitto-echo', 'aedes-echo']
const LOTS = 4
/** Requests a second at which the latencies are measured: what such a system is known to reach at all. */
const RATE = 1_000

/** Availability alone, and reserve and cancel in turn. */
export async function baseline ({ clients = CLIENTS, systems = ANSWERING, ...options }: Options): Promise<ScenarioResult> {
  return await run('baseline', ['reads', 'writes'], 'Reads (availability of one lot) and writes (reserve and cancel in turn), a closed loop of each client', clients, systems, options)
}

/** Eighty reads to twenty writes. The hand-written service knows no bookings: it is no peer here. */
export async function mixed ({ clients = MIXED_CLIENTS, systems = MIXED_SYSTEMS, ...options }: Options): Promise<ScenarioResult> {
  return await run('mixed', ['mixed'], 'Reads (availability, a quarter of them of a window) and writes (reserve, book, change, cancel), 80 to 20, a closed loop of each client', clients, systems, options)
}

async function run (scenario: string, workloads: readonly Workload[], title: string, clients: readonly number[], asked: readonly SystemName[], { rounds = 3, seconds = 2, lots = LOTS, rate = RATE, ids = 'on', seed = DEFAULT_SEED }: Options): Promise<ScenarioResult> {
  const parameters = { clients, rounds, seconds, lots, capacity: CAPACITY, ratePerSecond: rate, clientsAtTheRate: USUAL_CLIENTS, requestIds: ids === 'on', seed, qos: 1, mqtt: '5.0' }
  const recorder = new Recorder({ scenario, title, parameters: { ...parameters, workloads, systems: asked } })
  say(`${scenario}: ${title}; ${rounds} rounds of ${seconds} s for each of ${clients.join(', ')} clients and for ${USUAL_CLIENTS} clients at ${whole(rate)}/s, ${lots} lots, QoS 1, MQTT 5.0${ids === 'on' ? ', writes with a requestId' : ''}; seed ${seed}`)
  const systems = availableSystems(asked, scenario === 'mixed' ? MIXED_SYSTEMS : ANSWERING, recorder)
  recorder.note('An echo answers a request with its own payload; in writes it gets reserve alone, because there is nothing to cancel.')
  const parts: RoundsParts = { scenario, workloads, systems, clients, rate, rounds, seconds, lots: lotNames(lots), requestIds: ids === 'on', seed }
  await requestRounds(parts, recorder)
  sayRounds(recorder)
  sayRecordedRatios(recorder)
  return recorder.result()
}
