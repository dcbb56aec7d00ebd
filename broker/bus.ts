// The Bus over the embedded broker: what clients publish on consumed topics goes to the service, and the sender's
// PUBACK or PUBREC follows the service's commit; everything else goes to the exchange. It never acknowledges what is
// not committed or stored, and never keeps the order of arrival from a consumer.
import { BatchStart } from '../shared/batch-start.js'
import { RefusedPublishError, type Bus, type Consumer, type Delivery, type PublishOptions } from '../shared/bus.js'
import type { Clock } from '../shared/clock.js'
import type { ErrorCode, Refusal } from '../shared/errors.js'
import { Intake, type Settlement } from '../shared/intake.js'
import { isServicesOwn } from '../shared/topics.js'
import type { Writable } from '../shared/writable.js'
import { mayForward, type Rights } from './access.js'
import type { Connection } from './connection.js'
import type { Exchange } from './exchange.js'
import type { Flow } from './flow.js'
import type { RefusedPublish } from './guard.js'
import type { Journal } from './journal.js'
import { fromMessageProperties, toMessageProperties } from './message-properties.js'
import { flushAll } from './outlet.js'
import type { PublishPacket, Will } from './packets.js'
import type { Incoming, Qos2Receiver } from './qos2.js'
import { Reason } from './reason-codes.js'
import { refusalOf, shortened, UNWRITTEN } from './refusals.js'
import type { Report } from './report.js'
import type { Router } from './router.js'
import { isTooLong, matcherOf, wildcardIn, type TopicLimits } from './topic-filters.js'

export interface EmbeddedBusParts {
  readonly clock: Clock
  readonly report: Report
  readonly received: Qos2Receiver
  readonly exchange: Exchange
  readonly router: Router
  readonly journal: Journal
  readonly flow: Flow
  readonly limits: TopicLimits
  /** Shared with whatever else decides when batches begin; default: its own. */
  readonly batchStart?: BatchStart | undefined
}

/** What is needed to answer for a delivery. */
interface Ticket {
  readonly packet: PublishPacket | Will
  /** Who sent it; null for a service. */
  readonly from: string | null
  /** Null for a will and for what a service publishes itself. */
  readonly connection: Connection | null
  /** What its sender may do; null for a service. */
  readonly rights: Rights | null
  /** The message's QoS 2 state; null for QoS 0 and 1. */
  readonly incoming: Incoming | null
  /** For what a service publishes itself. */
  readonly done: ((error?: Error) => void) | null
  /** Whether its consumer bounds what it keeps: the connection is read on while it has the message. */
  readonly isOff?: boolean
}

interface Taker {
  readonly filter: string
  readonly matches: (topic: string) => boolean
  readonly intake: Intake<Ticket>
  readonly atOnce: boolean
}

/** Longest time that acknowledgements are held back from a requester that lets replies pile up, in milliseconds. */
const HOLD_ACKS_MS = 1_000

/** Of a will. */
const GONE_ALREADY = AbortSignal.abort('a will comes when its client is gone')

/** What a service refuses because of who asks. */
const ACCESS_REFUSALS: ReadonlySet<ErrorCode> = new Set(['not_allowed', 'forbidden_response_topic'])

const NO_ROOM: RefusedPublish = { reason: Reason.quotaExceeded, words: 'over_limit: there is no room for more retained messages' }
const UNRELEASED: RefusedPublish = { reason: Reason.quotaExceeded, words: 'over_limit: too many QoS 2 messages are not released; send PUBREL for those that PUBREC came for' }

export class EmbeddedBus implements Bus {
  readonly #parts: EmbeddedBusParts
  readonly #takers: Taker[] = []
  readonly #batchStart: BatchStart
  /** Committed messages for subscribers. */
  readonly #forwards: Ticket[] = []
  /** They wait for a subscriber. */
  #forwarding = false
  #stopping = false
  #closed = false

  constructor (parts: EmbeddedBusParts) {
    this.#parts = parts
    this.#batchStart = parts.batchStart ?? new BatchStart()
  }

  /** Takes messages for `consumer`. Where filters overlap, the first one takes. Throws when the filter is not valid or taken. */
  async consume (filter: string, consumer: Consumer): Promise<void> {
    const { clock, report } = this.#parts
    if (this.#takers.some(taker => taker.filter === filter)) throw new Error(`${filter} has a consumer already`)
    const settle = (tickets: readonly Ticket[], settlements: readonly Settlement[]): void => this.#settle(tickets, settlements)
    const intake = new Intake<Ticket>({ consumer, filter, clock, log: report.log, metrics: report.metrics, batchStart: this.#batchStart, settle })
    this.#takers.push({ filter, matches: matcherOf(filter), intake, atOnce: consumer.atOnce === true })
  }

  /** Resolves when the message is on its way to its subscribers and stored where it must be, or when the consumer of its topic has settled it. */
  publish (topic: string, payload: string | Uint8Array, { qos = 1, retain = false, properties }: PublishOptions = {}): Promise<void> {
    return new Promise((resolve, reject) => {
      const { exchange, journal, limits } = this.#parts
      if (this.#closed) throw new Error('the broker is closed')
      if (topic.length === 0 || wildcardIn(topic) || isTooLong(topic, limits)) throw new Error(`cannot publish to the topic ${JSON.stringify(topic)}`)
      const bytes = typeof payload === 'string' ? Buffer.from(payload) : Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength)
      const packet: PublishPacket = { cmd: 'publish', topic, payload: bytes, qos, retain, dup: false, messageId: undefined, properties: fromMessageProperties(properties), length: bytes.length }
      const taker = this.#takerOf(topic)
      if (taker) {
        this.#take(taker, { packet, from: null, connection: null, rights: null, incoming: null, done: error => error ? reject(error) : resolve() })
        return
      }
      // A reply is for one client that waits for it, wherever it wants it.
      const policy = properties?.correlationData === undefined ? undefined : 'never'
      const { isStored } = exchange.deliver(exchange.messageOf(packet, null, { policy }))
      if (isStored) journal.afterWrite(resolve)
      else resolve()
    })
  }

  flush (): void {
    flushAll()
  }

  /** Lets every consumer finish what it has; whatever comes later is not acknowledged. */
  async stop (): Promise<void> {
    this.#stopping = true
    await Promise.all(this.#takers.map(taker => taker.intake.stop()))
  }

  /** After this nothing can be published. */
  close (): void {
    this.#closed = true
  }

  /** A PUBLISH that passed the guard. */
  receive (connection: Connection, packet: PublishPacket): void {
    const from = connection.client.id
    if (packet.qos === 2) {
      this.#exactlyOnce(connection, packet)
      return
    }
    if (packet.qos === 1) connection.acks.expect(packet)
    const { rights } = connection
    const taker = rights.mayPublish(packet.topic) ? this.#takerOf(packet.topic) : undefined
    if (taker) this.#take(taker, { packet, from, connection, rights, incoming: null, done: null })
    else this.#pass(connection, packet, null)
  }

  /** A will that is due. `rights` are those of its client now; null when that is not let in any more. */
  will (clientId: string, rights: Rights | null, will: Will): void {
    const { report, exchange } = this.#parts
    if (!rights?.mayPublish(will.topic)) {
      report.denied({ clientId, address: 'unknown' }, rights?.identity.user ?? null, 'will', shortened(will.topic))
      return
    }
    const taker = this.#takerOf(will.topic)
    if (taker) this.#take(taker, { packet: will, from: clientId, connection: null, rights, incoming: null, done: null })
    else if (exchange.deliver(exchange.messageOf(will, clientId)).isOverLimit) report.overLimit({ clientId, address: 'unknown' }, 'retained', `its will on ${shortened(will.topic)} has no room among the retained messages`)
  }

  #takerOf (topic: string): Taker | undefined {
    for (const taker of this.#takers) {
      if (taker.matches(topic)) return taker
    }
    return undefined
  }

  #take (taker: Taker, ticket: Ticket): void {
    const { packet, from, connection, rights } = ticket
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
    if (from !== null) delivery.clientId = from
    if (connection !== null) {
      delivery.address = connection.parts.address
      delivery.gone = connection.gone
    } else if (from !== null) {
      delivery.gone = GONE_ALREADY
    }
    if (rights !== null) {
      // What the broker vouches for. A client's own words about who it is are never believed.
      const { identity, replyBase } = rights
      delivery.role = identity.role
      if (identity.user !== null) delivery.user = identity.user
      if (replyBase !== null) delivery.replyBase = replyBase
    }
    if (!taker.atOnce || connection === null || !published) {
      taker.intake.push(delivery, ticket)
      return
    }
    taker.intake.push(delivery, { ...ticket, isOff: true })
    connection.handedOver(packet)
  }

  /** A message that no service takes: to its subscribers, and acknowledged when that is on disk where it must be. */
  #pass (connection: Connection, packet: PublishPacket, incoming: Incoming | null): void {
    const { exchange, report, flow } = this.#parts
    if (!connection.rights.mayPublish(packet.topic)) {
      const topic = shortened(packet.topic)
      report.denied(connection.who, connection.rights.identity.user, 'publish', topic)
      const words = isServicesOwn(packet.topic) ? `only parkmq publishes on ${topic}` : `${topic} is not for this client to publish on`
      this.#acknowledge(connection, packet, incoming, { reason: Reason.notAuthorized, words: `not_allowed: ${words}` })
      connection.dealtWith(packet)
      return
    }
    const { isStored, isOverLimit, filling } = exchange.deliver(exchange.messageOf(packet, connection.client.id))
    if (isOverLimit) report.overLimit(connection.who, 'retained', `${shortened(packet.topic)} has no room among the retained messages`)
    // Until it is acknowledged it is in work: what waits for a disk that is slow is bounded.
    this.#acknowledge(connection, packet, incoming, isOverLimit ? NO_ROOM : null, isStored, () => connection.dealtWith(packet))
    if (filling !== null) flow.hold(filling, connection.session, () => connection.hold())
  }

  /** `mustBeStored`: what came of the message is noted for the disk, and is not acknowledged before it is there. */
  #acknowledge (connection: Connection, packet: PublishPacket, incoming: Incoming | null, refused: RefusedPublish | null, mustBeStored = false, done: () => void = () => {}): void {
    const { received, journal } = this.#parts
    if (refused !== null) {
      if (incoming !== null) received.refuse(incoming, refused)
      else if (packet.qos > 0) connection.acks.answer(packet, refused)
      done()
      return
    }
    let waits = mustBeStored
    if (incoming?.outlives && received.isKnown(incoming)) {
      // PUBREC takes the message over: after a crash its identifier must still be known. [MQTT-4.3.3-10]
      journal.receipt({ clientId: incoming.clientId, packetId: incoming.messageId }, true)
      waits = true
    }
    const accept = (): void => {
      if (incoming !== null) received.accept(incoming)
      else if (packet.qos > 0) connection.acks.answer(packet, null)
      done()
    }
    // Nobody waits for the end of QoS 0: a store that cannot be written must not keep it.
    if (waits && packet.qos > 0) journal.afterWrite(accept, () => this.#unwritten(connection, incoming))
    else accept()
  }

  /** The disk does not work: the sender is closed without acknowledgement and sends again. Returns whether the message is still to be answered. */
  #unwritten (connection: Connection, incoming: Incoming | null): boolean {
    // When it comes again it is this one, and is answered when this one is stored.
    if (incoming === null || this.#parts.received.leave(incoming, connection)) connection.end(Reason.serverBusy, UNWRITTEN)
    return incoming !== null
  }

  #exactlyOnce (connection: Connection, packet: PublishPacket): void {
    const { received, journal } = this.#parts
    const arrival = received.arrive(connection, packet)
    if (arrival.type !== 'new') {
      if (arrival.type === 'full') this.#refuseUnreleased(connection, packet)
      // It may wait for the disk with the first one, of which another connection would be told that it takes too long.
      else if (arrival.type === 'waits') journal.afterWrite(() => {}, () => this.#unwritten(connection, arrival.incoming))
      connection.dealtWith(packet)
      return
    }
    const { incoming } = arrival
    const { rights } = connection
    const taker = rights.mayPublish(packet.topic) ? this.#takerOf(packet.topic) : undefined
    if (taker) this.#take(taker, { packet, from: connection.client.id, connection, rights, incoming, done: null })
    else this.#pass(connection, packet, incoming)
  }

  /** An older client could not be told: closed without acknowledgement it sends again, when there may be room. */
  #refuseUnreleased (connection: Connection, packet: PublishPacket): void {
    this.#parts.report.overLimit(connection.who, 'qos2Ids', UNRELEASED.words)
    if (connection.version === 5) {
      connection.acks.expect(packet)
      connection.acks.answer(packet, UNRELEASED)
    } else {
      connection.end(Reason.quotaExceeded, UNRELEASED.words)
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
    this.#forward()
    for (const connection of toClose) {
      if (this.#stopping) connection.end(Reason.serverShuttingDown, 'the broker is shutting down')
      else connection.end(Reason.serverBusy, 'unavailable: the ledger cannot be written now; send your unacknowledged messages again')
    }
  }

  #answer (ticket: Ticket, settlement: Exclude<Settlement, { type: 'unavailable' }>, toFlush: Set<Connection>): void {
    const { packet, connection, incoming, done } = ticket
    const refused = settlement.type === 'refused' ? refusalOf(settlement.refusal) : null
    if (settlement.type === 'refused' && ACCESS_REFUSALS.has(settlement.refusal.code)) this.#auditRefused(ticket, settlement.refusal)
    if (connection !== null && 'cmd' in packet) {
      this.#holdAcks(connection)
      this.#acknowledge(connection, packet, incoming, refused)
      toFlush.add(connection)
    }
    if (refused === null && mayForward(packet.topic) && this.#parts.router.isWanted(packet.topic)) this.#forwards.push(ticket)
    else dealtWith(ticket)
    done?.(settlement.type === 'refused' ? new RefusedPublishError(packet.topic, settlement.refusal) : undefined)
  }

  /** A service refused what is not for this client. The refusal's words may quote the message; its code does not. */
  #auditRefused ({ packet, from, connection, rights }: Ticket, { code }: Refusal): void {
    const who = connection?.who ?? { clientId: from, address: 'unknown' }
    this.#parts.report.auditDenied(who, rights?.identity.user ?? null, `publish ${shortened(packet.topic)}: ${code}`)
  }

  /**
   * A requester that does not take its replies as fast as it asks is acknowledged more slowly, and asks more slowly. It
   * is still read, or it could not acknowledge the replies.
   */
  #holdAcks (connection: Connection): void {
    const { session, acks } = connection
    if (session === null || acks.isHeld || !session.isFilling) return
    const goOn = acks.hold()
    const timer = setTimeout(() => {
      cancel()
      goOn()
    }, HOLD_ACKS_MS)
    const cancel = session.whenRelieved(() => {
      clearTimeout(timer)
      goOn()
    })
  }

  /** In their order; the clients are read on only when their messages have gone to the subscribers. */
  #forward (): void {
    const { exchange, flow } = this.#parts
    if (this.#forwarding) return
    let at = 0
    for (; at < this.#forwards.length && !this.#forwarding; at++) {
      const ticket = this.#forwards[at] as Ticket
      const { packet, from } = ticket
      const { filling } = exchange.deliver(exchange.messageOf(packet, from, { retain: false }))
      dealtWith(ticket)
      if (filling === null) continue
      flow.hold(filling, null, () => {
        this.#forwarding = true
        return () => {
          this.#forwarding = false
          this.#forward()
        }
      })
    }
    this.#forwards.splice(0, at)
  }

  #leaveUnacknowledged ({ connection, incoming, done }: Ticket, toClose: Set<Connection>): void {
    // The client may have come back and wait on another connection.
    if (incoming !== null) for (const waiting of this.#parts.received.abandon(incoming)) toClose.add(waiting)
    if (connection !== null) toClose.add(connection)
    else done?.(new Error('the ledger cannot be written now'))
  }
}

/** A message that a client sent goes no further here. */
function dealtWith ({ connection, packet, isOff }: Ticket): void {
  if (connection !== null && 'cmd' in packet && isOff !== true) connection.dealtWith(packet)
}
