// Events leave in the order of their lines and none is left out, whether a commit hands them over or they are read.
import { expect, onTestFinished, test } from 'vitest'
import { Outbox } from '../../services/occupancy/outbox.js'
import { systemClock } from '../../shared/clock.js'
import { Config } from '../../shared/config.js'
import { UnavailableError } from '../../shared/errors.js'
import type { Id } from '../../shared/lot.js'
import { createLog } from '../../shared/log.js'
import { createMetrics } from '../../shared/metrics.js'
import type { LotEvent } from '../../shared/schemas.js'
import type { Ledger } from '../../storage/ledger.js'
import { openLedger } from '../../storage/open.js'
import { connectTestClient, startTestApp, type TestApp, type TestClient } from '../support/app.js'
import { startBroker, temporaryFolder } from '../support/broker.js'

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

/** A ledger of which one read fails, and how an outbox starts that is told by it. */
async function failingAt (failing: number): Promise<{ ledger: Ledger, reads: () => number, client: TestClient, start: () => Promise<Outbox> }> {
  const ledger = await openLedger({ config: Config.parse({ data: temporaryFolder() }), clock: systemClock, metrics: createMetrics() })
  onTestFinished(() => ledger.close())
  const broker = await startBroker()
  const client = await connectTestClient(`mqtt://127.0.0.1:${broker.port}`)
  await client.subscribe('lots/+/events')
  let reads = 0
  const read: Ledger['read'] = async query => {
    if (++reads === failing) throw new UnavailableError('on purpose', { cause: null })
    return await ledger.read(query)
  }
  const wrapped = Object.create(ledger, { read: { value: read }, transact: { value: ledger.transact.bind(ledger) } }) as Ledger
  const start = async (): Promise<Outbox> => {
    const outbox = await Outbox.start({ bus: broker.bus, ledger: wrapped, clock: systemClock, log: createLog('silent', false), metrics: createMetrics() })
    onTestFinished(async () => await outbox.stop())
    return outbox
  }
  return { ledger, reads: () => reads, client, start }
}

const commit = async (ledger: Ledger): Promise<void> => await ledger.transact('test', async tx => tx.audit({ lot: LOT, type: 'test.told', who: 'test' }))

test('events that could not be read are read again, without another commit', async () => {
  // The first read asks where the last run stopped.
  const { ledger, reads, client, start } = await failingAt(2)
  await commit(ledger)
  await start()
  await client.until('the event', () => client.received.some(({ text }) => (JSON.parse(text) as LotEvent).type === 'test.told'))
  expect(reads()).toBeGreaterThan(2)
})

test('who could not start tells nothing, and the next one tells each event once', async () => {
  const { ledger, client, start } = await failingAt(1)
  await expect(start()).rejects.toThrow('on purpose')
  await start()
  for (let n = 0; n < 5; n++) await commit(ledger)
  await client.until('the events', () => client.received.length >= 5)
  expect(client.received.map(({ text }) => (JSON.parse(text) as LotEvent).id)).toEqual([1, 2, 3, 4, 5])
})
