// `frozen`: how late healthy subscribers get their messages beside 0, 1 and 10 that never read their socket. Lateness counts
// from when a message was due, so that a broker which stands still is charged with all that should have left meanwhile.
import { available, startBroker, type Broker } from './brokers.js'
import { say, whole } from './figures.js'
import { percentileOf, sayLatency, type Latency } from './latency.js'
import type { Options } from './options.js'
import { Publisher } from './publisher.js'
import { Recorder } from './recorder.js'
import type { ScenarioResult } from './results.js'
import { fillBehind } from './slow-subscribers.js'
import { startSubscribers, type Group } from './subscribers.js'

const LIVE_TOPIC = 'bench/frozen/live'
const FILL_TOPIC = 'bench/frozen/fill'
const FROZEN = [0, 1, 10] as const
const PER_SECOND = 500
const PAYLOAD_BYTES = 1_000
const WINDOW = 1_000
const WARM_UP_SECONDS = 1
const QUIET_MS = 3_000

interface Measured {
  readonly lag: Latency
  readonly delivered: number
  readonly expected: number
}

export async function frozen ({ rounds = 5, seconds = 5, subscribers = 50, brokers = ['parkmq'] }: Options): Promise<ScenarioResult> {
  const recorder = new Recorder({
    scenario: 'frozen', title: 'How late healthy subscribers get their messages beside 0, 1 and 10 that never read',
    parameters: { brokers, rounds, seconds, subscribers, perSecond: PER_SECOND, payloadBytes: PAYLOAD_BYTES, qos: 1, mqtt: '3.1.1' }
  })
  say(`frozen: ${subscribers} healthy subscribers, QoS 1, ${PER_SECOND} messages of ${PAYLOAD_BYTES} bytes a second for ${seconds} s; beside them 0, 1 and 10 that subscribe to the same and never read; ${rounds} rounds`)
  const found = available(brokers)
  for (let round = 0; round < rounds; round++) {
    for (const broker of found) await measureRound(recorder, broker, round, { seconds, subscribers })
  }
  for (const { numerator, denominator, of, median, min, max } of recorder.ratios()) {
    say(`  ${of.system}: p95 of the lag, ${numerator} / ${denominator}: ${median.toFixed(2)} (${min.toFixed(2)} to ${max.toFixed(2)})`)
  }
  return recorder.result()
}

/** Each count once, in an order that turns with the rounds. */
async function measureRound (recorder: Recorder, broker: Broker, round: number, parts: { seconds: number, subscribers: number }): Promise<void> {
  const p95 = new Map<number, number>()
  for (let n = 0; n < FROZEN.length; n++) {
    const count = FROZEN[(n + round) % FROZEN.length] ?? 0
    const { lag, delivered, expected } = await measure(broker, count, parts)
    say(`  round ${round + 1}, ${broker.padEnd(9)} beside ${String(count).padStart(2)} frozen: healthy got ${whole(delivered)} of ${whole(expected)}; lag ${sayLatency(lag)}, longest ${percentileOf(lag, 100).toFixed(1)} ms`)
    for (const percentile of [50, 95, 99] as const) {
      recorder.add({ what: 'delivery lag', of: { system: broker, percentile: `p${percentile}` }, x: { name: 'frozen subscribers', unit: '' }, y: { name: 'lag of the healthy ones', unit: 'ms' } }, count, percentileOf(lag, percentile))
    }
    recorder.account({ system: broker, frozen: String(count) }, { expected, delivered })
    p95.set(count, percentileOf(lag, 95))
  }
  const alone = p95.get(0)
  for (const [count, value] of p95) {
    if (count === 0 || !alone) continue
    recorder.ratio({ what: 'p95 of the lag', of: { system: broker }, numerator: `${count} frozen`, denominator: 'none frozen', better: 'lower' }, value / alone)
  }
}

async function measure (broker: Broker, count: number, { seconds, subscribers: healthy }: { seconds: number, subscribers: number }): Promise<Measured> {
  const target = await startBroker(broker)
  const group = (of: Pick<Group, 'name' | 'count' | 'filter' | 'behaviour'>): Group => ({
    ...of, ports: { port: target.port, wsPort: null }, qos: 1, version: 4, transport: 'tcp', persistent: false,
    highestNumber: Math.ceil((seconds + WARM_UP_SECONDS) * PER_SECOND), keepsArrivals: of.behaviour === 'healthy'
  })
  const subscribers = await startSubscribers([
    ...count > 0 ? [group({ name: 'frozen', count, filter: 'bench/frozen/#', behaviour: 'frozen' })] : [],
    group({ name: 'healthy', count: healthy, filter: LIVE_TOPIC, behaviour: 'healthy' })
  ])
  if (count > 0) await fillBehind(target, FILL_TOPIC, 1, 'tcp')
  const publisher = await Publisher.connect({ ports: target, clientId: 'bench-publisher', topic: LIVE_TOPIC, qos: 1, payloadBytes: PAYLOAD_BYTES, transport: 'tcp' })
  const warm = await publisher.steadily({ perSecond: PER_SECOND, seconds: WARM_UP_SECONDS, window: WINDOW })
  const { sent, startedAtMs } = await publisher.steadily({ perSecond: PER_SECOND, seconds, window: WINDOW })
  const { delivered } = await subscribers.delivered('healthy', (warm.sent + sent) * healthy, QUIET_MS)
  const lag = await subscribers.lag('healthy', { startedAtMs, perSecond: PER_SECOND, before: warm.sent })
  publisher.close()
  await subscribers.stop()
  await target.stop()
  return { lag, delivered, expected: (warm.sent + sent) * healthy }
}
