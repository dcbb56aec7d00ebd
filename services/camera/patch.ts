// Each bay as a small square picture, straightened, whatever its place and angle, and lit as the ground around it: a bay
// under a cloud, at dusk or in haze looks as one at noon. Where to look is computed once for a size of frame; a frame then
// costs some table look-ups.
import type { Point } from './classifier.js'
import type { Frame } from './frame.js'
import { areaOf, centreOf, contains, distance, fromSquare, scaled, type Quad } from './geometry.js'

/** Pixels along each side of a patch. */
export const SIDE = 32
export const PATCH_PIXELS = SIDE * SIDE

/** One bay, row by row; rows run along its long side. */
export interface Patch {
  /** The logarithm of the brightness by that of the ground: 0 is as bright as the ground, 0.7 twice as bright. */
  readonly light: Float32Array
  /** How much redder and bluer than the ground, by the sum of the colours. */
  readonly red: Float32Array
  readonly blue: Float32Array
  /** 1 where the pixel is in the upper half of the bay as the frame shows it, which is the half further away; else 0. */
  readonly isUpper: Uint8Array
}

export interface Cutter {
  /** One patch for each bay, in order. The frame must have the size that the cutter was made for. */
  cut (frame: Frame): Patch[]
}

/** Keeps dark pixels, whose noise is large beside them, from looking like contrast. */
const BLACK = 16
const COLOUR_FLOOR = 48
/** The ground is looked at between the bay and an outline this many times as large. */
const AROUND = 1.6
const AROUND_STEPS = 24
/** Neighbours whose ground is taken together with the bay's own, which a car in the aisle may hide. */
const NEIGHBOURS = 4
const MOST_SUBSAMPLES = 4
const FRAME_STEP = 16
/**
 * Haze and a low sun lay light over everything, which takes contrast. Something among these bays is nearly black, a tyre or
 * a shadow under a car: what brightness it has is that light. The darkest bay does not count: it may be one dark car.
 */
const VEIL_BAYS = 6
const DARK_SHARE = 0.02
/** The most of the ground's brightness that is taken for such light: an empty lot has nothing black. */
const MOST_VEIL = 0.7

interface View {
  /** Byte offsets of the pixels that make up each pixel of the patch, one after the other. */
  readonly offsets: Int32Array
  readonly perPixel: number
  readonly isUpper: Uint8Array
  readonly ground: Int32Array
  /** The bays by distance, this one first: as many as the ground and the veil need. */
  readonly near: readonly number[]
}

/** Medians of brightness and colours. */
interface Ground { readonly bright: number, readonly red: number, readonly blue: number }

/**
 * Prepares for frames of this size. Each bay has its outline on the ground and the corners of what is looked at, both in
 * pixels of such a frame; what is outside of the frame looks like its edge.
 */
export function createCutter (width: number, height: number, polygons: readonly (readonly Point[])[], quads: readonly Quad[]): Cutter {
  const centres = polygons.map(centreOf)
  const views = polygons.map((polygon, bay): View => ({
    ...patchOffsets(width, height, quads[bay] as Quad),
    ground: groundOffsets(width, height, polygons, polygon),
    near: nearest(centres, centres[bay] as Point, VEIL_BAYS)
  }))
  return {
    cut (frame) {
      if (frame.width !== width || frame.height !== height) throw new Error(`a cutter for ${width} x ${height} was given a frame of ${frame.width} x ${frame.height}`)
      const grounds = views.map(view => groundOf(frame.pixels, view.ground))
      const darks = views.map(view => darkOf(frame.pixels, view))
      const known = grounds.filter(ground => ground !== null)
      const whole = known.length > 0 ? middle(known) : wholeGround(frame)
      return views.map(view => {
        const near = view.near.slice(0, NEIGHBOURS + 1).map(bay => grounds[bay] ?? null).filter(ground => ground !== null)
        const ground = near.length > 0 ? middle(near) : whole
        const dark = view.near.map(bay => darks[bay] as number).sort((a, b) => a - b)
        return cutPatch(frame.pixels, view, ground, Math.min(MOST_VEIL * ground.bright, dark[Math.min(1, dark.length - 1)] as number))
      })
    }
  }
}

function nearest (centres: readonly Point[], to: Point, count: number): number[] {
  return centres.map((centre, bay) => ({ bay, away: distance(centre, to) })).sort((a, b) => a.away - b.away).slice(0, count).map(({ bay }) => bay)
}

function patchOffsets (width: number, height: number, quad: Quad): Pick<View, 'offsets' | 'perPixel' | 'isUpper'> {
  const at = fromSquare(quad)
  const middleY = at(0.5, 0.5).y
  // A large bay has many pixels for one of the patch: without their mean, fine texture would come and go with its place.
  const k = Math.max(1, Math.min(MOST_SUBSAMPLES, Math.round(Math.sqrt(areaOf(quad)) / SIDE)))
  const offsets = new Int32Array(PATCH_PIXELS * k * k)
  const isUpper = new Uint8Array(PATCH_PIXELS)
  let next = 0
  for (let row = 0; row < SIDE; row++) {
    for (let column = 0; column < SIDE; column++) {
      isUpper[row * SIDE + column] = at((column + 0.5) / SIDE, (row + 0.5) / SIDE).y < middleY ? 1 : 0
      for (let part = 0; part < k * k; part++) {
        const u = (column + (part % k + 0.5) / k) / SIDE
        const v = (row + (Math.floor(part / k) + 0.5) / k) / SIDE
        offsets[next++] = offsetOf(width, height, at(u, v))
      }
    }
  }
  return { offsets, perPixel: k * k, isUpper }
}

function offsetOf (width: number, height: number, { x, y }: Point): number {
  const column = Math.max(0, Math.min(width - 1, Math.floor(x)))
  const row = Math.max(0, Math.min(height - 1, Math.floor(y)))
  return (row * width + column) * 3
}

/** Pixels of the frame around a bay that belong to no bay. */
function groundOffsets (width: number, height: number, polygons: readonly (readonly Point[])[], polygon: readonly Point[]): Int32Array {
  const outer = scaled(polygon, AROUND)
  const [xs, ys] = [outer.map(point => point.x), outer.map(point => point.y)]
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)]
  const others = polygons.filter(other => other.some(({ x, y }) => x >= left && x <= right && y >= top && y <= bottom) || other === polygon)
  const found: number[] = []
  for (let i = 0; i < AROUND_STEPS * AROUND_STEPS; i++) {
    const x = left + (i % AROUND_STEPS + 0.5) / AROUND_STEPS * (right - left)
    const y = top + (Math.floor(i / AROUND_STEPS) + 0.5) / AROUND_STEPS * (bottom - top)
    if (x < 0 || y < 0 || x >= width || y >= height || !contains(outer, x, y) || others.some(other => contains(other, x, y))) continue
    found.push(offsetOf(width, height, { x, y }))
  }
  return Int32Array.from(found)
}

/** Null where hardly any ground is seen: between bays that touch, at the edge of the frame. */
function groundOf (pixels: Uint8Array, offsets: Int32Array): Ground | null {
  if (offsets.length < AROUND_STEPS) return null
  const [bright, red, blue] = [new Float32Array(offsets.length), new Float32Array(offsets.length), new Float32Array(offsets.length)]
  for (let i = 0; i < offsets.length; i++) {
    const at = offsets[i] as number
    const [r, g, b] = [pixels[at] as number, pixels[at + 1] as number, pixels[at + 2] as number]
    const sum = r + g + b + COLOUR_FLOOR
    bright[i] = 0.299 * r + 0.587 * g + 0.114 * b
    red[i] = (r - g) / sum
    blue[i] = (b - g) / sum
  }
  return { bright: median(bright), red: median(red), blue: median(blue) }
}

function wholeGround ({ width, height, pixels }: Frame): Ground {
  const offsets: number[] = []
  for (let y = 0; y < height; y += FRAME_STEP) {
    for (let x = 0; x < width; x += FRAME_STEP) offsets.push((y * width + x) * 3)
  }
  while (offsets.length < AROUND_STEPS) offsets.push(0)
  return groundOf(pixels, Int32Array.from(offsets)) as Ground
}

function middle (grounds: readonly Ground[]): Ground {
  const of = (key: keyof Ground): number => median(Float32Array.from(grounds, ground => ground[key]))
  return { bright: of('bright'), red: of('red'), blue: of('blue') }
}

/** The brightness that hardly any pixel of the bay is below. */
function darkOf (pixels: Uint8Array, { offsets, perPixel }: View): number {
  const counts = new Uint16Array(256)
  for (let i = 0; i < offsets.length; i += perPixel) {
    const at = offsets[i] as number
    const bright = Math.floor(0.299 * (pixels[at] as number) + 0.587 * (pixels[at + 1] as number) + 0.114 * (pixels[at + 2] as number))
    counts[bright] = (counts[bright] as number) + 1
  }
  let [bright, below] = [0, 0]
  while ((below += counts[bright] as number) <= PATCH_PIXELS * DARK_SHARE) bright++
  return bright
}

function cutPatch (pixels: Uint8Array, { offsets, perPixel, isUpper }: View, ground: Ground, veil: number): Patch {
  const [light, red, blue] = [new Float32Array(PATCH_PIXELS), new Float32Array(PATCH_PIXELS), new Float32Array(PATCH_PIXELS)]
  const groundLog = Math.log(ground.bright - veil + BLACK)
  const groundSum = 3 * ground.bright + COLOUR_FLOOR
  const clear = groundSum / (groundSum - 3 * veil)
  let next = 0
  for (let i = 0; i < PATCH_PIXELS; i++) {
    let [r, g, b] = [0, 0, 0]
    for (let part = 0; part < perPixel; part++) {
      const at = offsets[next++] as number
      r += pixels[at] as number
      g += pixels[at + 1] as number
      b += pixels[at + 2] as number
    }
    const sum = Math.max(COLOUR_FLOOR, (r + g + b) / perPixel - 3 * veil + COLOUR_FLOOR) * perPixel
    light[i] = Math.log(Math.max(0, (0.299 * r + 0.587 * g + 0.114 * b) / perPixel - veil) + BLACK) - groundLog
    red[i] = (r - g) / sum - ground.red * clear
    blue[i] = (b - g) / sum - ground.blue * clear
  }
  return { light, red, blue, isUpper }
}

/** Sorts `values`. */
function median (values: Float32Array): number {
  values.sort()
  return values[values.length >> 1] as number
}
