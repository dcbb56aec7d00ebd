// The shape of every message on the wire (docs/topics.md), each schema and its type under one name. Messages drop keys
// they do not know, so that an old service survives a new field. Limits stand here, each with its name and unit.
import { z } from 'zod'
import type { Id as IdType } from './lot.js'
import { RESERVATION_STATUSES } from './reservation.js'
import { ID_PATTERN, mayReceiveReplies } from './topics.js'

/** Cars: the most that one delta may say. */
export const MAX_DELTA_CARS = 100_000
/** Places: the most that one lot may have. */
export const MAX_CAPACITY = 1_000_000
/** Bays: the most that one lot may have and one message may name. */
export const MAX_BAYS = 5_000
/** Seconds: the longest time that a word on bays may stand while its sensor is silent. */
export const MAX_STANDS_SECONDS = 24 * 3_600
/** Bytes: the largest payload of a sensor message or a request. */
export const MAX_BODY_BYTES = 128 * 1024
/** Lots or reservations in one reply; the next page starts after the last. */
export const MAX_LISTED = 1_000
/** Seconds: the longest hold that `reserve` gives. */
export const MAX_HOLD_SECONDS = 3_600
/** Days that one `availability` may ask for. */
export const MAX_DAYS = 31
/** Seconds: the longest time that one `monitor` lasts. */
export const MAX_MONITOR_SECONDS = 24 * 3_600
/** Minutes: the most that `change` shifts and `extend` adds: a year, with its leap day. */
export const MAX_MINUTES = 366 * 24 * 60

export const Id = z.string().regex(ID_PATTERN, { error: 'must match [A-Za-z0-9][A-Za-z0-9._-]{0,63}' }).transform(id => id as IdType)
/**
 * Text that every engine of the ledger keeps and gives back. JSON can write what no Unicode text has, and PostgreSQL refuses U+0000;
 * what SQLite gives back of half a surrogate pair ends the process.
 */
const TEXT = /^[^\0\p{Cs}]*$/u
const NO_TEXT = { error: 'must be Unicode text without U+0000' }
const text = (most: number) => z.string().max(most).regex(TEXT, NO_TEXT)

/** A number plate as a driver or a camera writes it; kept in capitals without separators, so that `abc-123` is `ABC 123`. */
export const Plate = z.string().trim().min(1).max(16).regex(/^[\p{L}\p{N}][\p{L}\p{N} .-]*$/u, { error: 'must be 1 to 16 letters, digits, blanks or hyphens' })
  .transform(plate => plate.toUpperCase().replace(/[ .-]/g, ''))
/** ISO 8601 with an offset or Z. Recorded, never used to order. */
export const Timestamp = z.iso.datetime({ offset: true })
/**
 * A whole minute, ISO 8601: with an offset or Z, or without one, which is the wall clock of the lot
 * (`2026-12-24T18:30`). What it is in milliseconds depends on the lot's time zone.
 */
export const Minute = z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d(?::00(?:\.0{1,9})?)?(?:Z|[+-]\d\d:\d\d)?$/, { error: 'must be a whole minute such as 2026-12-24T18:30 (the lot\'s own time) or 2026-12-24T18:30+01:00' })
export const WEEKDAYS = ['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday'] as const
/** A date of the lot's calendar, or a day of the week ahead, beginning with today. */
export const Day = z.union([z.iso.date(), z.enum([...WEEKDAYS, 'today', 'tomorrow'])], { error: 'must be a date such as 2026-12-24, a weekday such as monday, today or tomorrow' })
/** A name of the IANA time zone database, such as `Europe/Berlin`. */
export const TimeZone = z.string().max(64).refine(isTimeZone, { error: 'is no time zone of the IANA database, such as Europe/Berlin or UTC' })
export const BayState = z.enum(['free', 'taken', 'unknown'])
export const Quality = z.enum(['live', 'stale', 'suspect', 'unknown'])
export const ReservationStatus = z.enum(RESERVATION_STATUSES)
/** Where a page of `list` ends: the time at which a reservation was made, and its id. */
const Listed = z.string().max(64).regex(/^\d{1,15}(?:\.R-[0-9A-Z]+)?$/, { error: 'must be the `next` of an earlier page' })

// What a sensor may say on lots/{lot}/sensor, besides the bare delta.

const fromSensor = {
  sensor: Id,
  /** The sensor's boot number: it grows with every restart. */
  epoch: z.int().min(0),
  /** The message's number within the epoch, counted from 1. */
  seq: z.int().min(0),
  at: Timestamp.optional()
}
const Delta = z.int().min(-MAX_DELTA_CARS).max(MAX_DELTA_CARS)

export const SensorDelta = z.object({ ...fromSensor, delta: Delta, plate: Plate.optional() })
export type SensorDelta = z.infer<typeof SensorDelta>

export const SensorRecount = z.object({ ...fromSensor, occupied: z.int().min(-MAX_CAPACITY).max(MAX_CAPACITY) })
export type SensorRecount = z.infer<typeof SensorRecount>

export const SensorBays = z.object({
  ...fromSensor,
  bays: z.record(Id, BayState).refine(bays => Object.keys(bays).length <= MAX_BAYS, { error: `names more than ${MAX_BAYS} bays` }),
  /** It is all that the sensor knows: what it said before no longer matters, and what is missing of it is no loss. */
  whole: z.boolean().optional(),
  /** Silent for longer, the sensor no longer vouches for its bays. */
  standsForSeconds: z.int().min(1).max(MAX_STANDS_SECONDS).optional()
})
export type SensorBays = z.infer<typeof SensorBays>

export const BareDelta = Delta

// What the services publish.

/** Who said something of a lot's count: a sensor, or nobody by name for a bare delta, an operator, or arrive and depart. */
export const LotSource = z.object({ sensor: Id.optional(), said: z.enum(['delta', 'recount', 'bays']), at: Timestamp })

/** `lots/{lot}/state`, retained. */
export const LotState = z.object({
  lot: Id, name: z.string(), capacity: z.int(), occupied: z.int(), held: z.int(), free: z.int(),
  open: z.boolean(), quality: Quality, version: z.int(), at: Timestamp,
  /** Who said what last, the newest first: who set the count, and who corrected it. */
  sources: z.array(LotSource)
})
export type LotState = z.infer<typeof LotState>

/** `lots/{lot}/events`: one line of the audit that concerns the public. Ids grow; at least once. */
export const LotEvent = z.object({
  id: z.int(), type: z.string(), lot: Id, at: Timestamp, reservation: z.string().optional(), sensor: Id.optional(),
  why: z.string().optional(), before: z.unknown().optional(), after: z.unknown().optional()
})
export type LotEvent = z.infer<typeof LotEvent>

/** One line of the audit as operators see it, in the reply to `audit`. */
export const AuditLine = LotEvent.extend({ lot: Id.optional(), who: z.string(), address: z.string().optional() })
export type AuditLine = z.infer<typeof AuditLine>

// Requests: the body of requests/{method}.

/** Made by the caller and kept over its retries: 16 to 64 characters. */
export const RequestId = z.string().regex(/^[A-Za-z0-9_-]{16,64}$/, { error: 'must be 16 to 64 letters, digits, _ or -' })

/** What every body may carry besides its method's own fields. `replyTo` and `correlation` are for MQTT 3.1.1. */
export const Envelope = z.object({
  requestId: RequestId.optional(),
  replyTo: text(65_535).refine(mayReceiveReplies, { error: 'must be a topic under replies/, without wildcards' }).optional(),
  correlation: text(256).optional()
})
export type Envelope = z.infer<typeof Envelope>

const LotSettings = {
  name: z.string().trim().min(1).max(100).regex(TEXT, NO_TEXT),
  capacity: z.int().min(0).max(MAX_CAPACITY),
  /** Places never given to newcomers. */
  buffer: z.int().min(0).max(MAX_CAPACITY),
  counting: z.enum(['sensors', 'requests']),
  bays: z.array(Id).max(MAX_BAYS).refine(bays => new Set(bays).size === bays.length, { error: 'names a bay twice' }),
  /** Whether `bays` are all the places of the lot, so that they alone give its count. */
  baysCover: z.boolean(),
  timeZone: TimeZone,
  /** Name of a tariff of the settings. */
  tariff: Id
}

const newLot = {
  lot: Id,
  name: LotSettings.name.optional(),
  capacity: LotSettings.capacity,
  /** Cars in it now; by default none, or all bays until they are heard where bays give the count. */
  occupied: z.int().min(0).max(MAX_CAPACITY).optional(),
  buffer: LotSettings.buffer.default(0),
  counting: LotSettings.counting.default('sensors'),
  bays: LotSettings.bays.default([]),
  baysCover: LotSettings.baysCover.default(false),
  /** By default the time zone of the settings. */
  timeZone: LotSettings.timeZone.optional(),
  tariff: LotSettings.tariff.default('standard' as IdType),
  open: z.boolean().default(true)
}

type LotRules = { baysCover: boolean, bays: unknown[], buffer: number, capacity: number }
const hasItsBays = ({ baysCover, bays }: LotRules): boolean => !baysCover || bays.length > 0
const hasRoom = ({ buffer, capacity }: LotRules): boolean => buffer <= capacity
const NO_BAYS = { path: ['bays'], error: 'baysCover needs the list of bays' }
const NO_ROOM = { path: ['buffer'], error: 'must not be above the capacity' }

/** A lot as an operator makes it. */
export const NewLot = z.object(newLot).refine(hasItsBays, NO_BAYS).refine(hasRoom, NO_ROOM)
export type NewLot = z.infer<typeof NewLot>
/** A lot of the config file: an unknown key is a typing error. */
export const ConfiguredLot = z.strictObject(newLot).refine(hasItsBays, NO_BAYS).refine(hasRoom, NO_ROOM)

const one = { reservation: text(64), secret: z.string().max(128).optional() }
const byReservation = z.object(one)
const byLotAndPlate = z.object({ lot: Id, plate: Plate, secret: z.string().max(128).optional() })
const Which = z.union([byReservation, byLotAndPlate], { error: 'needs {reservation} or {lot, plate}' })
export type Which = z.infer<typeof Which>

/** The methods of the reservation service and their bodies. */
export const REQUESTS = {
  /** At most `limit` lots, by id, after the id `after`; or one. */
  lots: z.object({ lot: Id.optional(), after: Id.optional(), limit: z.int().min(1).max(MAX_LISTED).default(MAX_LISTED) }),
  /** Free places now; of one lot also at every instant of [from, to), or of whole days of its calendar. */
  availability: z.object({
    lot: Id.optional(), after: Id.optional(), limit: z.int().min(1).max(MAX_LISTED).default(MAX_LISTED),
    from: Minute.optional(), to: Minute.optional(), days: z.array(Day).min(1).max(MAX_DAYS).optional()
  }).refine(({ from, to }) => (from === undefined) === (to === undefined), { path: ['to'], error: 'from and to belong together' })
    .refine(({ from, days }) => from === undefined || days === undefined, { path: ['days'], error: 'ask either for from and to, or for days' })
    .refine(({ lot, from, days }) => lot !== undefined || (from === undefined && days === undefined), { path: ['lot'], error: 'is missing: windows and days are of one lot' }),
  reserve: z.object({ lot: Id, plate: Plate, holdSeconds: z.int().min(1).max(MAX_HOLD_SECONDS).optional() }),
  /** A place for the half-open window [from, to). */
  book: z.object({ lot: Id, plate: Plate, from: Minute, to: Minute }),
  change: z.object({
    ...one, shiftMinutes: z.int().min(-MAX_MINUTES).max(MAX_MINUTES).optional(),
    from: Minute.optional(), to: Minute.optional(), lot: Id.optional(), plate: Plate.optional()
  }).refine(({ shiftMinutes: shift, from, to, lot, plate }) => (shift === undefined) !== [from, to, lot, plate].every(value => value === undefined), { error: 'needs either shiftMinutes, or some of from, to, lot and plate' }),
  /** Makes its end at least this late; it never makes it earlier. */
  extend: z.union([
    z.object({ ...one, until: Minute, byMinutes: z.undefined().optional() }),
    z.object({ ...one, byMinutes: z.int().min(1).max(MAX_MINUTES), until: z.undefined().optional() })
  ], { error: 'needs {reservation} and either until or byMinutes' }),
  /** A place as soon as there is one: a hold, or a booking of [from, to). */
  wait: z.object({ lot: Id, plate: Plate, from: Minute.optional(), to: Minute.optional() })
    .refine(({ from, to }) => (from === undefined) === (to === undefined), { path: ['to'], error: 'from and to belong together' }),
  monitor: z.object({ lot: Id, forSeconds: z.int().min(1).max(MAX_MONITOR_SECONDS) }),
  unmonitor: z.object({ lot: Id }),
  quote: z.object({ lot: Id, from: Minute, to: Minute }),
  permits: z.object({}),
  permit: z.object({ permit: Id }),
  buyPermit: z.object({ permit: Id, plate: Plate }),
  cancel: Which,
  arrive: Which,
  depart: Which,
  get: byReservation,
  list: z.object({ lot: Id.optional(), plate: Plate.optional(), status: ReservationStatus.optional(), after: Listed.optional(), limit: z.int().min(1).max(MAX_LISTED).default(100) }),
  'lot.add': NewLot,
  'lot.set': z.object({
    lot: Id, name: LotSettings.name.optional(), capacity: LotSettings.capacity.optional(), buffer: LotSettings.buffer.optional(),
    counting: LotSettings.counting.optional(), bays: LotSettings.bays.optional(), baysCover: LotSettings.baysCover.optional(),
    timeZone: LotSettings.timeZone.optional(), tariff: LotSettings.tariff.optional()
  }),
  'lot.open': z.object({ lot: Id }),
  'lot.close': z.object({ lot: Id }),
  'lot.remove': z.object({ lot: Id }),
  recount: z.object({ lot: Id, occupied: z.int().min(0).max(MAX_CAPACITY) }),
  /** Lines in the order of their numbers: from `since` on, before `until`, of one lot, of one user, after the last of a page. */
  audit: z.object({
    since: Timestamp.optional(), until: Timestamp.optional(), lot: Id.optional(), user: z.string().regex(ID_PATTERN, { error: 'is no name of a user' }).optional(),
    after: z.int().min(0).optional(), limit: z.int().min(1).max(MAX_LISTED).default(100)
  }),
  ping: z.object({}),
  info: z.object({}),
  stats: z.object({})
} as const

/** The methods that the embedded broker answers itself, and their bodies. */
export const BROKER_REQUESTS = {
  /** Sessions of clients: the one of this client id, or the first `MAX_LISTED`; with `slow` only those that lose messages now, or take none. */
  clients: z.object({ client: z.string().max(65_535).optional(), slow: z.boolean().default(false) })
} as const

/** One session in the reply to `clients`. */
export const ClientRow = z.object({
  client: z.string(),
  connected: z.boolean(),
  /** Null without a connection. */
  address: z.string().nullable(),
  protocol: z.enum(['3.1', '3.1.1', '5.0']).nullable(),
  connectedSince: Timestamp.nullable(),
  subscriptions: z.int(),
  /** Most QoS 1 and 2 messages that may be on their way to it unacknowledged, and how many are. */
  window: z.int(),
  inflight: z.int(),
  queued: z.int(),
  /** Roughly, with what it costs to keep them. */
  queuedBytes: z.int(),
  /** Messages since the session began, or since the broker started. */
  sent: z.int(),
  dropped: z.int(),
  conflated: z.int(),
  slow: z.boolean(),
  /** When it last took or acknowledged something that was sent to it. */
  lastProgress: Timestamp,
  expirySeconds: z.int(),
  /** Whether its connection leaves a will when it breaks. */
  will: z.boolean()
})
export type ClientRow = z.infer<typeof ClientRow>

/** The result of `clients`: slow ones first, then the longest queues. `more` sessions fit that are not in it. */
export const ClientList = z.object({ clients: z.array(ClientRow), more: z.int(), at: Timestamp })
export type ClientList = z.infer<typeof ClientList>

export type Method = keyof typeof REQUESTS
export type RequestBody<M extends Method> = z.infer<(typeof REQUESTS)[M]>

/** Methods that change nothing in the ledger: a repeat is answered afresh. */
export const READ_ONLY: ReadonlySet<Method> = new Set<Method>([
  'lots', 'availability', 'get', 'list', 'monitor', 'unmonitor', 'quote', 'permits', 'permit', 'audit', 'ping', 'info', 'stats'
])

export function isMethod (name: string): name is Method {
  return Object.hasOwn(REQUESTS, name)
}

/** The reply to any request. */
export const Reply = z.union([
  z.object({ ok: z.literal(true), result: z.unknown() }),
  z.object({ ok: z.literal(false), error: z.object({ code: z.string(), message: z.string() }) })
])
export type Reply = z.infer<typeof Reply>

/** What changes of a lot for whoever looks for a place. */
export const Availability = z.object({ free: z.int(), capacity: z.int(), open: z.boolean(), quality: Quality })
export type Availability = z.infer<typeof Availability>

const monitored = { lot: Id, ...Availability.shape, version: z.int(), at: Timestamp }
/**
 * Why a monitor ended: its time was over, `unmonitor`, the same requester monitors the lot with another Response Topic or
 * Correlation Data, the lot is no more, or parkmq stops.
 */
export const MonitorEnd = z.enum(['expired', 'unmonitored', 'replaced', 'lot_removed', 'stopping'])
export type MonitorEnd = z.infer<typeof MonitorEnd>

/** The result in the reply to `monitor`, in each update that follows it, and in the last message. */
export const MonitorMessage = z.discriminatedUnion('monitor', [
  z.object({ monitor: z.literal('started'), ...monitored, until: Timestamp }),
  z.object({ monitor: z.literal('update'), ...monitored }),
  z.object({ monitor: z.literal('end'), lot: Id, why: MonitorEnd })
])
export type MonitorMessage = z.infer<typeof MonitorMessage>

function isTimeZone (name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== ''
  } catch {
    return false
  }
}

/** One line that names the first wrong field, for an error message: `delta: must be a number`. Never the value: it may be a plate, and messages are logged. */
export function firstIssue (error: z.ZodError): string {
  const issue = error.issues[0]
  if (!issue) return 'not valid'
  const said = wordsOf(issue)
  return issue.path.length > 0 ? `${issue.path.map(String).join('.')}: ${said}` : said
}

/** Where a schema has no words of its own, better ones than zod's. */
function wordsOf (issue: z.core.$ZodIssue): string {
  const { message } = issue
  if (issue.code === 'invalid_type' && message.endsWith('received undefined')) return 'is missing'
  if (issue.code === 'too_small' && message.startsWith('Too small')) return boundWords(issue.origin, issue.inclusive === false ? 'more than' : 'at least', issue.minimum)
  if (issue.code === 'too_big' && message.startsWith('Too big')) return boundWords(issue.origin, issue.inclusive === false ? 'less than' : 'at most', issue.maximum)
  return message
}

function boundWords (origin: string, bound: string, limit: number | bigint): string {
  if (origin === 'number' || origin === 'int' || origin === 'bigint') return `must be ${bound} ${limit}`
  if (bound === 'at least' && Number(limit) === 1) return 'must not be empty'
  return `must have ${bound} ${limit} ${origin === 'string' ? 'characters' : 'entries'}`
}
