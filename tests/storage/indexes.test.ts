// Whatever is asked and however much is stored: rows are found by an index, or looked at a part at a time. A statement that reads a
// whole table holds everybody up for as long as that takes.
import { join } from 'node:path'
import Driver from 'libsql'
import { expect, onTestFinished, test, vi } from 'vitest'
import { filledLot, filledSensor, fillLedger } from '../../bench/filled-ledger.js'
import { pruneSensors } from '../../services/occupancy/store.js'
import { forgetting } from '../../services/reservation/timers.js'
import { Config } from '../../shared/config.js'
import { pruneAudit } from '../../storage/audit.js'
import { startTestApp, testFolder } from '../support/app.js'
import { AskingClient } from '../support/asking.js'

/** Enough that lists and forgetting go in parts. */
const FILLED = { lots: 5_001, identities: 5_001, ended: 10_001 }
const OF_US = /\b(?:lots|sensors|bays|reservations|request_history|audit|waiting|notices)\b/
/** What a plan says it scans that is no table: rows that were given, and rows that another part of the same statement has found. */
const NO_TABLE = /^SCAN (?:\d* ?CONSTANT ROWS?|value|json_each|newest|near|ordered)\b/
/** As much as was asked for in the order of an index; once at the start; all of an index that has nothing but what is looked for. */
const ALLOWED = [
  /^select \* from "notices" order by "id" limit \?$/,
  /^select "lot" from "reservations" where "due_at_ms" is not null group by "lot" having count\(\*\) > \?$/,
  /^select "id" from "lots" where waiting > 0 and "is_open" = \?$/,
  /^select seq from sqlite_sequence where name = 'audit'$/,
  /^select \* from "lots" order by "id" limit \?$/,
  /^select "id" from "lots" order by "id" limit \? offset \?$/,
  /^select "lot", "sensor" from "sensors" order by "lot", "sensor" limit \? offset \?$/,
  /^select json_group_array\(id\) as ids from \(select id from lots order by id\) as ordered$/,
  /^select \* from reservations indexed by "reservations_made" where true order by made_at_ms desc, id desc limit \?$/,
  /^select made_at_ms from reservations indexed by "reservations_made" where true order by made_at_ms desc limit 1 offset \?$/
]

/** What is walked in the order of the index for as many as are wanted, or up to where a statement before it has counted. */
const ALLOWED_WALKS = [
  /^select "id" from "lots" where "id" (?:>|<=) \? and "quality" not in /,
  /^select "id" from "lots" where "id" > \? order by "id" limit \? offset \?$/,
  /^select \* from "audit" where "id" > \? order by "id" limit \?$/,
  /^select \* from reservations indexed by "reservations_made" where true (?:and "\w+" = \? )*and made_at_ms >= \? order by made_at_ms desc, id desc limit \?$/,
  /^select (?:min|max)\(id\) as id from \(select id \+ 0 as id from audit where at_ms (?:>=|<) \? order by at_ms (?:desc )?limit \?\) as near$/,
  /^delete from request_history where \(caller, request_id\) in \( select caller, request_id from request_history where at_ms < \? order by at_ms limit \? \)$/,
  // Nearly all that is as old has been told.
  /^delete from audit where id in \( select id from audit where at_ms < \? and /
]

const TOMORROW = new Date(Date.now() + 86_400_000).toISOString().slice(0, 10)
const WINDOW = { from: `${TOMORROW}T10:00Z`, to: `${TOMORROW}T11:00Z` }

test('no statement reads a whole table', async () => {
  const data = testFolder()
  await fillLedger(data, FILLED)
  const prepare = vi.spyOn(Driver.prototype, 'prepare')
  onTestFinished(() => { prepare.mockRestore() })
  const texts = (): string[] => [...new Set(prepare.mock.calls.map(([text]) => inOneLine(text)))]
  const settings = { lots: [{ lot: 'A', capacity: 5 }, { lot: 'B', capacity: 1 }], times: { gapGraceMs: 100, staleAfterMs: 500 }, permits: [{ permit: 'night', name: 'Night', priceCents: 100, stock: 5 }] }
  const { url, app } = await startTestApp({ data, settings })
  await useAll(await AskingClient.connect(url))
  // Timers look for gaps, silence and what is due meanwhile.
  await vi.waitFor(() => expect(texts().filter(text => /"id" (?:>|<=) \? and "quality" not in/.test(text))).toHaveLength(2), 10_000)
  await forgetting(app.ledger, Config.parse({}).times)()
  await app.ledger.transact('test', async tx => {
    await pruneAudit(tx.database, 1, 10)
    await pruneSensors(tx.database, 1, { lot: filledLot(1), sensor: filledSensor(0) }, { count: 10, limit: 10 })
  })
  await app.stop()

  const driver = new Driver(join(data, 'ledger.db'))
  onTestFinished(() => { driver.close() })
  const planOf = (text: string): string[] => {
    const plan = driver.prepare(`explain query plan ${text}`).all(new Array<null>(text.split('?').length - 1).fill(null)) as { detail: string }[]
    return plan.map(({ detail }) => detail)
  }
  const statements = texts().filter(text => OF_US.test(text) && !text.includes('sqlite_master'))
  const scans = statements.filter(text => !ALLOWED.some(allowed => allowed.test(text)))
    .flatMap(text => planOf(text).filter(detail => detail.startsWith('SCAN') && !NO_TABLE.test(detail)).map(detail => `${detail}: ${text}`))
  expect(scans).toEqual([])
  // An index that is walked from one end is a table that is read, unless it has few rows there or the statement says how many.
  const walks = statements.filter(text => !ALLOWED_WALKS.some(allowed => allowed.test(text)))
    .flatMap(text => planOf(text).filter(detail => /\(\w+[<>]\?\)$/.test(detail)).map(detail => `${detail}: ${text}`))
  expect(walks).toEqual([])
  // It has seen the statements, or it proves nothing.
  expect(statements.length).toBeGreaterThan(50)
  // Where more than one index has a key of the question, all that is live in a lot, or a plate ever had, would be far too many.
  const found = (part: string): string[] => {
    const asking = statements.filter(text => text.includes(part))
    expect(asking, part).not.toEqual([])
    return [...new Set(asking.map(text => planOf(text).find(detail => detail.startsWith('SEARCH t ')) ?? 'no plan'))]
  }
  expect(found('t."plate" = given."plate"')).toEqual(['SEARCH t USING INDEX reservations_live_plate (plate=? AND lot=?)'])
  expect(found('t."plate" = given.key')).toEqual(['SEARCH t USING INDEX reservations_live_plate (plate=?)'])
})

/** Every request, in a way that does something, and every kind of message of a sensor. */
async function useAll (client: AskingClient): Promise<void> {
  const ask = async (method: string, body: object = {}): Promise<Record<string, unknown>> => {
    const { ok, result, message } = await client.ask(method, body)
    expect(ok, `${method} ${JSON.stringify(body)}: ${message}`).toBe(true)
    return result
  }
  const made = async (method: string, body: object): Promise<{ reservation: unknown, secret: unknown }> => {
    const { reservation, secret } = await ask(method, body)
    return { reservation, secret }
  }
  const held = await made('reserve', { lot: 'A', plate: 'P1', requestId: 'the-first-request-of-all' })
  const booked = await made('book', { lot: 'A', plate: 'P2', ...WINDOW })
  const { secret } = await made('book', { lot: 'B', plate: 'P3', ...WINDOW })
  await ask('wait', { lot: 'B', plate: 'P4', ...WINDOW })
  for (const message of [{ sensor: 's', epoch: 1, seq: 1, delta: 1 }, { sensor: 's', epoch: 1, seq: 3, delta: 1, plate: 'P1' }, { sensor: 's', epoch: 1, seq: 4, occupied: 3 }, 1]) {
    await client.mqtt.publishAsync('lots/A/sensor', JSON.stringify(message), { qos: 1 })
  }
  for (const [method, body] of [
    ['lots', {}], ['lots', { lot: 'A' }], ['availability', {}], ['availability', { lot: 'A', days: ['today'] }], ['get', held],
    ['change', { ...booked, shiftMinutes: 30 }], ['extend', { ...booked, byMinutes: 5 }],
    ['list', {}], ['list', { lot: 'A' }], ['list', { status: 'held' }], ['list', { plate: 'P1' }], ['list', { plate: 'P1', status: 'held', lot: 'A' }], ['list', { status: 'cancelled', lot: filledLot(7), limit: 1 }],
    ['depart', held], ['cancel', booked], ['cancel', { lot: 'B', plate: 'P3', secret }],
    ['quote', { lot: 'A', ...WINDOW }], ['permits', {}], ['permit', { permit: 'night' }], ['buyPermit', { permit: 'night', plate: 'P1' }],
    ['monitor', { lot: 'A', forSeconds: 10 }], ['unmonitor', { lot: 'A' }], ['lot.add', { lot: 'C', capacity: 2, bays: ['1', '2'] }], ['lot.set', { lot: 'C', capacity: 1, bays: ['1'] }],
    ['lot.close', { lot: 'C' }], ['lot.open', { lot: 'C' }], ['recount', { lot: 'A', occupied: 1 }], ['lot.remove', { lot: 'C' }], ['audit', {}], ['audit', { user: 'x', lot: 'A', since: '2026-01-01T00:00:00Z', until: '2030-01-01T00:00:00Z' }], ['stats', {}], ['info', {}], ['ping', {}]
  ] as const) await ask(method, body)
  expect(await client.ask('cancel', { lot: 'A', plate: 'P2' })).toMatchObject({ ok: false })
}

function inOneLine (text: string): string {
  return text.trim().replace(/\s+/g, ' ')
}
