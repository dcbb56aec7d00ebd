// Synthetic traffic: cars that come in the morning and leave in the evening, fewer at weekends. Pure and the same for the
// same seed. An inhomogeneous Poisson process gives the times; whether a car comes or leaves follows how full the lot
// should be at that hour. A lot is never driven below 0 or above its capacity.
import type { Id } from '../../shared/lot.js'
import { sensorName, type Reading } from './messages.js'
import { createRandom } from '../../shared/random.js'

export interface TrafficLot {
  readonly id: Id
  /** Places. */
  readonly capacity: number
  /** Cars in it at the start. */
  readonly counted: number
}

export interface TrafficOptions {
  /** At least one with a capacity above 0. */
  readonly lots: readonly TrafficLot[]
  /** Gates of each lot. */
  readonly gates: number
  /**
   * Messages a real second in all, as the mean of the run: the rush hours have more, the nights fewer. 0: all are due at
   * once and there is no end, and the simulated time passes as if the rate were 1,000.
   */
  readonly rate: number
  /** Real length of the run in milliseconds; `Infinity` never ends. Without meaning for a rate of 0. */
  readonly durationMs: number
  /** Simulated seconds a real second. Above 0. */
  readonly speed: number
  readonly seed: number
  /** The simulated time at the start: milliseconds since 1970, read as UTC. */
  readonly startMs: number
}

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const WEEK_MS = 7 * DAY_MS

/** Share of the places taken at each full hour. A commuters' car park: full before noon, empty at night. */
const WEEKDAY = [0.06, 0.05, 0.05, 0.05, 0.06, 0.10, 0.22, 0.45, 0.70, 0.82, 0.88, 0.90, 0.88, 0.88, 0.87, 0.83, 0.72, 0.52, 0.35, 0.25, 0.18, 0.13, 0.10, 0.08]
const WEEKEND = [0.05, 0.05, 0.04, 0.04, 0.04, 0.05, 0.06, 0.08, 0.12, 0.20, 0.30, 0.38, 0.43, 0.46, 0.45, 0.41, 0.34, 0.26, 0.20, 0.16, 0.13, 0.10, 0.08, 0.06]

/** Nobody's day begins at the same minute: a lot is ahead of or behind the table by up to this. */
const LARGEST_SHIFT_MS = 45 * 60_000

/** Share of the places that are usually taken at this simulated time (UTC), 0 to 1. */
export function usualFill (atMs: number): number {
  const hour = Math.floor(atMs / HOUR_MS)
  const share = atMs / HOUR_MS - hour
  return fillAtHour(hour) * (1 - share) + fillAtHour(hour + 1) * share
}

function fillAtHour (hourSince1970: number): number {
  const day = new Date(hourSince1970 * HOUR_MS).getUTCDay()
  const table = day === 0 || day === 6 ? WEEKEND : WEEKDAY
  return table[(hourSince1970 % 24 + 24) % 24] ?? 0
}

/** How much traffic there is at this simulated time, in no unit: much while lots fill and empty, some while they are full. */
export function busyness (atMs: number): number {
  const change = Math.abs(usualFill(atMs + HOUR_MS / 2) - usualFill(atMs - HOUR_MS / 2))
  return 0.01 + 0.1 * usualFill(atMs) + change
}

/** Messages a second that the simulated time follows when they are sent as fast as they are acknowledged. */
const UNPACED_RATE = 1_000

interface Line extends TrafficLot { cars: number, readonly shiftMs: number, readonly firstGate: number }

/** Yields what the gates see, by time. */
export function* traffic ({ lots, gates, rate, durationMs, speed, seed, startMs }: TrafficOptions): Generator<Reading> {
  const random = createRandom(seed, 'traffic')
  const lines: Line[] = lots.map((lot, i) => ({ ...lot, cars: lot.counted, shiftMs: random.int(-LARGEST_SHIFT_MS, LARGEST_SHIFT_MS), firstGate: i * gates + 1 }))
  const pick = createPick(lines)
  const isPaced = rate > 0
  const endMs = isPaced ? durationMs : Infinity
  const { mean, most } = levels(startMs, Math.min(endMs * speed, WEEK_MS))
  // Thinning (Lewis and Shedler 1979): candidates come at the rate of the busiest hour and are kept by how busy it is.
  const candidatesPerMs = (isPaced ? rate : UNPACED_RATE) / 1_000 * most / mean
  for (let passedMs = random.exponential(candidatesPerMs); passedMs < endMs; passedMs += random.exponential(candidatesPerMs)) {
    const atMs = Math.floor(startMs + passedMs * speed)
    if (random.next() * most >= busyness(atMs)) continue
    const line = pick(random.next())
    const delta = random.next() < arrivalShare(line, atMs) ? 1 : -1
    line.cars += delta
    const gate = sensorName(seed, 'gate', line.firstGate + random.int(0, gates - 1))
    yield { lot: line.id, sensor: gate, delta, atMs, dueMs: isPaced ? passedMs : 0 }
  }
}

/** The chance that the next car comes in rather than leaves. */
function arrivalShare ({ cars, capacity, shiftMs }: Line, atMs: number): number {
  if (cars <= 0) return 1
  if (cars >= capacity) return 0
  const missing = usualFill(atMs + shiftMs) * capacity - cars
  // At 5 % of the capacity away from the usual, about nine in ten cars go the way that closes the difference.
  return 0.5 + 0.5 * Math.tanh(missing / Math.max(1, 0.05 * capacity))
}

/** Chooses a lot by its share of all places, from a number in [0, 1). Throws when there is no place at all. */
function createPick (lines: readonly Line[]): (share: number) => Line {
  const upTo: number[] = []
  let places = 0
  for (const { capacity } of lines) upTo.push(places += capacity)
  if (places === 0) throw new RangeError('synthetic traffic needs a lot with a capacity above 0')
  return share => {
    const place = share * places
    let low = 0
    let high = upTo.length - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((upTo[middle] ?? 0) > place) high = middle
      else low = middle + 1
    }
    return lines[low] as Line
  }
}

/** The mean over the simulated time of the run, and an upper bound of any hour. */
function levels (startMs: number, lengthMs: number): { mean: number, most: number } {
  const steps = Math.min(Math.max(Math.ceil(lengthMs / 60_000), 1), WEEK_MS / 60_000)
  let sum = 0
  for (let i = 0; i < steps; i++) sum += busyness(startMs + (i + 0.5) / steps * lengthMs)
  let most = 0
  // The tables are straight between full hours, and the change over an hour is straight between half hours.
  for (let atMs = 0; atMs < WEEK_MS; atMs += HOUR_MS / 2) most = Math.max(most, busyness(atMs))
  return { mean: sum / steps, most }
}
