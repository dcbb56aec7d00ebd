// Gradient boosted trees: many small trees of yes-or-no questions, each correcting the sum of those before (J. Friedman,
// Greedy Function Approximation, 2001, with the second-order leaves of XGBoost). The same samples and seed give the same trees.
import type { Random } from './random.js'

/** Questions that lead to a leaf. */
export const DEPTH = 3
const QUESTIONS = 2 ** DEPTH - 1
const LEAVES = 2 ** DEPTH

/** A full tree: the question at `i` leads to `2i + 1` when the feature is below the threshold, else to `2i + 2`. */
export interface Tree {
  features: number[]
  thresholds: number[]
  leaves: number[]
}

export interface Samples {
  readonly features: readonly Float64Array[]
  readonly taken: readonly boolean[]
  /** How much each counts. */
  readonly weights: readonly number[]
}

export interface TreeOptions {
  readonly trees: number
  /** How far each tree goes towards what would fit best. */
  readonly rate: number
  /** The share of the samples and of the features that each tree sees. */
  readonly sampleShare: number
  readonly featureShare: number
  /** The least weight in a leaf, in samples that are undecided. */
  readonly leastLeaf: number
  readonly shrinkage: number
}

export const TREE_OPTIONS: TreeOptions = { trees: 150, rate: 0.08, sampleShare: 0.6, featureShare: 0.3, leastLeaf: 4, shrinkage: 5 }

const BINS = 32

/** The log-odds that the trees give; 0 is undecided. */
export function scoreOf (trees: readonly Tree[], features: Float64Array): number {
  let score = 0
  for (const tree of trees) {
    let node = 0
    while (node < QUESTIONS) node = (features[tree.features[node] as number] as number) < (tree.thresholds[node] as number) ? 2 * node + 1 : 2 * node + 2
    score += tree.leaves[node - QUESTIONS] as number
  }
  return score
}

/** Trains on at least one sample. */
export function growTrees ({ features, taken, weights }: Samples, random: Random, options: TreeOptions = TREE_OPTIONS): Tree[] {
  const width = features[0]?.length ?? 0
  const edges = Array.from({ length: width }, (_, feature) => edgesOf(Float64Array.from(features, row => row[feature] as number)))
  const bins = edges.map((bounds, feature) => Uint8Array.from(features, row => binOf(bounds, row[feature] as number)))
  const scores = new Float64Array(features.length)
  const [slopes, curves] = [new Float64Array(features.length), new Float64Array(features.length)]
  const trees: Tree[] = []
  for (let round = 0; round < options.trees; round++) {
    const rows: number[] = []
    for (let i = 0; i < features.length; i++) {
      if (random.next() >= options.sampleShare) continue
      const chance = 1 / (1 + Math.exp(-(scores[i] as number)))
      slopes[i] = (weights[i] as number) * ((taken[i] ? 1 : 0) - chance)
      curves[i] = (weights[i] as number) * Math.max(1e-6, chance * (1 - chance))
      rows.push(i)
    }
    const chosen = bins.map((_, feature) => feature).filter(() => random.next() < options.featureShare)
    const tree = growTree({ bins, edges, slopes, curves, chosen, options }, rows)
    features.forEach((row, i) => { scores[i] = (scores[i] as number) + scoreOf([tree], row) })
    trees.push(tree)
  }
  return trees
}

/** Bounds between bins that hold about as many values each. */
function edgesOf (values: Float64Array): number[] {
  const sorted = values.sort()
  const bounds: number[] = []
  for (let bin = 1; bin < BINS; bin++) {
    const at = Math.floor(bin * sorted.length / BINS)
    const bound = rounded(((sorted[at] as number) + (sorted[Math.max(0, at - 1)] as number)) / 2)
    if (bound > (bounds.at(-1) ?? -Infinity)) bounds.push(bound)
  }
  return bounds
}

/** How many bounds are at or below the value. */
function binOf (bounds: readonly number[], value: number): number {
  let [low, high] = [0, bounds.length]
  while (low < high) {
    const half = (low + high) >> 1
    if (value < (bounds[half] as number)) high = half
    else low = half + 1
  }
  return low
}

interface Ground {
  readonly bins: readonly Uint8Array[]
  readonly edges: readonly (readonly number[])[]
  readonly slopes: Float64Array
  readonly curves: Float64Array
  readonly chosen: readonly number[]
  readonly options: TreeOptions
}

function growTree (ground: Ground, rows: readonly number[]): Tree {
  const [features, thresholds, leaves] = [new Array<number>(QUESTIONS).fill(0), new Array<number>(QUESTIONS).fill(0), new Array<number>(LEAVES).fill(0)]
  const grow = (node: number, here: readonly number[]): void => {
    if (node >= QUESTIONS) {
      let [slope, curve] = [0, 0]
      for (const row of here) {
        slope += ground.slopes[row] as number
        curve += ground.curves[row] as number
      }
      leaves[node - QUESTIONS] = rounded(ground.options.rate * slope / (curve + ground.options.shrinkage))
      return
    }
    const { feature, bin } = bestQuestion(ground, here)
    // Without a question worth asking, all go the same way: no value is below -1e9.
    features[node] = feature
    thresholds[node] = bin < 0 ? -1e9 : ground.edges[feature]?.[bin] as number
    const isBelow = (row: number): boolean => bin >= 0 && (ground.bins[feature]?.[row] as number) <= bin
    grow(2 * node + 1, here.filter(isBelow))
    grow(2 * node + 2, here.filter(row => !isBelow(row)))
  }
  grow(0, rows)
  return { features, thresholds, leaves }
}

/** The feature, and the last bin that is below the threshold; -1 when no question helps. */
function bestQuestion ({ bins, edges, slopes, curves, chosen, options }: Ground, rows: readonly number[]): { feature: number, bin: number } {
  let best = { feature: 0, bin: -1, gain: 1e-6 }
  const [slopeOf, curveOf] = [new Float64Array(BINS), new Float64Array(BINS)]
  for (const feature of chosen) {
    slopeOf.fill(0)
    curveOf.fill(0)
    const column = bins[feature] as Uint8Array
    let [allSlope, allCurve] = [0, 0]
    for (const row of rows) {
      const bin = column[row] as number
      const [slope, curve] = [slopes[row] as number, curves[row] as number]
      slopeOf[bin] = (slopeOf[bin] as number) + slope
      curveOf[bin] = (curveOf[bin] as number) + curve
      allSlope += slope
      allCurve += curve
    }
    const worth = (slope: number, curve: number): number => slope * slope / (curve + options.shrinkage)
    let [slope, curve] = [0, 0]
    for (let bin = 0; bin < (edges[feature]?.length ?? 0); bin++) {
      slope += slopeOf[bin] as number
      curve += curveOf[bin] as number
      if (Math.min(curve, allCurve - curve) * 4 < options.leastLeaf) continue
      const gain = worth(slope, curve) + worth(allSlope - slope, allCurve - curve) - worth(allSlope, allCurve)
      if (gain > best.gain) best = { feature, bin, gain }
    }
  }
  return best
}

/** Short in the file, and the same after it was read back. */
function rounded (value: number): number {
  return Number(value.toPrecision(6))
}
