// The data types of MQTT (section 1.5), read strictly, for the fuzzer's own opinion of bytes. What cannot be read is
// thrown; what can be read but is wrong is noted, so that one packet shows every reason to refuse it: a server may find
// any of them first.

export const MALFORMED = 0x81
export const PROTOCOL_ERROR = 0x82

/** A packet that cannot be read. */
export class Fault extends Error {}

/** What is wrong with a packet, and the reason codes with which a server may say so. */
export class Findings {
  readonly words: string[] = []
  readonly reasons = new Set<number>()
  /** Reason codes with which a server may refuse the packet, and need not. */
  readonly excuses = new Set<number>()

  note (words: string, ...reasons: readonly number[]): void {
    this.words.push(words)
    for (const reason of reasons) this.reasons.add(reason)
  }

  get none (): boolean { return this.words.length === 0 }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export class Reader {
  readonly #bytes: Buffer
  readonly #end: number
  readonly #findings: Findings
  #at: number

  constructor (bytes: Buffer, start: number, end: number, findings: Findings) {
    this.#bytes = bytes
    this.#at = start
    this.#end = end
    this.#findings = findings
  }

  get left (): number { return this.#end - this.#at }

  note (words: string, ...reasons: readonly number[]): void {
    this.#findings.note(words, ...reasons)
  }

  /** Notes what a server need not take. */
  excuse (...reasons: readonly number[]): void {
    for (const reason of reasons) this.#findings.excuses.add(reason)
  }

  /** Notes that nothing further can be read; to be thrown. */
  fault (words: string): Fault {
    this.note(words, MALFORMED, PROTOCOL_ERROR)
    return new Fault(words)
  }

  byte (): number {
    return this.#bytes.readUInt8(this.#take(1))
  }

  uint16 (): number {
    return this.#bytes.readUInt16BE(this.#take(2))
  }

  uint32 (): number {
    return this.#bytes.readUInt32BE(this.#take(4))
  }

  /** [MQTT-1.5.5-1] */
  varint (): number {
    let value = 0
    for (let i = 0; i < 4; i++) {
      const byte = this.byte()
      value += (byte & 127) * 128 ** i
      if (byte > 127) continue
      if (byte === 0 && i > 0) this.note('a variable byte integer is longer than it needs to be', MALFORMED, PROTOCOL_ERROR)
      return value
    }
    throw this.fault('a variable byte integer does not end within four bytes')
  }

  binary (): Buffer {
    const length = this.uint16()
    const start = this.#take(length)
    return this.#bytes.subarray(start, start + length)
  }

  /** [MQTT-1.5.4-1] [MQTT-1.5.4-2] */
  string (): string {
    const bytes = this.binary()
    try {
      const text = utf8.decode(bytes)
      if (text.includes('\0')) this.note('a string has U+0000', MALFORMED, PROTOCOL_ERROR)
      return text
    } catch {
      this.note('a string is not UTF-8', MALFORMED, PROTOCOL_ERROR)
      return bytes.toString('latin1')
    }
  }

  /** A packet identifier, which is never 0. [MQTT-2.2.1-3] */
  id (): number {
    const id = this.uint16()
    if (id === 0) this.note('a packet identifier is 0', MALFORMED, PROTOCOL_ERROR)
    return id
  }

  part (length: number): Reader {
    const start = this.#take(length)
    return new Reader(this.#bytes, start, start + length, this.#findings)
  }

  rest (): Buffer {
    return this.#bytes.subarray(this.#take(this.left), this.#end)
  }

  end (): void {
    if (this.left > 0) this.note(`${this.left} bytes are left over`, MALFORMED, PROTOCOL_ERROR)
  }

  #take (count: number): number {
    if (count > this.left) throw this.fault('a field is longer than its packet')
    const start = this.#at
    this.#at += count
    return start
  }
}
