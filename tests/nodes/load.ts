// A load of sensors and drivers on several nodes while something is done to them, and a look at everything afterwards: what was
// acknowledged is there, nothing is there twice, nothing is over capacity, and what every node shows is what the ledger has.
import { randomBytes } from 'node:crypto'
import type { MqttClient } from 'mqtt'
import { expect, onTestFinished } from 'vitest'
import { connectMqtt, endMqtt } from '../../shared/mqtt-client.js'
import { createRequester } from '../../shared/requester.js'
import { json, type TestApp, type TestClient } from '../support/app.js'

const SENSORS = 8
const DRIVERS = 8
const LOTS = ['A', 'B', 'C']
const CAPACITY = 40

/** The settings that the nodes must have. */
export const LOAD_SETTINGS = { lots: LOTS.map(lot => ({ lot, capacity: CAPACITY })), limits: { reservationsPerPlate: 1 } }

export async function pause (ms: number): Promise<void> {
  await new Promise(resolve => setTimeout(resolve, ms))
}

async function connect (node: Pick<TestApp, 'url'> | undefined): Promise<MqttClient> {
  const client = await connectMqtt(node?.url ?? '', { reconnect: true, clean: false, sessionExpirySeconds: 60, clientId: `load-${randomBytes(6).toString('hex')}` })
  onTestFinished(() => endMqtt(client))
  return client
}

export interface LoadParts {
  readonly nodes: readonly Pick<TestApp, 'url' | 'connect'>[]
  readonly query: <R extends object>(text: string) => Promise<R[]>
  /** From now on the next acknowledgement is waited for: a node is gone, or the database answers again. */
  readonly faults: (isBack: () => void) => Promise<void>
  /** The broker acknowledges before the ledger has it: what is acknowledged is there a little later. */
  readonly isLater?: boolean
}

/** Returns what there was to be seen. */
export async function underLoad ({ nodes, query, faults, isLater = false }: LoadParts): Promise<string> {
  let over = false
  let backAtMs: number | null = null
  /** From each fault, or its end, to the next acknowledgement. */
  const gapsMs: number[] = []
  const acknowledged = (): void => {
    if (backAtMs !== null) gapsMs.push(Math.round(performance.now() - backAtMs))
    backAtMs = null
  }

  // Each sensor counts one car in and one out, over and over, at one node after the other.
  const sent = new Map(LOTS.map(lot => [lot, 0]))
  const sensors = Array.from({ length: SENSORS }, async (_, n) => {
    const clients = await Promise.all(nodes.map(connect))
    const lot = LOTS[n % LOTS.length] ?? ''
    for (let seq = 1; !over; seq++) {
      const delta = seq % 2 === 0 ? -1 : 1
      await clients[seq % 2]?.publishAsync(`lots/${lot}/sensor`, JSON.stringify({ sensor: `s-${n}`, epoch: 1, seq, delta }), { qos: 1 })
      sent.set(lot, (sent.get(lot) ?? 0) + delta)
      acknowledged()
    }
  })

  // Each driver holds a place and gives it back; a request that got no answer is sent again, at the other node.
  const granted = new Set<string>()
  const kept = new Set<string>()
  let replays = 0
  const drivers = Array.from({ length: DRIVERS }, async (_, n) => {
    const requesters = await Promise.all(nodes.map(async node => await createRequester(await connect(node), { timeoutMs: 3_000 })))
    onTestFinished(async () => { await Promise.all(requesters.map(async requester => await requester.close())) })
    const ask = async (method: string, body: object): Promise<{ ok: boolean, result: Record<string, unknown>, code: string }> => {
      const requestId = randomBytes(12).toString('hex')
      for (let i = n; ; i++) {
        try {
          const reply = await requesters[i % 2]?.request(method, { ...body, requestId })
          if (!reply) throw new Error('no requester')
          if (reply.ok || reply.error.code !== 'unavailable') {
            acknowledged()
            if (i > n) replays++
            return { ok: reply.ok, result: reply.ok ? reply.result as Record<string, unknown> : {}, code: reply.ok ? '' : reply.error.code }
          }
        } catch { /* No answer in time. */ }
        if (i > n + 20) throw new Error(`no answer to ${method} in ${i - n} tries`)
      }
    }
    for (let i = 0; !over; i++) {
      const made = await ask('reserve', { lot: LOTS[i % LOTS.length], plate: `D${n}-${i}`, holdSeconds: 600 })
      if (!made.ok) {
        expect(made.code).toBe('lot_full')
        await pause(20)
        continue
      }
      const { reservation, secret } = made.result
      expect(granted.has(String(reservation)), `${String(reservation)} was granted twice`).toBe(false)
      granted.add(String(reservation))
      if (i % 10 === 0) kept.add(String(reservation))
      else expect(await ask('cancel', { reservation, secret })).toMatchObject({ ok: true })
    }
  })

  await faults(() => { backAtMs = performance.now() })
  over = true
  await Promise.all([...sensors, ...drivers])

  const rows = await query<{ id: string, status: string }>('select id, status from reservations')
  expect(rows.map(({ id }) => id).sort()).toEqual([...granted].sort())
  expect(rows.filter(({ status }) => status === 'held').map(({ id }) => id).sort()).toEqual([...kept].sort())
  const counts = async (): Promise<Record<string, number>> => (
    Object.fromEntries((await query<{ id: string, counted: number }>('select id, counted::int as counted from lots')).map(({ id, counted }) => [id, counted]))
  )
  if (isLater) await expect.poll(counts, { timeout: 10_000 }).toEqual(Object.fromEntries(sent))
  const lotRows = async (): Promise<LotRow[]> => await query<LotRow>('select id, counted::int as counted, held::int as held, version::int as version from lots order by id')
  const lots = await lotRows()
  expect(Object.fromEntries(lots.map(({ id, counted }) => [id, counted]))).toEqual(Object.fromEntries(sent))
  expect(lots.reduce((sum, { held }) => sum + held, 0)).toBe(kept.size)
  for (const node of nodes) {
    const client = await (await node.connect()).subscribe('lots/#')
    // Read anew each time: the last car out and the next one in may still be on their way, and leave the counts as they are.
    await expect.poll(async () => (await lotRows()).filter(lot => !isShown(client, lot)), { timeout: 10_000 }).toEqual([])
  }
  // There was a load, or this proves nothing.
  expect(granted.size).toBeGreaterThan(20)
  return `${granted.size} reservations, ${replays} requests sent again; from each fault, or its end, to the next acknowledgement: ${gapsMs.join(', ')} ms`
}

interface LotRow { readonly id: string, readonly counted: number, readonly held: number, readonly version: number }

function isShown (client: TestClient, { id, counted, held, version }: LotRow): boolean {
  const free = Math.max(0, CAPACITY - Math.min(Math.max(counted, 0), CAPACITY) - held)
  const newest = (topic: string): string | undefined => client.received.findLast(message => message.topic === topic)?.text
  return newest(`lots/${id}/free`) === String(free) && json(newest(`lots/${id}/state`) ?? '{}').version === version
}
