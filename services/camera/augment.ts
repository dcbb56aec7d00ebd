// Other days, other bays and other neighbours for the patches that calibration has: haze, noise, casts, shadows that fall
// where no car is, outlines drawn not quite right, the roof of the next car reaching in. Without them a classifier learns
// the weather and the bays of its few frames by heart.
import type { Point } from './classifier.js'
import { centreOf, distance, type Quad } from './geometry.js'
import { PATCH_PIXELS, SIDE, type Patch } from './patch.js'
import type { Random } from './random.js'

/** How far corners are moved, by the size of the bay. */
/** How far corners are moved and how much the bay becomes larger or smaller, as shares of its size. Cars differ more than outlines. */
const EMPTY_NUDGE = { way: 0.05, zoom: 0.08 }
const CAR_NUDGE = { way: 0.12, zoom: 0.2 }
/** The share of variants that each change is made in. */
const OFTEN = 0.6
const SOMETIMES = 0.3

/** The corners moved a little: outlines are drawn by hand, cars stand beside the middle, and cameras move in the wind. */
export function nudged (quad: Quad, taken: boolean, random: Random): Quad {
  const { way, zoom } = taken ? CAR_NUDGE : EMPTY_NUDGE
  const centre = centreOf(quad)
  const reach = Math.sqrt(distance(quad[0], quad[1]) * distance(quad[1], quad[2])) * way
  const [dx, dy, size] = [random.normal() * reach, random.normal() * reach, random.between(1 - zoom, 1 + 1.5 * zoom)]
  return quad.map(({ x, y }): Point => ({
    x: centre.x + (x - centre.x) * size + dx + random.normal() * reach / 3,
    y: centre.y + (y - centre.y) * size + dy + random.normal() * reach / 3
  })) as unknown as Quad
}

/** The patch in other weather. */
export function inOtherWeather (patch: Patch, random: Random): Patch {
  let light = Float32Array.from(patch.light)
  const [red, blue] = [Float32Array.from(patch.red), Float32Array.from(patch.blue)]
  if (random.next() < OFTEN) for (let times = random.between(0, 4); times > 1; times--) light = blurred(light)
  if (random.next() < OFTEN) castShadow(light, red, blue, random)
  // Veiling light, of haze or of a low sun in the lens, takes contrast; a hard sun adds some.
  const veil = random.next() < OFTEN ? random.between(0, 0.65) : 0
  const contrast = random.between(0.8, 1.25)
  const bright = random.normal() * 0.08
  const [cast, castBlue] = [random.normal() * 0.012, random.normal() * 0.012]
  const noise = random.next() < OFTEN ? random.between(0, 0.05) : 0
  const colour = (1 - veil) * random.between(0.7, 1.3)
  for (let at = 0; at < PATCH_PIXELS; at++) {
    const clear = Math.exp(contrast * (light[at] as number) + bright)
    light[at] = Math.log((1 - veil) * clear + veil) + random.normal() * noise
    red[at] = (red[at] as number) * colour + cast + random.normal() * noise / 8
    blue[at] = (blue[at] as number) * colour + castBlue + random.normal() * noise / 8
  }
  return { ...patch, light, red, blue }
}

/** The car in another paint, bright or dark: its edges stay where they are, and the ground around it stays as it is. */
export function inOtherPaint (car: Patch, random: Random): Patch {
  const factor = random.between(0.35, 1.15) * (random.next() < 0.35 ? -1 : 1)
  const colour = random.between(0, 1.3)
  const turn = random.next() < SOMETIMES ? random.between(0, 2 * Math.PI) : 0
  const [cos, sin] = [Math.cos(turn) * colour, Math.sin(turn) * colour]
  return {
    ...car,
    light: car.light.map(light => Math.max(-2.2, Math.min(1.6, light * factor))),
    red: car.red.map((red, at) => red * cos - (car.blue[at] as number) * sin),
    blue: car.blue.map((blue, at) => (car.red[at] as number) * sin + blue * cos)
  }
}

/** The car in an empty bay: beside its middle, a little larger or smaller, perhaps the other way round. */
export function parkedIn (empty: Patch, car: Patch, random: Random): Patch {
  const [light, red, blue] = [Float32Array.from(empty.light), Float32Array.from(empty.red), Float32Array.from(empty.blue)]
  const [dx, dy] = [random.normal() * SIDE * 0.06, random.normal() * SIDE * 0.06]
  const [zoomX, zoomY] = [random.between(0.85, 1.2), random.between(0.85, 1.2)]
  const mirror = random.next() < 0.5 ? -1 : 1
  const [long, wide] = [SIDE * random.between(0.4, 0.52), SIDE * random.between(0.34, 0.5)]
  const half = (SIDE - 1) / 2
  for (let at = 0; at < PATCH_PIXELS; at++) {
    const [x, y] = [at % SIDE - half - dx, Math.floor(at / SIDE) - half - dy]
    const outside = (Math.abs(x) / (long * zoomX)) ** 4 + (Math.abs(y) / (wide * zoomY)) ** 4
    const share = outside < 0.7 ? 1 : outside > 1.3 ? 0 : (1.3 - outside) / 0.6
    if (share === 0) continue
    const [u, v] = [Math.round(half + mirror * x / zoomX), Math.round(half + y / zoomY)]
    if (u < 0 || v < 0 || u >= SIDE || v >= SIDE) continue
    const source = v * SIDE + u
    light[at] = share * (car.light[source] as number) + (1 - share) * (light[at] as number)
    red[at] = share * (car.red[source] as number) + (1 - share) * (red[at] as number)
    blue[at] = share * (car.blue[source] as number) + (1 - share) * (blue[at] as number)
  }
  return { ...empty, light, red, blue }
}

/** An empty bay into whose lower edge, as the picture shows it, the roof of the next car reaches. */
export function withRoof (empty: Patch, car: Patch, random: Random): Patch {
  const thick = Math.round(random.between(0.05, 0.3) * SIDE)
  const [light, red, blue] = [Float32Array.from(empty.light), Float32Array.from(empty.red), Float32Array.from(empty.blue)]
  const side = lowerSide(empty.isUpper)
  const [from, to] = [random.between(-0.3, 0.5) * SIDE, random.between(0.5, 1.3) * SIDE]
  for (let at = 0; at < PATCH_PIXELS; at++) {
    const [x, y] = [at % SIDE, Math.floor(at / SIDE)]
    const depth = side === 'right' ? SIDE - 1 - x : side === 'left' ? x : side === 'bottom' ? SIDE - 1 - y : y
    const place = side === 'right' || side === 'left' ? y : x
    // Roofs are round at their ends.
    const end = Math.min(place - from, to - place)
    if (end < 0 || depth >= Math.min(thick, end + 1)) continue
    const inside = Math.floor(SIDE * 0.3) + thick - 1 - depth
    const source = side === 'right' || side === 'left' ? place * SIDE + inside : inside * SIDE + place
    light[at] = car.light[source] as number
    red[at] = car.red[source] as number
    blue[at] = car.blue[source] as number
  }
  return { ...empty, light, red, blue }
}

function lowerSide (isUpper: Uint8Array): 'left' | 'right' | 'top' | 'bottom' {
  const uppers = { left: 0, right: 0, top: 0, bottom: 0 }
  for (let i = 0; i < SIDE; i++) {
    uppers.left += isUpper[i * SIDE] as number
    uppers.right += isUpper[i * SIDE + SIDE - 1] as number
    uppers.top += isUpper[i] as number
    uppers.bottom += isUpper[(SIDE - 1) * SIDE + i] as number
  }
  return (Object.entries(uppers) as [keyof typeof uppers, number][]).sort((a, b) => a[1] - b[1])[0]?.[0] ?? 'bottom'
}

/** Darkens what lies in a random shape: half of the bay, a stripe as of a pole, or a round patch as of a tree. */
function castShadow (light: Float32Array, red: Float32Array, blue: Float32Array, random: Random): void {
  const depth = Math.log(random.between(0.35, 0.85)) * (random.next() < SOMETIMES ? -1 : 1)
  const angle = random.between(0, 2 * Math.PI)
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)]
  const [cx, cy] = [random.between(0, SIDE), random.between(0, SIDE)]
  const kind = random.next()
  const wide = kind < 0.4 ? SIDE * 2 : random.between(1, SIDE / 3)
  const soft = random.between(0.3, 3)
  for (let at = 0; at < PATCH_PIXELS; at++) {
    const [x, y] = [at % SIDE - cx, Math.floor(at / SIDE) - cy]
    const across = x * cos + y * sin
    // How many pixels inside of the shadow this one is.
    const inside = kind < 0.4 ? across : kind < 0.75 ? wide / 2 - Math.abs(across) : wide - Math.hypot(x, y)
    const share = 1 / (1 + Math.exp(-inside / soft * 2))
    light[at] = (light[at] as number) + depth * share
    red[at] = (red[at] as number) + depth * share * 0.01
    blue[at] = (blue[at] as number) - depth * share * 0.02
  }
}

function blurred (plane: Float32Array): Float32Array<ArrayBuffer> {
  const out = new Float32Array(PATCH_PIXELS)
  for (let y = 0; y < SIDE; y++) {
    for (let x = 0; x < SIDE; x++) {
      let [sum, count] = [0, 0]
      for (let v = Math.max(0, y - 1); v <= Math.min(SIDE - 1, y + 1); v++) {
        for (let u = Math.max(0, x - 1); u <= Math.min(SIDE - 1, x + 1); u++) {
          sum += plane[v * SIDE + u] as number
          count++
        }
      }
      out[y * SIDE + x] = sum / count
    }
  }
  return out
}
