// Connecting, losing and ending connections, with real brokers and with servers that are none.
import { once } from 'node:events'
import { createServer, Socket, type AddressInfo, type Server } from 'node:net'
import type { MqttClient } from 'mqtt'
import { describe, expect, test, vi } from 'vitest'
import { shownUrl } from '../../shared/broker-urls.js'
import { brokerOf, connectMqtt, endMqtt, UnreachableError, type ConnectOptions } from '../../shared/mqtt-client.js'
import { readClientTls, type ClientTls } from '../../shared/mqtt-tls.js'
import { afterThisTest, startBroker, type BrokerOptions } from '../support/broker.js'
import { TestAuthority } from '../support/certificates.js'
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

describe('over TLS', () => {
  async function secured (options: Parameters<TestAuthority['issue']>[1] = {}, more: Partial<NonNullable<BrokerOptions['tls']>> = {}): Promise<{ tcp: string, ws: string, authority: TestAuthority, tls: ClientTls }> {
    const authority = new TestAuthority()
    const { port, wsPort } = await startBroker({ tls: { ...authority.issue('parking', options), ...more } })
    return { tcp: `mqtts://127.0.0.1:${port}`, ws: `wss://127.0.0.1:${wsPort}`, authority, tls: await readClientTls({ ca: authority.file }) }
  }
  const failure = async (url: string, options?: ConnectOptions): Promise<{ code: string, message: string }> => await connectMqtt(url, options).then(async client => {
    await endMqtt(client)
    return { code: 'none', message: 'it connected' }
  }, (error: unknown) => error as { code: string, message: string })

  test.each([5, 4] as const)('connects with MQTT version %i to both doors, and again when the connection is lost', async version => {
    const { tcp, ws, tls } = await secured()
    for (const url of [tcp, ws]) {
      const client = await connect(url, { version, tls, reconnect: true })
      client.stream.destroy()
      await once(client as unknown as NodeJS.EventEmitter, 'connect')
    }
  })

  test('moves to a broker with a certificate for another name', async () => {
    const authority = new TestAuthority()
    const [first, second] = await Promise.all(['localhost', '127.0.0.1'].map(async name => await startBroker({ tls: authority.issue(name, { names: [name] }) })))
    const client = await connect(`mqtts://localhost:${first?.port},mqtts://127.0.0.1:${second?.port}`, { tls: await readClientTls({ ca: authority.file }) })
    const again = once(client as unknown as NodeJS.EventEmitter, 'connect')
    await first?.close()
    await again
    expect(brokerOf(client)).toBe(`mqtts://127.0.0.1:${second?.port}`)
  })

  test('knows no authority but the usual ones and those it is given', async () => {
    const { tcp, ws } = await secured()
    for (const url of [tcp, ws]) {
      expect(await failure(url)).toMatchObject({ code: 'unreachable', message: expect.stringMatching(/^the certificate of 127\.0\.0\.1:\d+ is signed by "Test Authority", which is not trusted; give its CA with --ca$/) as string })
      expect(await failure(url, { tls: await readClientTls({ ca: new TestAuthority('Another').file }) })).toMatchObject({ code: 'unreachable', message: expect.stringContaining('not trusted') as string })
    }
  })

  test('refuses a certificate for another name', async () => {
    const { tcp, ws, tls } = await secured({ names: ['parking.example', '10.0.0.7'] })
    for (const url of [tcp, ws]) expect(await failure(url, { tls })).toMatchObject({ code: 'unreachable', message: expect.stringMatching(/is not for 127\.0\.0\.1 but for parking\.example, 10\.0\.0\.7: use that name/) as string })
  })

  test('refuses a certificate that has ended', async () => {
    const untilMs = Date.now() + 2_000
    const { tcp, tls } = await secured({ untilMs })
    await expect.poll(() => failure(tcp, { tls }), { timeout: 5_000 }).toMatchObject({ code: 'unreachable', message: expect.stringMatching(/has ended: it must be renewed/) as string })
  })

  test('says that the port speaks TLS, or does not', async () => {
    const { tcp, ws } = await secured()
    expect((await failure(tcp.replace('mqtts', 'mqtt'))).message).toMatch(/^127\.0\.0\.1:\d+ speaks TLS: write mqtts:\/\/$/)
    expect((await failure(ws.replace('wss', 'ws'))).message).toMatch(/^127\.0\.0\.1:\d+ speaks TLS: write wss:\/\/$/)
    const plain = await startBroker()
    expect((await failure(`mqtts://127.0.0.1:${plain.port}`)).message).toMatch(/does not speak TLS.*write mqtt:\/\//)
    expect((await failure(`wss://127.0.0.1:${plain.wsPort}`)).message).toMatch(/does not speak TLS.*write ws:\/\//)
  })

  test('shows its certificate, and says that the broker wants one', async () => {
    const clients = new TestAuthority('Clients')
    const { tcp, ws, authority, tls } = await secured({}, { ca: clients.file, clientCertificates: 'required' })
    for (const url of [tcp, ws]) {
      expect((await failure(url, { tls })).message).toMatch(/wants a certificate of this client.*--cert/)
      await connect(url, { tls: await readClientTls({ ca: authority.file, ...clients.issue('gate-1') }) })
    }
  })

  test.each<[string, () => Parameters<typeof readClientTls>[0], RegExp]>([
    ['an authority that is not there', () => ({ ca: '/nowhere/ca.pem' }), /cannot use the file \/nowhere\/ca\.pem: ENOENT.*--ca/],
    ['an authority that is none', () => ({ ca: import.meta.filename }), /mqtt-client\.test\.ts.*--ca/],
    ['a certificate without its key', () => ({ cert: '/c.pem' }), /no key: name it with --key/],
    ['a key without its certificate', () => ({ key: '/k.pem' }), /no certificate: name it with --cert/],
    ['a key of another certificate', () => ({ cert: new TestAuthority().issue('a').cert, key: new TestAuthority().issue('a').key }), /the key must be that of the certificate/]
  ])('%s is named', async (_, files, words) => {
    await expect(readClientTls(files())).rejects.toMatchObject({ code: 'bad_certificate', message: expect.stringMatching(words) as string })
  })
})

describe('logging in', () => {
  test.each([[5, 0x86, [0x20, 3, 0, 0x86, 0]], [5, 0x87, [0x20, 3, 0, 0x87, 0]], [4, 4, [0x20, 2, 0, 4]], [4, 5, [0x20, 2, 0, 5]]] as const)('that is refused by MQTT version %i with code %i is no unreachable broker', async (version, _, connack) => {
    await expect(connectMqtt(await server(Buffer.from(connack)), { version })).rejects.toMatchObject({ code: 'login_refused', message: expect.stringMatching(/refused this client \(.*\): check user and password/) as string })
  })

  test('says user and password of the URL, escaped characters and all', async () => {
    const proxy = await proxied()
    await connect(proxy.url.replace('://', '://al%3Aice%40x:p%40ss%3Aw%2Ford@'))
    await connect(proxy.url.replace('://', '://bob@'))
    await connect(proxy.url, { username: 'carol', password: 'c' })
    expect(proxy.passed('broker', 'connect').map(({ packet }) => packet.cmd === 'connect' ? [packet.username, String(packet.password)] : [])).toEqual([['al:ice@x', 'p@ss:w/ord'], ['bob', 'undefined'], ['carol', 'c']])
  })
})
