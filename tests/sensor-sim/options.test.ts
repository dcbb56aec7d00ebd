import { describe, expect, test } from 'vitest'
import { duration, readSettings, type SimulateOptions } from '../../cli/simulate-options.js'

const NOW_MS = 1_800_000_000_000
const read = (options: Partial<SimulateOptions>): ReturnType<typeof readSettings> => readSettings({ url: 'mqtt://127.0.0.1', timeout: '5', ...options }, NOW_MS)

describe('options of simulate', () => {
  test('have defaults: all lots, 10 a second for a minute, a day in 144 s, no faults, the time as the epoch', () => {
    expect(read({})).toEqual({
      source: { type: 'traffic', lots: undefined, capacity: undefined, rate: 10, durationMs: 60_000, gates: 1, speed: 600, startMs: Date.parse('2026-11-23T06:00:00Z'), recount: false },
      faults: { seed: 1, epoch: NOW_MS, restartEvery: 0, duplicate: 0, lose: 0, reorder: 0 },
      sending: { window: 64, giveUpMs: 30_000 },
      verify: false
    })
  })

  test('take what the issue writes', () => {
    expect(read({ replay: 'f.csv', speed: '600', createLots: true, duplicate: '0.05', lose: '0.02', reorder: '.01', restartEvery: '500' })).toMatchObject({
      source: { type: 'replay', file: 'f.csv', speed: 600, createLots: true, recount: 'no' }, faults: { duplicate: 0.05, lose: 0.02, reorder: 0.01, restartEvery: 500 }
    })
    expect(read({ replay: 'f.csv', speed: 'max' }).source).toMatchObject({ speed: Infinity })
    expect(read({ replay: 'f.csv', speed: '0', recountOnly: true }).source).toMatchObject({ speed: Infinity, recount: 'only' })
    expect(read({ replay: 'f.csv', columns: 'name=car park, occupancy=a=b' }).source).toMatchObject({ columns: { name: 'car park', capacity: 'Capacity', occupancy: 'a=b', time: 'LastUpdated' } })
    expect(read({ lots: 'LOT-A, LOT-B', rate: '0.5', duration: '0', seed: '7', speed: '1', gates: '3', start: '2026-11-28T09:00', epoch: '12', window: '1', giveUp: '5m' })).toMatchObject({
      source: { lots: ['LOT-A', 'LOT-B'], rate: 0.5, durationMs: Infinity, speed: 1, gates: 3, startMs: Date.parse('2026-11-28T09:00:00Z') }, faults: { seed: 7, epoch: 12 }, sending: { window: 1, giveUpMs: 300_000 }
    })
  })

  test.each([
    [{ rate: '-1' }, /--rate -1 is not a number from 0 to 1000000/],
    [{ rate: 'fast' }, /--rate fast is not a number/],
    [{ duration: '60x' }, /--duration 60x is not a time.*write 500ms, 30s, 5m or 2h/],
    [{ gates: '0' }, /--gates 0 is out of range; write a whole number from 1 to 1000/],
    [{ gates: '1.5' }, /--gates 1.5 is not a whole number/],
    [{ speed: 'max' }, /--speed max is for --replay.*--rate 0/],
    [{ speed: '0' }, /--speed 0 is for --replay/],
    [{ seed: '-3' }, /--seed -3 is out of range/],
    [{ epoch: '99999999999999999' }, /--epoch 99999999999999999 is out of range/],
    [{ start: 'Monday' }, /--start Monday is not a time/],
    [{ lots: 'LOT-A,,B' }, /--lots: "" is not a lot id/],
    [{ lots: 'LOT/A' }, /--lots: "LOT\/A" is not a lot id/],
    [{ lots: 'A,A' }, /--lots A,A names a lot twice/],
    [{ capacity: '5' }, /--capacity 5 .*--lots/],
    [{ capacity: '5', lots: 'A', verify: true }, /--verify needs the counts of the service/],
    [{ duplicate: '5' }, /--duplicate 5 is not a share of the messages.*0.05 for 5 %/],
    [{ lose: '2%' }, /--lose 2% is not a share/],
    [{ reorder: '-0.1' }, /--reorder -0.1 is not a share/],
    [{ restartEvery: '3' }, /--restart-every 3 is too often.*at least 10/],
    [{ window: '0' }, /--window 0 is out of range/],
    [{ createLots: true }, /--create-lots is for --replay FILE/],
    [{ recountOnly: true }, /--recount-only is for --replay/],
    [{ columns: 'name=x' }, /--columns name=x is for --replay/],
    [{ replay: 'f', rate: '5' }, /--rate 5 has no meaning with --replay/],
    [{ replay: 'f', duration: '5s' }, /--duration 5s has no meaning with --replay/],
    [{ replay: 'f', columns: 'cars=x' }, /--columns: "cars=x" is not one of name=HEADER/],
    [{ replay: 'f', columns: 'name' }, /--columns: "name" is not one of/],
    [{ replay: 'f', recount: true, recountOnly: true }, /--recount and --recount-only exclude each other/]
  ] as [Partial<SimulateOptions>, RegExp][])('refuse %j', (options, message) => {
    expect(() => read(options)).toThrow(expect.objectContaining({ code: 'usage', message: expect.stringMatching(message) as string }))
  })

  test.each([['500ms', 500], ['30s', 30_000], ['5m', 300_000], ['2h', 7_200_000], ['90', 90_000], ['0', 0], ['1.5s', 1_500]])('time %s is %d ms', (text, ms) => {
    expect(duration(text, '--duration')).toBe(ms)
  })

  test.each(['', '5d', '-5s', 's', '5 s', '9999h'])('refuse the time %j', text => {
    expect(() => duration(text, '--duration')).toThrow('--duration')
  })
})
