// How good judgements are, beside the labels: figures that a lot with few cars does not flatter.
import type { LabelledBay } from './labels.js'
import type { Judgement } from './classifier.js'

/** Of a sequence, or of all. */
export interface Figures {
  readonly frames: number
  readonly bays: number
  /** Taken and judged so; empty and judged taken; empty and judged so; taken and judged empty. */
  readonly truePositives: number
  readonly falsePositives: number
  readonly trueNegatives: number
  readonly falseNegatives: number
  readonly accuracy: number
  /** The mean of the shares of taken and of empty bays that are judged right; of one kind alone, its share. */
  readonly balancedAccuracy: number
  /** Of those judged taken, the share that is; null when none was. */
  readonly precision: number | null
  /** Of those taken, the share that was judged so; null when none is. */
  readonly recall: number | null
  /** Cars by which the count of a frame is off: mean of the absolute values, and the largest. */
  readonly meanCountError: number
  readonly worstCountError: number
  /** Judged with less than the configuration's confidence, and how often those that were not are right (null: there are none). */
  readonly unknown: number
  readonly knownAccuracy: number | null
}

/** One frame, bay by bay, only those that are labelled. */
export interface JudgedFrame {
  readonly name: string
  readonly sequence: string
  readonly judged: readonly { readonly truth: boolean, readonly taken: boolean, readonly confidence: number }[]
}

/** Puts judgements beside labels, which are of the same bays in the same order; bays that nobody labelled are left out. */
export function judgedFrame (name: string, sequence: string, labels: readonly LabelledBay[], judgements: readonly Judgement[]): JudgedFrame {
  return {
    name, sequence, judged: labels.flatMap(({ taken: truth }, i) => {
      const judgement = judgements[i]
      return truth === null || !judgement ? [] : [{ truth, taken: judgement.taken, confidence: judgement.confidence }]
    })
  }
}

export function figuresOf (frames: readonly JudgedFrame[], minConfidence: number): Figures {
  let [truePositives, falsePositives, trueNegatives, falseNegatives, unknown, knownRight] = [0, 0, 0, 0, 0, 0]
  const errors = frames.map(({ judged }) => {
    let error = 0
    for (const { truth, taken, confidence } of judged) {
      if (taken && truth) truePositives++
      else if (taken) falsePositives++
      else if (truth) falseNegatives++
      else trueNegatives++
      error += (taken ? 1 : 0) - (truth ? 1 : 0)
      if (confidence < minConfidence) unknown++
      else if (taken === truth) knownRight++
    }
    return Math.abs(error)
  })
  const [taken, empty] = [truePositives + falseNegatives, trueNegatives + falsePositives]
  const bays = taken + empty
  const shares = [...taken > 0 ? [truePositives / taken] : [], ...empty > 0 ? [trueNegatives / empty] : []]
  const share = (part: number, whole: number): number | null => whole > 0 ? part / whole : null
  return {
    frames: frames.length, bays, truePositives, falsePositives, trueNegatives, falseNegatives,
    accuracy: share(truePositives + trueNegatives, bays) ?? 0,
    balancedAccuracy: shares.reduce((sum, part) => sum + part, 0) / Math.max(1, shares.length),
    precision: share(truePositives, truePositives + falsePositives),
    recall: share(truePositives, taken),
    meanCountError: errors.reduce((sum, error) => sum + error, 0) / Math.max(1, errors.length),
    worstCountError: Math.max(0, ...errors),
    unknown,
    knownAccuracy: share(knownRight, bays - unknown)
  }
}
