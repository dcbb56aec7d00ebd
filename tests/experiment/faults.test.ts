// The fate of packets: as often as it is told, the same for the same seed, and each stream for itself.
import { describe, expect, test } from 'vitest'
import { createFate, type PacketFaults } from '../../cli/experiment/faults.js'

const NONE: PacketFaults = { seed: 1, loss: 0, duplicate: 0, delayMs: 0 }
const PACKETS = 20_000

function fates (faults: Partial<PacketFaults>, stream = 'toBroker 0', packets = PACKETS): (readonly number[])[] {
  const fate = createFate({ ...NONE, ...faults }, stream)
  return Array.from({ length: packets }, fate)
}

const share = (all: readonly (readonly number[])[], copies: number): number => all.filter(one => one.length === copies).length / all.length

describe('the fate of packets', () => {
  test.each([[0, 0], [0.2, 0.2], [0.3, 0.2], [0.05, 0.9], [1, 0.5], [0, 1]])('with a loss of %d and duplicates of %d is as often as that', (loss, duplicate) => {
    const all = fates({ loss, duplicate })
    expect(share(all, 0)).toBeCloseTo(loss, 2)
    expect(share(all, 2)).toBeCloseTo((1 - loss) * duplicate, 2)
    expect(share(all, 1)).toBeCloseTo((1 - loss) * (1 - duplicate), 2)
  })

  test('is a delay of each copy, uniform up to the longest', () => {
    const delays = fates({ duplicate: 0.5, delayMs: 50 }).flat()
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(0)
    expect(Math.max(...delays)).toBeLessThanOrEqual(50)
    for (const quarter of [0, 1, 2, 3]) {
      expect(delays.filter(ms => Math.floor(ms / 12.5) === quarter).length / delays.length).toBeCloseTo(0.25, 1)
    }
    // The second copy is not always behind the first.
    const doubled = fates({ duplicate: 1, delayMs: 50 })
    expect(doubled.filter(([first = 0, second = 0]) => second < first).length / doubled.length).toBeCloseTo(0.5, 1)
  })

  test('is the same for the same seed and stream, and another for another', () => {
    const faults = { loss: 0.3, duplicate: 0.2, delayMs: 50 }
    const first = fates(faults, 'toBroker 0', 1_000)
    expect(fates(faults, 'toBroker 0', 1_000)).toEqual(first)
    expect(fates(faults, 'toBroker 1', 1_000)).not.toEqual(first)
    expect(fates(faults, 'toClients 0', 1_000)).not.toEqual(first)
    expect(fates({ ...faults, seed: 2 }, 'toBroker 0', 1_000)).not.toEqual(first)
  })

  test('of one fault does not depend on the share of another', () => {
    const lost = (all: readonly (readonly number[])[]): boolean[] => all.map(one => one.length === 0)
    expect(lost(fates({ loss: 0.3, duplicate: 0.9 }))).toEqual(lost(fates({ loss: 0.3 })))
  })
})
