// Whose car a gate means by its plate, in one transaction with what time has made due: a late timer must not choose another.
import { expect, onTestFinished, test } from 'vitest'
import { applyBatch } from '../../services/occupancy/batch.js'
import { newLot } from '../../services/reservation/lot-settings.js'
import { Config } from '../../shared/config.js'
import type { Id } from '../../shared/lot.js'
import { createMetrics } from '../../shared/metrics.js'
import type { Reservation } from '../../shared/reservation.js'
import { NewLot } from '../../shared/schemas.js'
import { openLedger } from '../../storage/open.js'
import { testFolder } from '../support/app.js'
import { ManualClock } from '../support/clock.js'

const LOT = 'LOT-A' as Id
const HOUR = 3_600_000

test('the oldest reservation of a plate is meant, also when a newer one began just now', async () => {
  const clock = new ManualClock()
  const ledger = await openLedger({ config: Config.parse({ data: testFolder() }), clock, metrics: createMetrics() })
  onTestFinished(() => ledger.close())
  const booking = (id: string, status: 'held' | 'booked', fromMs: number, madeAtMs: number): Reservation => ({
    id, kind: 'booking', lot: LOT, plate: 'ABC123', status, fromMs, toMs: fromMs + HOUR, originalToMs: fromMs + HOUR,
    dueAtMs: status === 'held' ? fromMs + HOUR : fromMs, secretHash: '', owner: null, madeAtMs
  })
  const now = clock.nowMs()
  await ledger.transact('test', async tx => {
    tx.setLot(newLot(NewLot.parse({ lot: LOT, capacity: 10 }), 'UTC'))
    tx.setReservation(null, booking('R-OLD', 'held', now, now), { who: 'test' })
    tx.setReservation(null, booking('R-NEW', 'booked', now + 10, now + 5), { who: 'test' })
  })
  clock.advance(10)
  await ledger.transact('test', async tx => {
    await applyBatch(tx, [{ type: 'delta', lot: LOT, sensor: 'gate' as Id, epoch: 1, seq: 1, delta: 1, plate: 'ABC123' }], { gapGraceMs: 5_000, sensorsPerLot: 10 })
    expect(tx.reservationsOf(LOT).map(({ id, status }) => [id, status]).sort()).toEqual([['R-NEW', 'held'], ['R-OLD', 'arrived']])
  })
})
