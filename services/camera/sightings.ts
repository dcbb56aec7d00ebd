// What calibration has to learn from: every labelled bay of every frame, as patches, and how the bay looks when it is empty.
import type { Id } from '../../shared/lot.js'
import { nudged } from './augment.js'
import type { Point } from './classifier.js'
import { quadOf, raisedQuads } from './geometry.js'
import type { LabelledFrame } from './labelled-frames.js'
import { createCutter, type Patch } from './patch.js'
import { createRandom, type Random } from './random.js'
import { referenceOf, type Reference } from './reference.js'

/** One bay in one frame. */
export interface Sighting {
  readonly bay: Id
  readonly spot: string
  readonly sequence: string
  readonly frame: string
  readonly taken: boolean
  /** As it is, then with the corners moved a little. */
  readonly patches: readonly [Patch, ...Patch[]]
}

/** Patches in memory, 12 KB each. */
const MOST_PATCHES = 20_000
const MOST_NUDGES = 4
/** Frames that a reference is the median of. */
const MOST_EMPTIES = 25

/** The bay at the same place of the same frame: what stays the same from frame to frame of one camera. */
export function spotOf (bay: Id, polygon: readonly Point[], { width, height }: { width: number, height: number }): string {
  return `${bay} ${width}x${height} ${polygon.map(({ x, y }) => `${x},${y}`).join(' ')}`
}

/**
 * Reads the frames one by one and cuts their bays. Bays that nobody has labelled are left out; of very many a part is taken.
 * `told` hears how many are read.
 */
export async function collectSightings (frames: readonly LabelledFrame[], seed: number, told: (read: number) => void): Promise<Sighting[]> {
  const random = createRandom(seed)
  const sightings: Sighting[] = []
  let [share, nudges] = [1, MOST_NUDGES]
  for (const [index, labelled] of frames.entries()) {
    const { name, sequence } = labelled
    const { frame, bays } = await labelled.read()
    if (index === 0) {
      const expected = frames.length * bays.length
      nudges = Math.max(1, Math.min(MOST_NUDGES, Math.floor(MOST_PATCHES / expected) - 1))
      share = Math.min(1, MOST_PATCHES / (expected * (1 + nudges)))
    }
    const polygons = bays.map(({ polygon }) => polygon)
    const quads = raisedQuads(polygons.map(quadOf))
    const cuts = [createCutter(frame.width, frame.height, polygons, quads).cut(frame)]
    for (let i = 0; i < nudges; i++) {
      const moved = quads.map((quad, bay) => nudged(quad, bays[bay]?.taken === true, random))
      cuts.push(createCutter(frame.width, frame.height, polygons, moved).cut(frame))
    }
    bays.forEach(({ bay, polygon, taken }, i) => {
      if (taken === null || (share < 1 && random.next() >= share)) return
      sightings.push({ bay, spot: spotOf(bay, polygon, frame), sequence, frame: name, taken, patches: cuts.map(cut => cut[i]) as unknown as Sighting['patches'] })
    })
    told(index + 1)
  }
  return sightings
}

/** References by spot. For a sighting that is learned from, its own frames must not be in it: they would make it too like. */
export interface References {
  /** From all frames; null where the bay was never seen empty. */
  of (spot: string): Reference | null
  /** From other sequences, or else from other frames of its own. */
  without (sighting: Sighting): Reference | null
}

export function referencesOf (sightings: readonly Sighting[]): References {
  const empties = new Map<string, Sighting[]>()
  for (const sighting of sightings) {
    if (sighting.taken) continue
    const here = empties.get(sighting.spot)
    if (here) here.push(sighting)
    else empties.set(sighting.spot, [sighting])
  }
  const made = new Map<string, Reference | null>()
  const make = (key: string, spot: string, isIn: (empty: Sighting) => boolean): Reference | null => {
    let reference = made.get(key)
    if (reference === undefined) {
      const found = (empties.get(spot) ?? []).filter(isIn)
      const every = Math.max(1, found.length / MOST_EMPTIES)
      const chosen = found.filter((_, i) => Math.floor(i / every) > Math.floor((i - 1) / every) || i === 0)
      made.set(key, reference = referenceOf(chosen.map(({ patches }) => patches[0])))
    }
    return reference
  }
  return {
    of: spot => make(spot, spot, () => true),
    without: ({ spot, sequence, frame }) => make(`${spot}\n${sequence}`, spot, empty => empty.sequence !== sequence) ??
      make(`${spot}\n${sequence}\n${frame}`, spot, empty => empty.frame !== frame)
  }
}

/** One of them at random; there must be one. */
export function pick<T> (from: readonly T[], random: Random): T {
  return from[Math.floor(random.next() * from.length)] as T
}
