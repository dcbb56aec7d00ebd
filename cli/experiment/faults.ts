// What a bad network does to each packet, decided by a seed: it is lost, or comes once or twice, each time somewhat late.
// The nth packet of a stream has the same fate in every run, whatever happens to the others.
import { createRandom } from '../../shared/random.js'

export interface PacketFaults {
  readonly seed: number
  /** Share of the packets that never arrive, from 0 to 1. */
  readonly loss: number
  /** Share of the others that arrive twice, from 0 to 1. */
  readonly duplicate: number
  /** Each copy arrives later by a time uniform in [0, delayMs], so that later packets overtake earlier ones. */
  readonly delayMs: number
}

/** Decides about the next packet: by how many milliseconds each of its copies is late. A lost packet has none. */
export type Fate = () => readonly number[]

/** Streams with different names have nothing to do with each other. */
export function createFate ({ seed, loss, duplicate, delayMs }: PacketFaults, stream: string): Fate {
  const random = createRandom(seed, stream)
  return () => {
    // Always as many draws, or one packet's fate would change that of all later ones.
    const [isLost, isDoubled] = [random.next() < loss, random.next() < duplicate]
    const [firstMs, secondMs] = [random.next() * delayMs, random.next() * delayMs]
    return isLost ? [] : isDoubled ? [firstMs, secondMs] : [firstMs]
  }
}
