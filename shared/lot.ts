// The lot: the row of the ledger that occupancy and reservation meet on, and the arithmetic that both must agree on.
// Pure: no time, no I/O. The rules are those of docs/guarantees.md.
import type { Writable } from './writable.js'

/** A name that may stand in a topic: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`. Made only by the schemas of `schemas.ts`. */
export type Id = string & { readonly __brand: 'Id' }

/** Who counts the cars of a lot: its sensors, or the `arrive` and `depart` requests (a lot without sensors). */
export type Counting = 'sensors' | 'requests'

/** How far a lot's count can be trusted. */
export type Quality = 'live' | 'stale' | 'suspect' | 'unknown'

export type BayState = 'free' | 'taken' | 'unknown'

/** Who said something of a lot's count, and when. */
export interface Source {
  /** Null for a bare delta, an operator, and a request that counts. */
  readonly sensor: Id | null
  readonly said: 'delta' | 'recount' | 'bays'
  readonly atMs: number
}

/** One lot as the ledger holds it. All times are milliseconds since 1970 by the ledger's clock. */
export interface Lot {
  readonly id: Id
  readonly name: string
  /** Places in all. */
  readonly capacity: number
  /** Places that are never given to newcomers. */
  readonly buffer: number
  /** Cars in the lot by its sensors. Never clamped: it may be negative or above the capacity. */
  readonly counted: number
  /** Places kept for reservations whose window covers now and whose car has not come. */
  readonly held: number
  /** Reservations whose driver said `arrive` and whose car no sensor has counted yet; they are among `held`. */
  readonly arriving: number
  readonly open: boolean
  readonly counting: Counting
  /** Whether the lot's listed bays are all its places, so that bays alone give the count. */
  readonly baysCover: boolean
  /** Whether a message is known to be missing since the last recount. */
  readonly suspect: boolean
  /** When there was last a word on this lot: of a sensor, of a recount, or of arrive and depart where requests count; null before any. */
  readonly heardAtMs: number | null
  /** Who last set the count: by a recount, or by bays that cover the lot; null before any. */
  readonly absolute: Source | null
  /** Who last corrected it by cars in and out; null before any. */
  readonly corrected: Source | null
  /** Bays whose last word has lapsed because its source fell silent: nobody vouches for them. */
  readonly lapsedBays: number
  /** The quality as last published. */
  readonly quality: Quality
  /** Grows by one with every committed change. */
  readonly version: number
  readonly changedAtMs: number
  /** When the next reservation of this lot is due for a transition by time; null when none is. */
  readonly dueAtMs: number | null
  /** Reservations on its waiting list. */
  readonly waiting: number
  /** Grows with every change of the windows that its reservations have (shared/windows.ts). */
  readonly windowsVersion: number
  /** IANA name; its calendar and wall clock. */
  readonly timeZone: string
  /** Name of its tariff in the settings. */
  readonly tariff: Id
}

/** A copy to be changed, which every message and request makes: not spread, for the reason in docs/decisions/018. */
export function copyOf (lot: Lot): Writable<Lot> {
  return {
    id: lot.id,
    name: lot.name,
    capacity: lot.capacity,
    buffer: lot.buffer,
    counted: lot.counted,
    held: lot.held,
    arriving: lot.arriving,
    open: lot.open,
    counting: lot.counting,
    baysCover: lot.baysCover,
    suspect: lot.suspect,
    heardAtMs: lot.heardAtMs,
    absolute: lot.absolute,
    corrected: lot.corrected,
    lapsedBays: lot.lapsedBays,
    quality: lot.quality,
    version: lot.version,
    changedAtMs: lot.changedAtMs,
    dueAtMs: lot.dueAtMs,
    waiting: lot.waiting,
    windowsVersion: lot.windowsVersion,
    timeZone: lot.timeZone,
    tariff: lot.tariff
  }
}

/** Places taken by cars: the count clamped to 0..capacity. Only what is published is clamped, never the count itself. */
export function occupiedPlaces (lot: Pick<Lot, 'capacity' | 'counted'>): number {
  return Math.min(Math.max(lot.counted, 0), lot.capacity)
}

/** Places that a newcomer may take now; 0 for a closed lot. */
export function freePlaces (lot: Pick<Lot, 'capacity' | 'buffer' | 'counted' | 'held' | 'open'>): number {
  return lot.open ? Math.max(0, placesLeft(lot)) : 0
}

/** Places that are neither taken, nor held, nor the buffer's: below 0 when more are promised than are there. */
export function placesLeft (lot: Pick<Lot, 'capacity' | 'buffer' | 'counted' | 'held'>): number {
  return lot.capacity - lot.buffer - occupiedPlaces(lot) - lot.held
}

/**
 * The quality of a lot's count at `nowMs`. The first that holds: never heard is `unknown`, no word for `staleAfterMs`,
 * or bays that nobody vouches for and nobody else counts, is `stale`, a known loss since the last recount is `suspect`,
 * otherwise `live`.
 */
export function qualityAt (lot: Pick<Lot, 'heardAtMs' | 'suspect' | 'lapsedBays' | 'absolute' | 'corrected'>, nowMs: number, staleAfterMs: number): Quality {
  if (lot.heardAtMs === null) return 'unknown'
  if (nowMs - lot.heardAtMs >= staleAfterMs) return 'stale'
  if (lot.lapsedBays > 0 && !isCountedBesides(lot, nowMs, staleAfterMs)) return 'stale'
  return lot.suspect ? 'suspect' : 'live'
}

/**
 * Whether somebody else than its bays counts the cars of a lot: a gate, a request or a recount has said a word that is
 * not older than `staleAfterMs`.
 */
export function isCountedBesides ({ absolute, corrected }: Pick<Lot, 'absolute' | 'corrected'>, nowMs: number, staleAfterMs: number): boolean {
  const recountedAtMs = absolute?.said === 'recount' ? absolute.atMs : -Infinity
  return nowMs - Math.max(recountedAtMs, corrected?.atMs ?? -Infinity) < staleAfterMs
}

/** Who said what of a lot last, the newest first: at most the last word on its count, and the last correction. */
export function sourcesOf ({ absolute, corrected }: Pick<Lot, 'absolute' | 'corrected'>): Source[] {
  return [absolute, corrected].filter(source => source !== null).sort((a, b) => b.atMs - a.atMs)
}
