// A client that says exactly the bytes it is told to, over TCP or WebSocket, with TLS or without, and shows exactly what came back.
import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import mqttPacket, { type IConnackPacket, type IConnectPacket, type Packet, type Parser } from 'mqtt-packet'
import { createWebSocketStream, WebSocket } from 'ws'
import { afterThisTest } from './broker.js'

export type Version = 3 | 4 | 5
export type Transport = 'tcp' | 'ws' | 'tls' | 'wss'

type ConnectOptions = Partial<Omit<IConnectPacket, 'cmd' | 'protocolVersion' | 'protocolId'>>

/** Fails a test that waits for something that does not come, well before the test's own limit. */
const PATIENCE_MS = 5_000

export class RawClient {
  readonly version: Version
  readonly stream: Duplex
  /** Every byte that came, in order. */
  bytes = Buffer.alloc(0)
  readonly packets: Packet[] = []
  /** Errors of the connection, such as a reset. */
  readonly errors: Error[] = []
  #seen = 0
  #closed = false
  #wake: (() => void)[] = []
  readonly #parser: Parser

  private constructor (stream: Duplex, version: Version) {
    this.stream = stream
    this.version = version
    this.#parser = mqttPacket.parser({ protocolVersion: version })
    this.#parser.on('packet', packet => {
      this.packets.push(packet)
      this.#notify()
    })
    this.#parser.on('error', () => {})
    stream.on('data', (chunk: Buffer) => {
      this.bytes = Buffer.concat([this.bytes, chunk])
      this.#parser.parse(chunk)
    })
    stream.on('error', error => this.errors.push(error))
    const closed = (): void => {
      this.#closed = true
      this.#notify()
    }
    // A WebSocket's stream says only `end` when the other side closes.
    stream.on('end', closed)
    stream.on('close', closed)
    afterThisTest(() => this.destroy())
  }

  /** Opens a connection and says nothing yet. `secure` is for `tls` and `wss`: `ca` at least. */
  static async open (ports: { port: number, wsPort: number }, version: Version = 5, transport: Transport = 'tcp', secure: ConnectionOptions = {}): Promise<RawClient> {
    if (transport === 'ws' || transport === 'wss') {
      const socket = new WebSocket(`${transport}://127.0.0.1:${ports.wsPort}`, 'mqtt', transport === 'wss' ? secure : {})
      await new Promise((resolve, reject) => { socket.once('open', resolve).once('error', reject) })
      return new RawClient(createWebSocketStream(socket), version)
    }
    const socket: Socket = transport === 'tls'
      ? connectTls({ port: ports.port, host: '127.0.0.1', ...secure }).setNoDelay(true)
      : connect({ port: ports.port, host: '127.0.0.1', noDelay: true })
    await new Promise((resolve, reject) => { socket.once(transport === 'tls' ? 'secureConnect' : 'connect', resolve).once('error', reject) })
    return new RawClient(socket, version)
  }

  /** Opens a connection and is let in. */
  static async connected (ports: { port: number, wsPort: number }, version: Version = 5, options: ConnectOptions & { transport?: Transport, secure?: ConnectionOptions } = {}): Promise<RawClient> {
    const { transport, secure, ...connectOptions } = options
    const client = await RawClient.open(ports, version, transport, secure)
    await client.connect(connectOptions)
    return client
  }

  async connect (options: ConnectOptions = {}): Promise<IConnackPacket> {
    this.send({
      cmd: 'connect', clientId: `raw-${Math.random().toString(36).slice(2)}`, clean: true, keepalive: 0, ...options,
      protocolId: this.version === 3 ? 'MQIsdp' : 'MQTT', protocolVersion: this.version
    })
    const connack = await this.next()
    if (connack.cmd !== 'connack') throw new Error(`${connack.cmd} came instead of connack`)
    return connack
  }

  send (...packets: Packet[]): void {
    this.write(...packets.map(packet => mqttPacket.generate(packet, { protocolVersion: this.version })))
  }

  /** Writes bytes, or hexadecimal strings of them, in one piece. */
  write (...bytes: (Buffer | string)[]): void {
    this.stream.write(Buffer.concat(bytes.map(part => typeof part === 'string' ? Buffer.from(part, 'hex') : part)))
  }

  /** The next packet that was not asked for before. Throws when the connection closes instead. */
  async next (): Promise<Packet> {
    await this.#until(() => this.packets.length > this.#seen || this.#closed, 'a packet')
    const packet = this.packets[this.#seen++]
    if (packet === undefined) throw new Error('the connection was closed instead')
    return packet
  }

  /** The next packet of this kind, passing over others. */
  async nextOf<C extends Packet['cmd']> (cmd: C): Promise<Extract<Packet, { cmd: C }>> {
    for (;;) {
      const packet = await this.next()
      if (packet.cmd === cmd) return packet as Extract<Packet, { cmd: C }>
    }
  }

  /**
   * Says PINGREQ and returns what came before its answer: a broker handles the packets of a connection in order, so
   * whatever was to be sent at once has been sent.
   */
  async flushed (): Promise<Packet[]> {
    const from = this.#seen
    this.send({ cmd: 'pingreq' })
    await this.nextOf('pingresp')
    return this.packets.slice(from, this.#seen - 1)
  }

  /** Resolves when the connection is closed. */
  async closed (): Promise<void> {
    await this.#until(() => this.#closed, 'the end of the connection')
  }

  get isClosed (): boolean { return this.#closed }

  destroy (): void {
    this.stream.destroy()
  }

  async #until (holds: () => boolean, what: string): Promise<void> {
    const untilMs = Date.now() + PATIENCE_MS
    while (!holds()) {
      const leftMs = untilMs - Date.now()
      if (leftMs <= 0) throw new Error(`waited ${PATIENCE_MS} ms for ${what}; so far ${JSON.stringify(this.packets)}`)
      let timer
      await new Promise<void>(resolve => {
        this.#wake.push(resolve)
        timer = setTimeout(resolve, leftMs)
      })
      clearTimeout(timer)
    }
  }

  #notify (): void {
    for (const wake of this.#wake.splice(0)) wake()
  }
}
