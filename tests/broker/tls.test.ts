// TLS on both doors: who gets in, what the operator is told, and that neither broken handshakes nor broken files do harm.
import { execFile } from 'node:child_process'
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls'
import { promisify } from 'node:util'
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { createEngine } from '../../broker/engine.js'
import { Listeners } from '../../broker/listeners.js'
import { readCertificates } from '../../broker/tls.js'
import { systemClock } from '../../shared/clock.js'
import { Config } from '../../shared/config.js'
import { createMetrics } from '../../shared/metrics.js'
import { afterThisTest, startBroker, temporaryFolder, type BrokerOptions, type TestBroker } from '../support/broker.js'
import { TestAuthority, type CertificateFiles } from '../support/certificates.js'
import { RawClient } from '../support/raw-client.js'

interface TlsBroker extends TestBroker {
  readonly authority: TestAuthority
  readonly files: CertificateFiles
  /** What a client needs that checks the server. */
  readonly secure: ConnectionOptions
}

async function startTlsBroker ({ tls, ...options }: Omit<BrokerOptions, 'tls'> & { tls?: (authority: TestAuthority) => Partial<NonNullable<Config['tls']>> } = {}): Promise<TlsBroker> {
  const authority = new TestAuthority()
  const files = authority.issue('localhost', { folder: temporaryFolder() })
  const broker = await startBroker({ ...options, tls: { ...files, ...tls?.(authority) } })
  return { ...broker, authority, files, secure: { ca: readFileSync(authority.file) } }
}

/** Certificate and key of a client, as Node takes them. */
function shown ({ cert, key }: CertificateFiles): ConnectionOptions {
  return { cert: readFileSync(cert), key: readFileSync(key) }
}

/** Connects and resolves with the socket and the server's certificate number. */
async function serialAt (port: number, secure: ConnectionOptions): Promise<string> {
  const socket = connectTls({ port, host: '127.0.0.1', ...secure })
  await new Promise((resolve, reject) => { socket.once('secureConnect', resolve).once('error', reject) })
  const { serialNumber } = socket.getPeerCertificate()
  socket.destroy()
  return serialNumber
}

async function opened (port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  afterThisTest(() => { socket.destroy() })
  await new Promise((resolve, reject) => { socket.once('connect', resolve).once('error', reject) })
  return socket
}

async function closed (socket: Socket): Promise<void> {
  socket.on('error', () => {}).resume()
  if (!socket.closed) await new Promise(resolve => socket.once('close', resolve))
}

const open = async (wsPort: number, secure: ConnectionOptions, origin: string): Promise<number> => await new Promise((resolve, reject) => {
  const socket = new WebSocket(`wss://127.0.0.1:${wsPort}`, 'mqtt', { ...secure, origin })
  afterThisTest(() => socket.terminate())
  socket.once('open', () => resolve(101)).once('unexpected-response', (_, response) => resolve(response.statusCode ?? 0)).once('error', reject)
})

describe('with a certificate', () => {
  test('both doors speak TLS 1.2 and 1.3, and messages go between them', async () => {
    const broker = await startTlsBroker()
    const tcp = await RawClient.connected(broker, 5, { transport: 'tls', secure: { ...broker.secure, maxVersion: 'TLSv1.2' } })
    const ws = await RawClient.connected(broker, 4, { transport: 'wss', secure: broker.secure })
    expect((tcp.stream as TLSSocket).getProtocol()).toBe('TLSv1.2')
    tcp.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a/#', qos: 1 }] })
    await tcp.nextOf('suback')
    const payload = 'x'.repeat(100_000)
    ws.send({ cmd: 'publish', topic: 'a/b', payload, qos: 1, messageId: 1, dup: false, retain: false })
    expect(String((await tcp.nextOf('publish')).payload)).toBe(payload)
  })

  test('nothing older than TLS 1.2 is spoken', async () => {
    const broker = await startTlsBroker()
    // OpenSSL 3 has the old versions at security level 0 only.
    const old = { ...broker.secure, minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' } as const
    await expect(serialAt(broker.port, old)).rejects.toThrow(/version/)
    await expect(serialAt(broker.wsPort, old)).rejects.toThrow(/version/)
  })

  test('a client cannot negotiate again', async () => {
    const broker = await startTlsBroker()
    const client = await RawClient.connected(broker, 5, { transport: 'tls', secure: { ...broker.secure, maxVersion: 'TLSv1.2' } })
    // The refusal is a mere warning, at which Node never calls back.
    let renegotiated = false
    ;(client.stream as TLSSocket).renegotiate({}, error => { renegotiated = error === null })
    await Promise.race([client.flushed(), client.closed()])
    expect(renegotiated).toBe(false)
  })

  test('the last words arrive although the client left much unread', async () => {
    const broker = await startTlsBroker({ limits: { packetBytes: 1_024 } })
    const client = await RawClient.connected(broker, 5, { transport: 'tls', secure: broker.secure })
    client.write(Buffer.concat([Buffer.from('30ffff7f', 'hex'), Buffer.alloc(300_000)]))
    expect(await client.nextOf('disconnect')).toMatchObject({ reasonCode: 0x95 })
    await client.closed()
  })

  test('closing tells why, closes all, and leaves nothing open', async () => {
    const before = process.getActiveResourcesInfo().filter(name => /^T(CP|LS)/.test(name)).length
    const broker = await startTlsBroker()
    const clients = [
      await RawClient.connected(broker, 5, { transport: 'tls', secure: broker.secure }),
      await RawClient.connected(broker, 5, { transport: 'wss', secure: broker.secure })
    ]
    const unfinished = [await opened(broker.port), await opened(broker.wsPort)]
    await broker.close()
    await Promise.all([...clients.map(client => client.closed()), ...unfinished.map(closed)])
    expect(clients.map(client => client.packets.at(-1))).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x8b }, { cmd: 'disconnect', reasonCode: 0x8b }])
    for (const client of clients) client.destroy()
    await expect.poll(() => process.getActiveResourcesInfo().filter(name => /^T(CP|LS)/.test(name)).length).toBe(before)
  })

  test.skipIf(!existsSync('/usr/bin/mosquitto_sub'))('mosquitto_sub reads a retained message', async () => {
    const broker = await startTlsBroker({ prepare: ({ bus }) => bus.publish('lots/LOT-A/free', '42', { retain: true }) })
    const { stdout } = await promisify(execFile)('mosquitto_sub', ['-h', 'localhost', '-p', String(broker.port), '--cafile', broker.authority.file, '-t', 'lots/+/free', '-C', '1', '-W', '10'])
    expect(stdout).toBe('42\n')
  })

  test('pages of this machine may connect over https as over http, others may not', async () => {
    const broker = await startTlsBroker({ wsOrigins: ['https://parking.example'] })
    for (const origin of ['https://localhost', 'https://127.0.0.1:9443', 'https://[::1]', 'http://localhost:3000', 'https://parking.example']) expect(await open(broker.wsPort, broker.secure, origin)).toBe(101)
    for (const origin of ['https://evil.example', 'https://localhost.evil.example', 'https://127.0.0.1.evil.example', 'null']) expect(await open(broker.wsPort, broker.secure, origin)).toBe(403)
  })
})

describe('a handshake that fails', () => {
  test('200 times with garbage ends nothing, is counted, and fills no log', async () => {
    // Some garbage looks like the beginning of a long record: that is waited for.
    const broker = await startTlsBroker({ limits: { connectTimeoutMs: 500 } })
    const startedMs = performance.now()
    for (let i = 0; i < 200; i += 20) {
      await Promise.all(Array.from({ length: 20 }, async (_, j) => {
        const socket = await opened(j % 2 === 0 ? broker.port : broker.wsPort)
        // Every other one looks like a ClientHello at first.
        socket.write(Buffer.concat([Buffer.from(j % 4 < 2 ? '1603010200010001fc0303' : '', 'hex'), Buffer.from(Array.from({ length: 600 }, (_, n) => (i + j + n * 37) % 256))]))
        await closed(socket)
      }))
    }
    await expect.poll(() => broker.count('broker_connection_errors_total')).toBe(200)
    expect(broker.logged.length).toBeLessThanOrEqual(1 + (performance.now() - startedMs) / 1_000)
    expect(broker.logged[0]).toMatchObject({ address: '127.0.0.1', msg: expect.stringMatching(/TLS/) as string })
    await RawClient.connected(broker, 5, { transport: 'tls', secure: broker.secure })
  })

  test('because it never ends is ended, on both doors', async () => {
    const broker = await startTlsBroker({ limits: { connectTimeoutMs: 200 } })
    const sockets = [await opened(broker.port), await opened(broker.wsPort)]
    for (const socket of sockets) socket.write(Buffer.from('16030102000100', 'hex'))
    await Promise.all(sockets.map(closed))
    expect(await broker.count('broker_connection_errors_total')).toBe(2)
    expect(broker.logged[0]).toMatchObject({ msg: expect.stringContaining('limits.connectTimeoutMs') as string })
  })

  test('because the client resets its connection ends nothing', async () => {
    const broker = await startTlsBroker()
    for (const port of [broker.port, broker.wsPort]) {
      const socket = await opened(port)
      socket.write(Buffer.from('16030102000100', 'hex'), () => socket.resetAndDestroy())
      await closed(socket)
    }
    const client = await RawClient.connected(broker, 5, { transport: 'tls', secure: broker.secure })
    expect(await client.flushed()).toEqual([])
    client.destroy()
    await RawClient.connected(broker, 5, { transport: 'wss', secure: broker.secure })
  })

  test.each([['MQTT', 'port', '100d00044d5154540402000a000161', /must use mqtts/], ['HTTP', 'wsPort', Buffer.from('GET / HTTP/1.1\r\n\r\n').toString('hex'), /must use wss/]] as const)('because the client speaks plain %s says what it must do', async (_, door, hex, words) => {
    const broker = await startTlsBroker()
    const socket = await opened(broker[door])
    socket.write(Buffer.from(hex, 'hex'))
    await closed(socket)
    await expect.poll(() => broker.logged.length).toBe(1)
    expect(broker.logged[0]).toMatchObject({ msg: expect.stringMatching(words) as string })
  })

  test('has counted for the limits from its beginning', async () => {
    const broker = await startTlsBroker({ limits: { connectionsPerAddress: 2 } })
    const sockets = [await opened(broker.port), await opened(broker.wsPort)]
    await expect(serialAt(broker.port, broker.secure)).rejects.toThrow(/ECONNRESET|disconnected/)
    expect(await broker.count('broker_over_limit_total{limit=connectionsPerAddress}')).toBe(1)
    for (const socket of sockets) socket.destroy()
    await expect.poll(() => serialAt(broker.port, broker.secure).then(() => 'in', () => 'out')).toBe('in')
  })
})

describe('a renewed certificate', () => {
  /** As certbot does it: the new files take the places of the old ones. */
  function renew ({ authority, files }: TlsBroker): void {
    const fresh = authority.issue('localhost')
    renameSync(fresh.key, files.key)
    renameSync(fresh.cert, files.cert)
  }

  test('is used for new connections on both doors, and the old ones go on', async () => {
    const broker = await startTlsBroker()
    const before = await serialAt(broker.port, broker.secure)
    const client = await RawClient.connected(broker, 5, { transport: 'tls', secure: broker.secure })
    renew(broker)
    await expect.poll(() => serialAt(broker.port, broker.secure), { timeout: 5_000 }).not.toBe(before)
    expect(await serialAt(broker.wsPort, broker.secure)).toBe(await serialAt(broker.port, broker.secure))
    expect(await client.flushed()).toEqual([])
    expect(broker.logged.map(({ msg }) => msg)).toEqual(['the certificate is renewed'])
  })

  test('that cannot be used is told once, and the old one stays until a good one comes', async () => {
    const broker = await startTlsBroker()
    const before = await serialAt(broker.port, broker.secure)
    writeFileSync(broker.files.cert, 'half a certific')
    await expect.poll(() => broker.logged.length, { timeout: 5_000 }).toBe(1)
    expect(broker.logged[0]).toMatchObject({ level: 50, msg: expect.stringMatching(/the one before stays in use: .*cert\.pem is not a certificate in PEM/) as string })
    expect(await serialAt(broker.port, broker.secure)).toBe(before)
    renew(broker)
    await expect.poll(() => serialAt(broker.port, broker.secure), { timeout: 5_000 }).not.toBe(before)
  })
})

describe('a client certificate', () => {
  /** Doors that tell the names they hand on. */
  async function openDoors (clientCertificates: 'optional' | 'required'): Promise<{ ports: { port: number, wsPort: number }, authority: TestAuthority, names: (string | undefined)[], secure: ConnectionOptions }> {
    const authority = new TestAuthority()
    const config = Config.parse({ port: 0, wsPort: 0, tls: { ...authority.issue('localhost'), ca: authority.file, clientCertificates } })
    const engine = await createEngine({ config, clock: systemClock, log: pino({ level: 'silent' }), metrics: createMetrics() })
    const names: (string | undefined)[] = []
    const listeners = new Listeners({
      config, report: engine.report,
      accept: (stream, address, request, certificateName) => {
        names.push(certificateName)
        return engine.accept(stream, address, request)
      }
    })
    const ports = await listeners.open()
    afterThisTest(async () => {
      listeners.stop()
      await listeners.closed()
      await engine.close()
    })
    return { ports, authority, names, secure: { ca: readFileSync(authority.file) } }
  }

  test.each(['tls', 'wss'] as const)('that the authority signed gives its name, and any other gives none (%s)', async transport => {
    const { ports, authority, names, secure } = await openDoors('optional')
    const ended = { fromMs: Date.now() - 2_000, untilMs: Date.now() - 1_000 }
    for (const own of [authority.issue('gate-1'), authority.issue('gate-2', ended), new TestAuthority().issue('gate-3'), new TestAuthority(authority.name).issue('gate-4')]) {
      await RawClient.connected(ports, 5, { transport, secure: { ...secure, ...shown(own) } })
    }
    await RawClient.connected(ports, 5, { transport, secure })
    expect(names).toEqual(['gate-1', undefined, undefined, undefined, undefined])
  })

  test.each(['tls', 'wss'] as const)('that is required lets nobody in without a good one (%s)', async transport => {
    const { ports, authority, names, secure } = await openDoors('required')
    for (const own of [{}, shown(new TestAuthority().issue('gate-3'))]) {
      // A client of TLS 1.3 believes to be in before the server has looked.
      await expect(RawClient.connected(ports, 5, { transport, secure: { ...secure, ...own } })).rejects.toThrow(/closed|hang up|RESET|certificate required/)
    }
    await RawClient.connected(ports, 5, { transport, secure: { ...secure, ...shown(authority.issue('gate-1')) } })
    expect(names).toEqual(['gate-1'])
  })

  test('still gives its name when the client resumes its session', async () => {
    const { ports, authority, names, secure } = await openDoors('optional')
    const own = { ...secure, ...shown(authority.issue('gate-1')), maxVersion: 'TLSv1.2' } as const
    const first = await RawClient.connected(ports, 5, { transport: 'tls', secure: own })
    const session = (first.stream as TLSSocket).getSession()
    const again = await RawClient.connected(ports, 5, { transport: 'tls', secure: { ...own, ...(session && { session }) } })
    expect((again.stream as TLSSocket).isSessionReused()).toBe(true)
    expect(names).toEqual(['gate-1', 'gate-1'])
  })

  test('that is not believed is told to the operator', async () => {
    const broker = await startTlsBroker({ tls: ({ file }) => ({ ca: file }) })
    await RawClient.connected(broker, 5, { transport: 'tls', secure: { ...broker.secure, ...shown(new TestAuthority().issue('gate-3')) } })
    expect(broker.logged[0]).toMatchObject({ msg: expect.stringMatching(/certificate is not believed/) as string })
  })
})

describe('files that cannot be used', () => {
  const files = (): CertificateFiles & { ca: string } => {
    const authority = new TestAuthority()
    return { ...authority.issue('localhost', { folder: temporaryFolder() }), ca: authority.file }
  }
  const missing = join(temporaryFolderLike(), 'nothing.pem')
  const day = 24 * 3_600_000

  test.each<[string, () => Partial<CertificateFiles & { ca: string }>, RegExp]>([
    ['a certificate that is not there', () => ({ cert: missing }), /cannot read the certificate file .*nothing\.pem: ENOENT.*--tls-cert/],
    ['a key that is not there', () => ({ key: missing }), /cannot read the private key file .*nothing\.pem.*--tls-key/],
    ['an authority that is not there', () => ({ ca: missing }), /cannot read the authority file .*nothing\.pem.*--tls-ca/],
    ['a key as the certificate', () => ({ cert: files().key }), /key\.pem is not a certificate in PEM.*--tls-cert/],
    ['a certificate as the key', () => ({ key: files().cert }), /cert\.pem is not a private key in PEM.*--tls-key/],
    ['a key as the authority', () => ({ ca: files().key }), /key\.pem is not a certificate in PEM.*--tls-ca/],
    ['the key of another certificate', () => ({ key: files().key }), /key\.pem is not that of the certificate .*cert\.pem/],
    ['a certificate that has ended', () => new TestAuthority().issue('localhost', { fromMs: Date.now() - 2 * day, untilMs: Date.now() - day }), /cert\.pem ended at .*: renew it/],
    ['a certificate of tomorrow', () => new TestAuthority().issue('localhost', { fromMs: Date.now() + day }), /cert\.pem is valid only from .*: check the clock/]
  ])('%s stops the start', async (_, wrong, words) => {
    const tls = { ...files(), ...wrong() }
    await expect(startBroker({ tls })).rejects.toMatchObject({ code: 'bad_certificate', message: expect.stringMatching(words) as string })
  })

  test('good ones tell the names and the end of the certificate', async () => {
    const untilMs = Math.floor(Date.now() / 1_000) * 1_000 + 5 * day
    const tls = new TestAuthority().issue('parking', { names: ['parking.example', '10.0.0.7'], untilMs })
    expect(await readCertificates(tls, Date.now())).toMatchObject({ names: ['parking.example', '10.0.0.7'], endsAtMs: untilMs })
  })
})

/** A folder that is not there. */
function temporaryFolderLike (): string {
  return join('/nowhere', 'parkmq')
}
