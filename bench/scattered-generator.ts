// Scattered sensor messages and idle connections from a process of their own: the starting side.
import { Child } from './child.js'
import type { ScatteredFigures, ScatteredParts } from './scattered-load.js'
import type { Ports } from './raw-client.js'

/** What the process is asked; each load, and each set of idle clients, has the name of its system. */
export type ScatteredRequests = {
  make: { in: { name: string, parts: ScatteredParts }, out: void }
  run: { in: { name: string, messages: number }, out: ScatteredFigures }
  idle: { in: { name: string, ports: Ports, filter: string, count: number }, out: readonly string[] }
}

/** A run of many messages takes its time. */
const LONGEST_MS = 600_000

export class ScatteredGenerator {
  readonly #child = new Child<ScatteredRequests>('./scattered-load-process.js', LONGEST_MS)

  /** Connects the publishers of a system; they stay connected. */
  async make (name: string, parts: ScatteredParts): Promise<void> {
    await this.#child.ask('make', { name, parts })
  }

  async run (name: string, messages: number): Promise<ScatteredFigures> {
    return await this.#child.ask('run', { name, messages })
  }

  /** Connects idle clients until there are `count`. Returns why some were closed. */
  async idle (name: string, ports: Ports, filter: string, count: number): Promise<readonly string[]> {
    return await this.#child.ask('idle', { name, ports, filter, count })
  }

  async stop (): Promise<void> {
    await this.#child.stop()
  }
}
