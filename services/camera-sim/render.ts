// Pictures of a scene: the empty car park is painted once, cars and their shadows over it for each frame, then come weather and
// the noise of the sensor. The same seed gives the same pixels; the JPEG is what a camera would send. The image library is
// loaded with the first picture: commands that draw none start without it.
import { createRandom, type Random } from '../../shared/random.js'
import { paintCar, shadowOf, type Car, type Painted, type Sun } from './cars.js'
import { BAY_LENGTH, BAY_WIDTH, type Place, type Point, type Scene } from './scene.js'

export const WEATHERS = ['clear', 'rain', 'fog', 'night'] as const
export type Weather = (typeof WEATHERS)[number]

const JPEG_QUALITY = 88
/** Standard deviation of the sensor's noise, of 255. */
const NOISE: Readonly<Record<Weather, number>> = { clear: 2.5, rain: 4, fog: 3, night: 7 }
/** The sun is up from here to there, in hours. */
const [SUNRISE, SUNSET] = [6, 20]

export interface Picture {
  readonly cars: readonly Car[]
  /** Of the day, 0 to 24: where the sun is. */
  readonly hour: number
  /** Number of the frame: its noise. */
  readonly number: number
}

export class Renderer {
  readonly #scene: Scene
  readonly #weather: Weather
  readonly #seed: number
  /** RGB of the empty car park. */
  #ground: Uint8Array | null = null
  readonly #noise: Int8Array
  /** What of the light of lamps comes to each pixel, 0 to 255; null by day. */
  readonly #lamps: Uint8Array | null

  constructor (scene: Scene, weather: Weather, seed: number) {
    this.#scene = scene
    this.#weather = weather
    this.#seed = seed
    this.#noise = normals(createRandom(seed, 'noise'), NOISE[weather])
    this.#lamps = weather === 'night' ? lamps(scene, createRandom(seed, 'lamps')) : null
  }

  async jpeg ({ cars, hour, number }: Picture): Promise<Buffer> {
    const { width, height } = this.#scene
    const { default: sharp } = await import('sharp')
    const ground = this.#ground ??= await this.#paintGround()
    const sun = sunAt(hour, this.#weather)
    const over = await sharp(Buffer.from(this.#svgOfCars(cars, sun, number))).ensureAlpha().raw().toBuffer()
    const pixels = Buffer.allocUnsafe(width * height * 3)
    this.#develop(ground, over, pixels, lightAt(hour, this.#weather), number)
    return await sharp(pixels, { raw: { width, height, channels: 3 } }).jpeg({ quality: JPEG_QUALITY }).toBuffer()
  }

  #svgOfCars (cars: readonly Car[], sun: Sun, number: number): string {
    const { width, height } = this.#scene
    const far = [...cars].sort((a, b) => this.#scene.distance({ ...b, z: 0 }) - this.#scene.distance({ ...a, z: 0 }))
    const shade = (0.18 + 0.42 * sun.strength).toFixed(2)
    const shadows = far.map(car => `<polygon points="${pointsOf(shadowOf(car, this.#scene, sun))}"/>`)
    const painted = far.flatMap(car => paintCar(car, this.#scene, sun))
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"><g fill="#000" fill-opacity="${shade}">${shadows.join('')}</g>${painted.map(polygon).join('')}${this.#weather === 'rain' ? streaks(width, height, createRandom(this.#seed, `rain ${number}`)) : ''}</svg>`
  }

  async #paintGround (): Promise<Uint8Array> {
    const { width, height } = this.#scene
    const random = createRandom(this.#seed, 'ground')
    const { default: sharp } = await import('sharp')
    const painted = await sharp(Buffer.from(svgOfGround(this.#scene, random, this.#weather))).removeAlpha().raw().toBuffer()
    const texture = asphalt(width, height, random)
    for (let i = 0; i < width * height; i++) {
      for (let c = 0; c < 3; c++) painted[i * 3 + c] = clamp((painted[i * 3 + c] ?? 0) + (texture[i] ?? 0))
    }
    return painted
  }

  /** Cars over ground, the weather, and the noise. */
  #develop (ground: Uint8Array, over: Uint8Array, pixels: Uint8Array, light: number, number: number): void {
    const { width, height } = this.#scene
    let at = (Math.imul(number + 1, 0x9e3779b9) >>> 0) % this.#noise.length
    const [fog, night] = [this.#weather === 'fog', this.#lamps]
    for (let y = 0; y < height; y++) {
      const haze = fog ? 0.25 + 0.4 * (1 - y / height) : this.#weather === 'rain' ? 0.12 : 0
      for (let x = 0; x < width; x++) {
        const i = y * width + x
        const alpha = (over[i * 4 + 3] ?? 0) / 255
        const lamp = night === null ? 1 : (night[i] ?? 0) / 255
        for (let c = 0; c < 3; c++) {
          const clear = (ground[i * 3 + c] ?? 0) * (1 - alpha) + (over[i * 4 + c] ?? 0) * alpha
          // Lamps are yellow.
          const lit = clear * light * (night === null ? 1 : lamp * (c === 2 ? 0.75 : 1))
          if (++at >= this.#noise.length) at = 0
          pixels[i * 3 + c] = clamp(lit * (1 - haze) + 186 * haze + (this.#noise[at] ?? 0))
        }
      }
    }
  }
}

/** Shadows are long in the morning and in the evening, and fall to the other side. */
function sunAt (hour: number, weather: Weather): Sun {
  const share = Math.min(Math.max((hour - SUNRISE) / (SUNSET - SUNRISE), 0.08), 0.92)
  const height = Math.sin(Math.PI * share) * 1.05
  const azimuth = Math.PI * (share - 0.5) * 1.4
  return { x: Math.sin(azimuth), y: 0.45 + 0.3 * Math.cos(azimuth), reach: Math.min(1 / Math.tan(height), 2.2), strength: weather === 'clear' ? 1 : weather === 'night' ? 0.2 : 0.15 }
}

function lightAt (hour: number, weather: Weather): number {
  if (weather === 'night') return 0.62
  const day = 0.78 + 0.24 * Math.sin(Math.PI * Math.min(Math.max((hour - SUNRISE) / (SUNSET - SUNRISE), 0), 1))
  return weather === 'clear' ? day : day * 0.84
}

function svgOfGround (scene: Scene, random: Random, weather: Weather): string {
  const { width, height, ground: { left, right, near, far } } = scene
  const grey = random.int(weather === 'rain' ? 66 : 88, weather === 'rain' ? 88 : 118)
  const quad = (places: readonly Place[]): string => pointsOf(places.map(scene.project).filter(point => point !== null))
  const flat = (x1: number, y1: number, x2: number, y2: number): Place[] => [[x1, y1], [x2, y1], [x2, y2], [x1, y2]].map(([x = 0, y = 0]) => ({ x, y, z: 0 }))
  const line = (0.62 + 0.3 * random.next()).toFixed(2)
  const lines = scene.bays.flatMap(({ x, y }) => [-1, 1].map(side => quad(flat(x + side * BAY_WIDTH / 2 - 0.06, y - BAY_LENGTH / 2, x + side * BAY_WIDTH / 2 + 0.06, y + BAY_LENGTH / 2))))
  const stains = scene.bays.filter(() => random.next() < 0.4).map(({ x, y }) => {
    const at = scene.project({ x: x + random.next() - 0.5, y: y + random.next() * 2 - 1, z: 0 })
    return at && `<ellipse cx="${at.x.toFixed(1)}" cy="${at.y.toFixed(1)}" rx="${random.int(4, 12)}" ry="${random.int(2, 6)}" fill="#000" fill-opacity="${(0.1 + random.next() * 0.2).toFixed(2)}"/>`
  })
  const puddles = weather !== 'rain' ? [] : Array.from({ length: 14 }, () => {
    const at = scene.project({ x: left + (right - left) * random.next(), y: near + (far - near) * random.next(), z: 0 })
    return at && `<ellipse cx="${at.x.toFixed(1)}" cy="${at.y.toFixed(1)}" rx="${random.int(15, 60)}" ry="${random.int(6, 22)}" fill="#b4bcc4" fill-opacity="0.25"/>`
  })
  const trees = Array.from({ length: 12 }, (_, i) => {
    const at = scene.project({ x: left + (right - left) * (i + random.next()) / 12, y: far + 3 + 3 * random.next(), z: 2 })
    return at && `<circle cx="${at.x.toFixed(1)}" cy="${at.y.toFixed(1)}" r="${random.int(14, 34)}" fill="rgb(${random.int(40, 70)},${random.int(70, 100)},${random.int(35, 55)})"/>`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"><rect width="100%" height="100%" fill="rgb(86,100,70)"/>
    <polygon points="${quad(flat(left, near, right, far))}" fill="rgb(${grey},${grey + 1},${grey + 3})"/>${[...puddles, ...stains].join('')}
    <g fill="#eee" fill-opacity="${line}">${lines.map(points => `<polygon points="${points}"/>`).join('')}</g>${trees.join('')}</svg>`
}

/** Coarse and fine grain, as differences of brightness. */
function asphalt (width: number, height: number, random: Random): Int8Array {
  const fine = normals(random, 4.5)
  const layers = [[7, 3], [90, 6]].map(([size = 1, depth = 0]) => {
    const columns = Math.ceil(width / size) + 2
    const knots = Float32Array.from({ length: columns * (Math.ceil(height / size) + 2) }, () => (random.next() * 2 - 1) * depth)
    return (x: number, y: number): number => {
      const [column, row] = [Math.floor(x / size), Math.floor(y / size)]
      const [a, b] = [x / size - column, y / size - row]
      const knot = (dx: number, dy: number): number => knots[(row + dy) * columns + column + dx] ?? 0
      return (knot(0, 0) * (1 - a) + knot(1, 0) * a) * (1 - b) + (knot(0, 1) * (1 - a) + knot(1, 1) * a) * b
    }
  })
  const texture = new Int8Array(width * height)
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) texture[y * width + x] = Math.round(layers.reduce((sum, layer) => sum + layer(x, y), fine[random.int(0, fine.length - 1)] ?? 0))
  }
  return texture
}

function lamps ({ width, height, ground: { left, right, near, far }, project }: Scene, random: Random): Uint8Array {
  const lights = Array.from({ length: 8 }, (_, i) => project({ x: left + (right - left) * ((i % 4) + 0.5 + (random.next() - 0.5) * 0.4) / 4, y: near + (far - near) * (i < 4 ? 0.32 : 0.72), z: 0 })).filter(light => light !== null)
  const radius = width / 5
  const lit = new Uint8Array(width * height)
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const sum = lights.reduce((total, light) => total + Math.exp(-(((x - light.x) / radius) ** 2) - ((y - light.y) / (radius * 0.6)) ** 2), 0)
      lit[y * width + x] = Math.min(255, 90 + 165 * sum)
    }
  }
  return lit
}

function streaks (width: number, height: number, random: Random): string {
  const lines = Array.from({ length: 160 }, () => {
    const [x, y, length] = [random.int(0, width), random.int(-20, height), random.int(8, 26)]
    return `<line x1="${x}" y1="${y}" x2="${x - length / 5}" y2="${y + length}"/>`
  })
  return `<g stroke="#dde4ea" stroke-opacity="0.3" stroke-width="1">${lines.join('')}</g>`
}

/** A table of normally distributed numbers (Box and Muller). */
function normals (random: Random, deviation: number): Int8Array {
  return Int8Array.from({ length: 65_521 }, () => Math.round(deviation * Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next())))
}

function polygon ({ points, colour }: Painted): string {
  return `<polygon points="${pointsOf(points)}" fill="rgb(${colour.map(clamp).join(',')})"/>`
}

function pointsOf (points: readonly Point[]): string {
  return points.map(({ x, y }) => `${x.toFixed(1)},${y.toFixed(1)}`).join(' ')
}

function clamp (value: number): number {
  return Math.min(Math.max(Math.round(value), 0), 255)
}
