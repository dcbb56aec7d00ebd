// What a client sends before it is known who it is: it waits, bounded, and is handled with the rights of its user, or not
// at all. And ways around the table that only a connection has: topic aliases, ids that are in somebody's use.
import { readFileSync, writeFileSync } from 'node:fs'
import mqttPacket, { type IConnectPacket, type Packet } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { publish, subscribe } from '../conformance/v5-wire.js'
import { AcceptingConsumer, startBroker, type BrokerOptions, type TestBroker } from '../support/broker.js'
import { ManualClock } from '../support/clock.js'
import { RawClient } from '../support/raw-client.js'
import type { TestUser } from '../support/users-file.js'

const VERSIONS = [4, 5] as const
const OTTOS = 'replies/otto/1'
const USERS: TestUser[] = [['anna', 'driver'], ['otto', 'driver'], ['bridge', 'service']].map(([name = '', role = '']) => ({ name, role, password: name }))

interface Watched { readonly broker: TestBroker, readonly requests: AcceptingConsumer, readonly otto: RawClient }

/** A broker whose service takes requests, and otto, who watches what is his. */
async function watched (options: BrokerOptions = {}): Promise<Watched> {
  const requests = new AcceptingConsumer()
  const broker = await startBroker({ users: USERS, ...options, prepare: async ({ bus }) => await bus.consume('requests/+', requests) })
  const otto = await RawClient.connected(broker, 5, { clientId: 'otto', ...as('otto') })
  await subscribe(otto, '#')
  return { broker, requests, otto }
}

function as (name: string, password = name): { username: string, password: Buffer } {
  return { username: name, password: Buffer.from(password) }
}

function connectPacket (version: 4 | 5, options: Partial<IConnectPacket>): Packet {
  return { cmd: 'connect', protocolId: 'MQTT', protocolVersion: version, clean: true, keepalive: 0, clientId: 'c', ...options }
}

/** CONNECT and all that follows in one piece, before any answer. */
async function allAtOnce (broker: TestBroker, version: 4 | 5, connect: Partial<IConnectPacket>, ...packets: Packet[]): Promise<RawClient> {
  const client = await RawClient.open(broker, version)
  client.write(...[connectPacket(version, connect), ...packets].map(packet => mqttPacket.generate(packet, { protocolVersion: version })))
  return client
}

const EAGER: Packet[] = [
  { cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'replies/anna/#', qos: 0 }, { topic: 'replies/otto/#', qos: 0 }] },
  publish('requests/reserve', 'asked', { qos: 1, messageId: 2 }),
  publish(OTTOS, 'forged', { qos: 1, messageId: 3, retain: true }),
  publish('requests/reserve', 'again', { qos: 2, messageId: 4 }),
  publish('requests/reserve', 'lastly')
]

describe.each(VERSIONS)('right behind CONNECT, MQTT version %i', version => {
  test.each(['a wrong password', 'an unknown user', 'no user'])('nothing is handled with %s', async how => {
    const { broker, requests, otto } = await watched()
    const will = { topic: 'requests/reserve', payload: Buffer.from('will'), qos: 1, retain: false } as const
    const who = how === 'no user' ? {} : how === 'an unknown user' ? as('nobody') : as('anna', 'wrong')
    const client = await allAtOnce(broker, version, { ...who, will }, ...EAGER)
    await client.closed()
    expect(client.packets.map(({ cmd }) => cmd)).toEqual(['connack'])
    expect(requests.deliveries).toEqual([])
    expect(await otto.flushed()).toEqual([])
    expect(await broker.count('broker_subscriptions{kind=own}')).toBe(1)
  })

  test('all of it is handled in its order with the user\'s rights', async () => {
    const { broker, requests, otto } = await watched()
    const client = await allAtOnce(broker, version, as('anna'), ...EAGER)
    const [connack, suback, first, second, third] = [await client.next(), await client.next(), await client.next(), await client.next(), await client.next()]
    expect(connack).toMatchObject({ cmd: 'connack' })
    expect(suback).toMatchObject({ cmd: 'suback', granted: [0, version === 5 ? 0x87 : 0x80] })
    expect([first, second, third]).toMatchObject([{ cmd: 'puback', messageId: 2 }, { cmd: 'puback', messageId: 3, ...(version === 5 && { reasonCode: 0x87 }) }, { cmd: 'pubrec', messageId: 4 }])
    await requests.delivery(2)
    expect(requests.deliveries.map(({ payload, user, role }) => [Buffer.from(payload).toString(), user, role])).toEqual(['asked', 'again', 'lastly'].map(text => [text, 'anna', 'driver']))
    expect(await otto.flushed()).toEqual([])
  })

  test('a second CONNECT does not make it somebody else', async () => {
    const { broker, requests } = await watched()
    const client = await allAtOnce(broker, version, as('anna'), connectPacket(version, as('bridge')), ...EAGER)
    await client.closed()
    expect(client.packets.map(({ cmd }) => cmd)).toEqual(version === 5 ? ['connack', 'disconnect'] : ['connack'])
    expect(requests.deliveries).toEqual([])
  })

  test('a connection that closes while it is checked takes nobody\'s place and leaves nothing', async () => {
    const { broker, requests, otto } = await watched()
    const anna = await RawClient.connected(broker, version, { clientId: 'c', ...as('anna') })
    await subscribe(anna, 'replies/anna/#')
    const will = { topic: 'requests/reserve', payload: Buffer.from('will'), qos: 1, retain: false } as const
    for (let i = 0; i < 10; i++) (await allAtOnce(broker, version, { clientId: 'otto', ...as('anna'), will }, ...EAGER)).destroy()
    await expect.poll(() => broker.count('logins_total{outcome=gone}').then(async gone => gone + await broker.count('logins_total{outcome=password}'))).toBe(12)
    expect(await otto.flushed()).toEqual([])
    await broker.bus.publish('replies/anna/1', 'still here')
    expect(await anna.flushed()).toMatchObject([{ topic: 'replies/anna/1' }])
    expect(requests.deliveries).toEqual([])
  })
})

describe('while a log-in waits', () => {
  /** Three wrong passwords make the next log-in of this address wait for as long as the clock stands. */
  async function slowed (broker: TestBroker): Promise<void> {
    for (let i = 0; i < 3; i++) await (await allAtOnce(broker, 5, as('anna', 'wrong'))).closed()
  }

  test('what comes behind CONNECT is not read without end', async () => {
    const clock = new ManualClock()
    const { broker, otto } = await watched({ clock })
    await slowed(broker)
    const before = await broker.count('broker_bytes_total{direction=received}')
    const client = await allAtOnce(broker, 5, as('anna'))
    const block = Buffer.alloc(1024 * 1024)
    for (let i = 0; i < 32; i++) client.write(block)
    // Turns of the event loop in which it could be read.
    for (let i = 0; i < 50; i++) await otto.flushed()
    expect(await broker.count('broker_bytes_total{direction=received}') - before).toBeLessThan(256 * 1024)
    expect(client.packets).toEqual([])
  })

  test.each([
    ['removed', USERS.slice(1), 0x86, []],
    ['another', USERS.map(user => user.name === 'anna' ? { ...user, role: 'display' } : user), 0, []],
    ['the same', USERS, 0, ['asked']]
  ] as const)('its user may be changed meanwhile, and what follows is handled as who it is then: %s', async (_, users, reasonCode, handled) => {
    const clock = new ManualClock()
    const { broker, requests, otto } = await watched({ clock })
    await slowed(broker)
    const client = await allAtOnce(broker, 5, as('anna'), publish('requests/reserve', 'asked', { qos: 1, messageId: 1 }))
    await otto.flushed()
    // The hashes stay what they are.
    const file = broker.users?.file ?? ''
    const entries = (parse(readFileSync(file, 'utf8')) as { users: TestUser[] }).users
    writeFileSync(file, stringify({ users: entries.flatMap(entry => users.filter(user => user.name === entry.name).map(user => ({ ...entry, role: user.role }))) }))
    expect(await broker.users?.reload()).toBe(true)
    await clock.armed()
    clock.advance(10_000)
    expect(await client.next()).toMatchObject({ cmd: 'connack', reasonCode })
    if (reasonCode === 0) await client.nextOf('puback')
    else await client.closed()
    expect(requests.deliveries.map(({ payload }) => Buffer.from(payload).toString())).toEqual(handled)
  })
})

describe('a topic alias', () => {
  test('is no way to a topic that is another\'s', async () => {
    const { broker, requests, otto } = await watched()
    const client = await RawClient.connected(broker, 5, as('anna'))
    const aliased = (topic: string, topicAlias: number, messageId: number): Packet => publish(topic, 'x', { qos: 1, messageId, properties: { topicAlias } })
    client.send(
      aliased('requests/reserve', 1, 1), aliased(OTTOS, 2, 2), aliased('', 2, 3), aliased('', 1, 4),
      // The same number for another topic.
      aliased('lots/LOT-A/sensor', 1, 5), aliased('', 1, 6)
    )
    const codes: (number | undefined)[] = []
    while (codes.length < 6) codes.push((await client.nextOf('puback')).reasonCode)
    expect(codes).toEqual([0, 0x87, 0x87, 0, 0x87, 0x87])
    expect(requests.deliveries.map(({ topic }) => topic)).toEqual(['requests/reserve', 'requests/reserve'])
    expect(await otto.flushed()).toEqual([])
  })
})
