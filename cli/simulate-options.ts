// The options of `simulate`: from text to checked settings. Every error names the option, its value and the fix.
import type { Id } from '../shared/lot.js'
import { MAX_CAPACITY } from '../shared/schemas.js'
import { ID_PATTERN } from '../shared/topics.js'
import { DEFAULT_COLUMNS, type Columns } from '../services/sensor-sim/replay.js'
import type { FaultOptions } from '../services/sensor-sim/faults.js'
import type { SenderOptions } from '../services/sensor-sim/sender.js'
import { UsageError, wholeNumber, type ClientOptions } from './client.js'

/** As commander gives them: text, or true for a flag. */
export interface SimulateOptions extends ClientOptions {
  lots?: string
  rate?: string
  duration?: string
  gates?: string
  start?: string
  capacity?: string
  speed?: string
  seed?: string
  epoch?: string
  replay?: string
  columns?: string
  createLots?: boolean
  recount?: boolean
  recountOnly?: boolean
  verify?: boolean
  duplicate?: string
  lose?: string
  reorder?: string
  restartEvery?: string
  window?: string
  giveUp?: string
  quiet?: boolean
}

export interface TrafficSettings {
  readonly type: 'traffic'
  readonly lots: readonly Id[] | undefined
  /** Set: the service is not asked. */
  readonly capacity: number | undefined
  readonly rate: number
  readonly durationMs: number
  readonly gates: number
  readonly speed: number
  readonly startMs: number
  readonly recount: boolean
}

export interface ReplaySettings {
  readonly type: 'replay'
  readonly file: string
  readonly columns: Columns
  readonly lots: readonly Id[] | undefined
  readonly capacity: number | undefined
  readonly speed: number
  readonly createLots: boolean
  readonly recount: 'no' | 'after' | 'only'
}

export interface SimulateSettings {
  readonly source: TrafficSettings | ReplaySettings
  readonly faults: FaultOptions
  readonly sending: SenderOptions
  readonly verify: boolean
}

export const DEFAULTS = { rate: '10', duration: '60s', gates: '1', speed: '600', seed: '1', window: '64', giveUp: '30s', start: '2026-11-23T06:00:00Z' } as const

const MAX_RATE = 1_000_000
const MAX_SPEED = 100_000
const MAX_GATES = 1_000
const MAX_WINDOW = 10_000
const MIN_RESTART_EVERY = 10
const MAX_SEED = 2 ** 32 - 1
const LONGEST_MS = 366 * 24 * 3_600_000

const ONLY_TRAFFIC = { rate: '--rate', duration: '--duration', gates: '--gates', start: '--start' } as const
const ONLY_REPLAY = { columns: '--columns', createLots: '--create-lots', recountOnly: '--recount-only' } as const

/** Throws `UsageError`. `nowMs` is the default epoch, so that a later run of the same seed is no duplicate of this one. */
export function readSettings (options: SimulateOptions, nowMs: number): SimulateSettings {
  const isReplay = options.replay !== undefined
  refuseOthers(options, isReplay ? ONLY_TRAFFIC : ONLY_REPLAY, isReplay ? 'has no meaning with --replay; leave it out' : 'is for --replay FILE; name the file or leave it out')
  const seed = whole(options.seed ?? DEFAULTS.seed, '--seed', 0, MAX_SEED)
  const restartEvery = options.restartEvery === undefined ? 0 : whole(options.restartEvery, '--restart-every', 0, MAX_CAPACITY)
  if (restartEvery > 0 && restartEvery < MIN_RESTART_EVERY) {
    throw new UsageError(`--restart-every ${restartEvery} is too often: epochs would run ahead of the clock; write 0 for never, or at least ${MIN_RESTART_EVERY} messages`)
  }
  return {
    source: options.replay === undefined ? trafficSettings(options) : replaySettings(options, options.replay),
    faults: {
      seed,
      epoch: options.epoch === undefined ? nowMs : whole(options.epoch, '--epoch', 0, Number.MAX_SAFE_INTEGER),
      restartEvery,
      duplicate: share(options.duplicate, '--duplicate'),
      lose: share(options.lose, '--lose'),
      reorder: share(options.reorder, '--reorder')
    },
    sending: { window: whole(options.window ?? DEFAULTS.window, '--window', 1, MAX_WINDOW), giveUpMs: Math.max(1_000, duration(options.giveUp ?? DEFAULTS.giveUp, '--give-up')) },
    verify: options.verify ?? false
  }
}

function trafficSettings (options: SimulateOptions): TrafficSettings {
  if (isMax(options.speed)) throw new UsageError(`--speed ${options.speed} is for --replay; for synthetic traffic as fast as it is acknowledged write --rate 0`)
  const lots = options.lots === undefined ? undefined : ids(options.lots)
  const capacity = places(options.capacity, 1)
  if (capacity !== undefined && lots === undefined) throw new UsageError(`--capacity ${capacity} means that the service is not asked for its lots: name them with --lots LOT-A,LOT-B`)
  for (const flag of ['verify', 'recount'] as const) {
    if (capacity !== undefined && options[flag]) throw new UsageError(`--${flag} needs the counts of the service, and --capacity means that it is not asked: leave one of them out`)
  }
  const durationMs = duration(options.duration ?? DEFAULTS.duration, '--duration')
  return {
    type: 'traffic',
    lots,
    capacity,
    rate: number(options.rate ?? DEFAULTS.rate, '--rate', 0, MAX_RATE, 'messages a second; 0 is as fast as they are acknowledged'),
    durationMs: durationMs === 0 ? Infinity : durationMs,
    gates: whole(options.gates ?? DEFAULTS.gates, '--gates', 1, MAX_GATES),
    speed: number(options.speed ?? DEFAULTS.speed, '--speed', 0.001, MAX_SPEED, 'simulated seconds a second'),
    startMs: startTime(options.start ?? DEFAULTS.start),
    recount: options.recount ?? false
  }
}

function replaySettings (options: SimulateOptions, file: string): ReplaySettings {
  if (options.recount && options.recountOnly) throw new UsageError('--recount and --recount-only exclude each other; --recount-only sends no deltas')
  return {
    type: 'replay',
    file,
    columns: options.columns === undefined ? DEFAULT_COLUMNS : columns(options.columns),
    lots: options.lots === undefined ? undefined : ids(options.lots),
    capacity: places(options.capacity, 0),
    speed: isMax(options.speed) ? Infinity : number(options.speed ?? DEFAULTS.speed, '--speed', 0.001, MAX_SPEED, 'simulated seconds a second, or max'),
    createLots: options.createLots ?? false,
    recount: options.recountOnly ? 'only' : options.recount ? 'after' : 'no'
  }
}

function refuseOthers (options: SimulateOptions, others: Partial<Record<keyof SimulateOptions, string>>, why: string): void {
  for (const [key, flag] of Object.entries(others)) {
    const value = options[key as keyof SimulateOptions]
    if (value !== undefined) throw new UsageError(`${flag}${typeof value === 'string' ? ` ${value}` : ''} ${why}`)
  }
}

function isMax (speed: string | undefined): boolean {
  return speed === 'max' || speed === '0'
}

/** Milliseconds of `500ms`, `30s`, `5m` or `2h`; a bare number is seconds. */
export function duration (text: string, option: string): number {
  const match = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h)?$/.exec(text)
  const ms = match ? Math.round(Number(match[1]) * { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }[(match[2] ?? 's') as 'ms' | 's' | 'm' | 'h']) : NaN
  if (!(ms <= LONGEST_MS)) throw new UsageError(`${option} ${text} is not a time up to a year; write 500ms, 30s, 5m or 2h`)
  return ms
}

export function whole (text: string, option: string, least: number, most: number): number {
  const value = wholeNumber(text, option)
  if (value < least || value > most) throw new UsageError(`${option} ${text} is out of range; write a whole number from ${least} to ${most}`)
  return value
}

function number (text: string, option: string, least: number, most: number, what: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : NaN
  if (!(value >= least && value <= most)) throw new UsageError(`${option} ${text} is not a number from ${least} to ${most} (${what})`)
  return value
}

export function share (text: string | undefined, option: string): number {
  const value = text === undefined ? 0 : /^(\d+(\.\d*)?|\.\d+)$/.test(text) ? Number(text) : NaN
  if (!(value <= 1)) throw new UsageError(`${option} ${text} is not a share of the messages; write a number from 0 to 1, such as 0.05 for 5 %`)
  return value
}

function places (text: string | undefined, least: number): number | undefined {
  return text === undefined ? undefined : whole(text, '--capacity', least, MAX_CAPACITY)
}

function ids (text: string): Id[] {
  const names = text.split(',').map(name => name.trim())
  for (const name of names) {
    if (!ID_PATTERN.test(name)) throw new UsageError(`--lots: ${JSON.stringify(name)} is not a lot id; ids match [A-Za-z0-9][A-Za-z0-9._-]{0,63} and are separated by commas`)
  }
  if (new Set(names).size < names.length) throw new UsageError(`--lots ${text} names a lot twice`)
  return names as Id[]
}

function columns (text: string): Columns {
  const given: Record<string, string> = {}
  for (const part of text.split(',')) {
    const at = part.indexOf('=')
    const [key, header] = [part.slice(0, at).trim(), part.slice(at + 1).trim()]
    if (at < 0 || header === '' || !Object.hasOwn(DEFAULT_COLUMNS, key)) throw new UsageError(`--columns: ${JSON.stringify(part)} is not one of name=HEADER, capacity=HEADER, occupancy=HEADER, time=HEADER`)
    given[key] = header
  }
  return { ...DEFAULT_COLUMNS, ...given }
}

function startTime (text: string): number {
  const ms = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(/T\d{2}:\d{2}(:\d{2})?$/.test(text) ? `${text}Z` : text) : NaN
  if (!(ms >= 0)) throw new UsageError(`--start ${text} is not a time since 1970; write for instance 2026-11-28T09:00 (read as UTC)`)
  return ms
}
