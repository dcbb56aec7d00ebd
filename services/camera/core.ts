// What a frame's judgements say of the camera's bays. Pure.
//
//   sure                                    -> free or taken
//   not sure, and not for long              -> nothing: the bay stays as it was
//   not sure for keepMs, frame after frame  -> unknown
import type { BayState, Id } from '../../shared/lot.js'

export interface Judged {
  readonly bay: Id
  readonly taken: boolean
  /** 0.5 to 1. */
  readonly confidence: number
}

/** Since when the frames were not sure of a bay, in milliseconds; a bay of which the last one was sure is not in it. */
export type Unsure = ReadonlyMap<Id, number>

export interface Certainty {
  readonly minConfidence: number
  /** How long a bay stays as it was while frames are not sure of it. */
  readonly keepMs: number
}

/** `unsure` is from the camera's frame before; empty for the first. */
export function stateOfBays (unsure: Unsure, judgements: readonly Judged[], nowMs: number, { minConfidence, keepMs }: Certainty): { readonly bays: ReadonlyMap<Id, BayState>, readonly unsure: Unsure } {
  const bays = new Map<Id, BayState>()
  const stillUnsure = new Map<Id, number>()
  for (const { bay, taken, confidence } of judgements) {
    if (confidence >= minConfidence) {
      bays.set(bay, taken ? 'taken' : 'free')
      continue
    }
    const sinceMs = unsure.get(bay) ?? nowMs
    stillUnsure.set(bay, sinceMs)
    if (nowMs - sinceMs >= keepMs) bays.set(bay, 'unknown')
  }
  return { bays, unsure: stillUnsure }
}
