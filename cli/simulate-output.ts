// What `simulate` prints: the progress on stderr, the summary for people, and the same as JSON for programs.
import { createLogUpdate } from 'log-update'
import type { RowReport } from '../services/sensor-sim/replay.js'
import type { Verified } from '../services/sensor-sim/lots.js'
import type { Plan } from '../services/sensor-sim/plan.js'
import type { Latency } from '../services/sensor-sim/sender.js'
import type { Report, Snapshot } from '../services/sensor-sim/service.js'
import type { SimulateSettings } from './simulate-options.js'
import { table } from './table.js'

const TERMINAL_EVERY_MS = 200
const LINE_EVERY_MS = 5_000

/** Shows where the run is, until the returned function is called. */
export function showProgress (snapshot: () => Snapshot): () => void {
  return showLine(() => progressLine(snapshot()))
}

/** Shows a line on stderr again and again: in place on a terminal, else one after the other. Returns what ends it. */
export function showLine (line: () => string): () => void {
  const stderr = process.stderr
  if (!stderr.isTTY) {
    const timer = setInterval(() => stderr.write(`${line()}\n`), LINE_EVERY_MS)
    return () => clearInterval(timer)
  }
  const update = createLogUpdate(stderr)
  const timer = setInterval(() => update(line()), TERMINAL_EVERY_MS)
  return () => {
    clearInterval(timer)
    update.clear()
    update.done()
  }
}

export function progressLine (s: Snapshot): string {
  return [
    `${s.seconds.toFixed(1)} s`,
    `${count(s.sent)} sent`,
    `${count(s.acknowledged)} acknowledged`,
    `${count(Math.round(s.perSecond))}/s`,
    ...s.latencyMs ? [`p50 ${ms(s.latencyMs.p50)}, p99 ${ms(s.latencyMs.p99)}`] : [],
    ...s.refused > 0 ? [`${count(s.refused)} refused`] : [],
    ...s.reconnects > 0 ? [`${count(s.reconnects)} reconnects`] : [],
    ...s.simulatedMs === null ? [] : [`simulated ${simulated(s.simulatedMs)}`]
  ].join('  ')
}

export interface Summary {
  readonly settings: SimulateSettings
  readonly plan: Plan
  readonly report: Report
  readonly rows: Readonly<RowReport> | null
  /** null: not asked for, or the run did not come to its end. */
  readonly verified: readonly Verified[] | null
}

/** Whether every lot counts what it should. */
export function isVerified (verified: readonly Verified[]): boolean {
  return verified.every(lot => lot.counted === lot.expected)
}

/** One JSON object; times in milliseconds and seconds as their names say. */
export function summaryJson ({ settings, plan, report, rows, verified }: Summary): string {
  const { expected, latencyMs, simulatedMs, ...counts } = report
  const counted = new Map(verified?.map(lot => [lot.lot, lot.counted]))
  return JSON.stringify({
    ...counts,
    latencyMs,
    source: settings.source.type,
    seed: settings.faults.seed,
    epoch: settings.faults.epoch,
    window: settings.sending.window,
    simulatedUntil: simulatedMs === null ? null : new Date(simulatedMs).toISOString(),
    ...rows && { rows },
    ...verified && { verified: isVerified(verified) },
    lots: plan.lots.map(({ id, name }) => ({ lot: id, name, ...expected.has(id) && plan.startAt.has(id) && { expected: expected.get(id) }, ...verified && { counted: counted.get(id) ?? null } }))
  })
}

/** The summary for people. */
export function summaryText (summary: Summary): string {
  const { settings, report, rows, verified } = summary
  const parts = [table(['', ''], [...rows ? rowLines(rows) : [], ...reportLines(report, settings)]).trim()]
  if (settings.source.type === 'replay' || verified) parts.push(lotTable(summary))
  if (verified) {
    const right = verified.filter(lot => lot.counted === lot.expected).length
    parts.push(`${right} of ${verified.length} lots count what they should`)
  } else if (settings.verify) {
    parts.push('not verified, because the run did not come to its end')
  }
  return parts.join('\n\n')
}

function rowLines (rows: Readonly<RowReport>): [string, string][] {
  const unusable = Object.entries(rows.unusable)
  return [
    ['rows read', count(rows.read)],
    ...some('rows twice', rows.duplicate, 'used once'),
    ...some('rows replaced', rows.replaced, 'another row has the same lot and time; the later in the file counts'),
    ...unusable.flatMap(([reason, n]) => some('rows not used', n, reason)),
    ...rows.examples.map((example): [string, string] => ['', example]),
    ...some('rows without capacity', rows.badCapacity, 'used; the capacity could not be read'),
    ...some('rows below 0', rows.negative, 'used as they are'),
    ...some('rows over capacity', rows.overCapacity, 'used as they are')
  ]
}

function reportLines (report: Report, settings: SimulateSettings): [string, string][] {
  return [
    ['ended', `${report.ending}${report.reason === undefined ? '' : `: ${report.reason}`}`],
    ['seed, epoch', `${settings.faults.seed}, ${settings.faults.epoch}`],
    ['sent', count(report.sent)],
    ['acknowledged', `${count(report.acknowledged)} in ${report.seconds.toFixed(1)} s, ${count(Math.round(report.perSecond))} a second`],
    ...some('unacknowledged', report.unacknowledged),
    ...Object.entries(report.refusals).flatMap(([reason, n]) => some('refused', n, reason)),
    ...some('recounts', report.recounts, 'among the sent'),
    ...some('lost on purpose', report.lost, 'never sent'),
    ...some('duplicated', report.duplicated, report.duplicatedFar > 0 ? `${count(report.duplicatedFar)} of them very late` : undefined),
    ...some('reordered', report.reordered),
    ...some('restarts', report.restarts),
    ...some('reconnects', report.reconnects, `${count(report.resent)} messages sent again`),
    ...report.latencyMs ? [['latency', latency(report.latencyMs)] as [string, string]] : [],
    ...report.simulatedMs === null ? [] : [['simulated until', simulated(report.simulatedMs)] as [string, string]]
  ]
}

function lotTable ({ plan, report, verified }: Summary): string {
  const counted = new Map(verified?.map(lot => [lot.lot, lot.counted]))
  const rows = plan.lots.map(({ id, name }) => {
    const expected = report.expected.get(id) ?? 0
    const now = counted.get(id) ?? null
    return [id, name, expected, ...verified ? [now, now === expected ? 'yes' : now === null ? 'no such lot' : `no, ${now > expected ? '+' : ''}${now - expected}`] : []]
  })
  return table(['LOT', 'NAME', 'EXPECTED', ...verified ? ['COUNTED', 'EQUAL'] : []], rows)
}

/** A line, when there is something to say. */
function some (label: string, n: number, remark?: string): [string, string][] {
  return n === 0 ? [] : [[label, remark === undefined ? count(n) : `${count(n)} (${remark})`]]
}

function latency ({ p50, p95, p99, max }: Latency): string {
  return `p50 ${ms(p50)}, p95 ${ms(p95)}, p99 ${ms(p99)}, max ${ms(max)}`
}

function ms (value: number): string {
  return `${value < 10 ? value.toFixed(2) : value.toFixed(0)} ms`
}

function count (n: number): string {
  return n.toLocaleString('en-GB')
}

function simulated (atMs: number): string {
  return new Date(atMs).toISOString().slice(0, 16).replace('T', ' ')
}
