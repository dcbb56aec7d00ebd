// A camera's configuration: which bays its frames show and where, and what calibration learned. A file, so it is checked
// before it is believed (docs/cameras.md has the form).
import { readFile, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { z } from 'zod'
import { messageOf, OperatorError } from '../../shared/errors.js'
import { firstIssue, Id } from '../../shared/schemas.js'
import { createTreesClassifier } from './bay-classifier.js'
import type { Classifier, Judgement, Point } from './classifier.js'
import { ALL_FEATURES, APPEARANCE_FEATURES } from './features.js'
import { areaOf, centreOf } from './geometry.js'
import { REFERENCE_CHARS } from './reference.js'
import { DEPTH } from './trees.js'

/** Bays that one camera may see. */
export const MAX_CAMERA_BAYS = 1_000
/** Corners of one outline. */
export const MAX_CORNERS = 32
/** Pixels along a side of a frame. */
const MAX_SIDE = 16_384
/** Square pixels: a smaller bay shows nothing. */
const LEAST_AREA = 16
const MAX_TREES = 1_000
/** Bytes of a configuration file. */
const MAX_FILE_BYTES = 16 * 1024 * 1024
/** A bay judged with less confidence than this is `unknown`, unless the configuration says otherwise. */
export const DEFAULT_MIN_CONFIDENCE = 0.7

const Coordinate = z.number().min(-MAX_SIDE).max(2 * MAX_SIDE)
/** Corners in order around the bay, as `{ "x": 608, "y": 613 }` or, shorter, as `[608, 613]`. */
export const Polygon = z.array(z.union([z.tuple([Coordinate, Coordinate]).transform(([x, y]): Point => ({ x, y })), z.object({ x: Coordinate, y: Coordinate })],
  { error: 'must be [x, y] or {"x": x, "y": y}, in pixels' })).min(3).max(MAX_CORNERS)
export const Side = z.int().min(16).max(MAX_SIDE)

const CameraBay = z.strictObject({
  bay: Id,
  polygon: Polygon,
  model: z.strictObject({
    /** How the bay looks when it is empty: base64 of reference.ts. */
    reference: z.string().length(REFERENCE_CHARS).regex(/^[A-Za-z0-9+/]*$/, { error: 'must be base64' })
  }).optional()
})

const Small = z.number().min(-1e9).max(1e9)

function forest (features: readonly string[]) {
  return z.strictObject({
    /** What the trees ask for, by name. */
    features: z.array(z.string().max(64)).max(1_000).refine(names => names.length === features.length && names.every((name, i) => name === features[i]),
      { error: 'are measured in another way by this version of parkmq: calibrate the camera again' }),
    trees: z.array(z.strictObject({
      features: z.array(z.int().min(0).max(features.length - 1)).length(2 ** DEPTH - 1),
      thresholds: z.array(Small).length(2 ** DEPTH - 1),
      leaves: z.array(Small).length(2 ** DEPTH)
    })).min(1).max(MAX_TREES),
    /** How the sum of the trees becomes the log-odds that a bay is taken: `slope * sum + offset`. */
    slope: z.number().min(0).max(100),
    offset: Small
  })
}

/** What the classifier `trees` has learned: once for bays without a reference, once for those with one. */
export const TreesModel = z.strictObject({ appearance: forest(APPEARANCE_FEATURES), reference: forest(ALL_FEATURES).nullable() })
export type TreesModel = z.infer<typeof TreesModel>
export type Forest = TreesModel['appearance']

const shared = {
  version: z.literal(1),
  camera: Id,
  lot: Id,
  /** Pixels of the frames that the outlines were drawn on. Frames of the same shape may be larger or smaller. */
  width: Side,
  height: Side,
  /** A bay judged with less confidence is `unknown`. */
  minConfidence: z.number().min(0.5).max(1).default(DEFAULT_MIN_CONFIDENCE),
  /** Seconds between two frames, as far as is known. */
  intervalSeconds: z.number().min(0.1).max(3_600).optional(),
  /** Seconds that a bay stays as it was while frames are not sure of it. */
  keepSeconds: z.number().min(0).max(3_600).optional(),
  bays: z.array(CameraBay).min(1).max(MAX_CAMERA_BAYS)
}
const Trees = z.strictObject({ ...shared, classifier: z.literal('trees'), model: TreesModel })
/** Another classifier, by the path of an ES module. */
const OtherModule = z.strictObject({
  ...shared,
  classifier: z.string().min(1).max(1_024).regex(/\.m?js$/, { error: 'must be "trees", or the path of an ES module that ends with .js or .mjs' }),
  model: z.unknown().optional(),
  bays: z.array(CameraBay.extend({ model: z.unknown().optional() })).min(1).max(MAX_CAMERA_BAYS)
})

export type TreesConfig = z.infer<typeof Trees>
export type CameraConfig = TreesConfig | z.infer<typeof OtherModule>

/** What `loadClassifier` takes, and what a classifier of one's own is made of. */
export type ClassifierMaker = (config: CameraConfig) => Classifier | Promise<Classifier>

/**
 * Checks a configuration. Throws `OperatorError` (`bad_config`) that names `source`, the value and the fix.
 */
export function parseCameraConfig (value: unknown, source: string): CameraConfig {
  const isTrees = typeof value === 'object' && value !== null && 'classifier' in value && value.classifier === 'trees'
  const parsed = (isTrees ? Trees : OtherModule).safeParse(value)
  if (!parsed.success) throw badConfig(source, firstIssue(parsed.error))
  const config = parsed.data
  const problem = problemOfBays(config.bays, config.width, config.height)
  if (problem !== null) throw badConfig(source, problem)
  return config
}

/** What is wrong with outlines on a frame of this size, or null. */
export function problemOfBays (bays: readonly { readonly bay: string, readonly polygon: readonly Point[] }[], width: number, height: number): string | null {
  const names = new Set<string>()
  for (const { bay, polygon } of bays) {
    if (names.has(bay)) return `bay ${bay} is there twice; give each its own id`
    names.add(bay)
    if (areaOf(polygon) < LEAST_AREA) return `the outline of bay ${bay} covers less than ${LEAST_AREA} square pixels; draw it larger, corner by corner around the bay`
    const { x, y } = centreOf(polygon)
    if (x < 0 || y < 0 || x >= width || y >= height) return `the middle of bay ${bay} (${Math.round(x)}, ${Math.round(y)}) is outside of the ${width} x ${height} frame; leave the bay out, or correct its outline`
  }
  return null
}

/**
 * Reads a configuration file. The path of a classifier of one's own becomes absolute; it is written from the file's folder.
 * Throws as `parseCameraConfig`.
 */
export async function readCameraConfig (path: string): Promise<CameraConfig> {
  let value: unknown
  try {
    const { size } = await stat(path)
    if (size > MAX_FILE_BYTES) throw new Error(`it has ${size} bytes, more than ${MAX_FILE_BYTES}`)
    value = JSON.parse(await readFile(path, 'utf8'))
  } catch (error) {
    throw new OperatorError('bad_config', `cannot read the camera configuration ${path}: ${messageOf(error)}; \`parkmq camera calibrate\` writes one`, { cause: error })
  }
  const config = parseCameraConfig(value, path)
  return config.classifier === 'trees' ? config : { ...config, classifier: resolve(dirname(path), config.classifier) }
}

/** The text of a configuration file: the outlines for people, what was learned in one line each. */
export function cameraConfigText (config: TreesConfig): string {
  const { bays, model, ...rest } = config
  const head = JSON.stringify(rest, null, 2).slice(0, -2)
  const lines = bays.map(({ bay, polygon, model }) => `    ${JSON.stringify({ bay, polygon: polygon.map(({ x, y }) => [x, y]), model })}`)
  return `${head},\n  "bays": [\n${lines.join(',\n')}\n  ],\n  "model": ${JSON.stringify(model)}\n}\n`
}

/**
 * The classifier of a configuration. `trees` is ours; anything else is the path of an ES module whose default export makes
 * a `Classifier` of the configuration: it runs in this process with all its rights. Throws `OperatorError` (`bad_config`).
 */
export async function loadClassifier (config: CameraConfig): Promise<Classifier> {
  if (isTreesConfig(config)) return createTreesClassifier(config)
  try {
    const { default: make } = await import(pathToFileURL(resolve(config.classifier)).href) as { default?: unknown }
    if (typeof make !== 'function') throw new Error('its default export is no function')
    const made = await (make as ClassifierMaker)(config) as Classifier | null | undefined
    if (typeof made?.classify !== 'function') throw new Error('its default export gave no object with classify(frame)')
    return checked(made, config)
  } catch (error) {
    throw new OperatorError('bad_config', `camera ${config.camera}: cannot use the classifier ${config.classifier}: ${messageOf(error)}`, { cause: error })
  }
}

function isTreesConfig (config: CameraConfig): config is TreesConfig {
  return config.classifier === 'trees'
}

/** A foreign classifier is held to its contract: a judgement too few would shift all the others by one bay. */
function checked (classifier: Classifier, { bays, classifier: path }: CameraConfig): Classifier {
  return {
    classify (frame) {
      const judgements: unknown = classifier.classify(frame)
      const isRight = Array.isArray(judgements) && judgements.length === bays.length && bays.every(({ bay }, i) => {
        const { bay: named, taken, confidence } = (judgements[i] ?? {}) as Partial<Judgement>
        return named === bay && typeof taken === 'boolean' && typeof confidence === 'number' && confidence >= 0.5 && confidence <= 1
      })
      if (!isRight) throw new Error(`the classifier ${path} did not give one { bay, taken, confidence from 0.5 to 1 } for each of the ${bays.length} bays, in order`)
      return judgements as Judgement[]
    }
  }
}

function badConfig (source: string, problem: string): OperatorError {
  return new OperatorError('bad_config', `camera configuration ${source}: ${problem}`)
}
