// Draws a plot as SVG with vega. The same plot gives the same bytes. Colours can be told apart by people who see fewer of them
// (Okabe and Ito, https://jfly.uni-koeln.de/color/), and each line has a shape of its own besides.
import type { Axis, Mark, Scale as VegaScale, Spec } from 'vega'
import { inOrder, isSystem, type SystemName } from '../systems.js'
import type { Dot, Panel, Plot } from './plots.js'

const WIDTH = 380
const HEIGHT = 260
const COLUMNS = 2
/** parkmq is always the first; without yellow, which is too light on white. */
const COLOURS = ['#0072B2', '#E69F00', '#009E73', '#D55E00', '#CC79A7', '#56B4E9', '#000000']
const SHAPES = ['circle', 'square', 'triangle-up', 'diamond', 'cross', 'triangle-down', 'triangle-right']
/** So that a system looks alike in all plots; a broker that echoes and one that forwards are never in the same. */
const PLACES: Readonly<Record<SystemName, number>> = { parkmq: 0, 'mosquitto-echo': 1, 'mosquitto-forward': 1, 'aedes-echo': 2, 'aedes-forward': 2, service: 3, 'service-auto-ack': 4 }
const FONT = 'DejaVu Sans, Verdana, Arial, sans-serif'
const LABEL_SIZE = 11
/** Of a letter, as a share of its height. */
const LETTER_WIDTH = 0.6
const INK = '#222222'
const GRID = '#E4E4E4'
/** Where the longest one is drawn: right of 99.99. */
const LONGEST = 4.7
const MEDIAN = -Math.log10(0.5)
const PERCENTS = [50, 75, 90, 95, 99, 99.9, 99.99, 100]

export async function drawSvg (plot: Plot): Promise<string> {
  const vega = await import('vega')
  const { View, parse } = vega
  // Left to itself it measures with a canvas where one happens to be installed, and else takes letters for a third wider than they are.
  const { textMetrics } = vega as unknown as { textMetrics: { width: (item: { fontSize?: number }, text: unknown) => number } }
  textMetrics.width = ({ fontSize = LABEL_SIZE }, text) => Math.ceil(LETTER_WIDTH * String(text).length * fontSize)
  const view = new View(parse(specOf(plot)), { renderer: 'none' })
  try {
    return await view.toSVG()
  } finally {
    view.finalize()
  }
}

function specOf ({ title, subtitle, panels }: Plot): Spec {
  const found = [...new Set(panels.flatMap(({ lines }) => lines.map(({ name }) => name)))]
  const names = found.every(isSystem) ? inOrder(found) : found
  const places = names.map((name, i) => isSystem(name) ? PLACES[name] : i)
  const text = { labelFont: FONT, titleFont: FONT, labelColor: INK, titleColor: INK }
  return {
    background: 'white', padding: 16,
    title: { text: title, subtitle: [...subtitle], anchor: 'start', frame: 'bounds', font: FONT, subtitleFont: FONT, fontSize: 16, subtitleFontSize: 11, color: INK, subtitleColor: INK, subtitlePadding: 6, offset: 14 },
    layout: { columns: Math.min(COLUMNS, panels.length), padding: { row: 28, column: 28 }, bounds: 'full', align: 'all' },
    scales: [
      { name: 'colour', type: 'ordinal', domain: names, range: places.map(place => COLOURS[place % COLOURS.length] ?? INK) },
      { name: 'shape', type: 'ordinal', domain: names, range: places.map(place => SHAPES[place % SHAPES.length] ?? 'circle') }
    ],
    // One line needs no legend.
    legends: names.length < 2 ? [] : [{ fill: 'colour', shape: 'shape', orient: 'bottom', columns: Math.min(4, names.length), symbolSize: 70, symbolStrokeWidth: 0, labelFontSize: 12, columnPadding: 22, rowPadding: 4, offset: 12, labelLimit: 320, ...text }],
    marks: panels.map((panel, i) => groupOf(panel, i))
  }
}

function groupOf (panel: Panel, index: number): Mark {
  const { title, x, y } = panel
  const data = `dots${index}`
  const dots = panel.lines.flatMap(({ name, points }) => points.map(dot => ({ name, ...dot, x: placed(dot.x, panel) })))
  const text = { labelFont: FONT, titleFont: FONT, labelColor: INK, titleColor: INK, domainColor: INK, tickColor: INK, labelFontSize: LABEL_SIZE, titleFontSize: 12, titleFontWeight: 'normal' as const, titlePadding: 8 }
  const xs = [...new Set(panel.lines.flatMap(({ points }) => points.map(dot => dot.x)))]
  const axisX: Axis = { scale: 'x', orient: 'bottom', title: x.title, ...text, ...ticksOfX(panel, xs) }
  const axisY: Axis = { scale: 'y', orient: 'left', title: y.title, grid: true, gridScale: 'x', gridColor: GRID, format: y.title.endsWith('(bytes)') ? '.3~s' : ',~f', ...text, ...y.scale === 'log' ? { values: logTicks(domainOf(dots)) } : { tickCount: 6 } }
  return {
    type: 'group', name: `panel${index}`,
    encode: { update: { width: { value: WIDTH }, height: { value: HEIGHT } } },
    title: { text: title, anchor: 'start', frame: 'group', font: FONT, fontSize: 13, color: INK, offset: 8 },
    data: [{ name: data, values: dots }],
    scales: [scaleX(panel, data, xs), scaleY(panel, dots)],
    axes: [axisX, axisY],
    marks: panel.shape === 'bars' ? bars(data) : lines(data, x.scale === 'words')
  }
}

function lines (data: string, isBanded: boolean): Mark[] {
  const x = { scale: 'x', field: 'x', ...isBanded && { band: 0.5 } }
  return [
    {
      type: 'group', from: { facet: { name: 'one', data, groupby: 'name' } },
      marks: [{ type: 'line', name: 'line', from: { data: 'one' }, encode: { update: { x, y: { scale: 'y', field: 'y' }, stroke: { scale: 'colour', field: 'name' }, strokeWidth: { value: 2 } } } }]
    },
    rule(data, x, { scale: 'colour', field: 'name' }),
    { type: 'symbol', name: 'dot', from: { data }, encode: { update: { x, y: { scale: 'y', field: 'y' }, fill: { scale: 'colour', field: 'name' }, shape: { scale: 'shape', field: 'name' }, size: { value: 52 } } } }
  ]
}

function bars (data: string): Mark[] {
  return [
    { type: 'rect', name: 'bar', from: { data }, encode: { update: { x: { scale: 'x', field: 'x' }, width: { scale: 'x', band: 1 }, y: { scale: 'y', field: 'y' }, y2: { scale: 'y', value: 0 }, fill: { scale: 'colour', field: 'name' } } } },
    rule(data, { scale: 'x', field: 'x', band: 0.5 }, { value: INK }),
    // Above the thin line, which would cross it.
    { type: 'text', name: 'figure', from: { data }, encode: { update: { x: { scale: 'x', field: 'x', band: 0.5 }, y: { scale: 'y', field: 'high', offset: -5 }, align: { value: 'center' }, text: { signal: 'format(datum.y, ".2f")' }, font: { value: FONT }, fontSize: { value: 11 }, fill: { value: INK } } } }
  ]
}

/** From the least to the most round. */
function rule (data: string, x: Record<string, unknown>, stroke: { scale: string, field: string } | { value: string }): Mark {
  return { type: 'rule', name: 'range', from: { data }, encode: { update: { x, y: { scale: 'y', field: 'low' }, y2: { scale: 'y', field: 'high' }, stroke, strokeWidth: { value: 1.2 } } } }
}

function scaleX ({ x }: Panel, data: string, xs: readonly (number | string)[]): VegaScale {
  const field = { data, field: 'x' }
  switch (x.scale) {
    case 'words': return { name: 'x', type: 'band', range: [0, WIDTH], domain: xs as string[], paddingInner: 0.35, paddingOuter: 0.2 }
    case 'percent': return { name: 'x', type: 'linear', range: [0, WIDTH], domain: [MEDIAN, LONGEST], zero: false }
    case 'log': return { name: 'x', type: 'log', range: [0, WIDTH], domain: field, padding: 14 }
    case 'linear': return { name: 'x', type: 'linear', range: [0, WIDTH], domain: field, zero: true, padding: 8 }
  }
}

function scaleY ({ y }: Panel, dots: readonly Dot[]): VegaScale {
  if (y.scale === 'log') return { name: 'y', type: 'log', range: [HEIGHT, 0], domain: domainOf(dots) }
  return { name: 'y', type: 'linear', range: [HEIGHT, 0], domain: [0, Math.max(...dots.map(({ high }) => high)) * 1.1], nice: true, zero: true }
}

/** Where on the axis: percentiles by the nines that they have, everything else as it is. */
function placed (x: number | string, { x: { scale } }: Panel): number | string {
  if (scale !== 'percent' || typeof x === 'string') return x
  return x >= 100 ? LONGEST : -Math.log10(1 - x / 100)
}

function ticksOfX (panel: Panel, xs: readonly (number | string)[]): Partial<Axis> {
  switch (panel.x.scale) {
    case 'words': return { labelFontSize: 10 }
    case 'linear': return { tickCount: 6, tickMinStep: 1, format: ',~f' }
    // Each mark at what was measured; those too close to the one before are left out.
    case 'log': return { values: xs as number[], format: ',~f', labelOverlap: 'greedy' }
    case 'percent': return {
      values: PERCENTS.map(percent => placed(percent, panel)) as number[],
      encode: { labels: { update: { text: { signal: `datum.value >= ${LONGEST} ? 'longest' : format(100 * (1 - pow(10, -datum.value)), '.4~f')` } } } }
    }
  }
}

/** Of a logarithmic axis: all there is, out to the next 1, 2 or 5. */
function domainOf (dots: readonly Dot[]): [number, number] {
  const least = Math.min(...dots.map(({ low }) => low))
  const most = Math.max(...dots.map(({ high }) => high))
  const steps = stepsBetween(least / 10, most * 10)
  return [steps.filter(step => step <= least).at(-1) ?? least, steps.find(step => step >= most && step > least) ?? most]
}

function logTicks ([least, most]: [number, number]): number[] {
  const steps = stepsBetween(least, most)
  // Over many decades the 2 and the 5 are too many.
  return most / least > 10_000 ? steps.filter(step => Number.isInteger(Math.round(Math.log10(step) * 1e6) / 1e6)) : steps
}

function stepsBetween (least: number, most: number): number[] {
  const steps: number[] = []
  for (let power = Math.floor(Math.log10(least)); power <= Math.ceil(Math.log10(most)); power++) {
    // Through text, so that 0.3 is not 0.30000000000000004.
    for (const step of [1, 2, 5]) steps.push(Number(`${step}e${power}`))
  }
  return steps.filter(step => step >= least && step <= most)
}
