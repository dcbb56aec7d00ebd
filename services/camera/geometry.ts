// Where the bays are in the picture: outlines, their four corners, and the way from a square to a bay seen at an angle.
import type { Point } from './classifier.js'

/** Four corners, one after the other around the bay. The edge from the first to the second is a long side. */
export type Quad = readonly [Point, Point, Point, Point]

/** The area of an outline in square pixels, whichever way it turns. */
export function areaOf (polygon: readonly Point[]): number {
  let twice = 0
  eachEdge(polygon, (a, b) => { twice += a.x * b.y - b.x * a.y })
  return Math.abs(twice) / 2
}

export function centreOf (polygon: readonly Point[]): Point {
  let [x, y] = [0, 0]
  for (const point of polygon) [x, y] = [x + point.x, y + point.y]
  return { x: x / polygon.length, y: y / polygon.length }
}

/** Whether the point is inside of the outline. */
export function contains (polygon: readonly Point[], x: number, y: number): boolean {
  let inside = false
  eachEdge(polygon, (a, b) => {
    if ((a.y > y) !== (b.y > y) && x < (b.x - a.x) * (y - a.y) / (b.y - a.y) + a.x) inside = !inside
  })
  return inside
}

/** The outline around the same centre, `factor` times as long and as wide. */
export function scaled (polygon: readonly Point[], factor: number): Point[] {
  const centre = centreOf(polygon)
  return polygon.map(({ x, y }) => ({ x: centre.x + (x - centre.x) * factor, y: centre.y + (y - centre.y) * factor }))
}

/** The corners of a bay: those of a convex outline of four, otherwise of the smallest rectangle around it. */
export function quadOf (polygon: readonly Point[]): Quad {
  const corners = polygon.length === 4 && isConvex(polygon) ? polygon : smallestRectangle(hullOf(polygon))
  const [a, b, c, d] = corners as unknown as Quad
  const along = distance(a, b) + distance(c, d)
  const across = distance(b, c) + distance(d, a)
  return along >= across ? [a, b, c, d] : [b, c, d, a]
}

/** Maps (u, v) of the unit square to the picture: (0, 0) to the first corner, (1, 0) to the second, (1, 1) to the third. */
export function fromSquare ([p0, p1, p2, p3]: Quad): (u: number, v: number) => Point {
  // P. Heckbert, Fundamentals of Texture Mapping and Image Warping (1989), section 2.2.
  const [sumX, sumY] = [p0.x - p1.x + p2.x - p3.x, p0.y - p1.y + p2.y - p3.y]
  const [dx1, dx2, dy1, dy2] = [p1.x - p2.x, p3.x - p2.x, p1.y - p2.y, p3.y - p2.y]
  const denominator = dx1 * dy2 - dx2 * dy1
  const g = denominator === 0 ? 0 : (sumX * dy2 - dx2 * sumY) / denominator
  const h = denominator === 0 ? 0 : (dx1 * sumY - sumX * dy1) / denominator
  const [a, b] = [p1.x - p0.x + g * p1.x, p3.x - p0.x + h * p3.x]
  const [d, e] = [p1.y - p0.y + g * p1.y, p3.y - p0.y + h * p3.y]
  return (u, v) => {
    const w = g * u + h * v + 1
    return { x: (a * u + b * v + p0.x) / w, y: (d * u + e * v + p0.y) / w }
  }
}

export function distance (a: Point, b: Point): number {
  return Math.hypot(a.x - b.x, a.y - b.y)
}

function eachEdge (polygon: readonly Point[], take: (a: Point, b: Point) => void): void {
  let before = polygon[polygon.length - 1]
  for (const point of polygon) {
    if (before) take(before, point)
    before = point
  }
}

function turn (a: Point, b: Point, c: Point): number {
  return (b.x - a.x) * (c.y - b.y) - (b.y - a.y) * (c.x - b.x)
}

function isConvex (polygon: readonly Point[]): boolean {
  const turns = polygon.map((point, i) => turn(point, polygon[(i + 1) % polygon.length] as Point, polygon[(i + 2) % polygon.length] as Point))
  return turns.every(value => value > 0) || turns.every(value => value < 0)
}

/** The convex hull, by Andrew's monotone chain. */
function hullOf (polygon: readonly Point[]): Point[] {
  const sorted = [...polygon].sort((a, b) => a.x - b.x || a.y - b.y)
  const chain = (points: readonly Point[]): Point[] => {
    const kept: Point[] = []
    for (const point of points) {
      while (kept.length >= 2 && turn(kept[kept.length - 2] as Point, kept[kept.length - 1] as Point, point) <= 0) kept.pop()
      kept.push(point)
    }
    return kept.slice(0, -1)
  }
  return [...chain(sorted), ...chain(sorted.reverse())]
}

/** One side of the smallest rectangle around a hull lies on one of its edges. */
function smallestRectangle (hull: readonly Point[]): Point[] {
  let best: { area: number, corners: Point[] } = { area: Infinity, corners: [] }
  eachEdge(hull, (from, to) => {
    const length = distance(from, to)
    const [ux, uy] = [(to.x - from.x) / length, (to.y - from.y) / length]
    const along = hull.map(({ x, y }) => x * ux + y * uy)
    const across = hull.map(({ x, y }) => y * ux - x * uy)
    const [left, right, top, bottom] = [Math.min(...along), Math.max(...along), Math.min(...across), Math.max(...across)]
    const area = (right - left) * (bottom - top)
    if (area >= best.area) return
    best = { area, corners: ([[left, top], [right, top], [right, bottom], [left, bottom]] as const).map(([s, t]) => ({ x: s * ux - t * uy, y: s * uy + t * ux })) }
  })
  return best.corners
}

/** Metres: what bays and cars usually measure. Only the proportions matter, and they need not be exact. */
const [BAY_LONG, BAY_WIDE, HALF_CAR_HIGH] = [5, 2.5, 0.7]
/** The sine of the angle from which cameras on masts and roofs usually look down, and how much one believes in it beside each bay. */
const [USUAL_SINE, BELIEF] = [0.6, 0.3]
const [LEAST_SINE, MOST_SINE] = [0.15, 1]

/**
 * The bays as a camera sees cars in them: long sides first, and moved up to half the height of a car, which stands above
 * the ground that it covers. A camera that looks from the side sees the car beyond its bay, one that looks straight down
 * within.
 */
export function raisedQuads (quads: readonly Quad[]): Quad[] {
  const views = quads.map(quad => [viewOf(quad), viewOf(rotated(quad))] as const)
  let [best, least] = [USUAL_SINE, Infinity]
  for (let sine = LEAST_SINE; sine <= MOST_SINE; sine *= 1.05) {
    const cost = views.reduce((sum, [a, b]) => sum + Math.min(apart(a.sine, sine), apart(b.sine, sine)), 0) + BELIEF * quads.length * apart(sine, USUAL_SINE)
    if (cost < least) [best, least] = [sine, cost]
  }
  return views.map(views => {
    const { quad, scale } = apart(views[0].sine, best) <= apart(views[1].sine, best) ? views[0] : views[1]
    const rise = HALF_CAR_HIGH * scale * Math.sqrt(Math.max(0, 1 - best ** 2))
    return quad.map(({ x, y }): Point => ({ x, y: y - rise })) as unknown as Quad
  })
}

function rotated ([a, b, c, d]: Quad): Quad {
  return [b, c, d, a]
}

function apart (a: number, b: number): number {
  return Math.abs(Math.log((a + 0.01) / (b + 0.01)))
}

/** What follows if the first side is a long one: the pixels of a metre, and the sine of the angle that the camera looks down. */
function viewOf (quad: Quad): { quad: Quad, scale: number, sine: number } {
  const [a, b, c, d] = quad
  const long = { x: (b.x - a.x + c.x - d.x) / 2, y: (b.y - a.y + c.y - d.y) / 2 }
  const wide = { x: (c.x - b.x + d.x - a.x) / 2, y: (c.y - b.y + d.y - a.y) / 2 }
  // Whichever way the bay is turned on the ground, its sides are at a right angle: the sums do not depend on the turn.
  const scale = Math.hypot(long.x / BAY_LONG, wide.x / BAY_WIDE)
  const deep = Math.hypot(long.y / BAY_LONG, wide.y / BAY_WIDE)
  return { quad, scale, sine: deep / Math.max(scale, 1e-6) }
}
