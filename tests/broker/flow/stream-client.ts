// A client for many messages: it acknowledges or not, reads or not, as a test says, keeps what came by topic, and keeps
// count of what is unacknowledged. It must not keep the bytes: a burst is longer than a test's memory.
import { once } from 'node:events'
import { connect } from 'node:net'
import type { Duplex } from 'node:stream'
import mqttPacket, { type IConnectPacket, type IPublishPacket, type ISubscription, type Packet, type QoS } from 'mqtt-packet'
import { createWebSocketStream, WebSocket } from 'ws'
import { afterThisTest } from '../../support/broker.js'
import type { Transport, Version } from '../../support/raw-client.js'

export type Ports = { readonly port: number, readonly wsPort: number }

export interface StreamOptions {
  readonly version?: Version
  readonly transport?: Transport
  /** Whether it acknowledges by itself; default true. */
  readonly acks?: boolean
  readonly connect?: Partial<Omit<IConnectPacket, 'cmd' | 'protocolVersion' | 'protocolId'>>
  /** Called for each message instead of keeping its payload. */
  readonly onMessage?: (message: IPublishPacket) => void
}

const PATIENCE_MS = 20_000
let made = 0

export class StreamClient {
  readonly version: Version
  readonly stream: Duplex
  readonly #options: StreamOptions
  readonly #parser: mqttPacket.Parser
  /** Payloads by topic, in the order in which they came, without repeats of an exchange that is open. */
  readonly got = new Map<string, string[]>()
  /** All messages with their repeats. */
  count = 0
  /** Of packets other than messages. */
  readonly seen: Record<string, number> = {}
  /** Packet identifiers that came and are not acknowledged to their end. */
  readonly open = new Map<number, QoS>()
  /** The most that were open at once. */
  mostOpen = 0
  connack: Extract<Packet, { cmd: 'connack' }> | null = null
  /** The reason code of the broker's DISCONNECT. */
  told: number | null = null
  isClosed = false
  acks: boolean
  #acks: Buffer[] = []
  #wake: (() => void)[] = []

  private constructor (stream: Duplex, options: StreamOptions) {
    this.stream = stream
    this.version = options.version ?? 5
    this.acks = options.acks ?? true
    this.#options = options
    this.#parser = mqttPacket.parser({ protocolVersion: this.version })
    this.#parser.on('packet', packet => this.#take(packet))
    this.#parser.on('error', error => { throw error })
    stream.on('data', (chunk: Buffer) => {
      this.#parser.parse(chunk)
      if (this.#acks.length > 0) this.stream.write(Buffer.concat(this.#acks.splice(0)))
      for (const wake of this.#wake.splice(0)) wake()
    })
    const closed = (): void => {
      this.isClosed = true
      for (const wake of this.#wake.splice(0)) wake()
    }
    stream.on('error', closed).on('end', closed).on('close', closed)
    afterThisTest(() => { stream.destroy() })
  }

  /** Opens a connection and is let in. */
  static async connected (ports: Ports, options: StreamOptions = {}): Promise<StreamClient> {
    const client = new StreamClient(await openStream(ports, options.transport ?? 'tcp'), options)
    client.send({
      cmd: 'connect', clientId: `stream-${++made}`, clean: true, keepalive: 0, ...options.connect,
      protocolId: client.version === 3 ? 'MQIsdp' : 'MQTT', protocolVersion: client.version
    })
    await client.until(() => client.connack !== null, 'CONNACK')
    return client
  }

  /** A client with one subscription. */
  static async subscriber (ports: Ports, filter: string | ISubscription[], qos: QoS, options: StreamOptions = {}): Promise<StreamClient> {
    const client = await StreamClient.connected(ports, options)
    const before = client.seen.suback ?? 0
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: typeof filter === 'string' ? [{ topic: filter, qos }] : filter })
    await client.until(() => (client.seen.suback ?? 0) > before, 'SUBACK')
    return client
  }

  send (...packets: Packet[]): void {
    this.stream.write(Buffer.concat(packets.map(packet => mqttPacket.generate(packet, { protocolVersion: this.version }))))
  }

  /** Writes messages with numbers from 1 as payloads, padded to `bytes`, as fast as the socket takes them. */
  async publishNumbered (topic: string | ((number: number) => string), count: number, qos: QoS, bytes = 0): Promise<void> {
    const pad = 'x'.repeat(bytes)
    for (let from = 1; from <= count; from += 200) {
      const packets: Buffer[] = []
      for (let number = from; number < from + 200 && number <= count; number++) {
        packets.push(mqttPacket.generate({
          cmd: 'publish', topic: typeof topic === 'string' ? topic : topic(number), payload: `${number} ${pad}`.slice(0, Math.max(bytes, String(number).length + 1)), qos, dup: false, retain: false,
          ...(qos > 0 && { messageId: number % 65_535 + 1 })
        }, { protocolVersion: this.version }))
      }
      if (!this.stream.write(Buffer.concat(packets))) await this.#writable()
    }
  }

  /** Resolves when the stream takes more, or is closed. */
  async #writable (): Promise<void> {
    const done = new AbortController()
    try {
      await Promise.race(['drain', 'close'].map(event => once(this.stream, event, { signal: done.signal })))
    } finally {
      done.abort()
    }
  }

  /** What is the least: everything published so far was answered. */
  async published (count: number, qos: QoS): Promise<void> {
    if (qos === 0) await this.ping()
    else await this.until(() => (this.seen[qos === 1 ? 'puback' : 'pubcomp'] ?? 0) >= count, `${count} acknowledgements`)
  }

  /** What was sent before is handled. */
  async ping (): Promise<void> {
    const before = this.seen.pingresp ?? 0
    this.send({ cmd: 'pingreq' })
    await this.until(() => (this.seen.pingresp ?? 0) > before, 'PINGRESP')
  }

  /** Acknowledges what is open, up to `count` messages of QoS 1. */
  ackOpen (count = Infinity): void {
    for (const [messageId, qos] of [...this.open].slice(0, count)) {
      if (qos === 1) this.open.delete(messageId)
      this.send(qos === 1 ? { cmd: 'puback', messageId } : { cmd: 'pubrec', messageId })
    }
  }

  payloads (topic: string): string[] {
    return this.got.get(topic) ?? []
  }

  /** The numbers that `publishNumbered` put into the payloads. */
  numbers (topic: string): number[] {
    return this.payloads(topic).map(payload => parseInt(payload, 10))
  }

  /** Resolves when something holds that changes with what comes. */
  async until (holds: () => boolean, what: string): Promise<void> {
    const endMs = Date.now() + PATIENCE_MS
    while (!holds()) {
      const leftMs = endMs - Date.now()
      if (this.isClosed && !holds()) throw new Error(`the connection was closed instead of ${what}; told ${this.told}`)
      if (leftMs <= 0) throw new Error(`waited in vain for ${what}; ${this.count} messages came and ${JSON.stringify(this.seen)}`)
      let timer
      await new Promise<void>(resolve => {
        this.#wake.push(resolve)
        timer = setTimeout(resolve, leftMs)
      })
      clearTimeout(timer)
    }
  }

  async closed (): Promise<void> {
    await this.until(() => this.isClosed, 'the end of the connection')
  }

  #take (packet: Packet): void {
    this.seen[packet.cmd] = (this.seen[packet.cmd] ?? 0) + 1
    if (packet.cmd === 'connack') this.connack = packet
    if (packet.cmd === 'disconnect') this.told = packet.reasonCode ?? 0
    if (packet.cmd === 'publish') this.#message(packet)
    // Of its own messages.
    if (packet.cmd === 'pubrec') this.#answer(0x62, packet.messageId ?? 0)
    if (packet.cmd === 'pubrel' && this.acks) {
      this.open.delete(packet.messageId ?? 0)
      this.#answer(0x70, packet.messageId ?? 0)
    }
  }

  #message (packet: IPublishPacket): void {
    this.count++
    const { qos, messageId = 0, topic, payload } = packet
    const isRepeat = qos === 2 && this.open.has(messageId)
    if (qos > 0) {
      this.open.set(messageId, qos)
      this.mostOpen = Math.max(this.mostOpen, this.open.size)
    }
    if (!isRepeat) {
      if (this.#options.onMessage) this.#options.onMessage(packet)
      else {
        const list = this.got.get(topic)
        if (list) list.push(payload.toString())
        else this.got.set(topic, [payload.toString()])
      }
    }
    if (!this.acks || qos === 0) return
    this.#answer(qos === 1 ? 0x40 : 0x50, messageId)
    if (qos === 1) this.open.delete(messageId)
  }

  #answer (first: number, messageId: number): void {
    this.#acks.push(Buffer.from([first, 2, messageId >> 8, messageId & 0xff]))
  }
}

async function openStream (ports: Ports, transport: Transport): Promise<Duplex> {
  if (transport === 'ws') {
    const socket = new WebSocket(`ws://127.0.0.1:${ports.wsPort}`, 'mqtt', { perMessageDeflate: false })
    await once(socket, 'open')
    return createWebSocketStream(socket)
  }
  const socket = connect({ port: ports.port, host: '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  return socket
}

/** 1 to `count`. */
export function upTo (count: number, from = 1): number[] {
  return Array.from({ length: Math.max(0, count - from + 1) }, (_, i) => from + i)
}
