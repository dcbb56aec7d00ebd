// Guarantee 8: wrong input gets a clear error to whoever can receive one, is counted, and changes nothing.
import { Writable } from 'node:stream'
import { pino } from 'pino'
import type { ErrorWithReasonCode, IPublishPacket } from 'mqtt'
import { describe, expect, onTestFinished, test } from 'vitest'
import { startApp } from '../../cli/app.js'
import { Config } from '../../shared/config.js'
import { connectTestClient, json, startTestApp, testFolder, type TestClient } from '../support/app.js'

/** Publishes and gives the reason code and text of the PUBACK; 0 when it was taken. */
async function reasonOf (client: TestClient, topic: string, payload: string | Buffer, properties?: IPublishPacket['properties']): Promise<number> {
  try {
    const ack = await client.mqtt.publishAsync(topic, payload, { qos: 1, ...(properties && { properties }) })
    return (ack as { reasonCode?: number } | undefined)?.reasonCode ?? 0
  } catch (error) {
    return (error as ErrorWithReasonCode).code
  }
}

const PAYLOAD_FORMAT_INVALID = 0x99
const IMPLEMENTATION_SPECIFIC = 0x83
const TOPIC_NAME_INVALID = 0x90
const QUOTA_EXCEEDED = 0x97
const id = { sensor: 'g', epoch: 1, seq: 1 }

describe('a sensor message', () => {
  test.each<[string, string, string | Buffer, number[]]>([
    ['that is no JSON', 'lots/LOT-A/sensor', '{"delta":', [PAYLOAD_FORMAT_INVALID]],
    ['that is empty', 'lots/LOT-A/sensor', '', [PAYLOAD_FORMAT_INVALID]],
    ['that is no whole number', 'lots/LOT-A/sensor', '1.5', [PAYLOAD_FORMAT_INVALID]],
    ['that is a huge number', 'lots/LOT-A/sensor', '1e300', [PAYLOAD_FORMAT_INVALID]],
    ['that is a number of many digits', 'lots/LOT-A/sensor', '9'.repeat(400), [PAYLOAD_FORMAT_INVALID]],
    ['that is a list', 'lots/LOT-A/sensor', '[1]', [PAYLOAD_FORMAT_INVALID]],
    ['of no form', 'lots/LOT-A/sensor', JSON.stringify(id), [PAYLOAD_FORMAT_INVALID]],
    ['of two forms', 'lots/LOT-A/sensor', JSON.stringify({ ...id, delta: 1, occupied: 2 }), [PAYLOAD_FORMAT_INVALID]],
    ['without identity', 'lots/LOT-A/sensor', '{"delta":1}', [PAYLOAD_FORMAT_INVALID]],
    ['with a wrong type', 'lots/LOT-A/sensor', JSON.stringify({ ...id, delta: '1' }), [PAYLOAD_FORMAT_INVALID]],
    ['with a delta beyond the limit', 'lots/LOT-A/sensor', JSON.stringify({ ...id, delta: 100_001 }), [PAYLOAD_FORMAT_INVALID]],
    ['with a seq beyond exact numbers', 'lots/LOT-A/sensor', `{"sensor":"g","epoch":1,"seq":${2 ** 60},"delta":1}`, [PAYLOAD_FORMAT_INVALID]],
    ['with an id that is none', 'lots/LOT-A/sensor', JSON.stringify({ ...id, sensor: '__proto__', delta: 1 }), [PAYLOAD_FORMAT_INVALID]],
    ['that is no UTF-8', 'lots/LOT-A/sensor', Buffer.from([0x22, 0xff, 0xfe, 0x22]), [PAYLOAD_FORMAT_INVALID]],
    ['with a bay state that is none', 'lots/LOT-A/sensor', JSON.stringify({ ...id, bays: { 'A-1': 'maybe' } }), [PAYLOAD_FORMAT_INVALID]],
    ['with a bay named __proto__', 'lots/LOT-A/sensor', '{"sensor":"g","epoch":1,"seq":1,"bays":{"__proto__":"taken"}}', [PAYLOAD_FORMAT_INVALID]],
    ['of a lot that is not there', 'lots/NOPE/sensor', '1', [TOPIC_NAME_INVALID, IMPLEMENTATION_SPECIFIC]],
    ['of a lot named constructor', 'lots/constructor/sensor', '1', [TOPIC_NAME_INVALID, IMPLEMENTATION_SPECIFIC]],
    ['of a lot whose id is none', 'lots/A B/sensor', '1', [TOPIC_NAME_INVALID, IMPLEMENTATION_SPECIFIC]],
    ['larger than its limit', 'lots/LOT-A/sensor', `"${'x'.repeat(140_000)}"`, [PAYLOAD_FORMAT_INVALID, QUOTA_EXCEEDED]]
  ])('%s is refused, counted, and changes nothing', async (_, topic, payload, reasons) => {
    const { app, connect } = await startTestApp()
    const client = await connect()
    expect(reasons).toContain(await reasonOf(client, topic, payload))
    const before = await app.ledger.allLots()
    expect(before.map(lot => [lot.version, lot.counted])).toEqual([[1, 50], [1, 75], [1, 40], [1, 120]])
    expect((await app.metrics.sensorMessages.get()).values).toMatchObject([{ labels: { outcome: 'refused' }, value: 1 }])
    // The same connection goes on.
    expect(await reasonOf(client, 'lots/LOT-A/sensor', '1')).toBe(0)
  })

  test('a payload of 1 MB ends the connection with its reason', async () => {
    const { app, connect } = await startTestApp()
    const client = await connect()
    const told = new Promise<number | undefined>(resolve => { client.mqtt.once('disconnect', packet => resolve(packet.reasonCode)) })
    client.mqtt.publish('lots/LOT-A/sensor', Buffer.alloc(1_000_000, 0x31), { qos: 1 }, () => {})
    expect(await told).toBe(0x95)
    expect(await (await connect()).request('lots', { lot: 'LOT-A' })).toMatchObject({ lots: [{ counted: 50 }] })
    expect((await app.metrics.malformed.get()).values.length).toBeGreaterThan(0)
  })
})

describe('a request', () => {
  test.each<[string, string, string | Buffer, string]>([
    ['that is no JSON', 'reserve', '{', 'bad_request'],
    ['that is a list', 'reserve', '[]', 'bad_request'],
    ['that is no UTF-8', 'reserve', Buffer.from([0x7b, 0xff, 0x7d]), 'bad_request'],
    ['without its fields', 'reserve', '{"lot":"LOT-A"}', 'bad_request'],
    ['with a wrong type', 'reserve', '{"lot":"LOT-A","plate":7}', 'bad_request'],
    ['with a hold too long', 'reserve', '{"lot":"LOT-A","plate":"X1","holdSeconds":1e9}', 'bad_request'],
    ['with a requestId too short', 'reserve', '{"lot":"LOT-A","plate":"X1","requestId":"1"}', 'bad_request'],
    ['of a method that is none', 'steal', '{}', 'unknown_method'],
    ['of a method named constructor', 'constructor', '{}', 'unknown_method'],
    ['of a lot that is not there', 'reserve', '{"lot":"NOPE","plate":"X1"}', 'unknown_lot'],
    ['of a reservation that is not there', 'cancel', '{"reservation":"R-NOPE","secret":"s"}', 'unknown_reservation'],
    ['of a huge recount', 'recount', '{"lot":"LOT-A","occupied":1e12}', 'bad_request'],
    ['larger than its limit', 'reserve', JSON.stringify({ lot: 'LOT-A', plate: 'X1', more: 'x'.repeat(140_000) }), 'too_large']
  ])('%s gets %s', async (_, method, payload, code) => {
    const { app, connect } = await startTestApp()
    const client = await connect()
    const reply = new Promise<Record<string, unknown>>(resolve => {
      client.mqtt.on('message', (topic, text) => { if (topic === 'replies/me') resolve(json(text.toString())) })
    })
    await client.mqtt.subscribeAsync('replies/me', { qos: 1 })
    await reasonOf(client, `requests/${method}`, payload, { responseTopic: 'replies/me', correlationData: Buffer.from([0, 255, 1]) })
    expect(await reply).toMatchObject({ ok: false, error: { code, message: expect.stringMatching(/./) as string } })
    expect((await app.ledger.allLots()).map(lot => lot.version)).toEqual([1, 1, 1, 1])
    const counted = (await app.metrics.requests.get()).values
    expect(counted).toMatchObject([{ labels: { code }, value: 1 }])
  })

  test.each(['lots/LOT-A/free', 'requests/reserve', 'services/x/y/status', 'cameras/c/frame', 'sensors/s/status', 'cluster/nodes', '$SYS/broker/uptime', 'lots'])('that wants its reply on %s is refused and not answered', async responseTopic => {
    const { app, connect } = await startTestApp()
    const client = await (await connect()).subscribe('lots/#')
    expect(await reasonOf(client, 'requests/lot.add', '{"lot":"X","capacity":1}', { responseTopic })).toBeGreaterThanOrEqual(0x80)
    expect((await app.metrics.refusedRequests.get()).values).toMatchObject([{ labels: { code: 'forbidden_response_topic' }, value: 1 }])
    expect(await app.ledger.allLots()).toHaveLength(4)
    expect(client.received.filter(m => m.text.includes('ok'))).toEqual([])
  })

  test('without a Response Topic is refused and not carried out', async () => {
    const { app, connect } = await startTestApp()
    expect(await reasonOf(await connect(), 'requests/lot.add', '{"lot":"X","capacity":1}')).toBeGreaterThanOrEqual(0x80)
    expect((await app.metrics.refusedRequests.get()).values).toMatchObject([{ labels: { code: 'no_response_topic' }, value: 1 }])
    expect(await app.ledger.allLots()).toHaveLength(4)
  })

  test('with a wildcard in its Response Topic ends the connection: MQTT 5 forbids it', async () => {
    const { app, connect } = await startTestApp()
    const client = await connect()
    const told = new Promise<number | undefined>(resolve => { client.mqtt.once('disconnect', packet => resolve(packet.reasonCode)) })
    client.mqtt.publish('requests/lots', '{}', { qos: 1, properties: { responseTopic: 'replies/#' } }, () => {})
    expect(await told).toBeGreaterThanOrEqual(0x80)
    expect((await app.metrics.malformed.get()).values.length).toBeGreaterThan(0)
  })
})

test('a flood of wrong messages is logged at most once a second for each client', async () => {
  const lines: Record<string, unknown>[] = []
  const log = pino({ level: 'warn' }, new Writable({ write: (chunk: Buffer, _, done) => {
    lines.push(json(chunk.toString()))
    done()
  } }))
  const app = await startApp({ config: Config.parse({ port: 0, wsPort: 0, data: testFolder() }), log })
  onTestFinished(() => app.stop())
  const client = await connectTestClient(`mqtt://127.0.0.1:${app.port}`)
  const startedMs = performance.now()
  await Promise.all(Array.from({ length: 500 }, () => reasonOf(client, 'lots/LOT-A/sensor', 'garbage')))
  const seconds = Math.ceil((performance.now() - startedMs) / 1_000) + 1
  expect(lines.length).toBeGreaterThan(0)
  expect(lines.length).toBeLessThanOrEqual(seconds)
  expect(JSON.stringify(lines)).toContain('bad_message')
})
