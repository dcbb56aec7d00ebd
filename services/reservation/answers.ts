// What goes into replies: lots as callers see them. Reservations are shown by shared/reservation.ts.
import type { Refusal } from '../../shared/errors.js'
import { freePlaces, occupiedPlaces, type Lot } from '../../shared/lot.js'

/** A reply without its address: JSON of `Reply`. */
export type Answer = { readonly ok: true, readonly result: unknown } | { readonly ok: false, readonly error: Refusal }

export function answered (result: unknown): Answer {
  return { ok: true, result }
}

export function refusedAnswer (refusal: Refusal): Answer {
  return { ok: false, error: refusal }
}

/** A lot as `lots` lists it. */
export function lotAnswer (lot: Lot): Record<string, unknown> {
  return {
    lot: lot.id,
    name: lot.name,
    capacity: lot.capacity,
    buffer: lot.buffer,
    occupied: occupiedPlaces(lot),
    counted: lot.counted,
    held: lot.held,
    free: freePlaces(lot),
    open: lot.open,
    counting: lot.counting,
    baysCover: lot.baysCover,
    timeZone: lot.timeZone,
    tariff: lot.tariff,
    waiting: lot.waiting,
    quality: lot.quality,
    version: lot.version,
    at: new Date(lot.changedAtMs).toISOString()
  }
}

/** A lot as `availability` tells it. */
export function availabilityAnswer (lot: Lot): Record<string, unknown> {
  return { lot: lot.id, name: lot.name, free: freePlaces(lot), capacity: lot.capacity, open: lot.open, quality: lot.quality }
}
