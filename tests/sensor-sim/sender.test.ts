// A connection that is lost while what was unacknowledged before is sent again: whatever was handed over meanwhile is sent as well.
import { expect, onTestFinished, test } from 'vitest'
import { Sender } from '../../services/sensor-sim/sender.js'
import { connectTestClient, startTestApp } from '../support/app.js'
import { PacketProxy } from '../support/packet-proxy.js'

test('a message that was published while older ones were sent again, on a connection that was lost too, is sent', async () => {
  const { url, connect } = await startTestApp()
  const proxy = await PacketProxy.open(Number(new URL(url).port))
  onTestFinished(() => proxy.close())
  const { mqtt } = await connectTestClient(proxy.url, { reconnect: true })
  mqtt.on('error', () => { /* A try in vain. */ })
  const sender = new Sender(mqtt, { window: 64, giveUpMs: 10_000 })
  onTestFinished(() => sender.close())
  const send = async (seq: number): Promise<void> => await sender.send('lots/LOT-A/sensor', JSON.stringify({ sensor: 'gate', epoch: 1, seq, delta: 1 }))

  proxy.withholdsAcks = true
  await send(1)
  await proxy.until('broker', 'publish', 1)
  proxy.cut()
  await proxy.until('broker', 'publish', 2)
  await send(2)
  proxy.withholdsAcks = false
  proxy.cut()

  await sender.settled()
  expect(sender.report()).toMatchObject({ sent: 2, acknowledged: 2, unacknowledged: 0, refused: 0 })
  const listener = await (await connect()).subscribe('lots/LOT-A/free')
  expect(await listener.last('lots/LOT-A/free', '48')).toBe('48')
})
