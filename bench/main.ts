// `npm run bench`: measuring commands, in a table. They print figures and judge nothing: a figure depends on the machine,
// so what is compared runs in turn in the same command and is printed as a ratio as well.
import { writeFileSync } from 'node:fs'
import { messageOf } from '../shared/errors.js'
import { access } from './access.js'
import { baseline, mixed } from './baseline.js'
import { burst } from './burst.js'
import { durable } from './durable.js'
import { fanOut } from './fan-out.js'
import { say } from './figures.js'
import { flood } from './flood.js'
import { ingest } from './ingest.js'
import { logins } from './logins.js'
import { describeMachine, describeVersions } from './machine.js'
import { OPTIONS, readOptions, type OptionName, type Options } from './options.js'
import { requests } from './requests.js'
import { reservations } from './reservations.js'
import { restart } from './restarting.js'
import { RESULTS_FORMAT, type Results, type ScenarioResult } from './results.js'
import { scale } from './scale.js'
import { slow } from './slow-subscribers.js'
import { soak } from './soak.js'
import { starting } from './starting.js'
import { stress } from './stress.js'
import { UsageError } from './usage-error.js'

interface Scenario {
  /** Scenarios that say what they measured as data as well return it. */
  readonly run: (options: Options) => Promise<ScenarioResult | void>
  readonly help: string
  /** How long it takes with its defaults. */
  readonly takes: string
  readonly options: readonly OptionName[]
}

const REQUEST_OPTIONS = ['rounds', 'seconds', 'clients', 'systems', 'rate', 'lots', 'ids', 'seed'] as const

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  ingest: { run: ingest, help: 'sensor messages committed before PUBACK, beside brokers that merely forward them and a hand-written service', takes: '1 min', options: ['rounds', 'publishers', 'window', 'messages', 'systems', 'tls'] },
  requests: { run: requests, help: 'reserve and cancel, one client, one at a time', takes: '10 s', options: [] },
  reservations: { run: reservations, help: 'a lot with 100,000 bookings to come: availability of a week, and book from 16 clients', takes: '30 s', options: [] },
  start: { run: starting, help: 'time to ready and memory with 4 and with 10,000 lots', takes: '10 s', options: [] },
  restart: { run: restart, help: 'time to ready after kill -9 by lots, by reservations in the history and by reservations to come', takes: '4 min', options: ['rounds', 'lots', 'reservations'] },
  scale: { run: scale, help: 'what a sensor message, a lot and a connection cost, up to 100,000 lots, 1,000,000 sensors and 5,000 connections', takes: '3 min', options: ['rounds', 'lots', 'messages', 'connections', 'seed'] },
  soak: { run: soak, help: 'sensors, displays and clients that come and go, for --minutes: memory and lag over time', takes: '2 min', options: ['minutes', 'seconds', 'lots', 'clients', 'rate', 'ids', 'seed'] },
  baseline: { run: baseline, help: 'availability, and reserve and cancel, for 1 to 64 clients: parkmq, bare echoes, a hand-written service', takes: '6 min', options: REQUEST_OPTIONS },
  mixed: { run: mixed, help: 'the same with 80 reads to 20 writes, among them book, change and cancel', takes: '2 min', options: REQUEST_OPTIONS },
  stress: { run: stress, help: 'the requests of baseline beside sensors at 10/s a lot, 1,000/s and 10,000/s, and how late displays hear of them', takes: '3 min', options: ['rounds', 'seconds', 'clients', 'lots', 'ids', 'seed'] },
  'fan-out': { run: fanOut, help: 'deliveries to 50 subscribers: parkmq, stock aedes, mosquitto', takes: '4 min', options: ['rounds', 'messages', 'subscribers', 'qos', 'mqtt', 'brokers'] },
  slow: { run: slow, help: 'a frozen and a never-acknowledging subscriber beside 50 healthy ones', takes: '7 min', options: ['seconds', 'minutes', 'subscribers', 'qos', 'mqtt', 'transport', 'session', 'brokers'] },
  burst: { run: burst, help: '20,000 messages as fast as the sockets take them, to 1 and to 50 healthy subscribers', takes: '5 min', options: ['messages', 'subscribers', 'qos', 'mqtt', 'brokers'] },
  flood: { run: flood, help: 'what a flooding client does to the round trips of ten others', takes: '2 min', options: ['seconds', 'brokers'] },
  durable: { run: durable, help: 'messages to a persistent session, connected and offline, kept on disk by parkmq and mosquitto', takes: '2 min', options: ['rounds', 'messages', 'mqtt', 'brokers'] },
  access: { run: access, help: 'what users, access control and TLS cost at ingest, each alone and together, and at fan-out', takes: '2 min', options: ['rounds', 'subscribers'] },
  logins: { run: logins, help: 'what somebody who tries passwords does to the log-ins and round trips of others, and how long a fleet takes to log in', takes: '3 min', options: ['rounds', 'seconds'] }
}
/** Without a name: what the first part of docs/performance.md says. */
const DEFAULT = ['ingest', 'requests', 'start']

function usage (): string {
  const scenarios = Object.entries(SCENARIOS).map(([name, { help, takes, options }]) =>
    `  ${name.padEnd(14)}${help} (${takes})${options.length > 0 ? `\n                ${options.map(option => `--${option}`).join(' ')}` : ''}`)
  const options = Object.entries(OPTIONS).map(([name, { value, help }]) => `  --${name} ${value}`.padEnd(37) + help)
  return [
    'usage: npm run bench -- [scenario ...] [options]', '', `scenarios (without a name: ${DEFAULT.join(', ')}; all: every one):`, ...scenarios,
    '', 'options:', ...options, '', 'Figures are of this machine at this moment; compare the ratios.'
  ].join('\n')
}

async function main (args: readonly string[]): Promise<void> {
  const { names, options, help } = readOptions(args)
  if (help) return say(usage())
  const chosen = names.length === 0 ? DEFAULT : names.includes('all') ? Object.keys(SCENARIOS) : names
  for (const name of chosen) {
    if (!Object.hasOwn(SCENARIOS, name)) throw new UsageError(`there is no scenario ${name}; there are ${Object.keys(SCENARIOS).join(', ')}`)
  }
  for (const option of Object.keys(options) as OptionName[]) {
    if (option === 'results') continue
    const deaf = names.includes('all') ? undefined : chosen.find(name => SCENARIOS[name]?.options.includes(option) === false)
    if (deaf !== undefined) throw new UsageError(`${deaf} has no option --${option}; it has ${SCENARIOS[deaf]?.options.map(one => `--${one}`).join(', ') || 'none'}`)
  }
  const command = `npm run bench -- ${args.join(' ')}`.trimEnd()
  const startedAt = new Date().toISOString()
  const startedMs = performance.now()
  const [machine, versions] = [describeMachine(), describeVersions()]
  say(`$ ${command}`)
  say(`${startedAt}, ${Object.entries(versions).map(([name, version]) => `${name} ${version ?? 'is not installed'}`).join(', ')}`)
  say(`${machine.processors} x ${machine.processor}, ${machine.system}; load ${machine.loadBefore.toFixed(1)}, an fsync takes ${machine.syncMs.toFixed(2)} ms`)
  const scenarios: ScenarioResult[] = []
  for (const name of chosen) {
    say('')
    const result = await SCENARIOS[name]?.run(options)
    if (result) scenarios.push(result)
    else if (options.results !== undefined) say(`  ${name} gives no data: it is not in ${options.results}`)
    // After each one: what was measured is not lost when a later one fails.
    if (options.results !== undefined) writeResults(options.results, { format: RESULTS_FORMAT, startedAt, seconds: Math.round((performance.now() - startedMs) / 1_000), command, machine, versions, scenarios })
  }
}

function writeResults (file: string, results: Results): void {
  writeFileSync(file, `${JSON.stringify(results, null, 1)}\n`)
}

// The brokers are ended by an `exit` handler, which a signal alone would not run.
for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]] as const) process.once(signal, () => process.exit(code))
try {
  await main(process.argv.slice(2))
} catch (error) {
  const wrongUsage = error instanceof UsageError
  process.stderr.write(wrongUsage ? `${error.message}\n\n${usage()}\n` : `the bench failed: ${error instanceof Error ? error.stack : messageOf(error)}\n`)
  process.exit(wrongUsage ? 2 : 1)
}
// Sockets that nobody closes any more shall not keep a finished bench alive.
process.exit(0)
