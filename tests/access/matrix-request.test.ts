// Every role makes requests: a service is told who asks by the broker, whatever the client writes about itself, and a
// reply goes only where the asker may have it.
import { describe, expect, test } from 'vitest'
import { mayCall, ROLES } from '../../shared/access.js'
import { BROKER_REQUESTS, REQUESTS } from '../../shared/schemas.js'
import type { RawClient } from '../support/raw-client.js'
import { CASES, differences, expectedSender, hex, OTHER, Scene, senderOf } from './scene.js'
import { DRIVERS_METHODS, responseTopicsFor, topicsFor } from './table.js'

/** What a client might claim to be, in every place where it can say something. */
const CLAIMS = { user: 'olga', role: 'operator', replyBase: `replies/${OTHER}/`, clientId: 'olga', address: '10.0.0.1' }

/** Asks once for each Response Topic and returns how it was acknowledged. */
async function ask (client: RawClient, method: string, responseTopics: readonly string[]): Promise<string[]> {
  const acks: string[] = []
  for (const [at, responseTopic] of responseTopics.entries()) {
    const correlation = `c-${at}`
    client.send({
      cmd: 'publish', topic: `requests/${method}`, qos: 1, messageId: at + 1, dup: false, retain: false,
      payload: JSON.stringify(client.version === 5 ? CLAIMS : { ...CLAIMS, replyTo: responseTopic, correlation }),
      ...(client.version === 5 && { properties: { responseTopic, correlationData: Buffer.from(correlation), userProperties: CLAIMS } })
    })
    const { reasonCode } = await client.nextOf('puback')
    acks.push(client.version === 5 ? hex(reasonCode ?? 0) : 'acknowledged')
  }
  return acks
}

test.each(CASES)('the service is told that $subject asks and nothing that it claims, MQTT $mqtt over $transport', async ({ subject, version, transport }) => {
  const scene = await Scene.open(subject, transport)
  const { client } = await scene.connect(version)
  const { mayPublish } = topicsFor(scene.names).find(({ topic }) => topic === 'requests/reserve') ?? { mayPublish: false }
  const [ack] = await ask(client, 'reserve', [`replies/${OTHER}/1`])
  expect(ack).toBe(version < 5 ? 'acknowledged' : mayPublish ? '0x00' : '0x87')
  const told = scene.taken.map(senderOf)
  expect(told).toEqual(mayPublish ? [{ ...expectedSender(scene, scene.clientId), address: '127.0.0.1' }] : [])
})

// The broker answers `clients` itself, in the way in which every service reads requests.
test.each(CASES)('replies to $subject go where the table says and nowhere else, MQTT $mqtt over $transport', async ({ subject, version, transport }) => {
  const scene = await Scene.open(subject, transport)
  const rows = responseTopicsFor(scene.names)
  const mayAsk = topicsFor(scene.names).some(({ topic, mayPublish }) => topic === 'requests/reserve' && mayPublish)
  const { client } = await scene.connect(version)
  const watcher = await scene.watch()
  const acks = await ask(client, 'clients', rows.map(({ topic }) => topic))
  const heard = await watcher.heard()
  const code = subject === 'driver' ? 'not_allowed' : 'ok'
  const actual: Record<string, string> = {}
  const expected: Record<string, string> = {}
  for (const [at, { topic, isAllowed }] of rows.entries()) {
    const replies = heard.filter(message => message.topic === topic).map(({ text }) => {
      const reply = JSON.parse(text) as { ok: boolean, error?: { code: string } }
      return reply.ok ? 'ok' : reply.error?.code
    })
    actual[topic] = `${acks[at]} ${replies.join(' ')}`
    const ack = version < 5 ? 'acknowledged' : mayAsk && isAllowed && code === 'ok' ? '0x00' : null
    expected[topic] = `${ack ?? (mayAsk ? acks[at] : '0x87')} ${mayAsk && isAllowed ? code : ''}`
    if (version === 5 && ack === null) expect(parseInt(acks[at] ?? '', 16), `${topic} is refused`).toBeGreaterThanOrEqual(0x80)
  }
  expect(differences(actual, expected)).toEqual([])
  expect(heard.filter(({ topic }) => !rows.some(row => row.topic === topic))).toEqual([])
})

describe('methods', () => {
  const methods = [...Object.keys(REQUESTS), ...Object.keys(BROKER_REQUESTS)]

  test.each([...ROLES, 'local'] as const)('those of the table are for %s', role => {
    const own: readonly string[] = role === 'driver' ? DRIVERS_METHODS : role === 'display' || role === 'device' ? [] : methods
    expect(methods.filter(method => mayCall(role, method)).toSorted()).toEqual(own.toSorted())
  })
})
