// Receives QoS 2 messages exactly once (MQTT 5.0 section 4.3.3): a PUBLISH that comes again, on the same connection or
// a later one of the session, is not handled again, and everybody who waits for its PUBREC gets one. What must be
// remembered for that is bounded over all clients, because nothing obliges a client to send PUBREL (docs/decisions/011).
import type { Connection } from './connection.js'
import type { RefusedPublish } from './guard.js'
import type { PublishPacket } from './packets.js'

/** A message between its first PUBLISH and its PUBREC. */
export interface Incoming {
  readonly clientId: string
  readonly messageId: number
  /** Whose PUBREC is due: more than one when the client came back meanwhile and sent it again. */
  readonly waiting: { connection: Connection, packet: PublishPacket }[]
  /** Its session is stored. */
  readonly outlives: boolean
}

/**
 * What a PUBLISH is. `new`: it is to be handled, and `accept`, `refuse` or `abandon` told of it. `again`: it was here
 * before, and the PUBREC that is due is noted. `waits`: the same, and PUBREC comes with that of the first, which came on
 * another connection. `full`: there is no room to remember it; nothing is noted.
 */
export type Arrival = { readonly type: 'new' | 'waits', readonly incoming: Incoming } | { readonly type: 'again' | 'full' }

/** Who takes the room: a user with all its sessions, or a client that did not say who it is. */
interface Holder {
  /** Null for a client without a user. */
  readonly user: string | null
  count: number
}

/** What one session has not released. */
interface Unreleased {
  readonly holder: Holder
  readonly inWork: Map<number, Incoming>
  /** Identifiers that PUBREC has gone out for. */
  readonly received: Set<number>
}

/** So many unreleased messages of a session are taken whatever others have taken: no hostile crowd stops a modest client. */
const ALWAYS = 20

const AGAIN: Arrival = { type: 'again' }
const FULL: Arrival = { type: 'full' }

export class Qos2Receiver {
  readonly #limit: number
  readonly #sessions = new Map<string, Unreleased>()
  readonly #users = new Map<string, Holder>()
  #count = 0

  /** `limit`: most identifiers of all clients together, but for the first 20 of each session. */
  constructor (limit: number) {
    this.#limit = limit
  }

  /** Identifiers that are not released. */
  get count (): number { return this.#count }

  /** Notes a PUBLISH. */
  arrive (connection: Connection, packet: PublishPacket): Arrival {
    const clientId = connection.client.id ?? ''
    const messageId = packet.messageId ?? 0
    const before = this.#sessions.get(clientId)
    const first = before?.inWork.get(messageId)
    if (before?.received.has(messageId)) {
      connection.acks.expect(packet)
      connection.acks.answer(packet, null)
      return AGAIN
    }
    if (first !== undefined) {
      if (first.waiting.some(other => other.connection === connection)) return AGAIN
      connection.acks.expect(packet)
      first.waiting.push({ connection, packet })
      return { type: 'waits', incoming: first }
    }
    const user = connection.session?.owner ?? null
    const session = before ?? this.#begin(clientId, user)
    if (this.#isFullFor(session)) return FULL
    connection.acks.expect(packet)
    const incoming: Incoming = { clientId, messageId, waiting: [{ connection, packet }], outlives: connection.session?.isStored ?? false }
    session.inWork.set(messageId, incoming)
    this.#add(session, 1)
    return { type: 'new', incoming }
  }

  /** Whether its session still has it. */
  isKnown (incoming: Incoming): boolean {
    return this.#sessions.get(incoming.clientId)?.inWork.get(incoming.messageId) === incoming
  }

  /** The message is handled: PUBREC goes to everybody who waits for it. */
  accept (incoming: Incoming): void {
    if (this.isKnown(incoming)) {
      const session = this.#sessions.get(incoming.clientId)
      session?.inWork.delete(incoming.messageId)
      session?.received.add(incoming.messageId)
    }
    answer(incoming, null)
  }

  /** The message is refused; its identifier is free at once. */
  refuse (incoming: Incoming, refused: RefusedPublish): void {
    this.#drop(incoming)
    answer(incoming, refused)
  }

  /** The message could not be handled. Returns the connections that waited for it: nobody will answer them. */
  abandon (incoming: Incoming): Connection[] {
    this.#drop(incoming)
    return incoming.waiting.splice(0).map(({ connection }) => connection)
  }

  /** The connection does not wait for PUBREC any more. Returns false if it did not. */
  leave ({ waiting }: Incoming, connection: Connection): boolean {
    const at = waiting.findIndex(one => one.connection === connection)
    if (at >= 0) waiting.splice(at, 1)
    return at >= 0
  }

  /** PUBREL: the identifier may be used for another message. Returns false when it was not known. */
  release (clientId: string, messageId: number): boolean {
    const session = this.#sessions.get(clientId)
    if (session === undefined || !(session.received.delete(messageId) || session.inWork.delete(messageId))) return false
    this.#add(session, -1)
    if (sizeOf(session) === 0) this.#sessions.delete(clientId)
    return true
  }

  /** From the store: a message that was accepted before the process ended. It counts, and is never refused. */
  restore (clientId: string, user: string | null, messageId: number): void {
    const session = this.#sessions.get(clientId) ?? this.#begin(clientId, user)
    session.received.add(messageId)
    this.#add(session, 1)
  }

  /** The session has ended. */
  forget (clientId: string): void {
    const session = this.#sessions.get(clientId)
    if (session === undefined) return
    this.#sessions.delete(clientId)
    this.#add(session, -sizeOf(session))
  }

  /** Nobody may have more than what is left for all others: those that take most are refused first. */
  #isFullFor (session: Unreleased): boolean {
    return session.holder.count >= this.#limit - this.#count && sizeOf(session) >= ALWAYS
  }

  #begin (clientId: string, user: string | null): Unreleased {
    let holder = user === null ? undefined : this.#users.get(user)
    holder ??= { user, count: 0 }
    if (user !== null) this.#users.set(user, holder)
    const session = { holder, inWork: new Map<number, Incoming>(), received: new Set<number>() }
    this.#sessions.set(clientId, session)
    return session
  }

  #add ({ holder }: Unreleased, by: number): void {
    this.#count += by
    holder.count += by
    if (holder.count === 0 && holder.user !== null) this.#users.delete(holder.user)
  }

  /** Only if it is still the one that stands there: a new session may have begun meanwhile. */
  #drop (incoming: Incoming): void {
    if (this.isKnown(incoming)) this.release(incoming.clientId, incoming.messageId)
  }
}

function sizeOf ({ inWork, received }: Unreleased): number {
  return inWork.size + received.size
}

function answer ({ waiting }: Incoming, refused: RefusedPublish | null): void {
  for (const { connection, packet } of waiting.splice(0)) connection.acks.answer(packet, refused)
}
