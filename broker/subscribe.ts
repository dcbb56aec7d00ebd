// SUBSCRIBE packets that aedes would answer wrongly. It collects filters in a plain object, so that a filter which comes
// twice loses its place in SUBACK, one that is a number comes first, and `__proto__` ends the process, at the latest
// when a stored session with it comes back. These packets are given to aedes filter by filter, without `__proto__`, and
// SUBACK is written here, one code for each filter. [MQTT-3.8.4-6]
import mqttPacket from 'mqtt-packet'
import type { AedesClient } from './aedes-internals.js'
import type { SubscribePacket } from './packets.js'
import { Reason } from './reason-codes.js'

/** The one filter that cannot be subscribed to here. */
const FORBIDDEN = '__proto__'
const A_NUMBER = /^\d+$/

/** Whether a SUBSCRIBE must not go to aedes as it is. */
export function aedesWouldMangle ({ subscriptions }: SubscribePacket): boolean {
  if (subscriptions.length === 1) return subscriptions[0]?.topic === FORBIDDEN
  const filters = new Set(subscriptions.map(sub => sub.topic))
  return filters.size < subscriptions.length || filters.has(FORBIDDEN) || subscriptions.some(sub => A_NUMBER.test(sub.topic))
}

/** Subscribes to one filter after the other, writes SUBACK, and calls `done`. */
export function subscribeOneByOne (client: AedesClient, packet: SubscribePacket, done: () => void): void {
  const { subscriptions, properties, messageId } = packet
  const next = (at: number): void => {
    const subscription = subscriptions[at]
    if (client.closed) {
      done()
    } else if (subscription === undefined) {
      const granted = subscriptions.map(sub => sub.qos)
      client.conn.write(mqttPacket.generate({ cmd: 'suback', messageId, granted }, { protocolVersion: client.version === 5 ? 5 : 4 }))
      done()
    } else if (subscription.topic === FORBIDDEN) {
      subscription.qos = client.version === 5 ? Reason.topicFilterInvalid : Reason.unspecified
      next(at + 1)
    } else {
      client.subscribe({ subscriptions: [subscription], ...(properties && { properties }) }, error => {
        if (error) client.emit('error', error)
        // aedes puts the code that it granted into the subscription, but only after it has called back.
        setImmediate(next, at + 1)
      })
    }
  }
  next(0)
}
