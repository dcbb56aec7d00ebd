// One network connection: reads it, lets the decoder and the guard look at every packet before aedes does, writes the
// acknowledgements that the bus decides, and ends it with a reason code. It reads no further while too much of what
// came is not dealt with, and never shows aedes a packet that did not pass.
import type { Duplex } from 'node:stream'
import mqttPacket from 'mqtt-packet'
import { AckBatch, AckType, connackBytes, disconnectBytes, type AckLimits } from './acks.js'
import type { AedesClient } from './aedes-internals.js'
import { Decoder } from './decoder.js'
import { Guard, type RefusedPublish } from './guard.js'
import { endGracefully } from './linger.js'
import type { InboundPacket, PublishPacket } from './packets.js'
import { PacketError, Reason } from './reason-codes.js'
import type { Report, Who } from './report.js'
import { aedesWouldMangle, subscribeOneByOne } from './subscribe.js'

/** Packets of one connection that may be in work before no more is read from it. */
const MAX_IN_WORK = 1_000
/** Their size in all, in bytes; a single larger packet is read nevertheless. */
const MAX_IN_WORK_BYTES = 256 * 1024
/** What aedes-persistence says of a packet that it has not. */
const NOT_IN_THE_QUEUE = 'no such packet'
/** MQTT's own limit: 1 byte, 4 bytes of length, 268,435,455 bytes. */
const ANY_PACKET_BYTES = 268_435_460

export interface ConnectionParts {
  readonly client: AedesClient
  readonly address: string
  /** Largest packet that is accepted, in bytes. */
  readonly maxPacketBytes: number
  readonly report: Report
  /** A QoS 2 identifier of this client is free again. */
  readonly onRelease: (clientId: string, messageId: number) => void
}

export class Connection implements AckLimits {
  readonly client: AedesClient
  readonly #conn: Duplex
  readonly #parts: ConnectionParts
  readonly #decoder: Decoder
  readonly #guard = new Guard()
  readonly #acks = new AckBatch()
  /** To be called when the acknowledgements are written. */
  #settled: (() => void)[] = []
  #inWork = 0
  #inWorkBytes = 0
  #reading = false
  /** Stopped reading because of the limits above: the stream will not call again by itself. */
  #stalled = false
  #connectPassed = false
  /** Between CONNECT and CONNACK nothing more is looked at. */
  #awaitingConnack = false
  #ended = false
  problemInformation = true
  maxPacketBytes = ANY_PACKET_BYTES

  /** Takes over the reading of a client that `aedes.handle` made in this same turn of the event loop. */
  constructor (parts: ConnectionParts) {
    this.#parts = parts
    this.client = parts.client
    this.#conn = parts.client.conn
    this.#decoder = new Decoder({ maxPacketBytes: parts.maxPacketBytes, onPacket: packet => this.#inspect(packet) })
    const { client } = this
    client.subscriptions = Object.create(null) as Record<string, unknown>
    client._parsingBatch = 0
    this.#conn.removeListener('readable', client._nextBatch)
    this.#conn.on('readable', () => this.#read())
    client._nextBatch = error => this.#dealtWith(error)
    client.pause = () => {}
    client.resume = () => this.#proceed()
    // aedes would destroy the connection right behind the words, which may lose them.
    client.disconnect = ({ reasonCode = Reason.unspecified }, done) => {
      this.end(reasonCode as Reason, wordsOf(reasonCode))
      this.#whenGone(done ?? (() => {}))
    }
    client.removeListener('error', client._onError)
    client.on('error', error => this.#failed(error))
  }

  /** For log lines. */
  get who (): Who { return { clientId: this.client.id, address: this.#parts.address } }
  get version (): 3 | 4 | 5 | null { return this.#decoder.version }
  /** Whether nothing more will be written. */
  get ended (): boolean { return this.#ended || this.client.closed }

  /** Notes the answer to a PUBLISH with QoS above 0; `flush` writes it. */
  acknowledge (packet: PublishPacket, refused: RefusedPublish | null = null): void {
    if (packet.messageId === undefined) return
    const type = packet.qos === 1 ? AckType.puback : AckType.pubrec
    if (refused === null) this.#acks.plain(type, packet.messageId)
    else this.#acks.refusal(type, packet.messageId, refused.reason, refused.words, this)
    if (packet.qos === 1 || refused !== null) this.#guard.acknowledged(packet)
  }

  /** A PUBLISH that aedes forwards (and with QoS 1 acknowledges at once). */
  leaveToAedes (packet: PublishPacket): void {
    // What the sender says of its own retransmission is not for subscribers. [MQTT-3.3.1-3]
    packet.dup = false
    if (packet.qos === 1) this.#guard.acknowledged(packet)
    if (packet.retain || packet.qos > 0) packet.payload = ownBytes(packet.payload)
  }

  /** `done` is called by `flush`, or later when the client is slow to read its acknowledgements. */
  afterFlush (done: () => void): void {
    this.#settled.push(done)
  }

  /** Writes the noted acknowledgements at once. */
  flush (): void {
    if (!this.#acks.empty) {
      const bytes = this.#acks.take()
      if (!this.ended) this.#conn.write(bytes)
    }
    const settled = this.#settled
    if (settled.length === 0) return
    this.#settled = []
    this.whenDrained(() => {
      for (const done of settled) done()
    })
  }

  /** Calls `done` now, or when a client that does not read has caught up: until then it is not read from either. */
  whenDrained (done: () => void): void {
    if (this.#conn.writableNeedDrain && !this.ended) this.client.waitForDrain(() => done())
    else done()
  }

  /** Closes the connection of a client that broke the rules: counted, logged, and told where its version can say it. */
  refuse (reason: Reason, words: string): void {
    if (this.ended) return
    this.#parts.report.malformed(this.who, reason, words)
    this.end(reason, words)
  }

  /** Closes the connection: an MQTT 5.0 client gets the reason in DISCONNECT, or in CONNACK if that is still due. */
  end (reason: Reason, words: string): void {
    if (this.ended) return
    this.#ended = true
    endGracefully(this.#conn, this.#lastWords(reason, words), detached => this.client.close(detached))
  }

  /**
   * Calls `done` when aedes has cleared up behind this client. aedes itself does not wait for a client that is closing
   * already: a new one with the same id takes over, and is then cleared away in the place of the old one.
   */
  #whenGone (done: () => void): void {
    if (this.client.connected || this.client.connecting) setImmediate(() => this.#whenGone(done))
    else done()
  }

  #lastWords (reason: Reason, words: string): Buffer | null {
    if (this.version === null) return null
    // aedes writes CONNACK in the turn in which it registers the client, and says so a turn later.
    const { client } = this
    const connackSent = client.connackSent || (client.id !== null && client.broker.clients[client.id] === client)
    if (connackSent) return this.version === 5 ? disconnectBytes(reason, words, this.maxPacketBytes) : null
    return this.#connectPassed ? null : connackBytes(reason, words, this.version)
  }

  #read (): void {
    this.#guarded(() => {
      for (;;) {
        if (this.ended || this.#awaitingConnack) return
        if (this.#inWork >= MAX_IN_WORK || (this.#inWork > 0 && this.#inWorkBytes >= MAX_IN_WORK_BYTES)) {
          this.#stalled = true
          return
        }
        const chunk = this.#conn.read() as Buffer | null
        if (chunk === null) return
        this.#decoder.push(chunk)
      }
    })
  }

  /** CONNACK is written: what came behind CONNECT is looked at now. */
  #proceed (): void {
    if (!this.#awaitingConnack) return
    this.#awaitingConnack = false
    this.#guarded(() => this.#decoder.proceed())
    this.#read()
  }

  /** Nothing that a client sends may throw further than this. */
  #guarded (action: () => void): void {
    // aedes calls back in the middle of a packet; the loop that is running goes on with what that made possible.
    if (this.#reading) return
    this.#reading = true
    try {
      action()
    } catch (error) {
      if (error instanceof PacketError) {
        this.refuse(error.reason, error.message)
      } else {
        this.#parts.report.log.error({ err: error, ...this.who }, 'a packet could not be handled; its connection is closed')
        this.end(Reason.unspecified, 'the broker could not handle a packet')
      }
    } finally {
      this.#reading = false
    }
  }

  #inspect (packet: InboundPacket): void {
    if (this.ended) return
    const refused = this.#guard.inspect(packet)
    if (refused !== null && packet.cmd === 'publish') {
      this.#refusePublish(packet, refused)
      return
    }
    if (packet.cmd === 'connect') {
      this.problemInformation = packet.properties?.requestProblemInformation ?? true
      this.maxPacketBytes = packet.properties?.maximumPacketSize ?? ANY_PACKET_BYTES
      this.#connectPassed = true
      this.#awaitingConnack = true
      this.#decoder.hold()
    } else if (packet.cmd === 'pubrel') {
      this.#parts.onRelease(this.client.id ?? '', packet.messageId)
    } else if (packet.cmd === 'disconnect') {
      // Nothing may follow. [MQTT-3.14.4-2]
      this.#decoder.hold()
    }
    this.#inWork++
    this.#inWorkBytes += packet.length
    if (packet.cmd === 'subscribe' && aedesWouldMangle(packet)) subscribeOneByOne(this.client, packet, () => this.#dealtWith())
    else if (packet.cmd === 'pubrec' && packet.reasonCode < Reason.unspecified && !this.client.clean) this.#pubrec(packet.messageId)
    else this.client._parser.emit('packet', packet)
  }

  /** aedes closes the connection of a stored session for an identifier that it does not know; MQTT has a code for it. */
  #pubrec (messageId: number): void {
    const release = (reasonCode: number): void => {
      const pubrel = mqttPacket.generate({ cmd: 'pubrel', messageId, reasonCode }, { protocolVersion: this.version ?? 4 })
      if (!this.ended) this.#conn.write(pubrel)
      this.#dealtWith()
    }
    this.client.broker.persistence.outgoingUpdate(this.client, { cmd: 'pubrel', messageId, reasonCode: Reason.success })
      .then(() => release(Reason.success), () => release(Reason.packetIdentifierNotFound))
  }

  #refusePublish (packet: PublishPacket, refused: RefusedPublish): void {
    this.#parts.report.malformed(this.who, refused.reason, refused.words)
    this.acknowledge(packet, refused)
    this.flush()
  }

  /** aedes is done with one packet. */
  #dealtWith (error?: Error | null): void {
    if (error) this.client.emit('error', error)
    if (this.#inWork > 0) {
      // Which packet it was is not said: an average keeps the sum right over all of them.
      this.#inWorkBytes -= this.#inWorkBytes / this.#inWork
      this.#inWork--
    }
    if (!this.#stalled) return
    this.#stalled = false
    this.#read()
  }

  /** An error inside aedes or of the network. */
  #failed (error: Error): void {
    // A message was on its way while this stored session subscribed: it came too late for the stored queue, and aedes
    // takes that for a fault of the client. It is one that the subscription need not have seen.
    if (this.#ended || error.message === NOT_IN_THE_QUEUE) return
    const ofTheNetwork = this.#conn.destroyed || 'code' in error || !this.client.connackSent
    if (ofTheNetwork) this.client._onError(error)
    else {
      this.#parts.report.broken(this.who, error)
      this.end(Reason.unspecified, error.message)
    }
  }
}

/** aedes ends a connection itself for one reason that the guard does not see before. */
function wordsOf (reasonCode: number): string {
  return reasonCode === Reason.sessionTakenOver ? 'another connection uses this client id now' : 'the broker closed the connection'
}

/**
 * The payload without the rest of the read that it came in: a retained or queued message of ten bytes would keep up to
 * 64 KB of its neighbours in memory.
 */
function ownBytes (payload: Buffer): Buffer {
  if (payload.buffer.byteLength <= 2 * payload.length + 1_024) return payload
  const own = Buffer.allocUnsafeSlow(payload.length)
  payload.copy(own)
  return own
}
