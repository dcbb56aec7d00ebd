// Lets a client in whose CONNECT aedes has taken, and lets it go: who it is, its session, its will, its keep alive, and
// what CONNACK tells it (MQTT 5.0 sections 3.1 and 3.2).
import type { IConnackPacket } from 'mqtt-packet'
import { LOCAL } from '../shared/access.js'
import type { Config } from '../shared/config.js'
import { rightsOf } from './access.js'
import { welcomeBytes } from './acks.js'
import type { Connection } from './connection.js'
import { TOPIC_ALIAS_MAXIMUM } from './guard.js'
import type { Login } from './login.js'
import type { ConnectPacket } from './packets.js'
import { Reason } from './reason-codes.js'
import { shortened } from './refusals.js'
import type { Report } from './report.js'
import type { Sessions } from './sessions.js'
import { isTooLong, wildcardIn } from './topic-filters.js'
import type { Wills } from './wills.js'

/** What counts for a client that does not say otherwise. (Section 3.1.2.11.3) */
const ANY_RECEIVE_MAXIMUM = 65_535

export interface EntranceParts {
  readonly limits: Config['limits']
  readonly sessions: Sessions
  readonly wills: Wills
  readonly report: Report
  /** Says who a client is; null where there are no users and everybody is local. */
  readonly login: Pick<Login, 'check' | 'isUser'> | null
}

const REFUSALS = { bad_credentials: Reason.badUserNameOrPassword, not_authorized: Reason.notAuthorized, too_many: Reason.serverBusy } as const
/** For a client whose user was changed or removed. */
export const USER_CHANGED = 'this user has been changed; connect again'
const LOCAL_RIGHTS = rightsOf(LOCAL)

export class Entrance {
  readonly #parts: EntranceParts
  /** Why nobody is let in now, in words; null when the door is open. */
  shut: string | null = null

  constructor (parts: EntranceParts) {
    this.#parts = parts
  }

  /** CONNECT is well formed: `goOn` is called when the client may have its id, which another one may have to leave. */
  async identify (connection: Connection, username: string | undefined, password: Buffer | undefined, goOn: () => void): Promise<void> {
    const { login, report } = this.#parts
    const { client, connectPacket: packet } = connection
    const { id } = client
    if (packet === null || id === null) return
    // Before the password is looked at: that is work.
    if (this.#sentAway(connection)) return
    if (login === null) {
      connection.rights = LOCAL_RIGHTS
    } else {
      const { address, certificateName } = connection.parts
      const gone = new AbortController()
      client.conn.once('close', () => gone.abort())
      const verdict = await login.check({ username: username ?? null, password: password ?? null, address, certificateName, clientId: id, signal: gone.signal })
      if (connection.ended) return
      if ('refused' in verdict) {
        connection.end(REFUSALS[verdict.refused], verdict.words)
        return
      }
      if (!verdict.isCurrent()) {
        // CONNACK has no 0x98, which says this in DISCONNECT. (Section 3.2.2.2)
        connection.end(Reason.serverBusy, USER_CHANGED)
        return
      }
      connection.rights = rightsOf(verdict.identity)
    }
    const { rights } = connection
    const { will } = packet
    if (will !== undefined && !rights.mayPublish(will.topic)) {
      report.denied(connection.who, rights.identity.user, 'will', shortened(will.topic))
      // An older client could not be told what is wrong with it.
      if (packet.protocolVersion === 5) connection.end(Reason.notAuthorized, `not_allowed: the will's topic ${shortened(will.topic)} is not for this client`)
      packet.will = undefined
    }
    if (!connection.ended) goOn()
  }

  /** Whether the client id is neither another user's session nor another user's name; if it is, the client is told so. */
  mayOwn (connection: Connection): boolean {
    const { sessions, report } = this.#parts
    const clientId = connection.client.id ?? ''
    const { identity } = connection.rights
    // A device that uses its name as its client id must not find that somebody was there before.
    const isName = clientId !== identity.user && (this.#parts.login?.isUser(clientId) ?? false)
    if (!isName && !sessions.isOthers(clientId, connection.rights)) return true
    report.denied(connection.who, identity.user, 'client id', shortened(clientId))
    connection.end(Reason.clientIdNotValid, 'not_allowed: this client id is another user\'s')
    return false
  }

  /** The client is the only one with its id now. */
  admit (connection: Connection): void {
    const { sessions, wills, limits } = this.#parts
    const { client, connectPacket: packet } = connection
    const { id } = client
    if (packet === null || id === null || connection.ended) return
    // It may have been shut while this one logged in.
    if (this.#sentAway(connection)) return
    connection.expirySeconds = expiryOf(packet, limits)
    const keepAliveSeconds = keepAliveOf(packet, limits)
    const opening = { clientId: id, cleanStart: packet.clean, expirySeconds: connection.expirySeconds, rights: connection.rights }
    const isPresent = sessions.goesOn(opening)
    const connack = welcomeBytes(isPresent, connackProperties(connection, packet, keepAliveSeconds, limits), packet.protocolVersion, connection.maxPacketBytes)
    if (connack === null) {
      connection.refuse(Reason.packetTooLarge, `the client takes packets of ${connection.maxPacketBytes} bytes, in which there is no room for its CONNACK`)
      return
    }
    const session = sessions.open(opening)
    wills.keep({ clientId: id, user: connection.rights.identity.user }, packet.will)
    connection.welcome(session, connack, {
      // [MQTT-3.1.2-22]
      keepAliveMs: keepAliveSeconds * 1_500,
      receiveMaximum: packet.properties?.receiveMaximum ?? ANY_RECEIVE_MAXIMUM,
      topicAliasMaximum: packet.properties?.topicAliasMaximum ?? 0,
      will: packet.will
    })
  }

  #sentAway (connection: Connection): boolean {
    if (this.shut === null) return false
    connection.end(Reason.useAnotherServer, this.shut)
    return true
  }

  /** The connection is gone. */
  leave (connection: Connection): void {
    const { sessions, wills } = this.#parts
    const { session, will } = connection
    connection.detach()
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

function connackProperties ({ client, expirySeconds, rights }: Connection, packet: ConnectPacket, keepAliveSeconds: number, limits: Config['limits']): NonNullable<IConnackPacket['properties']> {
  const { id } = client
  const asker = rights.identity.user ?? id
  // A client id with wildcards, or a very long one, would make a base that nothing can be published under.
  const hasResponseBase = packet.properties?.requestResponseInformation === true && asker !== null && !wildcardIn(asker) && !isTooLong(`replies/${asker}`, limits)
  return {
    ...(packet.clientId === '' && id !== null && { assignedClientIdentifier: id }),
    ...(keepAliveSeconds !== packet.keepalive && { serverKeepAlive: keepAliveSeconds }),
    ...(expirySeconds !== (packet.properties?.sessionExpiryInterval ?? 0) && { sessionExpiryInterval: expirySeconds }),
    receiveMaximum: limits.receiveMaximum,
    maximumPacketSize: limits.packetBytes,
    topicAliasMaximum: TOPIC_ALIAS_MAXIMUM,
    ...(hasResponseBase && { responseInformation: `replies/${asker}` })
  }
}
