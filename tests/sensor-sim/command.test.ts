import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { simulateCommand } from '../../cli/simulate.js'
import { startTestApp, type TestApp } from '../support/app.js'
import { startStandIn } from './support.js'

afterEach(() => {
  vi.restoreAllMocks()
  process.exitCode = undefined
})

interface Printed { readonly out: string, readonly err: string, readonly listensWhileStopping: boolean, readonly exitCode: typeof process.exitCode }

/** Whether `simulate` listens for Ctrl-C. */
function isListening (): boolean {
  return process.listeners('SIGINT').some(listener => listener.name === 'onSignal')
}

/** Runs `parkmq simulate ...` as the program does, in this process. */
async function simulate (...args: string[]): Promise<Printed> {
  const printed = { out: '', err: '', listensWhileStopping: false }
  const stdout = vi.spyOn(process.stdout, 'write').mockImplementation(text => { printed.out += String(text); return true })
  const stderr = vi.spyOn(process.stderr, 'write').mockImplementation(text => {
    printed.err += String(text)
    if (String(text).includes('stopping')) printed.listensWhileStopping = isListening()
    return true
  })
  process.exitCode = undefined
  try {
    await simulateCommand().exitOverride().parseAsync(args, { from: 'user' })
  } finally {
    stdout.mockRestore()
    stderr.mockRestore()
  }
  return { ...printed, exitCode: process.exitCode }
}

interface SummaryJson {
  ending: string
  sent: number
  acknowledged: number
  lost: number
  duplicated: number
  restarts: number
  verified?: boolean
  rows?: Record<string, unknown>
  lots: { lot: string, name: string, expected?: number, counted?: number }[]
}

async function simulateJson (...args: string[]): Promise<SummaryJson & { exitCode: Printed['exitCode'] }> {
  const { out, exitCode } = await simulate(...args, '--json', '--quiet')
  return { ...JSON.parse(out) as SummaryJson, exitCode }
}

function csv (rows: readonly string[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'parkmq-simulate-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'occupancy.csv')
  writeFileSync(path, `${['SystemCodeNumber,Capacity,Occupancy,LastUpdated', ...rows].join('\n')}\n`)
  return path
}

/** Three lots for two days, with negatives, values over the capacity, duplicate rows, rows out of order and names with spaces. */
function dirtyRecording (): { path: string, last: Record<string, number> } {
  const rows: string[] = []
  const lots = [{ name: 'NIA North', capacity: 40, low: -8, high: 30 }, { name: 'Bull Ring', capacity: 300, low: 5, high: 320 }, { name: 'BHM-1', capacity: 90, low: 0, high: 90 }]
  const at = (i: number): string => new Date(Date.UTC(2016, 9, 4, 8) + i * 1_800_000).toISOString().slice(0, 19).replace('T', ' ')
  for (const { name, capacity, low, high } of lots) {
    for (let i = 0; i < 96; i++) rows.push(`${name},${capacity},${Math.round(low + (high - low) * (0.5 - 0.5 * Math.cos(i * 0.37)))},${at(i)}`)
    rows.push(`${name},${capacity},${high},${at(95)}`, `${name},${capacity},${high},${at(95)}`, `${name},${capacity},,${at(96)}`)
  }
  rows.splice(10, 0, ...rows.splice(120, 30))
  return { path: csv(rows), last: { 'NIA-North': 30, 'Bull-Ring': 320, 'BHM-1': 90 } }
}

async function counted ({ app }: TestApp): Promise<Record<string, number>> {
  return Object.fromEntries((await app.ledger.allLots()).map(lot => [lot.id, lot.counted]))
}

describe('simulate without a service', () => {
  test('sends to any broker, and prints a summary for people', async () => {
    const far = await startStandIn()
    onTestFinished(() => far.stop())
    const { out, err, exitCode } = await simulate('--url', far.url, '--lots', 'P1,P2', '--capacity', '50', '--rate', '200', '--duration', '200ms', '--seed', '4')
    expect(exitCode).toBe(0)
    expect(out).toMatch(/ended +done\n/)
    expect(out).toMatch(/acknowledged +[\d,]+ in 0\.\d s, [\d,]+ a second\n/)
    expect(out).toMatch(/latency +p50 [\d.]+ ms, p95 [\d.]+ ms, p99 [\d.]+ ms, max [\d.]+ ms\n/)
    expect(err).toBe('')
    expect([...far.ledger.counted.keys()].sort()).toEqual(['P1', 'P2'])
  })

  test('without a rate, it ends after its duration and what was sent is acknowledged', async () => {
    const far = await startStandIn()
    onTestFinished(() => far.stop())
    const { ending, sent, acknowledged } = await simulateJson('--url', far.url, '--lots', 'P1', '--capacity', '50', '--rate', '0', '--duration', '200ms')
    expect({ ending, sent, acknowledged }).toEqual({ ending: 'done', sent: far.payloads.length, acknowledged: far.payloads.length })
  })

  test('the same seed sends the same messages, a second run is not taken for duplicates', async () => {
    const far = await startStandIn()
    onTestFinished(() => far.stop())
    const run = async (): Promise<object[]> => {
      const before = far.payloads.length
      await simulate('--url', far.url, '--lots', 'P1', '--capacity', '50', '--rate', '200', '--duration', '500ms', '--seed', '4', '--json')
      return far.payloads.slice(before).map(payload => ({ ...JSON.parse(payload) as object, epoch: 0 }))
    }
    const first = await run()
    expect(first.length).toBeGreaterThan(30)
    expect(await run()).toEqual(first)
    expect(far.ledger.outcomes).toMatchObject({ applied: 2 * first.length, duplicate: 0, oldEpoch: 0 })
  })

  test('says what to do when nobody answers the question for the lots', async () => {
    const far = await startStandIn()
    onTestFinished(() => far.stop())
    await expect(simulate('--url', far.url, '--timeout', '1')).rejects.toMatchObject({ code: 'timeout', message: expect.stringMatching(/nobody answered the request `lots` within 1 s.*--lots and --capacity/) as string })
  })

  test('says that there is no broker, and checks the options and the file before', async () => {
    await expect(simulate('--url', 'mqtt://127.0.0.1:1', '--lots', 'P1', '--capacity', '5')).rejects.toMatchObject({ code: 'unreachable' })
    await expect(simulate('--url', 'mqtt://127.0.0.1:1', '--rate', 'x')).rejects.toMatchObject({ code: 'usage' })
    await expect(simulate('--url', 'mqtt://127.0.0.1:1', '--replay', '/nowhere.csv')).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining('/nowhere.csv') as string })
  })

  test('ends with 1 and the reasons when messages are refused', async () => {
    const far = await startStandIn({ refuse: () => 'unknown_lot: there is no such lot' })
    onTestFinished(() => far.stop())
    const { out, exitCode } = await simulate('--url', far.url, '--lots', 'P1', '--capacity', '50', '--rate', '100', '--duration', '200ms')
    expect(exitCode).toBe(1)
    expect(out).toMatch(/refused +\d+ \(unknown_lot: there is no such lot\)/)
  })

  test('ends with 3 when the broker falls silent', async () => {
    const far = await startStandIn({ silentFrom: 5 })
    onTestFinished(() => far.stop())
    const { out, err, exitCode } = await simulate('--url', far.url, '--lots', 'P1', '--capacity', '50', '--rate', '0', '--duration', '1m', '--give-up', '1s')
    expect(exitCode).toBe(3)
    expect(out).toMatch(/ended +unreachable: no acknowledgement/)
    expect(err).toMatch(/parkmq: no acknowledgement for 1 s; 64 messages are left unacknowledged/)
  })

  test.each(['a terminal', 'a file'])('Ctrl-C ends a run cleanly with 130, with progress on %s', async where => {
    // On a terminal, the progress line listens for signals as well, and ends the process when nobody else does.
    Object.defineProperty(process.stderr, 'isTTY', { value: where === 'a terminal', configurable: true })
    onTestFinished(() => { Reflect.deleteProperty(process.stderr, 'isTTY') })
    const far = await startStandIn()
    onTestFinished(() => far.stop())
    const poll = setInterval(() => { if (far.payloads.length > 150) { clearInterval(poll); process.kill(process.pid, 'SIGINT') } }, 5)
    onTestFinished(() => clearInterval(poll))
    const { out, err, exitCode, listensWhileStopping } = await simulate('--url', far.url, '--lots', 'P1', '--capacity', '50', '--rate', '500', '--duration', '0', '--reorder', '0.5')
    expect(exitCode).toBe(130)
    expect(err).toContain('stopping')
    expect(out).toMatch(/ended +interrupted\n/)
    expect(out).not.toContain('unacknowledged')
    expect(listensWhileStopping).toBe(true)
    expect(isListening()).toBe(false)
  })

  test('--help shows examples and exit codes', () => {
    let help = ''
    simulateCommand().configureOutput({ writeOut: text => { help += text } }).outputHelp()
    expect(help).toContain('parkmq simulate --replay occupancy.csv --speed 600 --create-lots')
    expect(help).toContain('Exit codes: 0 done')
  })
})

describe('simulate on the whole system', () => {
  test('synthetic traffic with faults on all lots of the service counts right', async () => {
    const system = await startTestApp()
    const result = await simulateJson('--url', system.url, '--rate', '400', '--duration', '2s', '--gates', '2', '--duplicate', '0.1', '--reorder', '0.05', '--restart-every', '40', '--verify')
    expect(result).toMatchObject({ ending: 'done', exitCode: 0, verified: true, acknowledged: result.sent })
    expect(result.restarts).toBeGreaterThan(0)
    expect(result.lots.map(lot => lot.lot)).toEqual(['LOT-A', 'LOT-B', 'LOT-C', 'LOT-D'])
    expect(await counted(system)).toEqual(Object.fromEntries(result.lots.map(lot => [lot.lot, lot.expected])))
  })

  test('asks for as many pages of lots as there are', async () => {
    const lots = Array.from({ length: 1_005 }, (_, i) => ({ lot: `P${i}`, capacity: 10 }))
    const { url } = await startTestApp({ settings: { lots } })
    const result = await simulateJson('--url', url, '--rate', '500', '--duration', '300ms', '--verify')
    expect(result).toMatchObject({ exitCode: 0, verified: true })
    expect(new Set(result.lots.map(lot => lot.lot))).toEqual(new Set(lots.map(({ lot }) => lot)))
  })

  test('names the lots that are there when one is not', async () => {
    const { url } = await startTestApp()
    await expect(simulate('--url', url, '--lots', 'LOT-A,LOT-X')).rejects.toMatchObject({ code: 'unknown_lot', message: 'there is no lot LOT-X; there are LOT-A, LOT-B, LOT-C, LOT-D' })
  })

  test('a dirty recording with 5 % duplicates ends at its last samples, again on lots that are there', async () => {
    const system = await startTestApp({ settings: { lots: [] } })
    const { path, last } = dirtyRecording()
    const first = await simulateJson('--url', system.url, '--replay', path, '--speed', 'max', '--create-lots', '--duplicate', '0.05', '--verify')
    expect(first).toMatchObject({ exitCode: 0, verified: true, rows: { read: 297, duplicate: 3, unusable: { 'Occupancy is not a whole number': 3 } } })
    expect(first.duplicated).toBeGreaterThan(5)
    // A lot is made with its first sample, so that only one below 0 needs a delta.
    expect(first.sent - first.duplicated).toBe(3 * 96 - 2)
    expect(await counted(system)).toEqual(last)
    const names = Object.fromEntries((await system.app.ledger.allLots()).map(lot => [lot.id, lot.name]))
    expect(names).toEqual({ 'NIA-North': 'NIA North', 'Bull-Ring': 'Bull Ring', 'BHM-1': 'BHM-1' })

    const again = await simulateJson('--url', system.url, '--replay', path, '--speed', 'max', '--create-lots', '--reorder', '0.2', '--verify')
    expect(again).toMatchObject({ exitCode: 0, verified: true, rows: { read: 297 } })
    expect(await counted(system)).toEqual(last)
  })

  test('losses are found by --verify, make the lots suspect, and one recount a lot mends both', async () => {
    const system = await startTestApp({ settings: { lots: [], times: { gapGraceMs: 50 } } })
    const watcher = await (await system.connect()).subscribe('lots/+/state')
    const { path, last } = dirtyRecording()
    const quality = async (wanted: string): Promise<void> => {
      for (const lot of Object.keys(last)) await watcher.last(`lots/${lot}/state`, text => (JSON.parse(text) as { quality: string }).quality === wanted)
    }
    const lossy = await simulate('--url', system.url, '--replay', path, '--speed', 'max', '--create-lots', '--lose', '0.1', '--verify')
    expect(lossy.exitCode).toBe(1)
    expect(lossy.out).toMatch(/\d of 3 lots count what they should/)
    await quality('suspect')
    const mended = await simulateJson('--url', system.url, '--replay', path, '--recount-only', '--verify')
    expect(mended).toMatchObject({ exitCode: 0, verified: true, sent: 3 })
    expect(await counted(system)).toEqual(last)
    await quality('live')
  })

  test('without --create-lots, unknown lots end the run before it begins', async () => {
    const { url } = await startTestApp({ settings: { lots: [] } })
    const { err, out, exitCode } = await simulate('--url', url, '--replay', dirtyRecording().path, '--speed', 'max')
    expect(exitCode).toBe(1)
    expect(err).toMatch(/unknown_lot.*--create-lots/)
    expect(out).toMatch(/sent +3\n/)
  })

  test('a recording without capacities needs one to make lots', async () => {
    const system = await startTestApp({ settings: { lots: [] } })
    const path = csv(['P 1,,3,2016-10-04 08:00:00'])
    await expect(simulate('--url', system.url, '--replay', path, '--create-lots')).rejects.toMatchObject({ message: expect.stringContaining('no capacity for "P 1"') as string })
    expect((await simulate('--url', system.url, '--replay', path, '--create-lots', '--capacity', '12', '--speed', 'max', '--verify')).exitCode).toBe(0)
    expect(await system.app.ledger.allLots()).toMatchObject([{ id: 'P-1', capacity: 12, counted: 3 }])
  })
})

// Real data that is not part of this repository.
const BIRMINGHAM = fileURLToPath(new URL('../../../shared/data/birmingham/occupancy.csv', import.meta.url))

describe.skipIf(!existsSync(BIRMINGHAM))('replay of 12 real car parks (skipped where ../shared/data/birmingham is absent)', () => {
  const replay = (url: string, ...args: string[]) => simulateJson('--url', url, '--replay', BIRMINGHAM, '--speed', 'max', ...args)

  test('with 5 % duplicates, overtaking and restarts, 12 of 12 end at the last occupancy of the file', async () => {
    const system = await startTestApp({ settings: { lots: [] } })
    const result = await replay(system.url, '--create-lots', '--duplicate', '0.05', '--reorder', '0.01', '--restart-every', '500', '--verify')
    expect(result).toMatchObject({ exitCode: 0, verified: true, ending: 'done' })
    expect(await counted(system)).toEqual({
      BHMBCCMKT01: 193, BHMBCCTHL01: 387, BHMBRCBRG01: 857, BHMBRTARC01: 364, BHMEURBRD02: 167, BHMNCPNHS01: 302,
      BHMNCPPLS01: 162, BHMNCPRAN01: 376, 'Bull-Ring': 2174, 'NIA-North': 1, 'Others-CCCPS133': 3132, Shopping: 1180
    })
  })

  test('with 2 % losses all 12 are suspect, and one recount a lot brings all back to the truth', async () => {
    const system = await startTestApp({ settings: { lots: [], times: { gapGraceMs: 50 } } })
    const watcher = await (await system.connect()).subscribe('lots/+/state')
    const lossy = await replay(system.url, '--create-lots', '--lose', '0.02', '--verify')
    expect(lossy).toMatchObject({ exitCode: 1, verified: false })
    for (const { lot } of lossy.lots) await watcher.last(`lots/${lot}/state`, text => (JSON.parse(text) as { quality: string }).quality === 'suspect')
    expect(await replay(system.url, '--recount-only', '--verify')).toMatchObject({ exitCode: 0, verified: true, sent: 12 })
    for (const { lot } of lossy.lots) await watcher.last(`lots/${lot}/state`, text => (JSON.parse(text) as { quality: string }).quality === 'live')
  })
})
