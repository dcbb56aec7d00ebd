// What a run will send, and from which counts it starts: made from the choices of the caller, the recording, and what the
// service says of its lots. Nothing is sent to a lot here; lots are made when the caller asks for it.
import { OperatorError } from '../../shared/errors.js'
import type { Id } from '../../shared/lot.js'
import { askLots, chooseLots, createLots, type Asking } from './lots.js'
import type { Reading } from './messages.js'
import { replay, type RecordedLot, type Recording } from './replay.js'
import { traffic, type TrafficOptions } from './traffic.js'

/** The part of `SimulationParts` that a plan decides. */
export interface Plan {
  readonly readings: Iterable<Reading>
  readonly startAt: ReadonlyMap<Id, number>
  readonly recountBefore: readonly Id[]
  readonly recountAfter: readonly Id[]
  /** Names and ids of the lots. */
  readonly lots: readonly { readonly id: Id, readonly name: string }[]
}

export interface TrafficChoices extends Omit<TrafficOptions, 'lots'> {
  /** Default: all lots of the service. */
  readonly lots?: readonly Id[] | undefined
  /** Whether the lots are set to the true count at the end. */
  readonly recount: boolean
}

/** Synthetic traffic on lots of the service, from what they count now. Throws `OperatorError` as `askLots` and `chooseLots` do. */
export async function planTraffic (asking: Asking, choices: TrafficChoices): Promise<Plan> {
  const chosen = chooseLots(await askLots(asking), choices.lots)
  if (chosen.every(lot => lot.capacity === 0)) throw new OperatorError('no_places', `there is no traffic on lots without places: ${chosen.map(lot => lot.lot).slice(0, 20).join(', ')}; choose others with --lots`)
  return {
    readings: traffic({ ...choices, lots: chosen.map(({ lot, capacity, counted }) => ({ id: lot, capacity, counted })) }),
    startAt: new Map(chosen.map(lot => [lot.lot, lot.counted])),
    recountBefore: [],
    recountAfter: choices.recount ? chosen.map(lot => lot.lot) : [],
    lots: chosen.map(({ lot, name }) => ({ id: lot, name }))
  }
}

/** Synthetic traffic without a service to ask: every lot has `capacity` places and is taken to be empty. */
export function planBlindTraffic (lots: readonly Id[], capacity: number, choices: Omit<TrafficOptions, 'lots'>): Plan {
  return {
    readings: traffic({ ...choices, lots: lots.map(id => ({ id, capacity, counted: 0 })) }),
    startAt: new Map(),
    recountBefore: [],
    recountAfter: [],
    lots: lots.map(id => ({ id, name: id }))
  }
}

export interface ReplayChoices {
  /** Ids of the recording's lots; default all. */
  readonly lots?: readonly Id[] | undefined
  /** Simulated seconds a real second; `Infinity` sends as fast as it is acknowledged. */
  readonly speed: number
  readonly seed: number
  readonly createLots: boolean
  /** For created lots whose rows have no capacity. */
  readonly capacity?: number | undefined
  /** `after` sets every lot to its last sample at the end; `only` sends nothing else. */
  readonly recount: 'no' | 'after' | 'only'
}

/**
 * A replay of `recording`. Lots that are not made here begin with a recount to their first sample, so that the start is
 * known. `asking` is used only to make lots. Throws `OperatorError` (`unknown_lot`, `bad_file`, or the service's code).
 */
export async function planReplay (asking: Asking, recording: Recording, choices: ReplayChoices): Promise<Plan> {
  const lots = chooseRecorded(recording.lots, choices.lots)
  const made = choices.createLots ? await createLots(asking, lots, choices.capacity) : new Map<Id, number>()
  const ids = lots.map(lot => lot.id)
  if (choices.recount === 'only') {
    return { readings: [], startAt: new Map(lots.map(lot => [lot.id, lot.samples.at(-1)?.occupied ?? 0])), recountBefore: [], recountAfter: ids, lots }
  }
  const startAt = new Map(lots.map(({ id, samples }) => [id, made.get(id) ?? samples[0]?.occupied ?? 0]))
  return {
    readings: replay(lots, { speed: choices.speed, seed: choices.seed, startAt }),
    startAt,
    recountBefore: ids.filter(id => !made.has(id)),
    recountAfter: choices.recount === 'after' ? ids : [],
    lots
  }
}

function chooseRecorded (lots: readonly RecordedLot[], names: readonly Id[] | undefined): readonly RecordedLot[] {
  if (names === undefined) return lots
  return names.map(name => {
    const lot = lots.find(({ id }) => id === name)
    if (!lot) throw new OperatorError('unknown_lot', `the file has no lot ${name}; it has ${lots.map(({ id }) => id).slice(0, 20).join(', ')}`)
    return lot
  })
}
