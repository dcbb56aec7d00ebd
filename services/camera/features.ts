// What is measured of a patch. A car has edges at every scale, dark and bright parts beside each other, colours that asphalt
// has not, and two sides that look alike; asphalt has a line, a stain or the edge of a shadow. Nothing here depends on where
// the bay lies in the frame.
import { PATCH_PIXELS, SIDE, type Patch } from './patch.js'
import { compareWithReference, REFERENCE_FEATURES, type Reference } from './reference.js'

/** Pixels along a side at which edges are measured: as they are, and with every patch stretched to the same contrast. */
const SCALES = [16, 8] as const
const EVEN_SCALES = [32, 16, 8] as const
/** A patch with less contrast than this is not stretched further: asphalt is not made to look like more than it is. */
const LEAST_SPAN = 0.15
/** The border of a patch that belongs to the neighbours more often than to the bay, by its side. */
const BORDER = 0.18
const SLIGHT_EDGE = 0.12
const EDGE = 0.3
const STRONG_EDGE = 0.6
/** As log brightness beside the bay's own median. */
const DARK = -0.7
const BRIGHT = 0.4
const COLOURED = 0.05
const PATTERN_NOISE = 0.05
const PATTERNS = 10

/** Names in the order of the numbers; a model says which it was trained with. */
export const APPEARANCE_FEATURES: readonly string[] = [
  ...[...SCALES.map(String), ...EVEN_SCALES.map(scale => `${scale}Even`)].flatMap(scale =>
    ['edges', 'innerEdges', 'upperEdges', 'lowerEdges', 'edges50', 'edges75', 'edges90', 'slightEdges', 'clearEdges', 'strongEdges', 'alongShare', 'acrossShare', 'slantShare', 'edgePeak', 'emptyCells'].map(name => name + scale)),
  'lightDeviation', 'lightSpan', 'lightMiddleSpan', 'darkShare', 'brightShare',
  'redDeviation', 'blueDeviation', 'colourDeviation', 'colour', 'colour90', 'colouredShare',
  ...Array.from({ length: PATTERNS }, (_, pattern) => `pattern${pattern}`), 'smoothShare',
  'cellDeviation', 'cellSpan', 'mirrorAlong', 'mirrorAcross', 'centreContrast'
]

export const ALL_FEATURES: readonly string[] = [...APPEARANCE_FEATURES, ...REFERENCE_FEATURES]

/** The numbers of a patch: `ALL_FEATURES` with a reference of the empty bay, without one `APPEARANCE_FEATURES`, its first part. */
export function featuresOf (patch: Patch, reference: Reference | null): Float64Array {
  const out: number[] = []
  const even = evened(patch.light)
  for (const side of SCALES) edgeFeatures(shrink(patch.light, side), side, patch.isUpper, out)
  for (const side of EVEN_SCALES) edgeFeatures(shrink(even, side), side, patch.isUpper, out)
  lightFeatures(patch, out)
  colourFeatures(patch, out)
  patternFeatures(patch.light, out)
  cellFeatures(patch, out)
  if (reference) compareWithReference(patch, reference, out)
  return Float64Array.from(out)
}

/** Means of squares of the patch, so that its side becomes `side`. */
export function shrink (plane: Float32Array, side: number): Float32Array {
  if (side === SIDE) return plane
  const step = SIDE / side
  const out = new Float32Array(side * side)
  for (let y = 0; y < SIDE; y++) {
    const row = Math.floor(y / step) * side
    for (let x = 0; x < SIDE; x++) {
      const at = row + Math.floor(x / step)
      out[at] = (out[at] as number) + (plane[y * SIDE + x] as number) / (step * step)
    }
  }
  return out
}

/** The pixels inside of the border. */
const INNER = Int32Array.from(Array.from({ length: PATCH_PIXELS }, (_, at) => at).filter(at => isInner(at % SIDE, SIDE) && isInner(Math.floor(at / SIDE), SIDE)))

function isInner (place: number, side: number): boolean {
  const border = Math.round(side * BORDER)
  return place >= border && place < side - border
}

function innerOf (plane: Float32Array): Float32Array {
  const values = new Float32Array(INNER.length)
  for (let i = 0; i < values.length; i++) values[i] = plane[INNER[i] as number] as number
  return values
}

function evened (light: Float32Array): Float32Array {
  const sorted = innerOf(light).sort()
  const span = Math.max(LEAST_SPAN, quantile(sorted, 0.97) - quantile(sorted, 0.03))
  const even = new Float32Array(PATCH_PIXELS)
  for (let at = 0; at < PATCH_PIXELS; at++) even[at] = (light[at] as number) / span
  return even
}

/** Sizes of edges in bins of `BIN`: quantiles without sorting. */
const BINS = 512
const BIN = 1 / 128
const counts = new Uint16Array(BINS)

function edgeFeatures (light: Float32Array, side: number, isUpper: Uint8Array, out: number[]): void {
  const border = Math.round(side * BORDER)
  const step = SIDE / side
  const cells = new Float64Array(16)
  counts.fill(0)
  let [all, inner, upper, n, uppers, slight, clear, strong, along, across, slant] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
  for (let y = 1; y < side - 1; y++) {
    const cellRow = Math.floor(y * 4 / side) * 4
    for (let x = 1; x < side - 1; x++) {
      const at = y * side + x
      const dx = (light[at + 1] as number) - (light[at - 1] as number)
      const dy = (light[at + side] as number) - (light[at - side] as number)
      const size = Math.sqrt(dx * dx + dy * dy)
      all += size
      const cell = cellRow + Math.floor(x * 4 / side)
      if (size > (cells[cell] as number)) cells[cell] = size
      if (x < border || y < border || x >= side - border || y >= side - border) continue
      const bin = Math.min(BINS - 1, Math.floor(size / BIN))
      counts[bin] = (counts[bin] as number) + 1
      n++
      inner += size
      if (isUpper[y * step * SIDE + x * step] === 1) {
        upper += size
        uppers++
      }
      if (size > SLIGHT_EDGE) slight++
      if (size > EDGE) clear++
      if (size > STRONG_EDGE) strong++
      const [ax, ay] = [Math.abs(dx), Math.abs(dy)]
      if (ax > 2 * ay) across += size
      else if (ay > 2 * ax) along += size
      else slant += size
    }
  }
  const [half, most, nearlyAll] = [quantileOfCounts(n, 0.5), quantileOfCounts(n, 0.75), quantileOfCounts(n, 0.9)]
  const total = inner + 0.02 * n
  let emptyCells = 0
  for (const largest of cells) if (largest < 1.5 * SLIGHT_EDGE) emptyCells++
  out.push(
    all / (side - 2) ** 2, inner / n, upper / Math.max(1, uppers), (inner - upper) / Math.max(1, n - uppers), half, most, nearlyAll,
    slight / n, clear / n, strong / n, along / total, across / total, slant / total, nearlyAll / (half + 0.02), emptyCells / cells.length
  )
}

function quantileOfCounts (n: number, share: number): number {
  let [bin, below] = [0, 0]
  while (bin < BINS - 1 && (below += counts[bin] as number) <= share * n) bin++
  return bin * BIN
}

function quantile (sorted: Float32Array, share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] as number
}

function lightFeatures ({ light }: Patch, out: number[]): void {
  const sorted = innerOf(light).sort()
  const middle = quantile(sorted, 0.5)
  let [dark, bright] = [0, 0]
  for (const value of sorted) {
    if (value - middle < DARK) dark++
    if (value - middle > BRIGHT) bright++
  }
  out.push(momentsOf(sorted).deviation, quantile(sorted, 0.95) - quantile(sorted, 0.05), quantile(sorted, 0.75) - quantile(sorted, 0.25), dark / sorted.length, bright / sorted.length)
}

export function momentsOf (values: Float32Array): { mean: number, deviation: number } {
  let [sum, squares] = [0, 0]
  for (const value of values) sum += value
  const mean = sum / values.length
  for (const value of values) squares += (value - mean) ** 2
  return { mean, deviation: Math.sqrt(squares / values.length) }
}

function colourFeatures ({ red, blue }: Patch, out: number[]): void {
  const [reds, blues] = [red, blue].map(plane => momentsOf(innerOf(plane)).deviation)
  const colours = new Float32Array(INNER.length)
  for (let i = 0; i < colours.length; i++) {
    const at = INNER[i] as number
    colours[i] = Math.sqrt((red[at] as number) ** 2 + (blue[at] as number) ** 2)
  }
  colours.sort()
  const { mean, deviation } = momentsOf(colours)
  let coloured = 0
  for (const colour of colours) if (colour > COLOURED) coloured++
  out.push(reds as number, blues as number, deviation, mean, quantile(colours, 0.9), coloured / colours.length)
}

const AROUND_PIXEL = [-SIDE - 1, -SIDE, -SIDE + 1, 1, SIDE + 1, SIDE, SIDE - 1, -1] as const

/** Local binary patterns, uniform and the same however turned (Ojala, Pietikäinen, Mäenpää 2002), and the share of flat pixels. */
function patternFeatures (light: Float32Array, out: number[]): void {
  const patterns = new Float64Array(PATTERNS)
  let flat = 0
  for (const at of INNER) {
    const centre = light[at] as number
    let [ones, changes, largest] = [0, 0, 0]
    let before = (light[at - 1] as number) - centre > PATTERN_NOISE
    for (const step of AROUND_PIXEL) {
      const difference = (light[at + step] as number) - centre
      const is = difference > PATTERN_NOISE
      if (is) ones++
      if (is !== before) changes++
      before = is
      if (difference > largest) largest = difference
      else if (-difference > largest) largest = -difference
    }
    const pattern = changes <= 2 ? ones : PATTERNS - 1
    patterns[pattern] = (patterns[pattern] as number) + 1
    if (largest < PATTERN_NOISE) flat++
  }
  for (const count of patterns) out.push(count / INNER.length)
  out.push(flat / INNER.length)
}

/** How the bay looks from far: 8 by 8 cells. */
function cellFeatures ({ light }: Patch, out: number[]): void {
  const cells = shrink(light, 8)
  const { mean, deviation } = momentsOf(cells)
  let [least, most, along, across, centre] = [Infinity, -Infinity, 0, 0, 0]
  for (let y = 0; y < 8; y++) {
    for (let x = 0; x < 8; x++) {
      const value = cells[y * 8 + x] as number
      least = Math.min(least, value)
      most = Math.max(most, value)
      along += Math.abs(value - (cells[(7 - y) * 8 + x] as number)) / 64
      across += Math.abs(value - (cells[y * 8 + 7 - x] as number)) / 64
      if (x >= 2 && x < 6 && y >= 2 && y < 6) centre += value / 16
    }
  }
  out.push(deviation, most - least, along, across, Math.abs(centre - mean))
}
