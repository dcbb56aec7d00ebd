// Every role publishes on every topic, with each QoS, with RETAIN and through a topic alias: what is not in the table gets
// 0x87 (MQTT 5.0) or is acknowledged, dropped and counted (3.1.1), reaches nobody and changes nothing that is retained.
import type { IPublishPacket } from 'mqtt-packet'
import { expect, test } from 'vitest'
import type { RawClient } from '../support/raw-client.js'
import { CASES, differences, expectedSender, hex, Scene, senderOf } from './scene.js'
import { isTaken, topicsFor, type TopicRow } from './table.js'

/** Ways to publish, by their names in failures. */
const WAYS = {
  'QoS 0': { qos: 0, retain: false },
  'QoS 1': { qos: 1, retain: false },
  'QoS 2': { qos: 2, retain: false },
  retained: { qos: 1, retain: true },
  'retained QoS 0': { qos: 0, retain: true }
} as const
type Way = keyof typeof WAYS

/** Publishes the same on every topic and returns how each was acknowledged; nothing for QoS 0. */
async function publish (client: RawClient, rows: readonly TopicRow[], { qos, retain }: (typeof WAYS)[Way], payload: string, alias = false): Promise<string[]> {
  const packets = rows.map(({ topic }, at): IPublishPacket => ({
    cmd: 'publish', topic, payload, qos, retain, dup: false, ...(qos > 0 && { messageId: at + 1 }), ...(alias && { properties: { topicAlias: 1 } })
  }))
  // The alias stands for the topic only in the second of two packets.
  client.send(...packets.flatMap(packet => alias ? [{ ...packet, qos: 0 as const, payload: 'sets the alias' }, { ...packet, topic: '' }] : [packet]))
  const acks = new Map<number, string>()
  while (qos > 0 && acks.size < rows.length) {
    const ack = await client.next()
    if (ack.cmd !== 'puback' && ack.cmd !== 'pubrec') throw new Error(`${ack.cmd} came instead of an acknowledgement`)
    const code = client.version === 5 ? ack.reasonCode ?? 0 : 0
    acks.set(ack.messageId ?? 0, client.version === 5 ? hex(code) : 'acknowledged')
    if (ack.cmd !== 'pubrec' || code >= 0x80) continue
    client.send({ cmd: 'pubrel', messageId: ack.messageId ?? 0 })
  }
  // The last that was said is dealt with, and the answers to PUBREL are there.
  await client.flushed()
  return rows.map((_, at) => acks.get(at + 1) ?? '')
}

test.each(CASES)('$subject publishes what the table says and nothing else, MQTT $mqtt over $transport', async ({ subject, version, transport }) => {
  const scene = await Scene.open(subject, transport)
  const { names } = scene
  const rows = topicsFor(names)
  await scene.sayEverywhere('before', { retain: true })
  const { client } = await scene.connect(version)
  const watcher = await scene.watch()

  let denied = 0
  const actual: Record<string, string> = {}
  const expected: Record<string, string> = {}
  const ways: [string, (typeof WAYS)[Way], boolean][] = Object.entries(WAYS).map(([name, how]) => [name, how, false])
  if (version === 5) ways.push(['by alias', WAYS['QoS 1'], true])
  for (const [name, how, alias] of ways) {
    const from = scene.taken.length
    const acks = await publish(client, rows, how, name, alias)
    const heard = (await watcher.heard()).filter(({ text }) => text === name).map(({ topic }) => topic)
    const delivered = scene.taken.slice(from).filter(({ payload }) => payload.toString() === name).map(({ topic }) => topic)
    for (const [at, { topic, mayPublish }] of rows.entries()) {
      const outcome = (isHeard: boolean, isDelivered: boolean, ack: string): string => `${ack} ${isHeard ? 'reaches subscribers' : ''} ${isDelivered ? 'reaches the service' : ''}`.trim() || 'reaches nobody'
      const key = `${topic} ${name}`
      actual[key] = outcome(heard.includes(topic), delivered.includes(topic), acks[at] ?? '')
      const ack = how.qos === 0 ? '' : version < 5 ? 'acknowledged' : mayPublish ? '0x00' : '0x87'
      // Requests are for the service alone.
      expected[key] = outcome(mayPublish && !/^requests\/[^/]+$/.test(topic), mayPublish && isTaken(topic), ack)
      if (!mayPublish) denied += alias ? 2 : 1
    }
    expect([heard.length, delivered.length], `nothing comes twice, ${name}`).toEqual([new Set(heard).size, new Set(delivered).size])
  }
  expect(differences(actual, expected)).toEqual([])
  expect(await scene.denied()).toBe(denied)
  for (const delivery of scene.taken) {
    expect(senderOf(delivery), delivery.topic).toEqual({ ...expectedSender(scene, scene.clientId), address: '127.0.0.1' })
  }

  // What is retained: its own in place of the one before where it may, and gone when it says so; everything else as it was.
  const kept = (own: string | null): Record<string, string> => Object.fromEntries(rows.flatMap(({ topic, mayPublish }) =>
    isTaken(topic) || (mayPublish && own === null) ? [] : [[topic, mayPublish ? own ?? '' : 'before']]))
  expect(differences(await scene.retained(), kept('retained QoS 0'))).toEqual([])
  await publish(client, rows, WAYS.retained, '')
  expect(differences(await scene.retained(), kept(null))).toEqual([])
  expect(client.isClosed).toBe(false)
})
