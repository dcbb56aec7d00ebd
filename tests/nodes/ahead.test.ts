// What a transaction on PostgreSQL is known to ask next goes to the server before its turn: an answer counts only if it is the one that
// would be given when it is asked, and what fails of it is told.
import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import { describe, expect, onTestFinished, test } from 'vitest'
import { applyBatch, batchQuestions as sensorQuestions } from '../../services/occupancy/batch.js'
import type { SensorMessage } from '../../services/occupancy/core.js'
import { answerBatch, batchQuestions as requestQuestions } from '../../services/reservation/batch.js'
import { lotDefaultsOf, rulesOf } from '../../services/reservation/intake.js'
import { seedLots } from '../../services/reservation/lots.js'
import { parseRequest } from '../../services/reservation/requests.js'
import { Config } from '../../shared/config.js'
import { FencedError } from '../../shared/errors.js'
import type { Id } from '../../shared/lot.js'
import { cursorOf, moveCursor } from '../../storage/audit.js'
import type { Ledger } from '../../storage/ledger.js'
import { fenceOf } from '../../storage/leases.js'
import { lockedLots } from '../../storage/locks.js'
import { ask, askAhead, type Question } from '../../storage/questions.js'
import { DatabaseProxy } from '../support/database-proxy.js'
import { openTestLedger } from '../support/postgres.js'
import { ABSENT, serverOfFile, SKIPPED } from './support.js'

const [A, B] = ['A', 'B'] as Id[] as [Id, Id]
const config = Config.parse({ timeZone: 'UTC', lots: [{ lot: A, capacity: 10 }, { lot: B, capacity: 10 }] })
const NO_MONITORS = { count: 0, isStopping: false, limits: { monitors: 0, monitorsPerClient: 0 }, has: () => false, countOf: () => 0 }
const settings = { rules: rulesOf(config), limits: config.limits, lots: lotDefaultsOf(config), prices: config, remembers: true, monitors: NO_MONITORS, about: async () => ({}) }

describe.skipIf(ABSENT !== null)(`what a transaction asks before its turn${SKIPPED}`, () => {
  const server = serverOfFile()

  async function open (): Promise<{ ledger: Ledger, proxy: DatabaseProxy }> {
    const proxy = await DatabaseProxy.start(await server().database())
    const ledger = await openTestLedger(proxy.url)
    onTestFinished(() => ledger.close())
    await seedLots(ledger, config.lots, lotDefaultsOf(config))
    return { ledger, proxy }
  }

  interface Given { reservation?: string, secret?: string, status?: string }

  async function request (ledger: Ledger, method: string, body: Record<string, unknown>): Promise<Given> {
    const payload = Buffer.from(JSON.stringify({ ...body, requestId: randomUUID() }))
    const parsed = parseRequest({ topic: `requests/${method}`, payload, properties: { responseTopic: 'replies/me/1' }, qos: 1, retain: false, dup: false, receivedAtMs: 0 })
    if (parsed.type !== 'request') throw new Error(`${method} is not taken`)
    const [answering] = await ledger.transact('test', async tx => await answerBatch(tx, [parsed.request], settings), { first: database => requestQuestions(database, [parsed.request]) })
    return answering?.answer.ok === true ? answering.answer.result as Given : {}
  }

  test('a batch of sensors is two round trips', async () => {
    const { ledger, proxy } = await open()
    for (let seq = 1; seq <= 3; seq++) {
      const messages = [A, B].map((lot): SensorMessage => ({ type: 'delta', lot, sensor: 's' as Id, epoch: 1, seq, delta: 1, plate: 'ABC123' }))
      const results = await ledger.transact('test', async tx => await applyBatch(tx, messages, { gapGraceMs: 0, sensorsPerLot: 10 }), { first: database => sensorQuestions(database, messages) })
      expect(results.map(({ outcome }) => outcome)).toEqual(['applied', 'applied'])
    }
    // Of the last: its mark with all that it asks, and all that is changed with the commit.
    expect(proxy.roundTrips).toBe(2)
    expect(await ledger.lots([A, B])).toMatchObject([{ counted: 3 }, { counted: 3 }])
  })

  test('a reservation is two round trips, and to cancel it three, since its lot is to be found', async () => {
    const { ledger, proxy } = await open()
    const reserve = async (plate: string): Promise<Given> => await request(ledger, 'reserve', { lot: A, plate })
    // The first looks for the windows of the lot as well.
    await reserve('ONE')
    const given = await reserve('TWO')
    expect(given).toMatchObject({ status: 'held' })
    expect(proxy.roundTrips).toBe(2)
    expect(await request(ledger, 'cancel', { reservation: given.reservation, secret: given.secret })).toMatchObject({ status: 'cancelled' })
    expect(proxy.roundTrips).toBe(3)
    expect(await ledger.lots([A])).toMatchObject([{ held: 1 }])
  })

  test('is asked again when something else was asked before it', async () => {
    const { ledger } = await open()
    const counted = await ledger.transact('test', async tx => {
      await sql`update lots set counted = 7 where id = ${A}`.execute(tx.database.kysely)
      await tx.load([A])
      return tx.lot(A)?.counted
    }, { first: database => [lockedLots(database, [A])] })
    expect(counted).toBe(7)
  })

  test('is asked again when it is not what was told', async () => {
    const { ledger } = await open()
    const loaded = await ledger.transact('test', async tx => {
      await tx.load([B])
      return [tx.lot(A)?.id, tx.lot(B)?.id]
    }, { first: database => [lockedLots(database, [A])] })
    expect(loaded).toEqual([undefined, B])
  })

  const failing = (database: Parameters<typeof ask>[0]): Question<unknown> => ({ query: sql`select 1 / 0`.compile(database.kysely), read: rows => rows })

  test('tells whoever asks it that it failed', async () => {
    const { ledger } = await open()
    const asked = ledger.transact('test', async tx => await ask(tx.database, failing(tx.database)), { first: database => [failing(database)] })
    await expect(asked).rejects.toMatchObject({ code: '22012' })
  })

  test('fails the transaction also when nobody asks it', async () => {
    const { ledger } = await open()
    const written = ledger.transact('test', async tx => await moveCursor(tx.database, 'x', 1), { first: database => [failing(database)] })
    await expect(written).rejects.toMatchObject({ code: '22012' })
    const ended = ledger.transact('test', async () => {}, { first: database => [failing(database)] })
    await expect(ended).rejects.toMatchObject({ code: '22012' })
    expect(await ledger.read(async database => await cursorOf(database, 'x'))).toBe(null)
  })

  test('is of no use to a process whose lease is another\'s: it is told so, and has changed nothing', async () => {
    const { ledger } = await open()
    const fence = fenceOf('parkmq', 'a process', { share: '00', epoch: 1 })
    const counted = ledger.transact('test', async tx => {
      await ask(tx.database, fence(tx.database))
      await tx.load([A])
      const lot = tx.lot(A)
      if (lot) tx.setLot({ ...lot, counted: 7 })
    }, { first: database => [fence(database), lockedLots(database, [A])] })
    await expect(counted).rejects.toThrow(FencedError)
    expect(await ledger.lots([A])).toMatchObject([{ counted: 0 }])
  })

  test('is found out and asked anew by a transaction that is run again', async () => {
    const { ledger, proxy } = await open()
    const found: string[] = []
    let runs = 0
    const counted = await ledger.transact('test', async tx => {
      await tx.load([A])
      if (++runs > 1) return tx.lot(A)?.counted
      proxy.drop()
      return (await ledger.lots([A]))[0]?.counted
    }, { first: database => { found.push(database.engine); return [lockedLots(database, [A])] } })
    expect({ runs, counted, found }).toEqual({ runs: 2, counted: 0, found: ['postgres', 'postgres'] })
  })

  test('does not keep a transaction from what it asks after it failed', async () => {
    const { ledger } = await open()
    await expect(ledger.transact('test', async tx => {
      await askAhead(tx.database, [lockedLots(tx.database, [B])])
      await ask(tx.database, failing(tx.database))
    })).rejects.toMatchObject({ code: '22012' })
    // The connection is as good as new.
    expect(await ledger.transact('test', async tx => {
      await tx.load([B, A])
      return [tx.lot(A)?.id, tx.lot(B)?.id]
    })).toEqual([A, B])
  })

  test('lots are locked in the order of their ids, whoever names them in which', async () => {
    const { ledger } = await open()
    let release = (): void => {}
    const released = new Promise<void>(resolve => { release = resolve })
    let hasA = (): void => {}
    const locked = new Promise<void>(resolve => { hasA = resolve })
    const runs: string[] = []
    const first = ledger.transact('test', async tx => {
      runs.push('A')
      await tx.load([A])
      hasA()
      await released
    })
    await locked
    const both = ledger.transact('test', async tx => {
      runs.push('both')
      await tx.load([B, A])
    })
    // It waits for A, and has not locked B before.
    const waits = async (): Promise<boolean> => (await sql`select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`.execute(ledger.database.kysely)).rows.length > 0
    await expect.poll(waits, { timeout: 5_000 }).toBe(true)
    await ledger.transact('test', async tx => {
      runs.push('B')
      await tx.load([B])
    })
    release()
    await Promise.all([first, both])
    // Nobody waited for so long that it was run again.
    expect(runs).toEqual(['A', 'both', 'B'])
  })
})
