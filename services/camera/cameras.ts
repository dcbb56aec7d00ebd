// The cameras of a processor: every configuration in its folder.
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf, OperatorError } from '../../shared/errors.js'
import type { Id } from '../../shared/lot.js'
import { readCameraConfig } from './camera-config.js'

/** More are not looked at by one process. */
const MAX_CAMERAS = 1_000
const DEFAULT_INTERVAL_SECONDS = 10
const DEFAULT_KEEP_SECONDS = 30

/** What the service needs to know of a camera; those that look at its frames read the rest from the file. */
export interface Camera {
  readonly camera: Id
  readonly lot: Id
  readonly file: string
  /** Between two frames; three of them without a frame are silence. */
  readonly intervalMs: number
  readonly minConfidence: number
  /** How long a bay stays as it was while frames are not sure of it. */
  readonly keepMs: number
}

/** Reads every `*.json` of the folder. Throws `OperatorError` (`bad_config`) that names the file and what is wrong with it. */
export async function readCameras (folder: string): Promise<Camera[]> {
  let names: string[]
  try {
    names = (await readdir(folder)).filter(name => name.endsWith('.json')).sort()
  } catch (error) {
    throw new OperatorError('bad_config', `cannot read the folder of cameras ${folder}: ${messageOf(error)}`, { cause: error })
  }
  if (names.length === 0) throw new OperatorError('bad_config', `the folder of cameras ${folder} has no configuration (*.json); make one with \`parkmq camera calibrate\``)
  if (names.length > MAX_CAMERAS) throw new OperatorError('bad_config', `the folder of cameras ${folder} has ${names.length} configurations; a process takes ${MAX_CAMERAS}`)
  const cameras = new Map<Id, Camera>()
  for (const name of names) {
    const file = join(folder, name)
    const { camera, lot, minConfidence, intervalSeconds = DEFAULT_INTERVAL_SECONDS, keepSeconds = DEFAULT_KEEP_SECONDS } = await readCameraConfig(file)
    const other = cameras.get(camera)
    if (other !== undefined) throw new OperatorError('bad_config', `${other.file} and ${file} are both of the camera ${camera}; give one another name`)
    cameras.set(camera, { camera, lot, file, minConfidence, intervalMs: intervalSeconds * 1_000, keepMs: keepSeconds * 1_000 })
  }
  return [...cameras.values()]
}
