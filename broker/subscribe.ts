// SUBSCRIBE and UNSUBSCRIBE (MQTT 5.0 sections 3.8 to 3.11): what is granted, what is stored before it is acknowledged,
// and which retained messages a new subscription gets.
import type { Clock } from '../shared/clock.js'
import { codesBytes } from './acks.js'
import type { Connection } from './connection.js'
import type { Journal } from './journal.js'
import { Entry } from './out-queue.js'
import type { Qos, SubscribePacket, Subscription, UnsubscribePacket } from './packets.js'
import { Reason } from './reason-codes.js'
import { UNWRITTEN } from './refusals.js'
import type { Retained } from './retained.js'
import type { Router, SubscriptionOptions } from './router.js'
import type { Session } from './session.js'
import { isTooLong, parseFilter, type ParsedFilter, type TopicLimits } from './topic-filters.js'

export interface SubscribeParts {
  readonly router: Router
  readonly retained: Retained
  readonly journal: Journal
  readonly clock: Clock
  readonly limits: TopicLimits & { readonly subscriptionsPerClient: number }
  /** Told of a subscription that is refused because of a limit. */
  readonly onLimit: (connection: Connection, words: string) => void
  /** Told of a subscription to what is not for this client. */
  readonly onDenied: (connection: Connection, filter: string) => void
}

/** A subscription that retained messages are due for. */
interface Due {
  /** As the client wrote it. */
  readonly filter: string
  readonly parsed: ParsedFilter
  readonly options: SubscriptionOptions
}

/** Answers when that is on disk. Where the disk does not work the client is closed without an answer. */
function afterWrite (journal: Journal, connection: Connection, answer: () => void): void {
  const done = connection.begin()
  journal.afterWrite(() => {
    answer()
    done()
  }, () => {
    connection.end(Reason.serverBusy, UNWRITTEN)
    return false
  })
}

export class Subscribe {
  readonly #parts: SubscribeParts

  constructor (parts: SubscribeParts) {
    this.#parts = parts
  }

  subscribe (connection: Connection, session: Session, packet: SubscribePacket): void {
    const { journal } = this.#parts
    const before = journal.changes
    const due: Due[] = []
    const codes = packet.subscriptions.map(subscription => this.#grant(connection, session, subscription, packet.properties?.subscriptionIdentifier ?? 0, due))
    const answer = (): void => {
      if (connection.session !== session) return
      connection.write(codesBytes('suback', packet.messageId, codes, connection.version ?? 4))
      for (const { filter, parsed, options } of due) session.offerRetained(filter, this.#retainedFor(session, parsed, options))
    }
    if (journal.changes === before) answer()
    else afterWrite(journal, connection, answer)
  }

  unsubscribe (connection: Connection, session: Session, { messageId, unsubscriptions }: UnsubscribePacket): void {
    const { router, journal } = this.#parts
    const codes = unsubscriptions.map(filter => {
      const subscription = session.subscriptions.get(filter)
      if (subscription === undefined) return Reason.noSubscriptionExisted
      session.subscriptions.delete(filter)
      session.cancelRetained(filter)
      router.unsubscribe(session, subscription.parsed)
      if (session.isStored) journal.subscriptionGone(session.id, filter)
      return Reason.success
    })
    const answer = (): void => {
      if (connection.session === session) connection.write(codesBytes('unsuback', messageId, codes, connection.version ?? 4))
    }
    // Also when nothing was there: that may be on its way to the disk, since UNSUBSCRIBE came on the connection before.
    if (session.isStored) afterWrite(journal, connection, answer)
    else answer()
  }

  #grant (connection: Connection, session: Session, { topic, qos, nl = false, rap = false, rh = 0 }: Subscription, id: number, due: Due[]): number {
    const { router, journal, limits, onLimit, onDenied } = this.#parts
    const isV5 = connection.version === 5
    const parsed = parseFilter(topic)
    if (parsed === null || isTooLong(topic, limits)) {
      onLimit(connection, 'a topic filter is too long or has too many levels')
      return isV5 ? Reason.topicFilterInvalid : Reason.unspecified
    }
    if (!connection.rights.maySubscribe(parsed.filter)) {
      onDenied(connection, topic)
      return isV5 ? Reason.notAuthorized : Reason.unspecified
    }
    const isNew = !session.subscriptions.has(topic)
    if (isNew && session.subscriptions.size >= limits.subscriptionsPerClient) {
      onLimit(connection, `the limit of ${limits.subscriptionsPerClient} subscriptions is reached`)
      return isV5 ? Reason.quotaExceeded : Reason.unspecified
    }
    const options: SubscriptionOptions = { qos: qos as Qos, noLocal: nl, retainAsPublished: rap, id }
    session.subscriptions.set(topic, { parsed, options })
    router.subscribe(session, parsed, options)
    if (session.isStored) journal.subscription({ clientId: session.id, filter: topic, qos: options.qos, noLocal: nl, retainAsPublished: rap, identifier: id })
    if (parsed.group === null && (rh === 0 || (rh === 1 && isNew))) due.push({ filter: topic, parsed, options })
    return qos
  }

  /** One by one, as the client takes them: a filter may match more than any queue holds. */
  * #retainedFor (session: Session, { filter }: ParsedFilter, { qos, id, noLocal }: SubscriptionOptions): Generator<Entry | null, void, undefined> {
    const { retained, clock } = this.#parts
    for (const message of retained.matching(filter, () => clock.nowMs())) {
      if (message === null) {
        yield null
        continue
      }
      if ((noLocal && message.from === session.id) || !session.mayRead(message.topic)) continue
      yield new Entry(message, Math.min(message.qos, qos) as Qos, true, id > 0 ? [id] : null, null)
    }
  }
}
