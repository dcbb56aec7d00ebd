// What the broker does with each packet that passed the guard, after CONNECT. It decides nothing by itself: messages go
// to the bus, acknowledgements to the session, subscriptions to their own place.
import { AckType } from './acks.js'
import type { EmbeddedBus } from './bus.js'
import type { Connection } from './connection.js'
import type { Journal } from './journal.js'
import type { AckPacket, ConnectPacket, DisconnectPacket, InboundPacket } from './packets.js'
import type { Qos2Receiver } from './qos2.js'
import { Reason } from './reason-codes.js'
import type { Session } from './session.js'
import type { Subscribe } from './subscribe.js'

const PINGRESP = Buffer.from([0xd0, 0])

export interface HandlerParts {
  readonly bus: EmbeddedBus
  readonly subscribe: Subscribe
  readonly received: Qos2Receiver
  readonly journal: Journal
  /** Longest time that a session lives without a connection. */
  readonly longestExpirySeconds: number
}

export class Handler {
  readonly #parts: HandlerParts

  constructor (parts: HandlerParts) {
    this.#parts = parts
  }

  /** Throws `PacketError` when the connection must be closed. */
  handle (connection: Connection, packet: Exclude<InboundPacket, ConnectPacket>): void {
    const { session } = connection
    if (session === null) return
    switch (packet.cmd) {
      case 'publish': this.#parts.bus.receive(connection, packet); break
      case 'puback': session.over(packet.messageId, 1); break
      case 'pubrec': this.#pubrec(connection, session, packet); break
      case 'pubcomp': session.over(packet.messageId, 2); break
      case 'pubrel': this.#pubrel(connection, session, packet.messageId); break
      case 'subscribe': this.#parts.subscribe.subscribe(connection, session, packet); break
      case 'unsubscribe': this.#parts.subscribe.unsubscribe(connection, session, packet); break
      case 'pingreq': connection.write(PINGRESP); break
      case 'disconnect': disconnect(connection, packet, this.#parts.longestExpirySeconds); break
      default: packet satisfies never
    }
  }

  /** A refused message is over; an identifier that is not known is told so. [MQTT-4.3.3-3] [MQTT-4.3.3-4] */
  #pubrec (connection: Connection, session: Session, { messageId, reasonCode }: AckPacket): void {
    if (reasonCode >= Reason.unspecified) session.over(messageId, 2)
    else if (!session.received(messageId)) connection.ack(AckType.pubrel, messageId, Reason.packetIdentifierNotFound)
    // PUBREL waits for the disk.
    else if (session.isStored) this.#parts.journal.afterWrite(connection.begin())
  }

  /** PUBCOMP frees the identifier for another message: after a crash it must be free still. [MQTT-4.3.3-11] */
  #pubrel (connection: Connection, session: Session, packetId: number): void {
    const { received, journal } = this.#parts
    const known = received.release(session.id, packetId)
    const complete = (): void => connection.ack(AckType.pubcomp, packetId, known ? Reason.success : Reason.packetIdentifierNotFound)
    if (known && session.isStored) journal.receipt({ clientId: session.id, packetId }, false)
    // Also when it is not known: it may be on its way to the disk, since PUBREL came on the connection before.
    if (!session.isStored) {
      complete()
      return
    }
    const done = connection.begin()
    journal.afterWrite(() => {
      complete()
      done()
    })
  }
}

/** [MQTT-3.14.4-3] The will goes only with reason code 0; every other one, 0x04 among them, lets it be published. */
function disconnect (connection: Connection, { reasonCode, properties }: DisconnectPacket, longestExpirySeconds: number): void {
  if (reasonCode === Reason.success) connection.will = undefined
  const expirySeconds = properties?.sessionExpiryInterval
  if (expirySeconds !== undefined) connection.expirySeconds = Math.min(expirySeconds, longestExpirySeconds)
  connection.leave()
}
