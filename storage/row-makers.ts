// What makes rows of the cells of `byKeys` (rows.ts), for the tables whose rows every batch reads. Written out, because V8 makes an object
// whose fields it knows in a fifth of the time that setting them one by one by their names takes (docs/decisions/018-field-by-field.md).
import type { BayState, Counting, Id, Quality } from '../shared/lot.js'
import type { ReservationKind, ReservationStatus } from '../shared/reservation.js'
import type { Cell, Tables } from './tables.js'

type Cells = readonly Cell[]

/** Each takes the cells in the order of its own fields, which is that of `COLUMN_TYPES`. */
export const ROW_MAKERS: { readonly [T in keyof Tables]?: (cells: Cells) => Tables[T] } = {
  lots: c => ({
    id: c[0] as Id,
    name: c[1] as string,
    capacity: c[2] as number,
    buffer: c[3] as number,
    counted: c[4] as number,
    held: c[5] as number,
    arriving: c[6] as number,
    is_open: c[7] as number,
    counting: c[8] as Counting,
    bays_cover: c[9] as number,
    suspect: c[10] as number,
    heard_at_ms: c[11] as number | null,
    quality: c[12] as Quality,
    absolute_sensor: c[13] as Id | null,
    absolute_said: c[14] as 'recount' | 'bays' | null,
    absolute_at_ms: c[15] as number | null,
    corrected_sensor: c[16] as Id | null,
    corrected_at_ms: c[17] as number | null,
    lapsed_bays: c[18] as number,
    version: c[19] as number,
    changed_at_ms: c[20] as number,
    due_at_ms: c[21] as number | null,
    waiting: c[22] as number,
    windows_version: c[23] as number,
    time_zone: c[24] as string,
    tariff: c[25] as Id
  }),
  sensors: c => ({
    lot: c[0] as Id,
    sensor: c[1] as Id,
    epoch: c[2] as number,
    high: c[3] as number,
    seen_low: c[4] as number,
    seen_high: c[5] as number,
    missing: c[6] as number,
    reported: c[7] as number,
    gap_due_at_ms: c[8] as number | null,
    heard_at_ms: c[9] as number,
    told_at_ms: c[10] as number,
    stands_until_ms: c[11] as number | null
  }),
  bays: c => ({
    lot: c[0] as Id,
    bay: c[1] as Id,
    state: c[2] as BayState,
    listed: c[3] as number,
    lapsed: c[4] as number,
    sensor: c[5] as Id | null,
    epoch: c[6] as number,
    seq: c[7] as number,
    changed_at_ms: c[8] as number
  }),
  reservations: c => ({
    id: c[0] as string,
    lot: c[1] as Id,
    plate: c[2] as string,
    status: c[3] as ReservationStatus,
    from_ms: c[4] as number,
    to_ms: c[5] as number,
    due_at_ms: c[6] as number | null,
    secret_hash: c[7] as string,
    owner: c[8] as string | null,
    made_at_ms: c[9] as number,
    kind: c[10] as ReservationKind,
    original_to_ms: c[11] as number
  })
}
