// Lets a client in whose CONNECT aedes has taken, and lets it go: its session, its will, its keep alive, and what
// CONNACK tells it (MQTT 5.0 sections 3.1 and 3.2).
import type { IConnackPacket } from 'mqtt-packet'
import type { Config } from '../shared/config.js'
import { welcomeBytes } from './acks.js'
import type { Connection } from './connection.js'
import { TOPIC_ALIAS_MAXIMUM } from './guard.js'
import type { ConnectPacket } from './packets.js'
import { Reason } from './reason-codes.js'
import type { Sessions } from './sessions.js'
import { isTooLong, wildcardIn } from './topic-filters.js'
import type { Wills } from './wills.js'

/** What counts for a client that does not say otherwise. (Section 3.1.2.11.3) */
const ANY_RECEIVE_MAXIMUM = 65_535

export interface EntranceParts {
  readonly limits: Config['limits']
  readonly sessions: Sessions
  readonly wills: Wills
}

export class Entrance {
  readonly #parts: EntranceParts

  constructor (parts: EntranceParts) {
    this.#parts = parts
  }

  /** The client is the only one with its id now. */
  admit (connection: Connection): void {
    const { sessions, wills, limits } = this.#parts
    const { client, connectPacket: packet } = connection
    const { id } = client
    if (packet === null || id === null) return
    connection.expirySeconds = expiryOf(packet, limits)
    const keepAliveSeconds = keepAliveOf(packet, limits)
    const isPresent = sessions.goesOn(id, packet.clean)
    const connack = welcomeBytes(isPresent, connackProperties(connection, packet, keepAliveSeconds, limits), packet.protocolVersion, connection.maxPacketBytes)
    if (connack === null) {
      connection.refuse(Reason.packetTooLarge, `the client takes packets of ${connection.maxPacketBytes} bytes, in which there is no room for its CONNACK`)
      return
    }
    const session = sessions.open({ clientId: id, cleanStart: packet.clean, expirySeconds: connection.expirySeconds })
    wills.keep(id, packet.will)
    connection.welcome(session, connack, {
      // [MQTT-3.1.2-22]
      keepAliveMs: keepAliveSeconds * 1_500,
      receiveMaximum: packet.properties?.receiveMaximum ?? ANY_RECEIVE_MAXIMUM,
      topicAliasMaximum: packet.properties?.topicAliasMaximum ?? 0,
      will: packet.will
    })
  }

  /** The connection is gone. */
  leave (connection: Connection): void {
    const { sessions, wills } = this.#parts
    const { session, will } = connection
    connection.session = null
    if (session === null) return
    if (will === undefined) wills.drop(session.id)
    sessions.closed(session, connection.expirySeconds, will)
  }
}

/** Clean Session 0 before MQTT 5.0 asks for a session without an end. [MQTT-3.1.2-23] */
function expiryOf ({ protocolVersion, clean, properties }: ConnectPacket, { sessionExpirySeconds }: Config['limits']): number {
  if (protocolVersion < 5) return clean ? 0 : sessionExpirySeconds
  return Math.min(properties?.sessionExpiryInterval ?? 0, sessionExpirySeconds)
}

/** Older clients cannot be told of another keep alive than their own. [MQTT-3.2.2-21] */
function keepAliveOf ({ protocolVersion, keepalive }: ConnectPacket, { keepAliveSeconds }: Config['limits']): number {
  if (protocolVersion < 5) return keepalive
  return keepalive === 0 ? keepAliveSeconds : Math.min(keepalive, keepAliveSeconds)
}

function connackProperties ({ client, expirySeconds }: Connection, packet: ConnectPacket, keepAliveSeconds: number, limits: Config['limits']): NonNullable<IConnackPacket['properties']> {
  const { id } = client
  // A client id with wildcards, or a very long one, would make a base that nothing can be published under.
  const hasResponseBase = packet.properties?.requestResponseInformation === true && id !== null && !wildcardIn(id) && !isTooLong(`replies/${id}`, limits)
  return {
    ...(packet.clientId === '' && id !== null && { assignedClientIdentifier: id }),
    ...(keepAliveSeconds !== packet.keepalive && { serverKeepAlive: keepAliveSeconds }),
    ...(expirySeconds !== (packet.properties?.sessionExpiryInterval ?? 0) && { sessionExpiryInterval: expirySeconds }),
    receiveMaximum: limits.receiveMaximum,
    maximumPacketSize: limits.packetBytes,
    topicAliasMaximum: TOPIC_ALIAS_MAXIMUM,
    ...(hasResponseBase && { responseInformation: `replies/${id}` })
  }
}
