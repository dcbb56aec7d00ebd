// The scenarios that measure growth, in their small forms: that what they fill is what parkmq serves, that every message of
// theirs is acknowledged and counted, and that what they measure is whole.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { fillLedger, FILLED_CAPACITY, filledLot } from '../../bench/filled-ledger.js'
import { IdleClients } from '../../bench/idle-clients.js'
import { perSample } from '../../bench/memory-watch.js'
import type { Results, ScenarioResult } from '../../bench/results.js'
import { ScatteredLoad, type ScatteredParts } from '../../bench/scattered-load.js'
import { startTestApp, testFolder, type TestApp } from '../support/app.js'

const MAIN = join(import.meta.dirname, '../../dist/bench/main.js')

const LOTS = 5
const LOAD: Omit<ScatteredParts, 'ports'> = { lots: LOTS, identities: 20, publishers: 3, window: 8, seed: 1 }

async function startFilled (): Promise<TestApp> {
  const data = testFolder()
  await fillLedger(data, { lots: LOTS, identities: 20, ended: 40, live: 12 })
  return await startTestApp({ data, settings: { lots: [] } })
}

describe('fillLedger', () => {
  test('makes what parkmq takes for its own: lots, identities, a history and bookings', async () => {
    const app = await startFilled()
    const client = await app.connect()
    const { lots } = await client.request<{ lots: object[] }>('lots')
    expect(lots).toHaveLength(LOTS)
    expect(lots).toContainEqual(expect.objectContaining({ lot: filledLot(0), capacity: FILLED_CAPACITY, counted: FILLED_CAPACITY / 2, free: FILLED_CAPACITY / 2, quality: 'live' }))
    const ofStatus = async (status: string): Promise<unknown[]> => (await client.request<{ reservations: unknown[] }>('list', { status })).reservations
    expect(await ofStatus('booked')).toHaveLength(12)
    expect((await ofStatus('departed')).length + (await ofStatus('expired')).length).toBe(40)
    // What it is told of next is not what it was filled with.
    await client.request('recount', { lot: filledLot(1), occupied: 3 })
    const [cursor] = await app.app.ledger.database.kysely.selectFrom('cursors').selectAll().where('name', '=', 'events').execute()
    expect(cursor?.position).toBe(80)
  })
})

describe('ScatteredLoad', () => {
  test('every message is acknowledged and counted once, and a later run goes on where this one ended', async () => {
    const app = await startFilled()
    const load = new ScatteredLoad({ ...LOAD, ports: { port: app.app.port ?? 0, wsPort: null } })
    await load.connect()
    for (const messages of [300, 150]) expect(await load.run(messages)).toMatchObject({ sent: messages, acknowledged: messages, ack: { count: messages }, closed: [] })
    load.disconnect()
    const sensors = await app.app.ledger.database.kysely.selectFrom('sensors').selectAll().execute()
    expect(sensors).toHaveLength(20)
    // Numbered without a gap: the last number of each identity is how many messages it sent.
    expect(sensors.reduce((sum, { high }) => sum + high, 0)).toBe(450)
    expect(sensors.every(({ missing }) => missing === 0)).toBe(true)
    const cars = sensors.reduce((sum, { high }) => sum + high % 2, 0)
    expect((await app.app.ledger.allLots()).reduce((sum, { counted }) => sum + counted, 0)).toBe(LOTS * FILLED_CAPACITY / 2 + cars)
  })

  test('refuses identities that cannot be shared out', () => {
    expect(() => new ScatteredLoad({ ...LOAD, identities: 21, ports: { port: 1, wsPort: null } })).toThrow(RangeError)
  })
})

test('the slope of memory is that of the best line', () => {
  expect(perSample([1, 3, 5, 7])).toBeCloseTo(2)
  expect(perSample([4, 4, 4])).toBeCloseTo(0)
  expect(perSample([9, 2, 1])).toBeCloseTo(-4)
})

test('idle clients grow to a number, and those that are there stay', async () => {
  const app = await startFilled()
  const ports = { port: app.app.port ?? 0, wsPort: null }
  const clients = new IdleClients()
  for (const count of [3, 60]) {
    await clients.grow(ports, 'lots/QUIET/free', count)
    expect(clients.count).toBe(count)
  }
  expect(clients.closed).toEqual([])
  clients.close()
})

// Each starts parkmq several times, which takes half a minute on a slow machine.
describe('on the command line', { timeout: 120_000 }, () => {
  function run (...args: string[]): ScenarioResult {
    const file = join(testFolder(), 'results.json')
    const { status, stderr } = spawnSync(process.execPath, [MAIN, ...args, '--results', file], { encoding: 'utf8' })
    expect(stderr).toBe('')
    expect(status).toBe(0)
    const [result] = (JSON.parse(readFileSync(file, 'utf8')) as Results).scenarios
    if (result === undefined) throw new Error('there is no result')
    return result
  }

  test('restart: a point for each number of lots, of reservations in the history and of reservations to come', () => {
    const { series } = run('restart', '--rounds', '1', '--lots', '20', '--reservations', '30')
    const ready = series.filter(({ what }) => what === 'time to ready')
    expect(ready.map(({ of, points }) => [of.over, points.map(({ x }) => x)])).toEqual([
      ['lots', [4, 20]], ['reservations in the history', [30]], ['reservations to come', [30]]
    ])
  })

  test('scale: every message of every size is acknowledged, and the largest is compared with the others', () => {
    const { accounts, ratios, series } = run('scale', '--rounds', '1', '--lots', '500', '--messages', '300', '--connections', '50')
    const messages = accounts.filter(({ of }) => of.size !== undefined)
    expect(messages.map(({ of }) => of.size)).toEqual(expect.arrayContaining(['4 lots, 48 identities', '5 lots, 50 identities', '500 lots, 5,000 identities']))
    for (const { counts } of messages) expect(counts).toEqual({ sent: 300, acknowledged: 300, closed: 0 })
    for (const { of, counts } of accounts.filter(({ of }) => of.connections !== undefined)) expect(counts).toEqual({ connected: Number(of.connections), closed: 0 })
    expect(ratios.map(({ what, numerator, denominator }) => [what, numerator, denominator])).toEqual(expect.arrayContaining([
      ['processor time of a message', '500 lots, 5,000 identities', '5 lots, 50 identities'], ['memory of a connection', 'parkmq', 'aedes']
    ]))
    expect(series.filter(({ what }) => what === 'memory of a lot beyond the base').map(({ of }) => of.when)).toEqual(['after the start', 'after the messages'])
  })

  test('soak: all is acknowledged, answered and heard of, and memory is sampled', () => {
    const { accounts, series, absent } = run('soak', '--minutes', '0.05', '--seconds', '1', '--lots', '2', '--clients', '2', '--rate', '50')
    expect(accounts).toHaveLength(2)
    expect(series.map(({ what }) => what)).toEqual(expect.arrayContaining(['memory over time', 'delivery lag over time', 'latency over time']))
    for (const { of, counts } of accounts) expect(counts.acknowledged, of.what).toBe(counts.sent)
    // Three seconds tell nothing of an hour.
    expect(absent.map(({ what }) => what)).toEqual(['the slope of memory'])
  })
})
