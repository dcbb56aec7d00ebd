// Receives QoS 2 messages exactly once (MQTT 5.0 section 4.3.3): a PUBLISH that comes again, on the same connection or
// a later one of the session, is not handled again, and everybody who waits for its PUBREC gets one.
// aedes looks for a repeat only after the first was stored, so two in one read are two messages, and it keeps the
// identifiers of a session that has ended, so that a later message with one of them is lost.
import type { Connection } from './connection.js'
import type { RefusedPublish } from './guard.js'
import type { PublishPacket } from './packets.js'

/** A message between its first PUBLISH and its PUBREL. */
export interface Incoming {
  readonly clientId: string
  readonly messageId: number
  /** Whose PUBREC is due: more than one when the client came back meanwhile and sent it again. */
  readonly waiting: { connection: Connection, packet: PublishPacket }[]
  received: boolean
  /** Its session is stored. */
  readonly outlives: boolean
}

export class Qos2Receiver {
  readonly #sessions = new Map<string, Map<number, Incoming>>()

  /**
   * Notes a PUBLISH. Returns what `accept`, `refuse` or `abandon` must be told of later, or null when it is a repeat:
   * then everything is done, and a PUBREC that is due is noted on the connection.
   */
  arrive (connection: Connection, packet: PublishPacket): Incoming | null {
    const clientId = connection.client.id ?? ''
    const messageId = packet.messageId ?? 0
    const session = this.#of(clientId)
    const before = session.get(messageId)
    if (before === undefined) {
      connection.acks.expect(packet)
      const incoming: Incoming = { clientId, messageId, waiting: [{ connection, packet }], received: false, outlives: connection.session?.isStored ?? false }
      session.set(messageId, incoming)
      return incoming
    }
    if (before.received) {
      connection.acks.expect(packet)
      connection.acks.answer(packet, null)
    } else if (before.waiting.every(other => other.connection !== connection)) {
      connection.acks.expect(packet)
      before.waiting.push({ connection, packet })
    }
    return null
  }

  /** Whether its session still has it. */
  isKnown (incoming: Incoming): boolean {
    return this.#sessions.get(incoming.clientId)?.get(incoming.messageId) === incoming
  }

  /** The message is handled: PUBREC goes to everybody who waits for it. */
  accept (incoming: Incoming): void {
    incoming.received = true
    answer(incoming, null)
  }

  /** The message is refused; its identifier is free at once. */
  refuse (incoming: Incoming, refused: RefusedPublish): void {
    this.#drop(incoming)
    answer(incoming, refused)
  }

  /** The message could not be handled: the client will send it again. */
  abandon (incoming: Incoming): void {
    this.#drop(incoming)
  }

  /** The connection does not wait for PUBREC any more. */
  leave ({ waiting }: Incoming, connection: Connection): void {
    const at = waiting.findIndex(one => one.connection === connection)
    if (at >= 0) waiting.splice(at, 1)
  }

  /** PUBREL: the identifier may be used for another message. Returns false when it was not known. */
  release (clientId: string, messageId: number): boolean {
    const incoming = this.#sessions.get(clientId)?.get(messageId)
    if (incoming === undefined) return false
    this.#drop(incoming)
    return true
  }

  /** From the store: a message that was accepted before the process ended. */
  restore (clientId: string, messageId: number): void {
    this.#of(clientId).set(messageId, { clientId, messageId, waiting: [], received: true, outlives: true })
  }

  /** The session has ended. */
  forget (clientId: string): void {
    this.#sessions.delete(clientId)
  }

  #of (clientId: string): Map<number, Incoming> {
    let session = this.#sessions.get(clientId)
    if (session === undefined) this.#sessions.set(clientId, session = new Map<number, Incoming>())
    return session
  }

  /** Only if it is still the one that stands there: a new session may have begun meanwhile. */
  #drop (incoming: Incoming): void {
    const session = this.#sessions.get(incoming.clientId)
    if (session === undefined || !this.isKnown(incoming)) return
    session.delete(incoming.messageId)
    if (session.size === 0) this.#sessions.delete(incoming.clientId)
  }
}

function answer ({ waiting }: Incoming, refused: RefusedPublish | null): void {
  for (const { connection, packet } of waiting.splice(0)) connection.acks.answer(packet, refused)
}
