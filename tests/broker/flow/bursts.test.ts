// Bursts as fast as the sockets take them: a subscriber that reads and acknowledges loses nothing and sees everything in
// order, however many there are.
import { describe, expect, test } from 'vitest'
import type { QoS } from 'mqtt-packet'
import { startBroker } from '../../support/broker.js'
import type { Transport, Version } from '../../support/raw-client.js'
import { StreamClient } from './stream-client.js'

/** Counts what comes and notes whether a number is missing or in a wrong place; keeps no payloads. */
class Follower {
  next = 1
  firstWrong: number | null = null

  take (payload: Buffer | string): void {
    const number = parseInt(payload.toString().slice(0, 12), 10)
    if (number !== this.next) this.firstWrong ??= number
    this.next = number + 1
  }
}

const CASES: [number, number, QoS, Transport, Version][] = [
  [20_000, 1, 0, 'tcp', 4], [20_000, 1, 1, 'tcp', 5], [20_000, 1, 2, 'tcp', 5], [20_000, 1, 1, 'ws', 4], [20_000, 1, 0, 'ws', 5],
  [20_000, 5, 1, 'tcp', 4], [10_000, 5, 2, 'ws', 5], [20_000, 5, 0, 'ws', 4],
  [3_000, 50, 0, 'tcp', 5], [3_000, 50, 1, 'tcp', 4], [2_000, 50, 2, 'tcp', 5], [2_000, 50, 1, 'ws', 5]
]

test.each(CASES)('%i messages of 1,000 bytes to %i subscribers, QoS %i over %s, version %i', { timeout: 60_000 }, async (count, subscribers, qos, transport, version) => {
  const broker = await startBroker()
  const followers = Array.from({ length: subscribers }, () => new Follower())
  const clients = await Promise.all(followers.map(follower => StreamClient.subscriber(broker, 'burst', qos, { transport, version, onMessage: ({ payload }) => follower.take(payload) })))
  const sender = await StreamClient.connected(broker, { version: 4, transport })
  await sender.publishNumbered('burst', count, qos, 1_000)
  await sender.published(count, qos)
  await Promise.all(clients.map(client => client.until(() => client.count >= count, 'everything')))
  expect(followers.map(({ firstWrong }) => firstWrong)).toEqual(followers.map(() => null))
  expect(followers.every(({ next }) => next === count + 1)).toBe(true)
})

describe('a burst', () => {
  test.each<[string, [QoS, Transport][]]>([
    ['QoS 0 and 1', [[0, 'tcp'], [1, 'tcp']]], ['QoS 0 and 2', [[0, 'tcp'], [2, 'ws']]], ['all kinds', [[0, 'ws'], [1, 'tcp'], [1, 'ws'], [2, 'tcp']]]
  ])('to subscribers of different speeds, %s, who all read and acknowledge what they can', async (_, kinds) => {
    const broker = await startBroker()
    const followers = kinds.map(() => new Follower())
    const clients = await Promise.all(kinds.map(([qos, transport], i) => StreamClient.subscriber(broker, 'burst', qos, { transport, onMessage: ({ payload }) => followers[i]?.take(payload) })))
    const sender = await StreamClient.connected(broker, { version: 4 })
    await sender.publishNumbered('burst', 20_000, 2, 1_000)
    await sender.published(20_000, 2)
    await Promise.all(clients.map((client, i) => client.until(() => (followers[i]?.next ?? 0) > 20_000, 'the last message')))
    expect(clients.map(({ count }) => count)).toEqual(kinds.map(() => 20_000))
    expect(followers.map(({ firstWrong }) => firstWrong)).toEqual(kinds.map(() => null))
  })

  test('from four publishers at once, each in its order', async () => {
    const broker = await startBroker()
    const subscriber = await StreamClient.subscriber(broker, 'burst/#', 1, { version: 4 })
    const senders = await Promise.all([1, 2, 3, 4].map(() => StreamClient.connected(broker, { version: 4 })))
    await Promise.all(senders.map((sender, i) => sender.publishNumbered(`burst/${i}`, 5_000, 1, 200)))
    await subscriber.until(() => subscriber.count >= 20_000, 'everything')
    for (const i of [0, 1, 2, 3]) expect(subscriber.numbers(`burst/${i}`)).toEqual(Array.from({ length: 5_000 }, (_, n) => n + 1))
  })

  test('to a persistent session, whose QoS 2 messages wait for the disk', async () => {
    const broker = await startBroker()
    const follower = new Follower()
    const subscriber = await StreamClient.subscriber(broker, 'burst', 2, {
      connect: { clientId: 'kept', clean: false, properties: { sessionExpiryInterval: 100 } }, onMessage: ({ payload }) => follower.take(payload)
    })
    const sender = await StreamClient.connected(broker, { version: 4 })
    await sender.publishNumbered('burst', 5_000, 2, 300)
    await subscriber.until(() => subscriber.count >= 5_000, 'everything')
    expect(follower).toMatchObject({ next: 5_001, firstWrong: null })
    expect(subscriber.mostOpen).toBeLessThanOrEqual(20)
  })

  test('of 200 different sizes up to 100 KB', async () => {
    const broker = await startBroker()
    const follower = new Follower()
    const subscriber = await StreamClient.subscriber(broker, 'burst', 1, { onMessage: ({ payload }) => follower.take(payload) })
    const sender = await StreamClient.connected(broker, { version: 4 })
    for (let i = 1; i <= 200; i++) sender.send({ cmd: 'publish', topic: 'burst', payload: `${i} `.padEnd(i * 500), qos: 1, messageId: i, dup: false, retain: false })
    await subscriber.until(() => subscriber.count >= 200, 'everything')
    expect(follower).toMatchObject({ next: 201, firstWrong: null })
  })
})
