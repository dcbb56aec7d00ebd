// The last step to one connection: acknowledgements and messages of one turn of the event loop become one write, unless
// somebody wants them to leave sooner. It tells the session when the socket takes no more, so that messages wait where they can be
// counted, conflated and dropped, and not in a buffer.
import type { Duplex } from 'node:stream'
import { Alias, writeFrame, type Frame, type Message } from './message.js'
import type { Sink } from './sink.js'
import type { Traffic } from './traffic.js'

/** Bytes that are collected before they are written within a turn. */
const FLUSH_AT_BYTES = 64 * 1024
const FIRST_BUFFER_BYTES = 512

/** Connections with something to write at the end of this turn: one `setImmediate` for all of them. */
const dirty = new Set<Outlet>()

/** Writes what all connections have to write; by itself it happens at the end of each turn of the event loop. */
export function flushAll (): void {
  const outlets = [...dirty]
  dirty.clear()
  for (const outlet of outlets) outlet.flush()
}

export interface OutletParts {
  readonly conn: Duplex
  readonly v5: boolean
  readonly maxPacketBytes: number
  readonly receiveMaximum: number
  /** Highest topic alias that the client takes; 0 for none. */
  readonly topicAliasMaximum: number
  /** Whether nothing may be written any more. */
  readonly ended: () => boolean
  /** The socket takes more again. */
  readonly onDrain: () => void
  readonly traffic: Traffic
  readonly onOverflow: () => void
}

export class Outlet implements Sink {
  readonly v5: boolean
  readonly maxPacketBytes: number
  readonly receiveMaximum: number
  readonly #parts: OutletParts
  #buffer = Buffer.allocUnsafe(FIRST_BUFFER_BYTES)
  #length = 0
  /** Like the last write: what comes next is mostly of the same size. */
  #guess = FIRST_BUFFER_BYTES
  /** Topics by the alias that the client knows them by. */
  readonly #aliases: (string | undefined)[] = []

  constructor (parts: OutletParts) {
    this.#parts = parts
    this.v5 = parts.v5
    this.maxPacketBytes = parts.maxPacketBytes
    this.receiveMaximum = parts.receiveMaximum
    parts.conn.on('drain', parts.onDrain)
  }

  get writable (): boolean { return !this.#parts.conn.writableNeedDrain && !this.#parts.ended() }

  /** Aliases are the same numbers for all clients; each must be told once what a number means. [MQTT-3.1.2-26] */
  aliasOf ({ topic, alias }: Message): Alias {
    if (alias === 0 || alias > this.#parts.topicAliasMaximum) return Alias.none
    if (this.#aliases[alias] === topic) return Alias.use
    this.#aliases[alias] = topic
    return Alias.set
  }

  forgetAlias ({ alias }: Message): void {
    this.#aliases[alias] = undefined
  }

  push ({ payload }: Message, frame: Frame, messageId: number, dup: boolean, expirySeconds: number): void {
    this.#parts.traffic.published(payload.length)
    const at = this.#reserve(frame.bytes.length)
    writeFrame(frame, this.#buffer, at, messageId, dup, expirySeconds)
    if (frame.payload !== null) {
      this.flush()
      this.#write(frame.payload)
    } else if (this.#length >= FLUSH_AT_BYTES) {
      this.flush()
    }
  }

  pubrel (messageId: number): void {
    this.plain(0x62, messageId)
  }

  overflow (): void {
    this.#parts.onOverflow()
  }

  /** A packet of a first byte and a packet identifier alone. */
  plain (first: number, messageId: number): void {
    this.#parts.traffic.answered()
    const at = this.#reserve(4)
    this.#buffer[at] = first
    this.#buffer[at + 1] = 2
    this.#buffer[at + 2] = messageId >> 8
    this.#buffer[at + 3] = messageId & 0xff
  }

  /** Any other packet. */
  packet (bytes: Buffer): void {
    this.#parts.traffic.answered()
    // The place first: making room may take another buffer.
    const at = this.#reserve(bytes.length)
    bytes.copy(this.#buffer, at)
  }

  /** Writes what is there. */
  flush (): void {
    if (this.#length === 0) return
    dirty.delete(this)
    const bytes = this.#buffer.subarray(0, this.#length)
    this.#guess = Math.min(Math.max(this.#length + (this.#length >> 2), 64), FLUSH_AT_BYTES)
    this.#buffer = Buffer.allocUnsafe(this.#guess)
    this.#length = 0
    this.#write(bytes)
  }

  #write (bytes: Buffer): void {
    if (this.#parts.ended()) return
    this.#parts.traffic.wrote(bytes.length)
    this.#parts.conn.write(bytes)
  }

  #reserve (count: number): number {
    const at = this.#length
    this.#length += count
    if (this.#length > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#length, this.#buffer.length * 2))
      this.#buffer.copy(larger, 0, 0, at)
      this.#buffer = larger
    }
    if (at === 0) {
      if (dirty.size === 0) setImmediate(flushAll)
      dirty.add(this)
    }
    return at
  }
}
