// Which kept secret is taken for a lot and a plate: that of the reservation that is most likely meant.
import { expect, test } from 'vitest'
import { inOrder, type Kept } from '../../cli/secrets.js'

const NOW = Date.parse('2026-12-24T12:00:00Z')
const kept = (reservation: string, from: string | undefined, until: string, status?: string): Kept => ({
  reservation, lot: 'A', plate: 'X1', secret: 's', until: `2026-12-${until}:00Z`, ...(from !== undefined && { from: `2026-12-${from}:00Z` }), ...(status !== undefined && { status })
})
const order = (...all: Kept[]): string[] => inOrder(all, NOW).map(({ reservation }) => reservation)

test('what is next comes before what is later, and what is over comes last, the newest of it first', () => {
  const over = [kept('old', '20T10:00', '20T12:00', 'booked'), kept('newer', '23T10:00', '23T12:00', 'booked')]
  const next = kept('next', '24T18:00', '24T20:00', 'booked')
  const later = kept('later', '30T18:00', '30T20:00', 'booked')
  expect(order(...over, later, next)).toEqual(['next', 'later', 'newer', 'old'])
})

test('what was given back is not meant, though its time is next', () => {
  expect(order(kept('cancelled', '24T13:00', '24T14:00', 'cancelled'), kept('booked', '30T13:00', '30T14:00', 'booked'))).toEqual(['booked', 'cancelled'])
})

test('a car that is in is meant, though its hold has ended with its arrival', () => {
  expect(order(kept('booked', '30T13:00', '30T14:00', 'booked'), kept('in', '24T10:00', '24T10:05', 'arrived'))).toEqual(['in', 'booked'])
})

test('files of older versions know neither begin nor status', () => {
  expect(order(kept('later', undefined, '24T14:00'), kept('next', undefined, '24T13:00'), kept('over', undefined, '24T11:00'))).toEqual(['next', 'later', 'over'])
})
