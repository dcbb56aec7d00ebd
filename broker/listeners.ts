// The doors: MQTT over TCP and over WebSocket, with TLS on both or on none, on one address, with one limit for both.
// Nagle's algorithm is off on every socket: with it a request takes 40 ms. Nothing is said here about MQTT itself.
import { createServer as createHttpServer, type IncomingMessage } from 'node:http'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { createWebSocketStream, WebSocketServer, type WebSocket } from 'ws'
import { systemClock, type Clock } from '../shared/clock.js'
import type { Config } from '../shared/config.js'
import { messageOf, OperatorError } from '../shared/errors.js'
import type { Connection } from './connection.js'
import { Reason } from './reason-codes.js'
import { shortened } from './refusals.js'
import type { Report } from './report.js'
import { Tls, type OnSecure } from './tls.js'

/** Longest wait for connections to end by themselves when the broker closes, in milliseconds. */
const CLOSE_WITHIN_MS = 1_500

/** Connections that the system accepts before the process does: a fleet that comes back at once is more than Node's 511. */
const BACKLOG = 4_096

/** Idle time after which TCP asks whether the other side is still there, in milliseconds. */
const TCP_KEEP_ALIVE_MS = 60_000

/** `mqttv3.1` is what older MQTT 3.1 clients offer. [MQTT-6.0.0-3] */
const SUBPROTOCOLS = ['mqtt', 'mqttv3.1']
const LOOPBACK_NAMES = new Set(['localhost', '127.0.0.1', '[::1]'])

export interface ListenerParts {
  readonly config: Pick<Config, 'host' | 'port' | 'wsPort' | 'limits'> & Partial<Pick<Config, 'wsOrigins' | 'tls'>>
  readonly report: Report
  readonly clock?: Clock
  /** Takes a new connection over. `certificateName` is the common name of the client's certificate, if that is verified. */
  readonly accept: (stream: Duplex, address: string, request?: IncomingMessage, certificateName?: string) => Connection
}

export class Listeners {
  readonly #parts: ListenerParts
  readonly #tcp: Server
  readonly #http: ReturnType<typeof createHttpServer>
  readonly #ws: WebSocketServer
  /** Every open socket of both doors. */
  readonly #sockets = new Set<Socket>()
  readonly #byAddress = new Map<string, number>()
  readonly #certificateNames = new WeakMap<Duplex, string>()
  #tls: Tls | null = null
  #tlsStopped: Promise<void> | undefined

  constructor (parts: ListenerParts) {
    this.#parts = parts
    const { limits } = parts.config
    this.#tcp = createServer({ noDelay: true })
    this.#http = createHttpServer({ noDelay: true, headersTimeout: limits.connectTimeoutMs, requestTimeout: limits.connectTimeoutMs }, (_, response) => {
      response.writeHead(426, { 'content-type': 'text/plain', connection: 'close' }).end('This is MQTT over WebSocket: connect with a MQTT client, subprotocol mqtt.\n')
    })
    this.#http.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head))
    this.#ws = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      // Twice the limit of a packet, so that a packet above the limit can still be told so by MQTT.
      maxPayload: 2 * limits.packetBytes,
      handleProtocols: offered => SUBPROTOCOLS.find(name => offered.has(name)) ?? false
    })
  }

  /**
   * Opens both doors. Throws `OperatorError` that names the port and the fix, or the file of a certificate that cannot be
   * used (`bad_certificate`).
   */
  async open (): Promise<{ port: number, wsPort: number }> {
    const { config: { host, port, wsPort, tls, limits }, report, clock = systemClock } = this.#parts
    if (tls !== undefined) this.#tls = await Tls.open({ settings: tls, clock, report, handshakeMs: limits.connectTimeoutMs })
    this.#openTo(this.#tcp, (socket, name) => { this.#parts.accept(socket, addressOf(socket), undefined, name) })
    const [speakHttp] = this.#http.listeners('connection') as [(this: Server, socket: Socket) => void]
    // Node would speak HTTP with sockets that are not admitted, and not secure yet.
    this.#http.removeAllListeners('connection')
    this.#openTo(this.#http, (socket, name) => {
      if (name !== undefined) this.#certificateNames.set(socket, name)
      speakHttp.call(this.#http, socket)
    })
    try {
      const opened = await listen(this.#tcp, host, port, '--port')
      return { port: opened, wsPort: await listen(this.#http, host, wsPort, '--ws-port') }
    } catch (error) {
      this.#tcp.close()
      await this.#tls?.stop()
      throw error
    }
  }

  /** Lets nobody in any more. */
  stop (): void {
    if (this.#tcp.listening) this.#tcp.close()
    if (this.#http.listening) this.#http.close()
    this.#http.closeAllConnections()
    this.#tlsStopped = this.#tls?.stop()
  }

  /** Resolves when every socket is closed; those that do not close in time are destroyed. */
  async closed (): Promise<void> {
    const timer = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy()
    }, CLOSE_WITHIN_MS)
    await Promise.all([...this.#sockets].map(socket => new Promise<void>(resolve => {
      socket.once('close', () => resolve())
      if (socket.destroyed) resolve()
    })))
    clearTimeout(timer)
    await this.#tlsStopped
  }

  /** Every limit counts before the handshake: that is what costs. */
  #openTo (server: Server, take: (socket: Socket, certificateName?: string) => void): void {
    const enter: (socket: Socket) => void = this.#tls?.door(take satisfies OnSecure) ?? take
    server.on('connection', (socket: Socket) => { if (this.#admit(socket)) enter(socket) })
  }

  #admit (socket: Socket): boolean {
    const { limits } = this.#parts.config
    const address = addressOf(socket)
    const fromThere = this.#byAddress.get(address) ?? 0
    const isOver = this.#sockets.size >= limits.connections ? 'connections' : fromThere >= limits.connectionsPerAddress ? 'connectionsPerAddress' : null
    if (isOver !== null) {
      socket.destroy()
      this.#parts.report.overLimit({ clientId: null, address }, isOver, `it is not let in, there are ${limits[isOver]} connections${isOver === 'connections' ? '' : ' from its address'} (limits.${isOver})`)
      return false
    }
    this.#sockets.add(socket)
    this.#byAddress.set(address, fromThere + 1)
    // A peer that vanished without a word is noticed also when it asked for no keep alive.
    socket.setKeepAlive(true, TCP_KEEP_ALIVE_MS)
    socket.once('close', () => {
      this.#sockets.delete(socket)
      const left = (this.#byAddress.get(address) ?? 1) - 1
      if (left > 0) this.#byAddress.set(address, left)
      else this.#byAddress.delete(address)
    })
    return true
  }

  #upgrade (request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const refusal = this.#refusalOf(request)
    if (refusal !== null) {
      this.#parts.report.broken({ clientId: null, address: addressOf(request.socket) }, refusal.words)
      // Node's own listener is gone from a socket that is upgraded, and an error without one ends the process.
      socket.on('error', () => socket.destroy())
      socket.end(`HTTP/1.1 ${refusal.status}\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n${refusal.words}\n`)
      return
    }
    this.#ws.handleUpgrade(request, socket, head, webSocket => this.#speak(webSocket, request))
  }

  #refusalOf (request: IncomingMessage): { status: string, words: string } | null {
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map(name => name.trim())
    if (!SUBPROTOCOLS.some(name => offered.includes(name))) return { status: '400 Bad Request', words: 'the WebSocket subprotocol must be mqtt' }
    const { origin } = request.headers
    if (origin !== undefined && !this.#isKnown(origin)) {
      return { status: '403 Forbidden', words: `web pages of ${shortened(origin)} may not connect; allow them with the setting wsOrigins` }
    }
    return null
  }

  /**
   * Browsers let any page on the web connect to this machine and tell only in Origin which page it is. Programs send no
   * Origin.
   */
  #isKnown (origin: string): boolean {
    const { host, wsOrigins = [] } = this.#parts.config
    if (wsOrigins.includes(origin)) return true
    if (!URL.canParse(origin)) return false
    const { hostname } = new URL(origin)
    return hostname === host || hostname === `[${host}]` || LOOPBACK_NAMES.has(hostname)
  }

  #speak (webSocket: WebSocket, request: IncomingMessage): void {
    // The stream hears only the first error; a later one must find somebody too.
    webSocket.on('error', () => {})
    const stream = createWebSocketStream(webSocket, {
      // One frame for what aedes writes as six little pieces.
      writev (chunks, done) {
        webSocket.send(Buffer.concat(chunks.map(({ chunk }) => chunk as Buffer)), done)
      }
    })
    const connection = this.#parts.accept(stream, addressOf(request.socket), request, this.#certificateNames.get(request.socket))
    webSocket.on('message', (_, binary) => {
      // [MQTT-6.0.0-1]
      if (!binary) connection.refuse(Reason.malformedPacket, 'MQTT came in a WebSocket text frame')
    })
  }
}

function addressOf (socket: Socket): string {
  return socket.remoteAddress ?? 'unknown'
}

async function listen (server: Server, host: string, port: number, flag: string): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    const failed = (error: Error): void => reject(operatorError(error, host, port, flag))
    server.once('error', failed)
    server.listen({ host, port, backlog: BACKLOG }, () => {
      server.removeListener('error', failed)
      resolve()
    })
  })
  return (server.address() as AddressInfo).port
}

function operatorError (error: Error, host: string, port: number, flag: string): OperatorError {
  const code = 'code' in error ? error.code : undefined
  const options = { cause: error }
  switch (code) {
    case 'EADDRINUSE': return new OperatorError('port_in_use', `port ${port} on ${host} is in use; choose another with ${flag} or stop the program that uses it`, options)
    case 'EACCES': return new OperatorError('port_not_allowed', `port ${port} on ${host} is not allowed for this user; choose one above 1023 with ${flag}`, options)
    case 'EADDRNOTAVAIL': case 'ENOTFOUND': return new OperatorError('bad_host', `${host} is not an address of this machine; choose another with --host`, options)
    default: return new OperatorError('cannot_listen', `cannot listen on ${host}, port ${port}: ${messageOf(error)}`, options)
  }
}
