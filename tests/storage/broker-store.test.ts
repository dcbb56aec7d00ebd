import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Driver from 'libsql'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { BrokerStore } from '../../shared/broker-store.js'
import { Config } from '../../shared/config.js'
import { UnavailableError } from '../../shared/errors.js'
import { createMetrics } from '../../shared/metrics.js'
import { openBrokerStore } from '../../storage/broker-store.js'
import { openLedger } from '../../storage/open.js'
import { testFolder } from '../support/app.js'
import { brokerStoreContract, changes, entry, message } from './broker-store.contract.js'
import { StandingClock } from './contract.js'

brokerStoreContract('SQLite', async folder => await openBrokerStore(folder), new URL('../../dist/storage/broker-store.js', import.meta.url).href)

async function open (folder: string): Promise<BrokerStore> {
  const store = await openBrokerStore(folder)
  onTestFinished(() => store.close())
  return store
}

/** Lets no file of this process grow beyond `bytes`: a write beyond is an I/O error, as on a failing disk. */
function limitFiles (bytes: number | 'unlimited'): void {
  execFileSync('prlimit', ['--pid', String(process.pid), `--fsize=${bytes}:unlimited`])
}

/** A connection of another program to the file; closed after the test. */
function other (folder: string): Driver.Database {
  const driver = new Driver(join(folder, 'sessions.db'))
  onTestFinished(() => { if (driver.open) driver.close() })
  return driver
}

describe('the file of the sessions', () => {
  test('the file and its log are for their owner only', async () => {
    const folder = join(testFolder(), 'new')
    const store = await open(folder)
    await store.write(changes({ messages: new Map([[1, message()]]) }))
    expect(other(folder).pragma('journal_mode')).toMatchObject([{ journal_mode: 'wal' }])
    expect(statSync(folder).mode & 0o777).toBe(0o700)
    const files = readdirSync(folder)
    expect(files).toContain('sessions.db-wal')
    for (const file of files) expect([file, statSync(join(folder, file)).mode & 0o777]).toEqual([file, 0o600])
  })

  test('a closed store is one file: its log is empty or gone', async () => {
    const folder = testFolder()
    const store = await open(folder)
    await store.write(changes({ messages: new Map([[1, message({ payload: Buffer.alloc(100_000) })]]) }))
    await store.close()
    expect(statSync(join(folder, 'sessions.db')).size).toBeGreaterThan(100_000)
    expect(statSync(join(folder, 'sessions.db-wal'), { throwIfNoEntry: false })?.size ?? 0).toBe(0)
  })

  test('lives beside the ledger, which holds the folder', async () => {
    const folder = testFolder()
    const ledger = await openLedger({ config: Config.parse({ data: folder }), clock: new StandingClock(), metrics: createMetrics() })
    onTestFinished(() => ledger.close())
    const store = await open(folder)
    await store.write(changes({ receipts: [{ clientId: 'ann', packetId: 1 }] }))
    await ledger.check()
    expect((await store.load()).receipts).toHaveLength(1)
  })

  test('a foreign file is refused and left as it is', async () => {
    const folder = testFolder()
    const foreign = other(folder)
    foreign.exec('create table songs (title text)')
    foreign.close()
    const before = readFileSync(join(folder, 'sessions.db'))
    await expect(openBrokerStore(folder)).rejects.toMatchObject({ name: 'OperatorError', code: 'foreign_file', message: expect.stringMatching(/sessions\.db.*songs.*--data/) as string })
    expect(readFileSync(join(folder, 'sessions.db')).equals(before)).toBe(true)
  })

  test('a newer file is refused and left as it is', async () => {
    const folder = testFolder()
    await (await open(folder)).close()
    const newer = other(folder)
    newer.pragma('user_version = 99')
    newer.pragma('wal_checkpoint(TRUNCATE)')
    newer.close()
    await expect(openBrokerStore(folder)).rejects.toMatchObject({ name: 'OperatorError', code: 'newer_file', message: expect.stringContaining('99') as string })
    expect(other(folder).pragma('user_version')).toMatchObject([{ user_version: 99 }])
  })

  test('what is no database, or no file, is refused', async () => {
    const folder = testFolder()
    writeFileSync(join(folder, 'sessions.db'), 'not a database at all, but long enough to be looked at by the reader of its header ......'.repeat(20))
    await expect(openBrokerStore(folder)).rejects.toMatchObject({ name: 'OperatorError', code: 'cannot_open', message: expect.stringContaining('sessions.db') as string })
    rmSync(join(folder, 'sessions.db'))
    mkdirSync(join(folder, 'sessions.db'))
    await expect(openBrokerStore(folder)).rejects.toMatchObject({ name: 'OperatorError', code: 'cannot_open' })
  })

  test('the mode that the operator gave the file stays', async () => {
    const folder = testFolder()
    await (await open(folder)).close()
    chmodSync(join(folder, 'sessions.db'), 0o640)
    await (await open(folder)).close()
    expect(statSync(join(folder, 'sessions.db')).mode & 0o777).toBe(0o640)
  })

  test('a file that somebody else writes is unavailable, not a fault, and nothing of the batch is kept', async () => {
    const folder = testFolder()
    const store = await open(folder)
    const blocker = other(folder)
    blocker.exec('begin immediate')
    await expect(store.write(changes({ receipts: [{ clientId: 'ann', packetId: 1 }] }))).rejects.toMatchObject({ name: 'UnavailableError', message: expect.stringContaining('locked') as string, cause: expect.any(Error) as Error })
    blocker.exec('rollback')
    await store.write(changes({ receipts: [{ clientId: 'ann', packetId: 2 }] }))
    expect((await store.load()).receipts).toEqual([{ clientId: 'ann', packetId: 2 }])
  })

  test('a commit that the disk refuses is unavailable and leaves nothing, and the next is stored when the disk is well again', async () => {
    const folder = testFolder()
    const store = await open(folder)
    await store.write(changes({ receipts: [{ clientId: 'ann', packetId: 1 }] }))
    const large = changes({ receipts: [{ clientId: 'ann', packetId: 2 }], retained: [message({ payload: Buffer.alloc(500_000) })] })
    limitFiles(200_000)
    onTestFinished(() => limitFiles('unlimited'))
    await expect(store.write(large)).rejects.toMatchObject({ name: 'UnavailableError', code: 'unavailable', cause: expect.any(Error) as Error })
    limitFiles('unlimited')
    const { receipts, retained } = await store.load()
    expect({ receipts, retained }).toEqual({ receipts: [{ clientId: 'ann', packetId: 1 }], retained: [] })
    await store.write(large)
    await store.close()
    const again = await (await open(folder)).load()
    expect(again.receipts.map(({ packetId }) => packetId)).toEqual([1, 2])
    expect(again.retained.map(({ payload }) => payload.length)).toEqual([500_000])
  })

  test('a damaged file is unavailable', async () => {
    const folder = testFolder()
    const store = await open(folder)
    await store.write(changes({ messages: new Map(Array.from({ length: 500 }, (_, i) => [i, message({ payload: Buffer.alloc(500) })])), entries: Array.from({ length: 500 }, (_, i) => entry({ place: i, message: i })) }))
    await store.close()
    const file = join(folder, 'sessions.db')
    const bytes = readFileSync(file)
    // The first two pages stay: the header and the list of tables, so that it opens.
    bytes.fill(0xee, 4_096 * 2)
    writeFileSync(file, bytes)
    await expect((await open(folder)).load()).rejects.toBeInstanceOf(UnavailableError)
  })

  test('a deleted file is unavailable: nothing is written to nowhere', async () => {
    const folder = testFolder()
    const store = await open(folder)
    rmSync(join(folder, 'sessions.db'))
    await expect.poll(async () => await store.write(changes({})).catch((error: unknown) => error), { timeout: 5_000 }).toBeInstanceOf(UnavailableError)
    await expect(store.load()).rejects.toThrow('deleted or replaced')
  })

  test('commits are counted', async () => {
    const metrics = createMetrics()
    const store = await openBrokerStore(testFolder(), { metrics })
    onTestFinished(() => store.close())
    await store.write(changes({}))
    expect(await metrics.registry.metrics()).toContain('parkmq_commit_seconds_count{service="sessions"} 1')
  })
})
