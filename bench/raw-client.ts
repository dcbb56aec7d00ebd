// MQTT on a raw socket or WebSocket: opening it, and cutting what comes into packets without copying them. Only for
// benches: it trusts the broker to send what MQTT allows.
import { once } from 'node:events'
import { connect } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { createWebSocketStream, WebSocket } from 'ws'
import { CONNACK, connectPacket, PUBACK, PUBLISH, SUBACK, subscribePacket, type ConnectParts, type Credentials } from './mqtt-bytes.js'

export type Transport = 'tcp' | 'ws'

/** How long a broker may take to let somebody in, in milliseconds. */
const PATIENCE_MS = 10_000

/** Where a broker listens on 127.0.0.1. */
export interface Ports {
  readonly port: number
  /** Null: this broker has no WebSocket. */
  readonly wsPort: number | null
  /** The certificate in PEM that the broker shows, when it speaks TLS on both. */
  readonly certificate?: string
  /** Where the clients come from, when that matters; otherwise 127.0.0.1. */
  readonly from?: string
}

/** Opens a connection without Nagle's delay; says nothing yet. */
export async function openStream ({ port, wsPort, certificate, from }: Ports, transport: Transport = 'tcp'): Promise<Duplex> {
  if (transport === 'tcp') {
    const where = { port, host: '127.0.0.1', ...from !== undefined && { localAddress: from } }
    const socket = certificate === undefined ? connect({ ...where, noDelay: true }) : connectTls({ ...where, ca: certificate }).setNoDelay(true)
    await within(once(socket, certificate === undefined ? 'connect' : 'secureConnect'), `a connection to port ${port}`)
    return socket
  }
  if (wsPort === null) throw new Error('this broker has no WebSocket listener')
  const socket = new WebSocket(`${certificate === undefined ? 'ws' : 'wss'}://127.0.0.1:${wsPort}`, 'mqtt', { perMessageDeflate: false, ...certificate !== undefined && { ca: certificate } })
  await within(once(socket, 'open'), `a WebSocket to port ${wsPort}`)
  return createWebSocketStream(socket)
}

/** Opens a connection, sends CONNECT and waits for CONNACK. Throws when it is refused. */
export async function rawConnect (ports: Ports, connecting: ConnectParts, transport: Transport = 'tcp'): Promise<Duplex> {
  const stream = await openStream(ports, transport)
  stream.write(connectPacket(connecting))
  const [connack] = await within(once(stream, 'data'), `CONNACK for ${connecting.clientId}`) as [Buffer]
  if (connack[0] !== CONNACK << 4 || connack[3] !== 0) throw new Error(`no CONNACK but ${connack.toString('hex')}`)
  return stream
}

export interface LoggedIn {
  /** The code of CONNACK; 0 when it was let in. */
  readonly code: number
  /** Milliseconds from the opening of the connection to CONNACK. */
  readonly tookMs: number
}

/** Logs in over TCP with MQTT 3.1.1 and leaves again. Throws when there is no CONNACK. */
export async function logIn (ports: Ports, { clientId, credentials, patienceMs = PATIENCE_MS }: { clientId: string, credentials: Credentials, patienceMs?: number }): Promise<LoggedIn> {
  const startedMs = performance.now()
  const stream = await openStream(ports)
  try {
    stream.write(connectPacket({ clientId, version: 4, clean: true, credentials }))
    const [connack] = await within(once(stream, 'data'), `CONNACK for ${clientId}`, patienceMs) as [Buffer]
    if (connack[0] !== CONNACK << 4) throw new Error(`no CONNACK but ${connack.toString('hex')}`)
    return { code: connack[3] ?? 0xff, tookMs: performance.now() - startedMs }
  } finally {
    stream.on('error', () => {})
    stream.destroy()
  }
}

/** Throws when it takes longer than a broker may: a bench must end. */
export async function within<T> (promise: Promise<T>, what: string, limitMs = PATIENCE_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come within ${limitMs} ms`)), limitMs)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** `bytes` from `at` to `end` is what follows the fixed header. */
export type OnPacket = (head: number, bytes: Buffer, at: number, end: number) => void

/** Cuts a stream into packets; `onRead` is called behind the packets of each read. */
export function readPackets (stream: Duplex, onPacket: OnPacket, onRead: () => void = () => {}): void {
  let rest: Buffer | null = null
  stream.on('data', (chunk: Buffer) => {
    const data = rest === null ? chunk : Buffer.concat([rest, chunk])
    let at = 0
    for (;;) {
      let length = 0
      let shift = 0
      let body = at + 1
      let complete = false
      while (body < data.length) {
        const byte = data[body++] ?? 0
        length += (byte & 0x7f) * 2 ** shift
        shift += 7
        if ((byte & 0x80) === 0) {
          complete = true
          break
        }
      }
      if (!complete || body + length > data.length) break
      onPacket(data[at] ?? 0, data, body, body + length)
      at = body + length
    }
    rest = at === data.length ? null : data.subarray(at)
    onRead()
  })
}

/** Subscribes with QoS 1 and acknowledges what comes; `onMessage` is called for each. */
export async function rawSubscriber (ports: Ports, filter: string, onMessage: () => void): Promise<Duplex> {
  const stream = await rawConnect(ports, { clientId: `bench-sub-${process.pid}`, version: 4, clean: true })
  const granted = new Promise<void>(resolve => {
    let acks: number[] = []
    readPackets(stream, (head, bytes, at) => {
      if (head >> 4 === SUBACK) resolve()
      if (head >> 4 !== PUBLISH) return
      onMessage()
      const idAt = at + 2 + bytes.readUInt16BE(at)
      acks.push(PUBACK << 4, 2, bytes[idAt] ?? 0, bytes[idAt + 1] ?? 0)
    }, () => {
      if (acks.length === 0) return
      stream.write(Buffer.from(acks))
      acks = []
    })
  })
  stream.write(subscribePacket(filter, 1, 4))
  await within(granted, 'SUBACK')
  return stream
}
