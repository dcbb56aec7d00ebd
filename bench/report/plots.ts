// Which plots a report has, each made of series that scenarios recorded. Nothing is computed here: a plot shows medians over
// the rounds, and from the least to the most round as a thin line.
import { USUAL_CLIENTS } from '../request-rounds.js'
import type { Axis, Labels, Results, Series } from '../results.js'

export interface Plot {
  readonly title: string
  /** How to read it, in short lines. */
  readonly subtitle: readonly string[]
  readonly panels: readonly Panel[]
}

/** `log`, also for counts of clients: each mark at what was measured. `percent`: percentiles, as many room for 90 to 99 as for 99 to 99.9. */
export type Scale = 'linear' | 'log' | 'percent' | 'words'

export interface Panel {
  readonly title: string
  readonly x: { readonly title: string, readonly scale: Scale }
  readonly y: { readonly title: string, readonly scale: 'linear' | 'log' }
  readonly shape: 'lines' | 'bars'
  readonly lines: readonly Line[]
}

export interface Line {
  readonly name: string
  readonly points: readonly Dot[]
}

export interface Dot {
  readonly x: number | string
  readonly y: number
  readonly low: number
  readonly high: number
}

export interface PlotKind {
  readonly file: string
  /** What it shows, below it and where it is missing. */
  readonly caption: string
  /** Which scenarios it is made of. */
  readonly needs: readonly string[]
  /** Null when nothing of the kind was measured. */
  readonly plotOf: (results: Results) => Plot | null
}

const ROUNDS = 'Marks: median of the rounds; thin lines: from the least to the most round.'

export const PLOTS: readonly PlotKind[] = [
  { file: 'throughput.svg', caption: 'Throughput by clients', needs: ['baseline', 'mixed'], plotOf: throughput },
  { file: 'latency.svg', caption: `Latency distribution at ${USUAL_CLIENTS} clients`, needs: ['baseline', 'mixed'], plotOf: latency },
  { file: 'sensors.svg', caption: 'p95 of requests without and with sensor load', needs: ['stress'], plotOf: withSensors },
  { file: 'lag.svg', caption: 'Delivery lag over time', needs: ['stress'], plotOf: lagOverTime },
  { file: 'scale.svg', caption: 'Cost by size', needs: ['scale'], plotOf: costBySize }
]

function throughput (results: Results): Plot | null {
  const found = seriesOf(results, ['baseline', 'mixed'], 'throughput')
  return plotOf('Requests a second by clients', ['Each client makes its next request when it has its answer. More is better.', ROUNDS], byLabel(found, 'workload').map(([workload, series]) =>
    panelOf(workload, series, 'log', 'log', ({ system }) => system)))
}

function latency (results: Results): Plot | null {
  const found = seriesOf(results, ['baseline', 'mixed'], 'latency distribution')
  return plotOf(`How long requests take at ${USUAL_CLIENTS} clients`, ['At 99: so long took 99 of 100 requests at most. Less is better.', ROUNDS], byLabel(found, 'workload').map(([workload, series]) =>
    panelOf(workload, series.map(upperHalf), 'percent', 'log', ({ system }) => system)))
}

function withSensors (results: Results): Plot | null {
  const found = seriesOf(results, ['stress'], 'latency').filter(({ of }) => of.percentile === 'p95')
  return plotOf('p95 of requests without and with sensor load', ['Sensors publish at a fixed rate, one display listens to each lot. Less is better.', ROUNDS], byLabel(found, 'workload', 'clients').map(([name, series]) =>
    ({ ...panelOf(name, series, 'words', 'linear', () => 'parkmq'), shape: 'bars' })))
}

function lagOverTime (results: Results): Plot | null {
  const all = seriesOf(results, ['stress'], 'delivery lag over time').filter(({ of }) => of.percentile === 'p50' || of.percentile === 'p95')
  // Beside writes, which are what delays a commit; one number of clients is enough.
  const [one] = [...all].sort((a, b) => Number(b.of.workload === 'writes') - Number(a.of.workload === 'writes'))
  const found = all.filter(({ of }) => of.workload === one?.of.workload && of.clients === one?.of.clients)
  return plotOf('How late displays hear of cars', [`From when a message was due to the count that includes it, beside ${one?.of.workload} of ${one?.of.clients} clients. Less is better.`, ROUNDS], byLabel(found, 'percentile').map(([percentile, series]) =>
    panelOf(percentile === 'p50' ? 'median' : percentile, series, 'linear', 'log', ({ sensors }) => sensors)))
}

/** Whatever `scale` recorded over a size: a panel for each figure and kind of size, a line for each of its series. */
function costBySize (results: Results): Plot | null {
  const found = seriesOf(results, ['scale'], null).filter(({ points }) => points.length > 1 && points.every(({ x }) => typeof x === 'number' && x > 0))
  const panels = new Map<string, Series[]>()
  for (const series of found) {
    const { what, x, y } = series
    const key = JSON.stringify([what, x, y])
    panels.set(key, [...panels.get(key) ?? [], series])
  }
  return plotOf('What one more costs, by size', ['Flat is what should be.', ROUNDS], [...panels.values()].map(series =>
    panelOf(series[0]?.what ?? '', series, 'log', 'linear', of => Object.values(of).join(', ') || 'parkmq')))
}

/** Of these scenarios; null: whatever they measured. */
function seriesOf ({ scenarios }: Results, names: readonly string[], what: string | null): Series[] {
  return scenarios.filter(({ scenario }) => names.includes(scenario)).flatMap(({ series }) => series).filter(series => what === null || series.what === what)
}

function plotOf (title: string, subtitle: readonly string[], panels: readonly Panel[]): Plot | null {
  const filled = panels.filter(({ lines }) => lines.length > 0)
  return filled.length === 0 ? null : { title, subtitle, panels: filled }
}

/** What the faster half of the requests took says little, and would be crowded. */
function upperHalf (series: Series): Series {
  return { ...series, points: series.points.filter(({ x }) => typeof x === 'number' && x >= 50) }
}

/** In the order in which they come; further labels are told in words. */
function byLabel (all: readonly Series[], first: string, ...others: readonly string[]): [string, Series[]][] {
  const groups = new Map<string, Series[]>()
  for (const series of all) {
    const name = [series.of[first], ...others.map(label => `${series.of[label]} ${label}`)].join(', ')
    groups.set(name, [...groups.get(name) ?? [], series])
  }
  return [...groups]
}

function panelOf (title: string, series: readonly Series[], x: Scale, y: 'linear' | 'log', nameOf: (of: Labels) => string | undefined): Panel {
  const [first] = series
  if (first === undefined) throw new RangeError(`nothing to plot in ${title}`)
  // A logarithm has no zero; what is nothing is left out.
  const isShown = ({ y: { min } }: Series['points'][number]): boolean => y === 'linear' || min > 0
  const lines = new Map<string, Dot[]>()
  for (const { of, points } of series) {
    const name = nameOf(of) ?? ''
    lines.set(name, [...lines.get(name) ?? [], ...points.filter(isShown).map(point => ({ x: point.x, y: point.y.median, low: point.y.min, high: point.y.max }))])
  }
  return {
    title, shape: 'lines', x: { title: x === 'percent' ? 'per cent of the requests' : axisTitle(first.x), scale: x }, y: { title: axisTitle(first.y), scale: y },
    lines: [...lines].map(([name, points]) => ({ name, points })).filter(({ points }) => points.length > 0)
  }
}

/** `requests/s`, `round trip (ms)`. */
export function axisTitle ({ name, unit }: Axis): string {
  if (unit === '1/s') return `${name}/s`
  return unit === '' ? name : `${name} (${unit === 'us' ? 'µs' : unit})`
}
