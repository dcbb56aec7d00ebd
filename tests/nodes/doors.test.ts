// A node that has lost its database sends its clients away and lets none in until it has caught up; and every node tells where all of
// them are.
import type { IConnackPacket, IDisconnectPacket, MqttClient } from 'mqtt'
import { describe, expect, onTestFinished, test } from 'vitest'
import { connectMqtt } from '../../shared/mqtt-client.js'
import { connectTestClient, json, type TestApp, type TestClient } from '../support/app.js'
import { DatabaseProxy } from '../support/database-proxy.js'
import { ABSENT, serverOfFile, SKIPPED, startNode, startNodes } from './support.js'

const USE_ANOTHER_SERVER = 0x9c
const SERVER_UNAVAILABLE = 3

/** When it is told to go, and how. */
async function sentAway (client: MqttClient): Promise<{ reasonCode: number | undefined, atMs: number }> {
  let reasonCode: number | undefined
  client.on('disconnect', (packet: IDisconnectPacket) => { reasonCode = packet.reasonCode })
  await new Promise<void>(resolve => client.once('close', () => resolve()))
  return { reasonCode, atMs: performance.now() }
}

/** The code of the CONNACK that a client gets; 0 when it is let in. */
async function connackOf (url: string, version: 4 | 5): Promise<number> {
  let code = -1
  const prepare = (client: MqttClient): void => {
    client.on('packetreceive', packet => { if (packet.cmd === 'connack') code = codeOf(packet) })
  }
  await connectMqtt(url, { version, prepare }).then(async client => await client.endAsync(true), () => {})
  return code
}

function codeOf ({ reasonCode, returnCode }: IConnackPacket): number {
  return reasonCode ?? returnCode ?? -1
}

/** Resolves when it is let in; until then it is refused with nothing else than these. */
async function letIn (url: string): Promise<TestClient> {
  for (;;) {
    const code = await connackOf(url, 5)
    if (code === 0) return await connectTestClient(url)
    expect(code).toBe(USE_ANOTHER_SERVER)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

async function urlsIn (client: TestClient, fits: (nodes: string[]) => boolean): Promise<Record<string, string[]>> {
  const list = (text: string): { node: string, urls: string[] }[] => JSON.parse(text) as { node: string, urls: string[] }[]
  const text = await client.last('cluster/nodes', text => fits(list(text).map(({ node }) => node)))
  return Object.fromEntries(list(text).map(({ node, urls }) => [node, urls]))
}

describe.skipIf(ABSENT !== null)(`the doors of a node${SKIPPED}`, () => {
  const server = serverOfFile()

  test.each(['killed', 'stopped'] as const)('the database is %s for a while: clients are sent away after 2 s, and come back to topics that are right', { timeout: 60_000 }, async how => {
    const database = await server().database()
    const node = await startNode(database, 'north', { lots: [{ lot: 'A', capacity: 50 }] })
    const v5 = await node.connect()
    const v311 = await node.connect({ version: 4 })
    const goes = [sentAway(v5.mqtt), sentAway(v311.mqtt)]
    const atMs = performance.now()
    if (how === 'killed') {
      await server().kill()
    } else {
      server().freeze()
      onTestFinished(() => server().goOn())
    }
    const [told, closed] = await Promise.all(goes)
    const afterMs = [told, closed].map(one => Math.round((one?.atMs ?? 0) - atMs))
    process.stdout.write(`the database ${how}: clients were sent away after ${afterMs.join(' and ')} ms\n`)
    expect(told?.reasonCode).toBe(USE_ANOTHER_SERVER)
    for (const ms of afterMs) {
      expect(ms).toBeGreaterThan(1_900)
      expect(ms).toBeLessThan(3_500)
    }
    expect(await connackOf(node.url, 5)).toBe(USE_ANOTHER_SERVER)
    expect(await connackOf(node.url, 4)).toBe(SERVER_UNAVAILABLE)

    if (how === 'killed') await server().start()
    else server().goOn()
    const back = await letIn(node.url)
    await back.publish('lots/A/sensor', '1')
    await (await back.subscribe('lots/A/free')).last('lots/A/free', '49')
  })

  test('a node that comes back lets nobody in before its topics show what the others did meanwhile', { timeout: 60_000 }, async () => {
    const database = await server().database()
    const proxy = await DatabaseProxy.start(database)
    const lots = Array.from({ length: 2_000 }, (_, n) => ({ lot: `L${n}`, capacity: 50 }))
    const north = await startNode(proxy.url, 'north', { lots })
    const south = await startNode(database, 'south', { lots })
    const client = await north.connect()
    const gone = sentAway(client.mqtt)
    proxy.isDown = true
    proxy.drop()
    await gone
    const gate = await south.connect()
    await Promise.all(lots.map(async ({ lot }) => await gate.publish(`lots/${lot}/sensor`, '1')))
    proxy.isDown = false
    const back = await letIn(north.url)
    await back.subscribe('lots/+/free')
    await back.until('every lot', () => back.received.length >= lots.length)
    // The first word of each lot, as a client hears it that was just let in.
    const first = new Map([...back.received].reverse().map(({ topic, text }) => [topic, text]))
    expect(new Set(first.values())).toEqual(new Set(['49']))
  })

  test('a short absence sends nobody away', { timeout: 30_000 }, async () => {
    const database = await server().database()
    const proxy = await DatabaseProxy.start(database)
    const node = await startNode(proxy.url, 'north')
    const client = await node.connect()
    let closes = 0
    client.mqtt.on('close', () => closes++)
    for (let n = 0; n < 3; n++) {
      proxy.isDown = true
      proxy.drop()
      await new Promise(resolve => setTimeout(resolve, 1_000))
      proxy.isDown = false
      // It has asked and got its answer.
      await client.publish('lots/LOT-A/sensor', '1')
      await new Promise(resolve => setTimeout(resolve, 600))
    }
    expect(closes).toBe(0)
  })

  test('cluster/nodes of every node lists those that take clients, and who dies or loses the database is soon gone from it', { timeout: 60_000 }, async () => {
    const database = await server().database()
    const proxy = await DatabaseProxy.start(database)
    const [north, south] = await startNodes(database, ['north', 'south']) as [TestApp, TestApp]
    const east = await startNode(proxy.url, 'east', { advertise: 'mqtt://east.example:1883, wss://east.example/mqtt' })
    const watchers = await Promise.all([north, south, east].map(async node => await (await node.connect()).subscribe('cluster/nodes')))
    const urlsOf = (node: TestApp): string[] => [node.url, `ws://127.0.0.1:${node.app.wsPort}`]
    for (const watcher of watchers) {
      expect(await urlsIn(watcher, nodes => nodes.length === 3)).toEqual({ north: urlsOf(north), south: urlsOf(south), east: ['mqtt://east.example:1883', 'wss://east.example/mqtt'] })
    }
    const [atNorth] = watchers as [TestClient]
    const forged = await north.connect()
    await forged.publish('cluster/nodes', '[]').then(() => { throw new Error('it was taken') }, (error: unknown) => expect(error).toMatchObject({ code: 0x87 }))

    const stoppedMs = performance.now()
    await south.app.stop()
    // It says so itself: the others need not find out by its silence.
    expect(await server().query(database, 'select urls from nodes where node = \'south\'')).toEqual([{ urls: null }])
    await urlsIn(atNorth, nodes => nodes.join() === 'east,north')
    const lostMs = performance.now()
    proxy.isDown = true
    proxy.drop()
    await urlsIn(atNorth, nodes => nodes.join() === 'north')
    const afterMs = performance.now() - lostMs
    process.stdout.write(`a node that stopped was off the list after ${Math.round(lostMs - stoppedMs)} ms, one that was cut off after ${Math.round(afterMs)} ms\n`)
    expect(afterMs).toBeLessThan(7_000)
    proxy.isDown = false
    await urlsIn(atNorth, nodes => nodes.join() === 'east,north')
  })
})

test('a node with its ledger in a file has no list of nodes', async () => {
  const { startTestApp } = await import('../support/app.js')
  const client = await (await startTestApp()).connect()
  await client.subscribe('#')
  await client.last('lots/LOT-D/state', text => json(text).lot === 'LOT-D')
  expect(client.received.filter(({ topic }) => topic.startsWith('cluster/'))).toEqual([])
})
