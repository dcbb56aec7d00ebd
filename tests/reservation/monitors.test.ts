// `monitor` and `unmonitor` through the whole of parkmq: the stream that a client sees, its pace, and its one end.
import { describe, expect, test } from 'vitest'
import { counterValues } from '../../shared/metrics.js'
import { startTestApp, type TestApp, type TestAppOptions, type TestClient } from '../support/app.js'
import { ManualClock } from '../support/clock.js'
import { MonitorClient } from '../support/monitor-client.js'

const REST_MS = 100

interface Scene extends TestApp {
  readonly clock: ManualClock
  readonly client: MonitorClient
  /** Changes lots and is no monitor. */
  readonly other: TestClient
}

async function scene (options: TestAppOptions = {}): Promise<Scene> {
  const clock = new ManualClock()
  const app = await startTestApp({ clock, ...options })
  return { ...app, clock, client: await MonitorClient.connected(app.url, { clientId: 'me' }), other: await app.connect() }
}

/** Everything that was committed until now has been told to whoever is to be told of it now. */
async function settled ({ client, other }: Pick<Scene, 'client' | 'other'>): Promise<void> {
  for (let i = 0; i < 5; i++) {
    await other.request('ping')
    await client.ask('ping', {})
  }
}

async function open ({ app }: TestApp): Promise<number> {
  return (await counterValues(app.metrics)).parkmq_monitors ?? 0
}

async function published ({ app }: TestApp): Promise<number> {
  return (await counterValues(app.metrics))['parkmq_published_total{kind=monitor}'] ?? 0
}

describe('a monitor', () => {
  test('begins with the state of the lot and tells every change of it, with the same Correlation Data', async () => {
    const at = await scene()
    const started = await at.client.monitor('LOT-A', 60, 'c')
    expect(started).toEqual({
      monitor: 'started', lot: 'LOT-A', free: 50, capacity: 100, open: true, quality: 'unknown', version: 1, at: expect.any(String) as string,
      until: new Date(at.clock.nowMs() + 60_000).toISOString()
    })
    const changes: [() => Promise<unknown>, object][] = [
      [() => at.other.request('reserve', { lot: 'LOT-A', plate: 'P1' }), { free: 49 }],
      [() => at.other.publish('lots/LOT-A/sensor', '2'), { free: 47, quality: 'live' }],
      [() => at.other.request('lot.close', { lot: 'LOT-A' }), { free: 0, open: false }],
      [() => at.other.request('lot.open', { lot: 'LOT-A' }), { free: 47, open: true }],
      [() => at.other.request('lot.set', { lot: 'LOT-A', capacity: 101 }), { free: 48, capacity: 101 }]
    ]
    for (const [i, [change, told]] of changes.entries()) {
      await change()
      expect(await at.client.until('c', i + 2)).toMatchObject({ monitor: 'update', lot: 'LOT-A', ...told })
      await at.clock.armed(REST_MS)
      at.clock.advance(REST_MS)
    }
    const versions = at.client.said('c').map(said => (said as { version: number }).version)
    expect(versions).toEqual([...versions].sort((a, b) => a - b))
    expect(await published(at)).toBe(changes.length)
  })

  test('of an MQTT 3.1.1 client carries `correlation` in the body', async () => {
    const at = await scene()
    const old = await MonitorClient.connected(at.url, { version: 4 })
    await old.monitor('LOT-A', 60, 'three')
    await at.other.request('reserve', { lot: 'LOT-A', plate: 'P1' })
    expect(await old.until('three', 2)).toMatchObject({ monitor: 'update', free: 49 })
    await old.ask('unmonitor', { lot: 'LOT-A' })
    expect(await old.until('three', 3)).toEqual({ monitor: 'end', lot: 'LOT-A', why: 'unmonitored' })
  })

  test('tells nothing where nothing changes that matters to whoever looks for a place', async () => {
    const at = await scene()
    await at.client.monitor('LOT-A', 60, 'c')
    await at.other.request('lot.set', { lot: 'LOT-A', name: 'Harbour' })
    await at.other.request('reserve', { lot: 'LOT-B', plate: 'P1' })
    await at.other.request('book', { lot: 'LOT-A', plate: 'P1', from: '2027-02-01T10:00Z', to: '2027-02-01T11:00Z' })
    await settled(at)
    expect(at.client.said('c')).toHaveLength(1)
  })

  test('tells at most one change in 100 ms, and always the last', async () => {
    const at = await scene()
    await at.client.monitor('LOT-A', 60, 'c')
    for (let i = 1; i <= 30; i++) await at.other.request('reserve', { lot: 'LOT-A', plate: `P${i}` })
    await settled(at)
    // Time stands still: the look that came with its begin, or the first change, was the only one.
    expect(at.client.said('c').length).toBeLessThanOrEqual(2)
    at.clock.advance(REST_MS - 1)
    await settled(at)
    expect(at.client.said('c').length).toBeLessThanOrEqual(2)
    const before = at.client.said('c').length
    at.clock.advance(1)
    expect(await at.client.until('c', before + 1)).toMatchObject({ free: 20 })
  })

  test('what changes and changes back within 100 ms is not told', async () => {
    const at = await scene()
    await at.client.monitor('LOT-A', 60, 'c')
    const { reservation, secret } = await at.other.request<{ reservation: string, secret: string }>('reserve', { lot: 'LOT-A', plate: 'P1' })
    await settled(at)
    const before = at.client.said('c').length
    await at.other.request('cancel', { reservation, secret })
    await at.other.request('reserve', { lot: 'LOT-A', plate: 'P2' })
    await settled(at)
    at.clock.advance(REST_MS)
    await settled(at)
    at.clock.advance(REST_MS)
    await settled(at)
    const told = at.client.said('c')
    expect(told.at(-1)?.free).toBe(49)
    expect(told.length).toBe(before === 1 ? 2 : before)
  })

  test('of a lot that is not there is refused', async () => {
    const at = await scene()
    expect(await at.client.monitor('LOT-X', 60, 'c')).toMatchObject({ error: 'unknown_lot' })
    expect(await at.client.monitor('LOT-A', 24 * 3_600 + 1, 'c')).toMatchObject({ error: 'bad_request' })
    expect(await open(at)).toBe(0)
  })

  test('is never in the history of requests: a repeat renews it', async () => {
    const at = await scene()
    const body = { lot: 'LOT-A', forSeconds: 60, requestId: 'the-same-request-id' }
    const first = await at.client.ask('monitor', body, 'c')
    at.clock.advance(1_000)
    const second = await at.client.ask('monitor', body, 'c')
    expect(Date.parse(second.until ?? '') - Date.parse(first.until ?? '')).toBe(1_000)
  })
})

describe('the end', () => {
  test('comes once when the time is over, behind the last state', async () => {
    const at = await scene()
    await at.client.monitor('LOT-A', 60, 'c')
    await settled(at)
    at.clock.advance(59_950)
    for (let i = 1; i <= 3; i++) await at.other.request('reserve', { lot: 'LOT-A', plate: `P${i}` })
    expect(at.client.said('c').some(({ monitor }) => monitor === 'end')).toBe(false)
    at.clock.advance(50)
    expect(await at.client.end('c')).toEqual({ monitor: 'end', lot: 'LOT-A', why: 'expired' })
    expect(at.client.said('c').at(-2)).toMatchObject({ free: 47 })
    await at.other.request('reserve', { lot: 'LOT-A', plate: 'P4' })
    at.clock.advance(60_000)
    await settled(at)
    expect(at.client.said('c').at(-1)).toMatchObject({ monitor: 'end' })
    expect(at.client.said('c').filter(({ monitor }) => monitor === 'end')).toHaveLength(1)
    expect(await open(at)).toBe(0)
  })

  test('comes behind the reply to unmonitor, which says whether there was one', async () => {
    const at = await scene()
    await at.client.monitor('LOT-A', 60, 'c')
    await at.client.monitor('LOT-B', 60, 'd')
    expect(await at.client.ask('unmonitor', { lot: 'LOT-A' }, 'u')).toEqual({ lot: 'LOT-A', ended: true })
    expect(await at.client.end('c')).toEqual({ monitor: 'end', lot: 'LOT-A', why: 'unmonitored' })
    expect(at.client.come.slice(-2).map(({ correlation }) => correlation)).toEqual(['u', 'c'])
    expect(await at.client.ask('unmonitor', { lot: 'LOT-A' })).toEqual({ lot: 'LOT-A', ended: false })
    const stranger = await MonitorClient.connected(at.url)
    expect(await stranger.ask('unmonitor', { lot: 'LOT-B' })).toEqual({ lot: 'LOT-B', ended: false })
    at.clock.advance(60_000)
    expect(await at.client.end('d')).toMatchObject({ why: 'expired' })
    expect(at.client.said('c')).toHaveLength(2)
  })

  test('comes when the lot is removed, also when one of the same id is made at once', async () => {
    const at = await scene()
    await at.client.monitor('LOT-A', 60, 'c')
    await at.client.monitor('LOT-B', 60, 'd')
    await at.other.request('lot.remove', { lot: 'LOT-A' })
    expect(await at.client.end('c')).toEqual({ monitor: 'end', lot: 'LOT-A', why: 'lot_removed' })
    // Its version is above that of the next one.
    for (let i = 0; i < 3; i++) await at.other.request('lot.set', { lot: 'LOT-B', name: `B${i}` })
    await at.client.monitor('LOT-B', 60, 'd')
    await Promise.all([at.other.request('lot.remove', { lot: 'LOT-B' }), at.other.request('lot.add', { lot: 'LOT-B', capacity: 7 })])
    await settled(at)
    at.clock.advance(REST_MS)
    expect(await at.client.end('d')).toEqual({ monitor: 'end', lot: 'LOT-B', why: 'lot_removed' })
    expect(await open(at)).toBe(0)
  })

  test('comes to all when parkmq stops, before the connection is closed, behind the last state', async () => {
    const at = await scene()
    await at.client.monitor('LOT-A', 60, 'c')
    await at.client.monitor('LOT-B', 60, 'd')
    await settled(at)
    for (let i = 1; i <= 3; i++) await at.other.request('reserve', { lot: 'LOT-A', plate: `P${i}` })
    await at.app.stop()
    expect(await at.client.end('c')).toEqual({ monitor: 'end', lot: 'LOT-A', why: 'stopping' })
    expect(await at.client.end('d')).toMatchObject({ why: 'stopping' })
    expect(at.client.said('c').at(-2)).toMatchObject({ free: 47 })
    expect(at.client.come.filter(({ said }) => said.monitor === 'end')).toHaveLength(2)
  })
})

describe('the same requester and lot again', () => {
  test('renews the monitor: one stream, until the new time', async () => {
    const at = await scene()
    await at.client.monitor('LOT-A', 60, 'c')
    at.clock.advance(30_000)
    const renewed = await at.client.monitor('LOT-A', 60, 'c')
    expect(renewed.until).toBe(new Date(at.clock.nowMs() + 60_000).toISOString())
    await at.other.request('reserve', { lot: 'LOT-A', plate: 'P1' })
    await settled(at)
    at.clock.advance(REST_MS)
    await at.client.first('c', ({ free }) => free === 49)
    at.clock.advance(59_000)
    await settled(at)
    expect(at.client.said('c').map(({ monitor }) => monitor)).toEqual(['started', 'started', 'update'])
    expect(await open(at)).toBe(1)
    at.clock.advance(1_000)
    await at.client.end('c')
    expect(at.client.said('c').filter(({ monitor }) => monitor === 'end')).toHaveLength(1)
  })

  test('with other Correlation Data replaces it: the first stream ends behind the reply', async () => {
    const at = await scene()
    await at.client.monitor('LOT-A', 60, 'first')
    await at.client.monitor('LOT-A', 60, 'second')
    expect(await at.client.end('first')).toEqual({ monitor: 'end', lot: 'LOT-A', why: 'replaced' })
    expect(at.client.come.slice(-2).map(({ correlation }) => correlation)).toEqual(['second', 'first'])
    await at.other.request('reserve', { lot: 'LOT-A', plate: 'P1' })
    await settled(at)
    at.clock.advance(REST_MS)
    await at.client.first('second', ({ free }) => free === 49)
    expect(at.client.said('first')).toHaveLength(2)
    expect(await open(at)).toBe(1)
  })

  test('is another monitor for another requester', async () => {
    const at = await scene()
    const second = await MonitorClient.connected(at.url)
    await at.client.monitor('LOT-A', 60, 'c')
    await second.monitor('LOT-A', 60, 'c')
    await at.other.request('reserve', { lot: 'LOT-A', plate: 'P1' })
    await settled(at)
    at.clock.advance(REST_MS)
    await at.client.first('c', ({ free }) => free === 49)
    await second.first('c', ({ free }) => free === 49)
    expect(await open(at)).toBe(2)
  })
})

describe('limits', () => {
  test('one client has at most limits.monitorsPerClient; one that ends makes room, a renewal needs none', async () => {
    const at = await scene({ settings: { limits: { monitorsPerClient: 2 } } })
    await at.client.monitor('LOT-A', 60, 'a')
    await at.client.monitor('LOT-B', 60, 'b')
    const refused = await at.client.monitor('LOT-C', 60, 'c')
    expect(refused).toMatchObject({ error: 'over_limit', message: expect.stringMatching(/\b2\b.*limits\.monitorsPerClient/) as string })
    expect(await at.client.monitor('LOT-B', 60, 'b2')).toMatchObject({ monitor: 'started' })
    const other = await MonitorClient.connected(at.url)
    expect(await other.monitor('LOT-C', 60, 'c')).toMatchObject({ monitor: 'started' })
    await at.client.ask('unmonitor', { lot: 'LOT-A' })
    expect(await at.client.monitor('LOT-C', 60, 'c')).toMatchObject({ monitor: 'started' })
  })

  test('all clients together have at most limits.monitors', async () => {
    const at = await scene({ settings: { limits: { monitors: 2 } } })
    await at.client.monitor('LOT-A', 60, 'a')
    const other = await MonitorClient.connected(at.url)
    await other.monitor('LOT-A', 60, 'a')
    expect(await at.client.monitor('LOT-B', 60, 'b')).toMatchObject({ error: 'over_limit', message: expect.stringMatching(/\b2\b.*limits\.monitors\)/) as string })
    expect(await other.monitor('LOT-A', 60, 'a')).toMatchObject({ monitor: 'started' })
    at.clock.advance(60_000)
    await other.end('a')
    expect(await at.client.monitor('LOT-B', 60, 'b')).toMatchObject({ monitor: 'started' })
  })

  test('hold for the requests of one batch as well', async () => {
    const at = await scene({ settings: { limits: { monitorsPerClient: 2, monitors: 3 } } })
    const lots = ['LOT-A', 'LOT-B', 'LOT-C', 'LOT-D']
    const replies = await Promise.all([
      ...lots.map(lot => at.client.monitor(lot, 60, `m-${lot}`)),
      at.client.ask('unmonitor', { lot: 'LOT-A' }), at.client.ask('unmonitor', { lot: 'LOT-A' }), at.client.monitor('LOT-D', 60, 'again')
    ])
    expect(replies.map(({ monitor, error, ended }) => error ?? monitor ?? ended)).toEqual(['started', 'started', 'over_limit', 'over_limit', true, false, 'started'])
    await at.client.end('m-LOT-A')
    expect(await open(at)).toBe(2)
  })

  test('of 0 allow none', async () => {
    const at = await scene({ settings: { limits: { monitorsPerClient: 0 } } })
    expect(await at.client.monitor('LOT-A', 60, 'a')).toMatchObject({ error: 'over_limit' })
  })
})
