// `burst`: whether healthy subscribers lose anything when somebody publishes as fast as the sockets take it.
import { available, BROKERS, startBroker, type Broker } from './brokers.js'
import { say, sayDelivered, sayRatios, whole } from './figures.js'
import type { MqttVersion, Qos } from './mqtt-bytes.js'
import type { Options } from './options.js'
import { Publisher } from './publisher.js'
import { startSubscribers } from './subscribers.js'

const TOPIC = 'bench/burst'
const PAYLOAD_BYTES = 1_000

/** One burst to one subscriber and one to fifty, at QoS 1 and at QoS 0, on each broker. */
export async function burst ({ messages = 20_000, subscribers, qos: qoses = [1, 0], mqtt = [4], brokers = BROKERS }: Options): Promise<void> {
  const compared = available(brokers)
  for (const qos of qoses) {
    for (const version of mqtt) {
      for (const count of subscribers === undefined ? [1, 50] : [subscribers]) {
        say(`burst: ${whole(messages)} messages of ${PAYLOAD_BYTES} bytes as fast as the socket takes them, QoS ${qos}, to ${count} subscriber${count === 1 ? '' : 's'} (MQTT ${version === 5 ? '5.0' : '3.1.1'})`)
        const perSecond = new Map<Broker, number>()
        for (const broker of compared) perSecond.set(broker, await measure(broker, qos, version, count, messages))
        sayRatios([perSecond], 'deliveries/s')
      }
    }
  }
}

async function measure (broker: Broker, qos: Qos, version: MqttVersion, count: number, messages: number): Promise<number> {
  const target = await startBroker(broker)
  const subscribers = await startSubscribers([{
    name: 'burst', count, ports: { port: target.port, wsPort: target.wsPort }, filter: TOPIC, qos, version, transport: 'tcp', persistent: false, behaviour: 'healthy', highestNumber: messages
  }])
  const publisher = await Publisher.connect({ ports: target, clientId: 'bench-publisher', topic: TOPIC, qos, payloadBytes: PAYLOAD_BYTES })
  const sent = await publisher.send({ messages, window: Infinity })
  const seen = await subscribers.delivered('burst', messages * count)
  const seconds = (seen.lastAtMs - sent.startedAtMs) / 1_000
  const memory = target.memoryBytes()
  publisher.close()
  await subscribers.stop()
  await target.stop()
  const odd = [
    ...(seen.repeated > 0 ? [`${whole(seen.repeated)} repeated`] : []),
    ...(seen.disordered > 0 ? [`${whole(seen.disordered)} out of order`] : []),
    ...(seen.delivered < messages * count ? [`the worst off got ${whole(seen.leastDelivered)}`] : []),
    ...(sent.stopped === null ? [] : [`publisher: ${sent.stopped} after ${whole(sent.sent)}`]),
    ...(seen.closed.length > 0 ? [`${seen.closed.length} subscribers closed: ${seen.closed[0]}`] : [])
  ]
  say(`  ${broker.padEnd(9)} delivered ${sayDelivered(seen.delivered, messages * count)} in ${seconds.toFixed(2)} s, ${whole(seen.delivered / seconds)} deliveries/s; ` +
    `publisher done after ${sent.seconds.toFixed(2)} s; broker ${Math.round(memory / 1e6)} MB behind it${odd.length > 0 ? `; ${odd.join('; ')}` : ''}`)
  return seen.delivered / seconds
}
