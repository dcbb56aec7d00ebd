// A camera that is not there: a scene, cars that come and go, and a picture of it at each moment, with the truth known. The
// same seed gives the same frames.
import type { Id } from '../../shared/lot.js'
import { createRandom, type Random } from '../../shared/random.js'
import { parkedCar, type Car } from './cars.js'
import type { FrameSource, Shot } from './frames.js'
import { Renderer, type Weather } from './render.js'
import { makeScene, type Scene } from './scene.js'

export interface SyntheticOptions {
  readonly seed: number
  /** Its name is part of the seed: each camera has a car park of its own. */
  readonly camera: string
  readonly bays: readonly Id[]
  readonly weather: Weather
  readonly width: number
  readonly height: number
}

/** Each frame is so much later in the day, in hours, whatever time really passes between two. */
const HOURS_A_FRAME = 0.25
const [FIRST_HOUR, LAST_HOUR] = [8, 18]
/** The chance that a bay changes from one frame to the next. */
const CHANGES = 0.08

export class SyntheticFrames implements FrameSource {
  readonly scene: Scene
  readonly #renderer: Renderer
  readonly #random: Random
  readonly #fill: number
  readonly #cars = new Map<Id, Car>()
  #number = 0

  constructor ({ seed, camera, bays, weather, width, height }: SyntheticOptions) {
    this.scene = makeScene({ random: createRandom(seed, `scene of ${camera}`), width, height, bays })
    this.#random = createRandom(seed, `cars of ${camera}`)
    this.#renderer = new Renderer(this.scene, weather, this.#random.int(0, 0xffffffff))
    this.#fill = 0.3 + 0.5 * this.#random.next()
    for (const bay of this.scene.bays) if (this.#random.next() < this.#fill) this.#park(bay)
  }

  async next (): Promise<Shot> {
    const number = this.#number++
    if (number > 0) this.#pass()
    const jpeg = await this.#renderer.jpeg({ cars: [...this.#cars.values()], hour: FIRST_HOUR + number * HOURS_A_FRAME % (LAST_HOUR - FIRST_HOUR), number })
    const { width, height, bays } = this.scene
    return { bytes: jpeg, contentType: 'image/jpeg', label: { width, height, bays: bays.map(({ bay, polygon }) => ({ bay, polygon, occupied: this.#cars.has(bay) })) } }
  }

  #pass (): void {
    for (const bay of this.scene.bays) {
      if (this.#random.next() >= CHANGES) continue
      if (this.#random.next() >= this.#fill) this.#cars.delete(bay.bay)
      else if (!this.#cars.has(bay.bay)) this.#park(bay)
    }
  }

  #park ({ bay, x, y }: Scene['bays'][number]): void {
    this.#cars.set(bay, parkedCar(this.#random, { x, y }))
  }
}
