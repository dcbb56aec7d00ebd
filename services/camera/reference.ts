// How a bay looks when it is empty, and how far a patch is from that. Where calibration has seen a bay empty, the lines,
// stains and kerbs that belong to it do not look like a car any more.
import { PATCH_PIXELS, SIDE, type Patch } from './patch.js'

/** What the bay looks like empty, as a patch. */
export interface Reference {
  readonly light: Float32Array
  readonly red: Float32Array
  readonly blue: Float32Array
  /** Sizes of the edges in `light`. */
  readonly edges: Float32Array
}

export const REFERENCE_FEATURES: readonly string[] = [
  'likeLight', 'likeEdges', 'lightDifference', 'unshadedDifference', 'colourDifference', 'newEdges', 'lostEdges', 'newEdgeShare', 'changedCells', 'unexplained', 'upperNewEdges', 'lowerNewEdges'
]

/** Pixels of a patch that a camera in the wind, or an outline not drawn exactly, may be off. */
const SHIFT = 2
const NEW_EDGE = 0.2
const CHANGED = 0.25
const CELL = 4
/** One step of a stored number, and so how exact a reference is kept: one byte a number. */
const LIGHT_STEP = 1 / 50
const COLOUR_STEP = 1 / 250

/** The median over patches of the empty bay: shadows and passers-by, which most of them have not, are gone. Null without patches. */
export function referenceOf (patches: readonly Patch[]): Reference | null {
  if (patches.length === 0) return null
  const median = (planes: readonly Float32Array[]): Float32Array => Float32Array.from({ length: PATCH_PIXELS }, (_, at) => {
    const sorted = planes.map(plane => plane[at] as number).sort((a, b) => a - b)
    return ((sorted[(sorted.length - 1) >> 1] as number) + (sorted[sorted.length >> 1] as number)) / 2
  })
  return withEdges(median(patches.map(({ light }) => light)), median(patches.map(({ red }) => red)), median(patches.map(({ blue }) => blue)))
}

/** The text of a reference in a configuration: `REFERENCE_CHARS` characters of base64. */
export function referenceText ({ light, red, blue }: Reference): string {
  const bytes = new Int8Array(3 * PATCH_PIXELS)
  const write = (plane: Float32Array, first: number, step: number): void => plane.forEach((value, at) => { bytes[first + at] = Math.max(-127, Math.min(127, Math.round(value / step))) })
  write(light, 0, LIGHT_STEP)
  write(red, PATCH_PIXELS, COLOUR_STEP)
  write(blue, 2 * PATCH_PIXELS, COLOUR_STEP)
  return Buffer.from(bytes.buffer).toString('base64')
}

export const REFERENCE_CHARS = 4 * PATCH_PIXELS

/** The reference of a text of `REFERENCE_CHARS` characters of base64. */
export function referenceFrom (text: string): Reference {
  const bytes = Int8Array.from(Buffer.from(text, 'base64'))
  const read = (first: number, step: number): Float32Array => Float32Array.from({ length: PATCH_PIXELS }, (_, at) => (bytes[first + at] ?? 0) * step)
  return withEdges(read(0, LIGHT_STEP), read(PATCH_PIXELS, COLOUR_STEP), read(2 * PATCH_PIXELS, COLOUR_STEP))
}

function withEdges (light: Float32Array, red: Float32Array, blue: Float32Array): Reference {
  return { light, red, blue, edges: edgesOf(light) }
}

function edgesOf (light: Float32Array): Float32Array {
  const edges = new Float32Array(PATCH_PIXELS)
  for (let y = 1; y < SIDE - 1; y++) {
    for (let x = 1; x < SIDE - 1; x++) {
      const at = y * SIDE + x
      const dx = (light[at + 1] as number) - (light[at - 1] as number)
      const dy = (light[at + SIDE] as number) - (light[at - SIDE] as number)
      edges[at] = Math.sqrt(dx * dx + dy * dy)
    }
  }
  return edges
}

/** Appends the numbers of `REFERENCE_FEATURES`. */
export function compareWithReference (patch: Patch, reference: Reference, out: number[]): void {
  const edges = edgesOf(patch.light)
  let best = { like: -Infinity, shift: 0 }
  for (let dy = -SHIFT; dy <= SHIFT; dy++) {
    for (let dx = -SHIFT; dx <= SHIFT; dx++) {
      const like = likeness(edges, reference.edges, dy * SIDE + dx, 2)
      if (like > best.like) best = { like, shift: dy * SIDE + dx }
    }
  }
  const { shift } = best
  const difference = new Float32Array(PATCH_PIXELS)
  let [sum, size, colour, added, lost, known, clear, upper, uppers, count] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
  for (let y = SHIFT; y < SIDE - SHIFT; y++) {
    for (let at = y * SIDE + SHIFT; at < (y + 1) * SIDE - SHIFT; at++) {
      const other = at + shift
      const light = (patch.light[at] as number) - (reference.light[other] as number)
      difference[at] = light
      sum += light
      size += Math.abs(light)
      colour += Math.sqrt(((patch.red[at] as number) - (reference.red[other] as number)) ** 2 + ((patch.blue[at] as number) - (reference.blue[other] as number)) ** 2)
      const [now, before] = [edges[at] as number, reference.edges[other] as number]
      const more = Math.max(0, now - 1.3 * before - 0.03)
      added += more
      lost += Math.max(0, before - now)
      known += before
      if (now - before > NEW_EDGE) clear++
      if (patch.isUpper[at] === 1) {
        upper += more
        uppers++
      }
      count++
    }
  }
  const mean = sum / count
  const cells = new Float32Array((SIDE / CELL) ** 2)
  let [unshaded, squares] = [0, 0]
  for (let y = SHIFT; y < SIDE - SHIFT; y++) {
    for (let at = y * SIDE + SHIFT; at < (y + 1) * SIDE - SHIFT; at++) {
      const apart = (difference[at] as number) - mean
      unshaded += Math.abs(apart)
      squares += apart * apart
      const cell = (y >> 2) * (SIDE / CELL) + ((at % SIDE) >> 2)
      cells[cell] = (cells[cell] as number) + apart / CELL ** 2
    }
  }
  let changed = 0
  for (const cell of cells) if (Math.abs(cell) > CHANGED) changed++
  out.push(
    likeness(patch.light, reference.light, shift, 1), likeness(edges, reference.edges, shift, 1), size / count, unshaded / count, colour / count, added / count, lost / (known + 1), clear / count,
    changed / cells.length, Math.sqrt(squares / count), upper / Math.max(1, uppers), (added - upper) / Math.max(1, count - uppers)
  )
}

/** The correlation, from -1 to 1, over every `step`th pixel but for a border that the shift would leave. */
function likeness (a: Float32Array, b: Float32Array, shift: number, step: number): number {
  let [sumA, sumB, aa, bb, ab, n] = [0, 0, 0, 0, 0, 0]
  for (let y = SHIFT; y < SIDE - SHIFT; y += step) {
    for (let at = y * SIDE + SHIFT; at < (y + 1) * SIDE - SHIFT; at += step) {
      const [u, v] = [a[at] as number, b[at + shift] as number]
      sumA += u
      sumB += v
      aa += u * u
      bb += v * v
      ab += u * v
      n++
    }
  }
  const [varA, varB] = [aa / n - (sumA / n) ** 2, bb / n - (sumB / n) ** 2]
  return (ab / n - sumA / n * (sumB / n)) / Math.sqrt((varA + 1e-4) * (varB + 1e-4))
}
