// Two consumers whose batches may begin together, with a turn of the event loop as the only clock.
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { BatchStart } from '../../shared/batch-start.js'
import { ACCEPTED, type Consumer, type Delivery } from '../../shared/bus.js'
import { Intake } from '../../shared/intake.js'
import { createMetrics } from '../../shared/metrics.js'
import { ManualClock } from '../support/clock.js'

const turn = async (): Promise<void> => await new Promise(resolve => setImmediate(resolve))

function delivery (payload: string): Delivery {
  return { topic: 'lots/LOT-A/sensor', payload: Buffer.from(payload), qos: 1, retain: false, dup: false, properties: {}, receivedAtMs: 0 }
}

/** Intakes that share a start, what was handed over together, one transaction after the other, and whose batches were settled. */
function recording (): { intakeOf: (name: string, waitsForCommit?: () => boolean) => Intake<null>, begun: string[][], settled: string[] } {
  const begun: string[][] = []
  const settled: string[] = []
  let now: string[] | null = null
  const batchStart = new BatchStart()
  const intakeOf = (name: string, waitsForCommit?: () => boolean): Intake<null> => {
    const consumer: Consumer = {
      ...waitsForCommit && { waitsForCommit },
      handle: async batch => {
        if (now === null) {
          begun.push(now = [])
          // As the ledger does: it begins when everybody that is ready has asked.
          process.nextTick(() => { now = null })
        }
        now.push(`${name} ${batch.length}`)
        // So long that more is waited for, for a millisecond.
        for (const startedMs = performance.now(); performance.now() - startedMs < 4;) await turn()
        return batch.map(() => ACCEPTED)
      }
    }
    return new Intake({ consumer, filter: name, clock: new ManualClock(), log: pino({ level: 'silent' }), metrics: createMetrics(), batchStart, settle: () => { settled.push(name) } })
  }
  return { intakeOf, begun, settled }
}

test('those who are ready in the same turn of the event loop begin together', async () => {
  const { intakeOf, begun } = recording()
  const [sensors, requests] = [intakeOf('sensors'), intakeOf('requests')]
  sensors.push(delivery('1'), null)
  requests.push(delivery('2'), null)
  sensors.push(delivery('3'), null)
  while (begun.length === 0) await turn()
  expect(begun).toEqual([['sensors 2', 'requests 1']])
})

test('nobody begins while somebody gathers, and then all begin in the same turn', async () => {
  const batchStart = new BatchStart()
  let stop = (): void => {}
  const begun: string[] = []
  const begin = (who: string) => () => { begun.push(who) }
  void batchStart.readyAfter(new Promise(resolve => { stop = resolve })).then(begin('who gathered'))
  for (const who of ['first', 'second']) void batchStart.ready().then(begin(who))
  for (let i = 0; i < 5; i++) await turn()
  expect(begun).toEqual([])
  const { gathered } = batchStart
  stop()
  // As the ledger does: it begins when everybody that is ready has asked.
  await new Promise<void>(resolve => { process.nextTick(resolve) })
  expect(begun.sort()).toEqual(['first', 'second', 'who gathered'])
  expect(batchStart.gathered).toBe(gathered + 1)
})

test('where two gather, the others wait for both', async () => {
  const batchStart = new BatchStart()
  const stops: (() => void)[] = []
  const begun: number[] = []
  for (const one of [1, 2]) void batchStart.readyAfter(new Promise(resolve => stops.push(resolve))).then(() => begun.push(one))
  const ready = batchStart.ready().then(() => begun.push(3))
  for (let i = 0; i < 3; i++) await turn()
  stops[1]?.()
  for (let i = 0; i < 5; i++) await turn()
  expect(begun).toEqual([])
  stops[0]?.()
  await ready
  await turn()
  expect(begun.sort()).toEqual([1, 2, 3])
})

test('who gathers for less stops when others have gathered, and is in the same transaction', async () => {
  const { intakeOf, begun, settled } = recording()
  const [sensors, requests] = [intakeOf('sensors'), intakeOf('requests', () => true)]
  // Only the requesters send again: the sensors' batch waits for more in vain, and without an end of it would be late.
  for (let i = 0; i < 8; i++) sensors.push(delivery(String(i)), null)
  for (let i = 0; i < 4; i++) requests.push(delivery(String(i)), null)
  while (settled.length < 2) await turn()
  sensors.push(delivery('more'), null)
  for (let i = 0; i < 4; i++) requests.push(delivery('again'), null)
  while (begun.length === 1) await turn()
  expect(begun.map(names => names.sort())).toEqual([['requests 4', 'sensors 8'], ['requests 4', 'sensors 1']])
})

test('a consumer that nobody gathers for is handed its batches all the same', async () => {
  const { intakeOf, begun } = recording()
  const sensors = intakeOf('sensors')
  for (let batch = 0; batch < 3; batch++) {
    for (let i = 0; i < 5; i++) sensors.push(delivery(String(i)), null)
    while (begun.length <= batch) await turn()
  }
  expect(begun.flat()).toEqual(['sensors 5', 'sensors 5', 'sensors 5'])
})
