// Order and completeness of deliveries while far more messages are on their way than aedes' emitter takes at once.
import { connectAsync } from 'mqtt'
import { expect, test } from 'vitest'
import { afterThisTest, startBroker } from '../support/broker.js'

test('a subscriber that reads gets every message of a burst, in order', async () => {
  const broker = await startBroker()
  const client = await connectAsync(`mqtt://127.0.0.1:${broker.port}`, { protocolVersion: 5 })
  afterThisTest(() => client.endAsync(true))
  await client.subscribeAsync('replies/#', { qos: 1 })
  const got: number[] = []
  client.on('message', (_, payload) => { got.push(Number(payload.toString())) })
  const COUNT = 6_000
  const sent: Promise<void>[] = []
  for (let n = 0; n < COUNT; n++) {
    sent.push(broker.bus.publish(n % 3 === 0 ? 'nobody/listens' : 'replies/me', String(n)))
    // Some at once, some a turn later, as commits come.
    if (n % 500 === 0) await new Promise(resolve => setImmediate(resolve))
  }
  await Promise.all(sent)
  const expected = Array.from({ length: COUNT }, (_, n) => n).filter(n => n % 3 !== 0)
  while (got.length < expected.length) await new Promise(resolve => { client.once('message', resolve) })
  expect(got).toEqual(expected)
})

test('a subscriber to everything misses nothing, whatever QoS and RETAIN the messages have', async () => {
  const broker = await startBroker()
  const client = await connectAsync(`mqtt://127.0.0.1:${broker.port}`, { protocolVersion: 5 })
  afterThisTest(() => client.endAsync(true))
  await client.subscribeAsync('a/#', { qos: 1 })
  const got: number[] = []
  client.on('message', (_, payload) => { got.push(Number(payload.toString())) })
  const COUNT = 900
  for (let n = 0; n < COUNT; n++) void broker.bus.publish(`a/${n % 4}`, String(n), n % 3 === 0 ? { qos: 1, retain: true } : n % 3 === 1 ? { qos: 1 } : { qos: 0 })
  while (got.length < COUNT) await new Promise(resolve => { client.once('message', resolve) })
  expect(got).toEqual(Array.from({ length: COUNT }, (_, n) => n))
})
