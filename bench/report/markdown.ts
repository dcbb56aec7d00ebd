// The report as a person reads it, in Markdown. It says what the results say and nothing of the moment in which it is written:
// from the same results comes the same text.
import type { Absent, Results, ScenarioResult, Value } from '../results.js'
import { PLOTS, type PlotKind } from './plots.js'
import { promisesTable } from './promises.js'
import { REPORT_SCENARIOS } from './set.js'
import { accountTable, markdownTable, ratioTable, seriesTables, type Table } from './tables.js'

/** What is told of the machine only, or in a line of its own. */
const TOLD_ELSEWHERE = ['seed']

export function reportText (results: Results): string {
  const { scenarios, unfinished = [] } = results
  const measured = [...new Set(scenarios.map(({ scenario }) => scenario))]
  const order = [...REPORT_SCENARIOS.filter(name => measured.includes(name)), ...measured.filter(name => !REPORT_SCENARIOS.some(one => one === name))]
  const missing = [
    ...unfinished.map(({ scenario, why }) => `- \`${scenario}\`: ${measured.includes(scenario) ? 'in part: ' : ''}${why}`),
    ...REPORT_SCENARIOS.filter(name => !measured.includes(name) && !unfinished.some(({ scenario }) => scenario === name)).map(name => `- \`${name}\`: not run`)
  ]
  return [
    '# parkmq, measured', '',
    `Made on ${results.startedAt.slice(0, 10)} at ${results.startedAt.slice(11, 16)} UTC by`, '', '```sh', results.command, '```', '',
    `in ${timeText(results.seconds)}. The figures are in [results.json](results.json); \`parkmq bench --report DIR --from results.json\` makes this page and its plots of them again. Absolute`,
    'figures are of this machine at that moment. What is compared took turns in the same run, so the ratios say more: with each comes the least and',
    'the most of the rounds, and where those are far apart the machine was busy and the median says little.', '',
    '## On what', '', machineTable(results), '',
    '## What must hold', '', promisesTable(results), '',
    ...order.flatMap(name => section(name, scenarios.filter(({ scenario }) => scenario === name), results)),
    ...missing.length === 0 ? [] : ['## What was not measured', '', ...missing, ''],
    ...missingPlots(results)
  ].join('\n')
}

function machineTable ({ machine, versions, scenarios }: Results): string {
  const seeds = [...new Set(scenarios.map(({ parameters }) => parameters.seed).filter(seed => seed !== undefined))]
  const rows: string[][] = [
    ['processors', `${machine.processors} x ${machine.processor}`],
    ['memory', `${(machine.memoryBytes / 2 ** 30).toFixed(1)} GiB`],
    ['system', machine.system],
    ['load average before', machine.loadBefore.toFixed(2)],
    ['an fsync takes (median)', `${machine.syncMs.toFixed(2)} ms`],
    ...Object.entries(versions).map(([name, version]) => [name === 'mqtt' ? 'MQTT.js' : name, version ?? 'not installed: left out of every comparison']),
    ['seed', seeds.length === 0 ? 'nothing is chosen at random' : seeds.map(String).join(', ')]
  ]
  return markdownTable({ title: '', headings: ['', ''], rows, words: 2 })
}

/** All runs of one scenario together: they differ in their parameters. */
function section (name: string, runs: readonly ScenarioResult[], results: Results): string[] {
  const tables = [...seriesTables(runs.flatMap(({ series }) => series)), ratioTable(runs.flatMap(({ ratios }) => ratios)), accountTable(runs.flatMap(({ accounts }) => accounts))]
  return [
    `## ${name}`, '',
    ...[...new Set(runs.map(({ title }) => `${title}.`))], '',
    '```sh', ...runs.map(({ command }) => command ?? `parkmq bench ${name}`), '```', '',
    ...runs.flatMap(({ parameters }) => [`With ${parametersText(parameters)}.`, '']),
    ...bullets([...new Set(runs.flatMap(({ notes }) => notes))]),
    ...bullets([...new Set(runs.flatMap(({ absent }) => absent).map(({ what, why }: Absent) => `**${what} is absent**: ${why}.`))]),
    ...PLOTS.filter(({ needs, plotOf }) => needs[0] === name && plotOf(results) !== null).flatMap(({ file, caption }) => [`![${caption}](${file})`, '']),
    ...tables.flatMap(tableText)
  ]
}

function bullets (sentences: readonly string[]): string[] {
  return sentences.length === 0 ? [] : [...sentences.map(sentence => `- ${sentence}`), '']
}

function tableText (table: Table | null): string[] {
  return table === null || table.rows.length === 0 ? [] : [`### ${table.title}`, '', markdownTable(table), '']
}

function parametersText (parameters: ScenarioResult['parameters']): string {
  const text = (value: Value | readonly Value[]): string => Array.isArray(value) ? value.map(String).join(', ') : value === true ? 'yes' : value === false ? 'no' : String(value)
  return Object.entries(parameters).filter(([name]) => !TOLD_ELSEWHERE.includes(name)).map(([name, value]) => `${name} ${text(value)}`).join('; ') || 'nothing to choose'
}

function missingPlots (results: Results): string[] {
  const absent = PLOTS.filter(({ plotOf }) => plotOf(results) === null)
  return absent.length === 0 ? [] : ['## Plots that are not here', '', ...absent.map(({ caption, needs }: PlotKind) => `- ${caption}: needs \`${needs.join('` or `')}\`, which measured nothing of the kind.`), '']
}

/** `12 min 5 s` */
function timeText (seconds: number): string {
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`
}
