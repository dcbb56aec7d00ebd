// A connection that writes bytes as it is told, over TCP or in WebSocket frames of its own making, and hands on what
// comes back. The frames are made here because a WebSocket library would not make the odd ones.
import { connect, type Socket } from 'node:net'

export type Transport = 'tcp' | 'ws'

export interface Ports {
  readonly port: number
  readonly wsPort: number
}

/** How MQTT bytes are put in WebSocket frames; over TCP it does not matter. */
export interface Framing {
  /** Payload bytes in one frame; what is more goes on in continuation frames or in frames of its own. */
  readonly pieceBytes: number
  /** Whether the pieces are fragments of one message, or messages. */
  readonly fragments: boolean
  /** A ping frame behind the first piece: one, as too many at once are a reason to end the connection. */
  readonly pings: boolean
  /** A text frame, which MQTT forbids. [MQTT-6.0.0-1] */
  readonly text: boolean
}

export const PLAIN: Framing = { pieceBytes: 65_536, fragments: false, pings: false, text: false }

const OPENING = 'GET /mqtt HTTP/1.1\r\nHost: fuzz\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZnV6emVyIGZ1enplciBmdQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n'
const MOST_PIECES = 2_000
const MASK = Buffer.from([0x12, 0x34, 0x56, 0x78])
const FRAME = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

export interface PeerEvents {
  readonly onBytes: (bytes: Buffer) => void
  /** The broker says no more, or the connection is gone. */
  readonly onEnd: (words: string) => void
  /** The broker broke the rules of WebSocket. */
  readonly onFault: (words: string) => void
}

export class Peer {
  readonly transport: Transport
  /** The other side gave the connection up: what it had said before may be lost. */
  wasReset = false
  readonly #socket: Socket
  readonly #events: PeerEvents
  #received = Buffer.alloc(0)
  #upgraded = false
  #ended = false

  private constructor (socket: Socket, transport: Transport, events: PeerEvents) {
    this.#socket = socket
    this.transport = transport
    this.#events = events
    socket.on('data', (bytes: Buffer) => transport === 'tcp' ? events.onBytes(bytes) : this.#frames(bytes))
    socket.on('error', (error: NodeJS.ErrnoException) => { this.wasReset ||= error.code === 'ECONNRESET' || error.code === 'EPIPE' })
    socket.on('end', () => this.#end())
    socket.on('close', () => this.#end())
  }

  /** Resolves when it can be written to. Rejects when the broker does not take the connection. */
  static async open (ports: Ports, transport: Transport, events: PeerEvents): Promise<Peer> {
    const socket = connect({ port: transport === 'tcp' ? ports.port : ports.wsPort, host: '127.0.0.1', noDelay: true })
    await new Promise((resolve, reject) => { socket.once('connect', resolve).once('error', reject) })
    const peer = new Peer(socket, transport, events)
    // The server's answer need not be waited for: what comes first from it is the answer.
    if (transport === 'ws') socket.write(OPENING)
    return peer
  }

  get ended (): boolean { return this.#ended }

  /** Writes MQTT bytes; over WebSocket in the frames that `framing` says. */
  write (bytes: Buffer, framing: Framing = PLAIN): void {
    if (this.#socket.destroyed || !this.#socket.writable) return
    if (this.transport === 'tcp') this.#socket.write(bytes)
    else this.#socket.write(framed(bytes, framing))
  }

  /** Writes bytes that are no frame. */
  writeRaw (bytes: Buffer): void {
    if (this.#socket.writable) this.#socket.write(bytes)
  }

  /** Stops reading, as a program that hangs. */
  pause (): void { this.#socket.pause() }
  resume (): void { this.#socket.resume() }

  /** Says no more, and hears what is still to come. */
  end (): void {
    if (this.#socket.writable) this.#socket.end()
  }

  /** Node cannot reset a socket that is shutting down already, and never says `close` of it. */
  reset (): void {
    if (this.#socket.writable) this.#socket.resetAndDestroy()
    else this.#socket.destroy()
  }

  destroy (): void { this.#socket.destroy() }

  #end (words = ''): void {
    if (this.#ended) return
    this.#ended = true
    this.#events.onEnd(words)
  }

  #frames (bytes: Buffer): void {
    this.#received = Buffer.concat([this.#received, bytes])
    if (!this.#upgraded) {
      const end = this.#received.indexOf('\r\n\r\n')
      if (end < 0) return
      if (!this.#received.toString('latin1').startsWith('HTTP/1.1 101')) return this.#events.onFault(`the upgrade was refused: ${this.#received.toString('latin1', 0, 80)}`)
      this.#upgraded = true
      this.#received = this.#received.subarray(end + 4)
    }
    for (;;) {
      const frame = frameOf(this.#received)
      if (frame === null) return
      this.#received = this.#received.subarray(frame.end)
      if (frame.opcode === FRAME.binary || frame.opcode === FRAME.continuation) this.#events.onBytes(frame.payload)
      else if (frame.opcode === FRAME.ping) this.writeRaw(frameBytes(FRAME.pong, true, frame.payload))
      else if (frame.opcode === FRAME.close) {
        // The closing handshake: the answer is the same frame back.
        this.writeRaw(frameBytes(FRAME.close, true, frame.payload))
        this.#end(frame.payload.length < 2 ? 'WebSocket close' : `WebSocket close ${frame.payload.readUInt16BE(0)} ${frame.payload.toString('utf8', 2)}`)
        this.end()
      } else if (frame.opcode !== FRAME.pong) this.#events.onFault(`a WebSocket frame with the opcode ${frame.opcode}`)
    }
  }
}

function frameOf (bytes: Buffer): { opcode: number, payload: Buffer, end: number } | null {
  if (bytes.length < 2) return null
  const short = bytes.readUInt8(1) & 127
  const header = short < 126 ? 2 : short === 126 ? 4 : 10
  if (bytes.length < header) return null
  const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2))
  if (bytes.length < header + length) return null
  return { opcode: bytes.readUInt8(0) & 15, payload: bytes.subarray(header, header + length), end: header + length }
}

function framed (bytes: Buffer, { pieceBytes, fragments, pings, text }: Framing): Buffer {
  const frames: Buffer[] = []
  // Very many fragments are a reason to end the connection.
  const size = Math.max(pieceBytes, Math.ceil(bytes.length / MOST_PIECES))
  for (let at = 0; at === 0 || at < bytes.length; at += size) {
    const last = at + size >= bytes.length
    const opcode = fragments && at > 0 ? FRAME.continuation : text ? FRAME.text : FRAME.binary
    frames.push(frameBytes(opcode, !fragments || last, bytes.subarray(at, at + size)))
    if (pings && at === 0 && !last) frames.push(frameBytes(FRAME.ping, true, Buffer.from('are you there')))
  }
  return Buffer.concat(frames)
}

function frameBytes (opcode: number, final: boolean, payload: Buffer): Buffer {
  const first = (final ? 0x80 : 0) | opcode
  const head = payload.length < 126
    ? Buffer.from([first, 0x80 | payload.length])
    : payload.length < 65_536
      ? Buffer.from([first, 0xfe, payload.length >> 8, payload.length & 255])
      : Buffer.concat([Buffer.from([first, 0xff, 0, 0, 0, 0]), uint32(payload.length)])
  const masked = Buffer.from(payload)
  for (let i = 0; i < masked.length; i++) masked.writeUInt8(masked.readUInt8(i) ^ MASK.readUInt8(i & 3), i)
  return Buffer.concat([head, MASK, masked])
}

function uint32 (value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
