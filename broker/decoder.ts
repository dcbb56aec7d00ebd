// From bytes to packets, strictly: what MQTT 3.1, 3.1.1 or 5.0 does not allow becomes a PacketError with its reason
// code. It stands in front of aedes, whose own parser takes truncated, repeated and foreign fields for good.
// It never throws anything but PacketError, keeps at most one unfinished packet, and reads nothing beyond a packet.
import { ByteReader, malformed, protocolError } from './byte-reader.js'
import type { AckPacket, ConnectPacket, DisconnectPacket, InboundPacket, PublishPacket, Qos, SubscribePacket, Subscription, UnsubscribePacket, Will } from './packets.js'
import { readProperties } from './properties.js'
import { PacketError, Reason } from './reason-codes.js'

/** By the type in the first byte: the name, and the flags that must stand beside it (null for PUBLISH, which uses them). */
const TYPES = [
  ['reserved', 0], ['CONNECT', 0], ['CONNACK', 0], ['PUBLISH', null], ['PUBACK', 0], ['PUBREC', 0], ['PUBREL', 2], ['PUBCOMP', 0],
  ['SUBSCRIBE', 2], ['SUBACK', 0], ['UNSUBSCRIBE', 2], ['UNSUBACK', 0], ['PINGREQ', 0], ['PINGRESP', 0], ['DISCONNECT', 0], ['AUTH', 0]
] as const

const ACK_NAMES = { 4: 'puback', 5: 'pubrec', 6: 'pubrel', 7: 'pubcomp' } as const
/** Reason codes that a client may send, by packet (sections 3.4 to 3.7 and 3.14). */
const PUBACK_REASONS = new Set([0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])
const PUBREL_REASONS = new Set([0x00, 0x92])
const DISCONNECT_REASONS = new Set([0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99])

/** Leftovers up to this size are copied, so that they do not keep the whole chunk they came in. */
const COPY_UP_TO_BYTES = 4_096

export interface DecoderParts {
  /** Largest packet with its fixed header; a larger one is refused as soon as its header is read. */
  readonly maxPacketBytes: number
  readonly onPacket: (packet: InboundPacket) => void
}

export class Decoder {
  readonly #parts: DecoderParts
  /** 3, 4 or 5 once a CONNECT told it, also when that CONNECT turned out to be malformed. */
  version: 3 | 4 | 5 | null = null
  #bridge = false
  #chunks: Buffer[] = []
  #size = 0
  /** Bytes that the unfinished packet needs before it is worth a look. */
  #need = 1
  #holding = false

  constructor (parts: DecoderParts) {
    this.#parts = parts
  }

  /** Decodes what has come and hands over each packet. Throws `PacketError`; nothing may be pushed after that. */
  push (chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#size += chunk.length
    this.#decode()
  }

  /** To be called while a packet is handed over: the packets after it wait for `proceed`. */
  hold (): void {
    this.#holding = true
  }

  proceed (): void {
    this.#holding = false
    this.#decode()
  }

  #decode (): void {
    if (this.#holding || this.#size < this.#need) return
    const [first] = this.#chunks
    const bytes = this.#chunks.length === 1 && first ? first : Buffer.concat(this.#chunks, this.#size)
    let at = 0
    while (at < bytes.length && !this.#holding) {
      const end = this.#endOfPacket(bytes, at)
      if (end === null) break
      at = end
    }
    const left = bytes.subarray(at)
    this.#chunks = left.length === 0 ? [] : [left.length <= COPY_UP_TO_BYTES ? Buffer.from(left) : left]
    this.#size = left.length
    if (this.#holding) this.#need = 1
  }

  /** Hands over the packet that starts at `at` and returns where the next one starts; null when it is not complete. */
  #endOfPacket (bytes: Buffer, at: number): number | null {
    const first = bytes[at] ?? 0
    let length = 0
    let headerBytes = 1
    for (let shift = 0; ; shift += 7) {
      if (shift === 28) throw malformed('the remaining length is longer than four bytes')
      const byte = bytes[at + headerBytes]
      if (byte === undefined) {
        this.#need = headerBytes + 1
        return null
      }
      headerBytes++
      length += (byte & 0x7f) * 2 ** shift
      if (byte >= 0x80) continue
      // Older devices pad the length to a fixed size, and only MQTT 5.0 forbids it. [MQTT-1.5.5-1]
      if (byte === 0 && shift > 0 && this.version === 5) throw malformed('the remaining length uses more bytes than it needs')
      break
    }
    this.#checkHeader(first)
    if (headerBytes + length > this.#parts.maxPacketBytes) {
      throw new PacketError(Reason.packetTooLarge, `the packet has ${headerBytes + length} bytes, the limit is ${this.#parts.maxPacketBytes}`)
    }
    const start = at + headerBytes
    const end = start + length
    if (end > bytes.length) {
      this.#need = headerBytes + length
      return null
    }
    this.#need = 1
    this.#parts.onPacket(this.#packet(first, new ByteReader(bytes, start, end), length))
    return end
  }

  #checkHeader (first: number): void {
    const type = first >> 4
    const [name, flags] = TYPES[type] ?? TYPES[0]
    if (type === 0) throw malformed('packet type 0 is reserved')
    if (flags !== null && (first & 0x0f) !== flags) throw malformed(`${name} has the header flags ${first & 0x0f} instead of ${flags}`)
    if (this.version === null && type !== 1) throw protocolError(`${name} came before CONNECT`)
  }

  #packet (first: number, reader: ByteReader, length: number): InboundPacket {
    const type = first >> 4
    switch (type) {
      case 1: return this.#connect(reader, length)
      case 3: return this.#publish(first & 0x0f, reader, length)
      case 4: case 5: case 6: case 7: return this.#ack(ACK_NAMES[type], reader, length)
      case 8: return this.#subscribe(reader, length)
      case 10: return this.#unsubscribe(reader, length)
      case 12:
        reader.finish()
        return { cmd: 'pingreq', length }
      case 14: return this.#disconnect(reader, length)
      case 15: throw this.version === 5
        ? protocolError('AUTH is only for an authentication that CONNECT began')
        : malformed(`packet type 15 is reserved in MQTT ${this.version === 3 ? '3.1' : '3.1.1'}`)
      default: throw protocolError(`a client may not send ${(TYPES[type] ?? TYPES[0])[0]}`)
    }
  }

  #connect (reader: ByteReader, length: number): ConnectPacket {
    if (this.version !== null) throw protocolError('a second CONNECT')
    const protocolId = reader.string('protocol name')
    if (protocolId !== 'MQTT' && protocolId !== 'MQIsdp') throw new PacketError(Reason.unsupportedProtocolVersion, 'the protocol name is not MQTT')
    const level = reader.byte()
    // Bridges set the highest bit, as mosquitto's do; MQTT 5.0 has options for what it means.
    const bridgeMode = level === 0x83 || level === 0x84
    const protocolVersion = bridgeMode ? level & 0x7f : level
    const known = protocolId === 'MQTT' ? protocolVersion === 4 || protocolVersion === 5 : protocolVersion === 3
    if (!known) {
      this.version = protocolVersion > 5 ? 5 : 4
      throw new PacketError(Reason.unsupportedProtocolVersion, `${protocolId} with protocol version ${level} is not supported; use MQTT 3.1, 3.1.1 or 5.0`)
    }
    const version = protocolVersion as 3 | 4 | 5
    this.version = version
    const flags = reader.byte()
    const willQos = (flags >> 3) & 3
    if (flags & 0x01) throw malformed('the reserved connect flag is set')
    if (!(flags & 0x04) && flags & 0x38) throw malformed('will QoS or will retain without a will')
    if (willQos === 3) throw malformed('the will has QoS 3')
    if (version < 5 && flags & 0x40 && !(flags & 0x80)) throw malformed('a password without a user name')
    const keepalive = reader.uint16()
    const properties = version === 5 ? readProperties(reader, 'connect') : undefined
    if (properties?.authenticationData !== undefined && properties.authenticationMethod === undefined) throw protocolError('authentication data without a method')
    const clientId = reader.string('client id')
    const will = flags & 0x04 ? readWill(reader, version, willQos as Qos, (flags & 0x20) !== 0) : undefined
    const username = flags & 0x80 ? reader.string('user name') : undefined
    const password = flags & 0x40 ? Buffer.from(reader.binary()) : undefined
    reader.finish()
    this.#bridge = bridgeMode
    return { cmd: 'connect', protocolId, protocolVersion: version, bridgeMode, clean: (flags & 0x02) !== 0, keepalive, clientId, will, username, password, properties, length }
  }

  #publish (flags: number, reader: ByteReader, length: number): PublishPacket {
    const qos = (flags >> 1) & 3
    if (qos === 3) throw malformed('PUBLISH has QoS 3')
    const dup = (flags & 0x08) !== 0
    if (dup && qos === 0) throw malformed('PUBLISH has DUP with QoS 0')
    const topic = reader.string('topic')
    const messageId = qos > 0 ? reader.packetId() : undefined
    const properties = this.version === 5 ? readProperties(reader, 'publish') : undefined
    return { cmd: 'publish', topic, payload: reader.rest(), qos: qos as Qos, retain: (flags & 0x01) !== 0, dup, messageId, properties, length }
  }

  #ack (cmd: AckPacket['cmd'], reader: ByteReader, length: number): AckPacket {
    const messageId = reader.packetId()
    let reasonCode = 0
    let properties
    if (this.version === 5 && reader.left > 0) {
      reasonCode = reader.byte()
      const allowed = cmd === 'puback' || cmd === 'pubrec' ? PUBACK_REASONS : PUBREL_REASONS
      if (!allowed.has(reasonCode)) throw protocolError(`${cmd.toUpperCase()} has the reason code ${reasonCode}`)
      if (reader.left > 0) properties = readProperties(reader, cmd)
    }
    reader.finish()
    return { cmd, messageId, reasonCode, properties, length }
  }

  #subscribe (reader: ByteReader, length: number): SubscribePacket {
    const messageId = reader.packetId()
    const properties = this.version === 5 ? readProperties(reader, 'subscribe') : undefined
    if (reader.left === 0) throw protocolError('SUBSCRIBE without a topic filter')
    const subscriptions: Subscription[] = []
    while (reader.left > 0) {
      const topic = reader.string('topic filter')
      const options = reader.byte()
      const qos = options & 3
      if (qos === 3) throw malformed('SUBSCRIBE asks for QoS 3')
      if (options & (this.version === 5 ? 0xc0 : 0xfc)) throw malformed('SUBSCRIBE has reserved option bits')
      const subscription: Subscription = { topic, qos }
      if (this.version === 5) {
        subscription.nl = (options & 0x04) !== 0
        subscription.rap = (options & 0x08) !== 0
        subscription.rh = (options >> 4) & 3
        if (subscription.rh === 3) throw protocolError('SUBSCRIBE asks for retain handling 3')
      } else if (this.#bridge) {
        // A bridge must see what is retained as such, and never get back what it sent.
        Object.assign(subscription, { nl: true, rap: true, rh: 0 })
      }
      subscriptions.push(subscription)
    }
    return { cmd: 'subscribe', messageId, subscriptions, properties, length }
  }

  #unsubscribe (reader: ByteReader, length: number): UnsubscribePacket {
    const messageId = reader.packetId()
    const properties = this.version === 5 ? readProperties(reader, 'unsubscribe') : undefined
    if (reader.left === 0) throw protocolError('UNSUBSCRIBE without a topic filter')
    const unsubscriptions: string[] = []
    while (reader.left > 0) unsubscriptions.push(reader.string('topic filter'))
    return { cmd: 'unsubscribe', messageId, unsubscriptions, properties, length }
  }

  #disconnect (reader: ByteReader, length: number): DisconnectPacket {
    let reasonCode = 0
    let properties
    if (this.version === 5 && reader.left > 0) {
      reasonCode = reader.byte()
      if (!DISCONNECT_REASONS.has(reasonCode)) throw protocolError(`DISCONNECT has the reason code ${reasonCode}`)
      if (reader.left > 0) properties = readProperties(reader, 'disconnect')
    }
    reader.finish()
    return { cmd: 'disconnect', reasonCode, properties, length }
  }
}

function readWill (reader: ByteReader, version: 3 | 4 | 5, qos: Qos, retain: boolean): Will {
  const properties = version === 5 ? readProperties(reader, 'will') : undefined
  const topic = reader.string('will topic')
  // A will is kept as long as the connection: its bytes are copied, so that they do not keep the chunk they came in.
  const payload = Buffer.from(reader.binary())
  if (properties?.correlationData) properties.correlationData = Buffer.from(properties.correlationData)
  return { topic, payload, qos, retain, properties }
}
