// Every role leaves a will on every topic: what is not in the table is refused at CONNECT (MQTT 5.0: 0x87) or let in
// without it and counted (3.1.1). A will that is allowed is published as if its client did, stamped with its user.
import { expect, test } from 'vitest'
import { CASES, differences, expectedSender, hex, Scene, senderOf } from './scene.js'
import { isTaken, topicsFor } from './table.js'

test.each(CASES)('$subject leaves wills where the table says and nowhere else, MQTT $mqtt over $transport', async ({ subject, version, transport }) => {
  const scene = await Scene.open(subject, transport)
  const { names } = scene
  const rows = topicsFor(names)
  await scene.sayEverywhere('before', { retain: true })
  const watcher = await scene.watch()

  const openings = await Promise.all(rows.map(async ({ topic }, at) => await scene.connect(version, {
    clientId: `teller-${at}`,
    will: { topic, payload: Buffer.from('will'), qos: 1, retain: true }
  })))
  for (const { client } of openings) client.destroy()
  await scene.untilConnected(1)
  const heard = (await watcher.heard()).map(({ topic }) => topic)
  const delivered = scene.taken

  const actual: Record<string, string> = {}
  const expected: Record<string, string> = {}
  const told = (code: number, isHeard: boolean, isDelivered: boolean): string => `${hex(code)}${isHeard ? ', reaches subscribers' : ''}${isDelivered ? ', reaches the service' : ''}`
  for (const [at, { topic, mayPublish }] of rows.entries()) {
    const connack = openings[at]?.connack
    const deliveries = delivered.filter(delivery => delivery.topic === topic)
    actual[topic] = told(connack?.reasonCode ?? connack?.returnCode ?? -1, heard.includes(topic), deliveries.length === 1)
    expected[topic] = told(mayPublish || version < 5 ? 0 : 0x87, mayPublish && !/^requests\/[^/]+$/.test(topic), mayPublish && isTaken(topic))
    // A will has no address any more; the rest is what the broker knew of its client.
    for (const delivery of deliveries) {
      expect({ ...senderOf(delivery), retain: delivery.retain, text: delivery.payload.toString() }, topic).toEqual({ ...expectedSender(scene, `teller-${at}`), retain: false, text: 'will' })
    }
  }
  expect(differences(actual, expected)).toEqual([])
  expect(heard.toSorted()).toEqual([...new Set(heard)].toSorted())
  // Once each: a will that was not taken is not tried again when its client is gone.
  expect(await scene.denied()).toBe(rows.filter(({ mayPublish }) => !mayPublish).length)
  const kept = Object.fromEntries(rows.filter(({ topic }) => !isTaken(topic)).map(({ topic, mayPublish }) => [topic, mayPublish ? 'will' : 'before']))
  expect(differences(await scene.retained(), kept)).toEqual([])
})

test.each(CASES.filter(({ transport }) => transport === 'tcp'))('$subject that says goodbye leaves no will, MQTT $mqtt', async ({ subject, version }) => {
  const scene = await Scene.open(subject)
  const watcher = await scene.watch()
  const openings = await Promise.all(topicsFor(scene.names).filter(({ mayPublish }) => mayPublish).map(async ({ topic }, at) => await scene.connect(version, {
    clientId: `teller-${at}`,
    will: { topic, payload: Buffer.from('will'), qos: 1, retain: true }
  })))
  for (const { client } of openings) {
    client.send({ cmd: 'disconnect' })
    await client.closed()
  }
  await scene.untilConnected(1)
  expect(await watcher.heard()).toEqual([])
  expect(scene.taken).toEqual([])
})
