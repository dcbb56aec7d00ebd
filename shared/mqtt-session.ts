// One connection to an external broker with a fixed client id and a session that the broker keeps, for as long as that connection lasts.
// Whoever connects with the same id takes the session over, and the broker closes this connection: so it is never made again here, since
// that would push out who has come after us. It publishes and consumes, so that who was pushed out can do neither.
import type { IPublishPacket, MqttClient } from 'mqtt'
import type { Bus, Consumer, Delivery } from './bus.js'
import type { Clock } from './clock.js'
import { Intake, type Settlement } from './intake.js'
import { createLimitedWarn, type Log } from './log.js'
import { checkBroker } from './mqtt-bus.js'
import { connectMqtt, endMqtt } from './mqtt-client.js'
import { ACCEPTED_PUBACK, deliveryOf, holdPubacks, pubackOf, subscribe, type Puback, type SendPacket } from './mqtt-deliveries.js'
import { MqttPublisher } from './mqtt-publisher.js'
import type { ClientTls } from './mqtt-tls.js'
import type { Metrics } from './metrics.js'

const MAX_INFLIGHT = 1_000
const SESSION_EXPIRY_SECONDS = 7 * 24 * 3_600
/** Filters in one SUBSCRIBE or UNSUBSCRIBE. */
const FILTERS_AT_ONCE = 100

export interface MqttSessionParts {
  readonly url: string
  readonly tls?: ClientTls
  readonly clientId: string
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
}

export interface MqttSession {
  /** Over this connection alone: fails when it is gone. It has one consumer. */
  readonly bus: Bus
  /** Resolves when the connection is gone, whoever has ended it. */
  readonly ended: Promise<void>
  subscribe (filters: readonly string[]): Promise<void>
  unsubscribe (filters: readonly string[]): Promise<void>
  /** Hands over what has arrived since the connection was made, and from now on what comes. `filter` names it in the log. */
  start (filter: string, consumer: Consumer): void
  /** Takes no more and finishes what has arrived; what comes meanwhile stays with the broker for whoever has the session next. */
  finish (): Promise<void>
  /** Disconnects when what was published is acknowledged. */
  close (): Promise<void>
  /** Ends the connection at once, with nothing acknowledged any more. */
  cut (): void
}

/** The number of a message of QoS 1; null of one that is not acknowledged. */
type Ticket = number | null

/** Throws `UnreachableError`, `LoginRefusedError`, and `OperatorError` (`bad_broker`). Nothing is published or handed over by itself. */
export async function openMqttSession ({ url, tls, clientId, clock, log, metrics }: MqttSessionParts): Promise<MqttSession> {
  const warn = createLimitedWarn(log, clock)
  let intake: Intake<Ticket> | null = null
  /** What the broker handed over before there was a consumer. It must not be left unread: answers to our publishes come behind it. */
  let early: [Delivery, Ticket][] = []
  let leaving = false
  let readOn: (() => void) | null = null
  let sendPacket: SendPacket

  const take = (topic: string, payload: Uint8Array, packet: IPublishPacket): void => {
    if (leaving) return
    const ticket = packet.qos === 1 ? packet.messageId ?? null : null
    if (packet.retain) return acknowledge(ticket, ACCEPTED_PUBACK)
    if (packet.qos === 2) warn(topic, { topic, clientId }, 'the broker delivers with QoS 2 to a subscription of QoS 1; such a message is acknowledged before it is committed')
    const delivery = deliveryOf(topic, payload, packet, clock.nowMs())
    if (intake === null) early.push([delivery, ticket])
    else intake.push(delivery, ticket)
  }

  const prepare = (created: MqttClient): void => {
    sendPacket = holdPubacks(created)
    created.handleMessage = (_, next) => {
      if (intake === null || intake.waiting < MAX_INFLIGHT) next()
      else readOn = next
    }
    created.on('message', take)
  }

  const client = await connectMqtt(url, { clientId, clean: false, sessionExpirySeconds: SESSION_EXPIRY_SECONDS, receiveMaximum: MAX_INFLIGHT, prepare, ...tls && { tls } })
  const publisher = new MqttPublisher(client)
  const ended = new Promise<void>(resolve => client.once('close', () => {
    leaving = true
    publisher.failAll('the connection to the broker was lost before it acknowledged')
    // What is held for the ledger need not be held any more: the broker sends it to the next owner.
    void intake?.stop()
    resolve()
  }))
  client.on('error', err => log.debug({ err, clientId }, 'the connection to the broker has an error'))

  const acknowledge = (ticket: Ticket, puback: Puback): void => {
    if (ticket !== null && client.connected) sendPacket({ cmd: 'puback', messageId: ticket, ...puback })
  }

  const settle = (tickets: readonly Ticket[], settlements: readonly Settlement[]): void => {
    let sendAgain = false
    for (const [i, ticket] of tickets.entries()) {
      const settlement = settlements[i]
      if (settlement === undefined || settlement.type === 'unavailable') sendAgain ||= ticket !== null
      else acknowledge(ticket, pubackOf(settlement))
    }
    if (readOn !== null && (intake?.waiting ?? 0) < MAX_INFLIGHT) {
      const next = readOn
      readOn = null
      next()
    }
    // The broker sends what is unacknowledged again only on a new connection. [MQTT-4.4.0-1]
    if (sendAgain) client.stream.destroy()
  }

  const session: MqttSession = {
    bus: {
      publish: async (topic, payload, options = {}) => await publisher.publish(topic, payload, options),
      async consume (filter, consumer) {
        await session.subscribe([filter])
        session.start(filter, consumer)
      }
    },
    ended,
    async subscribe (filters) {
      for (let i = 0; i < filters.length; i += FILTERS_AT_ONCE) await subscribe(client, ...filters.slice(i, i + FILTERS_AT_ONCE))
    },
    async unsubscribe (filters) {
      for (let i = 0; i < filters.length; i += FILTERS_AT_ONCE) await client.unsubscribeAsync(filters.slice(i, i + FILTERS_AT_ONCE))
    },
    start (filter, consumer) {
      if (intake !== null) throw new Error(`cannot consume ${filter}: the session ${clientId} has a consumer already`)
      intake = new Intake<Ticket>({ consumer, filter, clock, log, metrics, settle })
      for (const [delivery, ticket] of early) intake.push(delivery, ticket)
      early = []
    },
    async finish () {
      leaving = true
      await intake?.stop()
    },
    async close () {
      leaving = true
      if (client.connected) await publisher.idle(clock)
      await endMqtt(client)
    },
    cut () {
      leaving = true
      client.stream.destroy()
    }
  }
  try {
    checkBroker(client, url)
  } catch (error) {
    await session.close()
    throw error
  }
  return session
}
