// What scenarios measured, as data: collected over rounds, and whole after JSON.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { describe, expect, onTestFinished, test } from 'vitest'
import { grown, parseMetrics } from '../../bench/metrics-page.js'
import { readOptions } from '../../bench/options.js'
import { Recorder, spreadOf } from '../../bench/recorder.js'
import type { Results } from '../../bench/results.js'
import { UsageError } from '../../bench/usage-error.js'
import { testFolder } from '../support/app.js'
import { findMosquitto } from '../support/mosquitto.js'

const ROOT = join(import.meta.dirname, '../..')
const MAIN = join(ROOT, 'dist/bench/main.js')

describe('Recorder', () => {
  const series = { what: 'throughput', of: { system: 'parkmq' }, x: { name: 'clients', unit: '' }, y: { name: 'requests', unit: '1/s' } }

  test('gathers rounds by series and point', () => {
    const recorder = new Recorder({ scenario: 'some', title: 'Something', parameters: { rounds: 3 } })
    for (const [x, value] of [[1, 30], [4, 5], [1, 10], [1, 20]] as const) recorder.add(series, x, value)
    recorder.add({ ...series, of: { system: 'other' } }, 1, 7)
    recorder.ratio({ what: 'throughput', of: {}, numerator: 'parkmq', denominator: 'other', better: 'higher' }, 2)
    recorder.account({ system: 'parkmq' }, { sent: 5, answered: 4 })
    recorder.account({ system: 'parkmq' }, { sent: 6, answered: 6, lost: 1 })
    const result = recorder.result()
    expect(JSON.parse(JSON.stringify(result))).toEqual(result)
    expect(result.series).toEqual([
      { ...series, points: [{ x: 1, y: { median: 20, min: 10, max: 30, rounds: [30, 10, 20] } }, { x: 4, y: { median: 5, min: 5, max: 5, rounds: [5] } }] },
      { ...series, of: { system: 'other' }, points: [{ x: 1, y: spreadOf([7]) }] }
    ])
    expect(result.ratios).toEqual([{ what: 'throughput', of: {}, numerator: 'parkmq', denominator: 'other', better: 'higher', median: 2, min: 2, max: 2, rounds: [2] }])
    expect(result.accounts).toEqual([{ of: { system: 'parkmq' }, counts: { sent: 11, answered: 10, lost: 1 } }])
  })

  test('refuses what JSON would lose', () => {
    const recorder = new Recorder({ scenario: 'some', title: 'Something', parameters: {} })
    expect(() => recorder.add(series, 1, NaN)).toThrow(RangeError)
    expect(() => recorder.account({}, { sent: Infinity })).toThrow(RangeError)
  })
})

describe('options', () => {
  test('reads lists of numbers and of systems', () => {
    expect(readOptions(['baseline', '--clients', '1,16', '--systems', 'parkmq,service', '--ids', 'off', '--rate', '500', '--seconds', '0.5'])).toEqual({
      names: ['baseline'], options: { seconds: 0.5, clients: [1, 16], systems: ['parkmq', 'service'], ids: 'off', rate: 500 }, help: false
    })
  })

  test.each([['--clients', '1,zero'], ['--clients', '0'], ['--systems', 'oracle'], ['--ids', 'maybe'], ['--rate', '0'], ['--seconds', '0'], ['--seconds', '0.25'], ['--seconds', '3601'], ['--limit', '0'], ['--report', '']])('refuses %s %s and names it', (name, value) => {
    expect(() => readOptions([name, value])).toThrow(UsageError)
    expect(() => readOptions([name, value])).toThrow(name)
  })
})

test('a metrics page tells how much was counted between two looks', () => {
  const before = parseMetrics('# HELP a b\na_total{kind="lot"} 5\na_total{kind="reply"} 2\n')
  const after = parseMetrics('a_total{kind="lot"} 9\na_total{kind="reply"} 2\na_total{kind="event"} 3\na_totals 100\n')
  expect(grown(before, after, 'a_total')).toBe(7)
  expect(grown(before, after, 'a_total', 'kind="lot"')).toBe(4)
})

describe('the command', () => {
  async function run (...args: string[]): Promise<Results> {
    const file = join(testFolder(), 'results.json')
    const child = spawn(process.execPath, [MAIN, ...args, '--results', file], { stdio: ['ignore', 'pipe', 'pipe'] })
    onTestFinished(() => { child.kill() })
    const [stdout, stderr, [status]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit') as Promise<[number | null]>])
    expect({ status, stderr }, stdout).toEqual({ status: 0, stderr: '' })
    return JSON.parse(readFileSync(file, 'utf8')) as Results
  }

  /** What each account must say of requests: all were made, acknowledged and answered once, and done. */
  function expectEven (counts: Readonly<Record<string, number>>): void {
    const { sent = 0, ...others } = counts
    expect(sent).toBeGreaterThan(0)
    expect(others).toMatchObject({ acknowledged: sent, answered: sent, ok: sent, unanswered: 0, unacknowledged: 0, unsent: 0, repeated: 0, strange: 0, replayed: 0, closed: 0 })
    expect(Object.keys(others).filter(name => name.startsWith('refused ')).map(name => [name, others[name]])).toEqual([])
  }

  test('baseline: every system answers all that it is asked, and the figures are in the file', { timeout: 120_000 }, async () => {
    const { format, machine, versions, scenarios } = await run('baseline', '--rounds', '1', '--seconds', '0.1', '--clients', '2', '--rate', '100')
    expect(format).toBe(1)
    expect(machine.syncMs).toBeGreaterThan(0)
    expect(versions.aedes).toBe('2.0.0-beta.1')
    const [baseline] = scenarios
    const there = findMosquitto() === null ? ['parkmq', 'aedes-echo'] : ['parkmq', 'mosquitto-echo', 'aedes-echo', 'service', 'service-auto-ack']
    expect(new Set(baseline?.accounts.map(({ of }) => of.system))).toEqual(new Set(there))
    expect(baseline?.absent.map(({ what }) => what)).toEqual(['mosquitto-echo', 'service', 'service-auto-ack'].filter(name => !there.includes(name)))
    for (const { counts } of baseline?.accounts ?? []) expectEven(counts)
    const throughputs = baseline?.series.filter(({ what }) => what === 'throughput') ?? []
    expect(throughputs.map(({ of }) => `${of.workload} ${of.system}`).sort()).toEqual(['reads', 'writes'].flatMap(workload => there.map(system => `${workload} ${system}`)).sort())
    expect(baseline?.ratios.every(({ numerator, rounds }) => numerator === 'parkmq' && rounds.length === 1)).toBe(true)
  })

  test('stress and ingest: every sensor message is acknowledged and heard of', { timeout: 120_000 }, async () => {
    const [{ scenarios: [stress] }, { scenarios: [ingest] }] = await Promise.all([
      run('stress', '--rounds', '1', '--seconds', '0.1'),
      run('ingest', '--rounds', '1', '--messages', '300', '--publishers', '1,3', '--window', '8', '--systems', 'parkmq,mosquitto-forward,service')
    ])
    const sensors = stress?.accounts.filter(({ of }) => of.what === 'sensors') ?? []
    expect(sensors).toHaveLength(6)
    expect(ingest?.accounts.length).toBe(findMosquitto() === null ? 2 : 6)
    for (const { counts } of [...sensors, ...ingest?.accounts ?? []]) {
      expect(counts.sent).toBeGreaterThan(0)
      expect(counts).toMatchObject({ acknowledged: counts.sent, 'heard of': counts.sent, closed: 0 })
    }
    for (const { counts } of stress?.accounts.filter(({ of }) => of.what === 'requests') ?? []) expectEven(counts)
  })

  test('builds: two builds are asked the same, and each ratio is this one\'s of the other', { timeout: 120_000 }, async () => {
    const { scenarios: [builds] } = await run('builds', '--against', ROOT, '--rounds', '2', '--seconds', '0.1', '--clients', '4')
    const loads = ['writes', 'reads'].flatMap(workload => ['no sensors', '1,000/s in all'].map(sensors => `${workload}, ${sensors}`))
    const requests = builds?.accounts.filter(({ of }) => of.what === 'requests') ?? []
    expect(requests.map(({ of }) => `${of.build}, ${of.workload}, ${of.sensors}`).sort()).toEqual(['this build', 'the other'].flatMap(build => loads.map(load => `${build}, ${load}`)).sort())
    for (const { counts } of requests) expectEven(counts)
    const sensors = builds?.accounts.filter(({ of }) => of.what === 'sensors') ?? []
    expect(sensors).toHaveLength(4)
    for (const { counts } of sensors) expect(counts).toMatchObject({ acknowledged: counts.sent, 'heard of': counts.sent })
    const throughputs = builds?.ratios.filter(({ what }) => what === 'throughput') ?? []
    expect(throughputs.map(({ of }) => `${of.workload}, ${of.sensors}`)).toEqual(loads)
    for (const { numerator, denominator, rounds } of throughputs) expect({ numerator, denominator, rounds: rounds.length }).toEqual({ numerator: 'this build', denominator: 'the other', rounds: 2 })
  })

  test.each([
    ['builds without another', ['builds'], 'builds needs --against DIR: the folder of another build of parkmq'],
    ['a folder that is no build', ['builds', '--against', tmpdir()], `--against ${tmpdir()} is no build of parkmq: it has no bin/parkmq.js`]
  ])('%s is refused', (_, args, words) => {
    const { status, stderr } = spawnSync(process.execPath, [MAIN, ...args], { encoding: 'utf8' })
    expect({ status, stderr }).toEqual({ status: 2, stderr: expect.stringContaining(words) as string })
  })

  test('an option that a scenario does not have is refused and named', () => {
    const { status, stderr } = spawnSync(process.execPath, [MAIN, 'start', '--clients', '4'], { encoding: 'utf8' })
    expect(status).toBe(2)
    expect(stderr).toContain('start has no option --clients')
  })
})
