// Work that is done again whenever there is news.
import { expect, test } from 'vitest'
import { Pump } from '../../shared/pump.js'
import { ManualClock } from '../support/clock.js'

/** A pump whose work ends when the test says so. */
function start (restMs = 0, waitsForMore = true) {
  const clock = new ManualClock()
  const errors: unknown[] = []
  const begun: { end: () => void, fail: (error: Error) => void }[] = []
  let look = (): void => {}
  const work = async (): Promise<void> => await new Promise<void>((resolve, reject) => {
    begun.push({ end: resolve, fail: reject })
    look()
  })
  const pump = new Pump({ clock, work, onError: error => errors.push(error), restMs, waitsForMore })
  const nth = async (n: number) => {
    await new Promise<void>(resolve => {
      look = () => { if (begun.length >= n) resolve() }
      look()
    })
    return begun[n - 1] as typeof begun[number]
  }
  return { clock, pump, errors, begun, nth }
}

async function turns (count = 5): Promise<void> {
  for (let n = 0; n < count; n++) await new Promise(resolve => setImmediate(resolve))
}

test('the work is done once for all news of one moment, and once more for all that came meanwhile', async () => {
  const { pump, begun, nth } = start()
  pump.wake()
  pump.wake()
  const first = await nth(1)
  pump.wake()
  pump.wake()
  await turns()
  expect(begun).toHaveLength(1)
  first.end()
  ;(await nth(2)).end()
  await turns()
  expect(begun).toHaveLength(2)
})

test('work that fails is told and tried again after a pause', async () => {
  const { clock, pump, errors, nth, begun } = start()
  pump.wake()
  ;(await nth(1)).fail(new Error('no'))
  await clock.armed()
  expect(errors).toEqual([new Error('no')])
  expect(begun).toHaveLength(1)
  clock.advance(250)
  ;(await nth(2)).end()
  await pump.stop()
})

test('it rests between two works, and news during the rest is not lost', async () => {
  const { clock, pump, nth, begun } = start(50)
  pump.wake()
  ;(await nth(1)).end()
  await clock.armed()
  pump.wake()
  await turns()
  expect(begun).toHaveLength(1)
  clock.advance(50)
  ;(await nth(2)).end()
  await pump.stop()
})

test('stop waits for the work of the news so far, does not rest, and hears no more', async () => {
  const { pump, nth, begun } = start(60_000)
  pump.wake()
  const first = await nth(1)
  pump.wake()
  const stopped = pump.stop()
  first.end()
  ;(await nth(2)).end()
  await stopped
  pump.wake()
  await turns()
  expect(begun).toHaveLength(2)
})

test('what fails while it stops is told and not tried again', async () => {
  const { pump, nth, errors, begun } = start()
  pump.wake()
  const first = await nth(1)
  const stopped = pump.stop()
  first.fail(new Error('gone'))
  await stopped
  expect(errors).toHaveLength(1)
  expect(begun).toHaveLength(1)
})

test('where it does not wait for more, what came in that moment is done in one more', async () => {
  const { pump, begun, nth } = start(0, false)
  pump.wake()
  pump.wake()
  pump.wake()
  expect(begun).toHaveLength(1)
  ;(await nth(1)).end()
  ;(await nth(2)).end()
  await turns()
  expect(begun).toHaveLength(2)
})
