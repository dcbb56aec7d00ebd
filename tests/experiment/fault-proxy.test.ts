// The bad network between real clients and a real broker: what it loses, doubles and delays, and what it leaves alone.
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import type { MqttClient } from 'mqtt'
import mqttPacket, { type Packet } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import { FaultProxy } from '../../cli/experiment/fault-proxy.js'
import { createFate, type PacketFaults } from '../../cli/experiment/faults.js'
import { connectMqtt, endMqtt } from '../../shared/mqtt-client.js'
import { afterThisTest, startBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'

const NONE: PacketFaults = { seed: 7, loss: 0, duplicate: 0, delayMs: 0 }
const MESSAGES = 500

async function network (brokerPort: number, faults: Partial<PacketFaults>): Promise<FaultProxy> {
  const proxy = await FaultProxy.open(brokerPort, { ...NONE, ...faults })
  afterThisTest(() => proxy.close())
  return proxy
}

async function client (url: string): Promise<MqttClient> {
  const mqtt = await connectMqtt(url)
  afterThisTest(() => endMqtt(mqtt))
  return mqtt
}

/** Publishes through the network and returns what a client on the broker itself receives, in order. */
async function sentThrough (faults: Partial<PacketFaults>): Promise<{ received: number[], proxy: FaultProxy }> {
  const broker = await startBroker()
  const proxy = await network(broker.port, faults)
  const listener = await client(`mqtt://127.0.0.1:${broker.port}`)
  const received: number[] = []
  const ended = new Promise<void>(resolve => listener.on('message', (topic, payload) => {
    if (topic === 'end') resolve()
    else received.push(Number(payload.toString()))
  }))
  await listener.subscribeAsync(['numbers', 'end'], { qos: 0 })
  const sender = await client(proxy.url)
  for (let n = 0; n < MESSAGES; n++) await sender.publishAsync('numbers', String(n), { qos: 0 })
  await expect.poll(() => proxy.counts.toBroker.came).toBe(MESSAGES)
  await proxy.calm()
  await sender.publishAsync('end', '', { qos: 1 })
  await ended
  return { received, proxy }
}

describe('the bad network', () => {
  test('loses and doubles exactly the packets of its seed', async () => {
    const faults = { loss: 0.3, duplicate: 0.2 }
    const { received, proxy } = await sentThrough(faults)
    // The listener is not on the network: the sender's connection is number 0.
    const fate = createFate({ ...NONE, ...faults }, 'toBroker 0')
    const expected = Array.from({ length: MESSAGES }, (_, n) => fate().map(() => n)).flat()
    expect([...received].sort((a, b) => a - b)).toEqual(expected)
    expect(proxy.counts.toBroker).toEqual({ came: MESSAGES, lost: MESSAGES - new Set(expected).size, doubled: expected.length - new Set(expected).size })
    expect(proxy.published('numbers')).toBe(MESSAGES)
  })

  test('delays, so that later messages overtake earlier ones and none is missing', async () => {
    const { received } = await sentThrough({ delayMs: 30 })
    const inOrder = Array.from({ length: MESSAGES }, (_, n) => n)
    expect(received).not.toEqual(inOrder)
    expect([...received].sort((a, b) => a - b)).toEqual(inOrder)
  })

  test('does the same to what the broker sends', async () => {
    const broker = await startBroker()
    const proxy = await network(broker.port, { loss: 0.3, duplicate: 0.2, delayMs: 5 })
    const listener = await client(proxy.url)
    const received: string[] = []
    const ended = new Promise<void>(resolve => listener.on('message', (topic, payload) => {
      if (topic === 'end') resolve()
      else received.push(payload.toString())
    }))
    await listener.subscribeAsync(['numbers', 'end'], { qos: 0 })
    const sender = await client(`mqtt://127.0.0.1:${broker.port}`)
    for (let n = 0; n < MESSAGES; n++) await sender.publishAsync('numbers', String(n), { qos: 1 })
    await expect.poll(() => proxy.counts.toClients.came).toBe(MESSAGES)
    await proxy.calm()
    await sender.publishAsync('end', '', { qos: 1 })
    await ended
    const { came, lost, doubled } = proxy.counts.toClients
    expect({ came, received: received.length }).toEqual({ came: MESSAGES, received: came - lost + doubled })
    expect(lost / came).toBeCloseTo(0.3, 1)
    expect(doubled / (came - lost)).toBeCloseTo(0.2, 1)
  })

  test('leaves all other packets alone, at once and unchanged, however they are cut', async () => {
    const got: Buffer[] = []
    let broker: Socket | undefined
    const server = createServer(socket => {
      broker = socket.on('data', chunk => got.push(chunk)).on('error', () => {})
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    afterThisTest(async () => { server.close() })
    const proxy = await network((server.address() as { port: number }).port, { loss: 1 })
    const raw = await RawClient.open({ port: Number(new URL(proxy.url).port), wsPort: 0 })
    const bytes = (packet: Packet): Buffer => mqttPacket.generate(packet, { protocolVersion: 5 })
    const others = [
      bytes({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 5, clientId: 'c', clean: true, keepalive: 30 }),
      bytes({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'replies/c', qos: 0 }] }), bytes({ cmd: 'pingreq' }),
      bytes({ cmd: 'puback', messageId: 2 }), bytes({ cmd: 'unsubscribe', messageId: 3, unsubscriptions: ['replies/c'] }), bytes({ cmd: 'disconnect' })
    ]
    const publish = bytes({ cmd: 'publish', topic: 'requests/cancel', payload: '{}', qos: 0, retain: false, dup: false })
    const stream = Buffer.concat(others.flatMap(packet => [packet, publish]))
    for (let at = 0; at < stream.length; at += 3) {
      raw.stream.write(stream.subarray(at, at + 3))
      // So that each chunk is a write of its own.
      await new Promise(resolve => setImmediate(resolve))
    }
    const expected = Buffer.concat(others)
    await expect.poll(() => Buffer.concat(got).length).toBeGreaterThanOrEqual(expected.length)
    expect(Buffer.concat(got).equals(expected)).toBe(true)
    expect(proxy.counts.toBroker).toEqual({ came: others.length, lost: others.length, doubled: 0 })
    broker?.destroy()
  })

  test('cuts a connection that is no MQTT', async () => {
    const broker = await startBroker()
    const proxy = await network(broker.port, {})
    const raw = await RawClient.open({ port: Number(new URL(proxy.url).port), wsPort: 0 })
    const closed = once(raw.stream, 'close')
    raw.stream.write(Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff]))
    await closed
  })

  test('forgets what was late for a connection that ends', async () => {
    const broker = await startBroker()
    const proxy = await network(broker.port, { delayMs: 5_000 })
    const sender = await connectMqtt(proxy.url)
    for (let n = 0; n < 20; n++) await sender.publishAsync('numbers', String(n), { qos: 0 })
    await expect.poll(() => proxy.counts.toBroker.came).toBe(20)
    await endMqtt(sender)
    const startedMs = performance.now()
    await proxy.calm()
    expect(performance.now() - startedMs).toBeLessThan(2_500)
  })
})
