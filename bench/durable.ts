// `durable`: messages to a persistent session that survives the broker (parkmq, mosquitto) or does not (stock aedes).
import { available, BROKERS, startBroker, type Broker } from './brokers.js'
import { machineMs } from './clock.js'
import { say, sayDelivered, sayRatios, whole } from './figures.js'
import type { MqttVersion } from './mqtt-bytes.js'
import type { Options } from './options.js'
import { Publisher } from './publisher.js'
import { startSubscribers } from './subscribers.js'

const TOPIC = 'bench/durable'
const PAYLOAD_BYTES = 100
const WINDOW = 50
/** parkmq keeps so many for an offline client: a larger burst would measure what it drops. */
const OFFLINE_MESSAGES = 1_000
const OFFLINE_BURSTS = 5
const WARM_UP_MESSAGES = 200
/** A broker that saves everything at every change is not waited for longer, in milliseconds. */
const LONGEST_MS = 20_000

interface Figures {
  /** Messages a second from the first write to the last delivery. */
  readonly connected: number
  /** Messages a second acknowledged to the publisher while the subscriber was away. */
  readonly stored: number
  /** Messages a second from CONNECT to the last delivery. */
  readonly resumed: number
}

/** Connected and offline, QoS 1, one publisher, one persistent subscriber. */
export async function durable ({ rounds = 3, messages = 10_000, mqtt = [5], brokers = BROKERS }: Options): Promise<void> {
  const compared = available(brokers)
  for (const version of mqtt) {
    say(`durable: one persistent QoS 1 subscriber (${version === 5 ? 'MQTT 5.0, session expiry' : 'MQTT 3.1.1, clean session 0'}), one publisher, QoS 1, window ${WINDOW}, ${PAYLOAD_BYTES} bytes; ` +
      `${whole(messages)} messages connected, ${OFFLINE_BURSTS} bursts of ${whole(OFFLINE_MESSAGES)} offline`)
    say('  parkmq keeps sessions in its data folder, mosquitto with autosave_on_changes at every change, stock aedes in memory only')
    const measured: Map<Broker, Figures>[] = []
    for (let round = 1; round <= rounds; round++) {
      const figures = new Map<Broker, Figures>()
      for (const broker of compared) figures.set(broker, await measure(broker, version, messages, round))
      measured.push(figures)
    }
    for (const what of ['connected', 'stored', 'resumed'] as const) {
      sayRatios(measured.map(round => new Map([...round].map(([broker, figures]) => [broker, figures[what]]))), `${what}, messages/s`)
    }
  }
}

async function measure (broker: Broker, version: MqttVersion, messages: number, round: number): Promise<Figures> {
  const target = await startBroker(broker, { durable: true })
  const subscribers = await startSubscribers([{
    name: 'durable', count: 1, ports: { port: target.port, wsPort: target.wsPort }, filter: TOPIC, qos: 1, version, transport: 'tcp', persistent: true, behaviour: 'healthy',
    highestNumber: WARM_UP_MESSAGES + messages + OFFLINE_BURSTS * OFFLINE_MESSAGES
  }])
  const publisher = await Publisher.connect({ ports: target, clientId: 'bench-publisher', topic: TOPIC, qos: 1, payloadBytes: PAYLOAD_BYTES })
  await publisher.send({ messages: WARM_UP_MESSAGES, window: WINDOW, untilMs: machineMs() + LONGEST_MS })
  await subscribers.delivered('durable', publisher.sent)
  await subscribers.reset()

  const live = await publisher.send({ messages, window: WINDOW, untilMs: machineMs() + LONGEST_MS })
  const seen = await subscribers.delivered('durable', live.sent)
  const connected = seen.delivered / ((seen.lastAtMs - live.startedAtMs) / 1_000)

  await subscribers.reset()
  let stored = 0
  let storedSeconds = 0
  let resumedSeconds = 0
  let closed: string | null = live.stopped
  for (let burst = 0; burst < OFFLINE_BURSTS && closed === null; burst++) {
    await subscribers.leave('durable')
    const offline = await publisher.send({ messages: OFFLINE_MESSAGES, window: WINDOW, untilMs: machineMs() + LONGEST_MS })
    closed = offline.stopped
    stored += offline.sent
    storedSeconds += offline.seconds
    const backAtMs = machineMs()
    await subscribers.comeBack('durable')
    const { lastAtMs } = await subscribers.delivered('durable', stored, 2_000)
    resumedSeconds += Math.max(0, lastAtMs - backAtMs) / 1_000
  }
  const after = await subscribers.figures('durable')
  publisher.close()
  await subscribers.stop()
  await target.stop()
  const figures = { connected, stored: stored / storedSeconds, resumed: after.delivered / resumedSeconds }
  say(`  round ${round}: ${broker.padEnd(9)} connected ${whole(figures.connected).padStart(6)}/s (${sayDelivered(seen.delivered, live.sent)}), ` +
    `stored offline ${whole(figures.stored).padStart(6)}/s, resumed ${whole(figures.resumed).padStart(6)}/s (${sayDelivered(after.delivered, stored)}` +
    `${after.repeated > 0 ? `, ${whole(after.repeated)} repeated` : ''}${after.disordered > 0 ? `, ${whole(after.disordered)} out of order` : ''})${closed === null ? '' : `; publisher: ${closed}`}`)
  return figures
}
