import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createRequire } from 'node:module'
import Driver from 'libsql'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Config } from '../../shared/config.js'
import type { Id } from '../../shared/lot.js'
import { createMetrics } from '../../shared/metrics.js'
import { UnavailableError } from '../../shared/errors.js'
import { openLedger } from '../../storage/open.js'
import type { Ledger } from '../../storage/ledger.js'
import { listingContract } from './listing.contract.js'
import { windowsContract } from './windows.contract.js'
import { ledgerContract, StandingClock } from './contract.js'

function folder (): string {
  const path = mkdtempSync(join(tmpdir(), 'parkmq-ledger-'))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}

async function open (data: string, clock = new StandingClock()): Promise<Ledger> {
  return await openLedger({ config: Config.parse({ data }), clock, metrics: createMetrics() })
}

ledgerContract('SQLite', async clock => await openLedger({ config: Config.parse({ data: folder() }), clock, metrics: createMetrics() }))
windowsContract('SQLite', async clock => await openLedger({ config: Config.parse({ data: folder() }), clock, metrics: createMetrics() }))
listingContract('SQLite', async clock => await openLedger({ config: Config.parse({ data: folder() }), clock, metrics: createMetrics() }))

describe('the SQLite file', () => {
  test('commits are synced: WAL with synchronous FULL', async () => {
    const ledger = await open(folder())
    onTestFinished(() => ledger.close())
    const { sql } = await import('kysely')
    expect((await sql<{ journal_mode: string }>`pragma journal_mode`.execute(ledger.database.kysely)).rows[0]?.journal_mode).toBe('wal')
    expect((await sql<{ synchronous: number }>`pragma synchronous`.execute(ledger.database.kysely)).rows[0]?.synchronous).toBe(2)
  })

  test('a second process is told that the folder is in use', async () => {
    const data = folder()
    const ledger = await open(data)
    const libsql = createRequire(import.meta.url).resolve('libsql')
    const tryLock = (): string => execFileSync(process.execPath, ['-e', `
      const Driver = require(${JSON.stringify(libsql)})
      try { new Driver(${JSON.stringify(join(data, 'lock'))}).exec('begin exclusive'); console.log('free') } catch (e) { console.log(e.message) }
    `]).toString()
    expect(tryLock()).toMatch(/locked/)
    await expect(open(data)).rejects.toMatchObject({ code: 'data_in_use', message: expect.stringContaining('--data') as string })
    await ledger.close()
    expect(tryLock()).toMatch(/free/)
  })

  test('a foreign file is refused and left as it is', async () => {
    const data = folder()
    const bytes = (): Buffer => readFileSync(join(data, 'ledger.db'))
    const foreign = new Driver(join(data, 'ledger.db'))
    foreign.exec('create table songs (title text)')
    foreign.close()
    const before = bytes()
    await expect(open(data)).rejects.toMatchObject({ code: 'foreign_file', message: expect.stringContaining('songs') as string })
    expect(bytes().equals(before)).toBe(true)
  })

  test('a file that is no database is refused', async () => {
    const data = folder()
    writeFileSync(join(data, 'ledger.db'), 'not a database at all, but long enough to be looked at by the reader of its header ......'.repeat(20))
    await expect(open(data)).rejects.toMatchObject({ code: 'cannot_open' })
  })

  test('a newer file is refused', async () => {
    const data = folder()
    await (await open(data)).close()
    const newer = new Driver(join(data, 'ledger.db'))
    newer.exec('insert into kysely_migration (name, timestamp) values (\'999-future\', \'2030\')')
    newer.close()
    await expect(open(data)).rejects.toMatchObject({ code: 'newer_file', message: expect.stringContaining('999-future') as string })
  })

  test('a damaged file is unavailable, so that nothing of it is acknowledged', async () => {
    const data = folder()
    await (await open(data)).close()
    const file = join(data, 'ledger.db')
    const bytes = readFileSync(file)
    bytes.fill(0xee, 4_096 * 2)
    writeFileSync(file, bytes)
    const damaged = await open(data).catch((error: unknown) => error)
    if (damaged instanceof Error) expect(damaged).toMatchObject({ code: 'cannot_open' })
    else {
      const ledger = damaged as Ledger
      onTestFinished(() => ledger.close())
      await expect(ledger.transact('test', async tx => { await tx.load(['LOT-A' as Id]); await tx.database.kysely.selectFrom('sensors').selectAll().execute() })).rejects.toBeInstanceOf(UnavailableError)
      await expect(ledger.check()).rejects.toBeInstanceOf(UnavailableError)
    }
  })

  test('a deleted folder is unavailable: nothing is written to nowhere', async () => {
    const data = folder()
    const ledger = await open(data)
    onTestFinished(() => ledger.close())
    rmSync(data, { recursive: true })
    await expect.poll(async () => await ledger.lotsDue(1).catch((error: unknown) => error), { timeout: 5_000 }).toBeInstanceOf(UnavailableError)
    await expect(ledger.check()).rejects.toThrow('deleted or replaced')
  })

  test('opens again what it closed', async () => {
    const data = folder()
    await (await open(data)).close()
    const again = await open(data)
    expect(await again.allLots()).toEqual([])
    await again.close()
  })

  test('a full database is unavailable, not a fault, and goes on when there is room again', async () => {
    const ledger = await open(folder())
    onTestFinished(() => ledger.close())
    const { sql } = await import('kysely')
    const { kysely } = ledger.database
    const pages = (await sql<{ page_count: number }>`pragma page_count`.execute(kysely)).rows[0]?.page_count ?? 0
    await sql`pragma max_page_count = ${sql.lit(pages)}`.execute(kysely)
    const write = async (): Promise<void> => await ledger.transact('test', async tx => {
      await tx.database.kysely.insertInto('meta').values({ key: 'big', value: 'x'.repeat(100_000) }).onConflict(c => c.doNothing()).execute()
    })
    await expect(write()).rejects.toBeInstanceOf(UnavailableError)
    await expect(write()).rejects.toThrow('full')
    await sql`pragma max_page_count = 100000`.execute(kysely)
    await write()
    expect(await kysely.selectFrom('meta').select('key').execute()).toEqual([{ key: 'big' }])
  })
})
