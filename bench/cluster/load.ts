// Sensors and drivers at every node of a cluster, and the lots and limits that they need.
import { randomBytes } from 'node:crypto'
import { ClusterDriver, History } from './drivers.js'
import { ClusterSensor } from './sensors.js'

/** How much there is to do at each node. */
export interface Pace {
  /** Sensors of each node, one a lot, three at most; and the milliseconds between two messages of one. */
  readonly sensors: number
  readonly everyMs: number
  /** Drivers of each node, and their rest between two requests in milliseconds. */
  readonly drivers: number
  readonly restMs: number
}

/** Fills two processors, so that much is under way whenever something fails: what is lost or done twice is seen. */
export const FULL: Pace = { sensors: 3, everyMs: 20, drivers: 3, restMs: 30 }
/** Leaves two processors room, or gaps would be those of waiting for them. */
export const ROOMY: Pace = { sensors: 1, everyMs: 20, drivers: 2, restMs: 150 }

/** Lots that are only counted. Nothing may be clamped in all rounds. */
const COUNTED = ['S1', 'S2', 'S3']
/** Lots whose places are wanted by more than there are. */
const RESERVED = ['A', 'B', 'C']
/** The lot whose topics are followed from node to node: nobody else counts in it. */
export const FOLLOWED = 'F'
const PLACES = 15
export const CAPACITIES: ReadonlyMap<string, number> = new Map([...[...COUNTED, FOLLOWED].map(lot => [lot, 1_000_000] as const), ...RESERVED.map(lot => [lot, PLACES] as const)])
const FINISH_MS = 60_000

/** The settings that the nodes must have. */
export const CLUSTER_SETTINGS = { lots: [...CAPACITIES].map(([lot, capacity]) => ({ lot, capacity })), limits: { reservationsPerPlate: 1 } }

export class ClusterLoad {
  /** Begins all its names. */
  readonly id: string
  readonly sensors: readonly ClusterSensor[]
  readonly history: History
  readonly #drivers: readonly ClusterDriver[]

  private constructor (id: string, sensors: readonly ClusterSensor[], drivers: readonly ClusterDriver[], history: History) {
    this.id = id
    this.sensors = sensors
    this.#drivers = drivers
    this.history = history
  }

  /** Each client knows all nodes, and begins at its own. */
  static async start (nodes: readonly string[], { sensors: lots, everyMs, drivers: perNode, restMs }: Pace): Promise<ClusterLoad> {
    const id = randomBytes(3).toString('hex')
    const history = new History(PLACES)
    const homes = nodes.map((_, home) => ({ home, urls: [...nodes.slice(home), ...nodes.slice(0, home)] }))
    const sensors = await Promise.all(homes.flatMap(({ home, urls }) => COUNTED.slice(0, lots).map(async (lot, n) => await ClusterSensor.start({ urls, name: `${id}-s${home}${n}`, lot, home, everyMs }))))
    const drivers = await Promise.all(homes.flatMap(({ home, urls }) => Array.from({ length: perNode }, async (_, n) => await ClusterDriver.start({ urls, plate: `${id}${home}${n}`, lots: RESERVED, history, restMs }))))
    return new ClusterLoad(id, sensors, drivers, history)
  }

  /** No more is begun; resolves when all that was begun has its answer, or 60 s have passed. */
  async finish (): Promise<void> {
    await Promise.all([...this.sensors.map(async sensor => await sensor.finish(FINISH_MS)), ...this.#drivers.map(async driver => await driver.finish())])
  }

  /** Gives back all places, so that the next load finds them free. */
  async giveBack (): Promise<void> {
    await Promise.all(this.#drivers.map(async driver => await driver.giveBackAll()))
  }

  async end (): Promise<void> {
    await Promise.all([...this.sensors, ...this.#drivers].map(async client => await client.end()))
  }
}
