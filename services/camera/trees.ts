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
  const columns = Array.from({ length: width }, (_, feature) => columnOf(features, feature))
  const edges = columns.map(column => edgesOf(column.slice()))
  const bins = columns.map((column, feature) => binsOf(column, edges[feature] as number[]))
  const scores = new Float64Array(features.length)
  const [slopes, curves] = [new Float64Array(features.length), new Float64Array(features.length)]
  const rows = new Int32Array(features.length)
  const trees: Tree[] = []
  for (let round = 0; round < options.trees; round++) {
    let count = 0
    for (let i = 0; i < features.length; i++) {
      if (random.next() >= options.sampleShare) continue
      const chance = 1 / (1 + Math.exp(-(scores[i] as number)))
      slopes[i] = (weights[i] as number) * ((taken[i] ? 1 : 0) - chance)
      curves[i] = (weights[i] as number) * Math.max(1e-6, chance * (1 - chance))
      rows[count++] = i
    }
    const chosen = bins.map((_, feature) => feature).filter(() => random.next() < options.featureShare)
    const tree = growTree({ bins, edges, slopes, curves, chosen, options }, rows.slice(0, count))
    addScores(tree, columns, scores)
    trees.push(tree)
  }
  return trees
}

/** Adds what one tree gives each sample. */
function addScores ({ features, thresholds, leaves }: Tree, columns: readonly Float64Array[], scores: Float64Array): void {
  const asked = features.map(feature => columns[feature] as Float64Array)
  for (let i = 0; i < scores.length; i++) {
    let node = 0
    while (node < QUESTIONS) node = ((asked[node] as Float64Array)[i] as number) < (thresholds[node] as number) ? 2 * node + 1 : 2 * node + 2
    scores[i] = (scores[i] as number) + (leaves[node - QUESTIONS] as number)
  }
}

function columnOf (features: readonly Float64Array[], feature: number): Float64Array {
  const column = new Float64Array(features.length)
  for (let i = 0; i < column.length; i++) column[i] = (features[i] as Float64Array)[feature] as number
  return column
}

/** Bounds between bins that hold about as many values each. Sorts `values`. */
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

/** For each value, how many bounds are at or below it. */
function binsOf (column: Float64Array, bounds: readonly number[]): Uint8Array {
  const bins = new Uint8Array(column.length)
  for (let i = 0; i < column.length; i++) {
    const value = column[i] as number
    let low = 0
    let high = bounds.length
    while (low < high) {
      const half = (low + high) >> 1
      if (value < (bounds[half] as number)) high = half
      else low = half + 1
    }
    bins[i] = low
  }
  return bins
}

interface Ground {
  readonly bins: readonly Uint8Array[]
  readonly edges: readonly (readonly number[])[]
  readonly slopes: Float64Array
  readonly curves: Float64Array
  readonly chosen: readonly number[]
  readonly options: TreeOptions
}

function growTree (ground: Ground, rows: Int32Array): Tree {
  const [features, thresholds, leaves] = [new Array<number>(QUESTIONS).fill(0), new Array<number>(QUESTIONS).fill(0), new Array<number>(LEAVES).fill(0)]
  const grow = (node: number, here: Int32Array): void => {
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
    const [below, others] = parted(here, ground.bins[feature] as Uint8Array, bin)
    grow(2 * node + 1, below)
    grow(2 * node + 2, others)
  }
  grow(0, rows)
  return { features, thresholds, leaves }
}

/** The rows up to this bin and the others, each in their order. */
function parted (rows: Int32Array, column: Uint8Array, bin: number): [below: Int32Array, others: Int32Array] {
  const [below, others] = [new Int32Array(rows.length), new Int32Array(rows.length)]
  let [belows, rest] = [0, 0]
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i] as number
    if ((column[row] as number) <= bin) below[belows++] = row
    else others[rest++] = row
  }
  return [below.subarray(0, belows), others.subarray(0, rest)]
}

/** The feature, and the last bin that is below the threshold; -1 when no question helps. */
function bestQuestion ({ bins, edges, slopes, curves, chosen, options }: Ground, rows: Int32Array): { feature: number, bin: number } {
  // What each feature is added up from, in the order of the rows: side by side in memory.
  const [slopeHere, curveHere] = [new Float64Array(rows.length), new Float64Array(rows.length)]
  let [allSlope, allCurve] = [0, 0]
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i] as number
    allSlope += slopeHere[i] = slopes[row] as number
    allCurve += curveHere[i] = curves[row] as number
  }
  const worth = (slope: number, curve: number): number => slope * slope / (curve + options.shrinkage)
  const worthOfAll = worth(allSlope, allCurve)
  const best = { feature: 0, bin: -1, gain: 1e-6 }
  const [slopeOf, curveOf] = [new Float64Array(BINS), new Float64Array(BINS)]
  for (const feature of chosen) {
    slopeOf.fill(0)
    curveOf.fill(0)
    const column = bins[feature] as Uint8Array
    for (let i = 0; i < rows.length; i++) {
      const bin = column[rows[i] as number] as number
      slopeOf[bin] = (slopeOf[bin] as number) + (slopeHere[i] as number)
      curveOf[bin] = (curveOf[bin] as number) + (curveHere[i] as number)
    }
    let [slope, curve] = [0, 0]
    for (let bin = 0; bin < (edges[feature]?.length ?? 0); bin++) {
      slope += slopeOf[bin] as number
      curve += curveOf[bin] as number
      if (Math.min(curve, allCurve - curve) * 4 < options.leastLeaf) continue
      const gain = worth(slope, curve) + worth(allSlope - slope, allCurve - curve) - worthOfAll
      if (gain > best.gain) Object.assign(best, { feature, bin, gain })
    }
  }
  return best
}

/** Short in the file, and the same after it was read back. */
function rounded (value: number): number {
  return Number(value.toPrecision(6))
}
