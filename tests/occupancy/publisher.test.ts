// What the publisher takes for news: it knows of each lot only the version that it published last.
import { Socket } from 'node:net'
import { pino } from 'pino'
import { expect, onTestFinished, test, vi } from 'vitest'
import { Publisher } from '../../services/occupancy/publisher.js'
import { newLot } from '../../services/reservation/lot-settings.js'
import type { Id } from '../../shared/lot.js'
import { NewLot } from '../../shared/schemas.js'
import { startTestApp, type TestApp } from '../support/app.js'

const LOT = 'LOT-X' as Id

async function make (app: TestApp, capacity: number): Promise<void> {
  await app.app.ledger.transact('test', async tx => {
    await tx.load([LOT])
    await tx.removeLot(LOT)
    tx.setLot(newLot(NewLot.parse({ lot: LOT, capacity }), 'UTC'))
  })
}

test('a lot that is removed and made again in one transaction, with the version that it had, is published anew', async () => {
  const app = await startTestApp({ settings: { lots: [] } })
  const client = await app.connect()
  await client.subscribe(`lots/${LOT}/free`)
  for (const capacity of [10, 25]) {
    await make(app, capacity)
    await client.last(`lots/${LOT}/free`, String(capacity))
    expect((await app.app.ledger.lots([LOT])).map(({ version }) => version)).toEqual([1])
  }
})

test('every lot is there after the start, however many turns it takes', async () => {
  const lots = Array.from({ length: 1_201 }, (_, n) => ({ lot: `L-${n}`, capacity: n + 1 }))
  const app = await startTestApp({ settings: { lots } })
  expect(await app.app.ledger.lotIds()).toEqual(lots.map(({ lot }) => lot).sort())
  const client = await app.connect()
  await client.subscribe('lots/+/free')
  await client.until('the last of them', () => client.received.length === lots.length)
  expect(new Map(client.received.map(({ topic, text }) => [topic, text]))).toEqual(new Map(lots.map(({ lot, capacity }) => [`lots/${lot}/free`, String(capacity)])))
})

test('what changes while all lots are published for the first time comes after what was read before it', async () => {
  const app = await startTestApp({ settings: { lots: [{ lot: LOT, capacity: 10 }] } })
  const { ledger, metrics } = app.app
  const published: string[] = []
  let open = (): void => {}
  const opened = new Promise<void>(resolve => { open = resolve })
  let reading = (): void => {}
  const read = new Promise<void>(resolve => { reading = resolve })
  let first = true
  const publisher = new Publisher({
    bus: {
      consume: async () => {},
      publish: async (topic, payload) => { if (topic.endsWith('/free')) published.push(String(payload)) }
    },
    ledger, metrics, clock: ledger.clock, log: pino({ level: 'silent' }),
    // Whoever serves a share on another broker subscribes between reading a lot and publishing it.
    follow: async () => {
      if (!first) return
      first = false
      reading()
      await opened
    }
  })
  const all = publisher.publishAll()
  await read
  await ledger.transact('test', async tx => {
    await tx.load([LOT])
    const lot = tx.lot(LOT)
    if (lot) tx.setLot({ ...lot, counted: 1 })
  })
  for (let n = 0; n < 5; n++) await new Promise(resolve => setImmediate(resolve))
  open()
  await all
  await publisher.stop()
  expect(published).toEqual(['10', '9'])
})

test('a count is on its way to its subscribers before whoever changed it is answered', async () => {
  const app = await startTestApp({ settings: { lots: [{ lot: LOT, capacity: 10 }] } })
  const client = await app.connect()
  await client.subscribe(`lots/${LOT}/free`)
  await client.last(`lots/${LOT}/free`, '10')
  const written = vi.spyOn(Socket.prototype, 'write')
  onTestFinished(() => written.mockRestore())
  const before: boolean[] = []
  // Told after the publisher, and before the transaction resolves.
  app.app.ledger.feed.listen(() => before.push(written.mock.calls.some(([bytes]) => String(bytes).includes(`lots/${LOT}/free`))))
  await app.app.ledger.transact('test', async tx => {
    await tx.load([LOT])
    const lot = tx.lot(LOT)
    if (lot) tx.setLot({ ...lot, counted: 1 })
  })
  expect(before).toEqual([true])
  await client.last(`lots/${LOT}/free`, '9')
})
