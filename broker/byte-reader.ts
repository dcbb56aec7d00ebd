// Reads the data types of MQTT (section 1.5) from one packet. Nothing is ever read beyond the packet's end: what does
// not fit is a malformed packet.
import { isUtf8 } from 'node:buffer'
import { PacketError, Reason } from './reason-codes.js'

/** A malformed packet: reason 0x81. */
export function malformed (message: string): PacketError {
  return new PacketError(Reason.malformedPacket, message)
}

/** A packet that may be read but breaks the rules: reason 0x82. */
export function protocolError (message: string): PacketError {
  return new PacketError(Reason.protocolError, message)
}

export class ByteReader {
  readonly #bytes: Buffer
  #at: number
  readonly end: number

  constructor (bytes: Buffer, start: number, end: number) {
    this.#bytes = bytes
    this.#at = start
    this.end = end
  }

  get at (): number { return this.#at }
  get left (): number { return this.end - this.#at }

  byte (): number {
    return this.#bytes[this.#take(1)] ?? 0
  }

  uint16 (): number {
    return this.#bytes.readUInt16BE(this.#take(2))
  }

  uint32 (): number {
    return this.#bytes.readUInt32BE(this.#take(4))
  }

  /** A Variable Byte Integer in as few bytes as it needs. [MQTT-1.5.5-1] */
  varint (): number {
    let value = 0
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.byte()
      value += (byte & 0x7f) * 2 ** shift
      if (byte >= 0x80) continue
      if (byte === 0 && shift > 0) throw malformed('a variable byte integer uses more bytes than it needs')
      return value
    }
    throw malformed('a variable byte integer is longer than four bytes')
  }

  /** Binary data with its two length bytes: a view, not a copy. */
  binary (): Buffer {
    const length = this.uint16()
    const start = this.#take(length)
    return this.#bytes.subarray(start, start + length)
  }

  /** A UTF-8 string; `what` names it in the error. [MQTT-1.5.4-1] [MQTT-1.5.4-2] */
  string (what: string): string {
    const length = this.uint16()
    const start = this.#take(length)
    const end = start + length
    let ascii = true
    for (let i = start; i < end; i++) {
      const byte = this.#bytes[i] ?? 0
      if (byte === 0) throw malformed(`${what} contains U+0000`)
      if (byte >= 0x80) {
        ascii = false
        break
      }
    }
    if (ascii) return this.#bytes.toString('latin1', start, end)
    const bytes = this.#bytes.subarray(start, end)
    if (!isUtf8(bytes)) throw malformed(`${what} is not valid UTF-8`)
    if (bytes.includes(0)) throw malformed(`${what} contains U+0000`)
    return bytes.toString('utf8')
  }

  /** A packet identifier. [MQTT-2.2.1-3] */
  packetId (): number {
    const id = this.uint16()
    if (id === 0) throw protocolError('the packet identifier is 0')
    return id
  }

  /** Refuses bytes that belong to no field. */
  finish (): void {
    if (this.left > 0) throw malformed(`${this.left} bytes follow the end of the packet's content`)
  }

  /** A reader of the next `length` bytes alone. */
  inner (length: number): ByteReader {
    const start = this.#take(length)
    return new ByteReader(this.#bytes, start, start + length)
  }

  rest (): Buffer {
    return this.#bytes.subarray(this.#take(this.left), this.end)
  }

  #take (count: number): number {
    const start = this.#at
    if (start + count > this.end) throw malformed('the packet is shorter than its fields say')
    this.#at = start + count
    return start
  }
}
