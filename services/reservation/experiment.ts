// What `parkmq experiment` may do to the service and nothing else may: leave out the request history, to show what that
// is for, and count what is carried out. It is no data but an object of this class, so that no setting, flag, variable or
// message can be one; only cli/experiment makes it (tests/project/imports.test.ts).
import type { Method } from '../../shared/schemas.js'
import type { Request } from './requests.js'

export interface ExperimentParts {
  /** Off: a repeat is carried out again, as if it were the first. */
  readonly history: 'on' | 'off'
  /** Told of each request with a requestId after the commit of its effect; not of a repeat that was answered from the history. */
  readonly onCarriedOut: (requestId: string, method: Method) => void
}

export class Experiment {
  // A private field: an object that only looks like this one is not taken for it by the compiler.
  readonly #parts: ExperimentParts

  constructor (parts: ExperimentParts) {
    this.#parts = parts
  }

  get history (): 'on' | 'off' { return this.#parts.history }

  carriedOut ({ requestId, call }: Request): void {
    if (requestId !== null) this.#parts.onCarriedOut(requestId, call.method)
  }
}
