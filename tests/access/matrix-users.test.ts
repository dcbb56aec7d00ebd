// The users file changes while everything runs: who is removed is out with all that was kept, who has other rights comes
// back with those, and nobody else notices anything.
import { readFileSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { hashPassword } from '../../broker/password.js'
import type { RawClient } from '../support/raw-client.js'
import type { TestUser } from '../support/users-file.js'
import { heardOf, hex, Scene, VERSIONS, type ConnectOptions } from './scene.js'

/** The users as they were at first: whose entry stays as it is, hash and all, is not changed. */
const FIRST = new WeakMap<Scene, readonly Entry[]>()
type Entry = Readonly<Record<string, unknown>> & { readonly name: string }

/** Writes the file with other words about some users, null for those who are removed, and has it read. */
async function change (scene: Scene, changes: Readonly<Record<string, Omit<TestUser, 'name'> | null>>): Promise<void> {
  const { users } = scene.broker
  if (users === null) throw new Error('this broker has no users')
  const first = FIRST.get(scene) ?? (parse(readFileSync(users.file, 'utf8')) as { users: Entry[] }).users
  FIRST.set(scene, first)
  const left = await Promise.all(first.filter(({ name }) => changes[name] !== null).map(async entry => {
    const { password, ...changed } = changes[entry.name] ?? {}
    // Only devices have lots.
    const before = changed.role === undefined ? entry : { name: entry.name, password: entry['password'] }
    return { ...before, ...changed, ...(password !== undefined && { password: await hashPassword(password, 'random') }) }
  }))
  writeFileSync(users.file, stringify({ users: left }), { mode: 0o600 })
  expect(await users.reload()).toBe(true)
}

function staying (version: 4 | 5, clientId: string): ConnectOptions {
  return { clientId, clean: false, ...(version === 5 && { properties: { sessionExpiryInterval: 600 } }) }
}

async function subscribed (scene: Scene, user: string, version: 4 | 5, ...filters: string[]): Promise<RawClient> {
  const { client } = await scene.connectAs(user, version, staying(version, `of ${user}`))
  client.send({ cmd: 'subscribe', messageId: 1, subscriptions: filters.map(topic => ({ topic, qos: 1 })) })
  await client.nextOf('suback')
  return client
}

async function expectClosed (client: RawClient): Promise<void> {
  await client.closed()
  const told = client.packets.filter(({ cmd }) => cmd === 'disconnect')
  expect(told).toMatchObject(client.version === 5 ? [{ reasonCode: 0x98 }] : [])
}

/** How many sessions there are, with and without a connection. */
async function sessions (scene: Scene): Promise<number> {
  const [connected, disconnected] = await Promise.all(['connected', 'disconnected'].map(state => scene.broker.count(`broker_sessions{state=${state}}`)))
  return (connected ?? 0) + (disconnected ?? 0)
}

describe.each(VERSIONS)('MQTT version %i', version => {
  test('who is removed is sent away, and its session and queue are gone, also for a later user of that name', async () => {
    const scene = await Scene.open('driver')
    const away = await scene.connectAs('anna', version, staying(version, 'phone'))
    away.client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'replies/anna/#', qos: 1 }] })
    await away.client.nextOf('suback')
    away.client.destroy()
    await scene.untilConnected(0)
    const there = await subscribed(scene, 'anna', version, 'replies/anna/#')
    const otto = await subscribed(scene, 'otto', version, 'replies/otto/#')
    await scene.broker.bus.publish('replies/anna/1', 'old')

    await change(scene, { anna: null })
    await expectClosed(there)
    await scene.untilConnected(1)
    expect(await sessions(scene)).toBe(1)
    const { connack } = await scene.connectAs('anna', version)
    expect(version === 5 ? connack.reasonCode : connack.returnCode).toBe(version === 5 ? 0x86 : 4)
    await scene.broker.bus.publish('replies/anna/1', 'meanwhile')

    await change(scene, {})
    for (const clientId of ['phone', 'of anna']) {
      const again = await scene.connectAs('anna', version, staying(version, clientId))
      expect(again.connack.sessionPresent, clientId).toBe(false)
      expect(await again.client.flushed()).toEqual([])
    }
    await scene.broker.bus.publish('replies/otto/1', 'still here')
    expect(heardOf(await otto.flushed())).toEqual([{ topic: 'replies/otto/1', text: 'still here' }])
  })

  test.each(['away', 'there'])('who is %s and has fewer rights gets nothing that waits from before, and only what it may read now', async where => {
    const scene = await Scene.open('operator')
    const operator = await subscribed(scene, 'olga', version, '#', '$SYS/#')
    const otto = await subscribed(scene, 'otto', version, 'replies/otto/#')
    if (where === 'away') {
      operator.destroy()
      await scene.untilConnected(1)
    }
    // More than fit into the window, unacknowledged: on their way, and behind them.
    for (let round = 0; round < 3; round++) await scene.sayEverywhere(`before ${round}`)
    if (where === 'there') await operator.nextOf('publish')
    await change(scene, { olga: { role: 'display' } })
    if (where === 'there') await expectClosed(operator)
    await scene.untilConnected(1)
    await scene.sayEverywhere('after')

    const { client, connack } = await scene.connectAs('olga', version, staying(version, 'of olga'))
    expect(connack.sessionPresent).toBe(true)
    const heard = new Set<string>()
    for (let packets = await client.flushed(); packets.length > 0; packets = await client.flushed()) {
      for (const packet of packets) if (packet.cmd === 'publish') client.send({ cmd: 'puback', messageId: packet.messageId ?? 0 })
      for (const { topic } of heardOf(packets)) heard.add(topic)
    }
    expect([...heard].toSorted()).toEqual(['cluster/nodes', 'lots/LOT-A/bays/A-001', 'lots/LOT-A/events', 'lots/LOT-A/free', 'lots/LOT-A/state', 'services/camera/n1/status', 'services/occupancy/n1/status'])
    client.send({ cmd: 'subscribe', messageId: 2, subscriptions: [{ topic: '$SYS/#', qos: 0 }] }, { cmd: 'publish', topic: 'requests/reserve', payload: '', qos: 1, messageId: 3, dup: false, retain: false })
    expect(await client.nextOf('suback')).toMatchObject({ granted: [version === 5 ? 0x87 : 0x80] })
    await client.nextOf('puback')
    expect(scene.taken).toEqual([])
    expect(otto.isClosed).toBe(false)
    expect(heardOf(await otto.flushed()).map(({ text }) => text)).toContain('after')
  })

  test('who has more rights has them when it comes back, and one with another password keeps its session', async () => {
    const scene = await Scene.open('display')
    const board = await subscribed(scene, 'board', version, '#')
    const anna = await subscribed(scene, 'anna', version, 'replies/anna/#')
    await change(scene, { board: { role: 'operator' }, anna: { password: 'another' } })
    await Promise.all([board, anna].map(expectClosed))
    await scene.broker.bus.publish('lots/LOT-A/sensor', '1')
    await scene.broker.bus.publish('replies/anna/1', 'waits')
    const again = await scene.connectAs('board', version, staying(version, 'of board'))
    expect(heardOf(await again.client.flushed())).toEqual([{ topic: 'lots/LOT-A/sensor', text: '1' }])
    const stale = await scene.connectAs('anna', version, staying(version, 'of anna'))
    expect(version === 5 ? stale.connack.reasonCode : stale.connack.returnCode).toBe(version === 5 ? 0x86 : 4)
    const { client } = await scene.connectAs('anna', version, { ...staying(version, 'of anna'), password: Buffer.from('another') })
    expect(heardOf(await client.flushed())).toEqual([{ topic: 'replies/anna/1', text: 'waits' }])
  })

  test.each([
    ['the lots of its user are others now', { gate: { lots: ['LOT-B'] } }, false],
    ['its user has another role now', { gate: { role: 'display' } }, false],
    ['its user is removed', { gate: null }, false],
    ['its user has another password but the same rights', { gate: { password: 'another' } }, true]
  ] as const)('a will is published only if its user may still do that: %s', async (_, changes, isPublished) => {
    const scene = await Scene.open('device')
    const watcher = await scene.watch()
    const will = { topic: 'lots/LOT-A/sensor', payload: Buffer.from('-1'), qos: 1, retain: false } as const
    const there = await scene.connectAs('gate', version, { clientId: 'there', will })
    // One whose will waits for its delay, where the version has one.
    const waiting = await scene.connectAs('gate', version, { ...staying(version, 'waiting'), will: { ...will, properties: { willDelayInterval: 600 } } })
    if (version === 5) waiting.client.destroy()
    await scene.untilConnected(version === 5 ? 2 : 3)
    await change(scene, changes)
    await expectClosed(there.client)
    if (version < 5) await expectClosed(waiting.client)
    await scene.untilConnected(1)
    if (version === 5) {
      // Back in the name of the user, whoever that is now, with a new session: the old one ends, and its will is due.
      const name = 'gate' in changes && changes.gate === null ? null : 'gate'
      const password = name !== null && changes.gate !== null && 'password' in changes.gate ? changes.gate.password : 'gate'
      const { connack } = await scene.connectAs(name, version, { clientId: 'waiting', clean: true, ...(name !== null && { password: Buffer.from(password) }) })
      expect(hex(connack.reasonCode ?? 0)).toBe('0x00')
    }
    const heard = await watcher.heard()
    expect(heard.map(({ text }) => text)).toEqual(isPublished ? ['-1', '-1'] : [])
    expect(scene.taken.map(({ user, role }) => ({ user, role }))).toEqual(isPublished ? [{ user: 'gate', role: 'device' }, { user: 'gate', role: 'device' }] : [])
    expect(await scene.denied()).toBe(isPublished ? 0 : 2)
  })
})
