// Events leave in the order of their lines and none is left out, whether a commit hands them over or they are read.
import { expect, test } from 'vitest'
import type { Id } from '../../shared/lot.js'
import type { LotEvent } from '../../shared/schemas.js'
import { startTestApp, type TestApp } from '../support/app.js'

const LOT = 'LOT-X' as Id

/** One transaction with one line; `fails` after its line was written. */
async function tell (app: TestApp, n: number, fails = false): Promise<void> {
  await app.app.ledger.transact('test', async tx => {
    tx.audit({ lot: LOT, type: 'test.told', who: 'test', after: n })
    await tx.flush()
    if (fails) throw new Error('on purpose')
  })
}

test('transactions that come faster than their events leave, and some that fail', async () => {
  const app = await startTestApp({ settings: { lots: [{ lot: LOT, capacity: 10 }], limits: { queueMessages: 10_000 } } })
  const client = await app.connect()
  await client.subscribe('lots/+/events')
  const told = (): unknown[] => client.received.map(({ text }) => JSON.parse(text) as LotEvent).filter(({ type }) => type === 'test.told').map(({ after }) => after)
  // Many more than the outbox keeps of what it was handed.
  const count = 1_500
  await Promise.allSettled(Array.from({ length: count }, async (_, n) => await tell(app, n, n % 100 === 7)))
  const expected = Array.from({ length: count }, (_, n) => n).filter(n => n % 100 !== 7)
  await client.until('the last event', () => client.received.length >= expected.length)
  expect(told()).toEqual(expected)
  // And one by one, as a commit hands them over.
  for (let n = count; n < count + 20; n++) await tell(app, n)
  await client.until('the last event', () => client.received.length >= expected.length + 20)
  expect(told().slice(-20)).toEqual(Array.from({ length: 20 }, (_, i) => count + i))
})
