// What `--report DIR` measures when no scenario is named: everything that a report has a place for, with durations short
// enough that all of it together takes about a quarter of an hour at most.
import { say } from '../figures.js'
import type { OptionName, Options } from '../options.js'
import type { Run } from '../run.js'
import { SCENARIOS } from '../scenarios.js'
import { UsageError } from '../usage-error.js'

interface Part {
  readonly scenario: string
  readonly options: Options
  /** How long it takes on two cores that do nothing else, in seconds. */
  readonly takesSeconds: number
}

/** The scenarios of a full report, in the order of its sections; a report says which of them it has not. */
export const REPORT_SCENARIOS = ['baseline', 'mixed', 'stress', 'ingest', 'fan-out', 'slow', 'frozen', 'start', 'restart', 'scale', 'soak'] as const

const PARTS: readonly Part[] = [
  { scenario: 'baseline', options: { rounds: 2, seconds: 1 }, takesSeconds: 190 },
  { scenario: 'mixed', options: { rounds: 3, seconds: 1 }, takesSeconds: 75 },
  { scenario: 'stress', options: { rounds: 3, seconds: 2 }, takesSeconds: 96 },
  { scenario: 'ingest', options: { rounds: 3, publishers: [1, 4, 16], window: [64], messages: 40_000 }, takesSeconds: 80 },
  { scenario: 'fan-out', options: { rounds: 2, subscribers: 10, messages: 6_000, qos: [1], mqtt: [4] }, takesSeconds: 25 },
  { scenario: 'fan-out', options: { rounds: 2, subscribers: 100, messages: 1_000, qos: [1], mqtt: [4] }, takesSeconds: 30 },
  { scenario: 'fan-out', options: { rounds: 2, subscribers: 1_000, messages: 100, qos: [1], mqtt: [4] }, takesSeconds: 60 },
  { scenario: 'slow', options: { seconds: 5, qos: [1], transport: ['tcp'], session: ['persistent'] }, takesSeconds: 35 },
  { scenario: 'frozen', options: { rounds: 3, seconds: 3 }, takesSeconds: 75 },
  { scenario: 'start', options: {}, takesSeconds: 10 },
  { scenario: 'restart', options: { rounds: 1 }, takesSeconds: 90 },
  { scenario: 'scale', options: { rounds: 1 }, takesSeconds: 90 },
  { scenario: 'soak', options: { minutes: 1 }, takesSeconds: 70 }
]

/**
 * The runs of a full report, and a line that says how long they take. `asked` replaces options of those that have them; throws
 * `UsageError` for one that none has.
 */
export function reportRuns (asked: Options, program: string): Run[] {
  const parts = PARTS.filter(({ scenario }) => Object.hasOwn(SCENARIOS, scenario))
  const has = (scenario: string, option: string): boolean => SCENARIOS[scenario]?.options.includes(option as OptionName) === true
  for (const option of Object.keys(asked)) {
    if (!parts.some(({ scenario }) => has(scenario, option))) throw new UsageError(`no scenario of the report has an option --${option}`)
  }
  const minutes = Math.ceil(parts.reduce((sum, { takesSeconds }) => sum + takesSeconds, 0) / 60)
  say(`a full report: ${[...new Set(parts.map(({ scenario }) => scenario))].join(', ')}; about ${minutes} min on two idle cores${Object.keys(asked).length > 0 ? ' with its own options' : ''}`)
  return parts.map(({ scenario, options }) => {
    const own = { ...options, ...Object.fromEntries(Object.entries(asked).filter(([option]) => has(scenario, option))) }
    return { scenario, options: own, command: `${program} ${scenario}${Object.entries(own).map(([name, value]) => ` --${name} ${String(value)}`).join('')}` }
  })
}
