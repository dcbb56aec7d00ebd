// A folder of frames with their labels. Each sub-folder is a sequence: frames of one day, which look alike, so that a fair
// test is on a sequence that calibration has not seen.
import { readFile, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf, OperatorError } from '../../shared/errors.js'
import { problemOfBays } from './camera-config.js'
import { decodeFrame, FRAME_LIMITS, type Frame } from './frame.js'
import { MAX_LABEL_BYTES, parseLabels, type LabelledBay, type Labels } from './labels.js'

/** A frame that is still on disk: many of them do not fit into memory. */
export interface LabelledFrame {
  /** The path below the folder of frames. */
  readonly name: string
  /** The sub-folder, `.` for frames that are in none. */
  readonly sequence: string
  /** The picture, and its bays in pixels of it. Throws `OperatorError` (`bad_file`) when it cannot be decoded. */
  read (): Promise<{ readonly frame: Frame, readonly bays: readonly LabelledBay[] }>
}

const PICTURE = /\.(jpe?g|png)$/i
const MAX_FRAMES = 100_000
const MAX_DEPTH = 8

/**
 * Finds the frames below `folder`, by name. `labels` is a folder with a file for each frame, of the same path but for its
 * end (.xml or .json), or one JSON file for all. Frames without labels are left out and named to `skipped`. Throws
 * `OperatorError` (`bad_file`) that names the file and the fix.
 */
export async function findLabelledFrames (folder: string, labels: string, skipped: (name: string) => void): Promise<LabelledFrame[]> {
  const names = (await picturesIn(folder)).sort()
  if (names.length === 0) throw badFile(`${folder} has no .jpg or .png in it; name the folder of the frames with --frames`)
  const all = await isFile(labels) ? parseLabels(await readLabels(labels), labels) : null
  if (all && all.frames === null) throw badFile(`labels ${labels}: it has no "frames" that say which bays are taken; add them, or name a folder with a file for each frame`)
  const frames: LabelledFrame[] = []
  for (const name of names) {
    const found = all ? ofFrame(all, name) : await ownLabels(labels, name)
    if (found === null) {
      skipped(name)
      continue
    }
    frames.push(labelledFrame(folder, name, found))
  }
  if (frames.length === 0) throw badFile(`none of the ${names.length} frames of ${folder} has labels in ${labels}: ${names[0]} would need ${all ? `"${names[0]}" among its "frames"` : join(labels, names[0]?.replace(PICTURE, '.xml') ?? '')}`)
  return frames
}

/** The bays of a file of labels alone, without frames. Throws as `findLabelledFrames`. */
export async function readBays (path: string): Promise<Labels> {
  return parseLabels(await readLabels(path), path)
}

async function picturesIn (folder: string, below = '', depth = 0): Promise<string[]> {
  let entries
  try {
    entries = await readdir(join(folder, below), { withFileTypes: true })
  } catch (error) {
    throw new OperatorError('bad_file', `cannot read the folder ${join(folder, below)}: ${messageOf(error)}`, { cause: error })
  }
  const found: string[] = []
  for (const entry of entries) {
    const name = below === '' ? entry.name : `${below}/${entry.name}`
    if (entry.isDirectory() && depth < MAX_DEPTH) found.push(...await picturesIn(folder, name, depth + 1))
    else if (entry.isFile() && PICTURE.test(entry.name)) found.push(name)
    if (found.length > MAX_FRAMES) throw badFile(`${folder} has more than ${MAX_FRAMES} frames; take a part of them`)
  }
  return found
}

function ofFrame (labels: Labels, name: string): Labels | null {
  const taken = labels.frames?.get(name)
  return taken === undefined ? null : { ...labels, bays: labels.bays.map(bay => ({ ...bay, taken: taken.get(bay.bay) ?? null })) }
}

async function ownLabels (folder: string, name: string): Promise<Labels | null> {
  for (const end of ['.xml', '.json']) {
    const path = join(folder, name.replace(PICTURE, end))
    if (await isFile(path)) return parseLabels(await readLabels(path), path)
  }
  return null
}

function labelledFrame (folder: string, name: string, { bays, size }: Labels): LabelledFrame {
  const path = join(folder, name)
  return {
    name,
    sequence: name.includes('/') ? name.slice(0, name.lastIndexOf('/')) : '.',
    async read () {
      const { size: bytes } = await stat(path)
      // A file that is too large is not even read.
      if (bytes > FRAME_LIMITS.maxBytes) throw badFile(`${path} has ${bytes} bytes, more than ${FRAME_LIMITS.maxBytes}; make it smaller`)
      const decoded = await decodeFrame(await readFile(path))
      if (!decoded.ok) throw badFile(`${path}: ${decoded.refusal.message} (${decoded.refusal.code})`)
      const { frame } = decoded
      const scaled = size === null ? bays : bays.map(bay => ({ ...bay, polygon: bay.polygon.map(({ x, y }) => ({ x: x * frame.width / size.width, y: y * frame.height / size.height })) }))
      const problem = problemOfBays(scaled, frame.width, frame.height)
      if (problem !== null) throw badFile(`the labels of ${path}: ${problem}`)
      return { frame, bays: scaled }
    }
  }
}

async function readLabels (path: string): Promise<string> {
  try {
    const { size } = await stat(path)
    if (size > MAX_LABEL_BYTES) throw new Error(`it has ${size} bytes, more than ${MAX_LABEL_BYTES}`)
    return await readFile(path, 'utf8')
  } catch (error) {
    throw new OperatorError('bad_file', `cannot read the labels ${path}: ${messageOf(error)}`, { cause: error })
  }
}

async function isFile (path: string): Promise<boolean> {
  return await stat(path).then(found => found.isFile(), () => false)
}

function badFile (message: string): OperatorError {
  return new OperatorError('bad_file', message)
}
