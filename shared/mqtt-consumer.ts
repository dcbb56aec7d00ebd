// One consumer of an external MQTT 5 broker, on a connection and session of its own: PUBACK is held until the consumer
// has told the outcome. Never acknowledges a delivery on another connection than the one that it came on.
import type { IPublishPacket, MqttClient } from 'mqtt'
import type { Consumer } from './bus.js'
import type { Clock } from './clock.js'
import { Intake, type Settlement } from './intake.js'
import { createLimitedWarn, type Log } from './log.js'
import { connectMqtt, endMqtt, logTroubles } from './mqtt-client.js'
import { ACCEPTED_PUBACK, deliveryOf, holdPubacks, pubackOf, subscribe, type Puback, type SendPacket } from './mqtt-deliveries.js'
import type { ClientTls } from './mqtt-tls.js'
import type { Metrics } from './metrics.js'

export interface MqttConsumerParts {
  readonly url: string
  readonly tls?: ClientTls
  /** Its session at the broker: the same at every start, and no other client's. */
  readonly clientId: string
  readonly filter: string
  readonly consumer: Consumer
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  /**
   * Most deliveries that the broker hands over before they are acknowledged, and most that wait here: QoS 0 has no such
   * limit, and mosquitto 2.0.11 goes beyond it.
   */
  readonly maxInflight: number
  readonly sessionExpirySeconds: number
}

export interface MqttConsumer {
  /** Finishes what has arrived and disconnects; the broker keeps the session and what comes later. */
  close (): Promise<void>
}

/** What is needed to acknowledge a delivery; QoS 0 needs nothing. */
interface Ticket {
  readonly stream: MqttClient['stream']
  readonly messageId: number | null
  /** Its PUBACK once it is known, while those of earlier messages are due. */
  puback?: Puback
}

/**
 * Connects, subscribes with QoS 1 and hands batches to `consumer`. Throws `UnreachableError`, and `OperatorError`
 * (`bad_broker`) when the broker does not grant QoS 1.
 */
export async function openMqttConsumer (parts: MqttConsumerParts): Promise<MqttConsumer> {
  const { url, clientId, filter, consumer, clock, log, metrics } = parts
  const subscription = consumer.share === undefined ? filter : `$share/${consumer.share}/${filter}`
  const warn = createLimitedWarn(log, clock)
  let closing = false
  let client: MqttClient | undefined
  const intake = new Intake<Ticket>({ consumer, filter, clock, log, metrics, settle: (tickets, settlements) => settle(tickets, settlements) })

  const take = (from: MqttClient, topic: string, payload: Uint8Array, packet: IPublishPacket): void => {
    const ticket: Ticket = { stream: from.stream, messageId: packet.qos === 1 ? packet.messageId ?? null : null }
    // What comes while we leave stays unacknowledged and comes again at the next start.
    if (closing) return
    if (consumer.atOnce === true && ticket.messageId !== null) due.push(ticket)
    if (packet.retain) return acknowledge(ticket, ACCEPTED_PUBACK)
    if (packet.qos === 2) warn(topic, { topic, filter }, 'the broker delivers with QoS 2 to a subscription of QoS 1; such a message is acknowledged before it is committed')
    intake.push(deliveryOf(topic, payload, packet, clock.nowMs()), ticket)
  }

  /** What is unacknowledged of a consumer that settles in any order: PUBACKs have the order of their messages. [MQTT-4.6.0-2] */
  let due: Ticket[] = []

  let sendPacket: SendPacket
  let readOn: (() => void) | null = null
  const prepare = (created: MqttClient): void => {
    client = created
    sendPacket = holdPubacks(created)
    // MQTT.js reads on when `next` is called; until then TCP slows the broker down.
    created.handleMessage = (_, next) => {
      if (intake.waiting < parts.maxInflight) next()
      else readOn = next
    }
    created.on('message', (topic, payload, packet) => take(created, topic, payload, packet))
  }

  const readOnWhenThereIsRoom = (): void => {
    if (readOn === null || intake.waiting >= parts.maxInflight) return
    const next = readOn
    readOn = null
    next()
  }

  const acknowledge = (ticket: Ticket, puback: Puback): void => {
    // MQTT.js would keep the PUBACK of a lost connection and send it on the next, where its number means another message.
    if (ticket.messageId === null || !client?.connected || client.stream !== ticket.stream) return
    if (consumer.atOnce !== true) {
      sendPacket({ cmd: 'puback', messageId: ticket.messageId, ...puback })
      return
    }
    ticket.puback = puback
    while (due[0]?.puback !== undefined) {
      const { messageId, puback } = due.shift() as Ticket
      if (messageId !== null) sendPacket({ cmd: 'puback', messageId, ...puback })
    }
  }

  const settle = (tickets: readonly Ticket[], settlements: readonly Settlement[]): void => {
    let sendAgain = false
    for (const [i, ticket] of tickets.entries()) {
      const settlement = settlements[i]
      if (settlement === undefined || settlement.type === 'unavailable') sendAgain ||= ticket.messageId !== null && client?.stream === ticket.stream
      else acknowledge(ticket, pubackOf(settlement))
    }
    readOnWhenThereIsRoom()
    // The broker sends what is unacknowledged again only on a new connection [MQTT-4.4.0-1].
    if (sendAgain) client?.stream.destroy()
  }

  const connected = await connectMqtt(url, {
    clientId, clean: false, sessionExpirySeconds: parts.sessionExpirySeconds, receiveMaximum: parts.maxInflight, reconnect: true, prepare, ...parts.tls && { tls: parts.tls }
  })
  logTroubles(connected, url, clientId, log)
  // Subscribing is done here, at every connect and with a look at what was granted.
  connected.options.resubscribe = false
  connected.on('connect', packet => {
    // The broker sends again what was handed over on the old connection: what still waits would be handled twice.
    due = due.filter(ticket => ticket.stream === connected.stream)
    if (packet.sessionPresent) intake.discard(ticket => ticket.messageId !== null && ticket.stream !== connected.stream)
    else log.warn({ filter }, 'the broker has forgotten the session: what it acknowledged in the meantime is lost')
    readOnWhenThereIsRoom()
    subscribe(connected, subscription).catch((err: unknown) => {
      if (closing || !connected.connected) return
      log.error({ err, filter }, 'cannot subscribe again; the connection is closed and made again')
      connected.stream.destroy()
    })
  })
  try {
    await subscribe(connected, subscription)
  } catch (error) {
    closing = true
    await endMqtt(connected)
    throw error
  }

  return {
    async close () {
      if (closing) return
      closing = true
      await intake.stop()
      await endMqtt(connected)
    }
  }
}
