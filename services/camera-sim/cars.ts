// Cars as boxes with a cabin, windows and wheels: what of them is to be painted, the farthest first, and their shadows.
import type { Random } from '../../shared/random.js'
import { BAY_LENGTH, BAY_WIDTH, type Place, type Point, type Scene } from './scene.js'

export interface Car {
  readonly x: number
  readonly y: number
  /** Radians. */
  readonly turn: number
  readonly length: number
  readonly width: number
  readonly height: number
  /** Share of the length that the cabin has. */
  readonly cabin: number
  readonly colour: readonly [number, number, number]
}

export interface Painted {
  readonly points: readonly Point[]
  readonly colour: readonly [number, number, number]
}

/** Where the sun is: its direction on the ground, how much longer a shadow is than its thing is high, and how strong it is. */
export interface Sun {
  readonly x: number
  readonly y: number
  readonly reach: number
  /** 0: none, 1: a clear day. */
  readonly strength: number
}

const COLOURS: readonly (readonly [number, number, number])[] = [
  [225, 226, 228], [200, 203, 208], [35, 36, 40], [60, 62, 68], [120, 124, 130], [150, 30, 32], [30, 52, 110], [40, 80, 60], [170, 150, 110], [190, 120, 30], [90, 20, 30], [235, 230, 215]
]
const GLASS = [38, 46, 54] as const
const TYRE = [22, 22, 24] as const
const FLOOR = 0.25

/** Some car that stands in the bay around `x`, `y` as cars do. */
export function parkedCar (random: Random, { x, y }: { x: number, y: number }): Car {
  const between = (least: number, most: number): number => least + (most - least) * random.next()
  const isVan = random.next() < 0.15
  return {
    x: x + between(-0.18, 0.18) * BAY_WIDTH / 2.5,
    y: y + between(-0.2, 0.2) * BAY_LENGTH / 5,
    turn: between(-0.05, 0.05) + (random.next() < 0.5 ? Math.PI : 0),
    length: isVan ? between(4.4, 4.9) : between(3.7, 4.6),
    width: between(1.65, 1.85),
    height: isVan ? between(1.7, 1.95) : between(1.35, 1.5),
    cabin: isVan ? between(0.72, 0.82) : between(0.48, 0.62),
    colour: COLOURS[random.int(0, COLOURS.length - 1)] ?? [128, 128, 128]
  }
}

/** Its faces in the order in which they are painted. */
export function paintCar (car: Car, scene: Scene, sun: Sun): Painted[] {
  const waist = FLOOR + (car.height - FLOOR) * 0.5
  const body = { from: ring(car, 1, 1, FLOOR), to: ring(car, 0.98, 0.97, waist) }
  const back = -0.06 * car.length
  const cabin = { from: ring(car, car.cabin, 0.94, waist, back), to: ring(car, car.cabin * 0.74, 0.78, car.height, back) }
  const painted: Painted[] = []
  const add = (places: readonly Place[], colour: readonly [number, number, number], light: number): void => {
    const points = places.map(scene.project).filter(point => point !== null)
    if (points.length === places.length) painted.push({ points, colour: [colour[0] * light, colour[1] * light, colour[2] * light] })
  }
  const sides = (box: { from: Place[], to: Place[] }, each: (face: Place[], light: number, side: number) => void): void => {
    const faces = [0, 1, 2, 3].map(side => {
      const next = (side + 1) % 4
      const face = [box.from[side], box.from[next], box.to[next], box.to[side]].filter(place => place !== undefined)
      return { face, side, light: sideLight(face, sun) }
    })
    faces.sort((a, b) => scene.distance(middle(b.face)) - scene.distance(middle(a.face)))
    for (const { face, light, side } of faces) each(face, light, side)
  }
  sides(body, (face, light, side) => {
    add(face, car.colour, light)
    // The long sides have wheels.
    if (side % 2 === 0) for (const at of [0.2, 0.8]) add(wheel(face, at, car.length), TYRE, 1)
  })
  const topLight = 0.82 + 0.25 * sun.strength
  add(body.to, car.colour, topLight)
  sides(cabin, (face, light) => {
    add(face, car.colour, light)
    add(inset(face, 0.12), GLASS, 0.8 + 0.5 * light)
  })
  add(cabin.to, car.colour, topLight)
  return painted
}

/** The outline of its shadow on the ground, in the picture. */
export function shadowOf (car: Car, scene: Scene, sun: Sun): Point[] {
  const waist = FLOOR + (car.height - FLOOR) * 0.5
  const cast = ({ x, y, z }: Place): Place => ({ x: x + sun.x * sun.reach * z, y: y + sun.y * sun.reach * z, z: 0 })
  const places = [...ring(car, 1, 1, 0), ...ring(car, 0.98, 0.97, waist).map(cast), ...ring(car, car.cabin * 0.74, 0.78, car.height, -0.06 * car.length).map(cast)]
  return hull(places.map(scene.project).filter(point => point !== null))
}

/** The corners at a height, of a part of the car's length and width; side 0 is the right one. */
function ring (car: Car, length: number, width: number, z: number, shift = 0): Place[] {
  const [cos, sin] = [Math.cos(car.turn), Math.sin(car.turn)]
  return [[1, -1], [1, 1], [-1, 1], [-1, -1]].map(([a = 0, b = 0]) => {
    const [across, along] = [a * car.width * width / 2, b * car.length * length / 2 + shift]
    return { x: car.x + across * cos - along * sin, y: car.y + across * sin + along * cos, z }
  })
}

function sideLight (face: readonly Place[], sun: Sun): number {
  const [a, b] = face
  if (a === undefined || b === undefined) return 1
  const length = Math.hypot(b.x - a.x, b.y - a.y)
  // Out of the car, to the right of the way from a to b; shadows fall away from the sun.
  const facing = ((b.y - a.y) * -sun.x + (a.x - b.x) * -sun.y) / length
  return 0.62 + 0.3 * sun.strength * Math.max(0, facing)
}

function wheel (face: readonly Place[], at: number, length: number): Place[] {
  const [from, to] = face
  if (from === undefined || to === undefined) return []
  const half = 0.32 / length
  const along = (share: number, z: number): Place => ({ x: from.x + (to.x - from.x) * share, y: from.y + (to.y - from.y) * share, z })
  return [along(at - half, 0), along(at + half, 0), along(at + half, 0.55), along(at - half, 0.55)]
}

function inset (face: readonly Place[], share: number): Place[] {
  const { x, y, z } = middle(face)
  const closer = (from: number, to: number): number => from + (to - from) * share * 1.6
  return face.map(place => ({ x: closer(place.x, x), y: closer(place.y, y), z: closer(place.z, z) }))
}

function middle (places: readonly Place[]): Place {
  const sum = places.reduce((total, place) => ({ x: total.x + place.x, y: total.y + place.y, z: total.z + place.z }), { x: 0, y: 0, z: 0 })
  return { x: sum.x / places.length, y: sum.y / places.length, z: sum.z / places.length }
}

/** The convex hull (Andrew's monotone chain). */
function hull (points: readonly Point[]): Point[] {
  const sorted = [...points].sort((a, b) => a.x - b.x || a.y - b.y)
  const half = (line: readonly Point[]): Point[] => {
    const kept: Point[] = []
    for (const point of line) {
      for (;;) {
        const [a, b] = kept.slice(-2)
        if (a === undefined || b === undefined || (b.x - a.x) * (point.y - a.y) - (b.y - a.y) * (point.x - a.x) > 0) break
        kept.pop()
      }
      kept.push(point)
    }
    return kept.slice(0, -1)
  }
  return [...half(sorted), ...half([...sorted].reverse())]
}
