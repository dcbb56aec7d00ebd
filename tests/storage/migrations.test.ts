// A ledger that an older parkmq wrote is brought to the newest shape with everything in it.
import { join } from 'node:path'
import Driver from 'libsql'
import { Kysely, Migrator, SqliteDialect } from 'kysely'
import { onTestFinished, test, expect } from 'vitest'
import { Config } from '../../shared/config.js'
import type { Id } from '../../shared/lot.js'
import { createMetrics } from '../../shared/metrics.js'
import { auditLines, cursorOf, pruneAudit } from '../../storage/audit.js'
import type { Ledger } from '../../storage/ledger.js'
import { migrations } from '../../storage/migrations/index.js'
import { openLedger } from '../../storage/open.js'
import { testFolder } from '../support/app.js'
import { eventsAfter } from '../support/events.js'
import { audit, StandingClock } from './contract.js'

const A = 'LOT-A' as Id

/** A folder with a ledger as this migration left it, filled by `sql`. */
async function olderLedger (name: string, sql: string): Promise<string> {
  const data = testFolder()
  const driver = new Driver(join(data, 'ledger.db'))
  driver.pragma('application_id = 0x706b6d71')
  const kysely = new Kysely<unknown>({ dialect: new SqliteDialect({ database: driver }) })
  const all = Object.entries(migrations('sqlite'))
  const had = Object.fromEntries(all.slice(0, all.findIndex(([of]) => of === name) + 1))
  const { error } = await new Migrator({ db: kysely as never, provider: { getMigrations: async () => had } }).migrateToLatest()
  expect(error).toBeUndefined()
  driver.exec(sql)
  await kysely.destroy()
  return data
}

async function open (data: string): Promise<Ledger> {
  const ledger = await openLedger({ config: Config.parse({ data }), clock: new StandingClock(), metrics: createMetrics() })
  onTestFinished(() => ledger.close())
  return ledger
}

const FROM_001 = `
  insert into audit (at_ms, lot, type, who, why, reservation, sensor, before, after) values
    (1000, 'LOT-A', 'forgotten', 'time', null, null, null, null, null),
    (2000, 'LOT-A', 'reservation.expired', 'time', 'not_arrived_in_time', 'R-1', null, '"held"', '"expired"'),
    (3000, 'LOT-A', 'sensor.gap', 'sensor:g', null, null, 'g', null, '{"missing":2}'),
    (4000, 'LOT-B', 'the newest', 'time', null, null, null, null, null);
  delete from audit where id in (1, 4);
  insert into cursors (name, position) values ('events', 4);`

test('the audit of 001 keeps its lines and numbers, and a number that was forgotten is never used again', async () => {
  const ledger = await open(await olderLedger('001-initial', FROM_001))
  const { database } = ledger
  expect(await auditLines(database, { limit: 10 })).toEqual({
    lines: [
      { id: 2, at: '1970-01-01T00:00:02.000Z', type: 'reservation.expired', who: 'time', lot: A, reservation: 'R-1', why: 'not_arrived_in_time', before: 'held', after: 'expired' },
      { id: 3, at: '1970-01-01T00:00:03.000Z', type: 'sensor.gap', who: 'sensor:g', lot: A, sensor: 'g', after: { missing: 2 } }
    ],
    next: null
  })
  await audit(ledger, [{ lot: A, type: 'next', who: 'user:ann', address: '10.0.0.1', atMs: 5_000 }, { type: 'login.accepted', who: 'user:ann', atMs: 5_000 }])
  // Not 4: the cursor has passed that, and the event would never be told.
  expect(await eventsAfter(database, await cursorOf(database, 'events') ?? 0, 10)).toMatchObject({ events: [{ id: 5, type: 'next' }], position: 6 })
  expect(await pruneAudit(database, 10_000, 10)).toBe(3)
})

test('an audit without a line keeps what its numbers have come to', async () => {
  const ledger = await open(await olderLedger('001-initial', `${FROM_001} delete from audit;`))
  const { database } = ledger
  await audit(ledger, [{ lot: A, type: 'next', who: 'time' }])
  expect(await eventsAfter(database, 0, 10)).toMatchObject({ events: [{ id: 5 }] })
  const fresh = await open(testFolder())
  await audit(fresh, [{ lot: A, type: 'first', who: 'time' }])
  expect(await eventsAfter(fresh.database, 0, 10)).toMatchObject({ events: [{ id: 1 }] })
})

test('a crash after the change and before it was noted is mended by the next start', async () => {
  const data = await olderLedger('002-audit-of-access', `
    insert into audit (at_ms, lot, type, who, address) values (1000, null, 'login.refused', 'user:ann', '10.0.0.1');
    delete from kysely_migration where name = '002-audit-of-access';`)
  expect(await auditLines((await open(data)).database, { limit: 10 })).toMatchObject({ lines: [{ id: 1, address: '10.0.0.1' }] })
})

test('a change that fails leaves everything as it was', async () => {
  const data = await olderLedger('001-initial', `${FROM_001} create table audit_at (in_the_way text);`)
  await expect(open(data)).rejects.toMatchObject({ code: 'cannot_open', message: expect.stringContaining('audit_at') as string })
  const driver = new Driver(join(data, 'ledger.db'))
  const left = driver.prepare('select * from audit').all() as { id: number }[]
  expect(left.map(line => line.id)).toEqual([2, 3])
  expect(left[0]).not.toHaveProperty('address')
  driver.exec('drop table audit_at')
  driver.close()
  const ledger = await open(data)
  await audit(ledger, [{ type: 'next', who: 'time' }])
  expect((await auditLines(ledger.database, { limit: 10 })).lines.map(line => line.id)).toEqual([2, 3, 5])
})

const FROM_002 = `
  insert into lots values ('LOT-A', 'A', 10, 0, 4, 1, 0, 1, 'sensors', 0, 0, null, 'unknown', 7, 1000, 1700000300000);
  insert into reservations values
    ('R-1', 'LOT-A', 'AA1', 'held', 1700000000000, 1700000300000, 1700000300000, 'x', null, 1700000000000),
    ('R-2', 'LOT-A', 'AA2', 'arrived', 1699999000000, 1700085400000, 1700085400000, 'x', 'ann', 1699999000000),
    ('R-3', 'LOT-A', 'AA3', 'departed', 1699999000000, 1699999500000, null, 'x', null, 1699999000000);`

test('the reservations of 002 are holds, and one whose car is in has no window any more', async () => {
  const ledger = await open(await olderLedger('002-audit-of-access', FROM_002))
  expect(await ledger.lots([A])).toMatchObject([{ capacity: 10, held: 1, waiting: 0, windowsVersion: 0, timeZone: 'UTC', tariff: 'standard' }])
  await ledger.transact('test', async tx => {
    await tx.load([A])
    await tx.loadWindows([A])
    expect([...tx.overlaps(A).steps({ fromMs: 0, toMs: 2_000_000_000_000 })].filter(step => step.count > 0)).toEqual([{ fromMs: 1_700_000_000_000, toMs: 1_700_000_300_000, count: 1 }])
  })
  const rows = await ledger.database.kysely.selectFrom('reservations').select(['id', 'kind', 'original_to_ms', 'due_at_ms']).orderBy('id').execute()
  expect(rows).toEqual([
    { id: 'R-1', kind: 'hold', original_to_ms: 1_700_000_300_000, due_at_ms: 1_700_000_300_000 },
    { id: 'R-2', kind: 'hold', original_to_ms: 1_700_085_400_000, due_at_ms: 1_700_085_400_000 },
    { id: 'R-3', kind: 'hold', original_to_ms: 1_699_999_500_000, due_at_ms: null }
  ])
})

test('a crash after the change of 003 and before it was noted is mended by the next start', async () => {
  const data = await olderLedger('003-windows-and-waiting', 'insert into permits values (\'DAY\', 3); delete from kysely_migration where name = \'003-windows-and-waiting\';')
  expect(await (await open(data)).database.kysely.selectFrom('permits').selectAll().execute()).toEqual([{ permit: 'DAY', sold: 3 }])
})

const FROM_003 = `
  insert into lots (id, name, capacity, buffer, counted, held, arriving, is_open, counting, bays_cover, suspect, heard_at_ms, quality, version, changed_at_ms)
    values ('LOT-A', 'A', 2, 0, 1, 0, 0, 1, 'sensors', 1, 0, 1000, 'live', 7, 1000);
  insert into sensors values ('LOT-A', 'cam-1', 1, 1, 0, 0, 0, 0, null, 1000, 0);
  insert into bays values ('LOT-A', 'B-1', 'taken', 1, 'cam-1', 1, 1, 1000);`

test('the bays of 003 stand, and nobody is said to have counted', async () => {
  const data = await olderLedger('003-windows-and-waiting', FROM_003)
  const ledger = await open(data)
  expect(await ledger.lots([A])).toMatchObject([{ counted: 1, absolute: null, corrected: null, lapsedBays: 0 }])
  expect(await ledger.database.kysely.selectFrom('bays').select(['bay', 'state', 'lapsed']).execute()).toEqual([{ bay: 'B-1', state: 'taken', lapsed: 0 }])
  expect(await ledger.database.kysely.selectFrom('sensors').select(['sensor', 'stands_until_ms']).execute()).toEqual([{ sensor: 'cam-1', stands_until_ms: null }])
})

test('a crash after the change of 004 and before it was noted is mended by the next start', async () => {
  const data = await olderLedger('004-sources', `${FROM_003.replaceAll('1000, 0)', '1000, 0, 5000)').replaceAll('1, 1, 1000)', '1, 1, 1000, 0)')} delete from kysely_migration where name = '004-sources';`)
  expect(await (await open(data)).database.kysely.selectFrom('sensors').select('stands_until_ms').execute()).toEqual([{ stands_until_ms: 5_000 }])
})
