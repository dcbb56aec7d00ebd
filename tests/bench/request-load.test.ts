// The load generator against the whole of parkmq, where every request must be answered once, and against services that
// misbehave, which must show.
import { describe, expect, test } from 'vitest'
import { runLoad, type LoadFigures, type LoadParts } from '../../bench/request-load.js'
import { faultsOf } from '../../bench/request-rounds.js'
import { WORKLOADS } from '../../bench/workloads.js'
import { ACCEPTED, type Delivery } from '../../shared/bus.js'
import { startTestApp, type TestApp } from '../support/app.js'
import { startBroker, type TestBroker } from '../support/broker.js'

const LOTS = ['LOT-A', 'LOT-B', 'LOT-C', 'LOT-D']
const BASE: Omit<LoadParts, 'ports' | 'pace'> = { answers: 'replies', clients: 4, workload: 'writes', lots: LOTS, requestIds: true, seed: 7, run: 'TEST0001' }

const portsOf = ({ app: { port } }: TestApp): LoadParts['ports'] => ({ port: port ?? 0, wsPort: null })

/** Live reservations of all lots. */
async function held (app: TestApp): Promise<number> {
  const client = await app.connect()
  let live = 0
  for (const status of ['held', 'booked']) live += (await client.request<{ reservations: unknown[] }>('list', { status })).reservations.length
  return live
}

describe('beside parkmq', () => {
  test.each(WORKLOADS)('%s: every request is acknowledged once, answered once and done, and nothing is left reserved', async workload => {
    const app = await startTestApp()
    const figures = await runLoad({ ...BASE, workload, ports: portsOf(app), pace: { type: 'closed', requests: 301 } })
    expect(faultsOf(figures)).toEqual([])
    expect(figures).toMatchObject({ sent: 301, acknowledged: 301, answered: 301, ok: 301, refused: {} })
    expect(figures.latency.all?.count).toBe(301)
    expect(Object.entries(figures.latency).reduce((sum, [act, { count }]) => act === 'all' ? sum : sum + count, 0)).toBe(301)
    expect(await held(app)).toBe(0)
  })

  test('mixed has four reads to one write, and every kind of write', async () => {
    const app = await startTestApp()
    const { latency } = await runLoad({ ...BASE, clients: 1, workload: 'mixed', ports: portsOf(app), pace: { type: 'closed', requests: 1_000 } })
    const count = (act: keyof typeof latency): number => latency[act]?.count ?? 0
    const reads = count('availability') + count('availability of a window')
    expect(reads).toBeGreaterThan(750)
    expect(reads).toBeLessThan(850)
    for (const act of ['reserve', 'book', 'change', 'cancel', 'availability of a window'] as const) expect(count(act)).toBeGreaterThan(20)
  })

  test('a fixed rate sends all that is due and has it answered', async () => {
    const app = await startTestApp()
    const figures = await runLoad({ ...BASE, ports: portsOf(app), pace: { type: 'open', perSecond: 200, seconds: 1 } })
    expect(faultsOf(figures)).toEqual([])
    expect(figures).toMatchObject({ sent: 200, acknowledged: 200, answered: 200, ok: 200, unsent: 0 })
    expect(await held(app)).toBe(0)
  })

  test('two runs one after the other never meet: no plate and no requestId comes again', async () => {
    const app = await startTestApp()
    for (const run of ['TEST0001', 'TEST0002']) {
      const figures = await runLoad({ ...BASE, run, ports: portsOf(app), pace: { type: 'closed', requests: 40 } })
      expect(faultsOf(figures)).toEqual([])
    }
    const again = await runLoad({ ...BASE, run: 'TEST0001', ports: portsOf(app), pace: { type: 'closed', requests: 40 } })
    expect(again.replayed).toBeGreaterThan(0)
  })

  test('a full lot is a refusal that is counted by its code', async () => {
    const app = await startTestApp({ settings: { lots: [{ lot: 'LOT-A', capacity: 1 }] } })
    const figures = await runLoad({ ...BASE, lots: ['LOT-A'], ports: portsOf(app), pace: { type: 'closed', requests: 100 } })
    expect(figures.answered).toBe(100)
    expect(figures.refused.lot_full).toBeGreaterThan(0)
    expect(figures.ok + (figures.refused.lot_full ?? 0)).toBe(100)
    expect(await held(app)).toBe(0)
  })
})

describe('beside a service that misbehaves', () => {
  test('what is never answered is counted, and the run ends', async () => {
    const figures = await beside(async (broker, delivery, n) => { if (n !== 5) await reply(broker, delivery) }, { type: 'closed', seconds: 1 }, 1)
    expect(figures.unanswered).toBe(1)
    expect(figures.answered).toBe(figures.sent - 1)
    expect(faultsOf(figures)).toEqual(['1 NOT ANSWERED'])
  })

  test('what is answered twice is counted once', async () => {
    const figures = await beside(async (broker, delivery, n) => {
      await reply(broker, delivery)
      if (n === 3) await reply(broker, delivery)
    }, { type: 'closed', requests: 20 })
    expect(figures).toMatchObject({ sent: 20, answered: 20, repeated: 1 })
  })

  test('an answer to nothing that was asked is counted', async () => {
    const figures = await beside(async (broker, delivery, n) => {
      if (n === 3) await broker.bus.publish(delivery.properties.responseTopic ?? '', '{"ok":true}', { qos: 1, properties: { correlationData: Buffer.from([9, 9, 9, 9]) } })
      await reply(broker, delivery)
    }, { type: 'closed', requests: 20 })
    expect(figures).toMatchObject({ answered: 20, strange: 1 })
  })

  test('while nothing is answered, what is due meanwhile is charged with its waiting', async () => {
    const waiting: Delivery[] = []
    let isOpen = false
    const figures = await beside(async (broker, delivery) => {
      if (isOpen) return await reply(broker, delivery)
      waiting.push(delivery)
      // One client may have 200 open requests: then it can send nothing more until this.
      if (waiting.length < 200) return
      isOpen = true
      await new Promise(resolve => setTimeout(resolve, 200))
      for (const one of waiting) await reply(broker, one)
    }, { type: 'open', perSecond: 400, seconds: 1 }, 1)
    expect(figures.sent + figures.unsent).toBe(400)
    expect(figures.answered).toBe(figures.sent)
    // From when each was sent, the half that was sent late looks fast.
    expect(figures.latency.all?.meanMs).toBeGreaterThan(figures.uncorrected.meanMs)
  })
})

test('gives back all that a client has, also when it has many', async () => {
  const live = new Set<string>()
  const waiting: Delivery[] = []
  await beside(async (broker, delivery) => {
    if (delivery.topic === 'requests/cancel') {
      const { reservation } = JSON.parse(Buffer.from(delivery.payload).toString()) as { reservation: string }
      expect(live.delete(reservation)).toBe(true)
      return await reply(broker, delivery)
    }
    // Nobody can give back what it has not been told yet.
    waiting.push(delivery)
    if (waiting.length < 20) return
    for (const one of waiting.splice(0)) {
      const reservation = `R-${String(live.size).padStart(12, '0')}`
      live.add(reservation)
      await reply(broker, one, { reservation, secret: 's'.repeat(22) })
    }
  }, { type: 'open', perSecond: 200, seconds: 0.1 }, 1, 'writes')
  expect(waiting).toHaveLength(0)
  expect(live.size).toBe(0)
})

/** A broker whose service does what `serve` says with the nth request, counted from 0. */
async function beside (serve: (broker: TestBroker, delivery: Delivery, n: number) => Promise<void>, pace: LoadParts['pace'], clients = 2, workload: LoadParts['workload'] = 'reads'): Promise<LoadFigures> {
  const broker = await startBroker()
  let n = 0
  await broker.bus.consume('requests/+', {
    handle: async deliveries => {
      for (const delivery of deliveries) void serve(broker, delivery, n++)
      return deliveries.map(() => ACCEPTED)
    }
  })
  return await runLoad({ ...BASE, clients, workload, ports: { port: broker.port, wsPort: null }, pace, graceMs: 1_000 })
}

async function reply ({ bus }: TestBroker, { properties: { responseTopic = '', correlationData } }: Delivery, result: object = {}): Promise<void> {
  await bus.publish(responseTopic, JSON.stringify({ ok: true, result }), { qos: 1, properties: { ...correlationData && { correlationData } } })
}
