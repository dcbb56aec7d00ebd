// Where commits are done: at once on a fast disk, beside the event loop on a slow one.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { newLot } from '../../services/reservation/lot-settings.js'
import { BatchStart } from '../../shared/batch-start.js'
import { Config } from '../../shared/config.js'
import type { Id } from '../../shared/lot.js'
import { createMetrics } from '../../shared/metrics.js'
import { NewLot } from '../../shared/schemas.js'
import { MeasuredPace, type CommitPace } from '../../storage/commit-pace.js'
import type { Ledger } from '../../storage/ledger.js'
import { openLedger } from '../../storage/open.js'
import { ledgerContract, StandingClock } from './contract.js'
import { windowsContract } from './windows.contract.js'

const A = 'LOT-A' as Id

function folder (): string {
  const data = mkdtempSync(join(tmpdir(), 'parkmq-pace-'))
  onTestFinished(() => rmSync(data, { recursive: true, force: true }))
  return data
}

/** Every commit is done beside the event loop, as on a disk that syncs slowly. */
class SlowPace implements CommitPace {
  readonly isSlow = true
  told = 0
  took (): void { this.told++ }
}

const config = (): Config => Config.parse({ data: folder() })
const onSlowDisk = async (clock = new StandingClock()): Promise<Ledger> => await openLedger({ config: config(), clock, metrics: createMetrics(), pace: new SlowPace() })

ledgerContract('SQLite on a slow disk', async clock => await openLedger({ config: config(), clock, metrics: createMetrics(), pace: new SlowPace() }))
windowsContract('SQLite on a slow disk', async clock => await openLedger({ config: config(), clock, metrics: createMetrics(), pace: new SlowPace() }))

async function add (ledger: Ledger, lot: string): Promise<void> {
  await ledger.transact('test', async tx => tx.setLot(newLot(NewLot.parse({ lot, capacity: 100 }), 'UTC')))
}

test('a disk is slow when most of the newest commits took 2.5 ms or longer', () => {
  const pace = new MeasuredPace()
  const took = (ms: number, times: number): boolean => {
    for (let n = 0; n < times; n++) pace.took(ms)
    return pace.isSlow
  }
  expect(took(50, 8)).toBe(false)
  expect(took(50, 1)).toBe(true)
  expect(took(2.4, 4)).toBe(true)
  expect(took(2.4, 1)).toBe(false)
  // A hiccup.
  expect(took(900, 4)).toBe(false)
  expect(took(2.5, 1)).toBe(true)
})

test('how long it took is told of each commit that changed anything, and of no other', async () => {
  const pace = new SlowPace()
  const ledger = await openLedger({ config: config(), clock: new StandingClock(), metrics: createMetrics(), pace })
  onTestFinished(() => ledger.close())
  await add(ledger, 'LOT-A')
  const before = pace.told
  await ledger.transact('test', async tx => { await tx.load([A]) })
  await ledger.check()
  await expect(ledger.transact('test', async tx => {
    await tx.load([A])
    tx.audit({ lot: A, type: 'lot.changed', who: 'nobody' })
    await tx.flush()
    throw new Error('on purpose')
  })).rejects.toThrow('on purpose')
  await ledger.transact('test', async tx => { await tx.load([A]) })
  expect(pace.told).toBe(before)
  await add(ledger, 'LOT-B')
  expect(pace.told).toBe(before + 1)
})

test('the event loop goes on while a commit is beside it, and the change is seen by nobody before it is told', async () => {
  const ledger = await onSlowDisk()
  onTestFinished(() => ledger.close())
  const order: string[] = []
  ledger.feed.listen(() => order.push('told'))
  let adding = true
  let turns = 0
  const turning = (async () => {
    for (; adding; turns++) await new Promise(resolve => setImmediate(resolve))
  })()
  // Asked for when the transaction has begun.
  const read = new Promise<void>(resolve => setImmediate(resolve)).then(async () => {
    const ids = await ledger.lotIds()
    order.push(`read ${ids.length}`)
  })
  for (let n = 0; n < 20; n++) await add(ledger, `LOT-${n}`)
  adding = false
  await Promise.all([turning, read])
  expect(turns).toBeGreaterThanOrEqual(20)
  const [, seen] = /read (\d+)/.exec(order.find(line => line.startsWith('read')) ?? '') ?? []
  expect(order.slice(0, order.indexOf(`read ${seen}`)).filter(line => line === 'told').length).toBeGreaterThanOrEqual(Number(seen))
})

test('who reads while a commit is beside the event loop finds what it has changed only when those who asked for it are answered', async () => {
  const ledger = await onSlowDisk()
  onTestFinished(() => ledger.close())
  const order: string[] = []
  const added = add(ledger, 'LOT-A').then(async () => {
    // To answer takes a while, in one turn of the event loop.
    for (let n = 0; n < 50; n++) await Promise.resolve()
    order.push('answered')
  })
  const read = new Promise<void>(resolve => setImmediate(resolve)).then(async () => order.push(`read ${(await ledger.lotIds()).join()}`))
  await Promise.all([added, read])
  expect(order).toEqual(['answered', 'read LOT-A'])
})

test('a read of several questions, with a commit between them, is given back when those who asked for that are answered', async () => {
  const ledger = await onSlowDisk()
  onTestFinished(() => ledger.close())
  const order: string[] = []
  const count = async (): Promise<number> => (await ledger.database.kysely.selectFrom('lots').select('id').execute()).length
  await ledger.read(async () => {
    order.push(`first ${await count()}`)
    void add(ledger, 'LOT-A').then(async () => {
      for (let n = 0; n < 50; n++) await Promise.resolve()
      order.push('answered')
    })
    await new Promise(resolve => setImmediate(resolve))
    order.push(`second ${await count()}`)
  })
  order.push('read')
  expect(order).toEqual(['first 0', 'second 1', 'answered', 'read'])
})

test('who asked while a commit was beside the event loop begins with those whom it answered, when these ask again', async () => {
  const batchStart = new BatchStart()
  const ledger = await openLedger({ config: config(), clock: new StandingClock(), metrics: createMetrics(), pace: new SlowPace(), batchStart })
  onTestFinished(() => ledger.close())
  const commits: string[][] = []
  ledger.feed.listen(lots => commits.push([...lots]))
  const turn = async (): Promise<void> => await new Promise(resolve => setImmediate(resolve))
  // As a consumer does that gathers its senders again.
  const answered = add(ledger, 'LOT-A').then(async () => {
    await batchStart.readyAfter(turn().then(turn))
    await add(ledger, 'LOT-C')
  })
  await turn()
  await Promise.all([add(ledger, 'LOT-B'), answered])
  expect(commits).toEqual([['LOT-A'], ['LOT-B', 'LOT-C']])
})

test('who only reads does not wait for those who were answered', async () => {
  const batchStart = new BatchStart()
  const ledger = await openLedger({ config: config(), clock: new StandingClock(), metrics: createMetrics(), pace: new SlowPace(), batchStart })
  onTestFinished(() => ledger.close())
  let release = (): void => {}
  const added = add(ledger, 'LOT-A').then(() => void batchStart.readyAfter(new Promise(resolve => { release = resolve })))
  await new Promise(resolve => setImmediate(resolve))
  const change = add(ledger, 'LOT-B')
  const ids = await ledger.transact('test', async tx => (await tx.database.kysely.selectFrom('lots').select('id').execute()).map(row => row.id), { place: 'alone' })
  expect(ids).toEqual(['LOT-A'])
  await added
  release()
  await change
})
