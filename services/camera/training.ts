// Calibration: from sightings to a model. Each sighting is learned from in several variants, and the trees' sums become
// probabilities on frames that were held back.
import { inOtherPaint, inOtherWeather, parkedIn, withRoof } from './augment.js'
import type { Forest, TreesModel } from './camera-config.js'
import { ALL_FEATURES, APPEARANCE_FEATURES, featuresOf } from './features.js'
import { fitOdds, type Scored } from './probability.js'
import { createRandom, type Random } from './random.js'
import type { Reference } from './reference.js'
import { pick, referencesOf, type References, type Sighting } from './sightings.js'
import { growTrees, scoreOf } from './trees.js'
import { OperatorError } from '../../shared/errors.js'

/** Variants of a sighting; fewer where there are many sightings, more of cars where these are few. */
const VARIANTS = 8
const MOST_VARIANTS = 40
const MOST_SAMPLES = 24_000
const FOLDS = 3
/** What a sighting weighs, beside the shrinkage of the trees. */
const WEIGHT = 4
const MOST_CAR_WEIGHT = 4
/** The share of empty bays that a neighbour's roof reaches into, of cars in other paint and of cars in other bays. */
const ROOFS = 0.35
const PAINTED = 0.6
const MOVED = 0.7

interface Sample {
  /** `ALL_FEATURES`, or the first of them when there is no reference. */
  readonly features: Float64Array
  readonly taken: boolean
  readonly weight: number
  /** The frames that it is made from. */
  readonly frames: readonly string[]
}

/** The same sightings and seed give the same model. Throws `OperatorError` (`bad_labels`) without a taken and an empty bay. */
export function trainModel (sightings: readonly Sighting[], seed: number): TreesModel {
  const cars = sightings.filter(({ taken }) => taken).length
  if (cars === 0 || cars === sightings.length) {
    throw new OperatorError('bad_labels', `all ${sightings.length} labelled bays are ${cars === 0 ? 'empty' : 'taken'}: there is nothing to tell apart; add frames that show ${cars === 0 ? 'parked cars' : 'empty bays'}`)
  }
  const samples = samplesOf(sightings, createRandom(seed))
  const folds = foldsOf(sightings)
  const compared = samples.filter(({ features }) => features.length === ALL_FEATURES.length)
  const isEnough = compared.some(({ taken }) => taken) && compared.some(({ taken }) => !taken)
  return {
    appearance: growForest(samples.map(sample => ({ ...sample, features: sample.features.subarray(0, APPEARANCE_FEATURES.length) })), folds, APPEARANCE_FEATURES, seed),
    reference: isEnough ? growForest(compared, folds, ALL_FEATURES, seed) : null
  }
}

function samplesOf (sightings: readonly Sighting[], random: Random): Sample[] {
  const references = referencesOf(sightings)
  const [cars, empties] = [sightings.filter(({ taken }) => taken), sightings.filter(({ taken }) => !taken)]
  const variants = Math.max(1, Math.min(VARIANTS, Math.floor(MOST_SAMPLES / sightings.length)))
  const carVariants = Math.max(variants, Math.min(MOST_VARIANTS, Math.round(variants * empties.length / cars.length / 2)))
  const carWeight = Math.min(MOST_CAR_WEIGHT, Math.max(1 / MOST_CAR_WEIGHT, Math.sqrt(empties.length / cars.length)))
  return sightings.flatMap(sighting => {
    const count = sighting.taken ? carVariants : variants
    const weight = WEIGHT / count * (sighting.taken ? carWeight : 1)
    return Array.from({ length: count }, (_, variant): Sample => {
      const { patch, reference, frames } = variant === 0 ? { patch: sighting.patches[0], reference: references.without(sighting), frames: [sighting.frame] }
        : sighting.taken ? carVariant(sighting, empties, references, random) : emptyVariant(sighting, cars, references, random)
      return { features: featuresOf(variant === 0 ? patch : inOtherWeather(patch, random), reference), taken: sighting.taken, weight, frames }
    })
  })
}

interface Variant { readonly patch: Sighting['patches'][0], readonly reference: Reference | null, readonly frames: readonly string[] }

function carVariant (car: Sighting, empties: readonly Sighting[], references: References, random: Random): Variant {
  const patch = pick(car.patches, random)
  const painted = random.next() < PAINTED ? inOtherPaint(patch, random) : patch
  const empty = pick(empties, random)
  const elsewhere = references.without(empty)
  if (random.next() >= MOVED || elsewhere === null) return { patch: painted, reference: references.without(car), frames: [car.frame] }
  return { patch: parkedIn(pick(empty.patches, random), painted, random), reference: elsewhere, frames: [car.frame, empty.frame] }
}

function emptyVariant (empty: Sighting, cars: readonly Sighting[], references: References, random: Random): Variant {
  const patch = pick(empty.patches, random)
  const reference = references.without(empty)
  if (random.next() >= ROOFS) return { patch, reference, frames: [empty.frame] }
  const car = pick(cars, random)
  return { patch: withRoof(patch, inOtherPaint(pick(car.patches, random), random), random), reference, frames: [empty.frame, car.frame] }
}

/** Frames in groups that are held back together: whole sequences where there are enough that show both cars and empty bays. */
function foldsOf (sightings: readonly Sighting[]): ReadonlySet<string>[] {
  const sequences = [...new Set(sightings.map(({ sequence }) => sequence))]
  const [names, nameOf] = sequences.length >= FOLDS ? [sequences, (sighting: Sighting) => sighting.sequence] as const
    : [[...new Set(sightings.map(({ frame }) => frame))], (sighting: Sighting) => sighting.frame] as const
  const folds = Array.from({ length: FOLDS }, (_, fold) => {
    const held = new Set(names.filter((_, i) => i % FOLDS === fold))
    return new Set(sightings.filter(sighting => held.has(nameOf(sighting))).map(({ frame }) => frame))
  })
  return folds.filter(fold => fold.size > 0)
}

function growForest (samples: readonly Sample[], folds: readonly ReadonlySet<string>[], names: readonly string[], seed: number): Forest {
  const scored: Scored[] = []
  for (const fold of folds) {
    const rest = samples.filter(({ frames }) => !frames.some(frame => fold.has(frame)))
    // Without both kinds there is nothing to learn, and the scores of others have to do.
    if (!rest.some(({ taken }) => taken) || !rest.some(({ taken }) => !taken)) continue
    const trees = grow(rest, seed)
    for (const { features, taken, weight, frames } of samples) if (frames.every(frame => fold.has(frame))) scored.push({ score: scoreOf(trees, features), taken, weight })
  }
  return { features: [...names], trees: grow(samples, seed), ...fitOdds(scored) }
}

function grow (samples: readonly Sample[], seed: number): Forest['trees'] {
  return growTrees({ features: samples.map(({ features }) => features), taken: samples.map(({ taken }) => taken), weights: samples.map(({ weight }) => weight) }, createRandom(seed + 1))
}
