// From a message on `cameras/{camera}/frame` to a frame that is to be looked at, or to a refusal that names what is wrong.
import { z } from 'zod'
import type { Delivery } from '../../shared/bus.js'
import type { Refusal } from '../../shared/errors.js'
import type { Id } from '../../shared/lot.js'
import { firstIssue, Id as IdSchema, Timestamp } from '../../shared/schemas.js'
import { cameraOfFrameTopic } from '../../shared/topics.js'
import type { Numbered } from './line.js'

/** A picture that nobody has opened yet. */
export interface ArrivedFrame extends Numbered {
  readonly lot: Id
  readonly capturedAt: string
  readonly bytes: Uint8Array
  readonly receivedAtMs: number
}

const CONTENT_TYPES = ['image/jpeg', 'image/png']
const wholeNumber = z.string({ error: 'is missing: send it as a user property' }).regex(/^\d{1,16}$/, { error: 'is not a whole number' }).transform(Number)
  .refine(value => value <= Number.MAX_SAFE_INTEGER, { error: 'is too large' })

/** User properties of a frame. */
const FrameProperties = z.object({
  lot: z.string({ error: 'is missing: send it as a user property' }).pipe(IdSchema),
  epoch: wholeNumber,
  seq: wholeNumber,
  capturedAt: z.string({ error: 'is missing: send it as a user property' }).pipe(Timestamp)
})

export interface FrameRules {
  /** Lot by camera. */
  readonly cameras: ReadonlyMap<Id, { readonly lot: Id }>
  readonly maxBytes: number
}

/** Never throws. */
export function parseFrame ({ topic, payload, properties, receivedAtMs }: Pick<Delivery, 'topic' | 'payload' | 'properties' | 'receivedAtMs'>, { cameras, maxBytes }: FrameRules): { readonly frame: ArrivedFrame } | { readonly refusal: Refusal } {
  const camera = cameraOfFrameTopic(topic)
  if (camera === null) return refuse('bad_topic', `the topic ${topic.slice(0, 100)} has no valid id of a camera; ids match [A-Za-z0-9][A-Za-z0-9._-]{0,63}`)
  const known = cameras.get(camera)
  if (known === undefined) return refuse('unknown_camera', `the camera ${camera} is not set up here; put its configuration into the folder of --cameras`)
  if (payload.length > maxBytes) return refuse('too_large', `the picture has ${payload.length} bytes; at most ${maxBytes} are taken (limits.frameBytes)`)
  const { contentType } = properties
  if (contentType === undefined || !CONTENT_TYPES.includes(contentType)) {
    return refuse('wrong_type', `the content type is ${contentType === undefined ? 'missing' : JSON.stringify(contentType.slice(0, 50))}; send image/jpeg or image/png`)
  }
  const parsed = FrameProperties.safeParse(properties.userProperties ?? {})
  if (!parsed.success) return refuse('bad_message', `user property ${firstIssue(parsed.error)}`)
  const { lot, epoch, seq, capturedAt } = parsed.data
  if (lot !== known.lot) return refuse('bad_message', `user property lot: ${lot} is not the lot of the camera ${camera}, which is ${known.lot}`)
  return { frame: { camera, lot, epoch, seq, capturedAt, bytes: payload, receivedAtMs } }
}

function refuse (code: Refusal['code'], message: string): { readonly refusal: Refusal } {
  return { refusal: { code, message } }
}
