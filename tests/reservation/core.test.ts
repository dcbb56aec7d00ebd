// Every rule of admission, of the waiting list, of arriving and of who may use what, each with what it must refuse.
import { describe, expect, test } from 'vitest'
import { choose, promote, reserve, step, wait, type Asker, type Wish } from '../../services/reservation/core.js'
import type { Lot } from '../../shared/lot.js'
import type { Reservation, ReservationEvent } from '../../shared/reservation.js'
import type { Window } from '../../shared/windows.js'
import { ANN, at, booking, FRESH, hold, LOT, MINUTE, NOW, outcome, place, RULES, window } from './core-words.js'

const anHour: Wish = { kind: 'booking', window: window('11:00', '12:00') }
const fromNow: Wish = { kind: 'booking', window: window('10:00', '11:00') }
const aHold: Wish = { kind: 'hold', holdMs: 5 * MINUTE }
const book = (from: string, to: string): Wish => ({ kind: 'booking', window: window(from, to) })
const HELD_KEYS = ['status', 'kind', 'fromMs', 'toMs', 'originalToMs', 'dueAtMs'] as const
const twice = (from: string, to: string): Window[] => [window(from, to), window(from, to)]

describe('reserve', () => {
  test('makes a hold from now that is due at its end, for whoever asked', () => {
    expect(reserve(place(), 'ABC123', aHold, ANN, FRESH, NOW, RULES)).toEqual({
      ok: true, value: {
        id: 'R-NEW', kind: 'hold', lot: 'LOT-A', plate: 'ABC123', status: 'held', fromMs: NOW, toMs: NOW + 300_000, originalToMs: NOW + 300_000,
        dueAtMs: NOW + 300_000, secretHash: 'hash-new', owner: 'ann', madeAtMs: NOW
      }
    })
  })

  test.each<[string, Window[], Partial<Lot>, string | null]>([
    ['takes the last place', [window('09:59', '10:10')], { held: 1 }, null],
    ['refuses a lot without a free place', [], { counted: 2 }, 'lot_full'],
    ['keeps the buffer', [], { counted: 1, buffer: 1 }, 'lot_full'],
    ['counts a count above the capacity as full, and no more', [], { counted: 7 }, 'lot_full'],
    ['counts a count below nothing as empty', [], { counted: -5 }, null],
    ['refuses when it would meet two windows to come', twice('10:05', '11:00'), {}, 'lot_full'],
    ['may end where the next windows begin', twice('10:05:30', '11:00'), {}, null],
    ['begins where windows end', twice('09:00', '10:00:30'), {}, null],
    ['refuses when two windows meet in its middle alone', [window('10:01', '10:03'), window('10:02', '10:04')], {}, 'lot_full'],
    ['is not kept out by windows that only follow each other', [window('10:01', '10:02'), window('10:02', '10:03'), window('10:03', '10:04')], {}, null],
    ['refuses a closed lot, also a full one', [], { open: false, counted: 2 }, 'lot_closed']
  ])('of a hold %s', (_, windows, lot, code) => {
    expect(outcome(reserve(place(windows, lot), 'X', aHold, ANN, FRESH, NOW, RULES), ['status'])).toEqual(code ?? { status: 'held' })
  })

  test.each<[string, Wish, Window[], Partial<Lot>, unknown]>([
    ['is booked until its window begins', anHour, [], {}, { status: 'booked', kind: 'booking', fromMs: at('11:00'), toMs: at('12:00'), originalToMs: at('12:00'), dueAtMs: at('11:00') }],
    ['is held at once when its window has begun, and given up half an hour from now', fromNow, [], {}, { status: 'held', kind: 'booking', fromMs: at('10:00'), toMs: at('11:00'), originalToMs: at('11:00'), dueAtMs: at('10:30:30') }],
    ['that is short is given up at its end', book('10:00', '10:20'), [], {}, { status: 'held', kind: 'booking', fromMs: at('10:00'), toMs: at('10:20'), originalToMs: at('10:20'), dueAtMs: at('10:20') }]
  ])('of a window %s', (_, wish, windows, lot, expected) => {
    expect(outcome(reserve(place(windows, lot), 'X', wish, ANN, FRESH, NOW, RULES), HELD_KEYS)).toEqual(expected)
  })

  test.each<[string, Wish, Window[], Partial<Lot>, string | null]>([
    ['to come needs no place that is free now', anHour, [], { counted: 2 }, null],
    ['that has begun needs a place that is free now', fromNow, [], { counted: 2 }, 'lot_full'],
    ['is refused when all places are taken at its begin', anHour, twice('10:30', '11:01'), {}, 'lot_full'],
    ['is refused when all places are taken at its end', anHour, twice('11:59', '12:30'), {}, 'lot_full'],
    ['is refused when all places are taken inside it', anHour, twice('11:30', '11:31'), {}, 'lot_full'],
    ['fits between windows that it only touches', anHour, [...twice('10:30', '11:00'), ...twice('12:00', '13:00')], {}, null],
    ['is refused when the buffer is all that is left', anHour, [window('11:30', '11:40')], { buffer: 1 }, 'lot_full'],
    ['is refused in a closed lot', anHour, [], { open: false }, 'lot_closed'],
    ['may begin with the minute that has begun', book('10:00', '10:01'), [], {}, null],
    ['may not begin before that', book('09:59', '10:30'), [], {}, 'window_past'],
    ['may not be over', book('09:00', '10:00'), [], {}, 'window_past'],
    ['may not be empty', book('11:00', '11:00'), [], {}, 'bad_request'],
    ['may not end before it begins', book('11:00', '10:30'), [], {}, 'bad_request'],
    ['may end as far ahead as is allowed', { kind: 'booking', window: { fromMs: at('11:00'), toMs: NOW + 7 * 86_400_000 } }, [], {}, null],
    ['may not end further ahead', { kind: 'booking', window: { fromMs: at('11:00'), toMs: NOW + 7 * 86_400_000 + 1 } }, [], {}, 'over_limit']
  ])('of a window that %s', (_, wish, windows, lot, code) => {
    const made = reserve(place(windows, lot), 'X', wish, ANN, FRESH, NOW, RULES)
    expect(made.ok ? null : made.refusal.code).toBe(code)
  })

  test('says from when on all places are reserved', () => {
    const made = reserve(place([window('11:10', '11:50'), window('11:20', '11:40')]), 'X', anHour, ANN, FRESH, NOW, RULES)
    expect(made).toMatchObject({ refusal: { message: 'all 2 places of the lot LOT-A are reserved from 2026-06-01T11:20:00Z on; try another time, another lot, or wait' } })
  })
})

describe('wait', () => {
  test.each<[string, Wish, Window[], Partial<Lot>, unknown]>([
    ['gives a hold its place at once if there is one', aHold, [], {}, { status: 'held', kind: 'hold', fromMs: NOW, toMs: NOW + 300_000, originalToMs: NOW + 300_000, dueAtMs: NOW + 300_000 }],
    ['lets a hold wait for two hours', aHold, [], { counted: 2 }, { status: 'waiting', kind: 'hold', fromMs: NOW, toMs: NOW + 7_200_000, originalToMs: NOW + 7_200_000, dueAtMs: NOW + 7_200_000 }],
    ['lets a booking wait until its window begins', anHour, twice('11:00', '12:00'), {}, { status: 'waiting', kind: 'booking', fromMs: at('11:00'), toMs: at('12:00'), originalToMs: at('12:00'), dueAtMs: at('11:00') }],
    ['lets a booking whose window has begun wait until it ends', fromNow, [], { counted: 2 }, { status: 'waiting', kind: 'booking', fromMs: at('10:00'), toMs: at('11:00'), originalToMs: at('11:00'), dueAtMs: at('11:00') }],
    ['refuses a closed lot: nobody knows when it opens', aHold, [], { open: false }, 'lot_closed'],
    ['refuses a window that is over', book('09:00', '09:30'), [], {}, 'window_past'],
    ['refuses a window too far ahead', { kind: 'booking', window: { fromMs: at('11:00'), toMs: NOW + 8 * 86_400_000 } }, [], { counted: 2 }, 'over_limit']
  ])('%s', (_, wish, windows, lot, expected) => {
    expect(outcome(wait(place(windows, lot), 'X', wish, ANN, FRESH, NOW, RULES), HELD_KEYS)).toEqual(expected)
  })
})

describe('promote', () => {
  const waitsForHold = hold('waiting', { fromMs: at('09:00'), toMs: at('11:00'), originalToMs: at('11:00'), dueAtMs: at('11:00'), madeAtMs: at('09:00') })
  const waitsForHour = booking('waiting', { ...window('11:00', '12:00'), originalToMs: at('12:00'), dueAtMs: at('11:00') })
  const waitsInside = booking('waiting', { ...window('09:30', '10:50'), originalToMs: at('10:50'), dueAtMs: at('10:50'), madeAtMs: at('09:30:10') })

  test.each<[string, Reservation, Window[], Partial<Lot>, unknown]>([
    ['gives a hold its usual length from now', waitsForHold, [], {}, { status: 'held', kind: 'hold', fromMs: NOW, toMs: NOW + 300_000, originalToMs: NOW + 300_000, dueAtMs: NOW + 300_000 }],
    ['leaves a hold where it is while no place is free', waitsForHold, [], { counted: 2 }, 'lot_full'],
    ['leaves a hold where it is that would meet bookings', waitsForHold, twice('10:04', '11:00'), {}, 'lot_full'],
    ['books a window', waitsForHour, [window('11:00', '12:00')], { counted: 2 }, { status: 'booked', kind: 'booking', fromMs: at('11:00'), toMs: at('12:00'), originalToMs: at('12:00'), dueAtMs: at('11:00') }],
    ['leaves a window where it is while it is full', waitsForHour, twice('11:59', '12:00'), {}, 'lot_full'],
    ['holds what is left of a window that has begun, and gives it up half an hour from now', waitsInside, twice('09:30', '10:00'), {}, { status: 'held', kind: 'booking', fromMs: at('09:30'), toMs: at('10:50'), originalToMs: at('10:50'), dueAtMs: at('10:30:30') }],
    ['gives nothing in a closed lot', waitsForHold, [], { open: false }, 'lot_closed']
  ])('%s', (_, waiting, windows, lot, expected) => {
    expect(outcome(promote(place(windows, lot), waiting, NOW, RULES), HELD_KEYS)).toEqual(expected)
  })
})

describe('a step', () => {
  const soon = booking('booked', { ...window('10:10', '11:00'), dueAtMs: at('10:10') })
  const arrive: ReservationEvent = { type: 'arrive', counting: 'sensors' }

  test.each<[string, Reservation, ReservationEvent, Partial<Lot>, unknown]>([
    ['lets the car of a booking come a quarter of an hour early', soon, arrive, { counted: 1 }, { status: 'arriving', dueAtMs: NOW + 120_000 }],
    ['but not earlier', booking('booked', { ...window('10:15:31', '11:00') }), arrive, {}, 'too_early'],
    ['and not when no place is free', soon, arrive, { counted: 1, held: 1 }, 'lot_full'],
    ['and not into a closed lot', soon, arrive, { open: false }, 'lot_full'],
    ['lets it come into a full lot when its window has begun: its place is held', booking('held'), arrive, { counted: 2, held: 1 }, { status: 'arriving', dueAtMs: NOW + 120_000 }],
    ['counts it at once where requests count', soon, { type: 'arrive', counting: 'requests' }, {}, { status: 'arrived', dueAtMs: at('11:00') }],
    ['refuses to arrive twice', booking('arriving'), arrive, {}, 'already_arrived'],
    ['refuses to arrive while it waits', booking('waiting'), arrive, {}, 'still_waiting'],
    ['refuses to depart before it has come', booking('held'), { type: 'depart' }, {}, 'not_arrived'],
    ['refuses to cancel when it is in', booking('arrived'), { type: 'cancel' }, {}, 'already_arrived'],
    ['refuses to cancel twice', booking('cancelled'), { type: 'cancel' }, {}, 'already_cancelled'],
    ['refuses to cancel what nobody came for', booking('no_show'), { type: 'cancel' }, {}, 'reservation_ended'],
    ['lets one leave the waiting list', booking('waiting'), { type: 'cancel' }, {}, { status: 'cancelled', dueAtMs: null }]
  ])('%s', (_, reservation, event, lot, expected) => {
    expect(outcome(step({ ...LOT, ...lot }, reservation, event, NOW, RULES.times), ['status', 'dueAtMs'])).toEqual(expected)
  })
})

describe('choose', () => {
  const secret = (secretHash: string): Asker => ({ user: null, secretHash, actsForOthers: false })
  const named = (id: string, reservation: Reservation): Reservation => ({ ...reservation, id })
  const over = named('R-OVER', booking('departed', { madeAtMs: at('09:30') }))
  const later = named('R-LATER', booking('booked', { fromMs: at('15:00') }))
  const sooner = named('R-SOONER', booking('booked', { fromMs: at('12:00'), madeAtMs: at('08:00') }))
  const inside = named('R-INSIDE', booking('arrived'))
  const waiting = named('R-WAITING', booking('waiting'))

  test.each<[string, Reservation[], Asker, string]>([
    ['nothing', [], ANN, 'unknown_reservation'],
    ['what the same user made', [booking('held')], ANN, 'R-1'],
    ['what another made, not without its secret', [booking('held')], { ...ANN, user: 'bob' }, 'not_yours'],
    ['what another made, with its secret', [booking('held')], { user: 'bob', secretHash: 'hash-1', actsForOthers: false }, 'R-1'],
    ['not with another secret', [booking('held')], secret('hash-2'), 'not_yours'],
    ['not without any, where nobody is known', [booking('held', { owner: null })], { user: null, secretHash: null, actsForOthers: false }, 'not_yours'],
    ['anybody\'s for an operator', [booking('held')], { user: 'olga', secretHash: null, actsForOthers: true }, 'R-1'],
    ['a live one before one that is over', [over, later], ANN, 'R-LATER'],
    ['one that is in before one that is to come', [later, inside], ANN, 'R-INSIDE'],
    ['of those to come the next, though it was made first', [later, sooner], ANN, 'R-SOONER'],
    ['one with a place before one that waits', [waiting, later], ANN, 'R-LATER'],
    ['of two that are alike the newest', [named('R-OLD', hold('held')), named('R-YOUNG', hold('held', { madeAtMs: at('09:59') }))], ANN, 'R-YOUNG'],
    ['of several the one whose secret is shown', [named('R-A', hold('held')), named('R-B', hold('held', { secretHash: 'hash-b' }))], secret('hash-b'), 'R-B']
  ])('%s', (_, candidates, asker, expected) => {
    const chosen = choose(candidates, 'of ABC123 in LOT-A', asker)
    expect(chosen.ok ? chosen.value.id : chosen.refusal.code).toBe(expected)
  })

  test('leaves the order of what it was given alone', () => {
    const candidates = [over, later, inside]
    choose(candidates, 'x', ANN)
    expect(candidates.map(({ id }) => id)).toEqual(['R-OVER', 'R-LATER', 'R-INSIDE'])
  })
})
