// One client id, one client, whatever happens at the same time: races that sockets show only now and then.
import { expect, test } from 'vitest'
import { Reason } from '../../broker/reason-codes.js'
import type { AedesBroker, AedesClient } from '../../broker/aedes-internals.js'
import { connectInMemory, memoryBroker, turn } from '../support/memory-broker.js'

async function turns (count: number): Promise<void> {
  for (let i = 0; i < count; i++) await turn()
}

/** Holds back the next registration and lets it happen when the test says so. */
function holdRegistration (aedes: AedesBroker): { release: () => void, held: Promise<void> } {
  const register = aedes.registerClient.bind(aedes)
  let release = (): void => {}
  const held = new Promise<void>(resolve => {
    aedes.registerClient = client => {
      aedes.registerClient = register
      release = () => register(client)
      resolve()
    }
  })
  return { release: () => release(), held }
}

async function ready (aedes: AedesBroker): Promise<void> {
  await new Promise(resolve => aedes.once('clientReady', resolve))
}

test('a client that closes while it connects is not registered', async () => {
  const aedes = await memoryBroker()
  const { release, held } = holdRegistration(aedes)
  const { stream } = connectInMemory(aedes)
  await held
  stream.destroy()
  await turns(5)
  release()
  await turns(5)
  expect([Object.keys(aedes.clients), aedes.connectedClients]).toEqual([[], 0])
})

test('of two clients that take over at the same time one stays, and it is the one that is known', async () => {
  const aedes = await memoryBroker()
  connectInMemory(aedes)
  await ready(aedes)
  const second = connectInMemory(aedes)
  const third = connectInMemory(aedes)
  await turns(20)
  expect(aedes.connectedClients).toBe(1)
  const open = [second, third].filter(({ connection }) => !connection.ended)
  expect(open.map(({ client }) => client)).toEqual([aedes.clients.c])
})

test('a client that is gone before it took over takes away neither the place of the other nor its session', async () => {
  const aedes = await memoryBroker()
  const session = { clean: false }
  const first = connectInMemory(aedes, session)
  await ready(aedes)
  await new Promise<void>(resolve => first.client.subscribe({ subscriptions: [{ topic: 'a', qos: 1 }] }, () => resolve()))
  const { held } = holdRegistration(aedes)
  const second = connectInMemory(aedes, session)
  await held
  // Never registered, and gone.
  second.stream.destroy()
  await turns(5)
  expect([aedes.clients.c, aedes.connectedClients]).toEqual([first.client, 1])
  expect(await storedFilters(aedes, first.client)).toEqual(['a'])
})

test('the end of the old client is not the end of the session that the new one has resumed', async () => {
  const aedes = await memoryBroker()
  const first = connectInMemory(aedes, { clean: false })
  await ready(aedes)
  await new Promise<void>(resolve => first.client.subscribe({ subscriptions: [{ topic: 'a', qos: 1 }] }, () => resolve()))
  const { release, held } = holdRegistration(aedes)
  const second = connectInMemory(aedes, { clean: false, properties: { sessionExpiryInterval: 100 } })
  await held
  // The old one begins to close by itself, and the new one is registered before it is done.
  first.connection.end(Reason.unspecified, 'test')
  release()
  await turns(20)
  expect(aedes.clients.c).toBe(second.client)
  expect(await storedFilters(aedes, second.client)).toEqual(['a'])
})

async function storedFilters (aedes: AedesBroker, client: AedesClient): Promise<string[]> {
  const { subscriptionsByClient } = aedes.persistence as unknown as { subscriptionsByClient: (client: { id: string | null }) => Promise<{ topic: string }[]> }
  return (await subscriptionsByClient.call(aedes.persistence, { id: client.id })).map(({ topic }) => topic)
}
