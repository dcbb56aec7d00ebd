// Two consumers whose batches may begin together, with a turn of the event loop as the only clock.
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { Beginning } from '../../shared/beginning.js'
import { ACCEPTED, type Consumer, type Delivery } from '../../shared/bus.js'
import { Intake } from '../../shared/intake.js'
import { createMetrics } from '../../shared/metrics.js'
import { ManualClock } from '../support/clock.js'

const turn = async (): Promise<void> => await new Promise(resolve => setImmediate(resolve))

function delivery (payload: string): Delivery {
  return { topic: 'lots/LOT-A/sensor', payload: Buffer.from(payload), qos: 1, retain: false, dup: false, properties: {}, receivedAtMs: 0 }
}

test('those who are ready in the same turn of the event loop begin together', async () => {
  const begun: string[][] = []
  let now: string[] | null = null
  const beginning = new Beginning()
  const intakeOf = (name: string): Intake<null> => {
    const consumer: Consumer = {
      handle: async batch => {
        if (now === null) {
          begun.push(now = [])
          // As the ledger does: it begins when everybody that is ready has asked.
          process.nextTick(() => { now = null })
        }
        now.push(`${name} ${batch.length}`)
        return batch.map(() => ACCEPTED)
      }
    }
    return new Intake({ consumer, filter: name, clock: new ManualClock(), log: pino({ level: 'silent' }), metrics: createMetrics(), beginning, settle: () => {} })
  }
  const [sensors, requests] = [intakeOf('sensors'), intakeOf('requests')]
  sensors.push(delivery('1'), null)
  requests.push(delivery('2'), null)
  sensors.push(delivery('3'), null)
  while (begun.length === 0) await turn()
  expect(begun).toEqual([['sensors 2', 'requests 1']])
})

test('nobody begins while somebody gathers, and all begin when that is over', async () => {
  const beginning = new Beginning()
  let stop = (): void => {}
  const gathering = beginning.gather(new Promise(resolve => { stop = resolve }))
  const begun: number[] = []
  for (const one of [1, 2]) void beginning.ready().then(() => begun.push(one))
  for (let i = 0; i < 5; i++) await turn()
  expect(begun).toEqual([])
  stop()
  await gathering
  await turn()
  expect(begun).toEqual([1, 2])
})

test('where two gather, the others wait for both', async () => {
  const beginning = new Beginning()
  const stops: (() => void)[] = []
  const gatherings = [1, 2].map(async () => await beginning.gather(new Promise(resolve => stops.push(resolve))))
  let isReady = false
  const ready = beginning.ready().then(() => { isReady = true })
  for (let i = 0; i < 3; i++) await turn()
  stops[1]?.()
  await gatherings[1]
  for (let i = 0; i < 5; i++) await turn()
  expect(isReady).toBe(false)
  stops[0]?.()
  await ready
  expect(isReady).toBe(true)
})

test('who gathers for less goes on with who has gathered for more', async () => {
  const beginning = new Beginning()
  let stop = (): void => {}
  const gathering = beginning.gather(new Promise(resolve => { stop = resolve }))
  let isOver = false
  const never = new Promise<void>(() => {})
  const over = beginning.gatherUnlessOthers(never).then(() => { isOver = true })
  await turn()
  expect(isOver).toBe(false)
  stop()
  await gathering
  await over
  expect(isOver).toBe(true)
})
