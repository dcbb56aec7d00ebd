// Connecting, losing and ending connections, with real brokers and with servers that are none.
import { once } from 'node:events'
import { createServer, Socket, type AddressInfo, type Server } from 'node:net'
import type { MqttClient } from 'mqtt'
import { describe, expect, test, vi } from 'vitest'
import { connectMqtt, endMqtt, shownUrl, UnreachableError, type ConnectOptions } from '../../shared/mqtt-client.js'
import { afterThisTest, startBroker } from '../support/broker.js'
import { PacketProxy } from '../support/packet-proxy.js'

async function connect (url: string, options?: ConnectOptions): Promise<MqttClient> {
  const client = await connectMqtt(url, options)
  afterThisTest(() => endMqtt(client))
  return client
}

async function proxied (): Promise<PacketProxy> {
  const broker = await startBroker()
  const proxy = await PacketProxy.open(broker.port)
  afterThisTest(() => proxy.close())
  return proxy
}

/** A server that answers every connection with `bytes` and then stays silent. */
async function server (bytes: Buffer): Promise<string> {
  const listening: Server = createServer(socket => {
    afterThisTest(() => { socket.destroy() })
    socket.on('error', () => {})
    socket.once('data', () => socket.write(bytes))
  }).listen(0, '127.0.0.1')
  await once(listening, 'listening')
  afterThisTest(() => { listening.close() })
  return `mqtt://127.0.0.1:${(listening.address() as AddressInfo).port}`
}

describe('connectMqtt', () => {
  test.each([5, 4] as const)('connects with MQTT version %i over TCP and WebSocket', async version => {
    const { port, wsPort } = await startBroker()
    const [tcp, ws] = [await connect(`mqtt://127.0.0.1:${port}`, { version }), await connect(`ws://127.0.0.1:${wsPort}`, { version })]
    await tcp.subscribeAsync('a')
    const arrived = once(tcp as unknown as NodeJS.EventEmitter, 'message')
    await ws.publishAsync('a', 'over WebSocket', { qos: 1 })
    expect(String((await arrived)[1])).toBe('over WebSocket')
  })

  test('switches TCP_NODELAY on for TCP, for WebSocket and after a reconnect', async () => {
    const setNoDelay = vi.spyOn(Socket.prototype, 'setNoDelay')
    afterThisTest(() => setNoDelay.mockRestore())
    const { port, wsPort } = await startBroker()
    const proxy = await PacketProxy.open(port)
    afterThisTest(() => proxy.close())
    const to = (remotePort: number): boolean => setNoDelay.mock.contexts.some((socket, i) => socket instanceof Socket && socket.remotePort === remotePort && setNoDelay.mock.calls[i]?.[0] !== false)
    await connect(`ws://127.0.0.1:${wsPort}`)
    expect(to(wsPort)).toBe(true)
    const client = await connect(proxy.url, { reconnect: true })
    expect(to(proxy.port)).toBe(true)
    const before = client.stream
    proxy.cut()
    setNoDelay.mockClear()
    await once(client as unknown as NodeJS.EventEmitter, 'connect')
    expect(client.stream).not.toBe(before)
    expect(to(proxy.port)).toBe(true)
  })

  test('says in MQTT 5 what it was told to', async () => {
    const proxy = await proxied()
    await connect(proxy.url, {
      clientId: 'me', clean: false, sessionExpirySeconds: 60, receiveMaximum: 7, keepaliveSeconds: 5,
      will: { topic: 'sensors/me/status', payload: 'offline', qos: 1, retain: true }
    })
    expect(proxy.passed('broker', 'connect')[0]?.packet).toMatchObject({
      clientId: 'me', clean: false, keepalive: 5, protocolVersion: 5, properties: { sessionExpiryInterval: 60, receiveMaximum: 7 },
      will: { topic: 'sensors/me/status', payload: Buffer.from('offline'), qos: 1, retain: true }
    })
  })

  test('names the URL, the reason and the fix when nobody listens', async () => {
    const port = await freePort()
    const error = await connectMqtt(`mqtt://127.0.0.1:${port}`).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(UnreachableError)
    expect(error).toMatchObject({ code: 'unreachable', message: `no broker answers at mqtt://127.0.0.1:${port} (connect ECONNREFUSED 127.0.0.1:${port}): is parkmq running? start it with \`npm start\`` })
  })

  test('gives up on a server that never answers', async () => {
    await expect(connectMqtt(await server(Buffer.alloc(0)), { connectTimeoutMs: 50 })).rejects.toThrow(/no broker answers.*connack timeout/)
  })

  test('says that the broker refused the client, and why', async () => {
    const notAuthorized = Buffer.from([0x20, 3, 0, 0x87, 0])
    await expect(connectMqtt(await server(notAuthorized))).rejects.toThrow(/refused this client \(Not authorized\): check user/)
  })

  test.each(['localhost:1883', 'http://127.0.0.1', 'mqtt//127.0.0.1', ''])('refuses %j as a URL', async url => {
    await expect(connectMqtt(url)).rejects.toMatchObject({ code: 'bad_url' })
  })

  test('never shows a password', () => {
    expect(shownUrl('mqtt://user:secret@host:1883/x')).toBe('mqtt://host:1883/x')
  })
})

describe('a lost connection', () => {
  test('fails what is open and what comes later, unless it is made again', async () => {
    const proxy = await proxied()
    const client = await connect(proxy.url)
    const open = client.publishAsync('a', 'b', { qos: 1 })
    proxy.cut()
    await expect(open).rejects.toThrow(/lost before it acknowledged/)
    await expect(client.publishAsync('a', 'b', { qos: 1 })).rejects.toThrow(Error)
    expect(proxy.passed('broker', 'connect')).toHaveLength(1)
  })

  test('is made again with `reconnect`, and what was open is sent again', async () => {
    const proxy = await proxied()
    const client = await connect(proxy.url, { reconnect: true, clean: false, sessionExpirySeconds: 60 })
    const open = client.publishAsync('a', 'b', { qos: 1 })
    proxy.cut()
    await open
    expect(client.connected).toBe(true)
  })

  test('publishes the will, and a clean end does not', async () => {
    const proxy = await proxied()
    const watcher = await connect(proxy.url, { reconnect: true })
    const heard: string[] = []
    watcher.on('message', (_, payload) => heard.push(payload.toString()))
    await watcher.subscribeAsync('sensors/+/status', { qos: 1 })
    const will = (payload: string): ConnectOptions => ({ will: { topic: 'sensors/s/status', payload, qos: 1, retain: false } })
    const ended = await connect(proxy.url, will('ended'))
    const lost = await connect(proxy.url, will('lost'))
    await endMqtt(ended)
    const message = once(watcher as unknown as NodeJS.EventEmitter, 'message')
    lost.stream.destroy()
    await message
    expect(heard).toEqual(['lost'])
  })
})

describe('endMqtt', () => {
  test('waits for open acknowledgements, says goodbye, and may be called twice', async () => {
    const proxy = await proxied()
    const client = await connect(proxy.url)
    const open = client.publishAsync('a', 'b', { qos: 1 })
    await endMqtt(client)
    await open
    expect(proxy.passed('broker', 'disconnect')).toHaveLength(1)
    await endMqtt(client)
  })

  test('does not wait for ever for a broker that acknowledges nothing', async () => {
    const client = await connect(await server(Buffer.from([0x20, 3, 0, 0, 0])))
    const open = client.publishAsync('a', 'b', { qos: 1 })
    const failed = expect(open).rejects.toThrow(Error)
    await endMqtt(client)
    await failed
  })

  test('ends a client that is trying to connect again', async () => {
    const proxy = await proxied()
    const client = await connect(proxy.url, { reconnect: true })
    const closed = once(client as unknown as NodeJS.EventEmitter, 'close')
    proxy.cut()
    await closed
    await endMqtt(client)
    expect(client.connected).toBe(false)
  })
})

async function freePort (): Promise<number> {
  const listening = createServer().listen(0, '127.0.0.1')
  await once(listening, 'listening')
  const { port } = listening.address() as AddressInfo
  listening.close()
  await once(listening, 'close')
  return port
}
