// One subscriber on a raw connection: reads, acknowledges and counts, or deliberately does not. It shares its process
// with many others, so a message costs it a look at a few bytes and a mark in a table.
import type { Duplex } from 'node:stream'
import { machineMs } from './clock.js'
import {
  CONNACK, connectPacket, DISCONNECT, NORMAL_DISCONNECT, PINGREQ, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, subscribePacket,
  type Credentials, type MqttVersion, type Qos
} from './mqtt-bytes.js'
import { openStream, readPackets, within, type Ports, type Transport } from './raw-client.js'

/** `frozen` never reads its socket after SUBACK; `never-acks` reads and acknowledges nothing. */
export type Behaviour = 'healthy' | 'frozen' | 'never-acks'

export interface SubscriberParts {
  readonly ports: Ports
  readonly clientId: string
  readonly filter: string
  readonly qos: Qos
  readonly version: MqttVersion
  readonly transport: Transport
  /** The session outlives the connection. */
  readonly persistent: boolean
  readonly behaviour: Behaviour
  /** Largest message number that comes; the number is the first 4 bytes of the payload, big-endian. */
  readonly highestNumber: number
  readonly credentials?: Credentials | undefined
  /** Whether it keeps when each message came, for `arrivalMs`: 8 bytes a number. */
  readonly keepsArrivals?: boolean
}

/** What one subscriber saw since it was made or `reset`. */
export interface Seen {
  /** Different messages. */
  delivered: number
  /** Messages that had come before. */
  repeated: number
  /** Messages that came behind one with a higher number. */
  disordered: number
  /** Longest time between two messages, and from the beginning to the first, in milliseconds. */
  longestGapMs: number
  /** Time of the last new message by `machineMs`; 0 when there was none. */
  lastAtMs: number
}

export class Subscriber {
  readonly #parts: SubscriberParts
  readonly #marks: Uint8Array
  readonly #arrivals: Float64Array | null
  #stream: Duplex | null = null
  #acks = Buffer.allocUnsafe(1_024)
  #acksLength = 0
  #highest = 0
  #nowMs = 0
  /** Where the present gap began. */
  #gapFromMs = machineMs()
  /** Packet identifiers that a subscriber which never acknowledges has got. */
  readonly #unacknowledged = new Set<number>()
  #onConnack: () => void = () => {}
  #onSuback: () => void = () => {}
  #onClose: () => void = () => {}
  seen: Seen = nothing()
  /** Why the broker closed the connection; null while it is open. */
  closed: string | null = null

  constructor (parts: SubscriberParts) {
    this.#parts = parts
    this.#marks = new Uint8Array(parts.highestNumber + 1)
    this.#arrivals = parts.keepsArrivals === true ? new Float64Array(parts.highestNumber + 1) : null
  }

  /** When a message first came, by `machineMs`; 0 when it did not. */
  arrivalMs (number: number): number { return this.#arrivals?.[number] ?? 0 }

  get unacknowledged (): number { return this.#unacknowledged.size }

  /** Connects and subscribes; throws when the broker does not grant it. */
  async connect (): Promise<void> {
    await this.#open()
    const { filter, qos, version, behaviour, clientId } = this.#parts
    const granted = new Promise<void>(resolve => { this.#onSuback = resolve })
    this.#stream?.write(subscribePacket(filter, qos, version))
    await within(granted, `SUBACK for ${clientId}`)
    if (behaviour === 'frozen') this.#stream?.pause()
  }

  /** Ends the connection as a client does that means to come back. */
  async leave (): Promise<void> {
    const gone = new Promise<void>(resolve => { this.#onClose = resolve })
    this.#stream?.end(NORMAL_DISCONNECT)
    await within(gone, `the end of ${this.#parts.clientId}`)
  }

  /** Connects again to the stored session, which subscribes by itself. */
  async comeBack (): Promise<void> {
    this.closed = null
    await this.#open()
  }

  ping (): void {
    if (this.closed === null) this.#stream?.write(PINGREQ)
  }

  reset (): void {
    this.seen = nothing()
    this.#gapFromMs = machineMs()
  }

  async #open (): Promise<void> {
    const { ports, transport, clientId, version, persistent, credentials } = this.#parts
    const stream = this.#stream = await openStream(ports, transport)
    stream.on('error', error => { this.closed ??= error.message })
    stream.once('close', () => {
      this.closed ??= 'closed by the broker'
      this.#onClose()
    })
    readPackets(stream, (head, bytes, at, end) => this.#packet(head, bytes, at, end), () => this.#endOfRead())
    const accepted = new Promise<void>(resolve => { this.#onConnack = resolve })
    stream.write(connectPacket({ clientId, version, clean: !persistent, credentials }))
    await within(accepted, `CONNACK for ${clientId}`)
  }

  #packet (head: number, bytes: Buffer, at: number, end: number): void {
    switch (head >> 4) {
      case PUBLISH: return this.#publish(head, bytes, at)
      case PUBREL: return this.#acknowledge(PUBCOMP, bytes.readUInt16BE(at))
      case CONNACK:
        if (bytes[at + 1] !== 0) throw new Error(`${this.#parts.clientId} was refused: ${bytes.toString('hex', at, end)}`)
        return this.#onConnack()
      case SUBACK:
        if ((bytes[end - 1] ?? 0x80) >= 0x80) throw new Error(`${this.#parts.clientId} may not subscribe: ${bytes.toString('hex', at, end)}`)
        return this.#onSuback()
      case DISCONNECT:
        this.closed = `DISCONNECT 0x${(at < end ? bytes[at] ?? 0 : 0).toString(16).padStart(2, '0')}`
        return
      default:
    }
  }

  #publish (head: number, bytes: Buffer, at: number): void {
    const qos = head >> 1 & 3
    let next = at + 2 + bytes.readUInt16BE(at)
    const id = qos === 0 ? 0 : bytes.readUInt16BE(next)
    if (qos > 0) next += 2
    if (this.#parts.version === 5) next = behindProperties(bytes, next)
    this.#note(bytes.readUInt32BE(next))
    if (qos > 0) this.#acknowledge(qos === 1 ? PUBACK : PUBREC, id)
  }

  #note (number: number): void {
    const { seen } = this
    if (this.#marks[number] !== 0) {
      // Numbers start again only after 4 billion messages: outside the table is a fault of the bench, not of the broker.
      if (number > this.#parts.highestNumber) throw new RangeError(`message ${number} is above ${this.#parts.highestNumber}`)
      seen.repeated++
      return
    }
    this.#marks[number] = 1
    if (number < this.#highest) seen.disordered++
    else this.#highest = number
    // One look at the clock for each read: the messages in it came together.
    if (this.#nowMs === 0) {
      this.#nowMs = machineMs()
      seen.longestGapMs = Math.max(seen.longestGapMs, this.#nowMs - this.#gapFromMs)
      seen.lastAtMs = this.#gapFromMs = this.#nowMs
    }
    if (this.#arrivals) this.#arrivals[number] = this.#nowMs
    seen.delivered++
  }

  #acknowledge (type: number, id: number): void {
    if (this.#parts.behaviour === 'never-acks') {
      this.#unacknowledged.add(id)
      return
    }
    if (this.#acksLength + 4 > this.#acks.length) this.#acks = Buffer.concat([this.#acks, Buffer.allocUnsafe(this.#acks.length)])
    const acks = this.#acks
    let at = this.#acksLength
    acks[at++] = type << 4
    acks[at++] = 2
    acks[at++] = id >> 8
    acks[at++] = id & 0xff
    this.#acksLength = at
  }

  #endOfRead (): void {
    this.#nowMs = 0
    if (this.#acksLength === 0) return
    this.#stream?.write(Buffer.from(this.#acks.subarray(0, this.#acksLength)))
    this.#acksLength = 0
  }
}

function nothing (): Seen {
  return { delivered: 0, repeated: 0, disordered: 0, longestGapMs: 0, lastAtMs: 0 }
}

function behindProperties (bytes: Buffer, at: number): number {
  let length = 0
  let shift = 0
  let next = at
  let byte: number
  do {
    byte = bytes[next++] ?? 0
    length += (byte & 0x7f) * 2 ** shift
    shift += 7
  } while (byte >= 0x80)
  return next + length
}
