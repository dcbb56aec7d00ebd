// `flood`: what one client that publishes as fast as it can does to the round trips of ten others.
import { available, BROKERS, startBroker, type Broker } from './brokers.js'
import { Child } from './child.js'
import { percentileMs, say, whole } from './figures.js'
import type { Qos } from './mqtt-bytes.js'
import type { Options } from './options.js'
import { ping, type Pings } from './pingers.js'
import type { PublisherParts, Sent } from './publisher.js'
import { startSubscribers, type Group } from './subscribers.js'

const TOPIC = 'bench/flood'
const PINGERS = 10
const PAYLOAD_BYTES = 100
/** Unacknowledged messages of the flooding client at QoS 1. */
const WINDOW = 1_000
/** The flood begins before the pings and ends after them, in seconds. */
const MARGIN_SECONDS = 1
/** More than a socket takes of them; each costs a byte of memory, if it comes. */
const HIGHEST_NUMBER_PER_SECOND = 1_000_000

/** What the flooding process is asked. */
export type FloodRequests = {
  connect: { in: PublisherParts, out: void }
  flood: { in: { seconds: number, window: number }, out: Sent }
}

/** p50 and p99 of the others without a flood and with four kinds of it, on each broker. */
export async function flood ({ seconds = 5, brokers = BROKERS }: Options): Promise<void> {
  say(`flood: ${PINGERS} clients publish at QoS 1 and await their own message, ${seconds} s each; beside them one client publishes ${PAYLOAD_BYTES} bytes without end`)
  for (const broker of available(brokers)) {
    const calm = await undisturbed(broker, seconds)
    for (const qos of [0, 1] as const) {
      for (const subscribed of [false, true]) await beside(broker, seconds, { qos, subscribed }, calm)
    }
  }
  say('  The flooding client, its subscriber, the ten and the broker share the processors: compare with the other brokers under the same flood.')
}

interface Flood {
  readonly qos: Qos
  readonly subscribed: boolean
}

async function undisturbed (broker: Broker, seconds: number): Promise<Pings> {
  const target = await startBroker(broker)
  // The first ones warm up what is measured.
  await ping(target, PINGERS, MARGIN_SECONDS)
  const calm = await ping(target, PINGERS, seconds)
  await target.stop()
  sayPings(broker, 'no flood', calm, '')
  return calm
}

async function beside (broker: Broker, seconds: number, { qos, subscribed }: Flood, calm: Pings): Promise<void> {
  const target = await startBroker(broker)
  const group: Group = {
    name: 'flood', count: 1, ports: { port: target.port, wsPort: null }, filter: TOPIC, qos, version: 4, transport: 'tcp', persistent: false, behaviour: 'healthy',
    highestNumber: (seconds + 2 * MARGIN_SECONDS) * HIGHEST_NUMBER_PER_SECOND
  }
  const subscribers = subscribed ? await startSubscribers([group]) : null
  const flooder = new Child<FloodRequests>('./flooder-process.js', (seconds + 30) * 1_000)
  await flooder.ask('connect', { ports: { port: target.port, wsPort: null }, clientId: 'bench-flooder', topic: TOPIC, qos, payloadBytes: PAYLOAD_BYTES })
  await ping(target, PINGERS, MARGIN_SECONDS)
  const flooding = flooder.ask('flood', { seconds: seconds + 2 * MARGIN_SECONDS, window: WINDOW })
  // Whatever becomes of the flood, the pings go on and are shown first.
  flooding.catch(() => {})
  await ping(target, PINGERS, MARGIN_SECONDS)
  const pings = await ping(target, PINGERS, seconds)
  const sent = await flooding
  const seen = await subscribers?.figures('flood')
  await flooder.stop()
  await subscribers?.stop()
  await target.stop()
  const times = (percentile: number): string => (pings.latency.getValueAtPercentile(percentile) / calm.latency.getValueAtPercentile(percentile)).toFixed(1)
  const delivered = seen === undefined ? '' : `, ${whole(seen.delivered / sent.seconds)}/s delivered`
  sayPings(broker, `QoS ${qos}, ${subscribed ? 'one subscriber' : 'nobody subscribed'}`, pings,
    `, p50 ${times(50)} and p99 ${times(99)} times that without; flood ${whole(sent.sent / sent.seconds)}/s${delivered}${sent.stopped === null ? '' : ` until: ${sent.stopped}`}`)
}

function sayPings (broker: Broker, what: string, { pings, unanswered, latency }: Pings, more: string): void {
  say(`  ${broker.padEnd(9)} ${what.padEnd(24)} round trip p50 ${percentileMs(latency, 50)} ms, p99 ${percentileMs(latency, 99)} ms, longest ${percentileMs(latency, 100)} ms ` +
    `(${whole(pings)} pings${unanswered > 0 ? `, ${unanswered} NOT ANSWERED` : ''})${more}`)
}
