// A service hears when the connection that a message came on has ended: however it ends, before the next connection with
// the same client id is let in, and never because of another one.
import type { QoS } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import { Reason } from '../../broker/reason-codes.js'
import type { Delivery } from '../../shared/bus.js'
import { AcceptingConsumer, ManualConsumer, startBroker, type BrokerOptions, type TestBroker } from '../support/broker.js'
import { admitted, connectInMemory, memoryBroker, turn } from '../support/memory-broker.js'
import { RawClient } from '../support/raw-client.js'
import { writeUsers } from '../support/users-file.js'

interface Scene {
  readonly broker: TestBroker
  readonly client: RawClient
  /** What the client has sent, as the service has it. */
  readonly delivery: Delivery
  readonly consumer: AcceptingConsumer
}

const request = (messageId = 1, qos: QoS = 1) => ({ cmd: 'publish', topic: 'requests/x', payload: 'x', qos, dup: false, retain: false, messageId }) as const

async function scene (options: BrokerOptions = {}, connect: Parameters<typeof RawClient.connected>[2] = {}): Promise<Scene> {
  const consumer = new AcceptingConsumer()
  const broker = await startBroker({ ...options, prepare: async ({ bus }) => await bus.consume('requests/+', consumer) })
  const client = await RawClient.connected(broker, 5, { clientId: 'c', ...connect })
  client.send(request())
  return { broker, client, delivery: await consumer.delivery(0), consumer }
}

async function aborted ({ gone }: Delivery): Promise<unknown> {
  if (gone?.aborted === false) await new Promise(resolve => gone.addEventListener('abort', resolve, { once: true }))
  return gone?.reason
}

const KEPT = { clean: false, properties: { sessionExpiryInterval: 1_000 } }

describe('a service hears that the connection has ended', () => {
  test.each<[string, (scene: Scene) => void]>([
    ['its client says DISCONNECT', ({ client }) => client.send({ cmd: 'disconnect', reasonCode: 0 })],
    ['its socket is cut', ({ client }) => client.destroy()],
    ['its client ends its side', ({ client }) => client.stream.end()],
    ['its client breaks the rules', ({ client }) => client.write('ff00')],
    ['its client does not let the broker write', ({ client, broker }) => {
      client.stream.pause()
      const payload = Buffer.alloc(400_000)
      for (let i = 0; i < 100; i++) void broker.bus.publish('t', payload, { properties: { correlationData: Buffer.from('1') } })
    }]
  ])('when %s, although the session stays', async (_, end) => {
    const at = await scene({}, KEPT)
    at.client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 't', qos: 1 }] })
    await at.client.nextOf('suback')
    expect(at.delivery.gone?.aborted).toBe(false)
    end(at)
    expect(await aborted(at.delivery)).toBe('the connection has ended')
  })

  test('when nothing comes within its keep alive', async () => {
    const { delivery } = await scene({}, { keepalive: 1 })
    await aborted(delivery)
  })

  test('and not when it pings, and is not read because so much of it waits for a service', async () => {
    const consumer = new ManualConsumer()
    const broker = await startBroker({ prepare: async ({ bus }) => await bus.consume('requests/+', consumer) })
    const busy = await RawClient.connected(broker, 4, { clientId: 'busy', keepalive: 1 })
    busy.send(...Array.from({ length: 1_500 }, () => request(0, 0)), { cmd: 'pingreq' })
    const { deliveries, settle } = await consumer.batch(0)
    // Two others that say nothing are sent away meanwhile, one after the other.
    for (const clientId of ['silent', 'silent too']) await (await RawClient.connected(broker, 4, { clientId, keepalive: 1 })).closed()
    expect(deliveries[0]?.gone?.aborted).toBe(false)
    settle()
    for (let number = 1, left = 1_500 - deliveries.length; left > 0; number++) {
      const batch = await consumer.batch(number)
      left -= batch.deliveries.length
      batch.settle()
    }
    await busy.nextOf('pingresp')
  })

  test('when its user is changed', async () => {
    const users = [{ name: 'ann', role: 'driver', password: 'secret-of-ann' }] as const
    const { broker, delivery } = await scene({ users }, { username: 'ann', password: Buffer.from('secret-of-ann') })
    expect(delivery.user).toBe('ann')
    await writeUsers([{ name: 'ann', role: 'display', password: 'secret-of-ann' }], broker.users?.file ?? '')
    await broker.users?.reload()
    await aborted(delivery)
  })

  test('when the broker stops', async () => {
    const { broker, delivery } = await scene()
    const closing = broker.close()
    await aborted(delivery)
    await closing
  })
})

test.each([{}, KEPT])('a takeover ends the old connection before the new one is let in, and leaves the new one alone %#', async kept => {
  const { broker, client, delivery, consumer } = await scene({}, kept)
  const second = await RawClient.connected(broker, 5, { clientId: 'c', ...kept })
  expect(delivery.gone?.aborted).toBe(true)
  second.send(request())
  const { gone } = await consumer.delivery(1)
  await client.closed()
  // The broker has heard of the end of the old socket.
  await second.flushed()
  expect([gone === delivery.gone, gone?.aborted]).toEqual([false, false])
  second.destroy()
  await aborted(await consumer.delivery(1))
})

test('the old connection is over before the new one is let in, also when it was ending by itself', async () => {
  const engine = await memoryBroker()
  const consumer = new AcceptingConsumer()
  await engine.bus.consume('requests/+', consumer)
  const first = connectInMemory(engine)
  await admitted(first)
  const second = connectInMemory(engine)
  // Its own end and the takeover in the same turn.
  first.stream.push(null)
  const states: boolean[] = []
  const welcome = second.connection.welcome.bind(second.connection)
  second.connection.welcome = (...args) => {
    states.push(first.connection.gone.aborted)
    welcome(...args)
  }
  await admitted(second)
  first.connection.end(Reason.unspecified, 'test')
  for (let i = 0; i < 20; i++) await turn()
  expect([states, second.connection.gone.aborted]).toEqual([[true], false])
})

test('messages of one connection have the same signal', async () => {
  const { client, delivery, consumer } = await scene()
  client.send(request(2))
  expect((await consumer.delivery(1)).gone).toBe(delivery.gone)
})

test('a will comes when its client is gone, and what a service publishes comes from nobody', async () => {
  const { broker, client, consumer } = await scene({}, { will: { topic: 'requests/x', payload: Buffer.from('will'), qos: 1, retain: false } })
  client.destroy()
  expect((await consumer.delivery(1)).gone?.aborted).toBe(true)
  await broker.bus.publish('requests/x', 'ours')
  expect((await consumer.delivery(2)).gone).toBeUndefined()
})
