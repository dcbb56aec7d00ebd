// What only a Bus over an external broker has to do: keep its session, live with the broker's limits, and come back.
// The contract that it shares with the embedded broker is in tests/bus.
import { pino } from 'pino'
import type { MqttClient } from 'mqtt'
import { describe, expect, test } from 'vitest'
import { ACCEPTED, type Bus, type Delivery } from '../../shared/bus.js'
import { systemClock } from '../../shared/clock.js'
import { UnavailableError } from '../../shared/errors.js'
import { createMetrics } from '../../shared/metrics.js'
import { connectMqttBus, type MqttBus, type MqttBusParts } from '../../shared/mqtt-bus.js'
import { PublishError } from '../../shared/mqtt-publisher.js'
import { connectMqtt, endMqtt } from '../../shared/mqtt-client.js'
import { AcceptingConsumer, afterThisTest, ManualConsumer, startBroker } from '../support/broker.js'
import { startMosquitto, whyNoMosquitto, type Mosquitto } from '../support/mosquitto.js'
import { PacketProxy } from '../support/packet-proxy.js'

async function mosquitto (...settings: string[]): Promise<Mosquitto> {
  const started = await startMosquitto(settings)
  afterThisTest(() => started.close())
  return started
}

async function proxyTo (port: number): Promise<PacketProxy> {
  const proxy = await PacketProxy.open(port)
  afterThisTest(() => proxy.close())
  return proxy
}

async function openBus (url: string, parts: Partial<MqttBusParts> = {}): Promise<MqttBus> {
  const opened = await connectMqttBus({ url, clientId: 'parkmq-test', clock: systemClock, log: pino({ level: 'silent' }), metrics: createMetrics(), ...parts })
  afterThisTest(opened.close)
  return opened
}

async function connect (url: string): Promise<MqttClient> {
  const client = await connectMqtt(url, { reconnect: true })
  afterThisTest(() => endMqtt(client))
  return client
}

const text = ({ payload }: Delivery): string => Buffer.from(payload).toString()

/** Resolves when publishing works (again). */
async function published (bus: Bus, topic: string, payload: string): Promise<void> {
  while (!await bus.publish(topic, payload).then(() => true, () => false)) await new Promise(resolve => setImmediate(resolve))
}

describe.skipIf(whyNoMosquitto() !== null)('a Bus over mosquitto', () => {
  test('never takes a retained message for a new one', async () => {
    const { url } = await mosquitto()
    const client = await connect(url)
    await client.publishAsync('lots/LOT-A/sensor', '1', { qos: 1, retain: true })
    const consumer = new AcceptingConsumer()
    await (await openBus(url)).bus.consume('lots/+/sensor', consumer)
    await client.publishAsync('lots/LOT-A/sensor', '2', { qos: 1 })
    await consumer.delivery(0)
    expect(consumer.deliveries.map(text)).toEqual(['2'])
  })

  test('gets what came while it was away, and nothing twice', async () => {
    const { url } = await mosquitto()
    const first = await openBus(url)
    const before = new AcceptingConsumer()
    await first.bus.consume('lots/+/sensor', before)
    const client = await connect(url)
    await client.publishAsync('lots/LOT-A/sensor', '1', { qos: 1 })
    await before.delivery(0)
    await first.close()
    await client.publishAsync('lots/LOT-A/sensor', '2', { qos: 1 })
    const after = new AcceptingConsumer()
    await (await openBus(url)).bus.consume('lots/+/sensor', after)
    await client.publishAsync('lots/LOT-A/sensor', '3', { qos: 1 })
    await after.delivery(1)
    expect(before.deliveries.map(text)).toEqual(['1'])
    expect(after.deliveries.map(text)).toEqual(['2', '3'])
  })

  test('goes on after the broker was killed and has forgotten everything', async () => {
    const broker = await mosquitto()
    const { bus } = await openBus(broker.url)
    const consumer = new AcceptingConsumer()
    await bus.consume('lots/+/sensor', consumer)
    await broker.stop('SIGKILL')
    await expect(bus.publish('lots/LOT-A/free', '1')).rejects.toThrow(PublishError)
    await broker.start()
    await published(bus, 'lots/LOT-A/free', '2')
    const client = await connect(broker.url)
    // The consumer has its own connection, which comes back in its own time; until then the broker drops.
    while (consumer.deliveries.length === 0) await client.publishAsync('lots/LOT-A/sensor', '1', { qos: 1 })
    expect(text(await consumer.delivery(0))).toBe('1')
  })

  test('hands over what was waiting only once when the connection is lost', async () => {
    const { url, port } = await mosquitto()
    const proxy = await proxyTo(port)
    const consumer = new ManualConsumer()
    const { bus } = await openBus(proxy.url)
    await bus.consume('lots/+/sensor', consumer)
    const client = await connect(url)
    await client.publishAsync('lots/LOT-A/sensor', '0', { qos: 1 })
    const held = await consumer.batch(0)
    for (const payload of ['1', '2', '3']) await client.publishAsync('lots/LOT-A/sensor', payload, { qos: 1 })
    await proxy.until('client', 'publish', 4)
    proxy.cut()
    await proxy.until('client', 'publish', 8)
    await proxy.until('client', 'suback', 2)
    held.settle()
    const again = await consumer.batch(1)
    // `0` was handed over already and comes again; the others only waited.
    expect(again.deliveries.map(text)).toEqual(['0', '1', '2', '3'])
    again.settle()
    await proxy.until('broker', 'puback', 4)
    expect(consumer.batches).toHaveLength(2)
  })

  test('closes only the connection of the consumer whose ledger is unavailable', async () => {
    const { url, port } = await mosquitto()
    const proxy = await proxyTo(port)
    const { bus } = await openBus(proxy.url)
    const requests = new AcceptingConsumer()
    let available = false
    await bus.consume('requests/+', requests)
    const stored: string[] = []
    await bus.consume('lots/+/sensor', {
      holdMs: 0,
      async handle (batch) {
        if (!available) throw new UnavailableError('the disk is full', { cause: null })
        stored.push(...batch.map(text))
        return batch.map(() => ACCEPTED)
      },
      async abandon () { available = true }
    })
    const client = await connect(url)
    await client.publishAsync('lots/LOT-A/sensor', '1', { qos: 1 })
    await client.publishAsync('requests/ping', 'p', { qos: 1 })
    await proxy.until('broker', 'puback', 2)
    expect(stored).toEqual(['1'])
    expect(requests.deliveries.map(text)).toEqual(['p'])
    expect(proxy.passed('broker', 'connect').map(({ packet }) => 'clientId' in packet && packet.clientId)).toEqual([
      'parkmq-test', 'parkmq-test-requests-any', 'parkmq-test-lots-any-sensor', 'parkmq-test-lots-any-sensor'
    ])
  })

  test.each([0, 1] as const)('stops reading when maxInflight deliveries of QoS %i wait, and loses none of them', async qos => {
    const { url } = await mosquitto()
    const consumer = new ManualConsumer()
    const { bus } = await openBus(url, { maxInflight: 10 })
    await bus.consume('lots/+/sensor', consumer)
    const client = await connect(url)
    const payloads = Array.from({ length: 500 }, (_, i) => `${i}`)
    client.publish('lots/LOT-A/sensor', 'first', { qos: 1 })
    await consumer.batch(0)
    await Promise.all(payloads.map(async payload => await client.publishAsync('lots/LOT-A/sensor', payload, { qos })))
    const arrived: string[] = []
    for (let number = 0; arrived.length < 501; number++) {
      const { deliveries, settle } = await consumer.batch(number)
      expect(deliveries.length).toBeLessThanOrEqual(10)
      arrived.push(...deliveries.map(text))
      settle()
    }
    expect(arrived).toEqual(['first', ...payloads])
  })

  test('lets the broker say `offline` when it is cut off, and says `online` again by itself', async () => {
    const { url, port } = await mosquitto()
    const proxy = await proxyTo(port)
    const topic = 'services/occupancy/node-1/status'
    const { bus } = await openBus(proxy.url, { will: { topic, payload: 'offline', qos: 1, retain: true } })
    const client = await connect(url)
    const heard: string[] = []
    const wakes = new Set<() => void>()
    client.on('message', (_, payload) => {
      heard.push(payload.toString())
      for (const wake of wakes) wake()
    })
    await client.subscribeAsync(topic, { qos: 1 })
    await bus.publish(topic, 'online', { retain: true })
    proxy.cut()
    await new Promise<void>(resolve => wakes.add(() => { if (heard.length >= 3) resolve() }))
    expect(heard).toEqual(['online', 'offline', 'online'])
  })

  test('fails publishes that a cut connection leaves open, and does not send them again', async () => {
    const { port } = await mosquitto()
    const proxy = await proxyTo(port)
    const { bus } = await openBus(proxy.url)
    const open = bus.publish('lots/LOT-A/free', '1')
    proxy.cut()
    await expect(open).rejects.toThrow('not published on lots/LOT-A/free: the connection to the broker was lost before it acknowledged')
    await published(bus, 'lots/LOT-A/free', '2')
    const payloads = proxy.passed('broker', 'publish').map(({ packet }) => packet.cmd === 'publish' && packet.payload.toString())
    expect(payloads.at(-1)).toBe('2')
    expect(payloads.filter(payload => payload === '1').length).toBeLessThanOrEqual(1)
  })

  test('refuses a publish that the broker would answer by closing the connection', async () => {
    const { url } = await mosquitto('max_packet_size 20000')
    const { bus } = await openBus(url)
    await expect(bus.publish('lots/LOT-A/events', Buffer.alloc(30_000))).rejects.toThrow('30000 bytes are more than the broker takes (20000 a packet)')
    await bus.publish('lots/LOT-A/events', Buffer.alloc(10_000))
  })

  test.each([
    ['max_qos 0', /has no QoS 1, which parkmq needs/],
    ['retain_available false', /has no retained messages, which parkmq needs/]
  ])('does not start on a broker with %s', async (setting, message) => {
    const { url } = await mosquitto(setting)
    await expect(openBus(url)).rejects.toMatchObject({ code: 'bad_broker', message: expect.stringMatching(message) as string })
  })
})

test('says that there is no broker', async () => {
  await expect(openBus('mqtt://127.0.0.1:1')).rejects.toMatchObject({ code: 'unreachable' })
})

test('says why the broker refuses a publish', async () => {
  const broker = await startBroker()
  const { bus } = await openBus(`mqtt://127.0.0.1:${broker.port}`)
  await expect(bus.publish('lots/LOT-A/free', '1')).rejects.toMatchObject({ code: 'refused', refusal: { code: 'not_allowed', message: 'only parkmq publishes on lots/LOT-A/free' } })
})

test('has no more publishes open than the broker allows at once, and sends the rest in order', async () => {
  const broker = await startBroker()
  const service = new ManualConsumer()
  await broker.bus.consume('held', service)
  const proxy = await proxyTo(broker.port)
  const { bus } = await openBus(proxy.url)
  const [connack] = await proxy.until('client', 'connack', 1)
  const allowed = connack?.packet.cmd === 'connack' ? connack.packet.properties?.receiveMaximum ?? 0 : 0
  expect(allowed).toBeGreaterThan(0)
  const payloads = Array.from({ length: allowed + 100 }, (_, i) => `${i}`)
  const all = Promise.all(payloads.map(async payload => await bus.publish('held', payload)))
  await proxy.until('broker', 'publish', allowed)
  // A round trip: whatever else was sent with the first ones has passed by now.
  await connect(proxy.url)
  expect(proxy.passed('broker', 'publish')).toHaveLength(allowed)
  const arrived: string[] = []
  for (let number = 0; arrived.length < payloads.length; number++) {
    const { deliveries, settle } = await service.batch(number)
    arrived.push(...deliveries.map(text))
    settle()
  }
  await all
  expect(arrived).toEqual(payloads)
})
