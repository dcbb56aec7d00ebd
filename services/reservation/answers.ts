// What goes into replies: reservations and lots as callers see them.
import type { Refusal } from '../../shared/errors.js'
import { freePlaces, occupiedPlaces, type Lot } from '../../shared/lot.js'
import type { Reservation } from '../../shared/reservation.js'

/** A reply without its address: JSON of `Reply`. */
export type Answer = { readonly ok: true, readonly result: unknown } | { readonly ok: false, readonly error: Refusal }

export function answered (result: unknown): Answer {
  return { ok: true, result }
}

export function refusedAnswer (refusal: Refusal): Answer {
  return { ok: false, error: refusal }
}

/** A reservation for its owner or an operator; times are ISO 8601. The secret is never part of it. */
export function reservationAnswer (reservation: Reservation): Record<string, unknown> {
  return {
    reservation: reservation.id,
    lot: reservation.lot,
    plate: reservation.plate,
    status: reservation.status,
    from: new Date(reservation.fromMs).toISOString(),
    until: new Date(reservation.toMs).toISOString()
  }
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
    quality: lot.quality,
    version: lot.version,
    at: new Date(lot.changedAtMs).toISOString()
  }
}

/** A lot as `availability` tells it. */
export function availabilityAnswer (lot: Lot): Record<string, unknown> {
  return { lot: lot.id, name: lot.name, free: freePlaces(lot), capacity: lot.capacity, open: lot.open, quality: lot.quality }
}
