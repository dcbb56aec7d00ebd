// What an operator can see of flow control: the counters over all sessions and those of each session agree with what its
// client got. On the engine behind a bare socket, because these numbers are the engine's own.
import { createServer, type AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { createEngine, type Engine } from '../../../broker/engine.js'
import { Reason } from '../../../broker/reason-codes.js'
import { systemClock } from '../../../shared/clock.js'
import { Config } from '../../../shared/config.js'
import { createMetrics } from '../../../shared/metrics.js'
import { afterThisTest } from '../../support/broker.js'
import { createLog } from './silent-log.js'
import { StreamClient, upTo, type Ports } from './stream-client.js'

async function startEngine (limits: Partial<Config['limits']>): Promise<{ engine: Engine, ports: Ports }> {
  const engine = await createEngine({ config: Config.parse({ limits }), clock: systemClock, log: createLog(), metrics: createMetrics() })
  const server = createServer({ noDelay: true }, socket => engine.accept(socket, 'test'))
  await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
  afterThisTest(async () => {
    server.close()
    for (const connection of engine.connections.values()) connection.end(Reason.serverShuttingDown, 'the test is over')
    await engine.close()
  })
  return { engine, ports: { port: (server.address() as AddressInfo).port, wsPort: 0 } }
}

test('sent, queued, in flight, dropped and conflated of a session that takes nothing', async () => {
  const { engine, ports } = await startEngine({ maxInflight: 5, queueMessages: 500 })
  const slow = await StreamClient.subscriber(ports, '#', 1, { acks: false, connect: { clientId: 'slow' } })
  const sender = await StreamClient.connected(ports, { version: 4 })
  await sender.publishNumbered('t', 605, 1)
  await sender.publishNumbered(number => `sensors/${number % 4}/status`, 40, 1)
  await sender.published(645, 1)
  const session = engine.sessions.all.get('slow')
  expect(session).toMatchObject({ inflight: 5, queued: 504, window: 5, isSlow: true, own: { sent: 5, dropped: 100, conflated: 36 } })
  expect(engine.counts).toMatchObject({ conflated: 36, dropped: { conflate: 0, 'drop-oldest': 100, never: 0 } })
  slow.acks = true
  slow.ackOpen()
  await slow.until(() => slow.count === 509, 'what waited')
  await slow.ping()
  expect(session).toMatchObject({ inflight: 0, queued: 0, isSlow: false, own: { sent: 509, dropped: 100, conflated: 36 } })
})

test('every message that a slow client did not get is counted, whatever its QoS and whether it reads', async () => {
  const { engine, ports } = await startEngine({ queueMessages: 100 })
  const slow = await StreamClient.subscriber(ports, '#', 0, { connect: { clientId: 'slow' } })
  slow.stream.pause()
  const sender = await StreamClient.connected(ports, { version: 4 })
  await sender.publishNumbered('t', 10_000, 0, 1_000)
  await sender.publishNumbered('sensors/a/status', 1_000, 0, 1_000)
  await sender.ping()
  slow.stream.resume()
  await slow.until(() => slow.numbers('sensors/a/status').includes(1_000), 'the newest')
  await slow.ping()
  const { dropped, conflated } = engine.counts
  expect(dropped['drop-oldest']).toBeGreaterThan(0)
  expect(slow.count + dropped['drop-oldest'] + conflated).toBe(11_000)
  expect(engine.sessions.all.get('slow')?.own).toEqual({ sent: slow.count, dropped: dropped['drop-oldest'], conflated })
})

test('what a client takes no packet of, and what has expired, is counted and not sent', async () => {
  const { engine, ports } = await startEngine({ maxInflight: 1 })
  const client = await StreamClient.subscriber(ports, '#', 1, { acks: false, connect: { properties: { maximumPacketSize: 100 } } })
  const sender = await StreamClient.connected(ports)
  for (const messageId of upTo(3)) sender.send({ cmd: 'publish', topic: 't', payload: 'x'.repeat(200), qos: 1, messageId, dup: false, retain: false })
  sender.send({ cmd: 'publish', topic: 't', payload: 'first', qos: 1, messageId: 4, dup: false, retain: false })
  sender.send({ cmd: 'publish', topic: 't', payload: 'expired', qos: 1, messageId: 5, dup: false, retain: false, properties: { messageExpiryInterval: 0 } })
  sender.send({ cmd: 'publish', topic: 't', payload: 'last', qos: 1, messageId: 6, dup: false, retain: false })
  await sender.published(6, 1)
  client.acks = true
  client.ackOpen()
  await client.until(() => client.count === 2, 'both that it takes')
  expect(client.payloads('t')).toEqual(['first', 'last'])
  expect(engine.counts).toMatchObject({ tooLarge: 3, expired: 1 })
})

test('replies that pile up for a client that is away are counted when the oldest go', async () => {
  const { engine, ports } = await startEngine({ queueMessages: 50 })
  const connect = { clientId: 'away', clean: false, properties: { sessionExpiryInterval: 100 } }
  const away = await StreamClient.subscriber(ports, 'replies/#', 1, { connect })
  away.stream.destroy()
  await away.closed()
  const sender = await StreamClient.connected(ports, { version: 4 })
  await sender.publishNumbered('replies/x', 80, 1)
  await sender.published(80, 1)
  expect(engine.counts.dropped).toEqual({ conflate: 0, 'drop-oldest': 0, never: 30 })
  const back = await StreamClient.connected(ports, { connect })
  await back.until(() => back.count === 50, 'the newest')
  expect(back.numbers('replies/x')).toEqual(upTo(80, 31))
})

test('one message is encoded once for all subscribers of a kind', async () => {
  const { engine, ports } = await startEngine({})
  const kinds = [[4, 0], [4, 1], [5, 1], [5, 2]] as const
  for (const [version, qos] of kinds) for (let i = 0; i < 3; i++) await StreamClient.subscriber(ports, 't', qos, { version })
  // What each session was asked to send, by its frame.
  const frames = new Set<unknown>()
  let pushed = 0
  for (const connection of engine.connections.values()) {
    const sink = connection.session
    if (sink === null) continue
    const offer = sink.offer.bind(sink)
    sink.offer = (message, qos, retain, ids, group) => {
      const encode = message.frame.bind(message)
      message.frame = (...kind) => {
        const made = encode(...kind)
        frames.add(made)
        pushed++
        return made
      }
      offer(message, qos, retain, ids, group)
      message.frame = encode
    }
  }
  const sender = await StreamClient.connected(ports)
  await sender.publishNumbered('t', 1, 2)
  await sender.published(1, 2)
  expect([pushed, frames.size]).toEqual([12, 4])
})
