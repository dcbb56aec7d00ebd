// The report: from a results file, without measuring, and the command around it.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { bench } from '../../bench/command.js'
import { PLOTS } from '../../bench/report/plots.js'
import { readResults } from '../../bench/report/read.js'
import { REPORT_SCENARIOS } from '../../bench/report/set.js'
import { writeReport } from '../../bench/report/write.js'
import type { Results, ScenarioResult, Series } from '../../bench/results.js'
import { UsageError } from '../../bench/usage-error.js'
import { testFolder } from '../support/app.js'
import { PROGRAM } from '../support/process.js'
import { elementsOf } from '../support/svg.js'

const FIXTURE = join(import.meta.dirname, 'fixtures/results.json')
const fixture = readResults(FIXTURE)
const scenarioOf = (name: string, results = fixture): ScenarioResult => {
  const found = results.scenarios.find(({ scenario }) => scenario === name)
  if (found === undefined) throw new Error(`no ${name} in the fixture`)
  return found
}
const seriesOf = (name: string, what: string): readonly Series[] => scenarioOf(name).series.filter(series => series.what === what)
const pointsOf = (all: readonly Series[]): number => all.reduce((sum, { points }) => sum + points.length, 0)

/** Writes a report of these results and returns its files by name. */
async function reported (results: Results): Promise<Record<string, string>> {
  const folder = mkdtempSync(join(tmpdir(), 'parkmq-test-'))
  try {
    await writeReport(folder, results)
    return Object.fromEntries(readdirSync(folder).map(name => [name, readFileSync(join(folder, name), 'utf8')]))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

describe('report.md', async () => {
  const { 'report.md': text = '', 'results.json': data = '' } = await reported(fixture)
  const lines = text.split('\n')
  /** The lines of a section, by its heading. */
  const section = (heading: string): string[] => {
    const from = lines.indexOf(heading)
    expect(from, heading).toBeGreaterThan(-1)
    const depth = heading.indexOf(' ')
    const after = lines.slice(from + 1)
    const end = after.findIndex(line => /^#+ /.test(line) && line.indexOf(' ') <= depth)
    return end < 0 ? after : after.slice(0, end)
  }

  test('says when, by which command, on what machine, with which versions and seed', () => {
    expect(text).toContain('Made on 2026-11-21 at 08:00 UTC')
    expect(text).toContain('```sh\nparkmq bench --report report\n```')
    for (const row of ['processors | 2 x A processor', 'system | Linux 6.1.0 x64', 'an fsync takes (median) | 0.31 ms', 'parkmq | 0.1.0', 'aedes | 2.0.0-beta.1', 'mosquitto | 2.0.11', 'seed | 20261121']) expect(lines).toContain(`| ${row} |`)
  })

  test('keeps the results whole beside it', () => {
    expect(JSON.parse(data)).toEqual(fixture)
  })

  test('has a section for each scenario that ran, with the command that makes it again', () => {
    for (const { scenario, command = '' } of fixture.scenarios) expect(section(`## ${scenario}`)).toContain(command)
  })

  test('has a table of systems side by side, parkmq first, median and spread of the rounds', () => {
    const table = section('### Throughput: requests/s')
    expect(table).toContain('| workload | clients | parkmq | mosquitto-echo | service |')
    const at = (system: string): string => {
      const spread = seriesOf('baseline', 'throughput').find(({ of }) => of.workload === 'writes' && of.system === system)?.points.find(({ x }) => x === 16)?.y
      const whole = (value = NaN): string => value.toLocaleString('en', { maximumFractionDigits: 0 })
      return `${whole(spread?.median)} (${whole(spread?.min)} to ${whole(spread?.max)})`
    }
    expect(table).toContain(`| writes | 16 | ${at('parkmq')} | ${at('mosquitto-echo')} | ${at('service')} |`)
  })

  test('has percentiles side by side', () => {
    expect(section('### Delivery lag: lag of free (ms), clients 16')[1]).toBe('| workload | sensor load | p50 | p95 | p99 |')
    expect(section('### Latency distribution: round trip (ms), clients 16')[1]).toBe('| workload | system | p50 | p95 | p99 | p99.9 | longest |')
  })

  test('every ratio is in a table with its median, least and most', () => {
    const cells = (name: string): number => section(`## ${name}`).join('\n').match(/\*\*[\d.,]+\*\* \([\d.,]+ to [\d.,]+\)/g)?.length ?? 0
    for (const name of ['baseline', 'stress', 'ingest', 'fan-out', 'scale']) {
      expect([name, cells(name)]).toEqual([name, fixture.scenarios.filter(({ scenario }) => scenario === name).reduce((sum, { ratios }) => sum + ratios.length, 0)])
    }
  })

  test('every count that must come out even is in a table', () => {
    const { accounts } = scenarioOf('ingest')
    const table = section('## ingest').join('\n')
    for (const { of, counts } of accounts) expect(table).toMatch(new RegExp(`\\| ${of.system} \\|.*\\| ${(counts.sent ?? NaN).toLocaleString('en')} \\|`))
  })

  test('runs of one scenario are one section: what they differ in is a row', () => {
    const table = section('### Deliveries/s, qos 1, mqtt 3.1.1')
    expect(table.filter(line => /^\| 10+ \|/.test(line)).map(line => line.split(' ')[1])).toEqual(['10', '100'])
    expect(section('## fan-out').filter(line => line.startsWith('With '))).toHaveLength(2)
  })

  test('says whether what must hold holds, and where it was not measured', () => {
    const table = section('## What must hold').join('\n')
    expect(table).toMatch(/hand-written service .* \| at least 5 times \| 26\.4 \(12\.7 to 26\.4\) \| yes \|/)
    expect(table).toMatch(/mosquitto's bare echo \| at least 0\.4 times \| 0\.150 .* \| \*\*no\*\* \|/)
    expect(table).toMatch(/memory of a connection, at 5,000 \| at most 45,000 bytes \| 37,200 .* \| yes \|/)
    expect(table).toMatch(/kill -9 to ready .* \| not measured \(`restart`\) \|/)
  })

  test('names what was not run, what failed and why, and what was absent', () => {
    expect(section('## What was not measured').filter(line => line !== '')).toEqual(['- `slow`: the answer to connect took too long', '- `mixed`: not run', '- `frozen`: not run', '- `restart`: not run', '- `soak`: not run'])
    expect(section('## baseline')).toContain('- **service-auto-ack is absent**: it was not asked for.')
  })

  test('names the plots that are not there', async () => {
    const { 'report.md': without = '', ...files } = await reported({ ...fixture, scenarios: [scenarioOf('ingest')], unfinished: [] })
    expect(Object.keys(files)).toEqual(['results.json'])
    for (const { caption } of PLOTS) expect(without).toContain(`- ${caption}: needs \``)
    expect(without).not.toContain('.svg')
    for (const name of REPORT_SCENARIOS.filter(one => one !== 'ingest')) expect(without).toContain(`- \`${name}\`: not run`)
  })

  test('every figure has its place: no cell of a table is missing', () => {
    for (const [i, line] of lines.entries()) {
      if (!line.startsWith('|---')) continue
      const columns = line.split('|').length
      for (let row = i - 1; lines[row]?.startsWith('|'); row++) expect(lines[row]?.split(/(?<!\\)\|/)).toHaveLength(columns)
    }
  })
})

describe('plots', async () => {
  const files = await reported(fixture)
  const written = Object.keys(files).filter(name => name.endsWith('.svg'))

  test('all of them are there, are in the report, and no others', () => {
    expect(written.sort()).toEqual(PLOTS.map(({ file }) => file).sort())
    for (const { file, caption } of PLOTS) expect(files['report.md']).toContain(`![${caption}](${file})`)
  })

  test.each(PLOTS.map(({ file }) => file))('%s is well-formed, has a size, a title, and nothing that is no number', file => {
    const [svg, ...elements] = elementsOf(files[file] ?? '')
    expect(svg?.name).toBe('svg')
    expect(Number(svg?.attributes.width)).toBeGreaterThan(300)
    expect(Number(svg?.attributes.height)).toBeGreaterThan(200)
    expect(elements.filter(({ name }) => name === 'text').length).toBeGreaterThan(10)
    for (const { attributes } of elements) expect(JSON.stringify(attributes)).not.toMatch(/NaN|Infinity|undefined/)
  })

  const distribution = seriesOf('baseline', 'latency distribution').map(series => ({ ...series, points: series.points.filter(({ x }) => Number(x) >= 50) }))
  const lag = seriesOf('stress', 'delivery lag over time').filter(({ of }) => of.workload === 'writes' && of.percentile !== 'p99')
  const p95 = seriesOf('stress', 'latency').filter(({ of }) => of.percentile === 'p95')
  const size = scenarioOf('scale').series
  test.each([
    { file: 'throughput.svg', mark: 'dot', marks: pointsOf(seriesOf('baseline', 'throughput')), lines: seriesOf('baseline', 'throughput').length },
    { file: 'latency.svg', mark: 'dot', marks: pointsOf(distribution), lines: distribution.length },
    { file: 'sensors.svg', mark: 'bar', marks: pointsOf(p95), lines: 0 },
    { file: 'lag.svg', mark: 'dot', marks: pointsOf(lag), lines: lag.length },
    { file: 'scale.svg', mark: 'dot', marks: pointsOf(size), lines: size.length }
  ])('$file has a mark for each point: $marks, with the spread of each, and $lines lines', ({ file, mark, marks, lines }) => {
    const elements = elementsOf(files[file] ?? '')
    const within = (name: string): number => elements.filter(element => element.name !== 'g' && element.parent?.attributes.class?.split(' ').includes(name)).length
    expect(marks).toBeGreaterThan(0)
    expect({ marks: within(mark), ranges: within('range'), lines: within('line') }).toEqual({ marks, ranges: marks, lines })
  })

  test('a plot names its axes with their units, and each of its lines', () => {
    const said = (file: string): string[] => elementsOf(files[file] ?? '').filter(({ name }) => name === 'text').map(({ text }) => text)
    expect(said('throughput.svg')).toEqual(expect.arrayContaining(['clients', 'requests/s', 'reads', 'writes', 'parkmq', 'mosquitto-echo', 'service', '16']))
    expect(said('latency.svg')).toEqual(expect.arrayContaining(['round trip (ms)', 'per cent of the requests', '50', '99.9', 'longest']))
    expect(said('sensors.svg')).toEqual(expect.arrayContaining(['round trip (ms)', 'sensor load', 'no sensors', '1,000/s in all']))
    expect(said('scale.svg')).toEqual(expect.arrayContaining(['processor time of a message (µs)', 'lots', '100,000', 'resident memory (bytes)', 'connections']))
  })

  test('the same results give the same files, byte for byte', async () => {
    expect(await reported(fixture)).toEqual(files)
  })

  test('a plot of an earlier report in the same folder goes when this one has none of the kind', async () => {
    const folder = testFolder()
    await writeReport(folder, fixture)
    await writeReport(folder, { ...fixture, scenarios: [scenarioOf('stress')] })
    expect(readdirSync(folder).sort()).toEqual(['lag.svg', 'report.md', 'results.json', 'sensors.svg'])
  })
})

describe('a wrong results file', () => {
  const json = JSON.parse(readFileSync(FIXTURE, 'utf8')) as Record<string, unknown>
  test.each([
    ['is not JSON', 'not { JSON', /is no JSON/],
    ['is something else', '{"name":"parkmq"}', /is no results file of the bench: format/],
    ['is a list', '[]', /is no results file of the bench: the whole/],
    ['has another format', JSON.stringify({ ...json, format: 2 }), /has format 2; this version reads format 1/],
    ['lacks a part', JSON.stringify({ ...json, machine: undefined }), /machine/],
    ['has words for a figure', readFileSync(FIXTURE, 'utf8').replace(/"median":[\d.]+/, '"median":"fast"'), /scenarios\.0\.series\.0\.points\.0\.y\.median/]
  ])('that %s is refused by name', (_what, text, message) => {
    const file = join(testFolder(), 'wrong.json')
    writeFileSync(file, text)
    const read = (): unknown => readResults(file)
    expect(read).toThrow(UsageError)
    expect(read).toThrow(message)
    expect(read).toThrow(file)
  })

  test('that is not there is refused by name', () => {
    expect(() => readResults('/nowhere/results.json')).toThrow(/^\/nowhere\/results\.json cannot be read \(ENOENT\)/)
  })
})

describe('parkmq bench', () => {
  const run = (...args: string[]): { status: number | null, stdout: string, stderr: string } => spawnSync(process.execPath, [PROGRAM, 'bench', ...args], { encoding: 'utf8' })

  /** The same in this process, which starts sooner. */
  const here = async (...args: string[]): Promise<{ code: number, stdout: string, stderr: string }> => {
    const said = { stdout: '', stderr: '' }
    for (const name of ['stdout', 'stderr'] as const) vi.spyOn(process[name], 'write').mockImplementation(text => { said[name] += String(text); return true })
    try {
      const code = await bench(args, 'parkmq bench')
      return { code, ...said }
    } finally {
      vi.restoreAllMocks()
    }
  }

  test('--report DIR --from FILE makes the folder and the report in it', () => {
    const folder = join(testFolder(), 'new/report')
    expect(run('--report', folder, '--from', FIXTURE)).toMatchObject({ status: 0, stderr: '', stdout: expect.stringContaining(join(folder, 'report.md')) as string })
    expect(readdirSync(folder)).toHaveLength(PLOTS.length + 2)
  })

  test.each([
    [['--from', FIXTURE], /--from FILE needs --report DIR/],
    [['baseline', '--report', '/nowhere', '--from', FIXTURE, '--seconds', '1'], /--from measures nothing: leave baseline --seconds out/],
    [['--report', '/nowhere', '--from', '/nowhere.json'], /\/nowhere\.json cannot be read/],
    [['--report', FIXTURE, '--from', FIXTURE], /no folder can be made there/],
    [['--report', '/nowhere', '--minutes', '0'], /--minutes 0 is wrong/],
    [['--report', '/nowhere', '--results', 'y'], /leave --results out/],
    [['nothing'], /there is no scenario nothing/],
    [['start', '--clients', '4'], /start has no option --clients/],
    [['--nothing'], /--nothing/]
  ])('refuses %j with code 2', async (args, message) => {
    const { code, stderr } = await here(...args)
    expect(stderr).toMatch(message)
    expect(code).toBe(2)
  })

  test('--help tells scenarios, options and how to make a report', async () => {
    const { code, stdout } = await here('--help')
    expect(code).toBe(0)
    for (const said of ['usage: parkmq bench [scenario ...] [options]', '  baseline  ', '--clients n,n', '--report DIR --from DIR/results.json']) expect(stdout).toContain(said)
  })

  test('measures, writes the report, and says what it has not measured', { timeout: 60_000 }, () => {
    const folder = testFolder()
    // What a person has set for a parkmq of their own is not what is measured: silent, it would never say that it is ready.
    vi.stubEnv('PARKMQ_LOG_LEVEL', 'silent')
    onTestFinished(() => { vi.unstubAllEnvs() })
    const { status, stdout, stderr } = run('ingest', '--rounds', '1', '--messages', '400', '--systems', 'parkmq', '--report', folder)
    expect({ status, stderr }, stdout).toEqual({ status: 0, stderr: '' })
    const { scenarios: [ingest], command } = readResults(join(folder, 'results.json'))
    expect(ingest?.command).toBe('parkmq bench ingest --rounds 1 --messages 400 --systems parkmq')
    expect(command).toContain(`--report ${folder}`)
    expect(readFileSync(join(folder, 'report.md'), 'utf8')).toContain('- `baseline`: not run')
  })

  test('what takes longer than --limit is given up with code 1; the report says so', { timeout: 90_000 }, () => {
    const folder = testFolder()
    const temp = join(testFolder(), 'temp')
    mkdirSync(temp)
    const env = { ...process.env, TMPDIR: temp }
    const args = ['mixed', 'ingest', '--rounds', '1', '--systems', 'parkmq', '--limit', '1', '--report', folder]
    const { status, stderr } = spawnSync(process.execPath, ['--import', `data:text/javascript,${encodeURIComponent(SHORT_MINUTES)}`, PROGRAM, 'bench', ...args], { encoding: 'utf8', env })
    expect(status).toBe(1)
    expect(stderr).toContain('--limit allows more')
    const text = readFileSync(join(folder, 'report.md'), 'utf8')
    expect(text).toContain('- `mixed`: everything together took longer than 1 min; --limit allows more')
    expect(text).toContain('- `ingest`: not begun: mixed failed')
    expect(readdirSync(temp)).toEqual([])
  })

  test('Ctrl-C ends everything that was started, and its folders are gone', { timeout: 60_000 }, async () => {
    const temp = join(testFolder(), 'temp')
    mkdirSync(temp)
    const child = spawn(process.execPath, [PROGRAM, 'bench', 'mixed', '--systems', 'parkmq,aedes-echo', '--seconds', '60', '--report', join(temp, '../report')], { env: { ...process.env, TMPDIR: temp }, stdio: ['ignore', 'ignore', 'pipe'] })
    onTestFinished(() => { child.kill('SIGKILL') })
    let said = ''
    child.stderr.on('data', text => { said += String(text) })
    const ended = once(child, 'exit')
    // parkmq, stock aedes (which would not notice that nobody is there any more), the echo, and what makes the requests.
    const started = await vi.waitUntil(() => {
      const found = childrenOf(child.pid)
      return found.length >= 4 && readdirSync(temp).length > 0 ? found : null
    }, { timeout: 30_000, interval: 50 })
    onTestFinished(() => { for (const pid of started) if (isRunning(pid)) process.kill(pid, 'SIGKILL') })
    child.kill('SIGINT')
    expect(await ended).toEqual([130, null])
    expect(said).toContain('what was measured until now becomes a report with --report')
    await vi.waitUntil(() => started.every(pid => !isRunning(pid)), { timeout: 10_000, interval: 20 })
    expect(readdirSync(temp)).toEqual([])
  })
})

/** Makes a limit of one minute one of a second: nothing else waits for just that long. */
const SHORT_MINUTES = 'const later = globalThis.setTimeout; globalThis.setTimeout = (run, ms, ...args) => later(run, ms === 60_000 ? 1_000 : ms, ...args)'

function childrenOf (pid: number | undefined): number[] {
  return readdirSync('/proc').filter(name => /^\d+$/.test(name)).map(Number).filter(one => statusOf(one)?.parent === pid)
}

function isRunning (pid: number): boolean {
  const status = statusOf(pid)
  return status !== null && status.state !== 'Z'
}

function statusOf (pid: number): { state: string, parent: number } | null {
  try {
    const [state = '', parent] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
    return { state, parent: Number(parent) }
  } catch {
    // It ended meanwhile.
    return null
  }
}
