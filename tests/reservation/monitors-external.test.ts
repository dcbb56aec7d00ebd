// Monitors on an external broker, which tells of no client: the Response Topic is the requester, a monitor lives until its
// end, and what the broker did not take is told when it is back.
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { counterValues } from '../../shared/metrics.js'
import { startTestApp, type TestApp } from '../support/app.js'
import { MonitorClient } from '../support/monitor-client.js'
import { startMosquitto, whyNoMosquitto, type Mosquitto } from '../support/mosquitto.js'
import { PacketProxy } from '../support/packet-proxy.js'

let mosquitto: Mosquitto

async function open ({ app }: TestApp): Promise<number> {
  return (await counterValues(app.metrics)).parkmq_monitors ?? 0
}

describe.skipIf(whyNoMosquitto() !== null)('with mosquitto', () => {
  beforeAll(async () => { mosquitto = await startMosquitto() })
  afterAll(async () => { await mosquitto.close() })

  test('a monitor is renewed, replaced and ended by its Response Topic, and outlives its client', async () => {
    const at = await startTestApp({ settings: { broker: mosquitto.url } })
    const client = await MonitorClient.connected(mosquitto.url, { topic: 'replies/one' })
    await client.monitor('LOT-A', 600, 'a')
    await client.monitor('LOT-A', 600, 'a')
    const second = await MonitorClient.connected(mosquitto.url, { topic: 'replies/two' })
    await second.monitor('LOT-A', 600, 'a')
    expect(await open(at)).toBe(2)
    const other = await at.connect()
    await other.request('reserve', { lot: 'LOT-A', plate: 'P1' })
    await client.first('a', ({ free }) => free === 49)
    await second.first('a', ({ free }) => free === 49)
    expect(await second.ask('unmonitor', { lot: 'LOT-A' })).toEqual({ lot: 'LOT-A', ended: true })
    await second.end('a')
    await client.mqtt.endAsync()
    await other.request('reserve', { lot: 'LOT-A', plate: 'P2' })
    expect(await open(at)).toBe(1)
    const back = await MonitorClient.connected(mosquitto.url, { topic: 'replies/one' })
    await other.request('reserve', { lot: 'LOT-A', plate: 'P3' })
    await back.first('a', ({ free }) => free === 47)
    await back.ask('unmonitor', { lot: 'LOT-A' })
    expect(await back.end('a')).toMatchObject({ why: 'unmonitored' })
  })

  test('what was not taken while the connection was lost is told when it is back, and the stop is told', async () => {
    const proxy = await PacketProxy.open(mosquitto.port)
    onTestFinished(() => proxy.close())
    const at = await startTestApp({ settings: { broker: proxy.url } })
    const client = await MonitorClient.connected(mosquitto.url)
    await client.monitor('LOT-B', 600, 'b')
    proxy.cut()
    // The ledger is reached by others as well: what they change is told.
    await at.app.ledger.transact('test', async tx => {
      const id = 'LOT-B' as Parameters<typeof tx.lot>[0]
      await tx.load([id])
      const before = tx.lot(id)
      if (before) tx.setLot({ ...before, counted: before.counted + 5 })
    })
    expect(await client.until('b', 2)).toMatchObject({ monitor: 'update', free: 70 })
    const failures = (await counterValues(at.app.metrics))['parkmq_publish_failures_total{kind=monitor}'] ?? 0
    expect(failures).toBeGreaterThan(0)
    await at.app.stop()
    expect(await client.end('b')).toMatchObject({ why: 'stopping' })
  })
})
