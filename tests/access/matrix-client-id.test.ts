// A client id is the user's whose session it is: nobody else can come in with it, end the session, close its connection
// or read what waits in it, not even when both come at the same time.
import { describe, expect, test } from 'vitest'
import type { RawClient } from '../support/raw-client.js'
import { heardOf, Scene, VERSIONS, type ConnectOptions } from './scene.js'

const REPLIES = 'replies/anna/1'
/** Every other user, and nobody. */
const OTHERS = ['otto', 'board', 'gate', 'olga', 'bridge', null] as const

function staying (version: 4 | 5): ConnectOptions {
  return { clientId: 'phone', clean: false, ...(version === 5 && { properties: { sessionExpiryInterval: 600 } }) }
}

async function subscribed (scene: Scene, version: 4 | 5): Promise<RawClient> {
  const { client } = await scene.connectAs('anna', version, staying(version))
  client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'replies/anna/#', qos: 1 }] })
  await client.nextOf('suback')
  return client
}

describe.each(VERSIONS)('MQTT version %i', version => {
  test.each(OTHERS)('%s does not get in with the client id of a user who is there', async other => {
    const scene = await Scene.open('driver')
    const anna = await subscribed(scene, version)
    for (const clean of [true, false]) {
      const { client, connack } = await scene.connectAs(other, version, { ...staying(version), clean })
      expect(version === 5 ? connack.reasonCode : connack.returnCode).toBe(version === 5 ? 0x85 : 2)
      await client.closed()
    }
    await scene.broker.bus.publish(REPLIES, 'for anna')
    expect(heardOf(await anna.flushed())).toEqual([{ topic: REPLIES, text: 'for anna' }])
    expect(await scene.denied()).toBe(2)
  })

  test.each(OTHERS)('%s does not get at the session of a user who is away', async other => {
    const scene = await Scene.open('driver')
    const before = await subscribed(scene, version)
    before.destroy()
    await scene.untilConnected(0)
    await scene.broker.bus.publish(REPLIES, 'before')
    for (const clean of [true, false]) {
      const { client, connack } = await scene.connectAs(other, version, { ...staying(version), clean })
      expect(version === 5 ? connack.reasonCode : connack.returnCode).toBe(version === 5 ? 0x85 : 2)
      await client.closed()
    }
    await scene.broker.bus.publish(REPLIES, 'after')
    const { client, connack } = await scene.connectAs('anna', version, staying(version))
    expect(connack.sessionPresent).toBe(true)
    expect(heardOf(await client.flushed()).map(({ text }) => text)).toEqual(['before', 'after'])
  })

  test.each(OTHERS)('%s cannot come in with the name of another user as its client id, who still can', async other => {
    const scene = await Scene.open('driver')
    const { connack } = await scene.connectAs(other, version, { ...staying(version), clientId: 'anna' })
    expect(version === 5 ? connack.reasonCode : connack.returnCode).toBe(version === 5 ? 0x85 : 2)
    const { connack: own } = await scene.connectAs('anna', version, { ...staying(version), clientId: 'anna' })
    expect(version === 5 ? own.reasonCode : own.returnCode).toBe(0)
  })

  test('a session that nobody in particular left makes room for a user, who gets nothing of it', async () => {
    const scene = await Scene.open('driver')
    const { client } = await scene.connectAs(null, version, staying(version))
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'lots/+/events', qos: 1 }] })
    expect(await client.nextOf('suback')).toMatchObject({ granted: [1] })
    client.destroy()
    await scene.untilConnected(0)
    await scene.broker.bus.publish('lots/LOT-A/events', 'before')
    const anna = await scene.connectAs('anna', version, staying(version))
    expect(anna.connack.sessionPresent).toBe(false)
    await scene.broker.bus.publish('lots/LOT-A/events', 'after')
    expect(await anna.client.flushed()).toEqual([])
  })

  test('the will of a client that is refused because of its id is not published', async () => {
    const scene = await Scene.open('driver')
    await subscribed(scene, version)
    const watcher = await scene.watch()
    const { client } = await scene.connectAs('bridge', version, { ...staying(version), will: { topic: REPLIES, payload: Buffer.from('forged'), qos: 1, retain: true } })
    await client.closed()
    expect(await watcher.heard()).toEqual([])
  })

  test.each([
    ['that nobody has', false],
    // Nobody's session is everybody's to take over.
    ['that nobody in particular has', true]
  ])('of two users who come at the same time with a client id %s one gets in and stays', async (_, isTaken) => {
    const scene = await Scene.open('driver')
    // Their log-ins are known from then on, so that both are checked in no time.
    for (const user of ['anna', 'otto']) await scene.connectAs(user, version, { clientId: `first of ${user}` })
    for (let round = 0; round < 10; round++) {
      const clientId = `kiosk-${round}`
      const options = round % 2 === 0 ? { ...staying(version), clientId } : { clientId }
      const nobody = isTaken ? await scene.connectAs(null, version, { clientId }) : null
      const reached = await Promise.all([scene.reach(version), scene.reach(version)])
      const openings = await Promise.all(reached.map(async (client, at) => await scene.connectTo(client, ['anna', 'otto'][at] ?? null, options)))
      await nobody?.client.closed()
      const codes = openings.map(({ connack }) => version === 5 ? connack.reasonCode : connack.returnCode)
      expect(codes.toSorted()).toEqual([0, version === 5 ? 0x85 : 2])
      const winner = openings[codes.indexOf(0)]?.client
      expect(await winner?.flushed()).toEqual([])
      winner?.destroy()
      await scene.untilConnected(2)
    }
  })
})
