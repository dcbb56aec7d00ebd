// A backup that is made under load is one moment of the ledger, on either engine, and becomes a ledger again on the other one.
import { describe, expect, test } from 'vitest'
import { startTestApp, testFolder } from '../support/app.js'
import { AskingClient } from '../support/asking.js'
import { ABSENT, serverOfFile, SKIPPED } from '../nodes/support.js'
import { openSqlite } from '../../storage/sqlite.js'
import { backup, backupOf, ledgerLines, linesOf, restore, rowsOf, type Place } from './support.js'

const GATES = 3
const COUNTED = 50
const SETTINGS = {
  lots: [{ lot: 'LOT-A', capacity: 100_000, occupied: COUNTED }, { lot: 'ROOF', capacity: 1 }],
  permits: [{ permit: 'MONTH', name: 'One month', priceCents: 9_000, stock: 50 }]
}

/** Sensors and a driver that never stop, and what was acknowledged to them. */
class Load {
  readonly acknowledged = new Map<string, number>()
  /** Reply by requestId. */
  readonly replies = new Map<string, string>()
  readonly #work: Promise<unknown>
  #stopped = false

  constructor (driver: AskingClient, gates: readonly AskingClient[]) {
    this.#work = Promise.all([this.#reserve(driver), ...gates.map((gate, i) => this.#count(gate, `gate-${i}`))])
  }

  async stop (): Promise<void> {
    this.#stopped = true
    await this.#work
  }

  async until (reserved: number): Promise<void> {
    while (this.replies.size < reserved) await new Promise(resolve => setImmediate(resolve))
  }

  async #reserve (driver: AskingClient): Promise<void> {
    for (let n = 0; !this.#stopped; n++) {
      const requestId = requestOf(n)
      this.replies.set(requestId, (await driver.ask('reserve', bodyOf(n))).text)
    }
  }

  async #count (gate: AskingClient, sensor: string): Promise<void> {
    for (let seq = 1; !this.#stopped; seq++) {
      await gate.mqtt.publishAsync('lots/LOT-A/sensor', deltaOf(sensor, seq), { qos: 1 })
      this.acknowledged.set(sensor, seq)
    }
  }
}

const requestOf = (n: number): string => `backup-${String(n).padStart(12, '0')}`
const bodyOf = (n: number): object => ({ lot: 'LOT-A', plate: `P${n}`, requestId: requestOf(n) })
const deltaOf = (sensor: string, seq: number): string => JSON.stringify({ sensor, epoch: 1, seq, delta: 1 })

describe.skipIf(ABSENT !== null)(`from one engine to the other${SKIPPED}`, () => {
  const server = serverOfFile()
  const inFolder = async (): Promise<Place> => ({ data: testFolder() })
  const inDatabase = async (): Promise<Place> => ({ data: testFolder(), database: await server().database() })

  test.each([
    ['a file', 'a database', inFolder, inDatabase],
    ['a database', 'a file', inDatabase, inFolder]
  ])('%s, backed up under load, goes on in %s', async (_from, _to, makeFrom, makeTo) => {
    const from = await makeFrom()
    const first = await startTestApp({ data: from.data, settings: { ...SETTINGS, ...from.database !== undefined && { database: from.database } } })
    const clients = await Promise.all(Array.from({ length: GATES + 1 }, async () => await AskingClient.connect(first.url)))
    const [driver, ...gates] = clients as [AskingClient, ...AskingClient[]]
    // Something of every table.
    await driver.ask('reserve', { lot: 'ROOF', plate: 'FIRST' })
    await driver.ask('wait', { lot: 'ROOF', plate: 'SECOND' })
    await driver.ask('buyPermit', { permit: 'MONTH', plate: 'FIRST', requestId: 'backup-permit-0001' })
    const load = new Load(driver, gates)
    await load.until(30)
    const before = { acknowledged: new Map(load.acknowledged), replies: new Map(load.replies) }
    // More is acknowledged between any two tables.
    const bytes = await backup(from, async () => await load.until(load.replies.size + 1))
    await load.until(before.replies.size + 5)
    await load.stop()
    await first.app.stop()

    // Nothing is half.
    const sensors = rowsOf(bytes, 'sensors')
    const sum = sensors.reduce((all, { high }) => all + Number(high), 0)
    const [lot] = rowsOf(bytes, 'lots')
    const reservations = rowsOf(bytes, 'reservations').filter(row => row.lot === 'LOT-A')
    expect(lot).toMatchObject({ id: 'LOT-A', counted: COUNTED + sum, held: reservations.length })
    expect(rowsOf(bytes, 'request_history').filter(({ method }) => method === 'reserve')).toHaveLength(reservations.length)
    expect(rowsOf(bytes, 'audit').filter(row => row.type === 'reservation.held' && row.lot === 'LOT-A').map(row => row.reservation).sort()).toEqual(reservations.map(({ id }) => id).sort())
    expect(rowsOf(bytes, 'waiting')).toMatchObject([{ lot: 'ROOF' }])
    expect(rowsOf(bytes, 'permit_sales')).toMatchObject([{ plate: 'FIRST' }])
    // Everything is there that was acknowledged before, and it was made while more came.
    for (const [sensor, seq] of before.acknowledged) expect(sensors.find(row => row.sensor === sensor)?.high).toBeGreaterThanOrEqual(seq)
    expect(reservations.length).toBeGreaterThanOrEqual(before.replies.size)
    expect(reservations.length).toBeLessThan(load.replies.size)

    const to = await makeTo()
    await restore(bytes, to)
    expect(ledgerLines(await backup(to))).toEqual(ledgerLines(bytes))
    const back = await makeFrom()
    await restore(await backup(to), back)
    expect(ledgerLines(await backup(back))).toEqual(ledgerLines(bytes))

    const second = await startTestApp({ data: to.data, settings: { ...SETTINGS, ...to.database !== undefined && { database: to.database } } })
    const client = await AskingClient.connect(second.url)
    for (const [i, reply] of [...before.replies.values()].entries()) expect(await client.ask('reserve', bodyOf(i))).toMatchObject({ text: reply, replayed: true })
    for (const [sensor, seq] of before.acknowledged) await client.mqtt.publishAsync('lots/LOT-A/sensor', deltaOf(sensor, seq), { qos: 1 })
    const { result } = await client.ask('lots', { lot: 'LOT-A' })
    expect(result.lots).toMatchObject([{ counted: COUNTED + sum, held: reservations.length }])
    const watcher = await second.connect()
    await watcher.subscribe('lots/LOT-A/free')
    await watcher.last('lots/LOT-A/free', text => Number(text) === 100_000 - COUNTED - sum - reservations.length)
    // New lines have new numbers.
    const last = Math.max(...rowsOf(bytes, 'audit').map(({ id }) => Number(id)))
    await client.ask('reserve', { lot: 'LOT-A', plate: 'NEW' })
    const after = rowsOf(await backup(to), 'audit').filter(({ id }) => Number(id) > last)
    expect(after.map(({ type }) => type)).toContain('reservation.held')
  })

  test.each([['a file', inFolder], ['a database', inDatabase]])('one of an older parkmq whose rows are as ours goes into %s as it is', async (_, to) => {
    const { data } = await inFolder()
    const opened = await openSqlite(data)
    await opened.database.kysely.insertInto('permits').values({ permit: 'A' as never, sold: 1 }).execute()
    await opened.close()
    const lines = linesOf(await backup({ data }))
    const older = lines.map(line => line.includes('"format"') ? line.replace(',"008-lists"', '') : line)
    const place = await to()
    await restore(backupOf(older, { isSigned: true }), place)
    expect(linesOf(await backup(place))).toContain('["A",1]')
  })

  test('a value that a table refuses is told with its table and line, and there is no ledger', async () => {
    const from = await inFolder()
    const opened = await openSqlite(from.data)
    await opened.database.kysely.insertInto('permits').values({ permit: 'A' as never, sold: 1 }).execute()
    await opened.close()
    const lines = linesOf(await backup(from)).map(line => line.replace('["A",1]', '["A",-1]'))
    await expect(restore(backupOf(lines, { isSigned: true }), await inDatabase())).rejects.toThrow(/rows of permits before line \d+ do not fit/)
  })

  test('events and promises that were not told yet are told by whoever goes on, and numbers are never given again', async () => {
    const from = await inFolder()
    const opened = await openSqlite(from.data)
    const { kysely } = opened.database
    const line = (id: number) => ({ id, at_ms: 1, lot: null, type: 'x.y', who: 'time', address: null, why: null, reservation: null, sensor: null, before: null, after: null })
    for (const id of [1, 2, 3, 9]) await kysely.insertInto('audit').values(line(id)).execute()
    await kysely.deleteFrom('audit').where('id', '=', 9).execute()
    await kysely.insertInto('notices').values({ id: 4, topic: 'replies/a', correlation_data: null, correlation: null, payload: '{}', at_ms: 1 }).execute()
    await kysely.insertInto('cursors').values({ name: 'events', position: 2 }).execute()
    await opened.close()

    const to = await inDatabase()
    await restore(await backup(from), to, 'north')
    const ask = async (text: string): Promise<unknown[]> => await server().query(to.database ?? '', text)
    expect(await ask('select name, position::int from cursors')).toEqual([{ name: 'events@north', position: 2 }])
    expect(await ask('select node, noticed::int, urls from nodes')).toEqual([{ node: 'north', noticed: 0, urls: null }])
    expect(await ask('select nextval(\'audit_id_seq\')::int as audit, nextval(\'notices_id_seq\')::int as notice')).toEqual([{ audit: 10, notice: 5 }])

    // The one that is furthest behind says where a single one goes on, and one that was not there yet.
    await ask('insert into nodes (node, seen_at_ms, noticed) values (\'south\', 1, 3)')
    await ask('insert into cursors (name, position) values (\'events@south\', 1)')
    const two = await backup(to)
    const again = await inDatabase()
    await restore(two, again, 'west')
    expect(await server().query(again.database ?? '', 'select name, position::int from cursors order by name')).toEqual([
      { name: 'events@north', position: 2 }, { name: 'events@south', position: 1 }, { name: 'events@west', position: 1 }])
    const file = await inFolder()
    await restore(two, file)
    expect(rowsOf(await backup(file), 'told')).toEqual([{ node: '', events: 1, notices: 0 }])
  })

  test('a database with a ledger, or with running nodes, is refused, and a damaged backup leaves it empty', async () => {
    const from = await inFolder()
    const app = await startTestApp({ data: from.data, settings: SETTINGS })
    await app.app.stop()
    const bytes = await backup(from)
    const to = await inDatabase()
    const isEmpty = async (): Promise<void> => { expect(await server().query(to.database ?? '', 'select from lots union all select from audit')).toEqual([]) }
    await expect(restore(bytes.subarray(0, bytes.length - 30), to)).rejects.toMatchObject({ code: 'bad_backup' })
    await isEmpty()
    const node = await startTestApp({ data: to.data, settings: { database: to.database, lots: [] } })
    await expect(restore(bytes, to)).rejects.toMatchObject({ code: 'data_in_use' })
    await node.app.stop()
    await isEmpty()
    // Of two at once one comes too late.
    const both = await Promise.allSettled([restore(bytes, to), restore(bytes, to)])
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    expect(both.find(({ status }) => status === 'rejected')).toMatchObject({ reason: { code: 'not_empty' } })
    expect(ledgerLines(await backup(to))).toEqual(ledgerLines(bytes))
  })
})
