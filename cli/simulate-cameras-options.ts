// The options of `simulate cameras`: from text to checked settings. Every error names the option, its value and the fix.
import { WEATHERS, type Weather } from '../services/camera-sim/render.js'
import type { Id } from '../shared/lot.js'
import { ID_PATTERN } from '../shared/topics.js'
import { UsageError, type ClientOptions } from './client.js'
import { duration, whole } from './simulate-options.js'

export interface SimulateCamerasOptions extends ClientOptions {
  cameras?: string
  names?: string
  lots?: string
  every?: string
  count?: string
  bays?: string
  size?: string
  weather?: string
  seed?: string
  frames?: string
  epoch?: string
  createLots?: boolean
  verify?: boolean
  write?: string
  quiet?: boolean
}

export interface CameraSettings {
  readonly cameras: readonly { readonly camera: Id, readonly lot: Id }[]
  /** Whether several cameras may see one lot, so that bays are called after their camera. */
  readonly sharesLots: boolean
  readonly everyMs: number
  /** Frames of each camera; `Infinity` for as many as there are. */
  readonly count: number
  readonly bays: number
  readonly width: number
  readonly height: number
  readonly weather: Weather
  readonly seed: number
  readonly frames: string | null
  readonly epoch: number
  readonly write: string | null
}

export const CAMERA_DEFAULTS = { cameras: '4', every: '10s', bays: '40', size: '1280x720', weather: 'clear', seed: '1', written: '20' } as const

const MAX_CAMERAS = 200
const MAX_BAYS = 400
const MAX_COUNT = 1_000_000
const LEAST_EVERY_MS = 20
const [LEAST_SIDE, MOST_SIDE] = [160, 4_096]

/** Throws `UsageError`. `nowMs` is the default epoch, so that a later run is no duplicate of this one. */
export function readCameraSettings (options: SimulateCamerasOptions, nowMs: number): CameraSettings {
  const names = namesOf(options)
  const lots = options.lots === undefined ? null : ids(options.lots, '--lots')
  const everyMs = duration(options.every ?? CAMERA_DEFAULTS.every, '--every')
  if (everyMs < LEAST_EVERY_MS) throw new UsageError(`--every ${options.every} is too often; write at least ${LEAST_EVERY_MS}ms`)
  const { width, height } = sizeOf(options.size ?? CAMERA_DEFAULTS.size)
  const weather = WEATHERS.find(one => one === (options.weather ?? CAMERA_DEFAULTS.weather))
  if (weather === undefined) throw new UsageError(`--weather ${options.weather} is not known; write ${WEATHERS.join(', ')}`)
  if (options.write !== undefined && (options.verify || options.createLots)) throw new UsageError(`--write ${options.write} sends nothing: leave --verify and --create-lots out`)
  const count = options.count ?? (options.write === undefined ? undefined : CAMERA_DEFAULTS.written)
  return {
    cameras: names.map((camera, at) => ({ camera, lot: lots?.[at % lots.length] ?? camera.toUpperCase() as Id })),
    sharesLots: lots !== null,
    everyMs,
    count: count === undefined ? Infinity : whole(count, '--count', 1, MAX_COUNT),
    bays: whole(options.bays ?? CAMERA_DEFAULTS.bays, '--bays', 1, MAX_BAYS),
    width, height, weather,
    seed: whole(options.seed ?? CAMERA_DEFAULTS.seed, '--seed', 0, 2 ** 32 - 1),
    frames: options.frames ?? null,
    epoch: options.epoch === undefined ? nowMs : whole(options.epoch, '--epoch', 0, Number.MAX_SAFE_INTEGER),
    write: options.write ?? null
  }
}

function namesOf ({ names, cameras, user }: SimulateCamerasOptions): Id[] {
  if (names !== undefined && cameras !== undefined) throw new UsageError('--names and --cameras exclude each other; leave one of them out')
  if (names !== undefined) return ids(names, '--names')
  if (user !== undefined && cameras === undefined) return ids(user, '--user')
  return Array.from({ length: whole(cameras ?? CAMERA_DEFAULTS.cameras, '--cameras', 1, MAX_CAMERAS) }, (_, n) => `cam-${n + 1}` as Id)
}

function ids (text: string, option: string): Id[] {
  const names = text.split(',').map(name => name.trim())
  for (const name of names) {
    if (!ID_PATTERN.test(name)) throw new UsageError(`${option}: ${JSON.stringify(name)} is not an id; ids match [A-Za-z0-9][A-Za-z0-9._-]{0,63} and are separated by commas`)
  }
  if (new Set(names).size < names.length) throw new UsageError(`${option} ${text} names one twice`)
  return names as Id[]
}

function sizeOf (text: string): { width: number, height: number } {
  const [, width, height] = /^(\d{3,4})x(\d{3,4})$/.exec(text) ?? []
  if (width === undefined || height === undefined) throw new UsageError(`--size ${text} is not a size; write for instance 1280x720`)
  return { width: whole(width, '--size', LEAST_SIDE, MOST_SIDE), height: whole(height, '--size', LEAST_SIDE, MOST_SIDE) }
}
