// A broker's resident memory over a measurement.
import type { Target } from './processes.js'

const SAMPLE_MS = 1_000
const SAY_EVERY_SAMPLES = 30
/** Fewer samples make no slope worth saying. */
const LEAST_SAMPLES = 20

export class MemoryWatch {
  readonly #samples: number[] = []
  readonly #target: Target
  readonly #timer: NodeJS.Timeout

  /** Samples every second until `stop`; calls `say` every 30 seconds. */
  constructor (target: Target, say: (minutes: number, megabytes: number) => void) {
    this.#target = target
    this.#sample()
    this.#timer = setInterval(() => {
      const megabytes = this.#sample()
      const count = this.#samples.length - 1
      if (count % SAY_EVERY_SAMPLES === 0) say(count * SAMPLE_MS / 60_000, megabytes)
    }, SAMPLE_MS)
  }

  stop (): void {
    clearInterval(this.#timer)
  }

  /** Start, end, most, and the slope of the second half: the first is the heap finding its size. */
  summary (): string {
    const samples = this.#samples
    const half = samples.slice(Math.floor(samples.length / 2))
    const slope = samples.length < LEAST_SAMPLES
      ? 'too short for a slope'
      : `slope of the second half ${(perSample(half) * 60_000 / SAMPLE_MS).toFixed(2)} MB/min`
    const mb = (value: number | undefined): string => (value ?? NaN).toFixed(0)
    return `${mb(samples[0])} MB at the start, ${mb(samples.at(-1))} MB at the end, at most ${mb(Math.max(...samples))} MB; ${slope}`
  }

  #sample (): number {
    const megabytes = this.#target.memoryBytes() / 1e6
    this.#samples.push(megabytes)
    return megabytes
  }
}

/** Slope of the least squares line through values that are one apart. */
export function perSample (values: readonly number[]): number {
  const middleX = (values.length - 1) / 2
  const middleY = values.reduce((sum, value) => sum + value, 0) / values.length
  let above = 0
  let below = 0
  for (const [x, y] of values.entries()) {
    above += (x - middleX) * (y - middleY)
    below += (x - middleX) ** 2
  }
  return above / below
}
