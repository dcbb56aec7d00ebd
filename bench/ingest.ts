// `ingest`: sensor messages as fast as they are committed, beside brokers that merely forward them and a hand-written service.
import { say, whole } from './figures.js'
import { GateGenerator } from './gate-generator.js'
import type { GateFigures } from './gate-load.js'
import { ingestOverTls } from './ingest-tls.js'
import { percentileOf, sayLatency } from './latency.js'
import type { Options } from './options.js'
import { Progress } from './progress.js'
import { Recorder } from './recorder.js'
import { sayRecordedRatios } from './request-rounds.js'
import type { Axis, ScenarioResult } from './results.js'
import { availableSystems, COUNTING, lotNames, startSystem, type System, type SystemName } from './systems.js'

/** Of all publishers together in each measurement. */
const MESSAGES = 100_000
/** The hand-written service gets so many times fewer, or a round would last minutes. */
const FEWER_FOR_SERVICE = 20
const CAPACITY = 1_000_000
const MESSAGES_A_SECOND: Axis = { name: 'sensor messages', unit: '1/s' }
const MS: Axis = { name: 'time', unit: 'ms' }

interface Variant {
  readonly publishers: number
  readonly window: number
}

interface Measured extends GateFigures {
  /** Microseconds of the system's processor time for each message. */
  readonly cpuUs: number
}

/** Each publisher with each window; to PUBACK, and to the update of `free` that includes the message. */
export async function ingest ({ rounds = 3, tls, publishers = [4], window = [64], messages = MESSAGES, systems: asked = COUNTING }: Options): Promise<ScenarioResult | void> {
  if (tls?.includes('on')) return await ingestOverTls(rounds)
  const title = 'Sensor messages with an identity, QoS 1, each publisher in a lot of its own: to PUBACK, and to the first `free` that includes them, or to the plain subscriber that they are forwarded to'
  const recorder = new Recorder({ scenario: 'ingest', title, parameters: { rounds, publishers, window, messages, systems: asked, qos: 1, mqtt: '3.1.1' } })
  recorder.note('The PUBACK of parkmq follows the commit. That of mosquitto before a service says nothing of the service: compare what was heard.')
  say(`ingest: ${title}; ${whole(messages)} messages in each of ${rounds} rounds`)
  const names = availableSystems(asked, COUNTING, recorder)
  const lots = lotNames(Math.max(...publishers))
  const variants = publishers.flatMap(count => window.map((open): Variant => ({ publishers: count, window: open })))
  const progress = new Progress('ingest', names.length * (rounds + 1) * variants.length)
  const gates = new GateGenerator()
  const systems: System[] = []
  try {
    for (const name of names) {
      const system = await startSystem(name, { lots, capacity: CAPACITY })
      systems.push(system)
      await gates.make(name, { ports: system.ports, hearing: system.answers === 'echo' ? 'forwarded' : 'free', gates: lots.map(lot => ({ lot, capacity: CAPACITY, step: 1 })) })
    }
    // Round 0 warms up what is measured.
    for (let round = 0; round <= rounds; round++) {
      for (const variant of variants) {
        const measured = new Map<SystemName, Measured>()
        for (let i = 0; i < systems.length; i++) {
          const system = systems[(i + round) % systems.length] as System
          measured.set(system.name, await measure(gates, system, variant, messages, progress))
        }
        if (round > 0) record(recorder, variant, measured, round)
      }
    }
  } finally {
    await gates.stop()
    for (const system of systems) await system.stop()
  }
  sayRecordedRatios(recorder)
  return recorder.result()
}

async function measure (gates: GateGenerator, system: System, { publishers, window }: Variant, messages: number, progress: Progress): Promise<Measured> {
  const total = system.name.startsWith('service') ? messages / FEWER_FOR_SERVICE : messages
  progress.next(`${system.name}, ${publishers} publishers, window ${window}`)
  return await gates.connected(system.name, async run => {
    const before = system.cpuMs()
    const figures = await run({ type: 'window', window, messages: Math.ceil(total / publishers) })
    return { ...figures, cpuUs: (system.cpuMs() - before) * 1_000 / Math.max(1, figures.sent) }
  }, publishers)
}

function record (recorder: Recorder, { publishers, window }: Variant, measured: ReadonlyMap<SystemName, Measured>, round: number): void {
  const x = { name: 'publishers', unit: '' }
  for (const [system, figures] of measured) {
    const of = { system, window: String(window) }
    const { sent, acknowledged, heard, updates, secondsToAck, secondsToHeard, ack, lag, cpuUs, closed } = figures
    recorder.account({ ...of, publishers: String(publishers) }, { sent, acknowledged, 'heard of': heard, 'updates delivered': updates, closed: closed.length })
    recorder.add({ what: 'throughput to PUBACK', of, x, y: MESSAGES_A_SECOND }, publishers, acknowledged / secondsToAck)
    recorder.add({ what: 'throughput to the effect', of, x, y: MESSAGES_A_SECOND }, publishers, heard / secondsToHeard)
    recorder.add({ what: 'processor time', of, x, y: { name: 'processor time of a message', unit: 'us' } }, publishers, cpuUs)
    for (const percentile of [50, 95, 99] as const) {
      recorder.add({ what: 'time to PUBACK', of: { ...of, percentile: `p${percentile}` }, x, y: MS }, publishers, percentileOf(ack, percentile))
      recorder.add({ what: 'time to the effect', of: { ...of, percentile: `p${percentile}` }, x, y: MS }, publishers, percentileOf(lag, percentile))
    }
    say(`  round ${round}, ${publishers} publishers, window ${window}: ${system.padEnd(17)} PUBACK ${whole(acknowledged / secondsToAck).padStart(7)}/s after ${sayLatency(ack)}; ` +
      `effect ${whole(heard / secondsToHeard).padStart(7)}/s after ${sayLatency(lag)}; ${cpuUs.toFixed(1)} us of processor time each` +
      `${acknowledged < sent ? `; ${whole(sent - acknowledged)} NOT ACKNOWLEDGED` : ''}${heard < sent ? `; ${whole(sent - heard)} NOT HEARD OF` : ''}${closed.length > 0 ? `; ${closed.length} connections: ${closed[0]}` : ''}`)
  }
  const ours = measured.get('parkmq')
  if (ours === undefined) return
  for (const [denominator, theirs] of measured) {
    if (denominator === 'parkmq') continue
    const key = { of: { publishers: String(publishers), window: String(window) }, numerator: 'parkmq', denominator, better: 'higher' } as const
    // What a service behind a broker has done is not known from that broker's PUBACK.
    if (!denominator.startsWith('service')) recorder.ratio({ what: 'throughput to PUBACK', ...key }, ours.acknowledged / ours.secondsToAck / (theirs.acknowledged / theirs.secondsToAck))
    recorder.ratio({ what: 'throughput to the effect', ...key }, ours.heard / ours.secondsToHeard / (theirs.heard / theirs.secondsToHeard))
    // The kernel counts processor time in steps of 10 ms: of a few messages it may count none.
    if (theirs.cpuUs > 0) recorder.ratio({ what: 'processor time', ...key, better: 'lower' }, ours.cpuUs / theirs.cpuUs)
  }
}
