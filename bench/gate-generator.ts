// Sensors from a process of their own: the starting side.
import { Child } from './child.js'
import type { GateFigures, GatePace, GatesParts } from './gate-load.js'

/** What the process of the gates is asked; each set of gates has a name. */
export type GateRequests = {
  make: { in: { name: string, parts: GatesParts }, out: void }
  connect: { in: { name: string, gates: number | undefined }, out: void }
  run: { in: { name: string, pace: GatePace }, out: GateFigures }
  disconnect: { in: { name: string }, out: void }
}

/** A slow system takes its time for what it has acknowledged. */
const LONGEST_RUN_MS = 300_000

export class GateGenerator {
  readonly #child = new Child<GateRequests>('./gate-load-process.js')

  /** A set of gates, one for each system: their messages are numbered on from run to run. */
  async make (name: string, parts: GatesParts): Promise<void> {
    await this.#child.ask('make', { name, parts })
  }

  /** Connects the first `gates` of them, or all, calls `beside`, and disconnects when that is done. */
  async connected<T> (name: string, beside: (run: (pace: GatePace) => Promise<GateFigures>) => Promise<T>, gates?: number): Promise<T> {
    await this.#child.ask('connect', { name, gates })
    const result = await beside(async pace => await this.#child.ask('run', { name, pace }, LONGEST_RUN_MS)).catch(async (error: unknown) => {
      // What went wrong first is what is told, also when the process is gone and can disconnect nobody.
      await this.#child.ask('disconnect', { name }).catch(() => {})
      throw error
    })
    await this.#child.ask('disconnect', { name })
    return result
  }

  async stop (): Promise<void> {
    await this.#child.stop()
  }
}
