// Permits over real connections: never more sold than there are, once for each request, and nothing of a driver where
// others see it.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Id } from '../../shared/lot.js'
import type { App } from '../../cli/app.js'
import { PermitSales } from '../../services/reservation/permits.js'
import { json, startTestApp, testFolder, type TestApp, type TestClient } from '../support/app.js'
import { ManualClock } from '../support/clock.js'
import { writeUsers } from '../support/users-file.js'

interface Permit { permit: string, name: string, priceCents: number, currency: string, stock: number }
interface Sale { sale: string, permit: string, plate: string, priceCents: number, currency: string, stock: number }

const permit = (id: string, stock: number, priceCents = 1_200) => ({ permit: id, name: `Permit ${id}`, priceCents, stock })
const DAY_MS = 24 * 3_600_000

async function startSelling (permits: object[], { data = testFolder(), ...settings }: { data?: string } & Record<string, unknown> = {}): Promise<TestApp> {
  return await startTestApp({ data, settings: { permits, lots: [{ lot: 'LOT-A', capacity: 10 }], ...settings } })
}

const buy = async (client: TestClient, id: string, plate: string, requestId?: string) =>
  await client.request<Sale>('buyPermit', { permit: id, plate, ...(requestId !== undefined && { requestId }) })
const stockOf = async (client: TestClient, id: string): Promise<number> => (await client.request<Permit>('permit', { permit: id })).stock
const salesIn = async ({ ledger }: App) => await ledger.read(async ({ kysely }) => await kysely.selectFrom('permit_sales').selectAll().orderBy('plate').execute())
const soldIn = async ({ ledger }: App) => await ledger.read(async ({ kysely }) => await kysely.selectFrom('permits').selectAll().orderBy('permit').execute())

interface Answered { text: string, replayed: boolean }

/** Publishes these bodies without waiting in between, and gives their replies as they came over the wire. */
async function askAll (client: TestClient, method: string, bodies: readonly object[]): Promise<Answered[]> {
  const { mqtt } = client
  const responseTopic = `replies/${randomBytes(6).toString('hex')}`
  await mqtt.subscribeAsync(responseTopic, { qos: 1 })
  const answers: Answered[] = []
  const all = new Promise<void>(resolve => mqtt.on('message', (topic, payload, { properties }) => {
    if (topic !== responseTopic) return
    answers[Number(properties?.correlationData?.toString())] = { text: payload.toString(), replayed: properties?.userProperties?.replayed === 'true' }
    if (Object.keys(answers).length === bodies.length) resolve()
  }))
  await Promise.all(bodies.map(async (body, i) => await mqtt.publishAsync(`requests/${method}`, JSON.stringify(body), {
    qos: 1, properties: { responseTopic, correlationData: Buffer.from(String(i)) }
  })))
  await all
  return answers
}

describe('permits', () => {
  test('are listed with price and stock, in the order of the settings, and one by one', async () => {
    const { connect } = await startSelling([permit('MONTH', 5, 9_000), permit('DAY', 0)], { currency: 'CHF' })
    const client = await connect()
    const month = { permit: 'MONTH', name: 'Permit MONTH', priceCents: 9_000, currency: 'CHF', stock: 5 }
    const day = { permit: 'DAY', name: 'Permit DAY', priceCents: 1_200, currency: 'CHF', stock: 0 }
    expect(await client.request('permits')).toEqual({ permits: [month, day] })
    expect(await client.request('permit', { permit: 'MONTH' })).toEqual(month)
    // That it is sold out is no error.
    expect(await client.request('permit', { permit: 'DAY' })).toEqual(day)
    for (const id of ['YEAR', 'constructor']) {
      expect(await client.request('permit', { permit: id })).toEqual({ error: 'unknown_permit', message: `there is no permit ${id}; permits lists them` })
    }
  })

  test('there may be none', async () => {
    const client = await (await startSelling([])).connect()
    expect(await client.request('permits')).toEqual({ permits: [] })
    expect(await buy(client, 'DAY', 'A1')).toMatchObject({ error: 'unknown_permit' })
  })

  test('are bought until none is left; another kind has a stock of its own', async () => {
    const { app, connect } = await startSelling([permit('DAY', 2), permit('MONTH', 1, 9_000)])
    const client = await connect()
    expect(await buy(client, 'DAY', 'abc-123')).toEqual({
      sale: expect.stringMatching(/^S-[2-9A-HJ-NP-Z]{12}$/) as string, permit: 'DAY', plate: 'ABC123', priceCents: 1_200, currency: 'EUR', stock: 1
    })
    // A plate may have several.
    expect(await buy(client, 'DAY', 'ABC123')).toMatchObject({ stock: 0 })
    expect(await buy(client, 'DAY', 'B2')).toEqual({ error: 'sold_out', message: 'no DAY is left of 2; choose another permit, or ask later' })
    expect(await buy(client, 'YEAR', 'B2')).toMatchObject({ error: 'unknown_permit' })
    expect(await buy(client, 'DAY', '???')).toMatchObject({ error: 'bad_request' })
    expect(await buy(client, 'MONTH', 'B2')).toMatchObject({ priceCents: 9_000, stock: 0 })
    expect((await salesIn(app)).map(({ permit, plate, owner, price_cents: cents }) => [permit, plate, owner, cents]).sort()).toEqual([['DAY', 'ABC123', null, 1_200], ['DAY', 'ABC123', null, 1_200], ['MONTH', 'B2', null, 9_000]])
    expect(await soldIn(app)).toEqual([{ permit: 'DAY', sold: 2 }, { permit: 'MONTH', sold: 1 }])
  })

  test('300 buyers on 30 connections, each sending twice, get exactly the 50 there are', async () => {
    const { app, connect } = await startSelling([permit('MONTH', 50), permit('DAY', 1_000)])
    const clients = await Promise.all(Array.from({ length: 30 }, (_, i) => connect({ clientId: `driver-${i}`, version: 5 })))
    const bodies = Array.from({ length: 300 }, (_, i) => ({ permit: 'MONTH', plate: `P${i}`, requestId: `buyer-${i}-aaaaaaaaaaaaaaa` }))
    const share = (i: number): object[] => bodies.slice((i % 30) * 10, (i % 30) * 10 + 10)
    // The second of each comes from another connection, at the same time, as a retry after a lost connection may.
    const [first, second] = await Promise.all([0, 7].map(async offset => (await Promise.all(clients.map(async (client, i) => {
      const answers = await askAll(client, 'buyPermit', share(i + offset))
      return { at: (i + offset) % 30, answers }
    }))).sort((a, b) => a.at - b.at).flatMap(({ answers }) => answers))) as [Answered[], Answered[]]

    const replies = first.map(({ text }) => json(text) as { ok: boolean, result?: Sale, error?: { code: string } })
    const sold = replies.flatMap(({ result }) => result ?? [])
    expect(sold).toHaveLength(50)
    expect(replies.filter(({ error }) => error?.code === 'sold_out')).toHaveLength(250)
    expect(new Set(sold.map(({ sale }) => sale)).size).toBe(50)
    // Each got another of the 50.
    expect(sold.map(({ stock }) => stock).sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i))
    // One of the two was carried out, and the other told the same.
    expect(second.map(({ text }) => text)).toEqual(first.map(({ text }) => text))
    for (const [i, { replayed }] of second.entries()) expect([i, replayed, first[i]?.replayed].filter(value => value === true)).toHaveLength(1)

    expect((await salesIn(app)).map(row => `${row.id} ${row.plate}`).sort()).toEqual(sold.map(({ sale, plate }) => `${sale} ${plate}`).sort())
    expect(await soldIn(app)).toEqual([{ permit: 'MONTH', sold: 50 }])
    expect(await stockOf(await connect(), 'MONTH')).toBe(0)
  })

  test('a batch reads with one statement and writes with two, however many are bought in it', async () => {
    const { app } = await startSelling([permit('DAY', 400), permit('MONTH', 400)])
    const statements = await app.ledger.transact('test', async ({ database, nowMs }) => {
      let count = 0
      const kysely = database.kysely.withPlugin({
        transformQuery: ({ node }) => node,
        transformResult: async ({ result }) => {
          count++
          return result
        }
      })
      const runEach: typeof database.runEach = (text, rows) => {
        count++
        database.runEach?.(text, rows)
      }
      const permits = new PermitSales({ database: { ...database, kysely, runEach } }, [{ permit: 'DAY' as Id }, { permit: 'MONTH' as Id }])
      for (let i = 0; i < 300; i++) {
        for (const permit of ['DAY', 'MONTH'] as Id[]) {
          expect(await permits.left({ permit, stock: 400 })).toBe(400 - i)
          await permits.sell({ id: `S-${permit}-${i}`, permit, plate: `P${i}`, owner: null, price_cents: 1, sold_at_ms: nowMs })
        }
      }
      await permits.save()
      return count
    })
    expect(statements).toBe(3)
    expect(await soldIn(app)).toEqual([{ permit: 'DAY', sold: 300 }, { permit: 'MONTH', sold: 300 }])
    expect(await salesIn(app)).toHaveLength(600)
  })
})

describe('the stock', () => {
  test('and the replies survive a restart', async () => {
    const data = testFolder()
    const before = await startSelling([permit('DAY', 3)], { data })
    const buyer = await before.connect()
    const bought = await buy(buyer, 'DAY', 'A1', 'a-request-of-a-driver')
    expect(await buy(buyer, 'DAY', 'A2')).toMatchObject({ stock: 1 })
    await before.app.stop()
    const { app, connect } = await startSelling([permit('DAY', 3)], { data })
    const client = await connect({ version: 5 })
    expect(await stockOf(client, 'DAY')).toBe(1)
    const [again] = await askAll(client, 'buyPermit', [{ permit: 'DAY', plate: 'A1', requestId: 'a-request-of-a-driver' }])
    expect([json(again?.text ?? ''), again?.replayed]).toEqual([{ ok: true, result: bought }, true])
    expect(await buy(client, 'DAY', 'A3')).toMatchObject({ stock: 0 })
    expect(await buy(client, 'DAY', 'A4')).toMatchObject({ error: 'sold_out' })
    expect((await salesIn(app)).map(row => row.plate)).toEqual(['A1', 'A2', 'A3'])
  })

  test('is more when the settings say more, never below zero when they say less, and unknown when they drop it', async () => {
    const data = testFolder()
    const withStock = async (permits: object[], work: (client: TestClient) => Promise<void>): Promise<void> => {
      const { app, connect } = await startSelling(permits, { data })
      await work(await connect())
      await app.stop()
    }
    await withStock([permit('DAY', 2)], async client => {
      await buy(client, 'DAY', 'A1')
      await buy(client, 'DAY', 'A2')
      expect(await buy(client, 'DAY', 'A3', 'asked-when-none-was-left')).toMatchObject({ error: 'sold_out' })
    })
    await withStock([permit('DAY', 1)], async client => {
      expect(await stockOf(client, 'DAY')).toBe(0)
      expect(await buy(client, 'DAY', 'A3')).toMatchObject({ error: 'sold_out' })
    })
    await withStock([], async client => { expect(await buy(client, 'DAY', 'A3')).toMatchObject({ error: 'unknown_permit' }) })
    await withStock([permit('DAY', 3, 1_500)], async client => {
      expect(await stockOf(client, 'DAY')).toBe(1)
      // A repeat gets what it was told before; a new request buys, at the price of today.
      expect(await buy(client, 'DAY', 'A3', 'asked-when-none-was-left')).toMatchObject({ error: 'sold_out' })
      expect(await buy(client, 'DAY', 'A3')).toMatchObject({ stock: 0, priceCents: 1_500 })
    })
  })

  test('stays as it is when old sales, with their plates, are forgotten', async () => {
    const clock = new ManualClock()
    const { app, connect } = await startTestApp({ clock, settings: { permits: [permit('DAY', 5)], times: { auditMs: 10 * DAY_MS, sysMs: 0 } } })
    const client = await connect()
    await buy(client, 'DAY', 'OLD1')
    await buy(client, 'DAY', 'OLD2')
    const passUntil = async (done: () => Promise<boolean>): Promise<void> => {
      while (!await done()) {
        clock.advance(1_000)
        await new Promise(resolve => setImmediate(resolve))
      }
    }
    clock.advance(5 * DAY_MS)
    await buy(client, 'DAY', 'NEW')
    const forgottenAtMs = clock.nowMs() + 5 * DAY_MS
    // A minute before its time everything is there.
    clock.advance(5 * DAY_MS - 60_000)
    expect(await salesIn(app)).toHaveLength(3)
    await passUntil(async () => (await salesIn(app)).length < 3)
    expect(clock.nowMs()).toBeGreaterThan(forgottenAtMs)
    expect((await salesIn(app)).map(row => row.plate)).toEqual(['NEW'])
    expect(await stockOf(client, 'DAY')).toBe(2)
  })
})

describe('with users', () => {
  const PASSWORD = 'a password for tests'

  async function startWithUsers () {
    const users = await writeUsers([
      { name: 'dora', role: 'driver', password: PASSWORD }, { name: 'dirk', role: 'driver', password: PASSWORD },
      { name: 'olga', role: 'operator', password: PASSWORD }, { name: 'gate-1', role: 'device', lots: ['LOT-A'], password: PASSWORD }
    ], join(testFolder(), 'users.yaml'))
    const parking = await startSelling([permit('DAY', 5)], { users })
    return { ...parking, as: async (username: string, version: 4 | 5 = 5) => await parking.connect({ username, password: PASSWORD, version }) }
  }

  test('drivers see and buy permits; the same requestId of two users is two requests', async () => {
    const { app, as } = await startWithUsers()
    const [dora, dirk] = await Promise.all([as('dora'), as('dirk', 4)])
    expect(await dora.request('permits')).toMatchObject({ permits: [{ permit: 'DAY', stock: 5 }] })
    expect(await dora.request('quote', { lot: 'LOT-A', from: '2026-12-24T18:30', to: '2026-12-24T21:00' })).toMatchObject({ priceCents: 600 })
    expect(await buy(dora, 'DAY', 'D1', 'one-and-the-same-id')).toMatchObject({ stock: 4 })
    expect(await buy(dirk, 'DAY', 'D1', 'one-and-the-same-id')).toMatchObject({ stock: 3 })
    expect((await salesIn(app)).map(row => row.owner).sort()).toEqual(['dirk', 'dora'])
    await expect((await as('gate-1')).publish('requests/buyPermit', { permit: 'DAY', plate: 'D1' })).rejects.toThrow('Not authorized')
    expect(await stockOf(dora, 'DAY')).toBe(3)
  })

  test('the audit says who bought what and from where, without the plate, and the public hears nothing', async () => {
    const { as } = await startWithUsers()
    const [dora, olga] = await Promise.all([as('dora'), as('olga')])
    const display = await (await as('dirk')).subscribe('lots/+/events')
    const { sale } = await buy(dora, 'DAY', 'SECRET 1')
    await olga.request('lot.close', { lot: 'LOT-A' })
    await display.until('the event after it', message => json(message.text).type === 'lot.closed')
    expect(display.received.filter(({ text }) => /permit|SECRET1|dora/.test(text))).toEqual([])
    const { entries } = await olga.request<{ entries: { type: string }[] }>('audit')
    expect(entries.filter(({ type }) => type.startsWith('permit'))).toEqual([{
      id: expect.any(Number) as number, at: expect.any(String) as string, type: 'permit.sold', who: 'user:dora', address: '127.0.0.1',
      after: { permit: 'DAY', sale, priceCents: 1_200, currency: 'EUR' }
    }])
    expect(JSON.stringify(entries)).not.toContain('SECRET1')
  })
})
