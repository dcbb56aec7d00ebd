// What parkmq is to reach, beside what this run measured. Nothing fails by it: the figures are of one machine at one moment.
import { USUAL_CLIENTS } from '../request-rounds.js'
import type { Labels, Ratio, Results, Spread } from '../results.js'
import { markdownTable, spreadText } from './tables.js'

interface Wanted {
  readonly what: string
  readonly scenario: string
  readonly least?: number
  readonly most?: number
  readonly unit: string
  readonly find: (results: Results) => Spread | undefined
}

const AT_USUAL: Labels = { workload: 'writes', clients: String(USUAL_CLIENTS) }
/** Of what is heard through one connection each, this many publishers are what the first part of docs/performance.md says. */
const INGEST: Labels = { publishers: '4', window: '64' }
const SENSORS = '1,000/s in all'

const PROMISES: readonly Wanted[] = [
  { what: 'sensor messages committed before PUBACK, of mosquitto merely forwarding them to one subscriber', scenario: 'ingest', least: 0.6, unit: 'times', find: ratio('ingest', 'throughput to PUBACK', INGEST, 'mosquitto-forward') },
  { what: 'sensor messages counted, of the hand-written service that acknowledges after its commit', scenario: 'ingest', least: 5, unit: 'times', find: ratio('ingest', 'throughput to the effect', INGEST, 'service') },
  { what: `\`reserve\` and \`cancel\` at ${USUAL_CLIENTS} clients, of mosquitto's bare echo`, scenario: 'baseline', least: 0.4, unit: 'times', find: ratio('baseline', 'throughput', AT_USUAL, 'mosquitto-echo') },
  { what: `the same, requests a second`, scenario: 'baseline', least: 6_000, unit: '/s', find: point('baseline', 'throughput', { system: 'parkmq', workload: 'writes' }, USUAL_CLIENTS) },
  { what: `p95 of \`reserve\` at ${USUAL_CLIENTS} clients`, scenario: 'baseline', most: 5, unit: 'ms', find: point('baseline', 'latency', { system: 'parkmq', workload: 'writes', act: 'reserve', percentile: 'p95' }, USUAL_CLIENTS) },
  { what: 'p95 of the delivery lag at 1,000 sensor messages/s', scenario: 'stress', most: 5, unit: 'ms', find: point('stress', 'delivery lag', { ...AT_USUAL, percentile: 'p95' }, SENSORS) },
  { what: 'p95 of reservations beside 1,000 sensor messages/s, of that without', scenario: 'stress', most: 1.1, unit: 'times', find: ratio('stress', 'p95', AT_USUAL, 'no sensors', SENSORS) },
  { what: 'p95 of the delivery lag beside ten frozen subscribers, of that without', scenario: 'frozen', most: 1.1, unit: 'times', find: ratio('frozen', 'p95 of the lag', { system: 'parkmq' }, 'none frozen', '10 frozen') },
  { what: 'processor time of a sensor message at 100,000 lots and 1,000,000 sensors, of that at 1,000 and 10,000', scenario: 'scale', most: 4, unit: 'times', find: ratio('scale', 'processor time of a message', {}, '1,000 lots, 10,000 identities', '100,000 lots, 1,000,000 identities') },
  { what: 'memory of a connection, at 5,000', scenario: 'scale', most: 45_000, unit: 'bytes', find: point('scale', 'memory of a connection beyond the base', { system: 'parkmq' }, 5_000) },
  { what: 'memory of a lot, at 100,000', scenario: 'scale', most: 2_000, unit: 'bytes', find: point('scale', 'memory of a lot beyond the base', null, 100_000) },
  { what: 'from kill -9 to ready with 10,000 lots and 1,000,000 reservations in the history', scenario: 'restart', most: 3_000, unit: 'ms', find: point('restart', 'time to ready', { over: 'reservations in the history', lots: '10000' }, 1_000_000) }
]

export function promisesTable (results: Results): string {
  const rows = PROMISES.map(promise => {
    const { what, scenario, least, most, unit } = promise
    const bound = least === undefined ? `at most ${most?.toLocaleString('en')} ${unit}` : `at least ${least.toLocaleString('en')} ${unit}`
    const found = promise.find(results)
    if (found === undefined) return [what, bound, `not measured (\`${scenario}\`)`, '']
    const holds = found.median >= (least ?? -Infinity) && found.median <= (most ?? Infinity)
    return [what, bound, spreadText(found), holds ? 'yes' : '**no**']
  })
  return markdownTable({ title: '', headings: ['what', 'wanted', 'measured: median (min to max)', 'holds'], rows, words: 2 })
}

function ratio (scenario: string, what: string, of: Labels, denominator: string, numerator = 'parkmq'): Wanted['find'] {
  return ({ scenarios }) => scenarios.filter(one => one.scenario === scenario).flatMap(({ ratios }) => ratios)
    .find((one: Ratio) => one.what === what && one.numerator === numerator && one.denominator === denominator && hasJust(one.of, of))
}

/** Without labels: the most that any such series says there. */
function point (scenario: string, what: string, of: Labels | null, x: number | string): Wanted['find'] {
  return ({ scenarios }) => scenarios.filter(one => one.scenario === scenario).flatMap(({ series }) => series)
    .filter(one => one.what === what && (of === null || hasJust(one.of, of))).flatMap(({ points }) => points).filter(one => one.x === x)
    .map(({ y }) => y).sort((a, b) => b.median - a.median)[0]
}

/** These labels and no others: a ratio at a fixed rate is another one. */
function hasJust (of: Labels, wanted: Labels): boolean {
  return Object.keys(of).length === Object.keys(wanted).length && Object.entries(wanted).every(([name, value]) => of[name] === value)
}
