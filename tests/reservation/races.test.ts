// Guarantees 3 and 4 under a race: 2,000 requests of 100 connections at once for the places of one lot. Whoever was
// granted a window has it, nobody was refused who could have had one, and every reply can be had again.
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { startTestApp } from '../support/app.js'
import { AskingClient, type Told } from '../support/asking.js'
import { ManualClock } from '../support/clock.js'
import { choicesOf } from '../simulation/random.js'

const CONNECTIONS = 100
const EACH = 20
const CAPACITY = 12
const MINUTE = 60_000
const SEED = Number(process.env.PARKMQ_TEST_SEED ?? Date.now() % 1_000_000)
/** Ten seconds past a minute. */
const NOW = Date.parse('2026-06-01T00:00:10Z')
const HOLD_MS = 300_000

interface Asked { method: 'book' | 'reserve', body: { lot: string, plate: string, requestId: string, from?: string, to?: string }, window: { from: number, to: number } }
interface Listed { reservation: string, status: string, from: string, until: string }

test(`2,000 racing requests over 100 connections (seed ${SEED}): never more than the places, never a wrong refusal, every reply repeatable`, { timeout: 120_000 }, async () => {
  const { below, chance } = choicesOf(SEED)
  const { url } = await startTestApp({ clock: new ManualClock(NOW), settings: { lots: [{ lot: 'RACE', capacity: CAPACITY, timeZone: 'UTC' }], times: { holdMs: HOLD_MS } } })
  const clients = await Promise.all(Array.from({ length: CONNECTIONS }, async () => await AskingClient.connect(url)))
  const asked: Asked[] = Array.from({ length: CONNECTIONS * EACH }, (_, i) => {
    const common = { lot: 'RACE', plate: `P${i}`, requestId: randomBytes(12).toString('hex') }
    if (chance(0.15)) return { method: 'reserve', body: common, window: { from: NOW, to: NOW + HOLD_MS } }
    const from = Date.parse('2026-06-01T00:00Z') + below(24 * 60) * MINUTE
    const to = Math.min(from + (5 + below(180)) * MINUTE, Date.parse('2026-06-02T00:30Z'))
    return { method: 'book', body: { ...common, from: new Date(from).toISOString(), to: new Date(to).toISOString() }, window: { from, to } }
  })
  const ask = async ({ method, body }: Asked, i: number, client: number): Promise<Told> => {
    const chosen = clients[client % CONNECTIONS]
    if (!chosen) throw new Error(`request ${i} has no connection`)
    return await chosen.ask(method, body)
  }

  const replies = await Promise.all(asked.map(async (request, i) => await ask(request, i, i)))
  expect(new Set(replies.map(({ error }) => error))).toEqual(new Set([null, 'lot_full']))
  const granted = replies.flatMap(({ ok, result }, i) => ok ? [{ id: String(result.reservation), ...(asked[i] as Asked).window }] : [])
  const refused = replies.flatMap(({ ok }, i) => ok ? [] : [(asked[i] as Asked).window])

  // What was granted is there, all of it and nothing else.
  const [reader] = clients
  if (!reader) throw new Error('no connection')
  const listed: Listed[] = []
  for (let after: string | undefined; ;) {
    const { result } = await reader.ask('list', { lot: 'RACE', limit: 1_000, ...(after !== undefined && { after }) })
    listed.push(...result.reservations as Listed[])
    after = result.next as string | undefined
    if (after === undefined) break
  }
  const byId = (a: { id: string }, b: { id: string }): number => a.id < b.id ? -1 : 1
  expect(listed.map(({ reservation: id, from, until }) => ({ id, from: Date.parse(from), to: Date.parse(until) })).sort(byId)).toEqual(granted.sort(byId))

  // Never more than the places, and somebody was refused only where they are all taken.
  const taken = (t: number): number => granted.filter(({ from, to }) => from <= t && t < to).length
  const begins = [...new Set(granted.map(({ from }) => Math.max(from, NOW)))].sort((a, b) => a - b)
  const counts = new Map(begins.map(t => [t, taken(t)]))
  expect(Math.max(...counts.values())).toBe(CAPACITY)
  const full = begins.filter(t => counts.get(t) === CAPACITY)
  // A count grows only where a window begins, so a full instant in a window is its begin or the begin of another.
  for (const { from, to } of refused) expect(taken(Math.max(from, NOW)) === CAPACITY || full.some(t => t >= from && t < to), `${new Date(from).toISOString()} to ${new Date(to).toISOString()}`).toBe(true)
  // There were many of both, or this proves nothing.
  expect(granted.length).toBeGreaterThan(CAPACITY * 5)
  expect(refused.length).toBeGreaterThan(1_000)
  const { result: { lots } } = await reader.ask('lots', { lot: 'RACE' })
  expect(lots).toMatchObject([{ held: listed.filter(({ status }) => status === 'held').length }])

  // Every reply once more, over another connection.
  const again = await Promise.all(asked.map(async (request, i) => await ask(request, i, i + 7)))
  expect(again.map(({ text, replayed }) => ({ text, replayed }))).toEqual(replies.map(({ text }) => ({ text, replayed: true })))
  const after = await reader.ask('lots', { lot: 'RACE' })
  expect(after.result.lots).toEqual(lots)
})
