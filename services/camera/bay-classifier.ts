// The default classifier, `trees`: patches, numbers of them, boosted trees, and how sure that is.
import type { TreesConfig } from './camera-config.js'
import { FrameSizeError, type Classifier, type Judgement, type Point } from './classifier.js'
import type { Frame } from './frame.js'
import { featuresOf } from './features.js'
import { quadOf, raisedQuads } from './geometry.js'
import { createCutter, type Cutter } from './patch.js'
import { referenceFrom } from './reference.js'
import { scoreOf } from './trees.js'

/** How much the shape of a frame may differ from the configuration's: cameras round when they scale. */
const SHAPE_TOLERANCE = 0.01
/** Sizes of frames that are prepared for; a camera that keeps changing its size is prepared for again and again. */
const MOST_SIZES = 4

/** Frames of another size and the same shape are taken: the outlines are scaled. */
export function createTreesClassifier (config: TreesConfig): Classifier {
  const { bays, model, width, height } = config
  const references = bays.map(bay => bay.model && model.reference ? referenceFrom(bay.model.reference) : null)
  const cutters = new Map<string, Cutter>()
  return {
    classify (frame) {
      refuseOtherShape(frame, config)
      const size = `${frame.width}x${frame.height}`
      let cutter = cutters.get(size)
      if (!cutter) {
        if (cutters.size >= MOST_SIZES) cutters.clear()
        cutters.set(size, cutter = cutterFor(bays.map(({ polygon }) => polygon), frame, { width, height }))
      }
      return cutter.cut(frame).map((patch, i): Judgement => {
        const reference = references[i] ?? null
        const forest = reference && model.reference ? model.reference : model.appearance
        const odds = forest.slope * scoreOf(forest.trees, featuresOf(patch, reference)) + forest.offset
        return { bay: bays[i]?.bay as Judgement['bay'], taken: odds > 0, confidence: 1 / (1 + Math.exp(-Math.abs(odds))) }
      })
    }
  }
}

/** Throws `FrameSizeError` when the frame has another shape than the configuration's. */
export function refuseOtherShape (frame: Pick<Frame, 'width' | 'height'>, { camera, width, height }: { camera: string, width: number, height: number }): void {
  const stretched = frame.width / frame.height / (width / height)
  if (Math.abs(Math.log(stretched)) <= SHAPE_TOLERANCE) return
  throw new FrameSizeError(`camera ${camera} sent ${frame.width} x ${frame.height} pixels, and its bays are drawn on ${width} x ${height}, another shape; send that shape, or calibrate the camera again`)
}

/** Looks at bays whose outlines are drawn on `drawnOn`, in frames of the size of `frame`. */
function cutterFor (polygons: readonly (readonly Point[])[], frame: Pick<Frame, 'width' | 'height'>, drawnOn: { width: number, height: number }): Cutter {
  const scaledTo = polygons.map(polygon => polygon.map(({ x, y }) => ({ x: x * frame.width / drawnOn.width, y: y * frame.height / drawnOn.height })))
  return createCutter(frame.width, frame.height, scaledTo, raisedQuads(scaledTo.map(quadOf)))
}
