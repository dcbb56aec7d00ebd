// A camera's configuration: which lot it sees, where its bays are in its frames, and how its frames are looked at.
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { z } from 'zod'
import { messageOf, OperatorError } from '../../shared/errors.js'
import type { Id as IdType } from '../../shared/lot.js'
import { firstIssue, Id } from '../../shared/schemas.js'
import type { Classifier, Judgement, Point } from './classifier.js'

const Schema = z.strictObject({
  version: z.literal(1),
  camera: Id,
  lot: Id,
  width: z.int().min(16).max(16_384),
  height: z.int().min(16).max(16_384),
  classifier: z.string().min(1),
  minConfidence: z.number().min(0.5).max(1),
  bays: z.array(z.object({ bay: Id, polygon: z.array(z.object({ x: z.number(), y: z.number() })).min(3) })).min(1),
  model: z.unknown(),
  intervalSeconds: z.number().min(0.1).max(3_600).optional(),
  keepSeconds: z.number().min(0).max(3_600).optional()
})

export interface CameraConfig {
  readonly camera: IdType
  readonly lot: IdType
  readonly width: number
  readonly height: number
  readonly classifier: string
  readonly minConfidence: number
  readonly bays: readonly { readonly bay: IdType, readonly polygon: readonly Point[] }[]
  readonly model?: unknown
  /** Seconds between two frames. */
  readonly intervalSeconds?: number | undefined
  /** Seconds that a bay stays as it was while frames are not sure of it. */
  readonly keepSeconds?: number | undefined
}

export async function readCameraConfig (file: string): Promise<CameraConfig> {
  let value: unknown
  try {
    value = JSON.parse(await readFile(file, 'utf8'))
  } catch (error) {
    throw new OperatorError('bad_config', `cannot read the camera's configuration ${file}: ${messageOf(error)}`, { cause: error })
  }
  const parsed = Schema.safeParse(value)
  if (!parsed.success) throw new OperatorError('bad_config', `wrong camera configuration ${file}: ${firstIssue(parsed.error)}`)
  const config = parsed.data
  return config.classifier.endsWith('js') ? { ...config, classifier: resolve(dirname(file), config.classifier) } : config
}

/** Temporary: a bay is taken where there are many edges. */
export async function loadClassifier (config: CameraConfig): Promise<Classifier> {
  if (config.classifier.endsWith('js')) {
    const { default: make } = await import(pathToFileURL(config.classifier).href) as { default: (config: CameraConfig) => Classifier }
    return make(config)
  }
  return {
    classify: ({ width, height, pixels }) => config.bays.map(({ bay, polygon }): Judgement => {
      const xs = polygon.map(({ x }) => x * width / config.width)
      const ys = polygon.map(({ y }) => y * height / config.height)
      const shrink = (least: number, most: number): [number, number] => [Math.floor(least + (most - least) * 0.25), Math.ceil(most - (most - least) * 0.25)]
      const [left, right] = shrink(Math.max(0, Math.min(...xs)), Math.min(width - 2, Math.max(...xs)))
      const [top, bottom] = shrink(Math.max(0, Math.min(...ys)), Math.min(height - 2, Math.max(...ys)))
      let energy = 0
      let count = 0
      const green = (x: number, y: number): number => pixels[(y * width + x) * 3 + 1] ?? 0
      for (let y = top; y < bottom; y += 2) {
        for (let x = left; x < right; x += 2) {
          energy += Math.abs(green(x, y) - green(x + 1, y)) + Math.abs(green(x, y) - green(x, y + 1))
          count++
        }
      }
      const mean = count === 0 ? 0 : energy / count
      return { bay, taken: mean > 8, confidence: 0.5 + Math.min(0.5, Math.abs(mean - 8) / 8) }
    })
  }
}
