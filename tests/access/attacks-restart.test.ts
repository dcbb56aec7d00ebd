// Users who were changed while parkmq was down, and members of a shared subscription who lose their rights: what is stored
// and what waits follows the rights of now, and goes to somebody who may have it, or to nobody.
import { readFileSync, writeFileSync } from 'node:fs'
import type { IPublishPacket } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import { acknowledge, nextMessages, publish, publishAcknowledged, subscribe } from '../conformance/v5-wire.js'
import { AcceptingConsumer, startBroker, temporaryFolder, type BrokerOptions, type TestBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'
import { copyOfSessions, ENDS, type End } from '../support/stored-sessions.js'
import type { TestUser } from '../support/users-file.js'

const SENSOR = 'lots/LOT-A/sensor'
/** Everybody may read it, and none of its messages takes the place of another. */
const PUBLIC = 'lots/LOT-A/events'

const user = (name: string, role: string, more: Partial<TestUser> = {}): TestUser => ({ name, role, password: name, ...more })
const anna = (role: string): TestUser => user('anna', role)
const BRIDGE = user('bridge', 'service')

async function connected (broker: TestBroker, name: string | null, clientId: string, options: Parameters<typeof RawClient.connected>[2] = {}): Promise<{ client: RawClient, isPresent: boolean }> {
  const client = await RawClient.open(broker)
  const connack = await client.connect({ clientId, clean: false, properties: { sessionExpiryInterval: 1_000 }, ...(name !== null && { username: name, password: Buffer.from(name) }), ...options })
  expect(connack.reasonCode).toBe(0)
  return { client, isPresent: connack.sessionPresent }
}

const textsOf = (packets: readonly { cmd?: string }[]): string[] => packets.flatMap(packet => packet.cmd === 'publish' ? [`${(packet as IPublishPacket).topic} ${(packet as IPublishPacket).payload.toString()}`] : [])

async function say (broker: TestBroker, text: string, ...topics: string[]): Promise<void> {
  for (const topic of topics) await broker.bus.publish(topic, text)
}

/** A client subscribes to `#`, leaves, and messages wait for it; then the broker ends. Returns what the next one finds. */
async function leftBehind (end: End, clientId: string, name: string | null, settings: BrokerOptions): Promise<string> {
  const data = temporaryFolder()
  const broker = await startBroker({ data, ...settings })
  const { client } = await connected(broker, name, clientId)
  await subscribe(client, '#', { qos: 2 })
  await say(broker, 'sent', SENSOR, PUBLIC)
  // They are on their way, one of them received; the others wait.
  await nextMessages(client, textsOf(client.packets).length === 0 ? 1 : 0)
  client.destroy()
  await expect.poll(() => broker.count('broker_clients')).toBe(0)
  await say(broker, 'waits', SENSOR, PUBLIC, 'replies/otto/1')
  return await end(broker, data)
}

describe.each(Object.entries(ENDS))('after %s', (_, end) => {
  test('a user with a lesser role gets nothing that waited for the wider one, also when it has that again', async () => {
    const data = await leftBehind(end, 'c', 'anna', { users: [anna('operator')] })
    const broker = await startBroker({ data, users: [anna('driver')] })
    await say(broker, 'meanwhile', SENSOR, PUBLIC)
    const { client, isPresent } = await connected(broker, 'anna', 'c')
    expect(isPresent).toBe(true)
    expect(textsOf(await client.flushed())).toEqual([`${PUBLIC} sent`, `${PUBLIC} waits`, `${PUBLIC} meanwhile`])
    await broker.close()
    const again = await startBroker({ data, users: [anna('operator')] })
    const { client: promoted } = await connected(again, 'anna', 'c')
    await say(again, 'now', SENSOR)
    expect(textsOf(await promoted.flushed()).filter(text => text.startsWith(SENSOR))).toEqual([`${SENSOR} now`])
  })

  test('a user who was removed has no session any more, nor has a later one of that name', async () => {
    const data = await leftBehind(end, 'c', 'anna', { users: [anna('operator')] })
    const without = await startBroker({ data, users: [BRIDGE] })
    expect(await without.count('broker_sessions{state=disconnected}')).toBe(0)
    await without.close()
    const { client, isPresent } = await connected(await startBroker({ data, users: [anna('operator')] }), 'anna', 'c')
    expect(isPresent).toBe(false)
    expect(textsOf(await client.flushed())).toEqual([])
  })

  test('the session of nobody is over where there are users now, and shows a display\'s topics where nobody may still come in', async () => {
    const data = await leftBehind(end, 'c', null, {})
    const copy = copyOfSessions(data)
    const strict = await startBroker({ data, users: [BRIDGE] })
    expect(await strict.count('broker_sessions{state=disconnected}')).toBe(0)
    const open = await startBroker({ data: copy, users: [BRIDGE], allowAnonymous: true })
    const { client, isPresent } = await connected(open, null, 'c')
    expect(isPresent).toBe(true)
    expect(textsOf(await client.flushed())).toEqual([`${PUBLIC} sent`, `${PUBLIC} waits`])
  })

  test('a user\'s session is not nobody\'s while there are no users, and gathers nothing that the user may not read', async () => {
    const data = await leftBehind(end, 'c', 'anna', { users: [anna('driver')] })
    const without = await startBroker({ data })
    await say(without, 'meanwhile', SENSOR, PUBLIC, 'replies/otto/1', 'replies/anna/1')
    await without.close()
    const copy = copyOfSessions(data)
    const { client } = await connected(await startBroker({ data, users: [anna('driver')] }), 'anna', 'c')
    expect(textsOf(await client.flushed())).toEqual([`${PUBLIC} sent`, `${PUBLIC} waits`, `${PUBLIC} meanwhile`, 'replies/anna/1 meanwhile'])
    const { client: nobody, isPresent } = await connected(await startBroker({ data: copy }), null, 'c')
    expect(isPresent).toBe(false)
    expect(textsOf(await nobody.flushed())).toEqual([])
  })
})

describe('wills that are due after a crash', () => {
  const gate = (more: Partial<TestUser> = {}): TestUser => user('gate', 'device', { lots: ['LOT-A'], ...more })
  test.each<[string, BrokerOptions, string[]]>([
    ['as its user may', { users: [gate()] }, ['-1 gate device']],
    ['for a user who is no more', { users: [BRIDGE] }, []],
    ['for another lot than its user\'s', { users: [gate({ lots: ['LOT-B'] })] }, []],
    ['for a user with another role', { users: [gate({ role: 'driver', lots: undefined as unknown as string[] })] }, []],
    ['as nobody\'s where there are no users any more', {}, ['-1 undefined local']]
  ])('are published %s', async (_, settings, expected) => {
    const data = temporaryFolder()
    const first = await startBroker({ data, users: [gate()] })
    const { client } = await connected(first, 'gate', 'g', { will: { topic: SENSOR, payload: Buffer.from('-1'), qos: 1, retain: false } })
    // It is acknowledged when everything before it is on disk as well.
    await publishAcknowledged(client, 'sensors/gate/status', 'online', { retain: true })
    const consumer = new AcceptingConsumer()
    const broker = await startBroker({ data: copyOfSessions(data), ...settings, prepare: async ({ bus }) => await bus.consume('lots/+/sensor', consumer) })
    await broker.bus.publish('lots/LOT-Z/sensor', 'end')
    expect(consumer.deliveries.map(({ payload, user: name, role }) => `${Buffer.from(payload).toString()} ${name} ${role}`)).toEqual([...expected, 'end undefined undefined'])
    expect(await broker.count('broker_denied_publishes_total')).toBe(expected.length === 0 ? 1 : 0)
  })
})

describe('a member of a shared subscription that may not read it any more', () => {
  const OPERATORS = [...['anna', 'olga'].map(name => user(name, 'operator')), BRIDGE]
  const GROUP = '$share/g/lots/#'

  async function demote (broker: TestBroker): Promise<void> {
    const file = broker.users?.file ?? ''
    // She is the first of them; the others stay who they are.
    writeFileSync(file, readFileSync(file, 'utf8').replace('operator', 'driver'))
    expect(await broker.users?.reload()).toBe(true)
  }

  async function sendQos2 (broker: TestBroker, text: string): Promise<void> {
    const { client } = await connected(broker, 'bridge', 'bridge')
    await publishAcknowledged(client, SENSOR, text, { qos: 2 })
    client.send({ cmd: 'disconnect' })
    await client.closed()
  }

  test.each(['there', 'away'])('leaves what it has not acknowledged to one that may, but for QoS 2 on its way, while it is %s', async where => {
    const broker = await startBroker({ users: OPERATORS })
    const { client: first } = await connected(broker, 'anna', 'a', { properties: { sessionExpiryInterval: 1_000, receiveMaximum: 3 } })
    await subscribe(first, GROUP, { qos: 2 })
    await sendQos2(broker, 'one')
    for (const text of ['two', 'three', 'four', 'five']) await broker.bus.publish(SENSOR, text)
    await broker.bus.publish(PUBLIC, 'public')
    expect(textsOf(await first.flushed())).toEqual(['one', 'two', 'three'].map(text => `${SENSOR} ${text}`))
    if (where === 'away') {
      first.destroy()
      await expect.poll(() => broker.count('broker_clients')).toBe(0)
    }
    const { client: second } = await connected(broker, 'olga', 'o')
    await subscribe(second, GROUP, { qos: 2 })
    await demote(broker)
    const got = textsOf(await second.flushed())
    expect(got.filter(text => text.startsWith(SENSOR)).toSorted()).toEqual(['five', 'four', 'three', 'two'].map(text => `${SENSOR} ${text}`))
    // What both may read is not lost either.
    await expect.poll(() => broker.count('broker_clients')).toBe(1)
    const { client: again } = await connected(broker, 'anna', 'a')
    const rest = textsOf(await again.flushed())
    expect([...got, ...textsOf(second.packets), ...rest]).toContain(`${PUBLIC} public`)
    expect(rest.filter(text => text.startsWith(SENSOR))).toEqual([])
    // And it has no share in what comes.
    for (let i = 0; i < 6; i++) await broker.bus.publish(SENSOR, `later ${i}`)
    expect(textsOf(await again.flushed())).toEqual([])
  })

  test('and has received a QoS 2 message ends its handshake and sees nothing again', async () => {
    const broker = await startBroker({ users: OPERATORS })
    const { client: first } = await connected(broker, 'anna', 'a')
    await subscribe(first, GROUP, { qos: 2 })
    await sendQos2(broker, 'one')
    const message = await first.nextOf('publish')
    first.send({ cmd: 'pubrec', messageId: message.messageId ?? 0, reasonCode: 0 })
    await first.nextOf('pubrel')
    await demote(broker)
    await first.closed()
    await expect.poll(() => broker.count('broker_clients')).toBe(0)
    const { client: again } = await connected(broker, 'anna', 'a')
    expect(await again.nextOf('pubrel')).toMatchObject({ messageId: message.messageId })
    again.send({ cmd: 'pubcomp', messageId: message.messageId ?? 0, reasonCode: 0 })
    await broker.bus.publish(PUBLIC, 'public')
    await acknowledge(again, await again.nextOf('publish'))
    expect(textsOf(again.packets)).toEqual([`${PUBLIC} public`])
  })

  test('also when that was changed while the broker was down', async () => {
    const data = temporaryFolder()
    const first = await startBroker({ data, users: OPERATORS })
    for (const [name, clientId] of [['anna', 'a'], ['olga', 'o']] as const) await subscribe((await connected(first, name, clientId)).client, GROUP, { qos: 1 })
    await expect.poll(() => first.count('broker_subscriptions{kind=shared}')).toBe(2)
    for (let i = 0; i < 6; i++) await first.bus.publish(SENSOR, `${i}`)
    await first.bus.publish(SENSOR, 'end')
    const broker = await startBroker({ data: copyOfSessions(data), users: [user('anna', 'driver'), ...OPERATORS.slice(1)] })
    const { client: olga } = await connected(broker, 'olga', 'o')
    const { client: annas } = await connected(broker, 'anna', 'a')
    expect(textsOf(await annas.flushed())).toEqual([])
    expect(textsOf(await olga.flushed()).map(text => text.slice(-1)).toSorted()).toEqual(['0', '1', '2', '3', '4', '5', 'd'])
  })

  test('a publisher goes on when none of the members may read it', async () => {
    const broker = await startBroker({ users: [user('anna', 'driver'), user('olga', 'operator'), BRIDGE] })
    const { client } = await connected(broker, 'anna', 'a')
    await subscribe(client, GROUP, { qos: 1 })
    const { client: sender } = await connected(broker, 'bridge', 'b')
    for (let i = 1; i <= 20; i++) sender.send(publish(SENSOR, `${i}`, { qos: 1, messageId: i }))
    for (let i = 1; i <= 20; i++) expect((await sender.nextOf('puback')).reasonCode).toBeLessThan(0x80)
    expect(textsOf(await client.flushed())).toEqual([])
  })
})
