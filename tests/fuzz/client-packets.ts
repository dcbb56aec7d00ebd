// Reads what a client says, from the standard alone, and finds what a server must refuse in a single packet. What
// depends on the packets before it is found in judge.ts.
import { Fault, Findings, MALFORMED, PROTOCOL_ERROR, Reader } from './reader.js'
import { NO_PROPERTIES, readProperties, textOf, type Properties } from './properties.js'

export type Version = 3 | 4 | 5

export const TYPE = {
  connect: 1, connack: 2, publish: 3, puback: 4, pubrec: 5, pubrel: 6, pubcomp: 7, subscribe: 8, suback: 9,
  unsubscribe: 10, unsuback: 11, pingreq: 12, pingresp: 13, disconnect: 14, auth: 15
} as const

export interface Connect {
  readonly version: Version
  readonly clean: boolean
  readonly clientId: string
  readonly keepAliveSeconds: number
}

export interface Filter {
  readonly filter: string
  /** The options byte; 0 in UNSUBSCRIBE. */
  readonly options: number
}

export interface ClientPacket {
  readonly type: number
  readonly flags: number
  readonly id: number
  readonly reason: number
  readonly topic: string
  readonly filters: readonly Filter[]
  readonly properties: Properties
  readonly connect: Connect | null
  readonly findings: Findings
}

/** A server may refuse these, and need not: what a CONNECT asks for beyond the bytes. */
export const MAY_REFUSE_AUTHENTICATION: readonly number[] = [0x83, 0x86, 0x87, 0x8c]

const TOPIC_INVALID = 0x90
const FILTER_INVALID = 0x8f
const UNSUPPORTED_VERSION = 0x84
const LONG_TOPIC = 1_000
const MANY_LEVELS = 50
const FLAGS: readonly (number | null)[] = [0, 0, 0, null, 0, 0, 2, 0, 2, 0, 2, 0, 0, 0, 0, 0]
const ACK_REASONS = new Set([0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])
const RELEASE_REASONS = new Set([0x00, 0x92])
const DISCONNECT_REASONS = new Set([0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99])

/** Whether the fixed header alone must be refused: then it does not matter whether the packet is complete. */
export function checkFlags (first: number, findings: Findings): void {
  const type = first >> 4
  const flags = FLAGS[type]
  if (type === 0) findings.note('packet type 0', MALFORMED, PROTOCOL_ERROR)
  else if (flags !== null && flags !== (first & 15)) findings.note(`type ${type} with the flags ${first & 15}`, MALFORMED, PROTOCOL_ERROR)
}

interface Body {
  id?: number
  reason?: number
  topic?: string
  filters?: Filter[]
  properties?: Properties
  connect?: Connect
}

/** Reads a complete packet of a client. `version` is null before CONNECT. Never throws: what is wrong is in `findings`. */
export function readClientPacket (bytes: Buffer, start: number, bodyStart: number, end: number, version: Version | null): ClientPacket {
  const first = bytes.readUInt8(start)
  const findings = new Findings()
  const body: Body = {}
  checkFlags(first, findings)
  try {
    readBody(first, new Reader(bytes, bodyStart, end, findings), version ?? 4, body)
  } catch (error) {
    if (!(error instanceof Fault)) throw error
  }
  return {
    type: first >> 4, flags: first & 15, findings,
    id: body.id ?? 0, reason: body.reason ?? 0, topic: body.topic ?? '', filters: body.filters ?? [], properties: body.properties ?? NO_PROPERTIES, connect: body.connect ?? null
  }
}

function readBody (first: number, reader: Reader, version: Version, body: Body): void {
  switch (first >> 4) {
    case TYPE.connect: return readConnect(reader, body)
    case TYPE.publish: return readPublish(first & 15, reader, version, body)
    case TYPE.puback: case TYPE.pubrec: return readAck(reader, version, body, ACK_REASONS)
    case TYPE.pubrel: case TYPE.pubcomp: return readAck(reader, version, body, RELEASE_REASONS)
    case TYPE.subscribe: case TYPE.unsubscribe: return readFilters(first >> 4 === TYPE.subscribe, reader, version, body)
    case TYPE.pingreq: return reader.end()
    case TYPE.disconnect:
      if (version === 5 && reader.left > 0) {
        body.reason = reader.byte()
        if (!DISCONNECT_REASONS.has(body.reason)) reader.note(`DISCONNECT with the reason ${body.reason}`, MALFORMED, PROTOCOL_ERROR)
        if (reader.left > 0) body.properties = readProperties(reader, 'c:disconnect')
      }
      return reader.end()
    default: return reader.note(`a client may not say type ${first >> 4}`, MALFORMED, PROTOCOL_ERROR)
  }
}

function readConnect (reader: Reader, body: Body): void {
  const protocol = reader.string()
  const level = reader.byte()
  const plain = level & 0x7f
  // Bridges of mosquitto set the highest bit.
  const known = protocol === 'MQTT' ? level === 5 || plain === 4 : protocol === 'MQIsdp' && plain === 3
  if (!known) {
    body.connect = { version: level > 5 ? 5 : 4, clean: true, clientId: '', keepAliveSeconds: 0 }
    throw (reader.note(`protocol ${protocol} ${level}`, UNSUPPORTED_VERSION, MALFORMED, PROTOCOL_ERROR), new Fault('unknown protocol'))
  }
  const version = plain as Version
  body.connect = { version, clean: true, clientId: '', keepAliveSeconds: 0 }
  const flags = reader.byte()
  const hasWill = (flags & 4) !== 0
  if (flags & 1) reader.note('the reserved connect flag', MALFORMED, PROTOCOL_ERROR)
  if (!hasWill && flags & 0x38) reader.note('will flags without a will', MALFORMED, PROTOCOL_ERROR)
  if ((flags & 0x18) === 0x18) reader.note('a will with QoS 3', MALFORMED, PROTOCOL_ERROR)
  if (version < 5 && flags & 0x40 && !(flags & 0x80)) reader.note('a password without a user name', MALFORMED, PROTOCOL_ERROR)
  const keepAliveSeconds = reader.uint16()
  if (version === 5) body.properties = readProperties(reader, 'c:connect')
  if (body.properties?.has(0x16) && !body.properties.has(0x15)) reader.note('authentication data without a method', MALFORMED, PROTOCOL_ERROR)
  const clientId = reader.string()
  body.connect = { version, clean: (flags & 2) !== 0, clientId, keepAliveSeconds }
  if (hasWill) readWill(reader, version)
  if (flags & 0x80) reader.string()
  if (flags & 0x40) reader.binary()
  reader.end()
}

function readWill (reader: Reader, version: Version): void {
  const properties = version === 5 ? readProperties(reader, 'c:will') : NO_PROPERTIES
  const topic = reader.string()
  const payload = reader.binary()
  checkTopic(reader, topic, 'will topic')
  // A server may have limits of its own.
  if (topic.length > LONG_TOPIC || topic.split('/').length > MANY_LEVELS) reader.excuse(TOPIC_INVALID)
  checkResponseTopic(reader, properties)
  if (properties.get(0x01)?.[0] === 1 && !isText(payload)) reader.note('a will payload that is not text', 0x99, MALFORMED, PROTOCOL_ERROR)
}

function readPublish (flags: number, reader: Reader, version: Version, body: Body): void {
  const qos = (flags >> 1) & 3
  if (qos === 3) reader.note('QoS 3', MALFORMED, PROTOCOL_ERROR)
  if (qos === 0 && flags & 8) reader.note('DUP with QoS 0', MALFORMED, PROTOCOL_ERROR)
  body.topic = reader.string()
  if (qos > 0) body.id = reader.id()
  if (version === 5) body.properties = readProperties(reader, 'c:publish')
  if (body.topic.length > 0 || !body.properties?.has(0x23)) checkTopic(reader, body.topic, 'topic')
  checkResponseTopic(reader, body.properties ?? NO_PROPERTIES)
}

function readAck (reader: Reader, version: Version, body: Body, reasons: ReadonlySet<number>): void {
  body.id = reader.id()
  if (version === 5 && reader.left > 0) {
    body.reason = reader.byte()
    if (!reasons.has(body.reason)) reader.note(`an acknowledgement with the reason ${body.reason}`, MALFORMED, PROTOCOL_ERROR)
    if (reader.left > 0) body.properties = readProperties(reader, 'c:ack')
  }
  reader.end()
}

function readFilters (subscribe: boolean, reader: Reader, version: Version, body: Body): void {
  body.id = reader.id()
  if (version === 5) body.properties = readProperties(reader, subscribe ? 'c:subscribe' : 'c:unsubscribe')
  if (reader.left === 0) reader.note('no topic filter', MALFORMED, PROTOCOL_ERROR)
  body.filters = []
  while (reader.left > 0) {
    const filter = reader.string()
    const options = subscribe ? reader.byte() : 0
    body.filters.push({ filter, options })
    if ((options & 3) === 3) reader.note('a subscription with QoS 3', MALFORMED, PROTOCOL_ERROR)
    if (options & (version === 5 ? 0xc0 : 0xfc)) reader.note('reserved subscription options', MALFORMED, PROTOCOL_ERROR)
    if ((options & 0x30) === 0x30) reader.note('retain handling 3', MALFORMED, PROTOCOL_ERROR)
    if (!isFilter(filter)) reader.note('a filter that is none', FILTER_INVALID, MALFORMED, PROTOCOL_ERROR)
    // What is not subscribed to may be unsubscribed from, and before 5.0 these are names like any other.
    else if (!isSharedRightly(filter) && version === 5 && subscribe) reader.note('no valid shared subscription', FILTER_INVALID, MALFORMED, PROTOCOL_ERROR)
    else if (!isSharedRightly(filter) || filter === '$share') reader.excuse(FILTER_INVALID, MALFORMED, PROTOCOL_ERROR)
    // [MQTT-3.8.3-4]
    if (version === 5 && isShared(filter) && options & 4) reader.note('No Local on a shared subscription', PROTOCOL_ERROR, MALFORMED)
  }
}

function checkTopic (reader: Reader, topic: string, what: string): void {
  if (topic.length === 0) reader.note(`an empty ${what}`, TOPIC_INVALID, MALFORMED, PROTOCOL_ERROR)
  if (/[+#]/.test(topic)) reader.note(`a wildcard in a ${what}`, TOPIC_INVALID, MALFORMED, PROTOCOL_ERROR)
}

function checkResponseTopic (reader: Reader, properties: Properties): void {
  const topic = textOf(properties, 0x08)
  if (topic === undefined) return
  if (topic.length === 0 || /[+#]/.test(topic)) reader.note('a Response Topic that cannot be published to', TOPIC_INVALID, MALFORMED, PROTOCOL_ERROR)
}

export function isShared (filter: string): boolean {
  return filter.startsWith('$share/')
}

/** [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] */
function isFilter (filter: string): boolean {
  const levels = filter.split('/')
  return filter.length > 0 && !levels.some((level, at) => level === '#' ? at < levels.length - 1 : level.length > 1 && /[+#]/.test(level))
}

/** Not a shared subscription, or one with a group and a filter. [MQTT-4.8.2-1] [MQTT-4.8.2-2] */
function isSharedRightly (filter: string): boolean {
  return !isShared(filter) || /^\$share\/[^/+#]+\/./.test(filter)
}

function isText (payload: Buffer): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(payload)
    return true
  } catch {
    return false
  }
}
