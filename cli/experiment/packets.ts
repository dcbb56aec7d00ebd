// MQTT packets as bytes: where each begins and ends in a stream, and the topic of a PUBLISH. Nothing is decoded and made
// anew, so that what is passed on is what was sent.

const PUBLISH = 3
/** The Remaining Length has at most so many bytes. [MQTT-1.5.5-1] */
const LENGTH_BYTES = 4

/** Puts the chunks of one stream together to whole packets. */
export class PacketSplitter {
  #rest: Buffer = Buffer.alloc(0)

  /** The packets that `chunk` completes, in order. Throws when the bytes cannot be MQTT. */
  push (chunk: Buffer): Buffer[] {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    const packets: Buffer[] = []
    let at = 0
    for (let end = endOf(bytes, at); end !== null && end <= bytes.length; end = endOf(bytes, at)) {
      packets.push(bytes.subarray(at, end))
      at = end
    }
    this.#rest = bytes.subarray(at)
    return packets
  }
}

/** The topic of a whole PUBLISH; null for another packet. Empty where a topic alias stands for it. */
export function topicOfPublish (packet: Buffer): string | null {
  if ((packet[0] ?? 0) >> 4 !== PUBLISH) return null
  let at = 1
  while (((packet[at] ?? 0) & 0x80) !== 0) at++
  const topicAt = at + 3
  return packet.toString('utf8', topicAt, topicAt + packet.readUInt16BE(at + 1))
}

/** Where the packet that begins at `at` ends; null while its length is not known. */
function endOf (bytes: Buffer, at: number): number | null {
  let length = 0
  for (let i = 0; i < LENGTH_BYTES; i++) {
    const byte = bytes[at + 1 + i]
    if (byte === undefined) return null
    length += (byte & 0x7f) * 128 ** i
    if ((byte & 0x80) === 0) return at + 2 + i + length
  }
  throw new Error('the bytes are no MQTT: a Remaining Length of more than four bytes')
}
