// PUBACK and PUBREC as bytes. A batch of them for one client becomes one buffer: one write instead of hundreds.
import mqttPacket from 'mqtt-packet'
import { Reason } from './reason-codes.js'

/** The first byte of the packet that acknowledges a PUBLISH. */
export const AckType = { puback: 0x40, pubrec: 0x50 } as const
export type AckType = (typeof AckType)[keyof typeof AckType]

const PLAIN_ACK_BYTES = 4

/** What a client told in CONNECT that bears on what it may be sent. */
export interface AckLimits {
  readonly version: 3 | 4 | 5 | null
  /** False when it wants no Reason Strings outside CONNACK and DISCONNECT. [MQTT-3.1.2-29] */
  readonly problemInformation: boolean
  /** Largest packet that it takes, in bytes. */
  readonly maxPacketBytes: number
}

export class AckBatch {
  #bytes = Buffer.allocUnsafe(PLAIN_ACK_BYTES * 16)
  #length = 0

  get empty (): boolean { return this.#length === 0 }

  /** An acknowledgement without a reason: success, or all that 3.1.1 can say. */
  plain (type: AckType, messageId: number): void {
    const at = this.#length
    this.#reserve(PLAIN_ACK_BYTES)
    this.#bytes[at] = type
    this.#bytes[at + 1] = 2
    this.#bytes[at + 2] = messageId >> 8
    this.#bytes[at + 3] = messageId & 0xff
  }

  /** A refusal with its reason code and, where the client wants it and has room for it, the reason in words. */
  refusal (type: AckType, messageId: number, reason: Reason, words: string, limits: AckLimits): void {
    if (limits.version !== 5) {
      this.plain(type, messageId)
      return
    }
    const packet = { cmd: type === AckType.puback ? 'puback' : 'pubrec', messageId, reasonCode: reason } as const
    const bytes = generate({ ...packet, properties: { reasonString: words } })
    const fits = limits.problemInformation && bytes.length <= limits.maxPacketBytes
    this.#append(fits ? bytes : generate(packet))
  }

  /** The bytes so far, as a buffer of their own; the batch is empty afterwards. */
  take (): Buffer {
    const bytes = Buffer.from(this.#bytes.subarray(0, this.#length))
    this.#length = 0
    return bytes
  }

  #append (bytes: Buffer): void {
    const at = this.#length
    this.#reserve(bytes.length)
    bytes.copy(this.#bytes, at)
  }

  #reserve (count: number): void {
    this.#length += count
    if (this.#length <= this.#bytes.length) return
    const larger = Buffer.allocUnsafe(this.#length * 2)
    this.#bytes.copy(larger)
    this.#bytes = larger
  }
}

/** The last words to a connected MQTT 5.0 client: DISCONNECT with the reason in words where they fit. */
export function disconnectBytes (reason: Reason, words: string, maxPacketBytes: number): Buffer {
  const bytes = generate({ cmd: 'disconnect', reasonCode: reason, properties: { reasonString: words } })
  return bytes.length <= maxPacketBytes ? bytes : generate({ cmd: 'disconnect', reasonCode: reason })
}

/** The answer to a CONNECT that is not accepted: null where the version has no code for it. */
export function connackBytes (reason: Reason, words: string, version: 3 | 4 | 5): Buffer | null {
  if (version === 5) return generate({ cmd: 'connack', sessionPresent: false, reasonCode: reason, properties: { reasonString: words } })
  if (reason !== Reason.unsupportedProtocolVersion) return null
  return mqttPacket.generate({ cmd: 'connack', sessionPresent: false, returnCode: 1 }, { protocolVersion: version })
}

function generate (packet: mqttPacket.Packet): Buffer {
  return mqttPacket.generate(packet, { protocolVersion: 5 })
}
