// One fuzzing client: says bytes, judges what it says, acknowledges what comes by its habit, and holds everything that
// the broker says against the standard. It does not decide whether the whole went well: that is play.ts.
import mqttPacket from 'mqtt-packet'
import type { Random } from '../support/mqtt-bytes.js'
import { TYPE } from './client-packets.js'
import { Conversation, type Before } from './conversation.js'
import { packed, uint16 } from './drafts.js'
import { Judge, type Announced } from './judge.js'
import type { AckHabit } from './life.js'
import { Peer, PLAIN, type Framing, type Ports, type Transport } from './peer.js'
import { ServerReader, type ServerPacket } from './server-packets.js'

/** How long an answer may take, in milliseconds. */
const PATIENCE_MS = 10_000

const UNSUPPORTED_VERSION = 0x84

export interface ClientParts {
  readonly ports: Ports
  readonly transport: Transport
  readonly announced: Announced
  readonly habit: AckHabit
  readonly random: Random
  /** The connection that this client had before, if it comes back. */
  readonly before?: Before | null
  /** Called for each message from the broker. */
  readonly onPublish?: (packet: ServerPacket) => void
}

export class Client {
  readonly judge: Judge
  readonly conversation: Conversation
  /** Everything that was said. */
  readonly said: Buffer[] = []
  readonly heard: Buffer[] = []
  /** The first thing that the broker did wrong. */
  fault: string | null = null
  /** A WebSocket text frame was sent: the broker must end the connection and need not say more. */
  forbiddenFrame = false
  /** It broke a rule and lost the words about it in a reset. */
  unheard = false
  /** How WebSocket says that the connection ended. */
  endedWith = ''
  readonly #parts: ClientParts
  #peer!: Peer
  #reader: ServerReader | null = null
  readonly #acks: Buffer[] = []
  readonly #waiting = new Set<() => void>()

  private constructor (parts: ClientParts) {
    this.#parts = parts
    this.conversation = new Conversation(parts.before ?? null)
    this.judge = new Judge(parts.announced, packet => this.conversation.sent(packet))
  }

  static async open (parts: ClientParts): Promise<Client> {
    const client = new Client(parts)
    client.#peer = await Peer.open(parts.ports, parts.transport, {
      onBytes: bytes => client.#hear(bytes),
      onEnd: words => {
        client.endedWith = words
        client.#wake()
      },
      onFault: words => client.#wrong(words)
    })
    return client
  }

  get ended (): boolean { return this.#peer.ended }
  /** Last words may have been lost on the way. */
  get wasReset (): boolean { return this.#peer.wasReset }
  /** Whether CONNACK has let it in. */
  get isIn (): boolean { return this.conversation.connack?.reason === 0 }
  /** Whether something that need not be refused may be said now. */
  get maySay (): boolean { return this.judge.violation === null && !this.judge.over && !this.judge.unfinished && !this.ended && !this.forbiddenFrame }

  say (bytes: Buffer, framing: Framing = PLAIN): void {
    this.said.push(bytes)
    if (framing.text && this.#peer.transport === 'ws') this.forbiddenFrame = true
    // Before it is written: its answer may come at any time after.
    if (!this.forbiddenFrame) this.judge.push(bytes)
    this.#peer.write(bytes, framing)
  }

  /** Says PINGREQ, if it may, and waits until nothing is missing any more or the broker has ended the connection. */
  async settle (): Promise<void> {
    if (!this.maySay || !this.isIn) return
    this.resume()
    this.flushAcks()
    this.say(Buffer.from([0xc0, 0]))
    const missing = this.conversation.dueNow()
    await this.until(() => this.ended || missing().length === 0, () => `the answers ${missing().join(', ')}`)
  }

  pause (): void { this.#peer.pause() }
  resume (): void { this.#peer.resume() }
  end (): void { this.#peer.end() }
  reset (): void { this.#peer.reset() }
  destroy (): void { this.#peer.destroy() }

  /** Rejects with what was waited for when it does not come, and with the fault as soon as there is one. */
  async until (holds: () => boolean, what: () => string): Promise<void> {
    const untilMs = performance.now() + PATIENCE_MS
    for (;;) {
      if (this.fault !== null) throw new Error(this.fault)
      if (holds()) return
      const leftMs = untilMs - performance.now()
      if (leftMs <= 0) throw new Error(`waited ${PATIENCE_MS} ms for ${what()}`)
      await new Promise<void>(resolve => {
        const wake = (): void => {
          clearTimeout(timer)
          this.#waiting.delete(wake)
          resolve()
        }
        const timer = setTimeout(wake, leftMs)
        this.#waiting.add(wake)
      })
    }
  }

  /** Says the acknowledgements that are due, if no packet is half said. */
  flushAcks (): void {
    if (!this.maySay || this.#acks.length === 0) return
    this.say(Buffer.concat(this.#acks.splice(0)))
  }

  #wake (): void {
    for (const wake of this.#waiting) wake()
  }

  #wrong (words: string): void {
    this.fault ??= words
    this.#wake()
  }

  #hear (bytes: Buffer): void {
    this.heard.push(bytes)
    // A version that nobody knows has no rules.
    if (this.judge.violation?.reasons.has(UNSUPPORTED_VERSION)) return
    try {
      const version = this.judge.version ?? 4
      this.#reader ??= new ServerReader(version, packet => this.#heard(packet))
      this.#reader.push(bytes)
    } catch (error) {
      this.#wrong(String(error))
    }
    if (this.#parts.habit !== 'late') this.flushAcks()
    this.#wake()
  }

  #heard (packet: ServerPacket): void {
    this.conversation.received(packet)
    if (packet.type === TYPE.pubrec && packet.reason >= 0x80) this.judge.freed(packet.id)
    if (packet.type === TYPE.publish) {
      this.#parts.onPublish?.(packet)
      const qos = (packet.flags >> 1) & 3
      if (qos > 0) this.#acknowledge(qos === 1 ? TYPE.puback : TYPE.pubrec, packet.id)
    } else if (packet.type === TYPE.pubrel) {
      this.#acknowledge(TYPE.pubcomp, packet.id)
    }
  }

  #acknowledge (type: number, id: number): void {
    const { habit, random } = this.#parts
    if (habit === 'never') return
    const refused = habit === 'with errors' && type !== TYPE.pubcomp && this.judge.version === 5 && random.chance(0.4)
    const wrong = habit === 'with errors' && this.judge.version !== 5 && random.chance(0.1)
    const ack = packed({ first: (wrong ? random.pick([4, 5, 7]) : type) << 4, head: [uint16(id), ...refused ? [Buffer.from([random.pick([0x80, 0x83, 0x97])])] : []], properties: null, tail: [] })
    this.#acks.push(ack)
    if (habit === 'twice' && random.chance(0.5)) this.#acks.push(ack)
  }

  /** Keeps only the last of the record: for a client that lives long. */
  forget (): void {
    if (this.said.length > 200) this.said.splice(0, 100)
    if (this.heard.length > 200) this.heard.splice(0, 100)
  }

  /** mqtt-packet's opinion of what was heard: an error in words, or null. */
  secondOpinion (): string | null {
    let said: string | null = null
    const parser = mqttPacket.parser({ protocolVersion: this.judge.version ?? 4 })
    parser.on('error', (error: Error) => { said = `mqtt-packet cannot read what the broker sent: ${error.message}` })
    parser.parse(Buffer.concat(this.heard))
    return said
  }

  /** Both sides in hex, for a report; what is long is cut. */
  get record (): string {
    const hex = (parts: readonly Buffer[]): string => {
      const text = parts.map(part => part.toString('hex')).join(' ')
      return text.length <= 6_000 ? text : `${text.slice(0, 6_000)}... (${text.length} characters)`
    }
    return `sent ${hex(this.said)}\n  heard ${hex(this.heard)}`
  }
}
