// `slow-disk`: what a disk that syncs slowly does to clients that do not need it, and to those that do. strace delays each sync.
import { spawnSync } from 'node:child_process'
import { DEFAULT_SEED } from './baseline.js'
import { besideSensors, CAPACITY, makeGates } from './beside-sensors.js'
import { BUILDS, otherBuild } from './builds.js'
import { percentileMs, say, whole } from './figures.js'
import { GateGenerator } from './gate-generator.js'
import { percentileOf } from './latency.js'
import type { Options } from './options.js'
import { ping } from './pingers.js'
import { RequestGenerator } from './request-generator.js'
import { faultsOf, p95Of, USUAL_CLIENTS, warmUpSeconds } from './request-rounds.js'
import { lotNames, startSystem, type SystemParts } from './systems.js'

/** What a sync takes longer, in milliseconds: nothing; as on a good disk, on a disk that turns, on a cheap card. */
const SYNC_MS = [0, 2, 10, 50]
const SENSORS_PER_SECOND = 1_000
const LOTS = 4
const PINGERS = 10
const GATES = 'slow-disk'

/** Throws `UsageError` where there is no build to compare with. */
export async function slowDisk ({ seconds = 4, rounds = 1, against, seed = DEFAULT_SEED }: Options): Promise<void> {
  if (spawnSync('strace', ['-V']).status !== 0) {
    say('slow-disk is left out: strace is not installed (Debian: apt-get install strace)')
    return
  }
  const others = against === undefined ? [] : [{ build: BUILDS[1], root: otherBuild(against) }]
  say(`slow-disk: beside ${whole(SENSORS_PER_SECOND)} sensor messages/s, ${PINGERS} clients publish at QoS 1 and await their own message, which is not stored; then ${USUAL_CLIENTS} clients reserve and cancel; ${seconds} s each; seed ${seed}`)
  for (let round = 1; round <= rounds; round++) {
    for (const syncMs of SYNC_MS) {
      for (const { build, root } of [{ build: BUILDS[0], root: undefined }, ...others]) {
        await measure(`syncs take ${syncMs} ms longer${others.length > 0 ? `, ${build}` : ''}`, { syncMs, ...root !== undefined && { root } }, seconds, seed)
      }
    }
  }
}

async function measure (name: string, disk: Pick<SystemParts, 'root' | 'syncMs'>, seconds: number, seed: number): Promise<void> {
  const lots = lotNames(LOTS)
  const system = await startSystem('parkmq', { lots, capacity: CAPACITY, ...disk })
  const gates = new GateGenerator()
  const requests = new RequestGenerator()
  try {
    await makeGates(gates, GATES, { system, lots, clients: USUAL_CLIENTS })
    const beside = { system, gates, name: GATES, perSecond: SENSORS_PER_SECOND }
    const reserving = async (forSeconds: number) => await besideSensors({ ...beside, seconds: forSeconds }, async () => await requests.run({
      ports: system.ports, answers: system.answers, clients: USUAL_CLIENTS, workload: 'writes', lots, requestIds: true, seed, pace: { type: 'closed', seconds: forSeconds }
    }))
    await reserving(warmUpSeconds(seconds))
    const { requests: { latency, pings, unanswered }, sensors: calm } = await besideSensors({ ...beside, seconds }, async () => await ping(system.ports, PINGERS, seconds))
    const { requests: reserved, sensors } = await reserving(seconds)
    for (const fault of faultsOf(reserved)) say(`  ${name}: ${fault}`)
    const lag = (figures: typeof sensors): string => figures === null ? '' : `free after p50 ${percentileOf(figures.lag, 50).toFixed(1)} ms, p95 ${percentileOf(figures.lag, 95).toFixed(1)} ms`
    say(`  ${name}: round trip p50 ${percentileMs(latency, 50)} ms, p95 ${percentileMs(latency, 95)} ms, p99 ${percentileMs(latency, 99)} ms (${whole(pings)} pings${unanswered > 0 ? `, ${unanswered} NOT ANSWERED` : ''}), ${lag(calm)}; ` +
      `beside reservations ${whole(reserved.perSecond)}/s, p95 ${p95Of(reserved).toFixed(1)} ms, ${lag(sensors)}`)
  } finally {
    await gates.stop()
    await requests.stop()
    await system.stop()
  }
}
