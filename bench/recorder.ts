// Collects what a scenario measures, round by round, into its `ScenarioResult`. A figure that is no finite number is a
// fault of the scenario and throws: JSON would make null of it, and a plot a hole.
import { median } from './figures.js'
import type { Account, Axis, Absent, Labels, Point, Ratio, ScenarioResult, Series, Spread } from './results.js'

export type SeriesKey = Pick<Series, 'what' | 'of' | 'x' | 'y'>
export type RatioKey = Pick<Ratio, 'what' | 'of' | 'numerator' | 'denominator' | 'better'>

export const PER_SECOND: Axis = { name: 'requests', unit: '1/s' }
export const CLIENTS: Axis = { name: 'clients', unit: '' }

export class Recorder {
  readonly #about: Pick<ScenarioResult, 'scenario' | 'title' | 'parameters'>
  readonly #startedMs = performance.now()
  readonly #series = new Map<string, { key: SeriesKey, points: Map<number | string, number[]> }>()
  readonly #ratios = new Map<string, { key: RatioKey, rounds: number[] }>()
  readonly #accounts = new Map<string, { of: Labels, counts: Record<string, number> }>()
  readonly #absent: Absent[] = []
  readonly #notes: string[] = []

  constructor (about: Pick<ScenarioResult, 'scenario' | 'title' | 'parameters'>) {
    this.#about = about
  }

  /** One more round of the figure at `x`. */
  add (key: SeriesKey, x: number | string, value: number): void {
    const { points } = kept(this.#series, key, () => ({ key, points: new Map<number | string, number[]>() }))
    const rounds = points.get(x)
    if (rounds === undefined) points.set(x, [finite(value, key)])
    else rounds.push(finite(value, key))
  }

  /** One more round of a ratio. */
  ratio (key: RatioKey, value: number): void {
    kept(this.#ratios, key, () => ({ key, rounds: [] as number[] })).rounds.push(finite(value, key))
  }

  /** Adds to the counts of these labels. */
  account (of: Labels, counts: Readonly<Record<string, number>>): void {
    const { counts: sums } = kept<{ of: Labels, counts: Record<string, number> }>(this.#accounts, of, () => ({ of, counts: {} }))
    for (const [name, count] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + finite(count, of)
  }

  absent (what: string, why: string): void {
    this.#absent.push({ what, why })
  }

  note (sentence: string): void {
    if (!this.#notes.includes(sentence)) this.#notes.push(sentence)
  }

  /** The ratios so far, for printing. */
  ratios (): Ratio[] {
    return [...this.#ratios.values()].map(({ key, rounds }) => ({ ...key, ...spreadOf(rounds) }))
  }

  accounts (): Account[] {
    return [...this.#accounts.values()]
  }

  result (): ScenarioResult {
    const series = [...this.#series.values()].map(({ key, points }): Series => ({
      ...key, points: [...points].map(([x, rounds]): Point => ({ x, y: spreadOf(rounds) }))
    }))
    return {
      ...this.#about, seconds: Math.round((performance.now() - this.#startedMs) / 1_000),
      series, ratios: this.ratios(), accounts: this.accounts(), absent: this.#absent, notes: this.#notes
    }
  }
}

export function spreadOf (rounds: readonly number[]): Spread {
  return { median: median(rounds), min: Math.min(...rounds), max: Math.max(...rounds), rounds }
}

function kept<T> (map: Map<string, T>, key: unknown, make: () => T): T {
  const text = JSON.stringify(key)
  let value = map.get(text)
  if (value === undefined) map.set(text, value = make())
  return value
}

/** More digits are noise. */
const SIGNIFICANT_DIGITS = 6

function finite (value: number, of: unknown): number {
  if (!Number.isFinite(value)) throw new RangeError(`${value} is no figure: ${JSON.stringify(of)}`)
  return Number.isInteger(value) ? value : Number(value.toPrecision(SIGNIFICANT_DIGITS))
}
