// The bench as a command: `parkmq bench` and `npm run bench --` are both this. It prints figures and judges nothing: a
// figure depends on the machine, so what is compared runs in turn in the same command and is printed as a ratio as well.
import { messageOf } from '../shared/errors.js'
import { say } from './figures.js'
import { OPTIONS, readOptions, type OptionName, type Options } from './options.js'
import { clearProgress } from './progress.js'
import { reportRuns } from './report/set.js'
import { runScenarios, type Ending, type Run } from './run.js'
import { DEFAULT_SCENARIOS, SCENARIOS } from './scenarios.js'
import { UsageError } from './usage-error.js'

/** Options that are of the bench and not of a scenario. */
const OF_THE_BENCH: readonly OptionName[] = ['results', 'report', 'from', 'limit']
/** In minutes, unless `--limit` says otherwise. */
const LIMIT_MINUTES = 120
const REPORT_LIMIT_MINUTES = 30
/** As a shell says for a program that a signal ended. */
const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const

/**
 * Runs a command line and resolves with the exit code: 0 done, 1 something failed or took too long, 2 wrong usage. `program` is how
 * it was called, such as `parkmq bench`. The caller then ends the process, which ends whatever was started: sockets that nobody closes
 * any more shall not keep a finished bench alive. A signal ends the process at once, with all that was started.
 */
export async function bench (args: readonly string[], program: string): Promise<number> {
  try {
    const { names, options, help } = readOptions(args)
    if (help) {
      say(usage(program))
      return 0
    }
    if (options.from !== undefined) return await reportFrom(names, options)
    const command = [program, ...args].join(' ')
    const runs = options.report === undefined || names.length > 0 ? chosen(names, options, program) : reportRuns(withoutBench(options), program)
    if (options.report !== undefined) return await report(options.report, runs, command, options)
    endOnSignals(() => {})
    const [ending] = await runScenarios({ runs, command, file: options.results ?? null, limitMinutes: limitOf(options), continues: false })
    return sayEnding(ending)
  } catch (error) {
    clearProgress()
    const wrongUsage = error instanceof UsageError
    process.stderr.write(wrongUsage ? `${error.message}\n(${program} --help shows how)\n` : `the bench failed: ${error instanceof Error ? error.stack : messageOf(error)}\n`)
    return wrongUsage ? 2 : 1
  }
}

function usage (program: string): string {
  const scenarios = Object.entries(SCENARIOS).map(([name, { help, takes, options }]) =>
    `  ${name.padEnd(14)}${help} (${takes})${options.length > 0 ? `\n                ${options.map(option => `--${option}`).join(' ')}` : ''}`)
  const options = Object.entries(OPTIONS).map(([name, { value, help }]) => `  --${name} ${value}`.padEnd(37) + help)
  return [
    `usage: ${program} [scenario ...] [options]`, '', `scenarios (without a name: ${DEFAULT_SCENARIOS.join(', ')}; all: every one, builds only with --against):`, ...scenarios,
    '', 'options:', ...options, '',
    'Each scenario starts what it measures in processes of its own on 127.0.0.1, with data folders in the folder for temporary files (TMPDIR',
    'chooses the disk), and removes them. Figures are of this machine at this moment; compare the ratios.', '',
    `  ${program} --report DIR                          measure what the report shows, with short durations, and write it`,
    `  ${program} --report DIR baseline --clients 16    a report of some scenarios`,
    `  ${program} --report DIR --from DIR/results.json  write report and plots again without measuring`, '',
    'Exit codes: 0 done; 1 a scenario failed or took too long; 2 wrong usage; 130 Ctrl-C.'
  ].join('\n')
}

/** The named scenarios, each with all the options. */
function chosen (names: readonly string[], options: Options, program: string): Run[] {
  const all = names.includes('all')
  const has = (needed: OptionName | undefined): boolean => needed === undefined || options[needed] !== undefined
  const scenarios = names.length === 0 ? DEFAULT_SCENARIOS : all ? Object.keys(SCENARIOS).filter(name => has(SCENARIOS[name]?.needs)) : names
  for (const name of scenarios) {
    if (!Object.hasOwn(SCENARIOS, name)) throw new UsageError(`there is no scenario ${name}; there are ${Object.keys(SCENARIOS).join(', ')}`)
  }
  for (const name of scenarios) {
    const needs = SCENARIOS[name]?.needs
    if (needs !== undefined && !has(needs)) throw new UsageError(`${name} needs --${needs} ${OPTIONS[needs].value}: ${OPTIONS[needs].help}`)
  }
  const own = withoutBench(options)
  for (const option of Object.keys(own) as OptionName[]) {
    const deaf = all ? undefined : scenarios.find(name => SCENARIOS[name]?.options.includes(option) === false)
    if (deaf !== undefined) throw new UsageError(`${deaf} has no option --${option}; it has ${SCENARIOS[deaf]?.options.map(one => `--${one}`).join(', ') || 'none'}`)
  }
  return scenarios.map(scenario => ({ scenario, options: own, command: `${program} ${scenario}${shown(own)}` }))
}

function withoutBench (options: Options): Options {
  return Object.fromEntries(Object.entries(options).filter(([name]) => !OF_THE_BENCH.includes(name as OptionName)))
}

/** As on a command line. */
export function shown (options: Options): string {
  return Object.entries(options).map(([name, value]) => ` --${name} ${String(value)}`).join('')
}

function limitOf ({ limit, minutes, report }: Options): number {
  return limit ?? (report === undefined ? LIMIT_MINUTES : REPORT_LIMIT_MINUTES) + 2 * (minutes ?? 0)
}

async function report (folder: string, runs: readonly Run[], command: string, options: Options): Promise<number> {
  // Loaded by a report alone: the plotting takes longer to load than all the rest.
  const { prepareFolder, RESULTS_FILE, writeReport } = await import('./report/write.js')
  if (options.results !== undefined) throw new UsageError(`--report writes ${folder}/${RESULTS_FILE}: leave --results out`)
  const file = prepareFolder(folder)
  endOnSignals(() => {
    clearProgress()
    process.stderr.write(`\nended; what was measured until now becomes a report with --report ${folder} --from ${file}\n`)
  })
  const [ending, results] = await runScenarios({ runs, command, file, limitMinutes: limitOf(options), continues: true })
  say('')
  for (const written of await writeReport(folder, results)) say(`wrote ${written}`)
  return sayEnding(ending)
}

async function reportFrom (names: readonly string[], { report: folder, from, ...others }: Options): Promise<number> {
  if (folder === undefined || from === undefined) throw new UsageError('--from FILE needs --report DIR: where the report is written')
  const measuring = [...names, ...Object.keys(others).map(name => `--${name}`)]
  if (measuring.length > 0) throw new UsageError(`--from measures nothing: leave ${measuring.join(' ')} out`)
  const { prepareFolder, writeReport } = await import('./report/write.js')
  const { readResults } = await import('./report/read.js')
  const results = readResults(from)
  prepareFolder(folder)
  for (const written of await writeReport(folder, results)) say(`wrote ${written}`)
  return 0
}

function sayEnding ({ failed }: Ending): number {
  for (const { scenario, error } of failed) process.stderr.write(`${scenario} failed: ${error instanceof Error ? error.stack : messageOf(error)}\n`)
  return failed.length === 0 ? 0 : 1
}

/** What was started is ended by `exit` handlers, which a signal alone would not run. */
function endOnSignals (before: () => void): void {
  for (const [signal, code] of Object.entries(SIGNALS)) {
    process.once(signal, () => {
      before()
      process.exit(code)
    })
  }
}
