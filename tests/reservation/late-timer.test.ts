// What time has made due and no timer has noticed yet counts for nobody: also in lots that a request has nothing to do with.
import { expect, onTestFinished, test } from 'vitest'
import { newLot } from '../../services/reservation/lot-settings.js'
import { parseRequest, type Request } from '../../services/reservation/requests.js'
import { loadFor } from '../../services/reservation/store.js'
import { Config } from '../../shared/config.js'
import type { Id } from '../../shared/lot.js'
import { createMetrics } from '../../shared/metrics.js'
import { NewLot } from '../../shared/schemas.js'
import { openLedger } from '../../storage/open.js'
import { testFolder } from '../support/app.js'
import { ManualClock } from '../support/clock.js'

const HOLD_MS = 60_000

test('a hold that is over in another lot does not count against its plate and its user', async () => {
  const clock = new ManualClock()
  const ledger = await openLedger({ config: Config.parse({ data: testFolder() }), clock, metrics: createMetrics() })
  onTestFinished(() => ledger.close())
  const now = clock.nowMs()
  await ledger.transact('test', async tx => {
    for (const lot of ['LOT-A', 'LOT-B']) tx.setLot(newLot(NewLot.parse({ lot, capacity: 10 }), 'UTC'))
    tx.setReservation(null, {
      id: 'R-1', kind: 'hold', lot: 'LOT-B' as Id, plate: 'ABC123', status: 'held', fromMs: now, toMs: now + HOLD_MS, originalToMs: now + HOLD_MS, dueAtMs: now + HOLD_MS,
      secretHash: '', owner: 'ann', madeAtMs: now
    }, { who: 'test' })
  })
  const limits = { reservationsPerPlate: 1, reservationsPerUser: 1 }
  const refusals = async (plate: string): Promise<(string | undefined)[]> => await ledger.transact('test', async tx => {
    const pending = await loadFor(tx, [reserve(plate)], limits)
    return [pending.refusal(plate, null)?.refusal.code, pending.refusal('OTHER', 'ann')?.refusal.code]
  })
  clock.advance(HOLD_MS - 1)
  expect(await refusals('ABC123')).toEqual(['over_limit', 'over_limit'])
  clock.advance(1)
  expect(await refusals('DEF456')).toEqual([undefined, undefined])
  expect(await refusals('ABC123')).toEqual([undefined, undefined])
})

/** Of ann, for a place in LOT-A. */
function reserve (plate: string): Request {
  const parsed = parseRequest({
    topic: 'requests/reserve', payload: Buffer.from(JSON.stringify({ lot: 'LOT-A', plate })), properties: { responseTopic: 'replies/ann/1' },
    qos: 1, retain: false, dup: false, receivedAtMs: 0, clientId: 'c', user: 'ann', role: 'driver'
  })
  if (parsed.type !== 'request') throw new Error('not taken')
  return parsed.request
}
