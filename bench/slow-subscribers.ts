// `slow`: what one subscriber that is frozen and one that never acknowledges do to fifty healthy ones, to the broker's
// memory, and to themselves. It ends in bounded time also when the broker stalls: that is what it shall show.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { available, startBroker, type Broker } from './brokers.js'
import { machineMs } from './clock.js'
import { say, sayDelivered, whole } from './figures.js'
import type { MqttVersion, Qos } from './mqtt-bytes.js'
import { SESSIONS, type Options, type Session } from './options.js'
import type { Target } from './processes.js'
import { Publisher } from './publisher.js'
import type { Transport } from './raw-client.js'
import { Recorder } from './recorder.js'
import type { ScenarioResult } from './results.js'
import { MemoryWatch } from './memory-watch.js'
import { startSubscribers, type Group } from './subscribers.js'

/** What the healthy ones subscribe to; the slow ones get what is below `bench/slow/` besides. */
const LIVE_TOPIC = 'bench/slow/live'
const FILL_TOPIC = 'bench/slow/fill'
const PER_SECOND = 500
const PAYLOAD_BYTES = 1_000
/** Unacknowledged messages of the publisher: two seconds of them. */
const WINDOW = 1_000
/** Fills the buffers of the kernel behind the frozen subscriber before anything is measured: they take several megabytes. */
const FILL_MESSAGES = 8_000
const FILL_MS = 5_000
const FILL_STALL_MS = 2_000
/** Nothing new for the healthy ones for so long after the last message was published: what is missing is lost, or the broker stands still. */
const QUIET_MS = 3_000
const RESOLUTION_MS = 5

interface Combination {
  readonly broker: Broker
  readonly qos: Qos
  readonly transport: Transport
  readonly session: Session
  readonly version: MqttVersion
  readonly healthy: number
  readonly seconds: number
}

/** Every combination asked for; with `minutes` the one that asks most of a broker, or the ones asked for. */
export async function slow (options: Options): Promise<ScenarioResult> {
  const { minutes, mqtt: versions = [4], subscribers = 50, brokers = ['parkmq'] } = options
  const long = minutes !== undefined
  const seconds = long ? minutes * 60 : options.seconds ?? 10
  const qoses = options.qos ?? (long ? [1] as const : [0, 1, 2] as const)
  const transports = options.transport ?? (long ? ['tcp'] as const : ['tcp', 'ws'] as const)
  const sessions = options.session ?? (long ? ['persistent'] as const : SESSIONS)
  const title = 'Healthy subscribers beside a frozen one and one that never acknowledges, and without those'
  const recorder = new Recorder({ scenario: 'slow', title, parameters: { brokers, mqtt: versions, transports, qos: qoses, sessions, subscribers, seconds, perSecond: PER_SECOND, payloadBytes: PAYLOAD_BYTES } })
  say(`slow: one frozen and one never-acknowledging subscriber beside ${subscribers} healthy ones; one publisher, ${PER_SECOND} messages of ${PAYLOAD_BYTES} bytes a second for ${seconds} s`)
  for (const broker of available(brokers)) {
    for (const version of versions) {
      for (const transport of transports) {
        if (transport === 'ws' && broker !== 'parkmq') {
          say(`  ${broker} has no WebSocket listener in this bench: left out`)
          continue
        }
        for (const qos of qoses) {
          for (const session of sessions) await measure(recorder, { broker, qos, transport, session, version, healthy: subscribers, seconds })
        }
      }
    }
  }
  return recorder.result()
}

/** The same once without the slow ones: what gap this machine makes by itself. */
async function measure (recorder: Recorder, combination: Combination): Promise<void> {
  const { broker, qos, transport, session, version, seconds } = combination
  say(`  ${broker}, QoS ${qos}, ${transport}, ${session} sessions, MQTT ${version === 5 ? '5.0' : '3.1.1'}`)
  await run(recorder, { ...combination, seconds: Math.min(seconds, 10) }, 'without', [])
  await run(recorder, combination, 'with', ['frozen', 'never-acks'])
}

async function run (recorder: Recorder, combination: Combination, name: 'with' | 'without', slowOnes: readonly ('frozen' | 'never-acks')[]): Promise<void> {
  const { broker, qos, transport, session, version, healthy, seconds } = combination
  const target = await startBroker(broker)
  const group = (of: Pick<Group, 'name' | 'count' | 'filter' | 'behaviour'>): Group => ({
    ...of, ports: { port: target.port, wsPort: target.wsPort }, qos, version, transport, persistent: session === 'persistent',
    highestNumber: Math.max(FILL_MESSAGES, Math.ceil(seconds * PER_SECOND))
  })
  const subscribers = await startSubscribers([
    // The slow ones first: brokers serve subscribers in the order of their subscriptions.
    ...slowOnes.map(behaviour => group({ name: behaviour, count: 1, filter: 'bench/slow/#', behaviour })),
    group({ name: 'healthy', count: healthy, filter: LIVE_TOPIC, behaviour: 'healthy' })
  ])
  if (slowOnes.length > 0) {
    const stopped = await fillBehind(target, FILL_TOPIC, qos, transport)
    if (stopped !== null) say(`    with    the slow ones: their publisher stands still: ${stopped}`)
  }

  const publisher = await Publisher.connect({ ports: target, clientId: 'bench-publisher', topic: LIVE_TOPIC, qos, payloadBytes: PAYLOAD_BYTES, transport })
  await subscribers.reset()
  const loop = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  loop.enable()
  const memory = new MemoryWatch(target, (minute, megabytes) => say(`    ${name.padEnd(7)} the slow ones: broker's memory after ${minute.toFixed(1)} min: ${megabytes.toFixed(0)} MB`))
  const sent = await publisher.steadily({ perSecond: PER_SECOND, seconds, window: WINDOW })
  const atEndMs = machineMs()
  const atEnd = await subscribers.figures('healthy')
  const subscribersLoopMs = await subscribers.loopDelayMs()
  loop.disable()
  memory.stop()
  const seen = await subscribers.delivered('healthy', sent.sent * healthy, QUIET_MS)
  // A subscriber that has got nothing for long has no gap between two messages to show for it.
  const openGapMs = atEndMs - Math.max(atEnd.earliestLastAtMs, sent.startedAtMs)
  const longestGapMs = Math.max(seen.longestGapMs, openGapMs)
  const due = Math.round(PER_SECOND * seconds)
  say(`    ${name.padEnd(7)} the slow ones: healthy got ${sayDelivered(seen.delivered, sent.sent * healthy)}${sent.sent < due ? `; the publisher was held up: ${whole(sent.sent)} of ${whole(due)} published` : ''}; ` +
    `longest gap ${longestGapMs.toFixed(0)} ms (event loops stood still for at most ${subscribersLoopMs.toFixed(0)} ms in the subscribers' process, ${Math.max(0, loop.max / 1e6 - RESOLUTION_MS).toFixed(0)} ms in the publisher's)`)
  const of = { system: broker, qos: String(qos), transport, session, mqtt: version === 5 ? '5.0' : '3.1.1' }
  recorder.add({ what: 'longest gap', of, x: { name: 'slow subscribers', unit: '' }, y: { name: 'longest gap of a healthy one', unit: 'ms' } }, slowOnes.length, longestGapMs)
  recorder.account({ ...of, slow: name }, { published: sent.sent, due, expected: sent.sent * healthy, delivered: seen.delivered, repeated: seen.repeated, 'out of order': seen.disordered, closed: seen.closed.length })
  if (seen.repeated + seen.disordered > 0) say(`            repeated ${whole(seen.repeated)}, out of order ${whole(seen.disordered)}`)
  if (seen.closed.length > 0) say(`            ${seen.closed.length} healthy ones were closed: ${seen.closed[0]}`)
  if (sent.stopped !== null) say(`            publisher: ${sent.stopped}`)
  if (slowOnes.length > 0) {
    const { mostUnacknowledged, closed } = await subscribers.figures('never-acks')
    say(`            never-acknowledging: ${qos === 0 ? 'QoS 0 has no acknowledgements' : `${whole(mostUnacknowledged)} unacknowledged at most`}${closed.length > 0 ? `; ${closed[0]}` : ''}`)
  }
  say(`            broker's memory: ${memory.summary()}`)
  publisher.close()
  await subscribers.stop()
  await target.stop()
}

/**
 * Messages for the slow ones alone, until their buffers are full or the broker takes no more from this publisher: then it
 * says why.
 */
export async function fillBehind (target: Target, topic: string, qos: Qos, transport: Transport): Promise<string | null> {
  const publisher = await Publisher.connect({ ports: target, clientId: 'bench-filler', topic, qos, payloadBytes: PAYLOAD_BYTES, transport })
  const { sent, stopped } = await publisher.send({ messages: FILL_MESSAGES, window: WINDOW, untilMs: machineMs() + FILL_MS, stallMs: FILL_STALL_MS })
  publisher.close()
  return stopped === null ? null : `${stopped}, after ${whole(sent)} messages for the slow ones alone`
}
