// The arithmetic of a lot that occupancy and reservation must agree on.
import { describe, expect, test } from 'vitest'
import { freePlaces, occupiedPlaces, qualityAt, type Id } from '../../shared/lot.js'

describe('occupied places', () => {
  test.each([
    { counted: 0, capacity: 100, occupied: 0 },
    { counted: 50, capacity: 100, occupied: 50 },
    { counted: 100, capacity: 100, occupied: 100 },
    { counted: 101, capacity: 100, occupied: 100 },
    { counted: -1, capacity: 100, occupied: 0 },
    { counted: 5, capacity: 0, occupied: 0 }
  ])('$counted counted of $capacity are $occupied', ({ occupied, ...lot }) => {
    expect(occupiedPlaces(lot)).toBe(occupied)
  })
})

describe('free places', () => {
  const lot = { capacity: 100, buffer: 0, counted: 0, held: 0, open: true }
  test.each([
    ['an empty lot', {}, 100],
    ['cars', { counted: 30 }, 70],
    ['held places', { counted: 30, held: 5 }, 65],
    ['the buffer', { counted: 30, held: 5, buffer: 10 }, 55],
    ['a count below zero, which gives no places away', { counted: -20 }, 100],
    ['a count above the capacity', { counted: 130 }, 0],
    ['more held than is left', { counted: 98, held: 5 }, 0],
    ['a buffer of the whole lot', { buffer: 100 }, 0],
    ['a lot without places', { capacity: 0 }, 0],
    ['a closed lot', { open: false }, 0]
  ])('with %s', (_, change, free) => {
    expect(freePlaces({ ...lot, ...change })).toBe(free)
  })
})

describe('quality', () => {
  const STALE_AFTER_MS = 1_000
  test.each([
    ['never heard', { heardAtMs: null, suspect: false }, 'unknown'],
    ['never heard and suspect', { heardAtMs: null, suspect: true }, 'unknown'],
    ['heard now', { heardAtMs: 10_000, suspect: false }, 'live'],
    ['heard just in time', { heardAtMs: 9_001, suspect: false }, 'live'],
    ['silent for the whole time', { heardAtMs: 9_000, suspect: false }, 'stale'],
    ['heard, with a known loss', { heardAtMs: 10_000, suspect: true }, 'suspect'],
    ['silent, with a known loss', { heardAtMs: 0, suspect: true }, 'stale'],
    ['heard in the future by a clock that was set back', { heardAtMs: 20_000, suspect: false }, 'live']
  ] as const)('%s is %s', (_, lot, quality) => {
    expect(qualityAt({ absolute: null, corrected: null, lapsedBays: 0, ...lot }, 10_000, STALE_AFTER_MS)).toBe(quality)
  })

  const recount = (atMs: number) => ({ absolute: { sensor: null, said: 'recount', atMs } as const })
  test.each([
    ['and nobody counts besides', {}, 'stale'],
    ['and a gate counts', { corrected: { sensor: 'gate-1' as Id, said: 'delta', atMs: 9_001 } as const }, 'live'],
    ['and a gate that has been silent for the whole time', { corrected: { sensor: 'gate-1' as Id, said: 'delta', atMs: 9_000 } as const }, 'stale'],
    ['and somebody has just counted', recount(9_500), 'live'],
    ['and somebody counted long ago', recount(8_000), 'stale'],
    ['and other bays were heard', { absolute: { sensor: 'cam-2' as Id, said: 'bays', atMs: 10_000 } as const }, 'stale']
  ] as const)('heard now, with bays that nobody vouches for %s', (_, lot, quality) => {
    expect(qualityAt({ heardAtMs: 10_000, suspect: false, absolute: null, corrected: null, lapsedBays: 1, ...lot }, 10_000, STALE_AFTER_MS)).toBe(quality)
  })
})
