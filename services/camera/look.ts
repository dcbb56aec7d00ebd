// What a process that looks at frames and its owner say to each other. Nothing here has state.
import type { Refusal } from '../../shared/errors.js'
import type { Id } from '../../shared/lot.js'
import type { Judgement } from './classifier.js'
import type { FrameLimits } from './frame.js'

export interface WorkerSetup {
  /** Files of the cameras' configurations. */
  readonly files: readonly string[]
  readonly limits: FrameLimits
}

export interface Look {
  readonly camera: Id
  readonly bytes: Uint8Array
}

export type Looked =
  | { readonly judgements: readonly Judgement[] }
  | { readonly refusal: Refusal }
  /** A fault of ours, as words. */
  | { readonly fault: string }

export type Asked =
  | { readonly type: 'setup', readonly setup: WorkerSetup }
  | { readonly type: 'look', readonly look: Look }

export type Said =
  | { readonly type: 'ready' }
  | { readonly type: 'looked', readonly looked: Looked }
  | { readonly type: 'failed', readonly why: string }
