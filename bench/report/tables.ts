// Turns series, ratios and accounts into tables for people. It knows no scenario: what a table looks like follows from the
// labels of what was recorded, so that a new scenario has its tables at once.
import type { Account, Labels, Ratio, Series, Spread } from '../results.js'
import { inOrder } from '../systems.js'
import { axisTitle } from './plots.js'

export interface Table {
  readonly title: string
  readonly headings: readonly string[]
  readonly rows: readonly (readonly string[])[]
  /** So many columns on the left are words; the others are figures. */
  readonly words: number
}

/** In a table, of all percentiles that were kept. */
const SHOWN_PERCENTILES = [50, 95, 99, 99.9, 100]
/** A series of so many points is for a plot. */
const MOST_TIMES = 'time'

/** One table for each figure over each axis. Series over time are left to the plots. */
export function seriesTables (all: readonly Series[]): Table[] {
  const groups = new Map<string, Series[]>()
  for (const series of all.flatMap(byKindOfRequest)) {
    if (series.x.name === MOST_TIMES) continue
    const { what, x, y } = series
    const key = JSON.stringify([what, x, y])
    groups.set(key, [...groups.get(key) ?? [], series])
  }
  return [...groups.values()].map(tableOf)
}

/** A row for each pair under the same conditions, a column for each figure. */
export function ratioTable (ratios: readonly Ratio[]): Table | null {
  if (ratios.length === 0) return null
  const labels = labelsOf(ratios)
  const headingOf = ({ what, better }: Ratio): string => `${what} (${better} is better)`
  const headings = [...new Set(ratios.map(headingOf))]
  const rows = new Map<string, { words: string[], texts: Map<string, string> }>()
  for (const ratio of ratios) {
    const words = [...labels.map(label => ratio.of[label] ?? ''), `${ratio.numerator} / ${ratio.denominator}`]
    const row = rows.get(JSON.stringify(words)) ?? { words, texts: new Map<string, string>() }
    rows.set(JSON.stringify(words), row)
    row.texts.set(headingOf(ratio), `**${figure(ratio.median)}** (${figure(ratio.min)} to ${figure(ratio.max)})`)
  }
  return {
    title: 'Ratios: median (least to most) of those of each round', headings: [...labels, 'of what', ...headings], words: labels.length + 1,
    rows: [...rows.values()].map(({ words, texts }) => [...words, ...headings.map(heading => texts.get(heading) ?? '')])
  }
}

/** Counts that are nothing everywhere are left out. */
export function accountTable (accounts: readonly Account[]): Table | null {
  if (accounts.length === 0) return null
  const labels = labelsOf(accounts)
  const names = [...new Set(accounts.flatMap(({ counts }) => Object.keys(counts)))].filter(name => accounts.some(({ counts }) => (counts[name] ?? 0) !== 0))
  const rows = accounts.map(({ of, counts }) => [...labels.map(label => of[label] ?? ''), ...names.map(name => name in counts ? whole(counts[name] ?? 0) : '')])
  return { title: 'Counts over all rounds', headings: [...labels, ...names], rows, words: labels.length }
}

export function markdownTable ({ headings, rows, words }: Table): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(cell => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(headings), `|${headings.map((_, i) => i < words ? '---' : '---:').join('|')}|`, ...rows.map(line)].join('\n')
}

/** `12,345`, `123`, `12.3`, `1.23`: three digits say all that such a figure knows. */
export function figure (value: number): string {
  if (value === 0) return '0'
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))))
  return value.toLocaleString('en', { minimumFractionDigits: Math.min(digits, 3), maximumFractionDigits: Math.min(digits, 3) })
}

/** `12.3 (11.9 to 13.0)`; without rounds the figure alone. */
export function spreadText ({ median, min, max, rounds }: Spread): string {
  return rounds.length < 2 ? figure(median) : `${figure(median)} (${figure(min)} to ${figure(max)})`
}

/** All kinds together are one table; each kind is in another, of parkmq alone. */
function byKindOfRequest (series: Series): Series[] {
  const { act, ...of } = series.of
  if (act === undefined) return [series]
  if (act === 'all') return [{ ...series, of }]
  return of.system === undefined || of.system === 'parkmq' ? [{ ...series, what: `${series.what} by kind of request`, of: { workload: of.workload ?? '', 'kind of request': act, ...of } }] : []
}

interface Cell {
  readonly row: readonly string[]
  readonly column: string
  readonly text: string
}

function tableOf (group: readonly Series[]): Table {
  const [{ what, x, y }] = group as [Series]
  const labels = labelsOf(group)
  // A label that says the same of all of them is told once, in the title.
  const same = labels.filter(label => new Set(group.map(({ of }) => of[label])).size === 1)
  const across = x.name === 'percentile' ? null : ['percentile', 'system'].find(label => labels.includes(label) && !same.includes(label))
  const isWords = group.every(({ points }) => points.every(point => typeof point.x === 'string'))
  const overX = across === null || (across === undefined && isWords)
  const down = labels.filter(label => label !== across && label !== 'system' && !same.includes(label))
  // Systems are the last of the words, one below the other under the same conditions.
  const bySystem = across !== 'system' && labels.includes('system') && new Set(group.map(({ of }) => of.system)).size > 1
  const cells = group.flatMap(({ of, points }) => points.flatMap(({ x: at, y: spread }): Cell[] => {
    if (across === null && !SHOWN_PERCENTILES.includes(Number(at))) return []
    const row = [...down.map(label => of[label] ?? ''), ...overX ? [] : [typeof at === 'number' ? whole(at) : at], ...bySystem ? [of.system ?? ''] : []]
    if (overX) return [{ row, column: across === null ? percentileName(Number(at)) : String(at), text: spreadText(spread) }]
    return [{ row, column: across === undefined ? axisTitle(y) : of[across] ?? '', text: spreadText(spread) }]
  }))
  const found = [...new Set(cells.map(({ column }) => column))]
  const columns = across === 'system' ? inOrder(found) : found
  const rows = new Map<string, { row: readonly string[], texts: Map<string, string> }>()
  for (const { row, column, text } of cells) {
    const key = JSON.stringify(row)
    const found = rows.get(key) ?? { row, texts: new Map<string, string>() }
    rows.set(key, found)
    found.texts.set(column, text)
  }
  const of = group[0]?.of ?? {}
  const said = same.map(label => ['workload', 'percentile', 'kind of request'].includes(label) ? of[label] : `${label} ${of[label]}`).join(', ')
  const words = [...down, ...overX ? [] : [axisTitle(x)], ...bySystem ? ['system'] : []]
  return {
    title: `${upper(axisTitle(y).startsWith(what) ? axisTitle(y) : `${what}: ${axisTitle(y)}`)}${said === '' ? '' : `, ${said}`}`, headings: [...words, ...columns], words: words.length,
    rows: sorted([...rows.values()], bySystem).map(({ row, texts }) => [...row, ...columns.map(column => texts.get(column) ?? '')])
  }
}

/** Rows with the same words come together, in the order in which each word came first; systems in theirs. */
function sorted<T extends { readonly row: readonly string[] }> (rows: readonly T[], bySystem: boolean): T[] {
  const orders = (rows[0]?.row ?? []).map((_, i, { length }) => {
    const words = [...new Set(rows.map(({ row }) => row[i] ?? ''))]
    return bySystem && i === length - 1 ? inOrder(words) : words
  })
  const place = ({ row }: T, i: number): number => orders[i]?.indexOf(row[i] ?? '') ?? 0
  return [...rows].sort((a, b) => orders.map((_, i) => place(a, i) - place(b, i)).find(difference => difference !== 0) ?? 0)
}

function upper (text: string): string {
  return `${text[0]?.toUpperCase()}${text.slice(1)}`
}

function percentileName (percentile: number): string {
  return percentile === 100 ? 'longest' : `p${percentile}`
}

function labelsOf (all: readonly { readonly of: Labels }[]): string[] {
  return [...new Set(all.flatMap(({ of }) => Object.keys(of)))]
}

function whole (value: number): string {
  return value.toLocaleString('en', { maximumFractionDigits: 3 })
}
