// The tables of the ledger as Kysely sees them, and the type of each column for rows that travel as one JSON parameter.
// Times are milliseconds since 1970; truth values are 0 or 1.
import type { BayState, Counting, Id, Quality } from '../shared/lot.js'
import type { ReservationKind, ReservationStatus } from '../shared/reservation.js'

export interface LotsTable {
  id: Id
  name: string
  capacity: number
  buffer: number
  counted: number
  held: number
  arriving: number
  is_open: number
  counting: Counting
  bays_cover: number
  suspect: number
  heard_at_ms: number | null
  absolute_sensor: Id | null
  absolute_said: 'recount' | 'bays' | null
  absolute_at_ms: number | null
  corrected_sensor: Id | null
  corrected_at_ms: number | null
  lapsed_bays: number
  quality: Quality
  version: number
  changed_at_ms: number
  due_at_ms: number | null
  waiting: number
  windows_version: number
  time_zone: string
  tariff: Id
}

/** The identity of a sensor: which of its messages have had their effect (services/occupancy/sequence.ts). */
export interface SensorsTable {
  lot: Id
  sensor: Id
  epoch: number
  high: number
  /** Bit i: whether message `high - 1 - i` was seen, for i of 0..31. */
  seen_low: number
  /** The same for i of 32..63. */
  seen_high: number
  missing: number
  reported: number
  gap_due_at_ms: number | null
  heard_at_ms: number
  told_at_ms: number
  /** When its word on bays lapses; null for never. */
  stands_until_ms: number | null
}

export interface BaysTable {
  lot: Id
  bay: Id
  state: BayState
  /** Whether the lot's settings list this bay. */
  listed: number
  /** Whether whoever said so last has been silent for too long. */
  lapsed: number
  /** Who said so last, and in which message; null before anybody did. */
  sensor: Id | null
  epoch: number
  seq: number
  changed_at_ms: number
}

export interface ReservationsTable {
  id: string
  lot: Id
  plate: string
  status: ReservationStatus
  from_ms: number
  to_ms: number
  /** Not null exactly while the reservation is live. */
  due_at_ms: number | null
  secret_hash: string
  owner: string | null
  made_at_ms: number
  kind: ReservationKind
  original_to_ms: number
}

/** The waiting lists: the order, and where to tell of what becomes of it. */
export interface WaitingTable {
  /** Grows; never used again. */
  position: number
  reservation: string
  lot: Id
  topic: string
  /** Base64. */
  correlation_data: string | null
  correlation: string | null
}

/** Messages to single clients that must leave after a commit, at least once. */
export interface NoticesTable {
  id: number
  topic: string
  /** Base64. */
  correlation_data: string | null
  correlation: string | null
  /** JSON of a reply. */
  payload: string
  at_ms: number
}

/** How many of each permit were sold, ever. */
export interface PermitsTable {
  permit: Id
  sold: number
}

export interface PermitSalesTable {
  id: string
  permit: Id
  plate: string
  owner: string | null
  price_cents: number
  sold_at_ms: number
}

export interface RequestHistoryTable {
  /** The broker's user, or the empty string where there is none. */
  caller: string
  request_id: string
  method: string
  body_hash: string
  reply: string
  at_ms: number
}

export interface AuditTable {
  id: number
  at_ms: number
  /** Null in a line that concerns no lot, such as a log-in. */
  lot: Id | null
  type: string
  who: string
  /** Where it came from, if that is known. Never for the public. */
  address: string | null
  why: string | null
  reservation: string | null
  sensor: Id | null
  /** JSON. */
  before: string | null
  /** JSON. */
  after: string | null
}

export interface CursorsTable {
  name: string
  position: number
}

export interface MetaTable {
  key: string
  value: string
}

export interface Tables {
  lots: LotsTable
  sensors: SensorsTable
  bays: BaysTable
  reservations: ReservationsTable
  waiting: WaitingTable
  notices: NoticesTable
  permits: PermitsTable
  permit_sales: PermitSalesTable
  request_history: RequestHistoryTable
  audit: AuditTable
  cursors: CursorsTable
  meta: MetaTable
}

/** A value that JSON and both engines carry unchanged. */
export type Cell = string | number | null

export type ColumnType = 'text' | 'integer'

export const COLUMN_TYPES: { readonly [T in keyof Tables]: { readonly [C in keyof Tables[T]]: ColumnType } } = {
  lots: {
    id: 'text', name: 'text', capacity: 'integer', buffer: 'integer', counted: 'integer', held: 'integer', arriving: 'integer',
    is_open: 'integer', counting: 'text', bays_cover: 'integer', suspect: 'integer', heard_at_ms: 'integer', quality: 'text',
    absolute_sensor: 'text', absolute_said: 'text', absolute_at_ms: 'integer', corrected_sensor: 'text', corrected_at_ms: 'integer', lapsed_bays: 'integer',
    version: 'integer', changed_at_ms: 'integer', due_at_ms: 'integer', waiting: 'integer', windows_version: 'integer', time_zone: 'text', tariff: 'text'
  },
  sensors: {
    lot: 'text', sensor: 'text', epoch: 'integer', high: 'integer', seen_low: 'integer', seen_high: 'integer', missing: 'integer',
    reported: 'integer', gap_due_at_ms: 'integer', heard_at_ms: 'integer', told_at_ms: 'integer', stands_until_ms: 'integer'
  },
  bays: {
    lot: 'text', bay: 'text', state: 'text', listed: 'integer', lapsed: 'integer', sensor: 'text', epoch: 'integer', seq: 'integer', changed_at_ms: 'integer'
  },
  reservations: {
    id: 'text', lot: 'text', plate: 'text', status: 'text', from_ms: 'integer', to_ms: 'integer', due_at_ms: 'integer',
    secret_hash: 'text', owner: 'text', made_at_ms: 'integer', kind: 'text', original_to_ms: 'integer'
  },
  waiting: { position: 'integer', reservation: 'text', lot: 'text', topic: 'text', correlation_data: 'text', correlation: 'text' },
  notices: { id: 'integer', topic: 'text', correlation_data: 'text', correlation: 'text', payload: 'text', at_ms: 'integer' },
  permits: { permit: 'text', sold: 'integer' },
  permit_sales: { id: 'text', permit: 'text', plate: 'text', owner: 'text', price_cents: 'integer', sold_at_ms: 'integer' },
  request_history: { caller: 'text', request_id: 'text', method: 'text', body_hash: 'text', reply: 'text', at_ms: 'integer' },
  audit: {
    id: 'integer', at_ms: 'integer', lot: 'text', type: 'text', who: 'text', address: 'text', why: 'text', reservation: 'text', sensor: 'text',
    before: 'text', after: 'text'
  },
  cursors: { name: 'text', position: 'integer' },
  meta: { key: 'text', value: 'text' }
}

/** Columns that keep their value once a row is made. An update that leaves them alone leaves their indexes alone. */
export const FIXED_COLUMNS: { readonly [T in keyof Tables]?: readonly (keyof Tables[T] & string)[] } = {
  reservations: ['kind', 'secret_hash', 'owner', 'made_at_ms']
}

/** The few reservations whose car is here without a window of its own: an index has them alone, and is used where this stands. */
export const CAR_IS_HERE = 'status in (\'arriving\', \'overstayed\')'
