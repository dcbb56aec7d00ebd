// The frames that wait: at most one of each camera, the newest. Pure data, without time.
import type { Id } from '../../shared/lot.js'

/** Which frame of its camera it is. */
export interface Numbered {
  readonly camera: Id
  readonly epoch: number
  readonly seq: number
}

export function isNewer (a: Numbered, b: Numbered): boolean {
  return a.epoch > b.epoch || (a.epoch === b.epoch && a.seq > b.seq)
}

/** A camera has at most one frame in work, so that its frames stay in their order. */
export class FrameLine<F extends Numbered> {
  readonly #waiting = new Map<Id, F>()
  readonly #busy = new Set<Id>()

  /** Puts a frame in its camera's place. Returns the older one, which is not looked at: the one that waited, or this one. */
  put (frame: F): F | null {
    const waiting = this.#waiting.get(frame.camera)
    if (waiting !== undefined && !isNewer(frame, waiting)) return frame
    // A camera keeps its place in the line.
    this.#waiting.set(frame.camera, frame)
    return waiting ?? null
  }

  /** The frame whose camera has waited for longest and has none in work; that camera has one now, until `done`. */
  take (): F | null {
    for (const [camera, frame] of this.#waiting) {
      if (this.#busy.has(camera)) continue
      this.#waiting.delete(camera)
      this.#busy.add(camera)
      return frame
    }
    return null
  }

  done (camera: Id): void {
    this.#busy.delete(camera)
  }

  /** Takes out all that wait. */
  clear (): F[] {
    const all = [...this.#waiting.values()]
    this.#waiting.clear()
    return all
  }
}
