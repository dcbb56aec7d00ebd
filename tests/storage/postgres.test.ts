import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { Id } from '../../shared/lot.js'
import { openTestLedger, startPostgres, whyNoPostgres, type TestPostgres } from '../support/postgres.js'
import { ledgerContract } from './contract.js'
import { listingContract } from './listing.contract.js'
import { windowsContract } from './windows.contract.js'

const ABSENT = whyNoPostgres()

describe.skipIf(ABSENT !== null)(`PostgreSQL${ABSENT === null ? '' : ` (skipped: ${ABSENT})`}`, () => {
  let server: TestPostgres
  beforeAll(async () => { server = await startPostgres() }, 60_000)
  afterAll(async () => { await server.close() })

  ledgerContract('PostgreSQL', async clock => await openTestLedger(await server.database(), { clock }))
  windowsContract('PostgreSQL', async clock => await openTestLedger(await server.database(), { clock }))
  listingContract('PostgreSQL', async clock => await openTestLedger(await server.database(), { clock }))

  test('a foreign database is refused and left as it is', async () => {
    const url = await server.database()
    await server.query(url, 'create table songs (title text)')
    await expect(openTestLedger(url)).rejects.toMatchObject({ code: 'foreign_file', message: expect.stringMatching(/songs.*--database/) as string })
    expect(await server.query(url, 'select tablename from pg_tables where schemaname = \'public\'')).toEqual([{ tablename: 'songs' }])
  })

  test('a newer database is refused', async () => {
    const url = await server.database()
    await (await openTestLedger(url)).close()
    await server.query(url, 'insert into kysely_migration (name, timestamp) values (\'999-future\', \'2030\')')
    await expect(openTestLedger(url)).rejects.toMatchObject({ code: 'newer_file', message: expect.stringContaining('999-future') as string })
  })

  test('nodes that start together on an empty database make its tables once', async () => {
    const url = await server.database()
    const ledgers = await Promise.all(['a', 'b', 'c', 'd'].map(async node => await openTestLedger(url, { node })))
    for (const ledger of ledgers) onTestFinished(() => ledger.close())
    expect(await Promise.all(ledgers.map(ledger => ledger.lotIds()))).toEqual([[], [], [], []])
  })

  test('a table that a newer parkmq gives a column is read on', async () => {
    const url = await server.database()
    const ledger = await openTestLedger(url)
    onTestFinished(() => ledger.close())
    const touch = async (): Promise<Id[]> => await ledger.transact('test', async tx => {
      await tx.load(['A' as Id])
      return await tx.database.kysely.selectFrom('lots').selectAll().execute().then(rows => rows.map(({ id }) => id))
    })
    // Often enough that the server keeps the plan.
    for (let i = 0; i < 8; i++) await touch()
    await server.query(url, 'alter table lots add column colour text')
    expect(await touch()).toEqual([])
  })

  test('a name that another process has is refused, and free again when that has ended', async () => {
    const url = await server.database()
    const first = await openTestLedger(url, { node: 'twin' })
    await expect(openTestLedger(url, { node: 'twin' })).rejects.toMatchObject({ code: 'node_in_use', message: expect.stringContaining('--node') as string })
    await first.close()
    await (await openTestLedger(url, { node: 'twin' })).close()
  })
})
