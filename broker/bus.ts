// The Bus over the embedded broker: what clients publish on consumed topics goes to the service, and the sender's
// PUBACK or PUBREC follows the service's commit. Everything comes through aedes' `authorizePublish` hook, which runs
// before aedes acknowledges. It never acknowledges what is not committed and never keeps the order of arrival from a
// consumer.
import type { Bus, Consumer, Delivery, PublishOptions } from '../shared/bus.js'
import type { Clock } from '../shared/clock.js'
import { Intake, type Settlement } from '../shared/intake.js'
import { mayForward, mayPublish } from './access.js'
import { markDealtWith, type AedesBroker, type AedesClient, type Done } from './aedes-internals.js'
import type { Connection } from './connection.js'
import { fromMessageProperties, toMessageProperties } from './message-properties.js'
import type { PublishPacket, Will } from './packets.js'
import type { Incoming, Qos2Receiver } from './qos2.js'
import { Reason } from './reason-codes.js'
import { refusalOf, shortened } from './refusals.js'
import type { Report } from './report.js'
import type { Subscribers } from './subscribers.js'
import { hasTooManyLevels, matcherOf, wildcardIn } from './topic-filters.js'

export interface EmbeddedBusParts {
  readonly aedes: AedesBroker
  readonly clock: Clock
  readonly report: Report
  readonly received: Qos2Receiver
  readonly subscribers: Subscribers
  readonly connectionOf: (client: AedesClient) => Connection | undefined
}

/** What is needed to answer for a delivery. */
interface Ticket {
  readonly packet: PublishPacket | Will
  /** Null for a will and for what a service publishes itself. */
  readonly connection: Connection | null
  readonly client: AedesClient | null
  /** The message's QoS 2 state; null for QoS 0 and 1. */
  readonly incoming: Incoming | null
  readonly done: Done | null
}

type Writable<T> = { -readonly [K in keyof T]: T[K] }

interface Taker {
  readonly filter: string
  readonly matches: (topic: string) => boolean
  readonly intake: Intake<Ticket>
}

export class EmbeddedBus implements Bus {
  readonly #parts: EmbeddedBusParts
  readonly #takers: Taker[] = []
  #stopping = false

  constructor (parts: EmbeddedBusParts) {
    this.#parts = parts
  }

  /** Takes messages for `consumer`. Where filters overlap, the first one takes. Throws when the filter is not valid or taken. */
  async consume (filter: string, consumer: Consumer): Promise<void> {
    const { clock, report } = this.#parts
    if (this.#takers.some(taker => taker.filter === filter)) throw new Error(`${filter} has a consumer already`)
    const settle = (tickets: readonly Ticket[], settlements: readonly Settlement[]): void => this.#settle(tickets, settlements)
    const intake = new Intake<Ticket>({ consumer, filter, clock, log: report.log, metrics: report.metrics, settle })
    this.#takers.push({ filter, matches: matcherOf(filter), intake })
  }

  /** Resolves when aedes has stored and passed on the message, or when the consumer of its topic has settled it. */
  publish (topic: string, payload: string | Uint8Array, { qos = 1, retain = false, properties }: PublishOptions = {}): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#parts.aedes.closed) throw new Error('the broker is closed')
      if (topic.length === 0 || wildcardIn(topic) || hasTooManyLevels(topic)) throw new Error(`cannot publish to the topic ${JSON.stringify(topic)}`)
      const bytes = typeof payload === 'string' ? Buffer.from(payload) : Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength)
      const packet: PublishPacket = { cmd: 'publish', topic, payload: bytes, qos, retain, dup: false, messageId: undefined, properties: fromMessageProperties(properties), length: bytes.length }
      const done: Done = error => error ? reject(error) : resolve()
      const taker = this.#takerOf(topic)
      if (taker) this.#take(taker, { packet, connection: null, client: null, incoming: null, done })
      else this.#parts.aedes.publish(packet, null, done)
    })
  }

  /** Lets every consumer finish what it has; whatever comes later is not acknowledged. */
  async stop (): Promise<void> {
    this.#stopping = true
    await Promise.all(this.#takers.map(taker => taker.intake.stop()))
  }

  /**
   * aedes' hook: called for every PUBLISH of a client and every will before aedes acknowledges or forwards it. `done`
   * lets aedes go on; for a packet that is marked as dealt with that means: with the next one.
   */
  authorize (client: AedesClient | null, packet: PublishPacket | Will, done: Done): void {
    if (!('cmd' in packet)) {
      this.#will(client, packet, done)
      return
    }
    const connection = client ? this.#parts.connectionOf(client) : undefined
    if (client === null || connection === undefined) done(new Error('a PUBLISH came from no connection'))
    else if (!mayPublish(packet.topic)) this.#deny(connection, packet, done)
    else if (packet.qos === 2) this.#exactlyOnce(connection, packet, done)
    else {
      const taker = this.#takerOf(packet.topic)
      if (taker) {
        markDealtWith(packet)
        this.#take(taker, { packet, connection, client, incoming: null, done })
      } else {
        connection.leaveToAedes(packet)
        done()
      }
    }
  }

  #takerOf (topic: string): Taker | undefined {
    for (const taker of this.#takers) {
      if (taker.matches(topic)) return taker
    }
    return undefined
  }

  #take (taker: Taker, ticket: Ticket): void {
    const { packet, client } = ticket
    const published = 'cmd' in packet
    const delivery: Writable<Delivery> = {
      topic: packet.topic,
      payload: packet.payload,
      qos: published ? packet.qos : 0,
      // It comes live from its sender, whatever that asks the broker to keep; nothing on these topics is kept.
      retain: false,
      dup: published && packet.dup,
      properties: toMessageProperties(packet.properties),
      receivedAtMs: this.#parts.clock.nowMs()
    }
    if (client !== null && client.id !== null) delivery.clientId = client.id
    taker.intake.push(delivery, ticket)
  }

  #exactlyOnce (connection: Connection, packet: PublishPacket, done: Done): void {
    const { received, aedes, report } = this.#parts
    const { client } = connection
    markDealtWith(packet)
    const incoming = received.arrive(connection, packet)
    const taker = this.#takerOf(packet.topic)
    if (incoming === null) {
      connection.flush()
      done()
    } else if (taker) {
      this.#take(taker, { packet, connection, client, incoming, done })
    } else {
      connection.leaveToAedes(packet)
      aedes.publish(packet, client, error => {
        if (error) {
          report.log.error({ err: error, topic: shortened(packet.topic) }, 'a QoS 2 message could not be published')
          received.abandon(incoming)
          connection.end(Reason.unspecified, 'the message could not be published; send it again')
        } else {
          for (const waiting of received.accept(incoming)) waiting.flush()
        }
        done()
      })
    }
  }

  /** The connection stays open: 3.1.1 could not be told why, and would only send the message again. */
  #deny (connection: Connection, packet: PublishPacket, done: Done): void {
    const topic = shortened(packet.topic)
    this.#parts.report.denied(connection.who, topic)
    connection.acknowledge(packet, { reason: Reason.notAuthorized, words: `not_allowed: only parkmq publishes on ${topic}` })
    connection.flush()
    markDealtWith(packet)
    done()
  }

  /** An error given to `done` keeps aedes from publishing the will; nobody else sees it. */
  #will (client: AedesClient | null, will: Will, done: Done): void {
    if (will.properties?.willDelayInterval !== undefined) {
      // It told the broker when to publish; subscribers that get it take the packet for malformed.
      will.properties = { ...will.properties }
      delete will.properties.willDelayInterval
    }
    if (!mayPublish(will.topic)) {
      const connection = client ? this.#parts.connectionOf(client) : undefined
      this.#parts.report.denied(connection?.who ?? { clientId: client?.id ?? null, address: 'unknown' }, shortened(will.topic))
      done(new Error('only parkmq publishes on the topic of this will'))
      return
    }
    const taker = this.#takerOf(will.topic)
    if (taker) {
      this.#take(taker, { packet: will, connection: null, client, incoming: null, done: null })
      done(new Error('a service has taken the will'))
    } else {
      done()
    }
  }

  #settle (tickets: readonly Ticket[], settlements: readonly Settlement[]): void {
    const toFlush = new Set<Connection>()
    const toClose = new Set<Connection>()
    for (let i = 0; i < tickets.length; i++) {
      const ticket = tickets[i]
      const settlement = settlements[i]
      if (ticket === undefined || settlement === undefined) continue
      if (settlement.type === 'unavailable') this.#leaveUnacknowledged(ticket, toClose)
      else this.#answer(ticket, settlement, toFlush)
    }
    for (const connection of toFlush) connection.flush()
    for (const connection of toClose) {
      if (this.#stopping) connection.end(Reason.serverShuttingDown, 'the broker is shutting down')
      else connection.end(Reason.serverBusy, 'unavailable: the ledger cannot be written now; send your unacknowledged messages again')
    }
  }

  #answer (ticket: Ticket, settlement: Exclude<Settlement, { type: 'unavailable' }>, toFlush: Set<Connection>): void {
    const { packet, connection, incoming, done } = ticket
    const refused = settlement.type === 'refused' ? refusalOf(settlement.refusal) : null
    if (incoming !== null) {
      const { received } = this.#parts
      for (const waiting of refused ? received.refuse(incoming, refused) : received.accept(incoming)) toFlush.add(waiting)
    } else if (connection !== null && 'cmd' in packet) {
      connection.acknowledge(packet, refused)
    }
    if (connection !== null) toFlush.add(connection)
    if (refused === null && mayForward(packet.topic) && this.#parts.subscribers.mayWant(packet.topic)) this.#forward(ticket)
    else if (connection !== null && done !== null) connection.afterFlush(done)
    else done?.()
  }

  /** The client is read on only when its message has gone to the subscribers: they hold it back as in plain aedes. */
  #forward ({ packet, connection, client, done }: Ticket): void {
    const { topic, payload, qos, properties } = packet
    this.#parts.aedes.publish({ cmd: 'publish', topic, payload, qos, retain: false, dup: false, properties }, client, error => {
      if (error) this.#parts.report.log.warn({ err: error, topic: shortened(topic) }, 'a committed message could not be passed on to subscribers')
      if (connection !== null && done !== null) connection.whenDrained(done)
      else done?.()
    })
  }

  #leaveUnacknowledged ({ connection, incoming, done }: Ticket, toClose: Set<Connection>): void {
    if (incoming !== null) this.#parts.received.abandon(incoming)
    if (connection !== null) toClose.add(connection)
    else done?.(new Error('the ledger cannot be written now'))
  }
}
