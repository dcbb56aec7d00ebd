// Statements of a transaction on PostgreSQL that nobody waits for: what fails of them is told, at the latest by the commit, and nothing
// of the transaction is there.
import { sql } from 'kysely'
import { describe, expect, onTestFinished, test } from 'vitest'
import { applyBatch } from '../../services/occupancy/batch.js'
import type { SensorMessage } from '../../services/occupancy/core.js'
import { newLot } from '../../services/reservation/lot-settings.js'
import { UnavailableError } from '../../shared/errors.js'
import type { Id } from '../../shared/lot.js'
import { NewLot } from '../../shared/schemas.js'
import { cursorOf } from '../../storage/audit.js'
import type { Ledger } from '../../storage/ledger.js'
import { lockNames } from '../../storage/locks.js'
import { insertRows } from '../../storage/rows.js'
import type { LedgerTransaction } from '../../storage/transaction.js'
import { DatabaseProxy } from '../support/database-proxy.js'
import { openTestLedger } from '../support/postgres.js'
import { ABSENT, serverOfFile, SKIPPED } from './support.js'

const A = 'A' as Id

describe.skipIf(ABSENT !== null)(`what a transaction writes and does not wait for${SKIPPED}`, () => {
  const server = serverOfFile()

  async function open (): Promise<{ ledger: Ledger, proxy: DatabaseProxy, url: string }> {
    const url = await server().database()
    const proxy = await DatabaseProxy.start(url)
    const ledger = await openTestLedger(proxy.url)
    onTestFinished(() => ledger.close())
    await ledger.transact('test', async tx => tx.setLot(newLot(NewLot.parse({ lot: A, capacity: 10 }), 'UTC')))
    return { ledger, proxy, url }
  }
  const insert = async ({ database }: LedgerTransaction, ...names: string[]): Promise<void> => {
    for (const name of names) await insertRows(database, 'cursors', ['name', 'position'], [{ name, position: 1 }])
  }
  const isThere = async (ledger: Ledger, name: string): Promise<boolean> => await ledger.read(async database => await cursorOf(database, name)) !== null

  test('fails at the commit, and nothing of it is there', async () => {
    const { ledger } = await open()
    let runs = 0
    await expect(ledger.transact('test', async tx => {
      runs++
      await insert(tx, 'x', 'y', 'x')
      return 'done'
    })).rejects.toMatchObject({ code: '23505' })
    expect(runs).toBe(1)
    expect(await isThere(ledger, 'y')).toBe(false)
    // The connection is as good as new.
    await ledger.transact('test', async tx => await insert(tx, 'x'))
    expect(await isThere(ledger, 'x')).toBe(true)
  })

  test('fails at the next question, with the error of what failed', async () => {
    const { ledger } = await open()
    const asked = ledger.transact('test', async tx => {
      await insert(tx, 'x', 'x')
      await expect(cursorOf(tx.database, 'x')).rejects.toMatchObject({ code: '23505' })
      throw new Error('of the work itself')
    })
    await expect(asked).rejects.toThrow('of the work itself')
    expect(await isThere(ledger, 'x')).toBe(false)
  })

  test('is never taken for committed, also when the work goes on after an error', async () => {
    const { ledger } = await open()
    const done = ledger.transact('test', async tx => {
      await insert(tx, 'x', 'x')
      await cursorOf(tx.database, 'x').catch(() => null)
    })
    await expect(done).rejects.toThrow('rolled back')
    expect(await isThere(ledger, 'x')).toBe(false)
  })

  test('is all there, however much it is', async () => {
    const { ledger } = await open()
    const names = Array.from({ length: 100 }, (_, i) => `x${i}`)
    await ledger.transact('test', async tx => await insert(tx, ...names))
    expect(await Promise.all(names.map(async name => await isThere(ledger, name)))).toEqual(names.map(() => true))
  })

  test('is run again when it lost against another transaction', async () => {
    const { ledger } = await open()
    let met = 0
    let meet = (): void => {}
    const both = new Promise<void>(resolve => { meet = resolve })
    const crossing = async (first: string, second: string): Promise<number> => {
      let runs = 0
      await ledger.transact('test', async tx => {
        runs++
        await lockNames(tx.database, [first])
        await sql`select 1`.execute(tx.database.kysely)
        if (++met === 2) meet()
        await both
        await lockNames(tx.database, [second])
        await insert(tx, `${first}${second}`)
      })
      return runs
    }
    expect((await Promise.all([crossing('a', 'b'), crossing('b', 'a')])).sort()).toEqual([1, 2])
    expect([await isThere(ledger, 'ab'), await isThere(ledger, 'ba')]).toEqual([true, true])
  })

  test('is run again when the connection is lost before it is sent', async () => {
    const { ledger, proxy } = await open()
    let runs = 0
    await ledger.transact('test', async tx => {
      await insert(tx, 'x')
      if (++runs > 1) return
      proxy.drop()
      // Nobody waits for the insert while its connection ends: that must not end the process.
      await Promise.allSettled([ledger.lots([A])])
    })
    expect(runs).toBe(2)
    expect(await isThere(ledger, 'x')).toBe(true)
  })

  test('is known not to be committed, also when the server then refuses to be asked', async () => {
    const { ledger, url } = await open()
    await server().query(url, `
      create sequence failures;
      create function fail () returns trigger as $$ begin
        if tg_table_name = 'cursors' then perform nextval('failures'); end if;
        if (select is_called from failures) then raise exception 'no room left' using errcode = 'disk_full'; end if;
        return new;
      end $$ language plpgsql;
      create trigger fail before insert on cursors for each row execute function fail();
      create trigger fail before insert on transactions for each row execute function fail()`)
    const failing = ledger.transact('test', async tx => await insert(tx, 'x'))
    await expect(failing).rejects.toBeInstanceOf(UnavailableError)
    await expect(failing).rejects.toThrow(/^the ledger is unavailable: no room left/)
  })

  test('goes with what is waited for: a batch of sensors is four round trips', async () => {
    const { ledger, proxy } = await open()
    for (let seq = 1; seq <= 3; seq++) {
      const messages = ['s', 't'].map((sensor): SensorMessage => ({ type: 'delta', lot: A, sensor: sensor as Id, epoch: 1, seq, delta: 1, plate: null }))
      const results = await ledger.transact('test', async tx => await applyBatch(tx, messages, { gapGraceMs: 0, sensorsPerLot: 10 }))
      expect(results.map(({ outcome }) => outcome)).toEqual(['applied', 'applied'])
    }
    // Of the last: its mark, lots, sensors, and all that is changed with the commit.
    expect(proxy.roundTrips).toBe(4)
    expect(await ledger.lots([A])).toMatchObject([{ counted: 6 }])
  })
})
