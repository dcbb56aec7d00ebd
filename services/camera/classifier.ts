// What a classifier of camera frames is: pictures in, one judgement for each bay out. The default one is in
// bay-classifier.ts; another is named in a camera's configuration (docs/cameras.md).
import type { Id } from '../../shared/lot.js'
import type { Frame } from './frame.js'

/** Pixels of the frame that the configuration speaks of: x to the right, y down. */
export interface Point { readonly x: number, readonly y: number }

export interface BayView {
  readonly bay: Id
  /** The outline of the bay on the ground, corner by corner. */
  readonly polygon: readonly Point[]
  /** What calibration learned of this bay. */
  readonly model?: unknown
}

export interface Judgement {
  readonly bay: Id
  readonly taken: boolean
  /** From 0.5 (a guess) to 1 (sure): how often a judgement like this one is right. */
  readonly confidence: number
}

export interface Classifier {
  /** One judgement for each bay of its configuration, in order. Throws `FrameSizeError` for a frame of another shape. */
  classify (frame: Frame): Judgement[]
}

/** The frame has not the shape of the frames that the bays were drawn on, so nobody knows where they are in it. */
export class FrameSizeError extends Error {
  readonly code = 'wrong_size'
}
