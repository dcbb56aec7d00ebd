// The fuzzer's opinion of everything a client has said on one connection: which packets stand in it, and whether and why
// a server must refuse it. Fed with the bytes in the order in which they are sent.
import { checkFlags, readClientPacket, TYPE, type ClientPacket, type Connect, type Version } from './client-packets.js'
import { Findings, MALFORMED, PROTOCOL_ERROR } from './reader.js'
import { numberOf } from './properties.js'

/** What the server said of itself in CONNACK: the client has to keep to it. */
export interface Announced {
  readonly receiveMaximum: number
  readonly topicAliasMaximum: number
  readonly maximumPacketBytes: number
  readonly sharedSubscriptions: boolean
}

const RECEIVE_MAXIMUM_EXCEEDED = 0x93
const TOPIC_ALIAS_INVALID = 0x94
const PACKET_TOO_LARGE = 0x95
const SHARED_NOT_SUPPORTED = 0x9e

export class Judge {
  readonly #announced: Announced
  readonly #onPacket: (packet: ClientPacket) => void
  #bytes: Buffer = Buffer.alloc(0)
  readonly #aliases = new Set<number>()
  /** QoS 2 identifiers that PUBREL has not freed. */
  readonly #unreleased = new Set<number>()
  /** How long the session is kept after the connection, as CONNECT and DISCONNECT say. */
  sessionExpirySeconds = 0
  /** The same as CONNECT alone says: what counts when the broker never comes to DISCONNECT. */
  askedExpirySeconds = 0
  /** What the first CONNECT says, also when it must be refused for another field. */
  connect: Connect | null = null
  /** A CONNECT that need not be refused has been said. */
  connected = false
  /** DISCONNECT was said: what follows means nothing. */
  over = false
  /** Why the connection must be closed; null as long as it need not be. */
  violation: Findings | null = null
  /** Reason codes with which the connection may be closed without a fault. */
  readonly excuses = new Set<number>()

  constructor (announced: Announced, onPacket: (packet: ClientPacket) => void) {
    this.#announced = announced
    this.#onPacket = onPacket
  }

  get version (): Version | null { return this.connect?.version ?? null }
  /** Whether a packet has begun that has not ended. */
  get unfinished (): boolean { return this.#bytes.length > 0 }

  push (bytes: Buffer): void {
    if (this.over || this.violation !== null) return
    this.#bytes = Buffer.concat([this.#bytes, bytes])
    let at = 0
    while (!this.over && this.violation === null) {
      const end = this.#packetAt(at)
      if (end === null) break
      at = end
    }
    this.#bytes = this.#bytes.subarray(at)
  }

  /** The packet at `at`: returns its end; null when it is not complete or must be refused. */
  #packetAt (at: number): number | null {
    const bytes = this.#bytes
    if (at >= bytes.length) return null
    const first = bytes.readUInt8(at)
    const header = new Findings()
    let length = 0
    let body = at + 1
    for (let i = 0; ; i++) {
      if (i === 4) {
        header.note('a remaining length of more than four bytes', MALFORMED, PROTOCOL_ERROR)
        break
      }
      if (body >= bytes.length) return null
      const byte = bytes.readUInt8(body++)
      length += (byte & 127) * 128 ** i
      if (byte > 127) continue
      if (byte === 0 && i > 0 && this.version === 5) header.note('a remaining length that is longer than it needs to be', MALFORMED, PROTOCOL_ERROR)
      break
    }
    checkFlags(first, header)
    if (this.connect === null && first >> 4 !== TYPE.connect) header.note('no CONNECT', PROTOCOL_ERROR, MALFORMED)
    if (body - at + length > this.#announced.maximumPacketBytes) header.note('too large', PACKET_TOO_LARGE)
    const complete = body + length <= bytes.length
    // A server may look at a packet before it is complete, and may wait for its end.
    if (!header.none && (complete || header.reasons.has(PACKET_TOO_LARGE) || body - at === 5)) return this.#refuse(header)
    if (!complete) {
      for (const reason of header.reasons) this.excuses.add(reason)
      return null
    }
    const packet = readClientPacket(bytes, at, body, body + length, this.version)
    this.#consider(packet)
    for (const reason of header.reasons) packet.findings.reasons.add(reason)
    for (const reason of packet.findings.excuses) this.excuses.add(reason)
    if (!packet.findings.none) return this.#refuse(packet.findings)
    this.connected ||= packet.connect !== null
    this.over = packet.type === TYPE.disconnect
    this.#onPacket(packet)
    return body + length
  }

  #refuse (findings: Findings): null {
    this.violation = findings
    return null
  }

  /** The rules that need more than one packet. */
  #consider (packet: ClientPacket): void {
    switch (packet.type) {
      case TYPE.connect:
        if (this.connect !== null) return packet.findings.note('a second CONNECT', PROTOCOL_ERROR, MALFORMED)
        this.connect = packet.connect
        this.sessionExpirySeconds = this.askedExpirySeconds = numberOf(packet.properties, 0x11) ?? 0
        return
      case TYPE.publish: return this.#publish(packet)
      case TYPE.pubrel: this.#unreleased.delete(packet.id); return
      case TYPE.subscribe:
        if (!this.#announced.sharedSubscriptions && packet.filters.some(({ filter }) => filter.startsWith('$share/'))) this.excuses.add(SHARED_NOT_SUPPORTED)
        return
      case TYPE.disconnect:
        // A session that ends with its connection cannot be kept at its end. (3.14.2.2.2)
        if (this.sessionExpirySeconds === 0 && (numberOf(packet.properties, 0x11) ?? 0) > 0) packet.findings.note('DISCONNECT begins a session expiry', PROTOCOL_ERROR)
        else if (packet.findings.none) this.sessionExpirySeconds = numberOf(packet.properties, 0x11) ?? this.sessionExpirySeconds
        return
      default:
    }
  }

  #publish (packet: ClientPacket): void {
    const alias = numberOf(packet.properties, 0x23)
    if (alias !== undefined) {
      if (alias === 0 || alias > this.#announced.topicAliasMaximum) packet.findings.note(`the topic alias ${alias}`, TOPIC_ALIAS_INVALID, PROTOCOL_ERROR)
      else if (packet.topic.length > 0) this.#aliases.add(alias)
      else if (!this.#aliases.has(alias)) packet.findings.note(`the unknown topic alias ${alias}`, PROTOCOL_ERROR, TOPIC_ALIAS_INVALID)
    }
    if ((packet.flags & 6) !== 4 || this.#unreleased.has(packet.id)) return
    this.#unreleased.add(packet.id)
    if (this.version === 5 && this.#unreleased.size > this.#announced.receiveMaximum) packet.findings.note('more than Receive Maximum', RECEIVE_MAXIMUM_EXCEEDED)
  }

  /** A QoS 2 message was refused in PUBREC: its identifier is free. */
  freed (id: number): void {
    this.#unreleased.delete(id)
  }
}
