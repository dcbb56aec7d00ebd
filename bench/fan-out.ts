// `fan-out`: how many deliveries a second one publisher gets out of a broker to fifty subscribers.
import { available, BROKERS, startBroker, type Broker } from './brokers.js'
import { say, sayDelivered, sayRatios, whole } from './figures.js'
import type { MqttVersion, Qos } from './mqtt-bytes.js'
import type { Options } from './options.js'
import { Publisher } from './publisher.js'
import { Recorder } from './recorder.js'
import type { ScenarioResult } from './results.js'
import { startSubscribers } from './subscribers.js'

const TOPIC = 'bench/fan-out'
const PAYLOAD_BYTES = 100
/** Unacknowledged messages of the publisher. */
const WINDOW = 50
/** Not counted: every broker's hot path is compiled by then. */
const WARM_UP_MESSAGES = 500

interface Variant {
  readonly qos: Qos
  readonly mqtt: MqttVersion
}

interface Run extends Variant {
  readonly messages: number
  readonly subscribers: number
}

/** parkmq, stock aedes and mosquitto in turn. Whoever loses something is shown with what arrived. */
export async function fanOut ({ rounds = 3, messages = 6_000, subscribers = 50, qos, mqtt, brokers = BROKERS }: Options): Promise<ScenarioResult> {
  const title = `Deliveries from one publisher (QoS 1 at least, window ${WINDOW}) of ${PAYLOAD_BYTES} bytes to many subscribers`
  const recorder = new Recorder({ scenario: 'fan-out', title, parameters: { rounds, messages, subscribers, brokers } })
  const compared = available(brokers)
  for (const broker of brokers) if (!compared.includes(broker)) recorder.absent(broker, `${broker} is not installed`)
  for (const variant of variants(qos, mqtt)) {
    const publishQos = Math.max(1, variant.qos)
    say(`fan-out: ${subscribers} subscribers, QoS ${variant.qos}, ${nameOf(variant.mqtt)}; one publisher, QoS ${publishQos}, window ${WINDOW}, ${whole(messages)} messages of ${PAYLOAD_BYTES} bytes`)
    const measured: Map<Broker, number>[] = []
    for (let round = 1; round <= rounds; round++) {
      const perSecond = new Map<Broker, number>()
      for (const broker of compared) {
        const { deliveriesPerSecond, cpuUs, delivered } = await measure(broker, { ...variant, messages, subscribers }, round)
        perSecond.set(broker, deliveriesPerSecond)
        const of = { system: broker, ...labelsOf(variant) }
        const x = { name: 'subscribers', unit: '' }
        recorder.add({ what: 'deliveries', of, x, y: { name: 'deliveries', unit: '1/s' } }, subscribers, deliveriesPerSecond)
        recorder.add({ what: 'processor time', of, x, y: { name: 'processor time of a delivery', unit: 'us' } }, subscribers, cpuUs)
        recorder.account({ ...of, subscribers: String(subscribers) }, { expected: messages * subscribers, delivered })
      }
      measured.push(perSecond)
      const ours = perSecond.get('parkmq')
      for (const [denominator, theirs] of perSecond) {
        if (ours !== undefined && denominator !== 'parkmq') recorder.ratio({ what: 'deliveries', of: { ...labelsOf(variant), subscribers: String(subscribers) }, numerator: 'parkmq', denominator, better: 'higher' }, ours / theirs)
      }
    }
    sayRatios(measured, 'deliveries/s')
  }
  return recorder.result()
}

function labelsOf ({ qos, mqtt }: Variant): { qos: string, mqtt: string } {
  return { qos: String(qos), mqtt: mqtt === 5 ? '5.0' : '3.1.1' }
}

/** Without options the three that matter most; with them every combination asked for. */
function variants (qos: readonly Qos[] | undefined, mqtt: readonly MqttVersion[] | undefined): Variant[] {
  if (qos === undefined && mqtt === undefined) return [{ qos: 1, mqtt: 4 }, { qos: 0, mqtt: 4 }, { qos: 1, mqtt: 5 }]
  return (qos ?? [1]).flatMap(one => (mqtt ?? [4] as const).map(version => ({ qos: one, mqtt: version })))
}

interface Measured {
  /** From the publisher's first write to the last subscriber's last message. */
  readonly deliveriesPerSecond: number
  /** Microseconds of the broker's processor time for each delivery. */
  readonly cpuUs: number
  readonly delivered: number
}

async function measure (broker: Broker, { qos, mqtt, messages, subscribers: count }: Run, round: number): Promise<Measured> {
  const target = await startBroker(broker)
  const subscribers = await startSubscribers([{
    name: 'fan', count, ports: { port: target.port, wsPort: target.wsPort }, filter: TOPIC, qos, version: mqtt, transport: 'tcp', persistent: false, behaviour: 'healthy', highestNumber: WARM_UP_MESSAGES + messages
  }])
  const publisher = await Publisher.connect({ ports: target, clientId: 'bench-publisher', topic: TOPIC, qos: qos === 0 ? 1 : qos, payloadBytes: PAYLOAD_BYTES })
  await publisher.send({ messages: WARM_UP_MESSAGES, window: WINDOW })
  await subscribers.delivered('fan', WARM_UP_MESSAGES * count)
  await subscribers.reset()

  const cpuBefore = target.cpuMs()
  const generatorBefore = await subscribers.cpuMs()
  const sent = await publisher.send({ messages, window: WINDOW })
  const seen = await subscribers.delivered('fan', messages * count)
  const cpuMs = target.cpuMs() - cpuBefore
  const generatorMs = await subscribers.cpuMs() - generatorBefore
  const seconds = (seen.lastAtMs - sent.startedAtMs) / 1_000
  const perSecond = seen.delivered / seconds

  publisher.close()
  await subscribers.stop()
  await target.stop()
  say(`  round ${round}: ${broker.padEnd(9)} ${whole(perSecond).padStart(7)} deliveries/s, delivered ${sayDelivered(seen.delivered, messages * count)}; ` +
    `broker ${(cpuMs / seen.delivered * 1_000).toFixed(1)} us of processor time each, ${Math.round(cpuMs / seconds / 10)} % of a core; subscribers' process ${Math.round(generatorMs / seconds / 10)} %${sent.stopped === null ? '' : `; publisher: ${sent.stopped}`}`)
  return { deliveriesPerSecond: perSecond, cpuUs: cpuMs / Math.max(1, seen.delivered) * 1_000, delivered: seen.delivered }
}

function nameOf (version: MqttVersion): string {
  return version === 5 ? 'MQTT 5.0' : 'MQTT 3.1.1'
}
