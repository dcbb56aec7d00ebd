// The same services over Debian's mosquitto instead of the embedded broker.
import { describe, expect, onTestFinished, test } from 'vitest'
import { connectTestClient, startTestApp, testFolder } from '../support/app.js'
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
})
