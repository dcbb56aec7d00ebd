// A source of bays that falls silent for longer than it said: its bays are unknown and its lot is stale, unless somebody
// else covers them; also across a restart.
import { expect, test } from 'vitest'
import type { App } from '../../cli/app.js'
import type { Id } from '../../shared/lot.js'
import { ManualClock } from '../support/clock.js'
import { json, startTestApp, testFolder, type TestApp, type TestClient } from '../support/app.js'

const LOTS = [{ lot: 'ROOF', capacity: 3, bays: ['R-1', 'R-2', 'R-3'], baysCover: true }]
const STATE = 'lots/ROOF/state'

async function start (data?: string, clock = new ManualClock(Date.parse('2026-12-01T08:00Z'))): Promise<TestApp & { clock: ManualClock, client: TestClient }> {
  const app = await startTestApp({ clock, settings: { lots: LOTS }, ...(data !== undefined && { data }) })
  const client = await app.connect()
  await client.subscribe('lots/#')
  return { ...app, clock, client }
}

let seq = 0
async function say (client: TestClient, sensor: string, bays: Record<string, string>): Promise<void> {
  await client.publish('lots/ROOF/sensor', { sensor, epoch: 1, seq: ++seq, bays, whole: true, standsForSeconds: 30 })
}
/** Lets a time pass until this sensor's word has been looked at: at most a few seconds more. */
async function pass ({ app, clock }: { app: App, clock: ManualClock }, ms: number, sensor: string): Promise<void> {
  clock.advance(ms)
  for (;;) {
    const row = await app.ledger.read(({ kysely }) => kysely.selectFrom('sensors').select('stands_until_ms').where('sensor', '=', sensor as Id).executeTakeFirst())
    if (row?.stands_until_ms === null) return
    await clock.armed(500)
    clock.advance(100)
    await new Promise(resolve => setImmediate(resolve))
  }
}
const quality = (text: string): unknown => json(text).quality

test('its bays are unknown and count as taken, the lot is stale, and its next word mends both', async () => {
  const { client, clock, app } = await start()
  await say(client, 'cam-1', { 'R-1': 'free', 'R-2': 'taken', 'R-3': 'free' })
  await client.last('lots/ROOF/free', '2')
  clock.advance(29_000)
  await say(client, 'cam-1', { 'R-1': 'free', 'R-2': 'free', 'R-3': 'free' })
  await client.last('lots/ROOF/free', '3')
  clock.advance(29_000)
  expect(quality(await client.last(STATE, text => json(text).free === 3))).toBe('live')
  await pass({ app, clock }, 2_000, 'cam-1')
  await client.last('lots/ROOF/free', '0')
  expect(json(await client.last(STATE, text => quality(text) === 'stale'))).toMatchObject({ occupied: 3, sources: [{ sensor: 'cam-1', said: 'bays', at: '2026-12-01T08:00:29.000Z' }] })
  for (const bay of ['R-1', 'R-2', 'R-3']) await client.last(`lots/ROOF/bays/${bay}`, 'unknown')
  const told = await client.until('the event', ({ topic, text }) => topic === 'lots/ROOF/events' && json(text).type === 'sensor.silent')
  expect(json(told.text)).toMatchObject({ sensor: 'cam-1', after: { unknown: 3 } })
  await say(client, 'cam-1', { 'R-1': 'free', 'R-2': 'taken', 'R-3': 'free' })
  await client.last('lots/ROOF/free', '2')
  await client.last(STATE, text => quality(text) === 'live')
})

test('another camera that sees the same bays covers them', async () => {
  const { client, clock, app } = await start()
  await say(client, 'cam-1', { 'R-1': 'free', 'R-2': 'free', 'R-3': 'free' })
  clock.advance(20_000)
  await say(client, 'cam-2', { 'R-1': 'free', 'R-2': 'taken', 'R-3': 'free' })
  await client.last('lots/ROOF/free', '2')
  await pass({ app, clock }, 20_000, 'cam-1')
  await say(client, 'cam-2', { 'R-1': 'free', 'R-2': 'taken', 'R-3': 'taken' })
  await client.last('lots/ROOF/free', '1')
  expect(quality(await client.last(STATE, text => json(text).free === 1))).toBe('live')
  expect(client.received.filter(({ topic, text }) => topic === 'lots/ROOF/events' && json(text).type === 'sensor.silent')).toEqual([])
})

test('a gate covers them: it goes on counting, and the count is the bays\' again when they are back', async () => {
  const { client, clock, app } = await start()
  await say(client, 'cam-1', { 'R-1': 'free', 'R-2': 'free', 'R-3': 'free' })
  await client.publish('lots/ROOF/sensor', { sensor: 'gate', epoch: 1, seq: 1, delta: 1 })
  await client.last('lots/ROOF/free', '2')
  await pass({ app, clock }, 31_000, 'cam-1')
  await client.last('lots/ROOF/bays/R-1', 'unknown')
  await client.publish('lots/ROOF/sensor', { sensor: 'gate', epoch: 1, seq: 2, delta: 1 })
  expect(json(await client.last(STATE, text => json(text).free === 1))).toMatchObject({ quality: 'live', sources: [{ sensor: 'gate', said: 'delta' }, { sensor: 'cam-1', said: 'bays' }] })
  await say(client, 'cam-1', { 'R-1': 'taken', 'R-2': 'taken', 'R-3': 'taken' })
  await client.last('lots/ROOF/free', '0')
})

test('a restart after the time shows it from the first moment on', async () => {
  const data = testFolder()
  const { client, app, clock } = await start(data)
  await say(client, 'cam-1', { 'R-1': 'free', 'R-2': 'free', 'R-3': 'free' })
  await client.end()
  await app.stop()
  const again = await start(data, new ManualClock(clock.nowMs() + 60_000))
  await again.client.last('lots/ROOF/bays/R-3', 'unknown')
  expect(quality(await again.client.last(STATE, () => true))).toBe('stale')
  expect(again.client.received.filter(({ topic }) => topic === 'lots/ROOF/free').map(({ text }) => text)).toEqual(['0'])
})

test('bays that the lot no longer lists are missed by nobody', async () => {
  const { client, clock, app } = await start()
  await say(client, 'cam-1', { 'R-1': 'free' })
  await say(client, 'cam-2', { 'R-2': 'free', 'R-3': 'free' })
  clock.advance(20_000)
  await say(client, 'cam-2', { 'R-2': 'free', 'R-3': 'free' })
  await pass({ app, clock }, 11_000, 'cam-1')
  await client.last(STATE, text => quality(text) === 'stale')
  await client.request('lot.set', { lot: 'ROOF', bays: ['R-2', 'R-3'], capacity: 2 })
  expect(json(await client.last(STATE, text => quality(text) === 'live'))).toMatchObject({ free: 2 })
})
