// Makes a ledger as years of use would leave it: any number of lots, sensor identities and reservations, live or ended,
// with the lines of the audit that those would have written. Written with the storage's own statements, many rows in
// each: what it is filled with is then read by parkmq like its own.
import { systemClock } from '../shared/clock.js'
import { Config } from '../shared/config.js'
import type { Id } from '../shared/lot.js'
import { createMetrics } from '../shared/metrics.js'
import { NewLot } from '../shared/schemas.js'
import { newLot } from '../services/reservation/lot-settings.js'
import { moveCursor } from '../storage/audit.js'
import type { Ledger } from '../storage/ledger.js'
import { openLedger } from '../storage/open.js'
import { rowOfLot } from '../storage/records.js'
import { insertRows } from '../storage/rows.js'
import { COLUMN_TYPES, type AuditTable, type LotsTable, type ReservationsTable, type SensorsTable, type Tables } from '../storage/tables.js'

export interface FilledParts {
  readonly lots: number
  /** Sensor identities in all, the same number in each lot. */
  readonly identities?: number
  /** Reservations that have ended, made over the last 80 days; each has two lines in the audit. */
  readonly ended?: number
  /** Bookings of the next 90 days. */
  readonly live?: number
}

/** Places of each lot, half of them taken. */
export const FILLED_CAPACITY = 1_000
const ROWS_AT_ONCE = 10_000
const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS
/** Less than `times.auditMs`: nothing of it is old enough to be forgotten. */
const PAST_DAYS = 80
const AHEAD_DAYS = 90
/** Ids have the same length whatever their number: what is sent of them is encoded beforehand. */
const LOT_DIGITS = 6
const SENSOR_DIGITS = 4

/** `L-000042` */
export function filledLot (n: number): Id {
  return `L-${String(n).padStart(LOT_DIGITS, '0')}` as Id
}

/** `gate-0007`: the same names in every lot. */
export function filledSensor (n: number): Id {
  return `gate-${String(n).padStart(SENSOR_DIGITS, '0')}` as Id
}

/** Fills the empty data folder. The settings of whoever starts there must make no lots: see `FILLED_CONFIG`. */
export async function fillLedger (folder: string, { lots, identities = 0, ended = 0, live = 0 }: FilledParts): Promise<void> {
  const config = Config.parse({ data: folder })
  const ledger = await openLedger({ config, clock: systemClock, metrics: createMetrics() })
  try {
    const nowMs = Date.now()
    const bookings = Math.ceil(live / lots)
    await write(ledger, 'lots', lots, n => lotRow(n, nowMs, n * bookings < live))
    await write(ledger, 'sensors', identities, n => sensorRow(n, Math.ceil(identities / lots), nowMs))
    await write(ledger, 'reservations', ended, n => endedRow(n, lots, pastMs(n, ended, nowMs)))
    await write(ledger, 'audit', 2 * ended, n => auditRow(n, lots, pastMs(n >>> 1, ended, nowMs)))
    await write(ledger, 'reservations', live, n => bookingRow(n, bookings, nowMs))
    // All events have been told.
    await ledger.transact('bench', async tx => await moveCursor(tx.database, 'events', 2 * ended))
  } finally {
    await ledger.close()
  }
}

/** Settings without lots of their own, that let one machine be many. */
export const FILLED_CONFIG = JSON.stringify({ lots: [], limits: { connectionsPerAddress: 10_000 } })

async function write<T extends keyof Tables> (ledger: Ledger, table: T, count: number, row: (n: number) => Tables[T]): Promise<void> {
  const columns = Object.keys(COLUMN_TYPES[table]) as (keyof Tables[T] & string)[]
  for (let first = 0; first < count; first += ROWS_AT_ONCE) {
    const rows = Array.from({ length: Math.min(ROWS_AT_ONCE, count - first) }, (_, i) => row(first + i))
    await ledger.transact('bench', async tx => await insertRows(tx.database, table, columns, rows))
    // The driver frees its statements only when the event loop turns.
    await new Promise(resolve => setImmediate(resolve))
  }
}

function lotRow (n: number, nowMs: number, hasBookings: boolean): LotsTable {
  const lot = newLot(NewLot.parse({ lot: filledLot(n), capacity: FILLED_CAPACITY, occupied: FILLED_CAPACITY / 2 }), 'UTC')
  // A due time that is too early is worked out anew when it comes: this one is where the first booking may begin.
  return rowOfLot({ ...lot, version: 1, changedAtMs: nowMs, heardAtMs: nowMs, quality: 'live', dueAtMs: hasBookings ? nowMs + DAY_MS : null })
}

function sensorRow (n: number, perLot: number, nowMs: number): SensorsTable {
  return {
    lot: filledLot(Math.floor(n / perLot)), sensor: filledSensor(n % perLot), epoch: 1, high: 0,
    seen_low: 0, seen_high: 0, missing: 0, reported: 0, gap_due_at_ms: null, heard_at_ms: nowMs, told_at_ms: 0, stands_until_ms: null
  }
}

function endedRow (n: number, lots: number, madeAtMs: number): ReservationsTable {
  return {
    id: reservationId(n), lot: filledLot(scattered(n, lots)), plate: `P${n % 50_000}`, status: n % 5 === 0 ? 'expired' : 'departed',
    from_ms: madeAtMs, to_ms: madeAtMs + 60 * MINUTE_MS, due_at_ms: null, secret_hash: SECRET_HASH, owner: null, made_at_ms: madeAtMs,
    kind: 'hold', original_to_ms: madeAtMs + 60 * MINUTE_MS
  }
}

function auditRow (n: number, lots: number, atMs: number): AuditTable {
  const reservation = Math.floor(n / 2)
  const isEnd = n % 2 === 1
  return {
    id: n + 1, at_ms: atMs, lot: filledLot(scattered(reservation, lots)), type: isEnd ? 'reservation.departed' : 'reservation.held',
    who: isEnd ? 'time' : 'client:bench', address: null, why: null, reservation: reservationId(reservation), sensor: null,
    before: isEnd ? '"held"' : null, after: isEnd ? '"departed"' : '"held"'
  }
}

function bookingRow (n: number, perLot: number, nowMs: number): ReservationsTable {
  // From a day ahead, so that none begins while it is measured; 7,919 is prime to the minutes of the time.
  const fromMs = nowMs + DAY_MS + n * 7_919 % (AHEAD_DAYS * 24 * 60) * MINUTE_MS
  const toMs = fromMs + (60 + n % 181) * MINUTE_MS
  return {
    id: `R-B${String(n).padStart(12, '0')}`, lot: filledLot(Math.floor(n / perLot)), plate: `B${n}`, status: 'booked', from_ms: fromMs, to_ms: toMs,
    due_at_ms: fromMs, secret_hash: SECRET_HASH, owner: null, made_at_ms: nowMs, kind: 'booking', original_to_ms: toMs
  }
}

/** Ids are random: those of one day lie all over the index. */
function reservationId (n: number): string {
  return `R-${scattered(n, 2 ** 32).toString(36).padStart(7, '0')}${n.toString(36).padStart(5, '0')}`.toUpperCase()
}

/** Knuth's multiplicative hash, below `most`. */
function scattered (n: number, most: number): number {
  return Math.floor(Math.imul(n, 2_654_435_761) >>> 0) % most
}

/** When the `n`th of `count` was made: one after the other, up to now. */
function pastMs (n: number, count: number, nowMs: number): number {
  return nowMs - PAST_DAYS * DAY_MS + Math.floor(n / count * PAST_DAYS * DAY_MS)
}

const SECRET_HASH = 'x'.repeat(64)
