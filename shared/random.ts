// Random numbers that come back the same for the same seed. Never for secrets: they can be guessed.

export interface Random {
  /** Uniform in [0, 1). */
  next (): number
  /** A whole number, uniform from `least` to `most`, both included. */
  int (least: number, most: number): number
  /** The waiting time until the next event of a Poisson process with `rate` events per unit of time. */
  exponential (rate: number): number
}

/**
 * A stream of random numbers (sfc32 by Chris Doty-Humphrey, period about 2^128). Streams of the same seed with different
 * names do not depend on each other, so that switching one fault on leaves the traffic and the other faults as they were.
 */
export function createRandom (seed: number, stream: string): Random {
  let [a, b, c, counter] = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0, hash(stream), 1]
  const draw = (): number => {
    const sum = (((a + b) >>> 0) + counter) >>> 0
    counter = (counter + 1) >>> 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) >>> 0
    c = (((c << 21) | (c >>> 11)) + sum) >>> 0
    return sum
  }
  // The first results still show how alike two seeds are.
  for (let i = 0; i < 15; i++) draw()
  const next = (): number => draw() / 2 ** 32
  return {
    next,
    int: (least, most) => least + Math.floor(next() * (most - least + 1)),
    exponential: rate => -Math.log(1 - next()) / rate
  }
}

/** FNV-1a over the UTF-16 units. */
function hash (text: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  return value >>> 0
}
