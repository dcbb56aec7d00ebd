// A message on its way through the broker, and its bytes: one PUBLISH is encoded once for all subscribers of the same
// protocol, QoS and alias; only the packet identifier, DUP and the remaining lifetime are written into each copy.
import type { StoredMessage } from '../shared/broker-store.js'
import { ByteReader } from './byte-reader.js'
import type { Properties, Qos } from './packets.js'
import { policyOf, type Policy } from './policy.js'
import { readProperties } from './properties.js'

/** Payloads above this are written from where they are instead of being copied into the packet. */
const COPY_UP_TO_BYTES = 4_096
/** Payloads up to this are kept as text of one byte a character: a Buffer of its own costs 350 bytes more than a string. */
const TEXT_UP_TO_BYTES = 1_024
/** What a message costs in memory besides its topic and payload, roughly. */
const OVERHEAD_BYTES = 200

/** What one user property costs besides its name and value, roughly. */
const USER_PROPERTY_BYTES = 100

/** What stands in an encoded PUBLISH instead of or besides its topic. [MQTT-3.3.2-8] */
export const Alias = {
  none: 0,
  /** The topic and the number that means it from now on. */
  set: 1,
  /** The number alone. */
  use: 2
} as const
export type Alias = (typeof Alias)[keyof typeof Alias]

/** An encoded PUBLISH without what differs between its receivers. */
export interface Frame {
  /** Everything, or everything before a large payload. */
  readonly bytes: Buffer
  /** A large payload, behind `bytes`; null when it is in them. */
  readonly payload: Buffer | null
  /** Where the packet identifier stands; 0 for QoS 0. */
  readonly idAt: number
  /** Where the message expiry interval stands; 0 without one. */
  readonly expiryAt: number
}

export interface MessageParts {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: Qos
  /** RETAIN as it was published. */
  readonly retain: boolean
  /** As they came in PUBLISH; those that are not for subscribers are left out. */
  readonly properties?: Properties | undefined
  /** Milliseconds since 1970; Infinity without a message expiry. */
  readonly expiresAtMs?: number
  /** Client id of who published it; null for the services. */
  readonly from: string | null
  /** Where its topic does not say it. */
  readonly policy?: Policy
}

export class Message {
  readonly topic: string
  /** A string has a byte in each of its characters. */
  #payload: Buffer | string
  readonly qos: Qos
  readonly retain: boolean
  readonly properties: Properties | undefined
  readonly expiresAtMs: number
  readonly from: string | null
  readonly policy: Policy
  /** Number that every connection may use for this topic; 0 without one. */
  alias = 0
  #frames: (Frame | undefined)[] | null = null
  /** Its number in the store, and how many stored entries need it; 0 when it is not stored. */
  stored = 0
  storedFor = 0

  constructor ({ topic, payload, qos, retain, properties, expiresAtMs = Infinity, from, policy = policyOf(topic) }: MessageParts) {
    this.topic = topic
    this.#payload = payload
    this.qos = qos
    this.retain = retain
    this.properties = properties
    this.expiresAtMs = expiresAtMs
    this.from = from
    this.policy = policy
  }

  /** A new Buffer at each call where it is kept as text: see `payloadLength` and `copyPayload`. */
  get payload (): Buffer { return typeof this.#payload === 'string' ? Buffer.from(this.#payload, 'latin1') : this.#payload }

  /** In bytes. */
  get payloadLength (): number { return this.#payload.length }

  /** Writes the payload to `at` of `into`. */
  copyPayload (into: Buffer, at: number): void {
    if (typeof this.#payload === 'string') into.write(this.#payload, at, 'latin1')
    else this.#payload.copy(into, at)
  }

  /** What it costs to keep, roughly, in bytes. */
  get size (): number { return this.#payload.length + this.topic.length + sizeOf(this.properties) + OVERHEAD_BYTES }

  /**
   * To be called before it is kept longer than this turn: takes its bytes out of the read that they came in, or a
   * message of ten bytes would keep up to 64 KB of its neighbours in memory.
   */
  keep (): void {
    if (typeof this.#payload === 'string') return
    const { length } = this.#payload
    if (length <= TEXT_UP_TO_BYTES) {
      this.#payload = this.#payload.toString('latin1')
    } else {
      if (this.#payload.buffer.byteLength <= 2 * length + 1_024) return
      const own = Buffer.allocUnsafeSlow(length)
      this.#payload.copy(own)
      this.#payload = own
    }
    const data = this.properties?.correlationData
    if (this.properties !== undefined && data !== undefined) this.properties.correlationData = Buffer.from(data)
    // An encoded packet with a large payload refers to the old bytes.
    if (length > COPY_UP_TO_BYTES) this.#frames = null
  }

  /** The bytes for receivers of this protocol (MQTT 5.0 or older), QoS, RETAIN and alias; encoded at the first call. */
  frame (v5: boolean, qos: Qos, retain: boolean, alias: Alias): Frame {
    const kind = (v5 ? 6 + 6 * alias : 0) + (retain ? 3 : 0) + qos
    const frames = this.#frames ??= []
    return frames[kind] ??= encodePublish(this, v5, qos, retain, alias, null)
  }

  /** The bytes for one receiver whose subscriptions have identifiers. [MQTT-3.3.4-3] [MQTT-3.3.4-4] */
  frameWithIds (qos: Qos, retain: boolean, ids: readonly number[]): Frame {
    return encodePublish(this, true, qos, retain, Alias.none, ids)
  }

  toStored (): StoredMessage {
    const { topic, payload, qos, retain, expiresAtMs, from } = this
    const { bytes } = encodeProperties(this, Alias.none, null, false)
    const expiry = this.properties?.messageExpiryInterval
    const properties = expiry === undefined ? bytes : Buffer.concat([bytes, expiryBytes(expiry)])
    return { topic, payload, qos, retain, from, expiresAtMs: expiresAtMs === Infinity ? null : expiresAtMs, properties }
  }
}

/** What properties cost to keep, roughly, in bytes: as much as a payload of their length. */
function sizeOf (properties: Properties | undefined): number {
  if (properties === undefined) return 0
  const { contentType = '', responseTopic = '', correlationData, userProperties } = properties
  let size = contentType.length + responseTopic.length + (correlationData?.length ?? 0)
  for (const [name, value] of userProperties ?? []) size += name.length + value.length + USER_PROPERTY_BYTES
  return size
}

/** Throws `PacketError` when what is stored is not what was written. */
export function messageFromStored ({ topic, payload, qos, retain, properties, expiresAtMs, from }: StoredMessage): Message {
  const bytes = Buffer.concat([varint(properties.length), properties])
  const read = readProperties(new ByteReader(bytes, 0, bytes.length), 'publish')
  return new Message({
    topic, qos, retain, from,
    payload: Buffer.from(payload),
    properties: read,
    // A reply of a service is one wherever it goes.
    ...(from === null && read?.correlationData !== undefined && { policy: 'never' }),
    expiresAtMs: expiresAtMs ?? Infinity
  })
}

/** Writes packet identifier, DUP and remaining seconds into a copy of a frame that starts at `at` of `into`. */
export function writeFrame (frame: Frame, into: Buffer, at: number, messageId: number, dup: boolean, expirySeconds: number): number {
  frame.bytes.copy(into, at)
  if (dup) into[at] = (into[at] ?? 0) | 0x08
  if (frame.idAt > 0) {
    into[at + frame.idAt] = messageId >> 8
    into[at + frame.idAt + 1] = messageId & 0xff
  }
  if (frame.expiryAt > 0) into.writeUInt32BE(expirySeconds, at + frame.expiryAt)
  return at + frame.bytes.length
}

/** Bytes of the whole packet, for the receiver's Maximum Packet Size. */
export function frameSize (frame: Frame): number {
  return frame.bytes.length + (frame.payload?.length ?? 0)
}

/** What is left of a message's lifetime in seconds; negative when it is over, 0 without an expiry. [MQTT-3.3.2-5] [MQTT-3.3.2-6] */
export function remainingSeconds ({ expiresAtMs }: Message, nowMs: number): number {
  if (expiresAtMs === Infinity) return 0
  const leftMs = expiresAtMs - nowMs
  return leftMs <= 0 ? -1 : Math.ceil(leftMs / 1_000)
}

function encodePublish (message: Message, v5: boolean, qos: Qos, retain: boolean, alias: Alias, ids: readonly number[] | null): Frame {
  const { payloadLength } = message
  const topicBytes = alias === Alias.use ? 0 : Buffer.byteLength(message.topic)
  const properties = v5 ? encodeProperties(message, alias, ids, true) : null
  const propertyBytes = properties === null ? 0 : varintLength(properties.bytes.length) + properties.bytes.length
  const remaining = 2 + topicBytes + (qos > 0 ? 2 : 0) + propertyBytes + payloadLength
  const copies = payloadLength <= COPY_UP_TO_BYTES
  const bytes = Buffer.allocUnsafe(1 + varintLength(remaining) + remaining - (copies ? 0 : payloadLength))
  bytes[0] = 0x30 | qos << 1 | Number(retain)
  let at = writeVarint(bytes, 1, remaining)
  at = bytes.writeUInt16BE(topicBytes, at)
  if (topicBytes > 0) at += bytes.write(message.topic, at)
  const idAt = qos > 0 ? at : 0
  if (qos > 0) at += 2
  let expiryAt = 0
  if (properties !== null) {
    at = writeVarint(bytes, at, properties.bytes.length)
    if (properties.expiryAt >= 0) expiryAt = at + properties.expiryAt
    at += properties.bytes.copy(bytes, at)
  }
  if (copies) message.copyPayload(bytes, at)
  return { bytes, payload: copies ? null : message.payload, idAt, expiryAt }
}

interface EncodedProperties {
  readonly bytes: Buffer
  /** Where the seconds of the expiry stand; -1 without. */
  readonly expiryAt: number
}

const NO_PROPERTIES: EncodedProperties = { bytes: Buffer.alloc(0), expiryAt: -1 }

/** Without their length; the expiry comes first, so that its place is known. */
function encodeProperties ({ properties, expiresAtMs, alias: number }: Message, alias: Alias, ids: readonly number[] | null, withExpiry: boolean): EncodedProperties {
  const expires = withExpiry && expiresAtMs !== Infinity
  if (properties === undefined && ids === null && !expires && alias === Alias.none) return NO_PROPERTIES
  const parts: Buffer[] = []
  if (expires) parts.push(expiryBytes(0))
  if (alias !== Alias.none) parts.push(Buffer.from([0x23, number >> 8, number & 0xff]))
  if (properties !== undefined) {
    const { payloadFormatIndicator, contentType, responseTopic, correlationData, userProperties = [] } = properties
    if (payloadFormatIndicator !== undefined) parts.push(Buffer.from([0x01, Number(payloadFormatIndicator)]))
    if (contentType !== undefined) parts.push(Buffer.from([0x03]), lengthAnd(Buffer.from(contentType)))
    if (responseTopic !== undefined) parts.push(Buffer.from([0x08]), lengthAnd(Buffer.from(responseTopic)))
    if (correlationData !== undefined) parts.push(Buffer.from([0x09]), lengthAnd(correlationData))
    // In the order they came. [MQTT-3.3.2-18]
    for (const [name, value] of userProperties) parts.push(Buffer.from([0x26]), lengthAnd(Buffer.from(name)), lengthAnd(Buffer.from(value)))
  }
  for (const id of ids ?? []) parts.push(Buffer.from([0x0b]), varint(id))
  return { bytes: Buffer.concat(parts), expiryAt: expires ? 1 : -1 }
}

function expiryBytes (seconds: number): Buffer {
  const bytes = Buffer.from([0x02, 0, 0, 0, 0])
  bytes.writeUInt32BE(seconds, 1)
  return bytes
}

function lengthAnd (bytes: Buffer): Buffer {
  const out = Buffer.allocUnsafe(2 + bytes.length)
  out.writeUInt16BE(bytes.length, 0)
  bytes.copy(out, 2)
  return out
}

function varint (n: number): Buffer {
  const bytes = Buffer.alloc(varintLength(n))
  writeVarint(bytes, 0, n)
  return bytes
}

function varintLength (n: number): number {
  return n < 128 ? 1 : n < 16_384 ? 2 : n < 2_097_152 ? 3 : 4
}

function writeVarint (into: Buffer, at: number, n: number): number {
  let left = n
  do {
    const more = left >= 128
    into[at++] = left % 128 | (more ? 0x80 : 0)
    left = Math.floor(left / 128)
  } while (left > 0)
  return at
}
