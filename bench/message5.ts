// Where the parts of a received PUBLISH of MQTT 5.0 are, without copying any of it. Only for benches: it trusts the broker.

/** Offsets into the bytes that were read; -1 for a property that is not there. */
export interface Message5 {
  qos: number
  isDup: boolean
  topicAt: number
  topicEnd: number
  /** 0 with QoS 0. */
  packetId: number
  correlationAt: number
  correlationEnd: number
  responseTopicAt: number
  responseTopicEnd: number
  /** Whether it has a user property: parkmq marks with one what it has replied before. */
  hasUserProperty: boolean
  payloadAt: number
}

export function newMessage5 (): Message5 {
  return { qos: 0, isDup: false, topicAt: 0, topicEnd: 0, packetId: 0, correlationAt: -1, correlationEnd: -1, responseTopicAt: -1, responseTopicEnd: -1, hasUserProperty: false, payloadAt: 0 }
}

const BYTE = 1
const TWO_BYTES = 2
const FOUR_BYTES = 4
const VARINT = -1
const BINARY = -2
const PAIR = -3
/** How long the value of each property of a PUBLISH is (MQTT 5.0 table 2-4). */
const LENGTHS: Readonly<Record<number, number>> = { 0x01: BYTE, 0x02: FOUR_BYTES, 0x03: BINARY, 0x08: BINARY, 0x09: BINARY, 0x0b: VARINT, 0x23: TWO_BYTES, 0x26: PAIR }
const RESPONSE_TOPIC = 0x08
const CORRELATION_DATA = 0x09
const USER_PROPERTY = 0x26

/** Reads the message whose bytes behind the fixed header begin at `at` into `into`. Throws on a property that a PUBLISH cannot have. */
export function readMessage5 (into: Message5, head: number, bytes: Buffer, at: number): void {
  into.qos = head >> 1 & 3
  into.isDup = (head & 8) !== 0
  into.topicAt = at + 2
  let next = into.topicEnd = at + 2 + bytes.readUInt16BE(at)
  into.packetId = 0
  if (into.qos > 0) {
    into.packetId = bytes.readUInt16BE(next)
    next += 2
  }
  into.correlationAt = into.correlationEnd = into.responseTopicAt = into.responseTopicEnd = -1
  into.hasUserProperty = false
  let length = 0
  let shift = 0
  let byte: number
  do {
    byte = bytes[next++] ?? 0
    length += (byte & 0x7f) * 2 ** shift
    shift += 7
  } while (byte >= 0x80)
  const end = into.payloadAt = next + length
  while (next < end) {
    const id = bytes[next++] ?? 0
    const kind = LENGTHS[id]
    if (kind === undefined) throw new Error(`a PUBLISH has the property 0x${id.toString(16)}`)
    if (kind > 0) {
      next += kind
      continue
    }
    if (kind === VARINT) {
      while ((bytes[next++] ?? 0) >= 0x80);
      continue
    }
    const valueAt = next + 2
    next = valueAt + bytes.readUInt16BE(next)
    if (id === CORRELATION_DATA) {
      into.correlationAt = valueAt
      into.correlationEnd = next
    } else if (id === RESPONSE_TOPIC) {
      into.responseTopicAt = valueAt
      into.responseTopicEnd = next
    } else if (id === USER_PROPERTY) {
      into.hasUserProperty = true
      next += 2 + bytes.readUInt16BE(next)
    }
  }
}
