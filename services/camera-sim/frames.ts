// Where a simulated camera's frames come from, and the label that says what is true of one.
import { z } from 'zod'
import { Id } from '../../shared/schemas.js'

/** What is beside a frame as `NAME.json`: its size, and each bay's outline and truth. */
export const Label = z.object({
  width: z.int(),
  height: z.int(),
  bays: z.array(z.object({ bay: Id, polygon: z.array(z.object({ x: z.number(), y: z.number() })).readonly(), occupied: z.boolean() }))
})
export type Label = z.infer<typeof Label>

export interface Shot {
  readonly bytes: Uint8Array
  readonly contentType: 'image/jpeg' | 'image/png'
  /** The truth; null where nobody knows it. */
  readonly label: Label | null
}

export interface FrameSource {
  /** The next frame; null behind the last one. */
  next (): Promise<Shot | null>
}
