// What a client may leave behind that publishes with QoS 2 and never says PUBREL: bounded over all clients, and so that
// those who do say it never meet the bound (docs/decisions/011).
import type { Packet } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import { publish, subscribe } from '../conformance/v5-wire.js'
import { UnavailableError } from '../../shared/errors.js'
import { ManualConsumer, startBroker, type TestBroker } from '../support/broker.js'
import { ManualClock } from '../support/clock.js'
import { RawClient, type Version } from '../support/raw-client.js'
import { ENDS, startGatedBroker } from '../support/stored-sessions.js'

const LIMITS = { qos2Ids: 100 }
/** Of 100, nobody may have more than what is left for the others. */
const MOST = 50
/** What every session has in any case. */
const ALWAYS = 20

/** Whoever has a role for it may publish there. */
const TOPIC = 'replies/x'
const flood = (from: number, to: number): Packet[] => Array.from({ length: to - from + 1 }, (_, i) => publish(TOPIC, 'x', { qos: 2, messageId: from + i }))
const release = (messageId: number): Packet => ({ cmd: 'pubrel', messageId, reasonCode: 0 })

/** A client whose session outlives its connection. */
async function kept (broker: TestBroker, version: Version, clientId: string, options: Parameters<typeof RawClient.connected>[2] = {}): Promise<RawClient> {
  return await RawClient.connected(broker, version, { clientId, clean: false, ...(version === 5 && { properties: { sessionExpiryInterval: 1_000 } }), ...options })
}

async function unreleased (broker: TestBroker): Promise<number> {
  return await broker.count('broker_unreleased_messages')
}

/** Sends so many with QoS 2 in one piece, for which no disk is needed; returns the reason codes of the answers. */
async function answers (client: RawClient, from: number, to: number): Promise<number[]> {
  client.send(...flood(from, to))
  return (await client.flushed()).flatMap(packet => packet.cmd === 'pubrec' ? [packet.reasonCode ?? 0] : [])
}

/** An older client with a session that is kept sends so many until it is closed. Returns how many of them stay. */
async function hoard (broker: TestBroker, clientId: string, count = 1_000, options: Parameters<typeof RawClient.connected>[2] = {}, version: Version = 4): Promise<number> {
  const before = await unreleased(broker)
  const client = await kept(broker, version, clientId, options)
  client.send(...flood(1, count))
  await client.closed()
  return await unreleased(broker) - before
}

/** A whole exchange: nothing stands in its way. */
async function exchanges (client: RawClient, messageId: number): Promise<void> {
  client.send(publish(TOPIC, 'x', { qos: 2, messageId }))
  expect(await client.nextOf('pubrec')).toMatchObject({ messageId, ...(client.version === 5 && { reasonCode: 0 }) })
  client.send(release(messageId))
  expect(await client.nextOf('pubcomp')).toMatchObject({ messageId })
}

describe('a client that never sends PUBREL', () => {
  test('is told so in MQTT 5.0, and may go on when it does', async () => {
    const broker = await startBroker({ limits: LIMITS })
    const client = await RawClient.connected(broker, 5)
    expect(await answers(client, 1, 60)).toEqual([...Array<number>(MOST).fill(0), ...Array<number>(10).fill(0x97)])
    expect(await unreleased(broker)).toBe(MOST)
    client.send(release(1), release(2))
    expect(await answers(client, 201, 203)).toEqual([0, 0, 0x97])
    expect(await broker.count('broker_over_limit_total{limit=qos2Ids}')).toBe(11)
    expect(broker.logged.filter(({ limit }) => limit === 'qos2Ids')).toHaveLength(1)
  })

  test.each<Version>([3, 4])('is closed without acknowledgement in version %i, also in the middle of one piece, and comes back to what it has', async version => {
    const broker = await startBroker({ limits: LIMITS })
    expect(await hoard(broker, 'c', 5_000, {}, version)).toBe(MOST)
    const again = await kept(broker, version, 'c')
    // What was taken may be repeated; what was not is still too much.
    again.send(publish(TOPIC, 'x', { qos: 2, messageId: 7, dup: true }))
    expect(await again.nextOf('pubrec')).toMatchObject({ messageId: 7 })
    again.send(release(7))
    await again.nextOf('pubcomp')
    again.send(...flood(51, 52))
    await again.closed()
    expect(await unreleased(broker)).toBe(MOST)
  })

  test('leaves room for whoever does, as many as there are', async () => {
    const broker = await startBroker({ limits: LIMITS })
    const taken: number[] = []
    for (let i = 0; i < 10; i++) taken.push(await hoard(broker, `hostile-${i}`))
    expect(taken).toEqual([MOST, 25, ...Array<number>(8).fill(ALWAYS)])
    for (const version of [3, 4, 5] as const) {
      const honest = await RawClient.connected(broker, version)
      expect(await answers(honest, 1, ALWAYS)).toEqual(Array<number>(ALWAYS).fill(0))
      for (let id = 1; id <= ALWAYS; id++) honest.send(release(id))
      for (let id = 1; id <= ALWAYS; id++) await honest.nextOf('pubcomp')
      for (let id = 1; id <= 30; id++) await exchanges(honest, id)
    }
    expect(await unreleased(broker)).toBe(taken.reduce((sum, one) => sum + one))
  })

  test('counts as its user, with however many sessions', async () => {
    const broker = await startBroker({ limits: LIMITS, users: ['anna', 'bert'].map(name => ({ name, role: 'service', password: name })) })
    const as = async (user: string, clientId: string): Promise<number> => await hoard(broker, clientId, 200, { username: user, password: Buffer.from(user) })
    expect([await as('anna', 'a-1'), await as('anna', 'a-2')]).toEqual([MOST, ALWAYS])
    expect(await as('bert', 'b-1')).toBe(ALWAYS)
    expect(await as('anna', 'a-3')).toBe(ALWAYS)
  })
})

describe('who says PUBREL never meets the bound', () => {
  test.each<Version>([4, 5])('thousands one after the other, and what comes again costs nothing (version %i)', async version => {
    const broker = await startBroker({ limits: LIMITS })
    const client = await RawClient.connected(broker, version)
    for (let round = 0; round < 100; round++) {
      const packets = flood(1, 40)
      client.send(...packets, ...packets, ...Array.from({ length: 40 }, (_, i) => release(i + 1)), release(1), release(1))
      expect((await client.flushed()).filter(({ cmd }) => cmd === 'pubcomp')).toHaveLength(42)
    }
    expect(await unreleased(broker)).toBe(0)
    expect(await broker.count('broker_over_limit_total{limit=qos2Ids}')).toBe(0)
  })

  test('an MQTT 3.1.1 client may have 65,535 of them', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker, 4)
    for (let from = 1; from <= 65_535; from += 5_000) {
      const to = Math.min(from + 4_999, 65_535)
      client.send(...flood(from, to))
      for (let id = from; id <= to; id++) await client.nextOf('pubrec')
    }
    expect(await unreleased(broker)).toBe(65_535)
    client.destroy()
    await expect.poll(() => unreleased(broker)).toBe(0)
  })
})

describe('room comes back', () => {
  test('with the end of a session, and with a refusal of the service or of the access table', async () => {
    const broker = await startBroker({ limits: LIMITS })
    const consumer = new ManualConsumer()
    await broker.bus.consume('lots/+/sensor', consumer)
    const client = await kept(broker, 5, 'c')
    client.send(publish('lots/A/sensor', 'x', { qos: 2, messageId: 1 }), publish('lots/A/free', 'x', { qos: 2, messageId: 2 }), publish(TOPIC, 'x', { qos: 2, messageId: 3 }))
    const { deliveries, settle } = await consumer.batch(0)
    expect(await unreleased(broker)).toBe(2)
    settle(deliveries.map(() => ({ type: 'refused', refusal: { code: 'bad_message', message: 'no' } })))
    await client.flushed()
    expect(await unreleased(broker)).toBe(1)
    const other = await RawClient.connected(broker, 5, { clientId: 'c', clean: true })
    await other.flushed()
    expect(await unreleased(broker)).toBe(0)
  })

  test('when the ledger cannot take the message, and everybody who waits for it is closed', async () => {
    const clock = new ManualClock()
    const broker = await startBroker({ limits: LIMITS, clock })
    const consumer = new ManualConsumer()
    await broker.bus.consume('lots/+/sensor', consumer)
    const message = publish('lots/A/sensor', 'x', { qos: 2, messageId: 1 })
    const first = await kept(broker, 5, 'c')
    first.send(message)
    const down = new UnavailableError('the disk is full', { cause: null })
    ;(await consumer.batch(0)).fail(down)
    const second = await kept(broker, 5, 'c')
    second.send(message)
    // The disk of the sessions has no part in it: everything there is written.
    await subscribe(second, 'x')
    expect(await unreleased(broker)).toBe(1)
    await clock.armed()
    clock.advance(5_000)
    ;(await consumer.batch(1)).fail(down)
    await second.closed()
    expect(second.packets.at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode: 0x89, properties: { reasonString: expect.stringContaining('the ledger') as string } })
    expect(await unreleased(broker)).toBe(0)
  })
})

describe('what is stored', () => {
  test.each(Object.entries(ENDS))('counts again after %s, is never refused, and goes with PUBREL or the session', async (_, end) => {
    const first = await startGatedBroker()
    const client = await kept(first, 4, 'c')
    client.send(...flood(1, 3_000))
    for (let id = 1; id <= 3_000; id++) await client.nextOf('pubrec')
    const data = await end(first, first.data)

    const broker = await startBroker({ data, limits: LIMITS })
    expect(await unreleased(broker)).toBe(3_000)
    const again = await kept(broker, 4, 'c')
    again.send(publish(TOPIC, 'x', { qos: 2, messageId: 3_000, dup: true }))
    await again.nextOf('pubrec')
    again.send(publish(TOPIC, 'x', { qos: 2, messageId: 3_001 }))
    await again.closed()
    await exchanges(await RawClient.connected(broker, 4), 1)

    const last = await kept(broker, 4, 'c')
    last.send(...Array.from({ length: 2_990 }, (_, i) => release(i + 1)))
    for (let i = 0; i < 2_990; i++) await last.nextOf('pubcomp')
    expect(await unreleased(broker)).toBe(10)
    await exchanges(last, 5_000)
    const fresh = await RawClient.connected(broker, 4, { clientId: 'c', clean: true })
    await fresh.flushed()
    expect(await unreleased(broker)).toBe(0)
  })
})

test.each<Version>([3, 4, 5])('a client id is no longer than may be stored with each identifier (version %i)', async version => {
  const broker = await startBroker({ limits: { clientIdBytes: 30 } })
  expect(await (await RawClient.open(broker, version)).connect({ clientId: 'ü'.repeat(15) })).toMatchObject(version === 5 ? { reasonCode: 0 } : { returnCode: 0 })
  const refused = await RawClient.open(broker, version)
  expect(await refused.connect({ clientId: 'ü'.repeat(15) + 'x' })).toMatchObject(version === 5 ? { reasonCode: 0x85 } : { returnCode: 2 })
  await refused.closed()
})
