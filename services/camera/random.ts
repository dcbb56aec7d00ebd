// Numbers that come back the same for the same seed, so that the same calibration gives the same model.

export interface Random {
  /** Uniform in [0, 1). */
  next (): number
  /** Uniform from `least` to `most`. */
  between (least: number, most: number): number
  /** Normal with mean 0 and deviation 1. */
  normal (): number
}

/** mulberry32 by Tommy Ettinger: 2^32 numbers, plenty for a calibration. */
export function createRandom (seed: number): Random {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  return {
    next,
    between: (least, most) => least + next() * (most - least),
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next())
  }
}
