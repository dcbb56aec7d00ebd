// What nodes on one database tell each other: every node's retained topics, events and promises follow what the others commit, also
// when a notice is lost, and nothing is passed by that is committed late.
import { sql } from 'kysely'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { newLot } from '../../services/reservation/lot-settings.js'
import type { Id } from '../../shared/lot.js'
import { NewLot } from '../../shared/schemas.js'
import { eventsUpTo, linesAfter } from '../../storage/audit.js'
import type { Ledger } from '../../storage/ledger.js'
import { noticesOfNode, passNotices } from '../../storage/node-rows.js'
import { insertRows } from '../../storage/rows.js'
import type { LedgerTransaction } from '../../storage/transaction.js'
import { json, testFolder } from '../support/app.js'
import { AskingClient } from '../support/asking.js'
import { eventsAfter } from '../support/events.js'
import { openTestLedger } from '../support/postgres.js'
import { ABSENT, serverOfFile, SKIPPED, startNode, startNodes } from './support.js'

const A = 'A' as Id

/** Resolves when the feed of a ledger tells of this lot. */
async function told (ledger: Ledger, lot: Id): Promise<{ withBays: boolean }> {
  return await new Promise(resolve => {
    const unlisten = ledger.feed.listen((lots, withBays) => {
      if (!lots.has(lot)) return
      unlisten()
      resolve({ withBays: withBays.has(lot) })
    })
  })
}

/** Resolves when the server has what was written: it is sent with the next question. */
async function arrived ({ database }: LedgerTransaction): Promise<void> {
  await sql`select 1`.execute(database.kysely)
}

describe.skipIf(ABSENT !== null)(`several nodes on one database${SKIPPED}`, () => {
  const server = serverOfFile()

  async function openTwo (): Promise<{ url: string, a: Ledger, b: Ledger }> {
    const url = await server().database()
    const [a, b] = await Promise.all(['a', 'b'].map(async node => await openTestLedger(url, { node })))
    if (!a || !b) throw new Error('no ledgers')
    for (const ledger of [a, b]) onTestFinished(() => ledger.close())
    await a.transact('test', async tx => tx.setLot(newLot(NewLot.parse({ lot: 'A', capacity: 10 }), 'UTC')))
    return { url, a, b }
  }
  const change = async (ledger: Ledger): Promise<void> => await ledger.transact('test', async tx => {
    await tx.load([A])
    const lot = tx.lot(A)
    if (lot) tx.setLot({ ...lot, counted: lot.counted + 1 })
  })

  test('a commit of one is told by the feed of the other, without bays that did not change', async () => {
    const { a, b } = await openTwo()
    await vi.waitFor(async () => expect(await b.lotIds()).toEqual([A]))
    // The versions of all lots are compared now and then: that is not what is meant here.
    for (let i = 0; i < 5; i++) {
      const heard = told(b, A)
      await change(a)
      expect(await heard).toEqual({ withBays: false })
    }
  })

  test('the others look for events when there are some, and not after every car', async () => {
    const { a, b } = await openTwo()
    await vi.waitFor(async () => expect(await b.lotIds()).toEqual([A]))
    let rings = 0
    const rung = new Promise<void>(resolve => b.events.listen(() => {
      rings++
      resolve()
    }))
    for (let i = 0; i < 5; i++) {
      const heard = told(b, A)
      await change(a)
      await heard
    }
    expect(rings).toBe(0)
    await a.transact('test', async tx => tx.audit({ lot: A, type: 'told', who: 'test' }))
    await rung
  })

  test('a thousand lots in one commit are told, in as many notifications as they need', async () => {
    const { a, b } = await openTwo()
    const lots = Array.from({ length: 1_000 }, (_, i) => `${'L'.repeat(59)}${i}` as Id)
    const heard = new Set<Id>()
    const all = new Promise<void>(resolve => b.feed.listen(some => {
      for (const lot of some) if (lot !== A) heard.add(lot)
      if (heard.size === lots.length) resolve()
    }))
    await a.transact('test', async tx => { for (const lot of lots) tx.setLot(newLot(NewLot.parse({ lot, capacity: 1 }), 'UTC')) })
    await all
  })

  test('what a node commits that dies before it tells anybody is found by the others', async () => {
    const { url, b } = await openTwo()
    await told(b, A)
    const heard = told(b, A)
    await server().query(url, 'update lots set counted = 9, version = version + 1')
    expect(await heard).toEqual({ withBays: true })
    const gone = told(b, A)
    await server().query(url, 'delete from lots')
    await gone
  })

  test.each([['nor are its events lost, whatever else happens or does not', [{ lot: 'A', capacity: 5 }]], ['not even the first of all', []]])('%s', async (_what, lots) => {
    const url = await server().database()
    const client = await (await (await startNode(url, 'b', { lots })).connect()).subscribe('lots/+/events')
    await server().query(url, 'insert into audit (at_ms, lot, type, who) values (0, \'A\', \'sensor.gap\', \'sensor:s\')')
    expect(json(await client.last('lots/A/events', text => json(text).type === 'sensor.gap'))).toMatchObject({ lot: 'A' })
  })

  test('after a lost connection every lot is told, whatever was missed', async () => {
    const { url, a, b } = await openTwo()
    await told(b, A)
    const heard = told(b, A)
    const { rows } = await server().query(url, 'select pg_terminate_backend(pid) as ended from pg_stat_activity where application_name = \'parkmq b changes\'').then(rows => ({ rows }))
    expect(rows).toEqual([{ ended: true }])
    expect(await heard).toEqual({ withBays: true })
    // And the new connection listens.
    for (let i = 0; i < 3; i++) {
      const again = told(b, A)
      await change(a)
      expect(await again).toEqual({ withBays: false })
    }
  })

  test('no line of the audit is passed by that has a lower number and is committed later', async () => {
    const { a, b } = await openTwo()
    const read = async (after: number): Promise<string[]> => {
      const { upTo, answer } = await b.readSettled('audit', database => linesAfter(database, after, 100))
      return eventsUpTo(answer, upTo).events.map(event => event.type)
    }
    let commit = (): void => {}
    const held = new Promise<void>(resolve => { commit = resolve })
    let written = (): void => {}
    const first = new Promise<void>(resolve => { written = resolve })
    const slow = a.transact('test', async tx => {
      tx.audit({ lot: A, type: 'slow', who: 'test' })
      await tx.flush()
      await arrived(tx)
      written()
      await held
    })
    await first
    await b.transact('test', async tx => tx.audit({ lot: A, type: 'fast', who: 'test' }))
    // The fast one is committed and has the higher number.
    expect((await b.read(async database => await eventsAfter(database, 0, 100))).events.map(event => event.type)).toEqual(['fast'])
    expect(await read(0)).toEqual([])
    expect(await read(0)).toEqual([])
    commit()
    await slow
    await vi.waitFor(async () => expect(await read(0)).toEqual(['slow', 'fast']))
    expect((await b.readSettled('audit', database => linesAfter(database, 0, 100))).isAll).toBe(true)
  })

  test('who reads while another reads waits for its answer: what that has learnt may be newer than what it has read', async () => {
    const { b } = await openTwo()
    const order: string[] = []
    const slow = b.readSettled('audit', ({ kysely }) => ({ query: sql`select pg_sleep(0.5)`.compile(kysely), read: () => order.push('the first') }))
    const fast = b.readSettled('audit', database => ({ ...linesAfter(database, 0, 100), read: () => order.push('the second') }))
    await Promise.all([slow, fast])
    expect(order).toEqual(['the first', 'the second'])
  })

  test('nor is a notice', async () => {
    const { url, a, b } = await openTwo()
    const notice = (text: string) => ({ topic: 'replies/x', correlation_data: null, correlation: null, payload: text, at_ms: 0 })
    const unsent = async () => await b.readSettled('notices', database => noticesOfNode(database, 'b', 10))
    const read = async (): Promise<string[]> => {
      const { upTo, answer } = await unsent()
      return answer.filter(({ id }) => id <= upTo).map(({ text }) => text)
    }
    let commit = (): void => {}
    const held = new Promise<void>(resolve => { commit = resolve })
    let written = (): void => {}
    const first = new Promise<void>(resolve => { written = resolve })
    const add = async (ledger: Ledger, text: string, then = async (): Promise<void> => {}): Promise<void> => await ledger.transact('test', async tx => {
      await insertRows(tx.database, 'notices', ['topic', 'correlation_data', 'correlation', 'payload', 'at_ms'], [notice(text)])
      await arrived(tx)
      await then()
    })
    const slow = add(a, 'slow', async () => {
      written()
      await held
    })
    await first
    await add(b, 'fast')
    expect(await read()).toEqual([])
    commit()
    await slow
    await vi.waitFor(async () => expect(await read()).toEqual(['slow', 'fast']))
    // Forgotten when all have sent it, and not before.
    const { upTo } = await unsent()
    await a.transact('test', async tx => await passNotices(tx.database, 'a', upTo))
    expect(await read()).toEqual(['slow', 'fast'])
    await b.transact('test', async tx => await passNotices(tx.database, 'b', upTo))
    expect(await server().query(url, 'select count(*)::int as n from notices')).toEqual([{ n: 0 }])
  })

  test('free and state follow on every node, and end as the ledger has them', async () => {
    const url = await server().database()
    const nodes = await startNodes(url, ['a', 'b', 'c'], { lots: [{ lot: 'A', capacity: 500 }, { lot: 'B', capacity: 3, bays: ['B-1', 'B-2', 'B-3'], baysCover: true }] })
    const clients = await Promise.all(nodes.map(async node => await (await node.connect()).subscribe('lots/#')))
    await Promise.all(clients.flatMap((client, n) => Array.from({ length: 40 }, async (_, i) => {
      await client.publish('lots/A/sensor', { sensor: `gate-${n}`, epoch: 1, seq: i + 1, delta: 1 })
    })))
    await clients[0]?.publish('lots/B/sensor', { sensor: 'cam', epoch: 1, seq: 1, bays: { 'B-1': 'taken', 'B-2': 'free', 'B-3': 'free' } })
    const [lot] = await server().query<{ version: number }>(url, 'select version::int as version from lots where id = \'A\'')
    for (const client of clients) {
      await client.last('lots/A/free', '380')
      expect(json(await client.last('lots/A/state', text => json(text).version === lot?.version))).toMatchObject({ occupied: 120, free: 380 })
      await client.last('lots/B/bays/B-1', 'taken')
      await client.last('lots/B/free', '2')
    }
    await clients[1]?.request('lot.remove', { lot: 'B' })
    for (const client of clients) {
      await client.last('lots/B/free', '')
      await client.last('lots/B/bays/B-3', '')
    }
  })

  test('events reach the clients of every node once, in one order, and a node that comes back tells what it has missed', async () => {
    const url = await server().database()
    const settings = { lots: [{ lot: 'A', capacity: 500 }] }
    const data = testFolder()
    const nodes = [await startNode(url, 'a', settings), await startNode(url, 'b', { ...settings, data })]
    const clients = await Promise.all(nodes.map(async node => await (await node.connect()).subscribe('lots/+/events')))
    const [one, other] = clients
    await Promise.all(Array.from({ length: 60 }, async (_, i) => await clients[i % 2]?.request('reserve', { lot: 'A', plate: `P${i}` })))
    const held = (client = one): number[] => (client?.received ?? []).map(({ text }) => json(text)).filter(({ type }) => type === 'reservation.held').map(({ id }) => Number(id))
    await vi.waitFor(() => expect([held(one).length, held(other).length]).toEqual([60, 60]))
    expect(held(one)).toEqual([...held(one)].sort((x, y) => x - y))
    expect(held(other)).toEqual(held(one))
    const session = { clientId: 'display', clean: false, sessionExpirySeconds: 600 }
    const display = await (await nodes[1]?.connect(session))?.subscribe('lots/+/events')
    await display?.end()
    await nodes[1]?.app.stop()
    await one?.request('reserve', { lot: 'A', plate: 'LATE' })
    await vi.waitFor(async () => expect(await server().query(url, 'select position::int as position from cursors where name = \'events@a\'')).toEqual([{ position: held(one)[60] }]), { timeout: 5_000 })
    const again = await startNode(url, 'b', { ...settings, data })
    // MQTT.js listens only when it is connected, which is too late for a session that has something for it.
    const later: number[] = []
    await again.connect({ ...session, prepare: client => client.on('message', (_, payload) => {
      const event = json(payload.toString())
      if (event.type === 'reservation.held') later.push(Number(event.id))
    }) })
    await one?.request('reserve', { lot: 'A', plate: 'LATER' })
    await vi.waitFor(() => expect(held(one)).toHaveLength(62))
    await vi.waitFor(() => expect(later).toEqual(held(one).slice(60)))
  })

  test('who waits at one node is told there of the place that is given back at another, by a timer as well, and each once', async () => {
    const url = await server().database()
    const nodes = await startNodes(url, ['a', 'b'], { lots: [{ lot: 'A', capacity: 2 }] })
    const [a, b] = await Promise.all(nodes.map(async node => await AskingClient.connect(node.url)))
    if (!a || !b) throw new Error('no clients')
    const first = await a.ask('reserve', { lot: 'A', plate: 'P1' })
    // Expires soon.
    await a.ask('reserve', { lot: 'A', plate: 'P2', holdSeconds: 1 })
    expect(await b.ask('wait', { lot: 'A', plate: 'W1' }, 'aa01')).toMatchObject({ result: { status: 'waiting', position: 1 } })
    expect(await b.ask('wait', { lot: 'A', plate: 'W2' }, 'aa02')).toMatchObject({ result: { position: 2 } })
    const { reservation, secret } = first.result
    await a.ask('cancel', { reservation, secret })
    expect((await b.later('aa01', ({ result }) => result.event === 'promoted')).result).toMatchObject({ plate: 'W1', status: 'held' })
    expect((await b.later('aa02', ({ result }) => result.event === 'promoted')).result).toMatchObject({ plate: 'W2', status: 'held' })
    // The timers of both nodes saw it; it happened once.
    expect(await server().query(url, 'select type, count(*)::int as n from audit where type in (\'reservation.expired\', \'reservation.held\') and who = \'time\' group by type order by type'))
      .toEqual([{ type: 'reservation.expired', n: 1 }, { type: 'reservation.held', n: 2 }])
    // Sent by both nodes, notices are forgotten.
    await vi.waitFor(async () => expect(await server().query(url, 'select count(*)::int as n from notices')).toEqual([{ n: 0 }]), { timeout: 5_000 })
  })
})
