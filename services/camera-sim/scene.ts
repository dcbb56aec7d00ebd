// A car park of four rows and the camera that looks at it: where everything is on the ground, in metres, and where that is in
// the picture. Pure, and the same for the same seed.
import type { Id } from '../../shared/lot.js'
import type { Random } from '../../shared/random.js'

/** Metres: x to the right, y away from the camera, z up. */
export interface Place { readonly x: number, readonly y: number, readonly z: number }

/** Pixels: x to the right, y down. */
export interface Point { readonly x: number, readonly y: number }

export interface Bay {
  readonly bay: Id
  /** Of its middle, on the ground. */
  readonly x: number
  readonly y: number
  /** Its outline in the picture, corner by corner. */
  readonly polygon: readonly Point[]
}

export interface Scene {
  readonly width: number
  readonly height: number
  readonly bays: readonly Bay[]
  /** Metres: the paved ground. */
  readonly ground: { readonly left: number, readonly right: number, readonly near: number, readonly far: number }
  /** Null behind the camera. */
  readonly project: (place: Place) => Point | null
  /** How far a place is from the camera, in metres. */
  readonly distance: (place: Place) => number
}

export const BAY_WIDTH = 2.5
export const BAY_LENGTH = 5
/** Begin of each row: two rows back to back between two lanes. */
const ROWS = [0, 11, 16, 27]
/** Pixels around the bays. */
const MARGIN = 24

export interface SceneOptions {
  readonly random: Random
  readonly width: number
  readonly height: number
  readonly bays: readonly Id[]
}

export function makeScene ({ random, width, height, bays: names }: SceneOptions): Scene {
  const columns = Math.ceil(names.length / ROWS.length)
  const between = (least: number, most: number): number => least + (most - least) * random.next()
  const middles = names.map((bay, i) => ({ bay, x: (i % columns - (columns - 1) / 2) * BAY_WIDTH, y: (ROWS[Math.floor(i / columns)] ?? 0) + BAY_LENGTH / 2 }))
  const far = Math.max(...middles.map(({ y }) => y)) + BAY_LENGTH / 2
  const half = columns * BAY_WIDTH / 2
  const eye = { x: between(-half * 0.5, half * 0.5), y: -between(10, 16), z: between(16, 22) }
  const look = lookFrom(eye, { x: between(-2, 2), y: far * 0.5, z: 0 }, between(-0.03, 0.03))
  const cornersOf = ({ x, y }: { x: number, y: number }): Place[] => [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([a = 0, b = 0]) => ({ x: x + a * BAY_WIDTH / 2, y: y + b * BAY_LENGTH / 2, z: 0 }))
  // The picture is cut so that all bays are in it.
  const seen = middles.flatMap(cornersOf).map(corner => look(corner)).filter(point => point !== null)
  const [left, right] = [Math.min(...seen.map(({ x }) => x)), Math.max(...seen.map(({ x }) => x))]
  const [top, bottom] = [Math.min(...seen.map(({ y }) => y)), Math.max(...seen.map(({ y }) => y))]
  const scale = Math.min((width - 2 * MARGIN) / (right - left), (height - 2 * MARGIN) * 0.86 / (bottom - top))
  const shift = { x: width / 2 - scale * (left + right) / 2, y: height * 0.54 - scale * (top + bottom) / 2 }
  const project = (place: Place): Point | null => {
    const point = look(place)
    return point && { x: scale * point.x + shift.x, y: scale * point.y + shift.y }
  }
  return {
    width, height, project,
    ground: { left: -half - 8, right: half + 8, near: -8, far: far + 7 },
    distance: ({ x, y, z }) => Math.hypot(x - eye.x, y - eye.y, z - eye.z),
    bays: middles.map(middle => ({ ...middle, polygon: cornersOf(middle).map(project).filter(point => point !== null) }))
  }
}

type Vector = readonly [number, number, number]
const dot = (a: Vector, b: Vector): number => a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
const cross = (a: Vector, b: Vector): Vector => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
const unit = (a: Vector): Vector => {
  const length = Math.hypot(...a)
  return [a[0] / length, a[1] / length, a[2] / length]
}

/** A pinhole camera at `eye` that looks at `at`, turned by `roll` radians: a place to a point at distance 1. */
function lookFrom (eye: Place, at: Place, roll: number): (place: Place) => Point | null {
  const forward = unit([at.x - eye.x, at.y - eye.y, at.z - eye.z])
  const level = unit(cross(forward, [0, 0, 1]))
  const up = cross(level, forward)
  const [cos, sin] = [Math.cos(roll), Math.sin(roll)]
  return ({ x, y, z }) => {
    const to: Vector = [x - eye.x, y - eye.y, z - eye.z]
    const depth = dot(to, forward)
    if (depth < 0.1) return null
    const [a, b] = [dot(to, level) / depth, -dot(to, up) / depth]
    return { x: a * cos - b * sin, y: a * sin + b * cos }
  }
}
