// Every transition of a reservation, and every one that it must refuse.
import { describe, expect, test } from 'vitest'
import type { Id, Lot } from '../../shared/lot.js'
import {
  keepsPlace, LIVE_STATUSES, lotAfter, transition, type Reservation, type ReservationEvent, type ReservationStatus, type TransitionRefusal
} from '../../shared/reservation.js'

const TIMES = { arrivalGraceMs: 120_000, maxStayMs: 86_400_000 }
const MADE_AT = 1_000_000
const HELD_UNTIL = MADE_AT + 300_000
const NOW = MADE_AT + 100_000

const held: Reservation = {
  id: 'R-000000000001', lot: 'LOT-A' as Id, plate: 'ABC123', status: 'held', fromMs: MADE_AT, toMs: HELD_UNTIL, dueAtMs: HELD_UNTIL,
  secretHash: 'f00d', owner: null, madeAtMs: MADE_AT
}
const reservations: Record<ReservationStatus, Reservation> = {
  held,
  arriving: { ...held, status: 'arriving', dueAtMs: NOW },
  arrived: { ...held, status: 'arrived', toMs: MADE_AT + TIMES.maxStayMs, dueAtMs: MADE_AT + TIMES.maxStayMs },
  departed: { ...held, status: 'departed', toMs: MADE_AT + 50, dueAtMs: null },
  cancelled: { ...held, status: 'cancelled', toMs: MADE_AT + 50, dueAtMs: null },
  expired: { ...held, status: 'expired', dueAtMs: null }
}
const events = {
  'arrive, sensors count': { type: 'arrive', counting: 'sensors' },
  'arrive, requests count': { type: 'arrive', counting: 'requests' },
  'car counted': { type: 'car_counted' },
  depart: { type: 'depart' },
  cancel: { type: 'cancel' },
  due: { type: 'due' }
} as const satisfies Record<string, ReservationEvent>

type Becomes = Partial<Reservation> | TransitionRefusal
const stays = { status: 'arrived', toMs: NOW + TIMES.maxStayMs, dueAtMs: NOW + TIMES.maxStayMs } as const
const ends = (status: ReservationStatus): Partial<Reservation> => ({ status, toMs: NOW, dueAtMs: null })

const table: Record<ReservationStatus, Record<keyof typeof events, Becomes>> = {
  held: {
    // The window is as long as the longer of the hold and the grace.
    'arrive, sensors count': { status: 'arriving', toMs: HELD_UNTIL, dueAtMs: NOW + TIMES.arrivalGraceMs },
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
  arrived: {
    'arrive, sensors count': 'already_arrived',
    'arrive, requests count': 'already_arrived',
    'car counted': 'already_arrived',
    depart: ends('departed'),
    cancel: 'already_arrived',
    due: ends('departed')
  },
  departed: ended('reservation_ended'),
  cancelled: ended('already_cancelled'),
  expired: ended('reservation_ended')
}

function ended (onCancel: TransitionRefusal): Record<keyof typeof events, Becomes> {
  return {
    'arrive, sensors count': 'reservation_ended', 'arrive, requests count': 'reservation_ended', 'car counted': 'reservation_ended',
    depart: 'reservation_ended', cancel: onCancel, due: 'reservation_ended'
  }
}

const cases = Object.entries(table).flatMap(([status, row]) =>
  Object.entries(row).map(([event, becomes]) => ({ status: status as ReservationStatus, event: event as keyof typeof events, becomes })))

describe('a transition', () => {
  test.each(cases)('$status on $event', ({ status, event, becomes }) => {
    const before = reservations[status]
    const after = transition(before, events[event], NOW, TIMES)
    expect(after).toEqual(typeof becomes === 'string' ? { ok: false, code: becomes } : { ok: true, reservation: { ...before, ...becomes } })
  })

  test('to `arriving` lengthens a window that is shorter than the grace', () => {
    const atMs = HELD_UNTIL - 1
    expect(transition(held, events['arrive, sensors count'], atMs, TIMES)).toMatchObject({
      reservation: { toMs: atMs + TIMES.arrivalGraceMs, dueAtMs: atMs + TIMES.arrivalGraceMs }
    })
  })

  test('by time at its due time ends the window there, however late it is noticed', () => {
    expect(transition(held, events.due, HELD_UNTIL, TIMES)).toMatchObject({ reservation: { status: 'expired', toMs: HELD_UNTIL, dueAtMs: null } })
  })

  test('of a live reservation leaves a due time, of an ended one none', () => {
    for (const { status, event } of cases) {
      const after = transition(reservations[status], events[event], NOW, TIMES)
      if (after.ok) expect(after.reservation.dueAtMs !== null).toBe(LIVE_STATUSES.includes(after.reservation.status))
    }
  })
})

describe('the lot after a transition', () => {
  const lot = { counting: 'sensors', held: 3, arriving: 1, counted: 40 } as Lot
  const change = (counting: Lot['counting'], before: ReservationStatus | null, after: ReservationStatus, countedElsewhere?: boolean) => {
    const { held, arriving, counted } = lotAfter({ ...lot, counting }, before && reservations[before], reservations[after], countedElsewhere)
    return { held: held - lot.held, arriving: arriving - lot.arriving, counted: counted - lot.counted }
  }

  test.each<[ReservationStatus | null, ReservationStatus, { held?: number, arriving?: number, counted?: number }]>([
    [null, 'held', { held: 1 }],
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
    expect(Object.keys(reservations).filter(status => keepsPlace(status as ReservationStatus))).toEqual(['held', 'arriving'])
  })
})
