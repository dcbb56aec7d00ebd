// Guarantees 1, 2 and 4 where the connection to the database ends around a commit, or two transactions are in each other's way:
// whatever is done, is done once, also what has no identity of its own.
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { newLot } from '../../services/reservation/lot-settings.js'
import { UnavailableError } from '../../shared/errors.js'
import type { Id } from '../../shared/lot.js'
import { NewLot } from '../../shared/schemas.js'
import type { Ledger } from '../../storage/ledger.js'
import type { LedgerTransaction } from '../../storage/transaction.js'
import { AskingClient } from '../support/asking.js'
import { DatabaseProxy, type Cut } from '../support/database-proxy.js'
import { openTestLedger } from '../support/postgres.js'
import { ABSENT, serverOfFile, SKIPPED, startNode } from './support.js'

const A = 'A' as Id
const B = 'B' as Id

describe.skipIf(ABSENT !== null)(`a transaction on PostgreSQL${SKIPPED}`, () => {
  const server = serverOfFile()

  async function openBehind (): Promise<{ ledger: Ledger, proxy: DatabaseProxy, url: string }> {
    const url = await server().database()
    const proxy = await DatabaseProxy.start(url)
    const ledger = await openTestLedger(proxy.url)
    onTestFinished(() => ledger.close())
    await ledger.transact('test', async tx => { for (const lot of [A, B]) tx.setLot(newLot(NewLot.parse({ lot, capacity: 10 }), 'UTC')) })
    return { ledger, proxy, url }
  }
  const countOne = (tx: LedgerTransaction, id: Id): void => {
    const lot = tx.lot(id)
    if (lot) tx.setLot({ ...lot, counted: lot.counted + 1 })
  }

  test.each<[Cut, number]>([['before', 2], ['after', 1], ['late', 1]])('whose connection is lost %s its commit is committed once, after %i runs', async (cut, runs) => {
    const { ledger, proxy, url } = await openBehind()
    let ran = 0
    proxy.next = cut
    const result = await ledger.transact('test', async tx => {
      ran++
      await tx.load([A])
      countOne(tx, A)
      tx.audit({ lot: A, type: 'counted', who: 'test' })
      return ran
    })
    expect({ cuts: proxy.cuts, ran, result }).toEqual({ cuts: 1, ran: runs, result: runs })
    expect(await ledger.lots([A])).toMatchObject([{ counted: 1, version: 2 }])
    expect(await server().query(url, 'select type from audit')).toEqual([{ type: 'counted' }])
  })

  test('whose commit is late, and whose mark is the first on its connection, is committed once', async () => {
    const { ledger, proxy } = await openBehind()
    let end = (): void => {}
    const ended = new Promise<void>(resolve => { end = resolve })
    // The row for marks that is there already is taken meanwhile.
    const other = await new Promise<{ done: Promise<void> }>(begun => {
      const done = ledger.transact('test', async () => {
        begun({ done })
        await ended
      })
    })
    proxy.next = 'late'
    await ledger.transact('test', async tx => {
      await tx.load([A])
      countOne(tx, A)
    })
    end()
    await other.done
    expect(proxy.cuts).toBe(1)
    expect(await ledger.lots([A])).toMatchObject([{ counted: 1, version: 2 }])
  })

  test('that waits for one that waits for it is carried out after it', async () => {
    const { ledger } = await openBehind()
    let met = 0
    let open = (): void => {}
    const both = new Promise<void>(resolve => { open = resolve })
    const crossing = async (first: Id, second: Id): Promise<number> => {
      let ran = 0
      await ledger.transact('test', async tx => {
        ran++
        await tx.load([first])
        if (++met === 2) open()
        await both
        await tx.load([second])
        countOne(tx, first)
        countOne(tx, second)
      })
      return ran
    }
    const runs = await Promise.all([crossing(A, B), crossing(B, A)])
    expect(runs.sort()).toEqual([1, 2])
    expect(await ledger.lots([A, B])).toMatchObject([{ counted: 2 }, { counted: 2 }])
  })

  test('that cannot reach the database is unavailable, and goes on when it can', async () => {
    const { ledger, proxy } = await openBehind()
    const count = async (): Promise<void> => await ledger.transact('test', async tx => {
      await tx.load([A])
      countOne(tx, A)
    })
    proxy.isDown = true
    proxy.drop()
    await expect(count()).rejects.toBeInstanceOf(UnavailableError)
    await expect(ledger.check()).rejects.toBeInstanceOf(UnavailableError)
    await expect(ledger.lots([A])).rejects.toBeInstanceOf(UnavailableError)
    proxy.isDown = false
    await count()
    await ledger.check()
    expect(await ledger.lots([A])).toMatchObject([{ counted: 1 }])
  })

  test('is none on a host that cannot be written: the one that can be is found', async () => {
    const url = await server().database()
    const { hostname, port, pathname } = new URL(url)
    // Nobody listens on the first.
    const ledger = await openTestLedger(`postgres://parkmq@127.0.0.1:1,${hostname}:${port}${pathname}`)
    onTestFinished(() => ledger.close())
    await ledger.lotIds()
    await server().query(url, `alter database ${pathname.slice(1)} set default_transaction_read_only = on`)
    await server().query(url, 'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()')
    // The first may still go to a connection that is just being ended.
    await vi.waitFor(async () => { await expect(ledger.lotIds()).rejects.toThrow('read only') }, { timeout: 10_000 })
    await server().query(url.replace(pathname, '/postgres'), `alter database ${pathname.slice(1)} reset default_transaction_read_only`)
    await ledger.lotIds()
  })

  test('bare deltas and requests without an id count once, whatever is cut', async () => {
    const url = await server().database()
    const proxy = await DatabaseProxy.start(url)
    const node = await startNode(proxy.url, 'a', { lots: [{ lot: 'A', capacity: 1_000 }] })
    const client = await AskingClient.connect(node.url)
    const cuts: Cut[] = ['before', 'after', 'late']
    for (let i = 0; i < 30; i++) {
      if (i % 2 === 0) proxy.next = cuts[i / 2 % 3] ?? null
      await client.mqtt.publishAsync('lots/A/sensor', '1', { qos: 1 })
      if (i % 5 === 0) proxy.next = cuts[i / 5 % 3] ?? null
      if (i % 3 === 0) expect(await client.ask('reserve', { lot: 'A', plate: `P${i}` })).toMatchObject({ ok: true, replayed: false })
    }
    expect(proxy.cuts).toBeGreaterThan(12)
    expect(await server().query(url, 'select counted::int as counted, held::int as held from lots')).toEqual([{ counted: 30, held: 10 }])
    expect(await server().query(url, 'select count(*)::int as n from audit where type = \'reservation.held\'')).toEqual([{ n: 10 }])
  })
})
