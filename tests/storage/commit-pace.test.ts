// Where commits are done: at once on a fast disk, beside the event loop on a slow one.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Kysely, sql, type SqliteStatement } from 'kysely'
import Driver from 'libsql'
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
import { PacedSqliteDialect } from '../../storage/sqlite-dialect.js'
import type { Tables } from '../../storage/tables.js'
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
  readonly isBeside = true
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

/** Whether the disk is slow after so many commits more, each done where it was to be and taking so long. */
function took (pace: CommitPace, ms: number, times: number): boolean {
  for (let n = 0; n < times; n++) pace.took(ms, pace.isBeside)
  return pace.isSlow
}

test('a disk is slow when most of the newest commits took 2.5 ms or longer', () => {
  const pace = new MeasuredPace()
  expect(took(pace, 2.4, 9)).toBe(false)
  // Hiccups.
  expect(took(pace, 900, 4)).toBe(false)
  expect(took(pace, 2.4, 9)).toBe(false)
  expect(took(pace, 2.5, 4)).toBe(false)
  expect(took(pace, 2.5, 1)).toBe(true)
  expect(pace.isBeside).toBe(true)
  const other = new MeasuredPace()
  expect(took(other, 50, 8)).toBe(false)
  expect(took(other, 50, 1)).toBe(true)
})

test('whether a slow disk has become fast is found out by a commit that is done at once, and a disk that surely is slow is not tried', () => {
  const pace = new MeasuredPace()
  const atOnce = (ms: number, times: number): number => {
    let count = 0
    for (let n = 0; n < times; n++) {
      if (!pace.isBeside) count++
      pace.took(ms, pace.isBeside)
    }
    return count
  }
  expect(took(pace, 50, 9)).toBe(true)
  expect(atOnce(10, 500)).toBe(0)
  // Each takes less, and may have waited for the event loop.
  expect(atOnce(9, 33 * 5)).toBe(5)
  expect(pace.isSlow).toBe(true)
  expect(atOnce(1, 32)).toBe(0)
  expect(pace.isBeside).toBe(false)
  expect(took(pace, 1, 1)).toBe(false)
  expect(took(pace, 50, 8)).toBe(false)
  expect(took(pace, 50, 1)).toBe(true)
})

test('a libsql that cannot run a commit beside the event loop is refused before anything is written', async () => {
  const driver = new Driver(join(folder(), 'ledger.db'))
  onTestFinished(() => { driver.close() })
  const other = Object.create(driver, { db: { value: undefined }, prepare: { value: (text: string) => driver.prepare(text) } }) as Driver.Database
  const statements = { prepare: (text: string) => driver.prepare(text) as unknown as SqliteStatement, close: () => {} }
  const kysely = new Kysely<Tables>({ dialect: new PacedSqliteDialect({ driver: other, statements, pace: new MeasuredPace() }) })
  await expect(sql`create table made (id)`.execute(kysely)).rejects.toThrow('install the version in package-lock.json')
  expect(driver.prepare('select count(*) as made from sqlite_master').get()).toMatchObject({ made: 0 })
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
  // On a busy machine it may be answered before the second question.
  expect(order.filter(line => line !== 'answered')).toEqual(['first 0', 'second 1', 'read'])
  expect(order).toContain('answered')
  expect(order.indexOf('answered')).toBeLessThan(order.indexOf('read'))
})

test('who asked while a commit was beside the event loop begins with those whom it answered, when these ask again', async () => {
  const batchStart = new BatchStart()
  const ledger = await openLedger({ config: config(), clock: new StandingClock(), metrics: createMetrics(), pace: new SlowPace(), batchStart })
  onTestFinished(() => ledger.close())
  let commits: string[] = []
  ledger.feed.listen(lots => commits.push([...lots].map(lot => lot.charAt(0)).join('+')))
  const turn = async (): Promise<void> => await new Promise(resolve => setImmediate(resolve))
  // On a busy machine the first commit may be done before the second is asked for: once is enough.
  const seen: string[] = []
  for (let n = 0; n < 50 && !seen.includes('A, B+C'); n++) {
    commits = []
    // As a consumer does that gathers its senders again.
    const answered = add(ledger, `A${n}`).then(async () => {
      await batchStart.readyAfter(turn().then(turn))
      await add(ledger, `C${n}`)
    })
    await turn()
    await Promise.all([add(ledger, `B${n}`), answered])
    seen.push(commits.join(', '))
  }
  expect(seen).toContain('A, B+C')
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
