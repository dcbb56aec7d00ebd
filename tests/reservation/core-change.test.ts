// What may be changed and extended in each status, with its refusals: nothing is asked for again that is had already.
import { describe, expect, test } from 'vitest'
import { change, extend, type Change, type Until } from '../../services/reservation/core.js'
import type { Lot } from '../../shared/lot.js'
import type { Reservation } from '../../shared/reservation.js'
import type { Window } from '../../shared/windows.js'
import { at, booking, hold, LOT_B, MINUTE, NOW, outcome, place, RULES, window } from './core-words.js'

const KEYS = ['status', 'fromMs', 'toMs', 'originalToMs', 'dueAtMs'] as const
const is = (status: string, from: string, to: string, due: string, original = to) => ({ status, fromMs: at(from), toMs: at(to), originalToMs: at(original), dueAtMs: at(due) })
const own = ({ fromMs, toMs }: Reservation): Window => ({ fromMs, toMs })
const times = (from: string, to: string): Change => window(from, to)
const elsewhere = (windows: readonly Window[] = [], over: Partial<Lot> = {}): Change => ({ place: place(windows, { ...LOT_B, ...over }) })

describe('change', () => {
  test.each<[string, Reservation, Change, Window[], Partial<Lot>, unknown]>([
    ['shifts one that is to come', booking('booked'), times('12:00', '12:30'), [], {}, is('booked', '12:00', '12:30', '12:00')],
    ['asks only for what is new: its own window is full with it', booking('booked'), times('11:10', '11:40'), [window('11:00', '11:30')], {}, is('booked', '11:10', '11:40', '11:10')],
    ['is refused when what is new behind is full', booking('booked'), times('11:10', '11:40'), [window('11:35', '12:00'), window('11:35', '12:00')], {}, 'lot_full'],
    ['is refused when what is new in front is full', booking('booked'), times('10:50', '11:20'), [window('10:40', '10:51'), window('10:40', '10:51')], {}, 'lot_full'],
    ['looks at both sides when it grows on both', booking('booked'), times('10:50', '11:40'), [window('11:39', '11:40'), window('11:39', '11:40')], {}, 'lot_full'],
    ['makes it shorter although the lot has become too small', booking('booked'), times('11:00', '11:10'), [window('11:00', '11:30'), window('11:00', '11:30')], { capacity: 1 }, is('booked', '11:00', '11:10', '11:00')],
    ['makes it shorter although the lot is closed', booking('booked'), times('11:05', '11:10'), [], { open: false }, is('booked', '11:05', '11:10', '11:05')],
    ['does not make it longer in a closed lot', booking('booked'), times('11:00', '11:31'), [], { open: false }, 'lot_closed'],
    ['begins one at once when it is shifted to now', booking('booked'), times('10:00', '11:00'), [], {}, is('held', '10:00', '11:00', '10:30:30')],
    ['and needs a free place for that', booking('booked'), times('10:00', '11:00'), [], { counted: 2 }, 'lot_full'],
    ['not before the minute that has begun', booking('booked'), times('09:59', '11:00'), [], {}, 'window_past'],
    ['not to a time that is over', booking('booked'), times('08:00', '09:00'), [], {}, 'window_past'],
    ['not to an end before the begin', booking('booked'), { toMs: at('10:59') }, [], {}, 'bad_request'],
    ['not too far ahead', booking('booked'), { toMs: NOW + 8 * 86_400_000 }, [], {}, 'over_limit'],
    ['puts one that is held off: its place is free until then', booking('held'), times('11:00', '11:30'), [], {}, is('booked', '11:00', '11:30', '11:00')],
    ['keeps the begin that one has had, although it is over', booking('held'), { toMs: at('10:40') }, [], { counted: 2 }, is('held', '10:00', '10:40', '10:30')],
    ['gives one that ends sooner up at its end', booking('held'), { toMs: at('10:10') }, [], {}, is('held', '10:00', '10:10', '10:10')],
    ['does not give one up at once that had waited for its place', booking('held', { fromMs: at('09:00'), madeAtMs: at('09:00:10'), dueAtMs: at('10:20') }), { toMs: at('10:40') }, [], {}, is('held', '09:00', '10:40', '10:20')],
    ['changes the end of one whose car is on its way', booking('arriving'), { toMs: at('10:40') }, [], {}, is('arriving', '10:00', '10:40', '10:02')],
    ['changes the end of one whose car is in', booking('arrived'), { toMs: at('10:20') }, [], {}, is('arrived', '10:00', '10:20', '10:20')],
    ['brings one that has overstayed back into a window', booking('overstayed'), { toMs: at('11:00') }, [], { counted: 2 }, is('arrived', '09:00', '11:00', '11:00')],
    ['but not where others have booked', booking('overstayed'), { toMs: at('11:00') }, [window('10:30', '10:31'), window('10:30', '10:31')], {}, 'lot_full'],
    ['does not move the begin of one whose car is in', booking('arrived'), { fromMs: at('10:10') }, [], {}, 'already_arrived'],
    ['does not move the begin of one whose car is on its way', booking('arriving'), { fromMs: at('10:10') }, [], {}, 'already_arrived'],
    ['does not move one whose car is in to another lot', booking('arrived'), elsewhere(), [], {}, 'already_arrived'],
    ['has no times for a hold', hold('held'), { toMs: at('10:30') }, [], {}, 'bad_request'],
    ['leaves one that waits', booking('waiting'), { toMs: at('12:00') }, [], {}, 'still_waiting'],
    ['leaves one that was cancelled', booking('cancelled'), { toMs: at('12:00') }, [], {}, 'already_cancelled'],
    ['leaves one whose car has left', booking('departed'), { toMs: at('12:00') }, [], {}, 'reservation_ended'],
    ['leaves one that nobody came for', booking('no_show'), { toMs: at('12:00') }, [], {}, 'reservation_ended'],
    ['leaves a hold that has expired', hold('expired'), { plate: 'NEW1' }, [], {}, 'reservation_ended']
  ])('%s', (_, reservation, asked, others, lot, expected) => {
    const windows = reservation.dueAtMs !== null && reservation.status !== 'waiting' ? [own(reservation), ...others] : others
    expect(outcome(change(place(windows, lot), reservation, asked, NOW, RULES), KEYS)).toEqual(expected)
  })

  test.each<[string, Reservation, Change, unknown]>([
    ['moves a booking', booking('booked'), elsewhere([window('11:00', '12:00')], { counted: 2 }), { lot: 'LOT-B', status: 'booked', toMs: at('11:30'), originalToMs: at('11:30') }],
    ['moves a booking and its times', booking('booked'), { ...elsewhere(), ...times('14:00', '15:00') }, { lot: 'LOT-B', status: 'booked', toMs: at('15:00'), originalToMs: at('15:00') }],
    ['does not move one to where its window is full', booking('booked'), elsewhere([window('11:00', '12:00'), window('11:00', '12:00')]), 'lot_full'],
    ['does not take its own window along', booking('booked'), elsewhere([window('11:00', '11:30'), window('11:00', '11:30')]), 'lot_full'],
    ['does not move one to a closed lot', booking('booked'), elsewhere([], { open: false }), 'lot_closed'],
    ['moves one that is held to where a place is free', booking('held'), elsewhere([], { counted: 1 }), { lot: 'LOT-B', status: 'held', toMs: at('10:30'), originalToMs: at('10:30') }],
    ['does not move one that is held to where none is', booking('held'), elsewhere([], { counted: 2 }), 'lot_full'],
    ['moves a hold until the same time', hold('held'), elsewhere(), { lot: 'LOT-B', status: 'held', toMs: at('10:03'), originalToMs: at('10:03') }],
    ['does not move a hold whose car is on its way', hold('arriving'), elsewhere(), 'already_arrived']
  ])('of the lot %s', (_, reservation, asked, expected) => {
    expect(outcome(change(place([own(reservation)]), reservation, asked, NOW, RULES), ['lot', 'status', 'toMs', 'originalToMs'])).toEqual(expected)
  })

  test.each([booking('booked'), booking('held'), booking('arriving'), booking('arrived'), booking('overstayed'), hold('held'), hold('arriving'), hold('arrived')])('of the plate alone asks for nothing, of a $kind that is $status', reservation => {
    expect(change(place([], { open: false, capacity: 0 }), reservation, { plate: 'NEW1' }, NOW, RULES)).toEqual({ ok: true, value: { ...reservation, plate: 'NEW1' } })
  })

  test('to the times that it has keeps what was extended', () => {
    const extended = booking('booked', { toMs: at('12:00') })
    expect(outcome(change(place([own(extended)]), extended, times('11:00', '12:00'), NOW, RULES), KEYS)).toEqual(is('booked', '11:00', '12:00', '11:00', '11:30'))
  })
})

describe('extend', () => {
  const by = (minutes: number): Until => ({ byMs: minutes * MINUTE })
  const until = (time: string): Until => ({ untilMs: at(time) })

  test.each<[string, Reservation, Until, Window[], Partial<Lot>, unknown]>([
    ['makes a booking longer, counted from the end that it was booked for', booking('booked'), by(30), [], {}, is('booked', '11:00', '12:00', '11:00', '11:30')],
    ['counts from the same end once more', booking('booked', { toMs: at('12:00') }), by(30), [], {}, is('booked', '11:00', '12:00', '11:00', '11:30')],
    ['adds only what is more', booking('booked', { toMs: at('12:00') }), by(45), [], {}, is('booked', '11:00', '12:15', '11:00', '11:30')],
    ['never makes it shorter', booking('booked'), until('11:10'), [], {}, is('booked', '11:00', '11:30', '11:00', '11:30')],
    ['makes it last until then', booking('booked'), until('13:00'), [], {}, is('booked', '11:00', '13:00', '11:00', '11:30')],
    ['is refused where others have booked', booking('booked'), until('13:00'), [window('12:59', '14:00'), window('12:59', '14:00')], {}, 'lot_full'],
    ['may reach to where others begin', booking('booked'), until('13:00'), [window('13:00', '14:00'), window('13:00', '14:00')], {}, is('booked', '11:00', '13:00', '11:00', '11:30')],
    ['is refused in a closed lot', booking('booked'), by(30), [], { open: false }, 'lot_closed'],
    ['is refused too far ahead', booking('booked'), { untilMs: NOW + 8 * 86_400_000 }, [], {}, 'over_limit'],
    ['needs no place that is free now, when one is held', booking('held'), by(30), [], { counted: 2 }, is('held', '10:00', '11:00', '10:30', '10:30')],
    ['does not give one up at once that had waited for its place', booking('held', { fromMs: at('09:00'), madeAtMs: at('09:00:10'), dueAtMs: at('10:28') }), by(30), [], {}, is('held', '09:00', '11:00', '10:28', '10:30')],
    ['keeps when a car on its way is believed to be in', booking('arriving'), by(30), [], {}, is('arriving', '10:00', '11:00', '10:02', '10:30')],
    ['lets a car stay longer', booking('arrived'), by(30), [], { counted: 2 }, is('arrived', '10:00', '11:00', '11:00', '10:30')],
    ['brings one that has overstayed back into a window', booking('overstayed'), until('10:30'), [], { counted: 2 }, is('arrived', '09:00', '10:30', '10:30', '10:00')],
    ['is refused to one that has overstayed where others have booked', booking('overstayed'), until('10:30'), [window('10:00', '10:30'), window('10:00', '10:30')], {}, 'lot_full'],
    ['is refused until a time that is over', booking('overstayed', { toMs: at('09:30'), originalToMs: at('09:30') }), until('10:00'), [], {}, 'window_past'],
    ['makes a hold longer', hold('held'), by(10), [], {}, is('held', '09:58', '10:13', '10:13', '10:03')],
    ['makes a hold an hour long at most', hold('held'), until('10:58'), [], {}, is('held', '09:58', '10:58', '10:58', '10:03')],
    ['makes no hold longer than that', hold('held'), until('10:59'), [], {}, 'over_limit'],
    ['counts that hour from when a hold had its place, not from when it began to wait', hold('held', { madeAtMs: at('08:00') }), until('10:58'), [], {}, is('held', '09:58', '10:58', '10:58', '10:03')],
    ['has nothing for a hold whose car is on its way', hold('arriving'), by(10), [], {}, 'already_arrived'],
    ['has nothing for a hold whose car is in', hold('arrived'), by(10), [], {}, 'already_arrived'],
    ['leaves one that waits', booking('waiting'), by(10), [], {}, 'still_waiting'],
    ['leaves one that was cancelled', booking('cancelled'), by(10), [], {}, 'already_cancelled'],
    ['leaves one whose car has left', booking('departed'), by(10), [], {}, 'reservation_ended'],
    ['leaves one that has expired', hold('expired'), by(10), [], {}, 'reservation_ended'],
    ['leaves one that nobody came for', booking('no_show'), by(10), [], {}, 'reservation_ended']
  ])('%s', (_, reservation, asked, others, lot, expected) => {
    const windows = reservation.dueAtMs !== null && reservation.status !== 'waiting' ? [own(reservation), ...others] : others
    expect(outcome(extend(place(windows, lot), reservation, asked, NOW, RULES), KEYS)).toEqual(expected)
  })

  test('that changes nothing gives the very same reservation back, so that nothing is written', () => {
    const reservation = booking('held')
    const same = extend(place([own(reservation)]), reservation, { untilMs: at('10:30') }, NOW, RULES)
    expect(same.ok && same.value).toBe(reservation)
  })
})
