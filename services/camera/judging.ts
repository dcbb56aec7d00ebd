// Labelled frames through a classifier: with a configuration, or each sequence by one that was trained on all the others.
import { OperatorError } from '../../shared/errors.js'
import { configOf, type Naming, type Place } from './calibration.js'
import { loadClassifier, type CameraConfig } from './camera-config.js'
import type { Classifier, Judgement } from './classifier.js'
import { judgedFrame, type JudgedFrame } from './evaluation.js'
import type { Frame } from './frame.js'
import type { LabelledBay } from './labels.js'
import type { LabelledFrame } from './labelled-frames.js'
import { spotOf, type Sighting } from './sightings.js'
import { trainModel } from './training.js'

/** What somebody wants to do with each frame that was judged: count it, or paint it. */
export type Seen = (frame: LabelledFrame, picture: Frame, bays: readonly LabelledBay[], judgements: readonly Judgement[]) => Promise<void>

/**
 * Judges the labelled bays of each frame. Bays that the configuration has not, or elsewhere, are judged as well, with what
 * it learned of all bays: so a configuration can be tried on another camera.
 */
export async function judgeFrames (frames: readonly LabelledFrame[], config: CameraConfig, seen: Seen): Promise<JudgedFrame[]> {
  const classifierAt = classifiersOf(config)
  const judged: JudgedFrame[] = []
  for (const frame of frames) {
    const { frame: picture, bays } = await frame.read()
    const judgements = (await classifierAt({ width: picture.width, height: picture.height, bays })).classify(picture)
    judged.push(judgedFrame(frame.name, frame.sequence, bays, judgements))
    await seen(frame, picture, bays, judgements)
  }
  return judged
}

/** Each sequence by a model that has not seen it. `told` hears which comes next. Throws `OperatorError` (`bad_labels`) with fewer than two. */
export async function leaveOneOut (frames: readonly LabelledFrame[], sightings: readonly Sighting[], seed: number, naming: Naming, seen: Seen, told: (sequence: string) => void): Promise<JudgedFrame[]> {
  const sequences = [...new Set(frames.map(({ sequence }) => sequence))]
  if (sequences.length < 2) throw new OperatorError('bad_labels', `the only sequence of frames is ${sequences[0]}: put the frames of each day into a sub-folder of its own, at least two`)
  const judged: JudgedFrame[] = []
  for (const sequence of sequences) {
    told(sequence)
    const others = sightings.filter(sighting => sighting.sequence !== sequence)
    const held = frames.filter(frame => frame.sequence === sequence)
    const model = trainModel(others, seed)
    for (const group of await byPlace(held)) judged.push(...await judgeFrames(group.frames, configOf(group.place, model, others, naming), seen))
  }
  return judged
}

async function byPlace (frames: readonly LabelledFrame[]): Promise<{ place: Place, frames: LabelledFrame[] }[]> {
  const groups = new Map<string, { place: Place, frames: LabelledFrame[] }>()
  for (const frame of frames) {
    const { frame: { width, height }, bays } = await frame.read()
    const place = { width, height, bays }
    const group = groups.get(keyOf(place))
    if (group) group.frames.push(frame)
    else groups.set(keyOf(place), { place, frames: [frame] })
  }
  return [...groups.values()]
}

function keyOf (place: Place): string {
  return place.bays.map(({ bay, polygon }) => spotOf(bay, polygon, place)).join('\n')
}

/** The classifier for bays at a place, made once for each. */
function classifiersOf (config: CameraConfig): (place: Place) => Promise<Classifier> {
  const made = new Map<string, Promise<Classifier>>()
  const learned = new Map(config.bays.map(bay => [spotOf(bay.bay, bay.polygon, config), bay.model]))
  return place => {
    const key = keyOf(place)
    let classifier = made.get(key)
    if (!classifier) {
      const bays = place.bays.map(({ bay, polygon }) => {
        // The labels may be drawn on a frame of another size than the configuration's.
        const drawn = polygon.map(({ x, y }) => ({ x: x * config.width / place.width, y: y * config.height / place.height }))
        const model = learned.get(spotOf(bay, drawn, config))
        return { bay: bay, polygon: [...polygon], ...model !== undefined && { model } }
      })
      made.set(key, classifier = loadClassifier({ ...config, width: place.width, height: place.height, bays }))
    }
    return classifier
  }
}
