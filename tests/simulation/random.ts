// Random choices that a seed repeats.
export interface Choices {
  readonly chance: (p: number) => boolean
  /** 0 to n - 1. */
  readonly below: (n: number) => number
  readonly pick: <T>(list: readonly T[]) => T
  /** One of the names, each as often as its weight says. */
  readonly weighted: <T extends string>(weights: Readonly<Record<T, number>>) => T
}

export function choicesOf (seed: number): Choices {
  let state = Math.imul(seed + 1, 0x9e3779b1) >>> 0
  const next = (): number => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
  return {
    chance: p => next() < p,
    below: n => Math.floor(next() * n),
    pick: <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T,
    weighted (weights) {
      const entries = Object.entries(weights) as [keyof typeof weights, number][]
      let at = next() * entries.reduce((sum, [, weight]) => sum + weight, 0)
      for (const [name, weight] of entries) if ((at -= weight) < 0) return name
      return (entries.at(-1) as [keyof typeof weights, number])[0]
    }
  }
}

/** The seeds of a test: that of PARKMQ_TEST_SEED, or `fixed` ones and new ones, `many` in all or PARKMQ_TEST_RUNS. */
export function seeds (many: number, fixed: readonly number[] = [1, 2]): number[] {
  if (process.env.PARKMQ_TEST_SEED) return [Number(process.env.PARKMQ_TEST_SEED)]
  const first = Date.now() % 1_000_000
  const runs = Number(process.env.PARKMQ_TEST_RUNS ?? many)
  return [...fixed, ...Array.from({ length: Math.max(0, runs - fixed.length) }, (_, i) => first + i)]
}
