// Requests from a process of their own: the starting side, with its progress.
import { Child } from './child.js'
import { whole } from './figures.js'
import type { Progress } from './progress.js'
import type { LoadFigures, LoadParts } from './request-load.js'

/** What the generator's process is asked. */
export type GeneratorRequests = {
  run: { in: LoadParts, out: LoadFigures }
  answered: { in: null, out: number }
}

const PROGRESS_MS = 500
/** Longest run with a number of requests instead of a time, in milliseconds. */
const LONGEST_RUN_MS = 600_000
/** What connecting, late answers and giving back take at most besides. */
const MARGIN_MS = 60_000

export class RequestGenerator {
  readonly #child = new Child<GeneratorRequests>('./request-load-process.js')
  #runs = 0

  /** Makes requests as `parts` say and resolves with what became of them. One run at a time. */
  async run (parts: Omit<LoadParts, 'run'>, progress?: Progress): Promise<LoadFigures> {
    // Plates and request ids begin with it, so that none comes again against the same broker.
    const run = `${(process.pid % 36 ** 4).toString(36).padStart(4, '0')}${(++this.#runs % 36 ** 4).toString(36).padStart(4, '0')}`.toUpperCase()
    const { pace } = parts
    const timer = setInterval(() => { void this.#show(progress) }, PROGRESS_MS)
    try {
      return await this.#child.ask('run', { ...parts, run }, ('seconds' in pace ? pace.seconds * 1_000 : LONGEST_RUN_MS) + MARGIN_MS)
    } finally {
      clearInterval(timer)
    }
  }

  async stop (): Promise<void> {
    await this.#child.stop()
  }

  async #show (progress: Progress | undefined): Promise<void> {
    if (progress === undefined) return
    try {
      progress.show(`${whole(await this.#child.ask('answered', null))} answered`)
    } catch (error) {
      // The run itself says what is wrong with its process.
      progress.show(String(error))
    }
  }
}
