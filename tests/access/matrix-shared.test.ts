// One shared subscription with members of every role: each message goes to one of those who may read it, and to nobody
// when none of them may.
import type { ISubscribePacket } from 'mqtt-packet'
import { expect, test } from 'vitest'
import { heardOf, OTHER, Scene, USERS, VERSIONS } from './scene.js'
import { topicsFor, type Subject } from './table.js'

/** The members by their user names; otto has topics of its own. */
const MEMBERS: readonly [string, Subject][] = [['board', 'display'], ['anna', 'driver'], ['olga', 'operator'], ['bridge', 'service']]

test.each(VERSIONS)('each message goes to one member that may read it, MQTT version %i', async version => {
  const scene = await Scene.open('driver')
  const group = await Promise.all(MEMBERS.map(async ([name, subject]) => {
    const { client } = await scene.connectAs(name, version, { clientId: `of ${name}` })
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '$share/all/#', qos: 0 }] })
    expect(await client.nextOf('suback')).toMatchObject({ granted: [0] })
    // To all but herself anna is another user as otto is.
    return { client, rows: [OTHER, scene.names.me].filter(other => other !== name).flatMap(other => topicsFor({ subject, me: name, other })) }
  }))
  // As many rounds as it takes for everybody's turn to come at every topic.
  const rounds = 2 * MEMBERS.length
  const topics = topicsFor(scene.names).map(({ topic }) => topic).filter(topic => !topic.startsWith('$'))
  for (const topic of topics) for (let round = 0; round < rounds; round++) await scene.broker.bus.publish(topic, 'shared')
  const got = await Promise.all(group.map(async ({ client }) => heardOf(await client.flushed()).map(({ topic }) => topic)))
  for (const topic of topics) {
    const readers = group.map(({ rows }) => rows.some(row => row.topic === topic && row.mayRead))
    const counts = got.map(heard => heard.filter(one => one === topic).length)
    expect(counts.map(count => count > 0), `${topic} goes to ${MEMBERS.map(([name]) => name).join(', ')}: ${counts.join(', ')}`).toEqual(readers)
    expect(counts.reduce((sum, count) => sum + count, 0), topic).toBe(readers.includes(true) ? rounds : 0)
  }
})

test('a member that may read nothing has no part in it, and one that goes away leaves its share to those who may read it', async () => {
  const scene = await Scene.open('driver')
  const staying = { properties: { sessionExpiryInterval: 600 } }
  const filters: ISubscribePacket = { cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '$share/all/+/+/+', qos: 1 }] }
  const device = await scene.connectAs('gate', 5, staying)
  device.client.send(filters)
  expect(await device.client.nextOf('suback')).toMatchObject({ granted: [0x87] })
  const [service, display] = await Promise.all(['bridge', 'board'].map(async name => {
    const { client } = await scene.connectAs(name, 5, { clientId: `of ${name}`, ...staying })
    client.send(filters)
    await client.nextOf('suback')
    return client
  }))
  // The service takes the message and does not acknowledge it: it is due to another member, which may not read it.
  await scene.broker.bus.publish(`replies/${OTHER}/1`, 'secret')
  expect(await service?.nextOf('publish')).toMatchObject({ topic: `replies/${OTHER}/1` })
  service?.destroy()
  await scene.untilConnected(2)
  await scene.broker.bus.publish('lots/LOT-A/free', '1')
  expect(heardOf(await display?.flushed() ?? [])).toEqual([{ topic: 'lots/LOT-A/free', text: '1' }])
})

test('the users of a scene have a role each', () => {
  expect(new Set(USERS.map(({ role }) => role))).toEqual(new Set(['display', 'driver', 'device', 'operator', 'service']))
})
