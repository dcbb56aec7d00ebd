// A broker that has nothing to say for now: it sends its clients to another server and lets none in until it is told to.
import { once } from 'node:events'
import { createConnection } from 'node:net'
import mqttPacket from 'mqtt-packet'
import type { IConnackPacket, IDisconnectPacket, MqttClient } from 'mqtt'
import { expect, onTestFinished, test } from 'vitest'
import { connectMqtt, endMqtt, type ConnectOptions } from '../../shared/mqtt-client.js'
import { startBroker, type TestBroker } from '../support/broker.js'
import { ManualClock } from '../support/clock.js'

const USE_ANOTHER_SERVER = 0x9c
const SERVER_UNAVAILABLE = 3

interface Told {
  readonly connack: IConnackPacket[]
  readonly disconnect: (number | undefined)[]
}

async function connect (broker: TestBroker, options: ConnectOptions = {}): Promise<{ told: Told, client: MqttClient | null }> {
  const told: Told = { connack: [], disconnect: [] }
  const prepare = (client: MqttClient): void => {
    client.on('packetreceive', packet => { if (packet.cmd === 'connack') told.connack.push(packet) })
    client.on('disconnect', (packet: IDisconnectPacket) => told.disconnect.push(packet.reasonCode))
  }
  const client = await connectMqtt(`mqtt://127.0.0.1:${broker.port}`, { ...options, prepare }).catch(() => null)
  if (client !== null) onTestFinished(() => endMqtt(client))
  return { told, client }
}

async function closed (client: MqttClient | null): Promise<void> {
  await new Promise<void>(resolve => client?.once('close', () => resolve()))
}

test('clients are told 0x9C or closed, and again when they come, until they are let in', async () => {
  const broker = await startBroker()
  const will = { topic: 'sensors/s/status', payload: 'offline', qos: 1, retain: true } as const
  const [v5, v311] = [await connect(broker, { will }), await connect(broker, { version: 4 })]
  const both = Promise.all([closed(v5.client), closed(v311.client)])
  broker.sendAway('out of order')
  await both
  expect([v5.told.disconnect, v311.told.disconnect]).toEqual([[USE_ANOTHER_SERVER], []])
  expect((await connect(broker)).told.connack).toMatchObject([{ reasonCode: USE_ANOTHER_SERVER, properties: { reasonString: 'out of order' } }])
  expect((await connect(broker, { version: 4 })).told.connack).toMatchObject([{ returnCode: SERVER_UNAVAILABLE }])

  broker.letIn()
  const { client } = await connect(broker)
  const heard = new Promise(resolve => client?.on('message', (_, payload) => resolve(payload.toString())))
  await client?.subscribeAsync('sensors/s/status', { qos: 1 })
  // It did not say goodbye.
  expect(await heard).toBe('offline')
})

test('whose log-in is under way is not let in either', async () => {
  const clock = new ManualClock()
  const broker = await startBroker({ clock, users: [{ name: 'ann', role: 'driver', password: 'secret' }] })
  const come = async (password: string): Promise<{ heard: Buffer[], gone: Promise<unknown> }> => {
    const socket = createConnection(broker.port, '127.0.0.1')
    onTestFinished(() => { socket.destroy() })
    await once(socket, 'connect')
    const heard: Buffer[] = []
    const gone = once(socket.on('data', chunk => heard.push(chunk)), 'close')
    socket.write(mqttPacket.generate({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 5, clean: true, clientId: '', keepalive: 0, username: 'ann', password: Buffer.from(password) }, { protocolVersion: 5 }))
    return { heard, gone }
  }
  // Whoever comes now has to wait for a quarter of a second of the clock.
  for (let n = 0; n < 3; n++) await (await come('wrong')).gone
  const { heard, gone } = await come('secret')
  await clock.armed(250)
  broker.sendAway('out of order')
  clock.advance(250)
  await gone
  expect(Buffer.concat(heard)).toMatchObject({ 0: 0x20, 3: USE_ANOTHER_SERVER })
})
