// The same services over Debian's mosquitto instead of the embedded broker.
import { describe, expect, onTestFinished, test } from 'vitest'
import type { Id } from '../../shared/lot.js'
import { connectTestClient, json, startTestApp, testFolder } from '../support/app.js'
import { startMosquitto, whyNoMosquitto } from '../support/mosquitto.js'

describe.skipIf(whyNoMosquitto() !== null)('with mosquitto as the broker', () => {
  test('sensors count, requests are answered, and a restart loses nothing', async () => {
    const mosquitto = await startMosquitto()
    onTestFinished(() => mosquitto.close())
    const data = testFolder()
    const first = await startTestApp({ data, settings: { broker: mosquitto.url } })
    const client = await connectTestClient(mosquitto.url)
    await client.subscribe('lots/LOT-A/free', 'services/+/+/status')
    await client.last('lots/LOT-A/free', '50')
    await client.last('services/occupancy/node-1/status', 'online')
    await client.publish('lots/LOT-A/sensor', { sensor: 'g', epoch: 1, seq: 1, delta: 1 })
    await client.last('lots/LOT-A/free', '49')
    const made = await client.request('reserve', { lot: 'LOT-A', plate: 'X1' })
    await client.last('lots/LOT-A/free', '48')
    await first.app.stop()
    await client.last('services/occupancy/node-1/status', 'offline')
    // The broker keeps for the services what comes while they are away.
    await client.publish('lots/LOT-A/sensor', { sensor: 'g', epoch: 1, seq: 2, delta: 1 })
    await startTestApp({ data, settings: { broker: mosquitto.url } })
    await client.last('lots/LOT-A/free', '47')
    expect(await client.request('cancel', made)).toMatchObject({ status: 'cancelled' })
    await client.last('lots/LOT-A/free', '48')
  })

  test('what changes while the broker is away is published when it is back', async () => {
    const mosquitto = await startMosquitto()
    onTestFinished(() => mosquitto.close())
    const { app } = await startTestApp({ settings: { broker: mosquitto.url, lots: [{ lot: 'B', capacity: 2, occupied: 0, bays: ['b-1'] }] } })
    await mosquitto.stop()
    const failures = async (): Promise<number> => (await app.metrics.publishFailures.get()).values.reduce((sum, { value }) => sum + value, 0)
    await app.ledger.transact('test', async tx => {
      await tx.load(['B' as Id])
      const lot = tx.lot('B' as Id)
      if (lot) tx.setLot({ ...lot, counted: 1 })
    })
    // It was tried in vain at least twice before the broker is back.
    await expect.poll(failures, { timeout: 10_000 }).toBeGreaterThanOrEqual(2)
    await mosquitto.start()
    const client = await connectTestClient(mosquitto.url)
    await client.subscribe('lots/B/#')
    await client.last('lots/B/free', '1')
    await client.last('lots/B/state', text => json(text).occupied === 1)
    await client.last('lots/B/bays/b-1', 'unknown')
  })
})
