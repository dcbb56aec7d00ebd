// Every role subscribes to every topic and to wildcards over them, shared and not: what can bring nothing is refused, and
// what is granted brings exactly what the role may read, live, retained, and after the session was away.
import { expect, test } from 'vitest'
import type { RawClient } from '../support/raw-client.js'
import { CASES, differences, heardOf, hex, Scene, type Heard } from './scene.js'
import { filtersFor, isMatch, isTaken, topicsFor } from './table.js'

/** Subscribes and tells what SUBACK says, in the words of the table. */
async function subscribe (client: RawClient, filters: readonly string[], qos: 0 | 1): Promise<string[]> {
  client.send({ cmd: 'subscribe', messageId: 1, subscriptions: filters.map(topic => ({ topic, qos })) })
  const { granted } = await client.nextOf('suback')
  return granted.map(code => code === qos ? 'granted' : hex(code as number))
}

/** The topics in their order, in one text; those that come twice stand twice. */
function listed (topics: readonly string[]): string {
  return topics.toSorted().join(' ') || 'nothing'
}

test.each(CASES)('$subject subscribes to what the table says and gets nothing else, MQTT $mqtt over $transport', async ({ subject, version, transport }) => {
  const scene = await Scene.open(subject, transport)
  const { names } = scene
  const readable = topicsFor(names).filter(({ mayRead }) => mayRead).map(({ topic }) => topic)
  await scene.sayEverywhere('retained', { retain: true })
  const { client } = await scene.connect(version)

  const actual: Record<string, string> = {}
  const expected: Record<string, string> = {}
  const told = (codes: readonly string[], retained: readonly string[], live: readonly string[]): string =>
    `${codes.join(', ')}; retained: ${listed(retained)}; live: ${listed(live)}`
  for (const { filter, isGranted } of filtersFor(names)) {
    // Side by side: each brings every live message, only the plain one retained messages. (MQTT 5.0 section 4.8.2)
    const both = [filter, `$share/g/${filter}`]
    const codes = await subscribe(client, both, 0)
    const retained = heardOf(await client.flushed())
    let live: Heard[] = []
    // What refused ones bring nevertheless would come with the next.
    if (codes.includes('granted')) {
      await scene.sayEverywhere('live')
      live = heardOf(await client.flushed())
      client.send({ cmd: 'unsubscribe', messageId: 1, unsubscriptions: both })
      await client.nextOf('unsuback')
    }
    const fitting = isGranted ? readable.filter(topic => isMatch(filter, topic)) : []
    const code = isGranted ? 'granted' : version === 5 ? '0x87' : '0x80'
    actual[filter] = told(codes, retained.map(({ topic, text }) => text === 'retained' ? topic : text), live.map(({ topic, text }) => text === 'live' ? topic : text))
    expected[filter] = told([code, code], fitting.filter(topic => !isTaken(topic)), [...fitting, ...fitting])
  }
  expect(differences(actual, expected)).toEqual([])
  // The plain one and the shared one.
  expect(await scene.denied()).toBe(2 * filtersFor(names).filter(({ isGranted }) => !isGranted).length)
  await scene.sayEverywhere('after the last')
  expect(heardOf(await client.flushed())).toEqual([])
})

test.each(CASES)('$subject finds in its session only what it may read, MQTT $mqtt over $transport', async ({ subject, version, transport }) => {
  const scene = await Scene.open(subject, transport)
  const { names } = scene
  const rows = topicsFor(names)
  const readable = rows.filter(({ mayRead }) => mayRead).map(({ topic }) => topic)
  const staying = { clean: false, ...(version === 5 && { properties: { sessionExpiryInterval: 600 } }) }
  const asked = {
    plain: filtersFor(names).map(({ filter }) => filter),
    shared: ['$share/g/#', '$share/g/$SYS/#']
  }
  for (const [clientId, filters] of Object.entries(asked)) {
    const { client } = await scene.connect(version, { clientId, ...staying })
    await subscribe(client, filters, 1)
    client.destroy()
  }
  await scene.untilConnected(0)
  await scene.sayEverywhere('while away')
  for (const clientId of Object.keys(asked)) {
    const { client, connack } = await scene.connect(version, { clientId, ...staying })
    expect(connack.sessionPresent).toBe(true)
    const heard: Heard[] = []
    for (let packets = await client.flushed(); packets.length > 0; packets = await client.flushed()) {
      heard.push(...heardOf(packets))
      for (const packet of packets) if (packet.cmd === 'publish') client.send({ cmd: 'puback', messageId: packet.messageId ?? 0 })
    }
    expect(listed(heard.map(({ topic }) => topic)), clientId).toBe(listed(readable))
  }
})
