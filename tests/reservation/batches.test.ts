// What a request is answered does not depend on whether it came in one batch with the one before it: the same requests,
// carried out together and one by one, get the same answers.
import { expect, onTestFinished, test } from 'vitest'
import { answerBatch } from '../../services/reservation/batch.js'
import { lotDefaultsOf, rulesOf } from '../../services/reservation/intake.js'
import { seedLots } from '../../services/reservation/lots.js'
import { parseRequest, type Request } from '../../services/reservation/requests.js'
import { Config } from '../../shared/config.js'
import { createMetrics } from '../../shared/metrics.js'
import { openLedger } from '../../storage/open.js'
import { testFolder } from '../support/app.js'
import { ManualClock } from '../support/clock.js'

type Asked = readonly [method: string, body: Record<string, unknown>]
interface Given { readonly reservation?: string, readonly secret?: string, readonly status?: string }

test.each<[string, Asked[], (made: Given[]) => Asked[], string[]]>([
  ['who waited has the place that was given back, and may come',
    [['reserve', { lot: 'ONE', plate: 'A1' }], ['wait', { lot: 'ONE', plate: 'B1' }]],
    ([holds, waits]) => [['cancel', named(holds)], ['arrive', named(waits)]], ['cancelled', 'arriving']],
  ['who waited has the place before the lot is closed',
    [['reserve', { lot: 'ONE', plate: 'A1' }], ['wait', { lot: 'ONE', plate: 'B1' }]],
    ([holds, waits]) => [['cancel', named(holds)], ['lot.close', { lot: 'ONE' }], ['arrive', named(waits)]], ['cancelled', 'done', 'arriving']],
  ['who waited has the place before the lot becomes smaller',
    [['reserve', { lot: 'ONE', plate: 'A1' }], ['wait', { lot: 'ONE', plate: 'B1' }]],
    ([holds, waits]) => [['cancel', named(holds)], ['lot.set', { lot: 'ONE', capacity: 0 }], ['arrive', named(waits)]], ['cancelled', 'done', 'arriving']],
  ['who waited has the place before a newcomer',
    [['reserve', { lot: 'ONE', plate: 'A1' }], ['wait', { lot: 'ONE', plate: 'B1' }]],
    ([holds]) => [['cancel', named(holds)], ['reserve', { lot: 'ONE', plate: 'C1' }]], ['cancelled', 'lot_full']],
  ['one that has ended is found by its plate when none is live',
    [['reserve', { lot: 'TWO', plate: 'A1' }], ['reserve', { lot: 'TWO', plate: 'A1' }]],
    ([first, second]) => [['cancel', named(first)], ['change', { ...named(second), plate: 'B1' }], ['cancel', { lot: 'TWO', plate: 'A1', secret: first?.secret }]], ['cancelled', 'held', 'already_cancelled']],
  ['and is not while another is live',
    [['reserve', { lot: 'TWO', plate: 'A1' }], ['reserve', { lot: 'TWO', plate: 'A1' }]],
    ([first]) => [['cancel', named(first)], ['cancel', { lot: 'TWO', plate: 'A1', secret: first?.secret }]], ['cancelled', 'not_yours']]
])('%s', async (_, before, requests, expected) => {
  for (const together of [true, false]) {
    const run = await openBatches()
    const made: Given[] = []
    for (const [method, body] of before) made.push(...await run([[method, body]]))
    const asked = requests(made)
    const answers = together ? await run(asked) : (await Promise.all(asked.map(async one => await run([one])))).flat()
    expect(answers.map(({ status }) => status), together ? 'in one batch' : 'one by one').toEqual(expected)
  }
})

function named (given: Given | undefined): Record<string, unknown> {
  return { reservation: given?.reservation, secret: given?.secret }
}

/** A ledger of its own; what it returns carries out one batch. `status` is the code of a refusal. */
async function openBatches (): Promise<(asked: readonly Asked[]) => Promise<Given[]>> {
  const config = Config.parse({ data: testFolder(), timeZone: 'UTC', lots: [{ lot: 'ONE', capacity: 1 }, { lot: 'TWO', capacity: 2 }] })
  const ledger = await openLedger({ config, clock: new ManualClock(), metrics: createMetrics() })
  onTestFinished(() => ledger.close())
  await seedLots(ledger, config.lots, lotDefaultsOf(config))
  const settings = { rules: rulesOf(config), limits: config.limits, lots: lotDefaultsOf(config), prices: config, about: async () => ({}) }
  return async asked => {
    const answers = await ledger.transact('test', async tx => await answerBatch(tx, asked.map(requestOf), settings))
    return answers.map(({ answer }) => answer.ok ? { status: 'done', ...answer.result as Given } : { status: answer.error.code })
  }
}

function requestOf ([method, body]: Asked): Request {
  const parsed = parseRequest({ topic: `requests/${method}`, payload: Buffer.from(JSON.stringify(body)), properties: { responseTopic: 'replies/me/1' }, qos: 1, retain: false, dup: false, receivedAtMs: 0 })
  if (parsed.type !== 'request') throw new Error(`${method} is not taken: ${JSON.stringify(body)}`)
  return parsed.request
}
