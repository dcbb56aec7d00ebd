// `parkmq camera calibrate | evaluate`: a camera learns its bays from labelled frames, and how well it does is measured.
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Command } from 'commander'
import { messageOf, OperatorError } from '../shared/errors.js'
import type { Id } from '../shared/lot.js'
import { ID_PATTERN } from '../shared/topics.js'
import { configOf, type Naming, type Place } from '../services/camera/calibration.js'
import { cameraConfigText, DEFAULT_MIN_CONFIDENCE, problemOfBays, readCameraConfig, type TreesModel } from '../services/camera/camera-config.js'
import { judgeFrames, leaveOneOut, type Seen } from '../services/camera/judging.js'
import { findLabelledFrames, readBays, type LabelledFrame } from '../services/camera/labelled-frames.js'
import { overlayPicture } from '../services/camera/overlay.js'
import { collectSightings } from '../services/camera/sightings.js'
import { trainModel } from '../services/camera/training.js'
import { cameraProcessCommand } from './camera-process.js'
import { evaluationJson, evaluationText, progress } from './camera-output.js'
import { UsageError } from './client.js'
import { share, whole } from './simulate-options.js'

const FRAMES_HELP = `
Frames are .jpg and .png files; each sub-folder is a sequence, the frames of one day. Labels are beside them, or in the folder
of --labels, with the same name but .xml (as in the PKLot data set) or .json; or --labels is one JSON file for all of
them. docs/cameras.md has the forms.`

const CALIBRATE_HELP = `${FRAMES_HELP}

Label frames of several days and kinds of weather, with full and with empty bays: some hundred bays are a beginning. A bay
that is seen empty in some frames is judged much better than one that is not.

Examples:
  parkmq camera calibrate --frames frames/ --camera cam-1 --lot LOT-A --out cam-1.json
  parkmq camera calibrate --frames frames/ --labels labels.json --camera cam-1 --lot LOT-A --out cam-1.json
  parkmq camera calibrate --model cam-1.json --bays cam-2-bays.json --camera cam-2 --lot LOT-A --out cam-2.json
      a camera without labelled frames, with what another one has learned
  parkmq camera calibrate --model cam-1.json --frames empty/ --camera cam-2 --lot LOT-A --out cam-2.json
      the same, with frames that show its bays empty`

const EVALUATE_HELP = `${FRAMES_HELP}

Examples:
  parkmq camera evaluate --config cam-1.json --frames new-frames/ --overlay pictures/
  parkmq camera evaluate --leave-one-out --frames frames/
      train on all sequences but one and judge that one, for each: what to expect on a day that was not labelled`

const MAX_SEED = 2 ** 32 - 2

interface CalibrateOptions {
  frames?: string
  labels?: string
  bays?: string
  model?: string
  camera: string
  lot: string
  out: string
  minConfidence?: string
  seed: string
  json?: boolean
}

interface EvaluateOptions {
  config?: string
  frames: string
  labels?: string
  leaveOneOut?: boolean
  overlay?: string
  minConfidence?: string
  seed: string
  json?: boolean
}

export function cameraCommand (): Command {
  return new Command('camera')
    .description('teach a camera its bays, measure how well it sees them, and look at its frames')
    .addCommand(calibrateCommand())
    .addCommand(evaluateCommand())
    .addCommand(cameraProcessCommand())
}

function calibrateCommand (): Command {
  return new Command('calibrate')
    .description('learn from labelled frames, and write a camera\'s configuration')
    .option('--frames <folder>', 'the labelled frames')
    .option('--labels <path>', 'a folder of labels, or one JSON file; default: beside the frames')
    .option('--bays <file>', 'the outlines of the camera\'s bays (.json or .xml); default: those of the frames')
    .option('--model <file>', 'take what this camera\'s configuration has learned, and learn only how the empty bays look')
    .requiredOption('--camera <id>', 'the camera')
    .requiredOption('--lot <id>', 'the lot that it sees')
    .requiredOption('--out <file>', 'the configuration to write')
    .option('--min-confidence <share>', `a bay judged with less confidence is unknown, from 0.5 to 1 (default: ${DEFAULT_MIN_CONFIDENCE})`)
    .option('--seed <n>', 'another seed, another model of about the same worth', '1')
    .option('--json', 'print what was done as JSON, for programs')
    .addHelpText('after', CALIBRATE_HELP)
    .action(calibrate)
}

async function calibrate (options: CalibrateOptions): Promise<void> {
  const naming: Naming = { camera: id(options.camera, '--camera'), lot: id(options.lot, '--lot'), minConfidence: confidence(options.minConfidence) }
  const seed = whole(options.seed, '--seed', 0, MAX_SEED)
  if (options.frames === undefined && options.model === undefined) throw new UsageError('there is nothing to learn from: name labelled frames with --frames, or another camera\'s configuration with --model')
  if (options.frames === undefined && options.bays === undefined) throw new UsageError('without --frames nobody knows where the bays are: name a file of outlines with --bays')
  const model = options.model === undefined ? null : await modelOf(options.model)
  const tell = progress(options.json === true)
  const frames = options.frames === undefined ? [] : await findFrames(options.frames, options.labels)
  const place = await placeOf(frames, options.bays)
  const sightings = await collectSightings(frames, seed, read => tell(`reading frames: ${read} of ${frames.length}`))
  tell(model === null ? `learning from ${sightings.length} bays` : '')
  const config = configOf(place, model ?? trainModel(sightings, seed), sightings, naming)
  tell('')
  await write(options.out, cameraConfigText(config))
  const references = config.bays.filter(bay => bay.model !== undefined).length
  if (options.json) return say(JSON.stringify({ out: options.out, frames: frames.length, labelled: sightings.length, taken: sightings.filter(({ taken }) => taken).length, bays: config.bays.length, references }))
  say(`${options.out}: camera ${naming.camera} of ${naming.lot}, ${config.bays.length} bays, ${references} of them seen empty`)
  if (sightings.length > 0) say(`learned from ${sightings.length} labelled bays in ${frames.length} frames; how well: parkmq camera evaluate --leave-one-out --frames ${options.frames}`)
}

function evaluateCommand (): Command {
  return new Command('evaluate')
    .description('judge labelled frames, and print how often that was right')
    .requiredOption('--frames <folder>', 'the labelled frames')
    .option('--labels <path>', 'a folder of labels, or one JSON file; default: beside the frames')
    .option('--config <file>', 'the camera\'s configuration')
    .option('--leave-one-out', 'instead of a configuration: train on all sequences but one and judge that one, for each')
    .option('--overlay <folder>', 'write a picture of each frame with its bays: green free, red taken, yellow and magenta wrong')
    .option('--min-confidence <share>', 'with --leave-one-out: below it a bay is unknown')
    .option('--seed <n>', 'with --leave-one-out: another seed, another model', '1')
    .option('--json', 'print the figures as JSON, for programs')
    .addHelpText('after', EVALUATE_HELP)
    .action(evaluate)
}

async function evaluate (options: EvaluateOptions): Promise<void> {
  if ((options.config === undefined) !== (options.leaveOneOut === true)) throw new UsageError('either --config FILE or --leave-one-out says who judges; give one of them')
  if (options.config !== undefined && options.minConfidence !== undefined) throw new UsageError(`--min-confidence ${options.minConfidence} is for --leave-one-out; a configuration has its own`)
  const seed = whole(options.seed, '--seed', 0, MAX_SEED)
  const config = options.config === undefined ? null : await readCameraConfig(options.config)
  const minConfidence = config?.minConfidence ?? confidence(options.minConfidence)
  const tell = progress(options.json === true)
  const frames = await findFrames(options.frames, options.labels)
  let judged = 0
  const seen: Seen = async (frame, picture, bays, judgements) => {
    tell(`judging frames: ${++judged} of ${frames.length}`)
    if (options.overlay === undefined) return
    const shown = bays.map(({ polygon, taken }, i) => ({ polygon, truth: taken, judgement: judgements[i] as (typeof judgements)[number] }))
    await write(join(options.overlay, `${frame.name.replace(/\.[^.]*$/, '')}.jpg`), await overlayPicture(picture, shown, minConfidence))
  }
  const found = config !== null ? await judgeFrames(frames, config, seen)
    : await leaveOneOut(frames, await collectSightings(frames, seed, read => tell(`reading frames: ${read} of ${frames.length}`)), seed,
        { camera: 'camera' as Id, lot: 'lot' as Id, minConfidence }, seen, sequence => tell(`learning from all but ${sequence}`))
  tell('')
  say(options.json ? JSON.stringify(evaluationJson(found, minConfidence)) : evaluationText(found, minConfidence))
  if (options.overlay !== undefined && !options.json) say(`\npictures: ${options.overlay}`)
}

async function findFrames (folder: string, labels: string | undefined): Promise<LabelledFrame[]> {
  return await findLabelledFrames(folder, labels ?? folder, name => note(`${name} has no labels: left out`))
}

/** The bays of a file, or of the frames if they all show the same ones. */
async function placeOf (frames: readonly LabelledFrame[], file: string | undefined): Promise<Place> {
  const first = frames[0] && await frames[0].read()
  if (file === undefined) {
    if (!first) throw new UsageError('name the outlines of the bays with --bays')
    const { frame: { width, height }, bays } = first
    for (const other of frames.slice(1)) {
      const { frame, bays: others } = await other.read()
      if (frame.width !== width || frame.height !== height || JSON.stringify(others.map(({ bay, polygon }) => [bay, polygon])) !== JSON.stringify(bays.map(({ bay, polygon }) => [bay, polygon]))) {
        throw new OperatorError('bad_file', `${other.name} shows other bays than ${frames[0]?.name}: say with --bays FILE which are this camera's`)
      }
    }
    return { width, height, bays }
  }
  const { bays, size } = await readBays(file)
  const on = size ?? first?.frame
  if (!on) throw new OperatorError('bad_file', `${file} does not say how large the frame is that the bays are drawn on: add "width" and "height"`)
  const problem = problemOfBays(bays, on.width, on.height)
  if (problem !== null) throw new OperatorError('bad_file', `${file}: ${problem}`)
  return { width: on.width, height: on.height, bays }
}

async function modelOf (file: string): Promise<TreesModel> {
  const config = await readCameraConfig(file)
  if (config.classifier !== 'trees') throw new UsageError(`--model ${file} has the classifier ${config.classifier}; only what "trees" has learned can be taken over`)
  return config.model as TreesModel
}

function confidence (text: string | undefined): number {
  const value = text === undefined ? DEFAULT_MIN_CONFIDENCE : share(text, '--min-confidence')
  if (value < 0.5) throw new UsageError(`--min-confidence ${text} is less than a guess has; write a number from 0.5 to 1, such as ${DEFAULT_MIN_CONFIDENCE}`)
  return value
}

function id (text: string, option: string): Id {
  if (!ID_PATTERN.test(text)) throw new UsageError(`${option} ${JSON.stringify(text)} is no id; ids match [A-Za-z0-9][A-Za-z0-9._-]{0,63}`)
  return text as Id
}

async function write (path: string, content: string | Buffer): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, content)
  } catch (error) {
    throw new OperatorError('bad_file', `cannot write ${path}: ${messageOf(error)}`, { cause: error })
  }
}

function say (text: string): void {
  process.stdout.write(`${text}\n`)
}

function note (text: string): void {
  process.stderr.write(`parkmq: ${text}\n`)
}
