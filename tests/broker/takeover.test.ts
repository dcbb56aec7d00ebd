// One client id, one client, whatever happens at the same time: races that sockets show only now and then.
import mqttPacket from 'mqtt-packet'
import { expect, test } from 'vitest'
import { Reason } from '../../broker/reason-codes.js'
import type { AedesBroker } from '../../broker/aedes-internals.js'
import type { Engine } from '../../broker/engine.js'
import { admitted, connectInMemory, memoryBroker, turn } from '../support/memory-broker.js'

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

/** The session of client `c` with a subscription in it. */
async function subscribedPeer (engine: Engine) {
  const peer = connectInMemory(engine, SESSION)
  await admitted(peer)
  peer.stream.push(mqttPacket.generate({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 1 }] }, { protocolVersion: 5 }))
  while (engine.router.count === 0) await turn()
  return peer
}

const SESSION = { clean: false, properties: { sessionExpiryInterval: 100 } }

test('a client that closes while it connects is not registered', async () => {
  const engine = await memoryBroker()
  const { release, held } = holdRegistration(engine.aedes)
  const { stream } = connectInMemory(engine)
  await held
  stream.destroy()
  await turns(5)
  release()
  await turns(5)
  expect([Object.keys(engine.aedes.clients), engine.aedes.connectedClients, engine.sessions.all.size]).toEqual([[], 0, 0])
})

test('of two clients that take over at the same time one stays, and it is the one that is known', async () => {
  const engine = await memoryBroker()
  await admitted(connectInMemory(engine))
  const second = connectInMemory(engine)
  const third = connectInMemory(engine)
  await turns(20)
  expect(engine.aedes.connectedClients).toBe(1)
  const open = [second, third].filter(({ connection }) => !connection.ended)
  expect(open.map(({ client }) => client)).toEqual([engine.aedes.clients.c])
})

test('a client that is gone before it took over takes away neither the place of the other nor its session', async () => {
  const engine = await memoryBroker()
  const first = await subscribedPeer(engine)
  const { held } = holdRegistration(engine.aedes)
  const second = connectInMemory(engine, SESSION)
  await held
  // Never registered, and gone.
  second.stream.destroy()
  await turns(5)
  expect([engine.aedes.clients.c, engine.aedes.connectedClients]).toEqual([first.client, 1])
  expect(first.connection.session?.subscriptions.has('a')).toBe(true)
})

test('the end of the old client is not the end of the session that the new one has resumed', async () => {
  const engine = await memoryBroker()
  const first = await subscribedPeer(engine)
  const { release, held } = holdRegistration(engine.aedes)
  const second = connectInMemory(engine, SESSION)
  await held
  // The old one begins to close by itself, and the new one is registered before it is done.
  first.connection.end(Reason.unspecified, 'test')
  release()
  await turns(20)
  expect(engine.aedes.clients.c).toBe(second.client)
  expect(second.connection.session?.subscriptions.has('a')).toBe(true)
  expect(engine.sessions.disconnected).toBe(0)
})
