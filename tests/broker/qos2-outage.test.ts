// A QoS 2 message that comes again while the disk of the sessions does not work: who needs the disk is closed after 5 s
// without acknowledgement, who does not goes on.
import type { Packet } from 'mqtt-packet'
import { expect, test } from 'vitest'
import { publish, publishAcknowledged } from '../conformance/v5-wire.js'
import type { TestBroker } from '../support/broker.js'
import { ManualClock } from '../support/clock.js'
import { RawClient } from '../support/raw-client.js'
import { startGatedBroker } from '../support/stored-sessions.js'

const HOLD_MS = 5_000
const message = publish('a', 'x', { qos: 2, messageId: 7 })

const lasting = async (broker: TestBroker, clientId: string): Promise<RawClient> => await RawClient.connected(broker, 5, { clientId, clean: false, properties: { sessionExpiryInterval: 1_000 } })

test('a client whose session is not kept goes on, however often it repeats', async () => {
  const clock = new ManualClock()
  const broker = await startGatedBroker({ clock })
  const needs = await lasting(broker, 'needs')
  const does = await RawClient.connected(broker)
  broker.store.failing = true
  needs.send(publish('kept', 'x', { qos: 1, messageId: 1, retain: true }))
  for (let i = 0; i < 3; i++) {
    does.send(message, message)
    for (const packet of [await does.next(), await does.next()]) expect(packet).toMatchObject({ cmd: 'pubrec', messageId: 7, reasonCode: 0 })
  }
  await needs.flushed()
  await clock.armed()
  clock.advance(HOLD_MS)
  await needs.closed()
  does.send({ cmd: 'pubrel', messageId: 7, reasonCode: 0 })
  expect(await does.flushed()).toMatchObject([{ cmd: 'pubcomp', messageId: 7, reasonCode: 0 }])
  await publishAcknowledged(does, 'a', 'x', { qos: 2 })
})

test('a client that came back and waits for the first one\'s PUBREC is closed as well, and has it when the disk works', async () => {
  const clock = new ManualClock()
  const broker = await startGatedBroker({ clock })
  const first = await lasting(broker, 'c')
  await publishAcknowledged(first, 'a', 'x')
  broker.store.hold()
  const batch = broker.store.batch()
  first.send(message)
  await batch
  const second = await lasting(broker, 'c')
  second.send(message)
  expect(await second.flushed()).toEqual([])
  clock.advance(HOLD_MS)
  await second.closed()
  expect(second.packets.at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode: 0x89 })
  // Also who comes after that, and the first one is not waited for any more.
  const third = await lasting(broker, 'c')
  third.send(message)
  expect(await third.flushed()).toEqual([])
  clock.advance(HOLD_MS)
  await third.closed()
  broker.store.release()
  const last = await lasting(broker, 'c')
  last.send(message)
  expect(await last.nextOf('pubrec')).toMatchObject({ messageId: 7, reasonCode: 0 })
})

/** So many that a broker which reads them all is seen to. */
const MANY = 40_000

test.each<[string, (i: number) => Packet]>([
  ['PUBREL', i => ({ cmd: 'pubrel', messageId: 1 + i % 60_000, reasonCode: 0 })],
  ['UNSUBSCRIBE', i => ({ cmd: 'unsubscribe', messageId: 1 + i % 60_000, unsubscriptions: ['x'] })],
  ['SUBSCRIBE', i => ({ cmd: 'subscribe', messageId: 1 + i % 60_000, subscriptions: [{ topic: 'x', qos: 0 }] })],
  ['a QoS 2 message that comes again', () => publish('a', 'x', { qos: 2, messageId: 1 })],
  ['a message that is refused', i => publish('t/'.repeat(200), 'x', { qos: 1, messageId: 2 + i % 60_000 })]
])('whoever goes on with %s is read no further than a little, and everything is answered in the end', async (name, packet) => {
  const broker = await startGatedBroker()
  const client = await RawClient.connected(broker, 4, { clientId: 'c', clean: false })
  client.send(publish('a', 'x', { qos: 2, messageId: 1 }))
  await client.nextOf('pubrec')
  const other = await RawClient.connected(broker)
  broker.store.hold()
  const batch = broker.store.batch()
  // What comes behind it is answered after it.
  client.send(publish('retained', 'x', { qos: 1, messageId: 65_535, retain: true }))
  await batch
  const before = await broker.count('broker_packets_total{direction=received}')
  const answers = client.packets.length
  client.send(...Array.from({ length: MANY }, (_, i) => packet(i)))
  for (let i = 0; i < 50; i++) await other.flushed()
  expect(await broker.count('broker_packets_total{direction=received}') - before, name).toBeLessThan(5_000)
  expect(client.packets).toHaveLength(answers)
  broker.store.release()
  await client.flushed()
  await expect.poll(() => client.packets.length).toBe(answers + 1 + MANY + 1)
})
