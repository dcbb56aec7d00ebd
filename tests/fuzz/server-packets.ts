// Reads what the broker says, as strictly as the standard is: any finding is a fault of the broker. mqtt-packet's parser
// takes more than that; it is the second opinion in client.ts.
import { TYPE, type Version } from './client-packets.js'
import { NO_PROPERTIES, readProperties, type Place, type Properties } from './properties.js'
import { Fault, Findings, Reader } from './reader.js'

export interface ServerPacket {
  readonly type: number
  readonly flags: number
  /** Bytes with the fixed header. */
  readonly size: number
  readonly id: number
  /** Reason code or return code; 0 where there is none. */
  readonly reason: number
  /** The codes of SUBACK and UNSUBACK. */
  readonly reasons: readonly number[]
  readonly sessionPresent: boolean
  readonly topic: string
  readonly payload: Buffer
  readonly properties: Properties
}

const WRONG = 0x81

/** Reason codes that a server may send, by packet type (sections 3.2 to 3.14). */
const REASONS: Readonly<Record<number, ReadonlySet<number>>> = {
  [TYPE.connack]: new Set([0, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f]),
  [TYPE.puback]: new Set([0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]),
  [TYPE.pubrec]: new Set([0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]),
  [TYPE.pubrel]: new Set([0, 0x92]),
  [TYPE.pubcomp]: new Set([0, 0x92]),
  [TYPE.suback]: new Set([0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2]),
  [TYPE.unsuback]: new Set([0, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91]),
  [TYPE.disconnect]: new Set([0, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2])
}

interface Body {
  id?: number
  reason?: number
  reasons?: number[]
  sessionPresent?: boolean
  topic?: string
  payload?: Buffer
  properties?: Properties
}

/** Cuts the broker's bytes into packets. */
export class ServerReader {
  readonly #version: Version
  readonly #onPacket: (packet: ServerPacket) => void
  #bytes: Buffer = Buffer.alloc(0)

  constructor (version: Version, onPacket: (packet: ServerPacket) => void) {
    this.#version = version
    this.#onPacket = onPacket
  }

  /** Whether a packet has begun that has not ended. */
  get unfinished (): boolean { return this.#bytes.length > 0 }

  /** Throws an `Error` that says what is wrong with a packet. */
  push (chunk: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk])
    let at = 0
    for (;;) {
      const bytes = this.#bytes
      let length = 0
      let body = at + 1
      for (let i = 0; ; i++) {
        if (i === 4) throw new Error('the broker sent a remaining length of more than four bytes')
        const byte = bytes[body]
        if (byte === undefined) return this.#keep(at)
        body++
        length += (byte & 127) * 128 ** i
        if (byte <= 127) break
      }
      const end = body + length
      if (end > bytes.length) return this.#keep(at)
      this.#onPacket(readServerPacket(bytes.subarray(at, end), body - at, this.#version))
      at = end
    }
  }

  #keep (at: number): void {
    this.#bytes = Buffer.from(this.#bytes.subarray(at))
  }
}

function readServerPacket (bytes: Buffer, bodyStart: number, version: Version): ServerPacket {
  const findings = new Findings()
  const reader = new Reader(bytes, bodyStart, bytes.length, findings)
  const first = bytes.readUInt8(0)
  const type = first >> 4
  const body: Body = {}
  try {
    readBody(type, first & 15, reader, version, body)
    reader.end()
  } catch (error) {
    if (!(error instanceof Fault)) throw error
  }
  const flags = type === TYPE.pubrel ? 2 : 0
  if (type !== TYPE.publish && (first & 15) !== flags) findings.note(`type ${type} with the flags ${first & 15}`, WRONG)
  const allowed = version === 5 || type === TYPE.suback ? REASONS[type] : undefined
  for (const reason of [body.reason ?? 0, ...body.reasons ?? []]) {
    if (allowed?.has(reason) === false) findings.note(`the reason code 0x${reason.toString(16)} in type ${type}`, WRONG)
  }
  if (!findings.none) throw new Error(`the broker sent ${bytes.toString('hex')}: ${findings.words.join(', ')}`)
  return {
    type, flags: first & 15, size: bytes.length,
    id: body.id ?? 0, reason: body.reason ?? 0, reasons: body.reasons ?? [], sessionPresent: body.sessionPresent ?? false,
    topic: body.topic ?? '', payload: body.payload ?? Buffer.alloc(0), properties: body.properties ?? NO_PROPERTIES
  }
}

function readBody (type: number, flags: number, reader: Reader, version: Version, body: Body): void {
  const properties = (place: Place): Properties => version === 5 ? readProperties(reader, place) : NO_PROPERTIES
  switch (type) {
    case TYPE.connack: {
      const acknowledge = reader.byte()
      if (acknowledge > 1 || (version === 3 && acknowledge > 0)) reader.note(`the acknowledge flags ${acknowledge}`, WRONG)
      body.sessionPresent = acknowledge === 1
      body.reason = reader.byte()
      if (version < 5 && body.reason > 5) reader.note(`the return code ${body.reason}`, WRONG)
      if (body.reason > 0 && body.sessionPresent) reader.note('a session with a refusal', WRONG)
      body.properties = properties('s:connack')
      return
    }
    case TYPE.publish: {
      const qos = (flags >> 1) & 3
      if (qos === 3 || (qos === 0 && flags & 8)) reader.note(`PUBLISH with the flags ${flags}`, WRONG)
      body.topic = reader.string()
      if (qos > 0) body.id = reader.id()
      body.properties = properties('s:publish')
      if (/[+#]/.test(body.topic)) reader.note('a wildcard in a topic', WRONG)
      if (body.topic === '' && !body.properties.has(0x23)) reader.note('no topic', WRONG)
      if (body.properties.get(0x23)?.[0] === 0) reader.note('the topic alias 0', WRONG)
      body.payload = reader.rest()
      return
    }
    case TYPE.puback: case TYPE.pubrec: case TYPE.pubrel: case TYPE.pubcomp:
      body.id = reader.id()
      if (version < 5 || reader.left === 0) return
      body.reason = reader.byte()
      if (reader.left > 0) body.properties = properties('s:ack')
      return
    case TYPE.suback: case TYPE.unsuback:
      body.id = reader.id()
      body.properties = properties(type === TYPE.suback ? 's:suback' : 's:unsuback')
      if (type === TYPE.unsuback && version < 5) return
      body.reasons = [...reader.rest()]
      if (version < 5 && body.reasons.some(code => code > 2 && code !== 0x80)) reader.note('a code that 3.1.1 does not know', WRONG)
      return
    case TYPE.pingresp: return
    case TYPE.disconnect:
      if (version < 5) reader.note('a server may not say DISCONNECT before 5.0', WRONG)
      if (reader.left > 0) body.reason = reader.byte()
      if (reader.left > 0) body.properties = properties('s:disconnect')
      return
    default: reader.note(`a server may not say type ${type}`, WRONG)
  }
}
