// Every transition of a reservation, and every one that it must refuse.
import { describe, expect, test } from 'vitest'
import type { Id, Lot } from '../../shared/lot.js'
import {
  keepsPlace, LIVE_STATUSES, lotAfter, transition, windowOf, type Reservation, type ReservationEvent, type ReservationStatus, type TransitionRefusal
} from '../../shared/reservation.js'

const TIMES = { arrivalGraceMs: 120_000, maxStayMs: 86_400_000, noShowMs: 60_000, earlyArrivalMs: 30_000 }
const MADE_AT = 1_000_000
const HELD_UNTIL = MADE_AT + 300_000
const NOW = MADE_AT + 100_000

const held: Reservation = {
  id: 'R-000000000001', kind: 'hold', lot: 'LOT-A' as Id, plate: 'ABC123', status: 'held', fromMs: MADE_AT, toMs: HELD_UNTIL, originalToMs: HELD_UNTIL, dueAtMs: HELD_UNTIL,
  secretHash: 'f00d', owner: null, madeAtMs: MADE_AT
}
const holds: Record<ReservationStatus, Reservation> = {
  waiting: { ...held, status: 'waiting' },
  booked: { ...held, status: 'booked', fromMs: NOW + TIMES.earlyArrivalMs, dueAtMs: NOW + TIMES.earlyArrivalMs },
  held,
  arriving: { ...held, status: 'arriving', dueAtMs: NOW },
  arrived: { ...held, status: 'arrived', toMs: MADE_AT + 10, dueAtMs: MADE_AT + TIMES.maxStayMs },
  overstayed: { ...held, status: 'overstayed', toMs: MADE_AT + 10, dueAtMs: MADE_AT + TIMES.maxStayMs },
  departed: { ...held, status: 'departed', toMs: MADE_AT + 50, dueAtMs: null },
  cancelled: { ...held, status: 'cancelled', toMs: MADE_AT + 50, dueAtMs: null },
  expired: { ...held, status: 'expired', dueAtMs: null },
  no_show: { ...held, status: 'no_show', dueAtMs: null }
}
const bookings = Object.fromEntries(Object.entries(holds).map(([status, hold]) => [status, { ...hold, kind: 'booking' }])) as typeof holds
const events = {
  'arrive, sensors count': { type: 'arrive', counting: 'sensors' },
  'arrive, requests count': { type: 'arrive', counting: 'requests' },
  'car counted': { type: 'car_counted' },
  depart: { type: 'depart' },
  cancel: { type: 'cancel' },
  due: { type: 'due' }
} as const satisfies Record<string, ReservationEvent>

type Becomes = Partial<Reservation> | TransitionRefusal
/** A hold's window ends when its car is in. */
const stays = { status: 'arrived', toMs: NOW, dueAtMs: NOW + TIMES.maxStayMs } as const
/** A booking's goes on to its end. */
const stillThere = { status: 'arrived', dueAtMs: HELD_UNTIL } as const
const ends = (status: ReservationStatus, toMs = NOW): Partial<Reservation> => ({ status, toMs, dueAtMs: null })

const waits: Record<keyof typeof events, Becomes> = {
  'arrive, sensors count': 'still_waiting', 'arrive, requests count': 'still_waiting', 'car counted': 'still_waiting', depart: 'still_waiting',
  cancel: ends('cancelled'), due: ends('expired')
}
const ended = (onCancel: TransitionRefusal): Record<keyof typeof events, Becomes> => ({
  'arrive, sensors count': 'reservation_ended', 'arrive, requests count': 'reservation_ended', 'car counted': 'reservation_ended',
  depart: 'reservation_ended', cancel: onCancel, due: 'reservation_ended'
})
const over = { departed: ended('reservation_ended'), cancelled: ended('already_cancelled'), expired: ended('reservation_ended'), no_show: ended('reservation_ended') }
const isIn: Record<keyof typeof events, Becomes> = {
  'arrive, sensors count': 'already_arrived', 'arrive, requests count': 'already_arrived', 'car counted': 'already_arrived',
  depart: { status: 'departed', dueAtMs: null }, cancel: 'already_arrived', due: { status: 'departed', dueAtMs: null }
}

const ofHolds: Record<Exclude<ReservationStatus, 'booked'>, Record<keyof typeof events, Becomes>> = {
  waiting: waits,
  held: {
    'arrive, sensors count': { status: 'arriving', dueAtMs: NOW + TIMES.arrivalGraceMs },
    'arrive, requests count': stays,
    'car counted': stays,
    depart: 'not_arrived',
    cancel: ends('cancelled'),
    due: ends('expired')
  },
  arriving: {
    'arrive, sensors count': 'already_arrived',
    'arrive, requests count': 'already_arrived',
    'car counted': stays,
    depart: ends('departed'),
    cancel: ends('cancelled'),
    due: stays
  },
  arrived: isIn,
  overstayed: isIn,
  ...over
}
const ofBookings: Record<ReservationStatus, Record<keyof typeof events, Becomes>> = {
  waiting: waits,
  // As early as it may come.
  booked: {
    'arrive, sensors count': { status: 'arriving', dueAtMs: NOW + TIMES.arrivalGraceMs },
    'arrive, requests count': stillThere,
    'car counted': stillThere,
    depart: 'not_arrived',
    cancel: ends('cancelled', NOW + TIMES.earlyArrivalMs),
    due: { status: 'held', dueAtMs: NOW + TIMES.noShowMs }
  },
  held: {
    'arrive, sensors count': { status: 'arriving', dueAtMs: NOW + TIMES.arrivalGraceMs },
    'arrive, requests count': stillThere,
    'car counted': stillThere,
    depart: 'not_arrived',
    cancel: ends('cancelled'),
    due: ends('no_show')
  },
  arriving: {
    'arrive, sensors count': 'already_arrived',
    'arrive, requests count': 'already_arrived',
    'car counted': stillThere,
    depart: ends('departed'),
    cancel: ends('cancelled'),
    due: stillThere
  },
  arrived: { ...isIn, due: { status: 'overstayed', dueAtMs: NOW + TIMES.maxStayMs } },
  overstayed: isIn,
  ...over
}

const cases = ([['hold', ofHolds, holds], ['booking', ofBookings, bookings]] as const).flatMap(([kind, table, reservations]) =>
  Object.entries(table).flatMap(([status, row]) => Object.entries(row).map(([event, becomes]) =>
    ({ kind, before: reservations[status as ReservationStatus], status: status as ReservationStatus, event: event as keyof typeof events, becomes }))))

describe('a transition', () => {
  test.each(cases)('of a $kind that is $status on $event', ({ before, event, becomes }) => {
    const after = transition(before, events[event], NOW, TIMES)
    expect(after).toEqual(typeof becomes === 'string' ? { ok: false, code: becomes } : { ok: true, reservation: { ...before, ...becomes } })
  })

  test('never makes a window longer', () => {
    for (const { before, event } of cases) {
      for (const atMs of [NOW, HELD_UNTIL - 1, HELD_UNTIL + 1]) {
        const after = transition(before, events[event], atMs, TIMES)
        if (after.ok) expect(after.reservation.toMs).toBeLessThanOrEqual(before.toMs)
        if (after.ok) expect(after.reservation.fromMs).toBe(before.fromMs)
      }
    }
  })

  test('to `arriving` keeps the place for the grace, also when the window is over before', () => {
    const atMs = HELD_UNTIL - 1
    expect(transition(held, events['arrive, sensors count'], atMs, TIMES)).toMatchObject({ reservation: { toMs: HELD_UNTIL, dueAtMs: atMs + TIMES.arrivalGraceMs } })
  })

  test('before the car of a booking may come is too early', () => {
    for (const event of ['arrive, sensors count', 'arrive, requests count', 'car counted'] as const) {
      expect(transition(bookings.booked, events[event], NOW - 1, TIMES)).toEqual({ ok: false, code: 'too_early' })
    }
  })

  test('of a booking whose car comes after its window overstays at once', () => {
    const late = { ...bookings.arriving, dueAtMs: HELD_UNTIL + 5 }
    const arrived = transition(late, events.due, HELD_UNTIL + 5, TIMES)
    expect(arrived).toMatchObject({ reservation: { status: 'arrived', dueAtMs: HELD_UNTIL + 5 } })
  })

  test('by time at its due time ends the window there, however late it is noticed', () => {
    expect(transition(held, events.due, HELD_UNTIL, TIMES)).toMatchObject({ reservation: { status: 'expired', toMs: HELD_UNTIL, dueAtMs: null } })
  })

  test('of a live reservation leaves a due time, of an ended one none', () => {
    for (const { before, event } of cases) {
      const after = transition(before, events[event], NOW, TIMES)
      if (after.ok) expect(after.reservation.dueAtMs !== null).toBe(LIVE_STATUSES.includes(after.reservation.status))
    }
  })
})

test('only a live reservation that does not wait counts in the windows', () => {
  const counts = Object.values(bookings).filter(booking => windowOf(booking) !== null).map(booking => booking.status)
  expect(counts).toEqual(['booked', 'held', 'arriving', 'arrived', 'overstayed'])
})

describe('the lot after a transition', () => {
  test('counts who waits, and moves a place with a reservation to another lot', () => {
    const lot = { counting: 'sensors', held: 3, arriving: 1, counted: 40, waiting: 2 } as Lot
    expect(lotAfter(lot, null, holds.waiting)).toMatchObject({ waiting: 3, held: 3 })
    expect(lotAfter(lot, holds.waiting, holds.held)).toMatchObject({ waiting: 1, held: 4 })
    expect(lotAfter(lot, held, null)).toMatchObject({ held: 2, counted: 40 })
  })

  const lot = { counting: 'sensors', held: 3, arriving: 1, counted: 40 } as Lot
  const change = (counting: Lot['counting'], before: ReservationStatus | null, after: ReservationStatus, countedElsewhere?: boolean) => {
    const { held, arriving, counted } = lotAfter({ ...lot, counting }, before && holds[before], holds[after], countedElsewhere)
    return { held: held - lot.held, arriving: arriving - lot.arriving, counted: counted - lot.counted }
  }

  test.each<[ReservationStatus | null, ReservationStatus, { held?: number, arriving?: number, counted?: number }]>([
    [null, 'held', { held: 1 }],
    [null, 'booked', {}],
    [null, 'waiting', {}],
    ['waiting', 'held', { held: 1 }],
    ['waiting', 'expired', {}],
    ['booked', 'held', { held: 1 }],
    ['booked', 'arrived', { counted: 1 }],
    ['held', 'no_show', { held: -1 }],
    ['arrived', 'overstayed', {}],
    ['overstayed', 'departed', { counted: -1 }],
    ['held', 'arriving', { arriving: 1 }],
    ['held', 'arrived', { held: -1, counted: 1 }],
    ['held', 'expired', { held: -1 }],
    ['held', 'cancelled', { held: -1 }],
    ['arriving', 'arrived', { held: -1, arriving: -1, counted: 1 }],
    ['arriving', 'cancelled', { held: -1, arriving: -1 }],
    ['arriving', 'departed', { held: -1, arriving: -1 }],
    ['arrived', 'departed', { counted: -1 }]
  ])('from %s to %s', (before, after, { held = 0, arriving = 0, counted = 0 }) => {
    expect(change('requests', before, after)).toEqual({ held, arriving, counted })
    // Where sensors count, or where the sensor's own delta counts this car, a reservation never touches the count.
    expect(change('sensors', before, after)).toEqual({ held, arriving, counted: 0 })
    expect(change('requests', before, after, true)).toEqual({ held, arriving, counted: 0 })
  })

  test('keeps a place exactly for those that have not come', () => {
    expect(Object.keys(holds).filter(status => keepsPlace(status as ReservationStatus))).toEqual(['held', 'arriving'])
  })
})
