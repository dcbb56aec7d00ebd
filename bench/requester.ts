// One client that makes requests on a raw MQTT 5.0 connection: filled-in packets out, replies matched by their Correlation
// Data. Every request must be acknowledged once and answered once; whatever else comes is counted.
import type { Duplex } from 'node:stream'
import { CONNACK, connectPacket, DISCONNECT, NORMAL_DISCONNECT, PUBACK, PUBLISH, SUBACK, subscribePacket } from './mqtt-bytes.js'
import { newMessage5, readMessage5 } from './message5.js'
import { openStream, readPackets, within, type Ports } from './raw-client.js'
import type { Asked, Asker } from './workloads.js'

/** What came, of all requesters of a run together. */
export interface Tally {
  sent: number
  /** PUBACKs below 0x80 and from 0x80 on: parkmq says there whether it took a request. */
  acknowledged: number
  refusedByBroker: number
  answered: number
  ok: number
  /** Replies that say why not, by code. */
  refused: Record<string, number>
  /** Replies to what was answered before, and replies to nothing that was asked. */
  repeated: number
  strange: number
  /** Replies that parkmq marked as given before, to requests that were made once. */
  replayed: number
}

export function newTally (): Tally {
  return { sent: 0, acknowledged: 0, refusedByBroker: 0, answered: 0, ok: 0, refused: {}, repeated: 0, strange: 0, replayed: 0 }
}

interface Outstanding {
  readonly asked: Asked
  readonly intendedMs: number
  readonly sentMs: number
}

export interface RequesterParts {
  readonly ports: Ports
  readonly clientId: string
  readonly replyTo: string
  readonly asker: Asker
  /** `echo`: the reply is the request's own payload, which tells nothing about success. */
  readonly answers: 'replies' | 'echo'
  readonly tally: Tally
  /** Called at each answer, before the next request may be made. Times by `performance.now()`. */
  readonly onAnswer: (requester: Requester, asked: Asked, intendedMs: number, sentMs: number, nowMs: number) => void
}

/** `{"ok":true`: the seventh byte tells. */
const OK_AT = 6
const LETTER_T = 't'.charCodeAt(0)

export class Requester {
  readonly #parts: RequesterParts
  readonly #message = newMessage5()
  readonly #outstanding = new Map<number, Outstanding>()
  readonly #unacknowledged = new Set<number>()
  #stream: Duplex | null = null
  #out: Buffer[] = []
  #isReading = false
  #number = 0
  #onConnack: () => void = () => {}
  #onSuback: () => void = () => {}
  /** Why the broker closed the connection; null while it is open. */
  closed: string | null = null

  private constructor (parts: RequesterParts) {
    this.#parts = parts
  }

  /** Connects and subscribes to its replies at QoS 1. Throws when the broker does not let it. */
  static async connect (parts: RequesterParts): Promise<Requester> {
    const requester = new Requester(parts)
    await requester.#open()
    return requester
  }

  /** Requests without an answer. */
  get outstanding (): number { return this.#outstanding.size }

  get unacknowledged (): number { return this.#unacknowledged.size }

  /** Makes the next request. False when there is none to make, or nobody to make it to. `intendedMs`: when it was due. */
  ask (intendedMs: number, tidying = false): boolean {
    if (this.closed !== null) return false
    const asked = this.#parts.asker.next(tidying)
    if (asked === null) return false
    const number = ++this.#number
    const packetId = (number - 1) % 65_535 + 1
    const { template } = asked
    template.hole('packetId').writeUInt16BE(packetId)
    template.hole('correlation').writeUInt32BE(number)
    this.#outstanding.set(number, { asked, intendedMs, sentMs: performance.now() })
    this.#unacknowledged.add(packetId)
    this.#parts.tally.sent++
    this.#write(template.copy())
    return true
  }

  close (): void {
    this.closed ??= 'closed by the bench'
    this.#stream?.end(NORMAL_DISCONNECT)
  }

  async #open (): Promise<void> {
    const { ports, clientId, replyTo } = this.#parts
    const stream = this.#stream = await openStream(ports)
    stream.on('error', error => { this.closed ??= error.message })
    stream.once('close', () => { this.closed ??= 'closed by the broker' })
    readPackets(stream, (head, bytes, at, end) => {
      this.#isReading = true
      this.#packet(head, bytes, at, end)
    }, () => {
      this.#isReading = false
      this.#flush()
    })
    const accepted = new Promise<void>(resolve => { this.#onConnack = resolve })
    stream.write(connectPacket({ clientId, version: 5, clean: true }))
    await within(accepted, `CONNACK for ${clientId}`)
    const granted = new Promise<void>(resolve => { this.#onSuback = resolve })
    stream.write(subscribePacket(replyTo, 1, 5))
    await within(granted, `SUBACK for ${clientId}`)
  }

  #packet (head: number, bytes: Buffer, at: number, end: number): void {
    switch (head >> 4) {
      case PUBLISH: return this.#reply(head, bytes, at, end)
      case PUBACK: return this.#acknowledged(bytes.readUInt16BE(at), end - at > 2 ? bytes[at + 2] ?? 0 : 0)
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

  #acknowledged (packetId: number, reason: number): void {
    const { tally } = this.#parts
    if (!this.#unacknowledged.delete(packetId)) tally.strange++
    else if (reason < 0x80) tally.acknowledged++
    else tally.refusedByBroker++
  }

  #reply (head: number, bytes: Buffer, at: number, end: number): void {
    const nowMs = performance.now()
    const message = this.#message
    readMessage5(message, head, bytes, at)
    if (message.qos > 0) this.#write(Buffer.from([PUBACK << 4, 2, message.packetId >> 8, message.packetId & 0xff]))
    const { tally, answers, asker, onAnswer } = this.#parts
    const number = message.correlationEnd - message.correlationAt === 4 ? bytes.readUInt32BE(message.correlationAt) : 0
    const outstanding = this.#outstanding.get(number)
    if (outstanding === undefined) {
      if (number > 0 && number <= this.#number) tally.repeated++
      else tally.strange++
      return
    }
    this.#outstanding.delete(number)
    tally.answered++
    if (message.hasUserProperty) tally.replayed++
    const ok = answers === 'echo' || bytes[message.payloadAt + OK_AT] === LETTER_T
    if (ok) tally.ok++
    else {
      const code = codeOf(bytes.toString('utf8', message.payloadAt, end))
      tally.refused[code] = (tally.refused[code] ?? 0) + 1
    }
    asker.answered(outstanding.asked, ok, bytes, message.payloadAt, end)
    onAnswer(this, outstanding.asked, outstanding.intendedMs, outstanding.sentMs, nowMs)
  }

  /** What is written while packets are read goes out behind the last of them: PUBACK and the next request in one write. */
  #write (bytes: Buffer): void {
    this.#out.push(bytes)
    if (!this.#isReading) this.#flush()
  }

  #flush (): void {
    const [first] = this.#out
    if (first === undefined) return
    if (this.closed === null) this.#stream?.write(this.#out.length === 1 ? first : Buffer.concat(this.#out))
    this.#out = []
  }
}

function codeOf (reply: string): string {
  return /"code":"([a-z_]+)"/.exec(reply)?.[1] ?? `no reply: ${reply.slice(0, 60)}`
}
