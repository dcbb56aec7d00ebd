// The options of the scenarios. A wrong one ends the bench before anything is started.
import { parseArgs } from 'node:util'
import { BROKERS, type Broker } from './brokers.js'
import { FAULTS } from './cluster/faults.js'
import type { MqttVersion, Qos } from './mqtt-bytes.js'
import type { Transport } from './raw-client.js'
import { SYSTEMS, type SystemName } from './systems.js'
import { UsageError } from './usage-error.js'

export const SESSIONS = ['clean', 'persistent'] as const
export type Session = (typeof SESSIONS)[number]

export const ON_OFF = ['off', 'on'] as const
export type OnOff = (typeof ON_OFF)[number]

/** Absent ones leave the scenario's default. */
export interface Options {
  readonly rounds?: number
  readonly seconds?: number
  readonly minutes?: number
  readonly messages?: number
  readonly subscribers?: number
  readonly qos?: readonly Qos[]
  readonly mqtt?: readonly MqttVersion[]
  readonly transport?: readonly Transport[]
  readonly session?: readonly Session[]
  readonly brokers?: readonly Broker[]
  readonly tls?: readonly OnOff[]
  readonly clients?: readonly number[]
  readonly systems?: readonly SystemName[]
  readonly rate?: number
  readonly lots?: number
  readonly ids?: OnOff
  readonly reservations?: readonly number[]
  readonly connections?: number
  readonly seed?: number
  readonly publishers?: readonly number[]
  readonly window?: readonly number[]
  readonly faults?: readonly string[]
  readonly against?: string
  /** Of the bench itself, and so with every scenario. */
  readonly results?: string
  readonly report?: string
  readonly from?: string
  readonly limit?: number
}

export type OptionName = keyof Options

const number = (most: number) => (text: string): number | null => /^[1-9]\d*$/.test(text) && Number(text) <= most ? Number(text) : null
/** Tenths at most: what a scenario sends a second has to come out whole. */
const tenths = (most: number) => (text: string): number | null => /^\d+(\.\d)?$/.test(text) && Number(text) > 0 && Number(text) <= most ? Number(text) : null
const numbers = (most: number) => (text: string): readonly number[] | null => {
  const read = text.split(',').map(number(most))
  return read.every(one => one !== null) ? read : null
}
const among = <T extends string | number>(known: readonly T[]) => (text: string): readonly T[] | null => {
  const found = text.split(',').map(one => known.find(value => String(value) === one))
  return found.every(one => one !== undefined) ? found : null
}
const path = (text: string): string | null => text === '' ? null : text

/** Each option: what it may be, in words and as a check. */
export const OPTIONS: { readonly [Name in OptionName]-?: { readonly value: string, readonly help: string, readonly read: (text: string) => NonNullable<Options[Name]> | null } } = {
  rounds: { value: 'n', help: 'rounds, 1 to 100; brokers take turns in each', read: number(100) },
  seconds: { value: 'n', help: 'length of each measurement, 0.1 to 3,600', read: tenths(3_600) },
  minutes: { value: 'n', help: 'one long measurement instead, up to 1,440; 0.5 is half of one', read: text => /^\d+(\.\d+)?$/.test(text) && Number(text) > 0 && Number(text) <= 1_440 ? Number(text) : null },
  messages: { value: 'n', help: 'messages of each measurement, 1 to 1,000,000', read: number(1_000_000) },
  subscribers: { value: 'n', help: 'healthy subscribers, 1 to 1,000', read: number(1_000) },
  qos: { value: '0,1,2', help: 'only these', read: among<Qos>([0, 1, 2]) },
  mqtt: { value: '4,5', help: 'protocol versions of the subscribers (4 is MQTT 3.1.1)', read: among<MqttVersion>([4, 5]) },
  transport: { value: 'tcp,ws', help: 'only these', read: among<Transport>(['tcp', 'ws']) },
  session: { value: SESSIONS.join(','), help: 'only these', read: among(SESSIONS) },
  brokers: { value: BROKERS.join(','), help: 'only these', read: among(BROKERS) },
  tls: { value: ON_OFF.join(','), help: '`off,on` compares parkmq with TLS to itself without', read: among(ON_OFF) },
  clients: { value: 'n,n', help: 'clients that make requests, 1 to 1,000', read: numbers(1_000) },
  systems: { value: 'name,name', help: `only these of ${SYSTEMS.join(', ')}`, read: among(SYSTEMS) },
  rate: { value: 'n', help: 'requests a second where a rate is fixed, 1 to 100,000', read: number(100_000) },
  lots: { value: 'n', help: 'lots, 1 to 100,000', read: number(100_000) },
  ids: { value: 'on|off', help: 'whether changing requests carry a requestId', read: text => ON_OFF.find(one => one === text) ?? null },
  reservations: { value: 'n,n', help: 'reservations in the ledger, 1 to 1,000,000', read: numbers(1_000_000) },
  connections: { value: 'n', help: 'most idle connections, 1 to 5,000', read: number(5_000) },
  seed: { value: 'n', help: 'seed of what is chosen at random', read: number(Number.MAX_SAFE_INTEGER) },
  publishers: { value: 'n,n', help: 'sensors that publish at once, each in a lot of its own, 1 to 1,000', read: numbers(1_000) },
  window: { value: 'n,n', help: 'unacknowledged messages of each publisher, 1 to 1,000', read: numbers(1_000) },
  faults: { value: 'name,name', help: `only these of ${Object.keys(FAULTS).join(', ')}`, read: among(Object.keys(FAULTS)) },
  against: { value: 'DIR', help: 'the folder of another build of parkmq, to be compared with this one', read: path },
  results: { value: 'FILE', help: 'with every scenario: write what was measured as JSON (bench/results.ts)', read: path },
  report: { value: 'DIR', help: 'write results.json, report.md and plots there; without scenarios: those of the report', read: path },
  from: { value: 'FILE', help: 'with --report: from these results, without measuring', read: path },
  limit: { value: 'n', help: 'give up after so many minutes, 1 to 3,000 (default 120; a report 30; and twice --minutes)', read: number(3_000) }
}

/** The scenarios and options of a command line. Throws `UsageError` that names what is wrong and what there is. */
export function readOptions (args: readonly string[]): { names: string[], options: Options, help: boolean } {
  const names = Object.keys(OPTIONS) as OptionName[]
  const config = Object.fromEntries(names.map(name => [name, { type: 'string' as const }]))
  let parsed: { values: Record<string, unknown>, positionals: string[] }
  try {
    parsed = parseArgs({ args: [...args], options: { ...config, help: { type: 'boolean', short: 'h' } }, allowPositionals: true })
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error })
  }
  const options: Record<string, unknown> = {}
  for (const name of names) {
    const text = parsed.values[name]
    if (typeof text !== 'string') continue
    const value = OPTIONS[name].read(text)
    if (value === null) throw new UsageError(`--${name} ${text} is wrong; it takes ${OPTIONS[name].value}: ${OPTIONS[name].help}`)
    options[name] = value
  }
  return { names: parsed.positionals, options, help: parsed.values.help === true }
}
