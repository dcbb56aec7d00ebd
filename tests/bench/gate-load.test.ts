// Sensors of the load generator against the whole of parkmq and against a broker that merely forwards: every message must
// be acknowledged, and its effect heard, once.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CarSteps } from '../../bench/car-steps.js'
import { GateLoad, type GatesParts } from '../../bench/gate-load.js'
import { runLoad } from '../../bench/request-load.js'
import { startTestApp, type TestApp } from '../support/app.js'
import { startBroker } from '../support/broker.js'

const CAPACITY = 10_000
const STEP = 16
const LOTS = ['LOT-A', 'LOT-B', 'LOT-C']

async function startGates (hearing: GatesParts['hearing'], port: number): Promise<GateLoad> {
  return new GateLoad({ ports: { port, wsPort: null }, hearing, gates: LOTS.map(lot => ({ lot, capacity: CAPACITY, step: STEP })) })
}

async function startApp (): Promise<TestApp> {
  return await startTestApp({ settings: { lots: LOTS.map(lot => ({ lot, capacity: CAPACITY })) } })
}

async function counts (app: TestApp): Promise<number[]> {
  const client = await app.connect()
  return (await client.request<{ lots: { counted: number }[] }>('lots')).lots.map(({ counted }) => counted)
}

/** What the first `n` messages of a gate add up to. */
function carsAfter (n: number): number {
  const steps = new CarSteps({ capacity: CAPACITY, step: STEP })
  return Array.from({ length: n }, (_, i) => steps.delta(i + 1)).reduce((sum, delta) => sum + delta, 0)
}

describe('CarSteps', () => {
  test('tells the newest message from free alone, whatever is held besides and whichever updates are left out', () => {
    const steps = new CarSteps({ capacity: 1_000, step: 10 })
    fc.assert(fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: steps.around - 1 }), fc.integer({ min: 0, max: 9 })), { maxLength: 50 }), updates => {
      let n = 0
      let counted = 0
      for (const [skipped, held] of updates) {
        const before = n
        for (let i = 0; i < skipped; i++) counted += steps.delta(++n)
        expect(counted).toBeGreaterThanOrEqual(0)
        expect(counted + held).toBeLessThan(1_000)
        expect(steps.newest(1_000 - counted - held, before)).toBe(n)
      }
    }))
  })

  test('never says more cars than one delta may', () => {
    const steps = new CarSteps({ capacity: 1_000_000, step: 32 })
    expect(steps.delta(steps.around)).toBeGreaterThanOrEqual(-100_000)
    expect(() => new CarSteps({ capacity: 10, step: 10 })).toThrow(RangeError)
  })
})

describe('GateLoad', () => {
  test('in windows: all is acknowledged and heard of, and a later run goes on where this one ended', async () => {
    const app = await startApp()
    const gates = await startGates('free', app.app.port ?? 0)
    for (const run of [1, 2]) {
      await gates.connect()
      const figures = await gates.run({ type: 'window', window: 10, messages: 700 })
      gates.disconnect()
      expect(figures).toMatchObject({ sent: 2_100, acknowledged: 2_100, heard: 2_100, unsent: 0, closed: [] })
      expect(figures.lag.count).toBe(2_100)
      expect(figures.ack.count).toBe(2_100)
      expect(figures.lagBySecond.reduce((sum, { count }) => sum + count, 0)).toBe(2_100)
      expect(figures.updates).toBeGreaterThan(0)
      expect(await counts(app)).toEqual(LOTS.map(() => carsAfter(run * 700)))
    }
  })

  test('at a rate: all that is due is sent and heard of', async () => {
    const app = await startApp()
    const gates = await startGates('free', app.app.port ?? 0)
    await gates.connect()
    const figures = await gates.run({ type: 'rate', perSecond: 400, seconds: 1 })
    gates.disconnect()
    expect(figures).toMatchObject({ sent: 400, acknowledged: 400, heard: 400, unsent: 0 })
  })

  test('beside reservations in the same lots, each message is still heard of', async () => {
    const app = await startApp()
    const port = app.app.port ?? 0
    const gates = await startGates('free', port)
    await gates.connect()
    const [figures, requests] = await Promise.all([
      gates.run({ type: 'rate', perSecond: 300, seconds: 1 }),
      runLoad({ ports: { port, wsPort: null }, answers: 'replies', clients: 8, workload: 'writes', lots: LOTS, requestIds: true, seed: 1, run: 'TEST0001', pace: { type: 'closed', seconds: 1 } })
    ])
    gates.disconnect()
    expect(figures).toMatchObject({ sent: 300, acknowledged: 300, heard: 300 })
    expect(figures.lag.count).toBe(300)
    expect(requests.ok).toBe(requests.sent)
    expect(await counts(app)).toEqual(LOTS.map(() => carsAfter(100)))
  })

  test('only the first gates that are asked for speak', async () => {
    const app = await startApp()
    const gates = await startGates('free', app.app.port ?? 0)
    await gates.connect(1)
    expect(await gates.run({ type: 'window', window: 1, messages: 5 })).toMatchObject({ sent: 5, heard: 5, closed: [] })
    gates.disconnect()
    expect(await counts(app)).toEqual([carsAfter(5), 0, 0])
  })

  test('where a broker merely forwards, each message itself is heard', async () => {
    const broker = await startBroker()
    const gates = await startGates('forwarded', broker.port)
    await gates.connect()
    const figures = await gates.run({ type: 'window', window: 20, messages: 300 })
    gates.disconnect()
    expect(figures).toMatchObject({ sent: 900, acknowledged: 900, heard: 900, updates: 900 })
  })

  test('effects that never come are missing from what was heard, and the run ends', async () => {
    const broker = await startBroker()
    const gates = await startGates('free', broker.port)
    await gates.connect()
    const figures = await gates.run({ type: 'window', window: 20, messages: 10 })
    gates.disconnect()
    expect(figures).toMatchObject({ sent: 30, acknowledged: 30, heard: 0 })
  })
})
