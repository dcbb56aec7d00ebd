// `parkmq clients` against a running parkmq, and what it says where another broker is used.
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { clientsCommand } from '../../cli/clients.js'
import { ClientList } from '../../shared/schemas.js'
import { connectTestClient, startTestApp } from '../support/app.js'
import { startMosquitto, whyNoMosquitto } from '../support/mosquitto.js'

afterEach(() => {
  vi.restoreAllMocks()
  process.exitCode = undefined
})

interface Printed { out: string, err: string, exitCode: typeof process.exitCode }

/** Runs `parkmq clients ...` as the program does, in this process; `onOut` sees what is printed as it comes. */
async function clients (url: string, args: readonly string[] = [], onOut: (out: string) => void = () => {}): Promise<Printed> {
  const printed: Printed = { out: '', err: '', exitCode: undefined }
  const spies = [
    vi.spyOn(process.stdout, 'write').mockImplementation(text => {
      printed.out += String(text)
      onOut(printed.out)
      return true
    }),
    vi.spyOn(process.stderr, 'write').mockImplementation(text => { printed.err += String(text); return true })
  ]
  process.exitCode = undefined
  try {
    await clientsCommand().exitOverride().parseAsync(['--url', url, ...args], { from: 'user' })
  } finally {
    for (const spy of spies) spy.mockRestore()
  }
  return { ...printed, exitCode: process.exitCode }
}

/** What Ctrl-C does to the command. */
function interrupt (): void {
  for (const listener of process.listeners('SIGINT')) if (listener.name === 'onSignal') listener('SIGINT')
}

function forgetSignals (): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    for (const listener of process.listeners(signal)) if (listener.name === 'onSignal') process.off(signal, listener)
  }
}

describe('with parkmq\'s own broker', () => {
  test('info lists the method, and the table shows every client in a line', async () => {
    const { url, connect } = await startTestApp()
    const client = await connect({ clientId: 'display', version: 4 })
    await client.subscribe('lots/+/free')
    expect((await client.request<{ methods: string[] }>('info')).methods).toContain('clients')
    const { out, err, exitCode } = await clients(url)
    const [headings = '', ...rows] = out.trimEnd().split('\n')
    expect(headings.split(/\s{2,}/)).toEqual(['CLIENT', 'STATE', 'INFLIGHT', 'QUEUED', 'KB', 'SENT', 'DROPPED', 'CONFLATED', 'PROGRESS', 'SUBS', 'MQTT', 'ADDRESS'])
    // Four retained counts and the reply to info; a subscription for each.
    expect(rows.find(row => row.startsWith('display '))?.split(/\s{2,}/)).toEqual(['display', 'connected', '0/20', '0', '0', '5', '0', '0', expect.stringMatching(/^\d+s ago$/), '2', '3.1.1', '127.0.0.1'])
    expect(rows).toHaveLength(2)
    expect([err, exitCode]).toEqual(['', undefined])
  })

  test('--json prints the reply for programs', async () => {
    const { url, connect } = await startTestApp()
    await connect({ clientId: 'display' })
    const { out } = await clients(url, ['--json', '--client', 'display'])
    const { ok, result } = JSON.parse(out) as { ok: boolean, result: unknown }
    expect(ok).toBe(true)
    expect(ClientList.parse(result)).toMatchObject({ clients: [{ client: 'display', protocol: '5.0', connected: true }], more: 0 })
  })

  test('a client that is not there is said, with exit code 1', async () => {
    const { url } = await startTestApp()
    expect(await clients(url, ['--client', 'nobody'])).toEqual({ out: 'no client named nobody has a session\n', err: '', exitCode: 1 })
    expect(await clients(url, ['--slow'])).toEqual({ out: 'no client is slow\n', err: '', exitCode: undefined })
  })

  test('an id with control characters does not reach the terminal', async () => {
    const { url, connect } = await startTestApp()
    await connect({ clientId: 'evil\u009b2J\u202e' })
    const { out } = await clients(url)
    expect(out).toContain('evil?2J?')
    expect(out).not.toContain('\u009b')
  })

  test('--watch asks again until Ctrl-C', async () => {
    const { url, connect } = await startTestApp()
    onTestFinished(forgetSignals)
    await connect({ clientId: 'display' })
    const lines = (out: string): number => out.split('\n').length - 1
    const { out, err } = await clients(url, ['--watch', '--json', '--client', 'display'], so => { if (lines(so) === 2) interrupt() })
    expect(lines(out)).toBe(2)
    for (const line of out.trimEnd().split('\n')) expect(JSON.parse(line)).toMatchObject({ ok: true, result: { clients: [{ client: 'display' }] } })
    expect(err).toBe('')
  })
})

test('without a broker it is an error with the URL', async () => {
  await expect(clients('mqtt://127.0.0.1:1')).rejects.toMatchObject({ code: 'unreachable', message: expect.stringContaining('127.0.0.1:1') as string })
})

describe.skipIf(whyNoMosquitto() !== null)('with mosquitto as the broker', () => {
  test('info does not list the method, and the command says who could tell', async () => {
    const mosquitto = await startMosquitto()
    onTestFinished(() => mosquitto.close())
    await startTestApp({ settings: { broker: mosquitto.url } })
    const client = await connectTestClient(mosquitto.url)
    const { methods } = await client.request<{ methods: string[] }>('info')
    expect(methods).toContain('lots')
    expect(methods).not.toContain('clients')
    const { out, err, exitCode } = await clients(mosquitto.url)
    expect([out, exitCode]).toEqual(['', 1])
    expect(err).toMatch(/^refused \(unknown_method\): this parkmq runs with another broker than its own .*ask that broker/)
  })
})
