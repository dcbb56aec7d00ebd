// Labels: where the bays of a frame are and which are taken, as a person wrote them. Two forms: the XML of the PKLot data
// set, and JSON (docs/cameras.md). Files from outside: checked, bounded, and never more than data.
import { XMLParser, XMLValidator } from 'fast-xml-parser'
import { z } from 'zod'
import { messageOf, OperatorError } from '../../shared/errors.js'
import { firstIssue, Id } from '../../shared/schemas.js'
import { MAX_CAMERA_BAYS, MAX_CORNERS, Polygon, Side } from './camera-config.js'
import type { Point } from './classifier.js'
import type { Id as IdType } from '../../shared/lot.js'

/** Bytes of one file of labels. */
export const MAX_LABEL_BYTES = 8 * 1024 * 1024
/** Frames that one JSON file may label. */
const MAX_FRAMES = 100_000

export interface LabelledBay {
  readonly bay: IdType
  readonly polygon: readonly Point[]
  /** Null where nobody said. */
  readonly taken: boolean | null
}

/** The labels of one frame, or of many with the same bays. */
export interface Labels {
  readonly bays: readonly LabelledBay[]
  /** Pixels of the frame that the outlines were drawn on; null for those of the frame itself. */
  readonly size: { readonly width: number, readonly height: number } | null
  /** By the path of the frame below the folder of frames, which bays are taken; null when the file is for one frame. */
  readonly frames: ReadonlyMap<string, ReadonlyMap<IdType, boolean>> | null
}

const JsonLabels = z.object({
  width: Side.optional(),
  height: Side.optional(),
  // `occupied` is the word of PKLot and of the frames that `parkmq simulate cameras` keeps.
  bays: z.array(z.object({ bay: Id, polygon: Polygon, taken: z.boolean().nullish(), occupied: z.boolean().nullish() })).min(1).max(MAX_CAMERA_BAYS),
  frames: z.record(z.string().max(1_024), z.record(Id, z.boolean())).refine(frames => Object.keys(frames).length <= MAX_FRAMES, { error: `must be at most ${MAX_FRAMES} frames` }).optional()
}).refine(({ width, height }) => (width === undefined) === (height === undefined), { error: 'width and height must be given together' })

const Whole = z.string().regex(/^-?\d{1,6}(\.\d{1,6})?$/, { error: 'must be a number' }).transform(Number)
const PkLotPoint = z.object({ x: Whole, y: Whole })
const PkLotSpace = z.object({
  id: Id,
  // Some spaces of the data set have no `occupied`: nobody could tell.
  occupied: z.enum(['0', '1'], { error: 'must be 0 or 1' }).optional(),
  contour: z.array(z.object({ point: z.array(PkLotPoint).optional(), Point: z.array(PkLotPoint).optional() })).length(1, { error: 'must be there once' })
    .transform(([contour]) => contour?.point ?? contour?.Point ?? [])
    .refine(points => points.length >= 3 && points.length <= MAX_CORNERS, { error: `must have from 3 to ${MAX_CORNERS} points` })
})
const PkLot = z.object({ parking: z.array(z.object({ space: z.array(PkLotSpace).min(1, { error: 'must be there' }).max(MAX_CAMERA_BAYS) })).length(1) })

/** Reads the text of a file of labels, XML or JSON by its first character. Throws `OperatorError` (`bad_file`) that names `source`. */
export function parseLabels (text: string, source: string): Labels {
  if (text.length > MAX_LABEL_BYTES) throw badFile(source, `it has ${text.length} characters, more than ${MAX_LABEL_BYTES}; write a file for each frame`)
  const labels = /^\uFEFF?\s*</.test(text) ? fromXml(text, source) : fromJson(text, source)
  const twice = labels.bays.find(({ bay }, i) => labels.bays.findIndex(other => other.bay === bay) !== i)
  if (twice) throw badFile(source, `bay ${twice.bay} is there twice`)
  return labels
}

function fromXml (text: string, source: string): Labels {
  // Nothing that a label needs, and the way in for entities that grow without end or read other files.
  if (/<!(DOCTYPE|ENTITY)/i.test(text)) throw badFile(source, 'it has a DOCTYPE; leave it out')
  const valid = XMLValidator.validate(text)
  if (valid !== true) throw badFile(source, `line ${valid.err.line}: ${valid.err.msg}`)
  let value: unknown
  try {
    value = new XMLParser({
      ignoreAttributes: false, attributeNamePrefix: '', parseAttributeValue: false, parseTagValue: false, processEntities: false, ignoreDeclaration: true,
      isArray: (_name, _path, _isLeaf, isAttribute) => !isAttribute
    }).parse(text)
  } catch (error) {
    throw badFile(source, messageOf(error))
  }
  const parsed = PkLot.safeParse(value)
  if (!parsed.success) throw badFile(source, `${firstIssue(parsed.error)}; the form is <parking><space id occupied><contour><point x y/>...`)
  const spaces = parsed.data.parking[0]?.space ?? []
  return { bays: spaces.map(({ id, occupied, contour }) => ({ bay: id, polygon: contour, taken: occupied === undefined ? null : occupied === '1' })), size: null, frames: null }
}

function fromJson (text: string, source: string): Labels {
  let value: unknown
  try {
    value = JSON.parse(text.replace(/^\uFEFF/, ''))
  } catch (error) {
    throw badFile(source, `it is neither XML nor JSON (${messageOf(error)})`)
  }
  const parsed = JsonLabels.safeParse(value)
  if (!parsed.success) throw badFile(source, firstIssue(parsed.error))
  const { width, height, bays, frames } = parsed.data
  const known = new Set<string>(bays.map(({ bay }) => bay))
  for (const [frame, taken] of Object.entries(frames ?? {})) {
    const unknown = Object.keys(taken).find(bay => !known.has(bay))
    if (unknown !== undefined) throw badFile(source, `the frame ${frame} names bay ${unknown}, which is not among the bays`)
  }
  return {
    bays: bays.map(({ bay, polygon, taken, occupied }) => ({ bay, polygon, taken: taken ?? occupied ?? null })),
    size: width === undefined || height === undefined ? null : { width, height },
    frames: frames === undefined ? null : new Map(Object.entries(frames).map(([frame, taken]) => [frame, new Map(Object.entries(taken) as [IdType, boolean][])]))
  }
}

function badFile (source: string, problem: string): OperatorError {
  return new OperatorError('bad_file', `labels ${source}: ${problem}`)
}
