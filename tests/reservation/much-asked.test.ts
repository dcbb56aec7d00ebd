// Who asks for much makes himself wait: one client's hundreds of long requests keep nobody else waiting for all of them.
import { expect, test, vi } from 'vitest'
import { fillLedger } from '../../bench/filled-ledger.js'
import { startTestApp, testFolder } from '../support/app.js'
import { AskingClient } from '../support/asking.js'

const MANY = 300

test('others are answered between the requests of one who asks for much, and his replies keep their order', async () => {
  const data = testFolder()
  // A page of a list of what is rare among these takes milliseconds.
  await fillLedger(data, { lots: 10, ended: 20_000 })
  const { url } = await startTestApp({ data, settings: { lots: [{ lot: 'A', capacity: 1 }] } })
  const [greedy, other] = [(await AskingClient.connect(url)).mqtt, await AskingClient.connect(url)]
  const answered: string[] = []
  const topic = `replies/${greedy.options.clientId ?? ''}/greedy`
  greedy.on('message', (_, payload, packet) => {
    expect(JSON.parse(payload.toString())).toMatchObject({ ok: true, result: { reservations: [] } })
    answered.push(packet.properties?.correlationData?.toString() ?? '')
  })
  // QoS 0: a reply does not wait for the acknowledgement of those before it, and so comes when it is given.
  await greedy.subscribeAsync(topic, { qos: 0 })
  const asked = Array.from({ length: MANY }, (_, n) => String(n))
  for (const n of asked) greedy.publish('requests/list', '{"status":"arrived"}', { qos: 1, properties: { responseTopic: topic, correlationData: Buffer.from(n) } })
  await vi.waitFor(() => expect(answered.length).toBeGreaterThan(0), { timeout: 20_000, interval: 1 })
  const counts: number[] = []
  for (let i = 0; i < 3; i++) {
    const { result } = await other.ask('reserve', { lot: 'A', plate: `P${i}` })
    counts.push(answered.length)
    await other.ask('cancel', { reservation: result.reservation, secret: result.secret })
  }
  await vi.waitFor(() => expect(answered).toHaveLength(MANY), 20_000)
  expect(answered).toEqual(asked)
  expect(counts.at(-1), `answered meanwhile: ${counts.join(', ')}`).toBeLessThan(MANY)
})
