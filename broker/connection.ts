// One network connection: reads it, lets the decoder and the guard look at every packet before it is handled, keeps the
// acknowledgements in the order of their messages, and ends it with a reason code. It reads no further while too much
// of what came is not dealt with, or while its client does not read what it is told.
import type { Duplex } from 'node:stream'
import { rightsOf, type Rights } from './access.js'
import { AckLine } from './ack-line.js'
import { AckType, connackBytes, disconnectBytes, reasonedAck, type AckLimits } from './acks.js'
import type { AedesClient } from './aedes-internals.js'
import { Decoder } from './decoder.js'
import { Guard, type GuardLimits, type RefusedPublish } from './guard.js'
import { endGracefully } from './linger.js'
import { Outlet } from './outlet.js'
import type { ConnectPacket, InboundPacket, PublishPacket, Will } from './packets.js'
import { Rate } from './rate.js'
import { PacketError, Reason } from './reason-codes.js'
import type { Report, Who } from './report.js'
import type { Session } from './session.js'
import type { Traffic } from './traffic.js'

/** Messages of one connection that may be in work before no more of it is handled; it goes on with half as many. */
const MAX_IN_WORK = 1_000
/** Their size in all, in bytes; a single larger one is handled nevertheless. */
const MAX_IN_WORK_BYTES = 256 * 1024
/** Acknowledgements that may be due: also what is refused or comes again has one, behind those of messages in work. */
const MAX_DUE = 2_000
/** The same when some were handed over to who bounds what it keeps: each may stand for a large message. */
const MAX_LARGE_DUE = 16
/** Packets of one connection that are handled before it is the turn of the others. */
const AT_ONCE = 128
/** Bytes that a client may leave unread before it is not read from either. */
const MAX_UNREAD_BYTES = 256 * 1024
/** How long it may do so, in milliseconds. */
const UNREAD_WITHIN_MS = 60_000
/** MQTT's own limit: 1 byte, 4 bytes of length, 268,435,455 bytes. */
const ANY_PACKET_BYTES = 268_435_460

export interface ConnectionLimits extends GuardLimits {
  /** Largest packet that is accepted, in bytes. */
  readonly packetBytes: number
  readonly publishesPerSecond: number
}

export interface ConnectionParts {
  readonly client: AedesClient
  readonly address: string
  /** Common name of a client certificate that was checked; null without one. */
  readonly certificateName: string | null
  readonly limits: ConnectionLimits
  readonly report: Report
  readonly traffic: Traffic
  /** Handles a packet that passed; CONNECT is aedes' own. */
  readonly handle: (connection: Connection, packet: Exclude<InboundPacket, ConnectPacket>) => void
}

/** What CONNECT asked for, as far as it lasts. */
export interface Terms {
  readonly keepAliveMs: number
  readonly receiveMaximum: number
  readonly topicAliasMaximum: number
  readonly will: Will | undefined
}

/** Before it is known who it is. */
const NOBODY: Rights = rightsOf({ user: null, role: 'device', lots: [] })

export class Connection implements AckLimits {
  readonly client: AedesClient
  readonly parts: ConnectionParts
  /** Null until CONNACK, and when the connection is gone. */
  session: Session | null = null
  /** What its client may do, once it is known who it is. */
  rights = NOBODY
  /** How long the session lives after this connection, in seconds. */
  expirySeconds = 0
  /** Published when the connection ends, unless its client takes it back. */
  will: Will | undefined = undefined
  readonly #conn: Duplex
  readonly #decoder: Decoder
  readonly #guard: Guard
  readonly #rate: Rate
  #outlet: Outlet | null = null
  /** Of the messages that came on this connection. */
  readonly acks = new AckLine((packet, refused) => this.#acknowledge(packet, refused), () => this.#relieve())
  #inWork = 0
  #inWorkBytes = 0
  #maxDue = MAX_DUE
  #reading = false
  /** How the connection goes on when less is in work. */
  #stalled: (() => void) | null = null
  /** Why the packets after the present one wait: CONNACK, others, too much in work, slow subscribers, the rate, the end. */
  #holds = 0
  #sinceTurn = 0
  #connect: ConnectPacket | null = null
  #keepAlive: NodeJS.Timeout | null = null
  #unread: NodeJS.Timeout | null = null
  #ended = false
  readonly #gone = new AbortController()
  problemInformation = true
  maxPacketBytes = ANY_PACKET_BYTES

  /** Takes over the reading of a client that `aedes.handle` made in this same turn of the event loop. */
  constructor (parts: ConnectionParts) {
    this.parts = parts
    this.client = parts.client
    this.#conn = parts.client.conn
    this.#guard = new Guard(parts.limits)
    this.#rate = new Rate(parts.limits.publishesPerSecond)
    this.#decoder = new Decoder({ maxPacketBytes: parts.limits.packetBytes, onPacket: packet => this.#inspect(packet) })
    const { client } = this
    this.#conn.removeListener('readable', client._nextBatch)
    this.#conn.on('readable', () => this.#read())
    client._parsingBatch = 0
    client._nextBatch = error => { if (error) client.emit('error', error) }
    client.pause = () => {}
    client.resume = () => {}
    // aedes would destroy the connection right behind the words, which may lose them.
    client.disconnect = ({ reasonCode = Reason.unspecified }, done) => {
      this.end(reasonCode as Reason, wordsOf(reasonCode))
      this.#whenGone(done ?? (() => {}))
    }
    client.removeListener('error', client._onError)
    client.on('error', error => this.#failed(error))
    this.#conn.once('close', () => this.#stopTimers())
  }

  /** For log lines. */
  get who (): Who { return { clientId: this.client.id, address: this.parts.address } }
  get version (): 3 | 4 | 5 | null { return this.#decoder.version }
  /** Whether nothing more will be written. */
  get ended (): boolean { return this.#ended || this.client.closed }
  /** Aborted when it has ended, before another connection with the same client id is let in. */
  get gone (): AbortSignal { return this.#gone.signal }
  /** The CONNECT packet of a connection that is not let in yet. */
  get connectPacket (): ConnectPacket | null { return this.#connect }

  /** Lets the client in: CONNACK, then what its session has for it, then what came behind CONNECT. */
  welcome (session: Session, connack: Buffer, { keepAliveMs, receiveMaximum, topicAliasMaximum, will }: Terms): void {
    const { client } = this
    this.session = session
    this.will = will
    this.#connect = null
    client.connackSent = true
    client.connecting = false
    client.connected = true
    if (keepAliveMs > 0) {
      this.#keepAlive = setTimeout(() => {
        // What it has sent may be waiting to be read.
        if (this.#holds > 0) this.#keepAlive?.refresh()
        else this.end(Reason.keepAliveTimeout, 'nothing came within one and a half times the keep alive')
      }, keepAliveMs)
    }
    this.#outlet = new Outlet({
      conn: this.#conn, v5: this.version === 5, maxPacketBytes: this.maxPacketBytes, receiveMaximum, topicAliasMaximum, traffic: this.parts.traffic,
      ended: () => this.ended,
      onDrain: () => this.#drained(),
      onOverflow: () => this.end(Reason.quotaExceeded, 'too many messages that may not be dropped wait for this client; it must read and acknowledge faster')
    })
    this.parts.traffic.answered()
    this.parts.traffic.wrote(connack.length)
    this.#conn.write(connack)
    session.attach(this.#outlet)
    this.#release()
  }

  /** Writes a packet at the end of this turn. A client that takes no packet of its size is closed. [MQTT-3.1.2-24] */
  write (bytes: Buffer): void {
    if (bytes.length > this.maxPacketBytes) this.end(Reason.packetTooLarge, 'an answer is larger than what the client takes')
    else this.#outlet?.packet(bytes)
  }

  /** The other acknowledgements: PUBREL and PUBCOMP. */
  ack (type: AckType, messageId: number, reason: Reason = Reason.success): void {
    if (reason === Reason.success || this.version !== 5) this.#outlet?.plain(type, messageId)
    else this.#outlet?.packet(reasonedAck(type, messageId, reason, null, this))
  }

  /** Writes at once what would be written at the end of this turn. */
  flush (): void {
    this.#outlet?.flush()
  }

  /** Something else than a PUBLISH is in work until what this returns is called. To be called while a packet is handled. */
  begin (): () => void {
    this.#inWork++
    this.#stallIfBusy()
    return () => this.dealtWith({ length: 0 })
  }

  /** A PUBLISH is settled and has gone on to its subscribers. */
  dealtWith ({ length }: Pick<PublishPacket, 'length'>): void {
    this.#inWork--
    this.#inWorkBytes -= length
    this.#relieve()
  }

  /** A PUBLISH is with a consumer that bounds what it keeps: it is read on for newer ones. To be called while a packet is handled. */
  handedOver (packet: Pick<PublishPacket, 'length'>): void {
    this.#maxDue = MAX_LARGE_DUE
    this.dealtWith(packet)
    this.#stallIfBusy()
  }

  #stallIfBusy (): void {
    if (this.#inWork >= MAX_IN_WORK || this.#inWorkBytes >= MAX_IN_WORK_BYTES || this.acks.length >= this.#maxDue) this.#stalled ??= this.hold()
  }

  #relieve (): void {
    if (this.#stalled === null || this.#inWork * 2 > MAX_IN_WORK || this.#inWorkBytes * 2 > MAX_IN_WORK_BYTES || this.acks.length * 2 > this.#maxDue) return
    const goOn = this.#stalled
    this.#stalled = null
    goOn()
  }

  /** Nothing more of this connection is handled until what this returns is called. To be called while a packet is handled. */
  hold (): () => void {
    this.#holds++
    this.#decoder.hold()
    return () => this.#release()
  }

  /** Closes the connection of a client that broke the rules: counted, logged, and told where its version can say it. */
  refuse (reason: Reason, words: string): void {
    if (this.ended) return
    this.parts.report.malformed(this.who, reason, words)
    this.end(reason, words)
  }

  /** Closes the connection: an MQTT 5.0 client gets the reason in DISCONNECT, or in CONNACK if that is still due. */
  end (reason: Reason, words: string): void {
    if (this.ended) return
    // What was answered before is still told.
    this.#outlet?.flush()
    this.#ended = true
    this.#stopTimers()
    const lastWords = this.#lastWords(reason, words)
    if (lastWords !== null) {
      this.parts.traffic.answered()
      this.parts.traffic.wrote(lastWords.length)
    }
    endGracefully(this.#conn, lastWords, detached => this.client.close(detached))
  }

  /** The client has said DISCONNECT: nothing more is said to it but what was on its way. */
  leave (): void {
    if (this.ended) return
    this.#outlet?.flush()
    this.#ended = true
    this.#stopTimers()
    endGracefully(this.#conn, null, detached => this.client.close(detached))
  }

  /** aedes has let go of the client, and the next one with its id is let in. */
  detach (): void {
    this.session = null
    // With a reason of its own: the usual one costs a stack trace for each connection.
    this.#gone.abort('the connection has ended')
  }

  #acknowledge (packet: PublishPacket, refused: RefusedPublish | null): void {
    const type = packet.qos === 1 ? AckType.puback : AckType.pubrec
    const messageId = packet.messageId ?? 0
    if (refused === null || this.version !== 5) this.#outlet?.plain(type, messageId)
    else this.#outlet?.packet(reasonedAck(type, messageId, refused.reason, refused.words, this))
    if (packet.qos === 1 || refused !== null) this.#guard.acknowledged(packet)
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
    if (this.#outlet !== null) return this.version === 5 ? disconnectBytes(reason, words, this.maxPacketBytes) : null
    return connackBytes(reason, words, this.version, this.maxPacketBytes)
  }

  #read (): void {
    this.#guarded(() => {
      for (;;) {
        if (this.ended || this.#holds > 0) return
        if (this.#conn.writableLength > MAX_UNREAD_BYTES) {
          this.#unread ??= setTimeout(() => this.end(Reason.quotaExceeded, 'the client does not read what it is told'), UNREAD_WITHIN_MS)
          return
        }
        const chunk = this.#conn.read() as Buffer | null
        if (chunk === null) return
        this.#keepAlive?.refresh()
        this.parts.traffic.read(chunk.length)
        this.#decoder.push(chunk)
      }
    })
  }

  #drained (): void {
    if (this.#unread !== null) {
      clearTimeout(this.#unread)
      this.#unread = null
      this.#read()
    }
    this.session?.drained()
  }

  #release (): void {
    if (--this.#holds > 0) return
    // The decoder is in the middle of what it handed over: it goes on when that is done.
    if (this.#reading) setImmediate(() => this.#goOn())
    else this.#goOn()
  }

  #goOn (): void {
    if (this.#holds > 0) return
    this.#guarded(() => this.#decoder.proceed())
    this.#read()
  }

  /** Nothing that a client sends may throw further than this. */
  #guarded (action: () => void): void {
    // Called back in the middle of a packet: the loop that is running goes on with what that made possible.
    if (this.#reading) return
    this.#reading = true
    try {
      action()
    } catch (error) {
      if (error instanceof PacketError) {
        this.refuse(error.reason, error.message)
      } else {
        this.parts.report.log.error({ err: error, ...this.who }, 'a packet could not be handled; its connection is closed')
        this.end(Reason.unspecified, 'the broker could not handle a packet')
      }
    } finally {
      this.#reading = false
    }
  }

  #inspect (packet: InboundPacket): void {
    if (this.ended) return
    this.parts.traffic.received(packet)
    if (++this.#sinceTurn >= AT_ONCE) {
      this.#sinceTurn = 0
      setImmediate(this.hold())
    }
    if (packet.cmd === 'connect') {
      this.problemInformation = packet.properties?.requestProblemInformation ?? true
      this.maxPacketBytes = packet.properties?.maximumPacketSize ?? ANY_PACKET_BYTES
    }
    const refused = this.#guard.inspect(packet)
    if (packet.cmd === 'connect') {
      this.#connect = packet
      this.hold()
      this.client._parser.emit('packet', packet)
      return
    }
    if (packet.cmd === 'publish') {
      if (refused !== null) {
        this.#refusePublish(packet, refused)
        return
      }
      this.#inWork++
      this.#inWorkBytes += packet.length
      this.#stallIfBusy()
      const waitMs = this.#rate.take(performance.now())
      if (waitMs > 0) {
        this.parts.traffic.limitedPublishes++
        this.parts.report.metrics.overLimit.inc({ limit: 'publishes' })
        setTimeout(this.hold(), waitMs)
      }
    } else if (packet.cmd === 'disconnect') {
      // Nothing may follow. [MQTT-3.14.4-2]
      this.hold()
    }
    this.parts.handle(this, packet)
  }

  #refusePublish (packet: PublishPacket, refused: RefusedPublish): void {
    this.parts.report.malformed(this.who, refused.reason, refused.words)
    if (packet.qos === 0) return
    this.acks.expect(packet)
    this.acks.answer(packet, refused)
    this.#stallIfBusy()
  }

  #stopTimers (): void {
    if (this.#keepAlive !== null) clearTimeout(this.#keepAlive)
    if (this.#unread !== null) clearTimeout(this.#unread)
  }

  /** An error inside aedes or of the network. */
  #failed (error: Error): void {
    if (this.#ended) return
    const ofTheNetwork = this.#conn.destroyed || 'code' in error || !this.client.connackSent
    if (ofTheNetwork) this.client._onError(error)
    else {
      this.parts.report.broken(this.who, error)
      this.end(Reason.unspecified, error.message)
    }
  }
}

/** aedes ends a connection itself for one reason that the guard does not see before. */
function wordsOf (reasonCode: number): string {
  return reasonCode === Reason.sessionTakenOver ? 'another connection uses this client id now' : 'the broker closed the connection'
}
