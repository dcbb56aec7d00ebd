// The checks that need more than the bytes of one packet: what the connection said before, and what a topic, a filter
// or a payload must be. Every packet passes here before aedes sees it; what does not pass is never shown to aedes,
// which answers such packets by closing without a reason, and some of them by ending the process.
import { isUtf8 } from 'node:buffer'
import type { ConnectPacket, DisconnectPacket, InboundPacket, PublishPacket } from './packets.js'
import { PacketError, Reason } from './reason-codes.js'
import { faultOfFilter, isTooLong, parseFilter, wildcardIn, type TopicLimits } from './topic-filters.js'

/** Topic aliases that a client may use at once, as CONNACK says. */
export const TOPIC_ALIAS_MAXIMUM = 16

export interface GuardLimits extends TopicLimits {
  /** PUBLISH packets with QoS above 0 that an MQTT 5.0 client may have unacknowledged, as CONNACK says. */
  readonly receiveMaximum: number
  /** Longest client id, in bytes. */
  readonly clientIdBytes: number
}

/** A PUBLISH that is well formed but not taken: the sender is told in its acknowledgement and stays connected. */
export interface RefusedPublish {
  readonly reason: Reason
  readonly words: string
}

/** One connection's inbound state. */
export class Guard {
  readonly #limits: GuardLimits
  #version: 3 | 4 | 5 = 4
  #endsWithConnection = false
  readonly #aliases = new Map<number, string>()
  /** QoS 1 not acknowledged yet, of an MQTT 5.0 client. */
  #unacknowledged = 0
  /** QoS 2 packet identifiers of this connection that are not released yet, of an MQTT 5.0 client. */
  readonly #unreleased = new Set<number>()

  constructor (limits: GuardLimits) {
    this.#limits = limits
  }

  /**
   * Looks at a packet, and puts the topic for an alias. Throws `PacketError` when the connection must be closed;
   * returns why when only this PUBLISH is refused; null when it may go on.
   */
  inspect (packet: InboundPacket): RefusedPublish | null {
    switch (packet.cmd) {
      case 'publish': return this.#publish(packet)
      case 'connect': this.#connect(packet); return null
      case 'subscribe': {
        for (const { topic, nl } of packet.subscriptions) {
          checkFilter(topic)
          // Older versions know nothing of it, and get a code for the filter.
          if (this.#version === 5) checkShare(topic, nl === true)
        }
        return null
      }
      case 'unsubscribe': {
        for (const topic of packet.unsubscriptions) checkFilter(topic)
        return null
      }
      case 'pubrel': this.#unreleased.delete(packet.messageId); return null
      case 'disconnect': this.#disconnect(packet); return null
      case 'puback': case 'pubrec': case 'pubcomp': case 'pingreq': return null
      default: return packet satisfies never
    }
  }

  /** To be told of each PUBLISH with QoS above 0 whose acknowledgement is written, unless it is a PUBREC that accepts. */
  acknowledged (packet: PublishPacket): void {
    if (this.#version !== 5) return
    if (packet.qos === 1) this.#unacknowledged--
    else if (packet.messageId !== undefined) this.#unreleased.delete(packet.messageId)
  }

  #connect (packet: ConnectPacket): void {
    this.#version = packet.protocolVersion
    this.#endsWithConnection = (packet.properties?.sessionExpiryInterval ?? 0) === 0
    if (packet.properties?.authenticationMethod !== undefined) throw new PacketError(Reason.badAuthenticationMethod, 'authentication methods are not supported')
    if (packet.protocolVersion === 3 && packet.clientId.length === 0) throw new PacketError(Reason.clientIdNotValid, 'MQTT 3.1 needs a client id')
    // It is stored with everything that is stored for the client.
    if (Buffer.byteLength(packet.clientId) > this.#limits.clientIdBytes) throw new PacketError(Reason.clientIdNotValid, `a client id may have ${this.#limits.clientIdBytes} bytes`)
    const { will } = packet
    if (will === undefined) return
    if (will.topic.length === 0) throw new PacketError(Reason.topicNameInvalid, 'the will topic is empty')
    if (wildcardIn(will.topic)) throw new PacketError(Reason.topicNameInvalid, 'the will topic has a wildcard')
    if (isTooLong(will.topic, this.#limits)) throw new PacketError(Reason.topicNameInvalid, 'the will topic is too long or has too many levels')
    checkResponseTopic(will.properties?.responseTopic)
    if (will.properties?.payloadFormatIndicator && !isUtf8(will.payload)) throw new PacketError(Reason.payloadFormatInvalid, 'the will payload is not the UTF-8 text that it says it is')
  }

  #publish (packet: PublishPacket): RefusedPublish | null {
    const { properties } = packet
    if (properties?.topicAlias !== undefined) this.#resolveAlias(packet, properties.topicAlias)
    const { topic } = packet
    if (topic.length === 0) throw new PacketError(Reason.protocolError, 'PUBLISH has neither a topic nor a topic alias')
    if (wildcardIn(topic)) throw new PacketError(Reason.topicNameInvalid, 'the topic of a PUBLISH has a wildcard')
    checkResponseTopic(properties?.responseTopic)
    this.#count(packet)
    if (isTooLong(topic, this.#limits)) {
      return { reason: Reason.topicNameInvalid, words: `over_limit: a topic may have ${this.#limits.topicLevels} levels and ${this.#limits.topicBytes} bytes` }
    }
    if (properties?.payloadFormatIndicator && !isUtf8(packet.payload)) {
      return { reason: Reason.payloadFormatInvalid, words: 'the payload is not the UTF-8 text that its payload format indicator says it is' }
    }
    return null
  }

  /** Aliases end here: aedes and the subscribers see topics only. [MQTT-3.3.2-8] [MQTT-3.3.2-9] */
  #resolveAlias (packet: PublishPacket, alias: number): void {
    if (alias === 0 || alias > TOPIC_ALIAS_MAXIMUM) throw new PacketError(Reason.topicAliasInvalid, `the topic alias ${alias} is not between 1 and ${TOPIC_ALIAS_MAXIMUM}`)
    delete packet.properties?.topicAlias
    if (packet.topic.length > 0) {
      this.#aliases.set(alias, packet.topic)
      return
    }
    const topic = this.#aliases.get(alias)
    if (topic === undefined) throw new PacketError(Reason.protocolError, `the topic alias ${alias} was not set on this connection`)
    packet.topic = topic
  }

  /** Receive Maximum binds MQTT 5.0 clients; older ones were never told of it. [MQTT-3.3.4-7] */
  #count (packet: PublishPacket): void {
    if (packet.qos === 0 || this.#version !== 5) return
    // The same identifier again is the same message again.
    if (packet.messageId !== undefined && packet.qos === 2 && this.#unreleased.has(packet.messageId)) return
    if (this.#unacknowledged + this.#unreleased.size >= this.#limits.receiveMaximum) {
      throw new PacketError(Reason.receiveMaximumExceeded, `more than ${this.#limits.receiveMaximum} messages are unacknowledged`)
    }
    if (packet.qos === 1) this.#unacknowledged++
    else if (packet.messageId !== undefined) this.#unreleased.add(packet.messageId)
  }

  /** A session that CONNECT let end with the connection cannot be kept at its end. (Section 3.14.2.2.2) */
  #disconnect (packet: DisconnectPacket): void {
    if (this.#version !== 5 || !this.#endsWithConnection) return
    if ((packet.properties?.sessionExpiryInterval ?? 0) > 0) throw new PacketError(Reason.protocolError, 'DISCONNECT sets a session expiry, which CONNECT did not')
  }
}

function checkFilter (filter: string): void {
  const fault = faultOfFilter(filter)
  if (fault !== null) throw new PacketError(Reason.topicFilterInvalid, `a topic filter ${fault}`)
}

/** [MQTT-4.8.2-1] [MQTT-4.8.2-2] [MQTT-3.8.3-4] */
function checkShare (filter: string, noLocal: boolean): void {
  const parsed = parseFilter(filter)
  if (parsed === null) throw new PacketError(Reason.topicFilterInvalid, 'a shared subscription must be $share/{group}/{filter}, the group without wildcards')
  if (parsed.group !== null && noLocal) throw new PacketError(Reason.protocolError, 'a shared subscription has No Local')
}

/** [MQTT-3.3.2-14] */
function checkResponseTopic (topic: string | undefined): void {
  if (topic === undefined) return
  if (topic.length === 0) throw new PacketError(Reason.protocolError, 'the response topic is empty')
  if (wildcardIn(topic)) throw new PacketError(Reason.protocolError, 'the response topic has a wildcard')
}
