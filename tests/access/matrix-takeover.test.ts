// What sockets show only now and then: two users who want one client id in the same turn of the event loop, and a user
// who is changed while the password is checked.
import mqttPacket from 'mqtt-packet'
import { pino } from 'pino'
import { expect, test, vi } from 'vitest'
import { createEngine, type Engine } from '../../broker/engine.js'
import { ANONYMOUS, type Identity } from '../../shared/access.js'
import { systemClock } from '../../shared/clock.js'
import { Config } from '../../shared/config.js'
import { createMetrics } from '../../shared/metrics.js'
import { afterThisTest } from '../support/broker.js'
import { admitted, connectInMemory, turn } from '../support/memory-broker.js'

/** An engine to which everybody is who it says. */
async function trustingEngine (isCurrent = true): Promise<Engine> {
  const identityOf = (user: string | null): Identity => user === null ? ANONYMOUS : { user, role: 'driver', lots: [] }
  const engine = await createEngine({
    config: Config.parse({}), clock: systemClock, log: pino({ level: 'silent' }), metrics: createMetrics(),
    login: { check: async ({ username }) => ({ identity: identityOf(username), isCurrent: () => isCurrent }), identityOf, isUser: () => false }
  })
  afterThisTest(() => engine.close())
  return engine
}

const STAYING = { clean: false, properties: { sessionExpiryInterval: 600 } }

test.each([
  ['nobody\'s', null, STAYING], ['nobody\'s', null, {}],
  ['the first one\'s own', 'anna', {}],
  ['the second one\'s own', 'otto', {}]
] as const)('the client id was %s', async (_, before, options) => {
  const engine = await trustingEngine()
  const first = connectInMemory(engine, before === null ? {} : { username: before })
  await admitted(first)
  const both = ['anna', 'otto'].map(username => connectInMemory(engine, { ...options, username }))
  const letIn = new Set<unknown>()
  for (let i = 0; i < 50; i++) {
    for (const peer of both) if (peer.connection.session !== null) letIn.add(peer)
    await turn()
  }
  expect(both.map(peer => [letIn.has(peer), peer.connection.ended]).toSorted()).toEqual([[false, true], [true, false]])
  expect(engine.sessions.all.size).toBe(1)
  expect(engine.sessions.all.get('c')?.connected).toBe(true)
})

test('whoever has the client id already is not sent away for another user who was there to ask for it before', async () => {
  const engine = await trustingEngine()
  const register = engine.aedes.registerClient.bind(engine.aedes)
  let release = (): void => {}
  engine.aedes.registerClient = client => {
    engine.aedes.registerClient = register
    release = () => register(client)
  }
  const anna = connectInMemory(engine, { ...STAYING, username: 'anna' })
  for (let i = 0; i < 5; i++) await turn()
  const otto = connectInMemory(engine, { ...STAYING, username: 'otto' })
  await admitted(otto)
  release()
  for (let i = 0; i < 20; i++) await turn()
  expect([anna.connection.ended, otto.connection.ended]).toEqual([true, false])
})

test('a user who is changed while the password is checked is told to come again, with a code that CONNACK has', async () => {
  const engine = await trustingEngine(false)
  const { stream, connection } = connectInMemory(engine, { username: 'anna' })
  const write = vi.spyOn(stream, 'write')
  while (!connection.ended) await turn()
  const packets: unknown[] = []
  mqttPacket.parser({ protocolVersion: 5 }).on('packet', packet => packets.push(packet)).parse(write.mock.calls[0]?.[0] as Buffer)
  expect(packets).toMatchObject([{ cmd: 'connack', reasonCode: 0x89, properties: { reasonString: 'this user has been changed; connect again' } }])
  expect(engine.sessions.all.size).toBe(0)
})
