// From rows to the words of the domain and back.
import type { Lot, Source } from '../shared/lot.js'
import type { Reservation } from '../shared/reservation.js'
import type { LotsTable, ReservationsTable } from './tables.js'

export function lotOf (row: LotsTable): Lot {
  return {
    id: row.id,
    name: row.name,
    capacity: row.capacity,
    buffer: row.buffer,
    counted: row.counted,
    held: row.held,
    arriving: row.arriving,
    open: row.is_open === 1,
    counting: row.counting,
    baysCover: row.bays_cover === 1,
    suspect: row.suspect === 1,
    heardAtMs: row.heard_at_ms,
    absolute: sourceOf(row.absolute_sensor, row.absolute_said, row.absolute_at_ms),
    corrected: sourceOf(row.corrected_sensor, 'delta', row.corrected_at_ms),
    lapsedBays: row.lapsed_bays,
    quality: row.quality,
    version: row.version,
    changedAtMs: row.changed_at_ms,
    dueAtMs: row.due_at_ms,
    waiting: row.waiting,
    windowsVersion: row.windows_version,
    timeZone: row.time_zone,
    tariff: row.tariff
  }
}

export function rowOfLot (lot: Lot): LotsTable {
  return {
    id: lot.id,
    name: lot.name,
    capacity: lot.capacity,
    buffer: lot.buffer,
    counted: lot.counted,
    held: lot.held,
    arriving: lot.arriving,
    is_open: Number(lot.open),
    counting: lot.counting,
    bays_cover: Number(lot.baysCover),
    suspect: Number(lot.suspect),
    heard_at_ms: lot.heardAtMs,
    absolute_sensor: lot.absolute?.sensor ?? null,
    absolute_said: lot.absolute === null || lot.absolute.said === 'delta' ? null : lot.absolute.said,
    absolute_at_ms: lot.absolute?.atMs ?? null,
    corrected_sensor: lot.corrected?.sensor ?? null,
    corrected_at_ms: lot.corrected?.atMs ?? null,
    lapsed_bays: lot.lapsedBays,
    quality: lot.quality,
    version: lot.version,
    changed_at_ms: lot.changedAtMs,
    due_at_ms: lot.dueAtMs,
    waiting: lot.waiting,
    windows_version: lot.windowsVersion,
    time_zone: lot.timeZone,
    tariff: lot.tariff
  }
}

function sourceOf (sensor: Source['sensor'], said: Source['said'] | null, atMs: number | null): Source | null {
  return said === null || atMs === null ? null : { sensor, said, atMs }
}

export function reservationOf (row: ReservationsTable): Reservation {
  return {
    id: row.id,
    kind: row.kind,
    lot: row.lot,
    plate: row.plate,
    status: row.status,
    fromMs: row.from_ms,
    toMs: row.to_ms,
    originalToMs: row.original_to_ms,
    dueAtMs: row.due_at_ms,
    secretHash: row.secret_hash,
    owner: row.owner,
    madeAtMs: row.made_at_ms
  }
}

export function rowOfReservation (reservation: Reservation): ReservationsTable {
  return {
    id: reservation.id,
    lot: reservation.lot,
    plate: reservation.plate,
    status: reservation.status,
    from_ms: reservation.fromMs,
    to_ms: reservation.toMs,
    due_at_ms: reservation.dueAtMs,
    secret_hash: reservation.secretHash,
    owner: reservation.owner,
    made_at_ms: reservation.madeAtMs,
    kind: reservation.kind,
    original_to_ms: reservation.originalToMs
  }
}
