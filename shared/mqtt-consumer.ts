// One consumer of an external MQTT 5 broker, on a connection and session of its own: PUBACK is held until the consumer
// has told the outcome. Never acknowledges a delivery on another connection than the one that it came on.
import type { IPublishPacket, MqttClient, Packet } from 'mqtt'
import type { Consumer, Delivery, MessageProperties, Outcome } from './bus.js'
import type { Clock } from './clock.js'
import { messageOf, OperatorError, type ErrorCode } from './errors.js'
import { Intake, type Settlement } from './intake.js'
import { createLimitedWarn, type Log } from './log.js'
import { connectMqtt, endMqtt, logTroubles } from './mqtt-client.js'
import type { ClientTls } from './mqtt-tls.js'
import type { Metrics } from './metrics.js'

/** Characters of a refusal's message that go into the PUBACK. */
const MAX_REASON_CHARACTERS = 200

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

/** The method of MQTT.js that every packet goes through on its way out. */
type SendPacket = (packet: Packet, done?: (error?: Error) => void, ...rest: unknown[]) => void

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

/**
 * Keeps MQTT.js from acknowledging a message as soon as it is emitted; returns its way to send a packet. `handleMessage`,
 * its public way, takes one message at a time and blocks every other packet meanwhile (measured: 1,850 messages/s, and
 * 28,000 this way). `_sendPacket` is private: package.json pins the version, and tests/bus fails when it changes.
 */
function holdPubacks (client: MqttClient): SendPacket {
  const inner = client as unknown as { _sendPacket?: SendPacket }
  const original = inner._sendPacket
  if (typeof original !== 'function') throw new Error('this version of MQTT.js has no _sendPacket, so PUBACKs cannot be held: install the version of package-lock.json')
  inner._sendPacket = (packet, done, ...rest) => {
    if (packet.cmd === 'puback') done?.()
    else original.call(client, packet, done, ...rest)
  }
  return original.bind(client)
}

/** Retain Handling 2: nothing retained is handed over, so that no start counts an old message again. */
async function subscribe (client: MqttClient, filter: string): Promise<void> {
  let granted: number | undefined
  try {
    granted = (await client.subscribeAsync(filter, { qos: 1, rh: 2 }))[0]?.qos
  } catch (cause) {
    throw new OperatorError('bad_broker', `the broker refuses the subscription to ${filter} (${messageOf(cause)}): let this client read it`, { cause })
  }
  if (granted !== 1) throw new OperatorError('bad_broker', `the broker grants QoS ${granted ?? 'nothing'} for ${filter}, and parkmq needs QoS 1 so that no message is lost: raise the broker's maximum QoS`)
}

const NO_PROPERTIES: MessageProperties = {}

function deliveryOf (topic: string, payload: Uint8Array, packet: IPublishPacket, receivedAtMs: number): Delivery {
  return { topic, payload, qos: packet.qos, retain: packet.retain, dup: packet.dup, properties: propertiesOf(packet), receivedAtMs }
}

function propertiesOf ({ properties: given }: IPublishPacket): MessageProperties {
  if (given === undefined) return NO_PROPERTIES
  return {
    ...given.responseTopic === undefined ? {} : { responseTopic: given.responseTopic },
    ...given.correlationData === undefined ? {} : { correlationData: given.correlationData },
    ...given.contentType === undefined ? {} : { contentType: given.contentType },
    ...given.payloadFormatIndicator === undefined ? {} : { payloadFormatIndicator: given.payloadFormatIndicator ? 1 : 0 },
    ...given.messageExpiryInterval === undefined ? {} : { messageExpiryInterval: given.messageExpiryInterval },
    ...given.userProperties === undefined ? {} : { userProperties: given.userProperties }
  }
}

interface Puback {
  readonly reasonCode?: number
  readonly properties?: { readonly reasonString: string }
}

const ACCEPTED_PUBACK: Puback = {}

/** The MQTT 5 reason code of a refusal (MQTT 5.0 table 3-4); others are 0x83, implementation specific error. */
const REASON_CODES: Partial<Record<ErrorCode, number>> = {
  bad_message: 0x99, bad_request: 0x99, unknown_bay: 0x99, too_large: 0x99, bad_topic: 0x90, unknown_lot: 0x90,
  unknown_method: 0x90, not_allowed: 0x87, not_yours: 0x87, over_limit: 0x97
}

function pubackOf (outcome: Outcome): Puback {
  if (outcome.type === 'accepted') return ACCEPTED_PUBACK
  const { code, message } = outcome.refusal
  // A message may quote its sender, and brokers close the connection on control characters in a string, again and again.
  const reasonString = `${code}: ${message}`.replace(/[^\x20-\x7e]/g, '?').slice(0, MAX_REASON_CHARACTERS)
  return { reasonCode: REASON_CODES[code] ?? 0x83, properties: { reasonString } }
}
