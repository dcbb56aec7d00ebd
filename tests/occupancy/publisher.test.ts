// What the publisher takes for news: it knows of each lot only the version that it published last.
import { Socket } from 'node:net'
import { expect, onTestFinished, test, vi } from 'vitest'
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
