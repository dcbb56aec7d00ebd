// `parkmq experiment semantics`: without the request history retries do visible damage, with it none; and nothing but the
// experiment can be without it.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { startApp } from '../../cli/app.js'
import { experimentCommand, readSettings, type SemanticsOptions } from '../../cli/experiment/command.js'
import { runSemantics, triesOf, type MethodReport, type ModeReport } from '../../cli/experiment/semantics.js'
import { startCommand } from '../../cli/start.js'
import { Config, loadConfig, VARIABLES } from '../../shared/config.js'
import { createLog } from '../../shared/log.js'
import { connectTestClient, startTestApp, testFolder } from '../support/app.js'
import { afterThisTest } from '../support/broker.js'
import { PROGRAM } from '../support/process.js'

const REQUESTS = 200

afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllEnvs()
  process.exitCode = undefined
})

/** Where temporary folders are made in this test, to see which are left. */
function temporary (): string {
  const folder = testFolder()
  vi.stubEnv('TMPDIR', folder)
  return folder
}

describe('retries over a network that loses 30 % and doubles 20 %', () => {
  let modes: ModeReport[] = []

  beforeAll(async () => {
    const faults = { seed: 1, loss: 0.3, duplicate: 0.2, delayMs: 10 }
    modes = await runSemantics({ settings: { faults, requests: REQUESTS, clients: 8 }, signal: new AbortController().signal })
  }, 120_000)

  const reports = (history: 'off' | 'on'): Record<string, MethodReport> => {
    const mode = modes.find(one => one.history === history)
    return Object.fromEntries(mode?.methods.map(report => [report.method, report]) ?? [])
  }

  test.each(['extend', 'cancel', 'reserve', 'buyPermit'])('%s has its effect once with the history, and the right reply', method => {
    const report = reports('on')[method]
    expect(report).toMatchObject({ requests: REQUESTS, executions: REQUESTS, executedMoreThanOnce: 0, wrongErrors: {}, unanswered: 0, wrongState: 0 })
    // Else it would show nothing: about half of the tries are not answered.
    expect(report?.retries).toBeGreaterThan(REQUESTS / 2)
  })

  test.each(['extend', 'cancel', 'reserve', 'buyPermit'])('%s is carried out more than once without it', method => {
    const { executedMoreThanOnce = 0, executions = 0, unanswered } = reports('off')[method] ?? {}
    expect(executedMoreThanOnce).toBeGreaterThan(REQUESTS / 10)
    expect(executions).toBeGreaterThanOrEqual(REQUESTS + executedMoreThanOnce)
    expect(unanswered).toBe(0)
  })

  test('without it, what that does depends on the method', () => {
    const { extend, cancel, reserve, buyPermit } = reports('off')
    // Idempotent: neither the state nor a reply is wrong.
    expect(extend).toMatchObject({ wrongErrors: {}, wrongState: 0 })
    // Cancelled it is, but drivers are told that they could not cancel.
    expect(cancel?.wrongState).toBe(0)
    expect(Object.keys(cancel?.wrongErrors ?? {})).toEqual(['already_cancelled'])
    expect(cancel?.wrongErrors.already_cancelled).toBeGreaterThan(REQUESTS / 20)
    // Each execution took a place or sold a permit, and nobody was told.
    for (const report of [reserve, buyPermit]) expect(report).toMatchObject({ wrongErrors: {}, wrongState: report?.executedMoreThanOnce })
  })

  test('both ways packets are lost and doubled as told', () => {
    for (const { packets } of modes) {
      for (const { came, lost, doubled } of [packets.toBroker, packets.toClients]) {
        expect(lost / came).toBeCloseTo(0.3, 1)
        expect(doubled / (came - lost)).toBeCloseTo(0.2, 1)
      }
    }
  })
})

describe('the command', () => {
  test('prints one JSON object and leaves no folder behind', { timeout: 60_000 }, async () => {
    const folder = temporary()
    const { out, exitCode } = await semantics('--requests', '8', '--delay', '2', '--json', '--quiet')
    const { modes, ...settings } = JSON.parse(out) as { modes: (ModeReport & { exactlyOnce: boolean })[] }
    expect(settings).toEqual({ experiment: 'semantics', seed: 1, loss: 0.2, duplicate: 0.2, delayMs: 2, requests: 8, clients: 8 })
    expect(modes.map(({ history, methods }) => [history, methods.map(({ method }) => method)])).toEqual(['off', 'on'].map(history => [history, ['extend', 'cancel', 'reserve', 'buyPermit']]))
    expect(modes[1]?.exactlyOnce).toBe(true)
    expect(exitCode).toBe(0)
    expect(readdirSync(folder)).toEqual([])
  })

  test('prints a table for people', { timeout: 60_000 }, async () => {
    const { out } = await semantics('--requests', '4', '--clients', '2', '--loss', '0', '--duplicate', '0', '--delay', '0', '--quiet')
    expect(out).toMatch(/^4 requests of each method from 2 clients; .* 0 % are lost\nand 0 % of the others come twice, each up to 0 ms late; seed 1\.\n\nHISTORY {2}METHOD {5}REQUESTS/)
    for (const line of ['off      extend  ', 'on       buyPermit  ']) expect(out.split('\n').find(one => one.startsWith(line))).toMatch(/ 4 .* right$/)
  })

  test('stops when it takes too long, and says what to do', async () => {
    const folder = temporary()
    await expect(semantics('--give-up', '1s', '--quiet')).rejects.toMatchObject({ code: 'gave_up', message: expect.stringContaining('--give-up') as string })
    expect(readdirSync(folder)).toEqual([])
  })

  test.each([
    ['while it is prepared', 'making what the requests are about'],
    ['while requests are under way', 'history off: ']
  ])('stops cleanly at Ctrl-C %s', { timeout: 60_000 }, async (_when, line) => {
    const temp = testFolder()
    const child = spawn(process.execPath, [PROGRAM, 'experiment', 'semantics', '--loss', '0.5'], { env: { ...process.env, TMPDIR: temp }, stdio: ['ignore', 'pipe', 'pipe'] })
    afterThisTest(async () => { child.kill('SIGKILL') })
    const said = { out: '', err: '' }
    child.stdout.on('data', text => { said.out += String(text) })
    const ended = once(child, 'exit')
    await new Promise<void>(resolve => child.stderr.on('data', text => {
      said.err += String(text)
      if (said.err.includes(line)) resolve()
    }))
    child.kill('SIGINT')
    expect(await ended).toEqual([130, null])
    expect(said.out).toBe('')
    expect(readdirSync(temp)).toEqual([])
  })

  test.each<[Partial<SemanticsOptions>, RegExp]>([
    [{ loss: '0.95' }, /--loss 0\.95 .* from 0 to 0\.9/], [{ loss: '20' }, /--loss 20 /], [{ duplicate: 'x' }, /--duplicate x /], [{ delay: '-1' }, /--delay -1 /],
    [{ delay: '1.5' }, /--delay 1\.5 /], [{ requests: '0' }, /--requests 0 /], [{ clients: '101' }, /--clients 101 .* 1 to 100/], [{ seed: 'a' }, /--seed a /]
  ])('refuses %j', (wrong, message) => {
    const right = { loss: '0.2', duplicate: '0.2', delay: '50', requests: '10', clients: '2', seed: '1' }
    expect(() => readSettings({ ...right, ...wrong })).toThrow(expect.objectContaining({ code: 'usage', message: expect.stringMatching(message) as string }) as Error)
  })

  test.each([[0, 3], [0.2, 21], [0.3, 31], [0.9, 200]])('with a loss of %d a request has %i tries, each with the time of the way there and back', (loss, tries) => {
    expect(triesOf({ seed: 1, duplicate: 0, loss, delayMs: 50 })).toEqual({ retries: tries - 1, tryMs: 200, timeoutMs: tries * 200 + 15_000 })
  })
})

describe('the history', () => {
  test.each([
    { history: 'off' }, { experiment: { history: 'off' } }, { remembers: false }, { times: { historyMs: 0 } }, { limits: { history: 0 } }
  ])('cannot be left out by the setting %j', setting => {
    expect(Config.safeParse(setting).success).toBe(false)
  })

  test.each(['--history', '--no-history', '--experiment', '--no-experiment', '--remembers'])('cannot be left out by the flag %s of start', async flag => {
    vi.spyOn(process.stderr, 'write').mockReturnValue(true)
    const command = startCommand().exitOverride()
    expect(command.options.map(({ long }) => long)).not.toContain(flag)
    await expect(command.parseAsync([flag, 'off'], { from: 'user' })).rejects.toThrow(/unknown option/)
  })

  test('is there whatever the environment and a forged setting say', async () => {
    const data = testFolder()
    for (const name of ['PARKMQ_HISTORY', 'PARKMQ_EXPERIMENT', 'PARKMQ_EXPERIMENT_HISTORY', 'PARKMQ_REMEMBERS']) {
      expect(Object.keys(VARIABLES)).not.toContain(name)
      vi.stubEnv(name, 'off')
    }
    const { config } = loadConfig({ flags: { data, port: 0, wsPort: 0 } })
    const forged = { ...config, experiment: { history: 'off' }, history: 'off', remembers: false }
    const app = await startApp({ config: forged, log: createLog('silent', false) })
    afterThisTest(() => app.stop())
    await isRemembered(`mqtt://127.0.0.1:${app.port}`)
  })

  test('is there in an app as tests start it', async () => {
    await isRemembered((await startTestApp()).url)
  })

  test('can be left out by cli/experiment alone: nobody else makes an Experiment or passes one on', () => {
    const root = fileURLToPath(new URL('../..', import.meta.url))
    const files = ['broker', 'services', 'storage', 'shared', 'cli', 'bench'].flatMap(folder => readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map(name => join(folder, name))).filter(name => name.endsWith('.ts'))
    const saying = (what: RegExp): string[] => files.filter(name => what.test(readFileSync(join(root, name), 'utf8'))).sort()
    expect(saying(/import \{[^}]*\bExperiment\b[^}]*\}|import \* .*experiment\.js|import\(.*experiment\.js|export .* from .*experiment\.js/)).toEqual(['cli/experiment/semantics.ts'])
    expect(saying(/new Experiment\(/)).toEqual(['cli/experiment/semantics.ts'])
    expect(saying(/remembers: (?!boolean)/)).toEqual(['services/reservation/intake.ts'])
  })
})

/** The same request twice: the second gets the stored reply. */
async function isRemembered (url: string): Promise<void> {
  const driver = await connectTestClient(url)
  await driver.subscribe('answers/me')
  const body = JSON.stringify({ lot: 'LOT-A', plate: 'ABC 123', requestId: '0123456789abcdef' })
  for (let n = 0; n < 2; n++) await driver.mqtt.publishAsync('requests/reserve', body, { qos: 1, properties: { responseTopic: 'answers/me', correlationData: Buffer.from(String(n)) } })
  await driver.until('the second answer', ({ packet }) => packet.properties?.correlationData?.toString() === '1')
  const [first, second] = driver.received
  expect(first?.text).toContain('"ok":true')
  expect(second?.text).toBe(first?.text)
  expect(second?.packet.properties?.userProperties).toEqual({ replayed: 'true' })
}

/** Runs `parkmq experiment semantics ...` as the program does, in this process. */
async function semantics (...args: readonly string[]): Promise<{ out: string, exitCode: typeof process.exitCode }> {
  let out = ''
  const spy = vi.spyOn(process.stdout, 'write').mockImplementation(text => { out += String(text); return true })
  try {
    await experimentCommand().parseAsync(['semantics', ...args], { from: 'user' })
  } finally {
    spy.mockRestore()
  }
  return { out, exitCode: process.exitCode }
}
