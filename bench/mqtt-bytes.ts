// The bytes of the MQTT packets that benches send, encoded beforehand where it can be done: a load generator must not be
// the bottleneck. Only for benches: no more of MQTT than they ask for, and nothing that checks a value.

/** 4 is MQTT 3.1.1. */
export type MqttVersion = 4 | 5
export type Qos = 0 | 1 | 2

export const CONNACK = 2
export const PUBLISH = 3
export const PUBACK = 4
export const PUBREC = 5
export const PUBREL = 6
export const PUBCOMP = 7
export const SUBACK = 9
export const DISCONNECT = 14

/** How long a persistent MQTT 5.0 session of a bench is kept, in seconds. */
const SESSION_EXPIRY_SECONDS = 3_600

/** Who a client says it is. */
export interface Credentials {
  readonly user: string
  readonly password: string
}

export interface ConnectParts {
  readonly clientId: string
  readonly version: MqttVersion
  /** False: the session is taken up again and kept when the connection ends. */
  readonly clean: boolean
  /** Where the broker has users. */
  readonly credentials?: Credentials | undefined
}

const CLEAN = 0x02
const WITH_USER_AND_PASSWORD = 0xc0

/** CONNECT without a keep alive. */
export function connectPacket ({ clientId, version, clean, credentials }: ConnectParts): Buffer {
  const flags = (clean ? CLEAN : 0) | (credentials === undefined ? 0 : WITH_USER_AND_PASSWORD)
  const said = credentials === undefined ? [] : [string(credentials.user), string(credentials.password)]
  const properties = version === 4 ? Buffer.alloc(0) : clean ? Buffer.from([0]) : Buffer.from([5, 0x11, 0, 0, ...uint16(SESSION_EXPIRY_SECONDS)])
  return packet(0x10, Buffer.concat([string('MQTT'), Buffer.from([version, flags, 0, 0]), properties, string(clientId), ...said]))
}

/** SUBSCRIBE to one filter with packet identifier 1. */
export function subscribePacket (filter: string, qos: Qos, version: MqttVersion): Buffer {
  return packet(0x82, Buffer.concat([uint16(1), version === 5 ? Buffer.from([0]) : Buffer.alloc(0), string(filter), Buffer.from([qos])]))
}

export const PINGREQ = Buffer.from([0xc0, 0])
/** DISCONNECT as MQTT 3.1.1 and 5.0 both understand it. */
export const NORMAL_DISCONNECT = Buffer.from([0xe0, 0])

/** The bytes of a QoS 1 PUBLISH of MQTT 3.1.1. */
export function publishPacket (topic: string, payload: string, messageId: number): Buffer {
  return packet(0x32, Buffer.concat([string(topic), uint16(messageId), Buffer.from(payload)]))
}

/**
 * Makes many PUBLISH packets of MQTT 3.1.1 that differ only in their packet identifier and in the number with which
 * their payload begins (4 bytes, big-endian; see `Subscriber`).
 */
export class PublishTemplate {
  readonly #bytes: Buffer
  readonly #idAt: number
  readonly #numberAt: number

  constructor (topic: string, qos: Qos, payloadBytes: number) {
    if (payloadBytes < 4) throw new RangeError(`a payload of ${payloadBytes} bytes has no room for the number of the message, which takes 4`)
    const body = Buffer.concat([string(topic), qos > 0 ? uint16(1) : Buffer.alloc(0), Buffer.alloc(payloadBytes, 'x')])
    this.#bytes = packet(0x30 | qos << 1, body)
    this.#numberAt = this.#bytes.length - payloadBytes
    this.#idAt = qos > 0 ? this.#numberAt - 2 : -1
  }

  get length (): number { return this.#bytes.length }

  /** The packets of the messages `first` to `first + count - 1` behind each other. */
  packets (first: number, count: number): Buffer {
    const { length } = this
    const all = Buffer.allocUnsafe(length * count)
    for (let i = 0; i < count; i++) {
      this.#bytes.copy(all, i * length)
      if (this.#idAt >= 0) all.writeUInt16BE(packetIdOf(first + i), i * length + this.#idAt)
      all.writeUInt32BE(first + i, i * length + this.#numberAt)
    }
    return all
  }
}

/** The packet identifier of the message with this number. */
export function packetIdOf (number: number): number {
  return (number - 1) % 65_535 + 1
}

/** A packet with its fixed header. */
export function packet (head: number, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from([head, ...varint(body.length)]), body])
}

/** A UTF-8 string behind its length. */
export function string (text: string): Buffer {
  const bytes = Buffer.from(text)
  return Buffer.concat([uint16(bytes.length), bytes])
}

export function uint16 (n: number): Buffer {
  return Buffer.from([n >> 8, n & 0xff])
}

export function varint (n: number): number[] {
  const bytes: number[] = []
  do {
    const more = n >= 128
    bytes.push((n % 128) | (more ? 0x80 : 0))
    n = Math.floor(n / 128)
  } while (n > 0)
  return bytes
}
