// The command line over TLS: a broker with a certificate, and clients that check it, log in, and say what is wrong.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import { testFolder } from '../support/app.js'
import { TestAuthority } from '../support/certificates.js'
import { startMosquitto, whyNoMosquitto } from '../support/mosquitto.js'
import { startProcess, type ParkmqProcess } from '../support/process.js'

const PROGRAM = fileURLToPath(new URL('../../bin/parkmq.js', import.meta.url))

interface Said { readonly code: number | null, readonly out: string, readonly err: string }

/** Runs a command with nothing of the environment but `env`. */
async function parkmq (args: readonly string[], { env = {}, input = '' }: { env?: Record<string, string>, input?: string } = {}): Promise<Said> {
  const child = spawn(process.execPath, [PROGRAM, ...args], { env: { PATH: process.env.PATH, ...env }, stdio: 'pipe' })
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => { out += chunk.toString() })
  child.stderr.on('data', (chunk: Buffer) => { err += chunk.toString() })
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  const [code] = await once(child, 'close') as [number | null]
  return { code, out, err }
}

interface Secure { readonly started: ParkmqProcess, readonly tcp: string, readonly ws: string, readonly authority: TestAuthority }

async function startSecure (more: readonly string[] = []): Promise<Secure> {
  const authority = new TestAuthority()
  const { cert, key } = authority.issue('localhost')
  const started = await startProcess(testFolder(), ['--tls-cert', cert, '--tls-key', key, ...more])
  const ready = started.log.find(({ msg }) => msg === 'ready')
  return { started, authority, tcp: String(ready?.mqtt), ws: String(ready?.ws) }
}

/** A port that answers every connection with this CONNACK. */
async function refusing (connack: readonly number[]): Promise<string> {
  const server = createServer(socket => {
    socket.on('error', () => {}).once('data', () => socket.write(Buffer.from(connack)))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => { server.close() })
  return `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('commands and the simulator work over mqtts:// and wss://', async () => {
  const { started, tcp, ws, authority } = await startSecure()
  expect([tcp, ws]).toEqual([expect.stringMatching(/^mqtts:\/\/127/), expect.stringMatching(/^wss:\/\/127/)])
  for (const url of [tcp, ws]) expect(await parkmq(['lots', '--json', '--ca', authority.file], { env: { PARKMQ_URL: url } })).toMatchObject({ code: 0, out: expect.stringContaining('"LOT-A"') as string })
  const simulated = await parkmq(['simulate', '--url', ws, '--rate', '0', '--duration', '300ms', '--verify', '--json', '--quiet'], { env: { PARKMQ_CA: authority.file } })
  expect(simulated).toMatchObject({ code: 0, out: expect.stringContaining('"verified":true') as string })
  expect(await started.stop()).toBe(0)
})

test('a command tells what is wrong with the connection, exit code 3', async () => {
  const { tcp, authority } = await startSecure()
  expect(await parkmq(['lots', '--url', tcp])).toMatchObject({ code: 3, err: expect.stringMatching(/signed by "Test Authority", which is not trusted; give its CA with --ca/) as string })
  expect(await parkmq(['lots', '--url', tcp.replace('mqtts', 'mqtt')])).toMatchObject({ code: 3, err: expect.stringMatching(/speaks TLS: write mqtts:/) as string })
  expect(await parkmq(['lots', '--url', tcp.replace(/\d+$/, '1'), '--ca', authority.file])).toMatchObject({ code: 3, err: expect.stringMatching(/ECONNREFUSED/) as string })
})

test.each([['mqtt', [0x20, 3, 0, 0x86, 0]], ['mqtt', [0x20, 3, 0, 0x87, 0]]])('a refused log-in is exit code 1 (%s %j)', async (_, connack) => {
  const url = await refusing(connack)
  const said = await parkmq(['lots', '--url', url, '--user', 'alice', '--password-stdin'], { input: 'top-secret-word\n' })
  expect(said).toMatchObject({ code: 1, err: expect.stringMatching(/refused this client .*check user and password/) as string })
  expect(said.err).not.toContain('top-secret')
})

test.each<[string[], Record<string, string>, RegExp]>([
  [['--ca', '/c.pem'], { PARKMQ_URL: 'mqtt://127.0.0.1:1' }, /--ca is for connections with TLS/],
  [['--ca', '/nowhere.pem'], { PARKMQ_URL: 'mqtts://127.0.0.1:1' }, /cannot use the file \/nowhere\.pem/],
  [['--user', 'alice'], { PARKMQ_URL: 'mqtt://127.0.0.1:1' }, /no password for alice.*PARKMQ_PASSWORD.*--password-stdin/],
  [['--user', 'alice'], { PARKMQ_URL: 'mqtt://bob:b@127.0.0.1:1' }, /both name a user/],
  [['--password-stdin'], { PARKMQ_URL: 'mqtt://127.0.0.1:1' }, /name the user with --user/]
])('%j is wrong usage, exit code 2', async (args, env, words) => {
  expect(await parkmq(['lots', ...args], { env })).toMatchObject({ code: 2, err: expect.stringMatching(words) as string })
})

test.each<[string[], RegExp]>([
  [['--tls-cert', '/nowhere.pem', '--tls-key', '/nowhere.pem'], /cannot read the (certificate|private key) file \/nowhere\.pem/],
  [['--tls-cert', '/nowhere.pem'], /tls\.key: is missing.*--tls-key/],
  [['--tls-key', '/nowhere.pem'], /tls\.cert: is missing.*--tls-cert/]
])('start %j stops at once, exit code 2', async (args, words) => {
  expect(await parkmq(['start', '--port', '0', '--ws-port', '0', '--data', testFolder(), ...args])).toMatchObject({ code: 2, err: expect.stringMatching(words) as string })
})

describe('doctor', () => {
  const certificateLine = async (untilMs: number): Promise<Said> => {
    const { cert, key } = new TestAuthority().issue('parking', { names: ['parking.example'], untilMs })
    return await parkmq(['doctor', '--data', testFolder()], { env: { PARKMQ_TLS_CERT: cert, PARKMQ_TLS_KEY: key } })
  }

  test('tells the names and the end of the certificate, and warns before it', async () => {
    const day = 24 * 3_600_000
    expect((await certificateLine(Date.now() + 20.5 * day)).out).toMatch(/certificate +warn +.*is for parking\.example and ends in 20 days/)
    expect(await certificateLine(Date.now() + 10.5 * day)).toMatchObject({ code: 1, out: expect.stringMatching(/certificate +NO +.*ends in 10 days.*: renew it/) as string })
  })

  test('finds the running broker although the certificate is not for the address it listens on', async () => {
    const authority = new TestAuthority()
    const { cert, key } = authority.issue('parking', { names: ['parking.example'] })
    const started = await startProcess(testFolder(), ['--tls-cert', cert, '--tls-key', key])
    const said = await parkmq(['doctor', '--data', testFolder(), '--port', String(started.port), '--ca', authority.file], { env: { PARKMQ_TLS_CERT: cert, PARKMQ_TLS_KEY: key } })
    expect(said.out).toMatch(/running service +ok +mqtts:\/\/127/)
  })
})

test.skipIf(whyNoMosquitto() !== null)('the services use another broker over TLS', async () => {
  const authority = new TestAuthority()
  const { cert, key } = authority.issue('localhost')
  const mosquitto = await startMosquitto([`certfile ${cert}`, `keyfile ${key}`])
  onTestFinished(() => mosquitto.close())
  const url = mosquitto.url.replace('mqtt:', 'mqtts:')
  const data = testFolder()
  expect(await parkmq(['start', '--data', data, '--broker', url])).toMatchObject({ code: 3, err: expect.stringContaining('not trusted') as string })
  const child = spawn(process.execPath, [PROGRAM, 'start', '--data', data, '--broker', url, '--broker-ca', authority.file], { env: { PATH: process.env.PATH }, stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await ended
  })
  let out = ''
  await new Promise<void>(resolve => child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString()
    if (out.includes('"ready"')) resolve()
  }))
  expect(await parkmq(['availability', '--url', url, '--ca', authority.file])).toMatchObject({ code: 0, out: expect.stringContaining('LOT-A') as string })
})
