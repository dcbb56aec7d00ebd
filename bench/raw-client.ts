// MQTT 3.1.1 on a raw socket with packets that were encoded beforehand: a load generator must not be the bottleneck.
// Only for benches: it understands no more than what it asked for.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** Opens a socket without Nagle's delay and waits for CONNACK. */
export async function rawConnect (port: number, clientId: string): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  const id = string(clientId)
  socket.write(packet(0x10, Buffer.concat([Buffer.from('00044d5154540402003c', 'hex'), id])))
  const [connack] = await once(socket, 'data') as [Buffer]
  if (connack[0] !== 0x20 || connack[3] !== 0) throw new Error(`no CONNACK but ${connack.toString('hex')}`)
  return socket
}

/** The bytes of a QoS 1 PUBLISH. */
export function publishPacket (topic: string, payload: string, messageId: number): Buffer {
  return packet(0x32, Buffer.concat([string(topic), uint16(messageId), Buffer.from(payload)]))
}

function packet (head: number, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from([head, ...varint(body.length)]), body])
}

function string (text: string): Buffer {
  const bytes = Buffer.from(text)
  return Buffer.concat([uint16(bytes.length), bytes])
}

function uint16 (n: number): Buffer {
  return Buffer.from([n >> 8, n & 0xff])
}

function varint (n: number): number[] {
  const bytes: number[] = []
  do {
    const more = n >= 128
    bytes.push((n % 128) | (more ? 0x80 : 0))
    n = Math.floor(n / 128)
  } while (n > 0)
  return bytes
}

/** Cuts a stream into packets and calls `onPacket` with the first byte and the body of each. */
export function readPackets (socket: Socket, onPacket: (head: number, body: Buffer) => void): void {
  let rest: Buffer = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    const data = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk
    let at = 0
    for (;;) {
      let length = 0
      let shift = 0
      let end = at + 1
      let complete = false
      while (end < data.length) {
        const byte = data[end++] ?? 0
        length += (byte & 0x7f) * 2 ** shift
        shift += 7
        if ((byte & 0x80) === 0) {
          complete = true
          break
        }
      }
      if (!complete || end + length > data.length) break
      onPacket(data[at] ?? 0, data.subarray(end, end + length))
      at = end + length
    }
    rest = data.subarray(at)
  })
}

/** Subscribes with QoS 1 and acknowledges what comes; `onMessage` is called for each. */
export async function rawSubscriber (port: number, filter: string, onMessage: () => void): Promise<Socket> {
  const socket = await rawConnect(port, `bench-sub-${process.pid}`)
  const granted = new Promise<void>(resolve => {
    let acks: Buffer[] = []
    readPackets(socket, (head, body) => {
      if (head >> 4 === 9) resolve()
      if (head >> 4 !== 3) return
      onMessage()
      const topic = body.readUInt16BE(0)
      if (acks.length === 0) {
        setImmediate(() => {
          socket.write(Buffer.concat(acks))
          acks = []
        })
      }
      acks.push(Buffer.from([0x40, 2, body[2 + topic] ?? 0, body[3 + topic] ?? 0]))
    })
  })
  socket.write(packet(0x82, Buffer.concat([uint16(1), string(filter), Buffer.from([1])])))
  await granted
  return socket
}
