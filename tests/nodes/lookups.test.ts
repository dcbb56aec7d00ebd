// What a request or a sensor's message costs on PostgreSQL does not grow with what is stored: every row is found by an index, also
// where the server takes the table for small enough to read all of it.
import { describe, expect, test, vi } from 'vitest'
import { AskingClient } from '../support/asking.js'
import { ABSENT, serverOfFile, SKIPPED, startNode } from './support.js'

const STORED = 10_000
const FILLED = ['reservations', 'request_history', 'sensors']
const LOTS = [{ lot: 'A', capacity: 50_000 }]

describe.skipIf(ABSENT !== null)(`ten thousand rows of each kind${SKIPPED}`, () => {
  const server = serverOfFile()

  /** Rows of each table that a node reads from its start to its end. */
  async function rowsRead (url: string, work: (client: AskingClient) => Promise<void>): Promise<ReadonlyMap<string, number>> {
    const read = async (): Promise<Map<string, number>> => {
      // A connection says at its end what it has read.
      await vi.waitFor(async () => expect(await server().query(url, 'select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and backend_type = \'client backend\'')).toEqual([]))
      const rows = await server().query<{ name: string, rows: number }>(url, 'select relname as name, (seq_tup_read + coalesce(idx_tup_fetch, 0))::int as rows from pg_stat_user_tables')
      return new Map(rows.map(({ name, rows }) => [name, rows]))
    }
    const before = await read()
    const node = await startNode(url, 'a', { lots: LOTS })
    await work(await AskingClient.connect(node.url))
    await node.app.stop()
    const after = await read()
    return new Map(FILLED.map(name => [name, (after.get(name) ?? 0) - (before.get(name) ?? 0)]))
  }

  async function fill (url: string, from: number, to: number): Promise<void> {
    await server().query(url, `
      insert into reservations (id, lot, plate, status, from_ms, to_ms, due_at_ms, secret_hash, owner, made_at_ms)
        select 'R-' || n, 'A', 'P' || n, case when n % 2 = 0 then 'booked' else 'cancelled' end, 8e12, 9e12, case when n % 2 = 0 then 8e12 end, '', 'u' || n, n from generate_series(${from}, ${to}) as n;
      insert into request_history (caller, request_id, method, body_hash, reply, at_ms) select 'c' || n, 'r' || n, 'reserve', '', '{}', extract(epoch from now()) * 1000 from generate_series(${from}, ${to}) as n;
      insert into sensors (lot, sensor, epoch, high, seen_low, seen_high, missing, reported, heard_at_ms, told_at_ms) select 'A', 's' || n, 1, 1, 0, 0, 0, 0, n, 0 from generate_series(${from}, ${to}) as n`)
  }

  let seq = 1
  async function work (client: AskingClient): Promise<void> {
    seq++
    // More often than a connection makes a plan anew.
    for (let i = 1; i <= 10; i++) {
      await client.mqtt.publishAsync('lots/A/sensor', JSON.stringify({ sensor: `s${i}`, epoch: 1, seq, delta: 1 }), { qos: 1 })
      const { result } = await client.ask('reserve', { lot: 'A', plate: `NEW${i}`, requestId: `request-${'0'.repeat(10)}-${seq}-${i}` })
      await client.ask('get', { reservation: result?.reservation, secret: result?.secret })
      expect(await client.ask('cancel', { reservation: result?.reservation, secret: result?.secret })).toMatchObject({ ok: true })
    }
  }

  /** The windows of a lot are read once; a statement that reads a whole table does so for each request. */
  function expectFew (rows: ReadonlyMap<string, number>, byItself: ReadonlyMap<string, number>): void {
    for (const [table, count] of rows) expect(count - (byItself.get(table) ?? 0), table).toBeLessThan(STORED)
  }

  test('are not read by requests and sensors\' messages', async () => {
    const url = await server().database()
    await rowsRead(url, async () => {})
    await fill(url, 1, STORED)
    await server().query(url, 'analyze')
    const byItself = await rowsRead(url, async () => {})
    expectFew(await rowsRead(url, work), byItself)
  })

  test('are not read either by statements that were planned when there were ten', async () => {
    const url = await server().database()
    await rowsRead(url, async () => {})
    await fill(url, 1, 10)
    await server().query(url, 'analyze')
    const byItself = await rowsRead(url, async () => {})
    const growing = await rowsRead(url, async client => {
      await work(client)
      await fill(url, 11, STORED)
      await work(client)
    })
    expectFew(growing, byItself)
  })
})
