// Transactions that are asked for at once on a ledger of this process alone: one commit for all of them, and none of them knows.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { newLot } from '../../services/reservation/lot-settings.js'
import { Config } from '../../shared/config.js'
import type { Log } from '../../shared/log.js'
import type { Id } from '../../shared/lot.js'
import { createMetrics } from '../../shared/metrics.js'
import { NewLot } from '../../shared/schemas.js'
import type { Ledger } from '../../storage/ledger.js'
import { openLedger } from '../../storage/open.js'
import { StandingClock } from './contract.js'

const A = 'LOT-A' as Id

function folder (): string {
  const data = mkdtempSync(join(tmpdir(), 'parkmq-group-'))
  onTestFinished(() => rmSync(data, { recursive: true, force: true }))
  return data
}

/** A ledger with LOT-A, and the lots of each commit since then. */
async function open (log?: Log): Promise<{ ledger: Ledger, commits: string[][], count: (by: number) => Promise<number> }> {
  const ledger = await openLedger({ config: Config.parse({ data: folder() }), clock: new StandingClock(), metrics: createMetrics(), ...log && { log } })
  onTestFinished(() => ledger.close())
  await add(ledger, 'LOT-A')
  const commits: string[][] = []
  ledger.feed.listen(lots => commits.push([...lots]))
  const count = async (by: number): Promise<number> => await ledger.transact('test', async tx => {
    await tx.load([A])
    const lot = tx.lot(A)
    if (!lot) throw new Error('no lot')
    tx.setLot({ ...lot, counted: lot.counted + by })
    return lot.counted
  })
  return { ledger, commits, count }
}

async function add (ledger: Ledger, lot: string): Promise<void> {
  await ledger.transact('test', async tx => tx.setLot(newLot(NewLot.parse({ lot, capacity: 100 }), 'UTC')))
}

test('what is asked for at once is one commit, in the order of asking', async () => {
  const { ledger, commits, count } = await open()
  expect(await Promise.all([count(1), add(ledger, 'LOT-B'), count(10), count(100)])).toEqual([0, undefined, 1, 11])
  expect(commits).toEqual([[A, 'LOT-B']])
  expect(await ledger.lots([A])).toMatchObject([{ counted: 111, version: 4 }])
})

test('a query of one sees what those before it have changed', async () => {
  const { ledger } = await open()
  const [, found] = await Promise.all([
    add(ledger, 'LOT-B'),
    ledger.transact('test', async tx => (await tx.database.kysely.selectFrom('lots').select('id').orderBy('id').execute()).map(row => row.id))
  ])
  expect(found).toEqual([A, 'LOT-B'])
})

test('one that throws throws alone, and nothing of it is left', async () => {
  const { ledger, commits, count } = await open()
  const failing = ledger.transact('test', async tx => {
    await tx.load([A])
    const lot = tx.lot(A)
    if (lot) tx.setLot({ ...lot, counted: 99 })
    tx.audit({ lot: A, type: 'lot.changed', who: 'nobody' })
    await tx.flush()
    throw new Error('on purpose')
  })
  const [before, failed, after] = await Promise.allSettled([count(1), failing, count(10)])
  expect(before).toEqual({ status: 'fulfilled', value: 0 })
  expect(failed).toMatchObject({ status: 'rejected', reason: { message: 'on purpose' } })
  expect(after).toEqual({ status: 'fulfilled', value: 1 })
  expect(await ledger.lots([A])).toMatchObject([{ counted: 11, version: 3 }])
  expect(await ledger.database.kysely.selectFrom('audit').select('id').where('who', '=', 'nobody').execute()).toEqual([])
  expect(commits).toEqual([[A], [A]])
})

test('a fault of a listener is told in the log, and not to whoever made the change', async () => {
  const lines: string[] = []
  const { ledger, count } = await open(pino(new Writable({
    write (line: Buffer, _, done) {
      lines.push(line.toString())
      done()
    }
  })))
  ledger.feed.listen(() => { throw new Error('a fault of a listener') })
  expect(await Promise.all([count(1), count(10)])).toEqual([0, 1])
  expect(await ledger.lots([A])).toMatchObject([{ counted: 11, version: 3 }])
  expect(lines.map(line => JSON.parse(line) as object)).toMatchObject([{ level: 50, lots: [A], err: { message: 'a fault of a listener' } }])
})

test('what is committed is not done again, whatever its listeners do', async () => {
  const { ledger, count } = await open()
  const unlisten = ledger.feed.listen(() => { throw new Error('a fault of a listener') })
  const settled = await Promise.allSettled([count(1), count(10)])
  unlisten()
  expect(settled.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  expect(await ledger.lots([A])).toMatchObject([{ counted: 11, version: 3 }])
  expect(await count(100)).toBe(11)
})

test('who wants to be alone comes first and is told before the others commit', async () => {
  const { ledger, commits, count } = await open()
  const order: string[] = []
  ledger.feed.listen(() => order.push('committed'))
  const read = async (): Promise<void> => {
    const counted = await ledger.transact('test', async tx => {
      await tx.load([A])
      return tx.lot(A)?.counted
    }, { place: 'alone' })
    order.push(`read ${counted}`)
  }
  await Promise.all([count(1), read(), count(10)])
  expect(order).toEqual(['read 0', 'committed'])
  expect(commits).toEqual([[A]])
})

test('many who ask at once all have their turn', async () => {
  const { ledger, commits, count } = await open()
  expect(await Promise.all(Array.from({ length: 50 }, () => count(1)))).toEqual(Array.from({ length: 50 }, (_, i) => i))
  expect(await ledger.lots([A])).toMatchObject([{ counted: 50, version: 51 }])
  expect(commits.length).toBeGreaterThan(1)
  expect(commits.length).toBeLessThan(50)
})

/** Work that takes so long that it is worth a look at what came meanwhile. */
async function longWork (ledger: Ledger, meanwhile: () => void): Promise<void> {
  await ledger.transact('test', async tx => {
    await tx.load([A])
    for (const startedMs = performance.now(); performance.now() - startedMs < 2;);
    meanwhile()
  })
}

test('what has its place last is done after all others of its commit, and takes in what has come until then', async () => {
  const { ledger, commits, count } = await open()
  let arrived = 1
  const last = ledger.transact('test', async tx => {
    await tx.load([A])
    return { arrived, counted: tx.lot(A)?.counted }
  }, { place: 'last' })
  await Promise.all([longWork(ledger, () => setImmediate(() => arrived++)), count(1)])
  expect(await last).toEqual({ arrived: 2, counted: 1 })
  expect(commits).toEqual([[A]])
})

test('who reads in the middle of a commit finds what it has changed only when those who asked for it are answered', async () => {
  const { ledger, count } = await open()
  const order: string[] = []
  const reads: Promise<void>[] = []
  const read = async (): Promise<void> => {
    const [lot] = await ledger.lots([A])
    order.push(`read ${lot?.counted}`)
  }
  const last = ledger.transact('test', async () => {}, { place: 'last' })
  const counted = count(1).then(async () => {
    // To answer takes a while, in one turn of the event loop.
    for (let n = 0; n < 50; n++) await Promise.resolve()
    order.push('answered')
  })
  await Promise.all([longWork(ledger, () => setImmediate(() => reads.push(read()))), last, counted])
  await Promise.all(reads)
  expect(order).toEqual(['answered', 'read 1'])
})

test('those who asked keep their order where one of them fails, however long each takes', async () => {
  const { ledger, count } = await open()
  const asked = Array.from({ length: 20 }, async (_, i) => {
    if (i === 3) return await ledger.transact('test', async () => { throw new Error('on purpose') })
    const [, counted] = await Promise.all([longWork(ledger, () => {}), count(1)])
    return counted
  })
  const results = await Promise.allSettled(asked)
  expect(results.flatMap(result => result.status === 'fulfilled' ? [result.value] : [])).toEqual(Array.from({ length: 19 }, (_, i) => i))
})

test('closing waits for what is being committed', async () => {
  const data = folder()
  const again = async (): Promise<Ledger> => await openLedger({ config: Config.parse({ data }), clock: new StandingClock(), metrics: createMetrics() })
  const ledger = await again()
  await add(ledger, 'LOT-A')
  let closed: Promise<void> | undefined
  await longWork(ledger, () => {
    void add(ledger, 'LOT-B')
    closed = ledger.close()
  })
  await closed
  const opened = await again()
  onTestFinished(() => opened.close())
  expect(await opened.lotIds()).toEqual(['LOT-A', 'LOT-B'])
})
