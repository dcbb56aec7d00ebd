// A packet that is encoded once and sent many times: what differs from one to the next are holes of a fixed width, which
// are written in place.
import { packet } from './mqtt-bytes.js'

export interface Hole<Name extends string> {
  readonly hole: Name
  readonly bytes: number
}

/** A piece of a packet behind its fixed header; a string is its UTF-8 bytes, without a length. */
export type Part<Name extends string> = string | Buffer | Hole<Name>

export class PacketTemplate<Name extends string> {
  /** The packet as it stands now; `copy` it before anything is written into it again. */
  readonly bytes: Buffer
  readonly #holes = new Map<Name, Buffer>()

  constructor (head: number, parts: readonly Part<Name>[]) {
    const body = Buffer.concat(parts.map(part => typeof part === 'string' ? Buffer.from(part) : Buffer.isBuffer(part) ? part : Buffer.alloc(part.bytes, '0')))
    this.bytes = packet(head, body)
    let at = this.bytes.length - body.length
    for (const part of parts) {
      const length = typeof part === 'string' ? Buffer.byteLength(part) : Buffer.isBuffer(part) ? part.length : part.bytes
      if (typeof part !== 'string' && !Buffer.isBuffer(part)) this.#holes.set(part.hole, this.bytes.subarray(at, at + length))
      at += length
    }
  }

  /** The bytes of a hole, to be written into. Throws when the packet has none of this name. */
  hole (name: Name): Buffer {
    const hole = this.#holes.get(name)
    if (hole === undefined) throw new Error(`this packet has no hole ${name}`)
    return hole
  }

  /** Where a hole begins in `bytes`. */
  offsetOf (name: Name): number {
    return this.hole(name).byteOffset - this.bytes.byteOffset
  }

  copy (): Buffer {
    return Buffer.from(this.bytes)
  }
}

/** Writes a whole number at the end of a hole and blanks before it, which JSON allows. Throws when it does not fit. */
export function writeNumber (hole: Buffer, value: number): void {
  const text = String(value)
  if (text.length > hole.length) throw new RangeError(`${value} does not fit into ${hole.length} bytes`)
  hole.fill(0x20, 0, hole.length - text.length)
  hole.write(text, hole.length - text.length, 'latin1')
}
