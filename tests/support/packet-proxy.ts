// Stands between clients and a broker, shows every packet that passes, and can cut the connections.
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import mqttPacket, { type Packet, type Parser } from 'mqtt-packet'

const PATIENCE_MS = 10_000
/** The first four bits of its packets (MQTT 5.0 section 2.1.2). */
const PUBACK = 4

export interface Seen {
  readonly to: 'broker' | 'client'
  readonly packet: Packet
  /** Connections are numbered in the order in which they were made, from 0. */
  readonly connection: number
}

export class PacketProxy {
  readonly seen: Seen[] = []
  readonly port: number
  /** The broker's PUBACKs do not reach the client. */
  withholdsAcks = false
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #looks = new Set<() => void>()
  readonly #versions: (4 | 5)[] = []

  private constructor (server: Server, brokerPort: number) {
    this.#server = server
    this.port = (server.address() as AddressInfo).port
    let connections = 0
    server.on('connection', client => {
      const connection = connections++
      const broker = connect({ port: brokerPort, host: '127.0.0.1', noDelay: true })
      client.setNoDelay(true)
      this.#join(client, broker, 'broker', connection)
      this.#join(broker, client, 'client', connection)
    })
  }

  static async open (brokerPort: number): Promise<PacketProxy> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new PacketProxy(server, brokerPort)
  }

  get url (): string { return `mqtt://127.0.0.1:${this.port}` }

  /** The packets of one kind that passed in one direction. */
  passed (to: Seen['to'], cmd: Packet['cmd']): Seen[] {
    return this.seen.filter(one => one.to === to && one.packet.cmd === cmd)
  }

  /** Resolves when `count` packets of a kind have passed, with all of them. */
  async until (to: Seen['to'], cmd: Packet['cmd'], count: number): Promise<Seen[]> {
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#looks.delete(look)
        reject(new Error(`${this.passed(to, cmd).length} of ${count} ${cmd} passed to the ${to}`))
      }, PATIENCE_MS)
      const look = (): void => {
        const passed = this.passed(to, cmd)
        if (passed.length < count) return
        clearTimeout(timer)
        this.#looks.delete(look)
        resolve(passed)
      }
      this.#looks.add(look)
      look()
    })
  }

  /** Cuts every connection without a goodbye. */
  cut (): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  /** Safe to call twice. */
  async close (): Promise<void> {
    this.cut()
    if (!this.#server.listening) return
    this.#server.close()
    await once(this.#server, 'close')
  }

  #parser (to: Seen['to'], connection: number): Parser {
    const parser = mqttPacket.parser({ protocolVersion: this.#versions[connection] ?? 5 })
    parser.on('packet', packet => {
      this.seen.push({ to, packet, connection })
      for (const look of this.#looks) look()
    })
    return parser
  }

  #join (from: Socket, into: Socket, to: Seen['to'], connection: number): void {
    let parser: Parser | undefined
    this.#sockets.add(from)
    from.on('data', (chunk: Buffer) => {
      if (!(this.withholdsAcks && to === 'client' && (chunk[0] ?? 0) >> 4 === PUBACK)) into.write(chunk)
      if (to === 'broker') this.#versions[connection] ??= versionOf(chunk)
      parser ??= this.#parser(to, connection)
      parser.parse(chunk)
    })
    from.on('error', () => {})
    from.on('close', () => {
      this.#sockets.delete(from)
      into.destroy()
    })
  }
}

/** The protocol version in a CONNECT: the byte after the protocol's name. */
function versionOf (connect: Buffer): 4 | 5 {
  return connect[connect.indexOf('MQTT') + 4] === 4 ? 4 : 5
}
