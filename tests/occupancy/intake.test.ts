// A batch of sensors' messages that grows while it is being stored: each message has its own outcome and counts once, whatever
// else is in its commit.
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { newLot } from '../../services/reservation/lot-settings.js'
import { SensorIntake } from '../../services/occupancy/intake.js'
import type { Delivery, Outcome } from '../../shared/bus.js'
import { systemClock } from '../../shared/clock.js'
import { Config } from '../../shared/config.js'
import type { Id } from '../../shared/lot.js'
import { createMetrics } from '../../shared/metrics.js'
import { NewLot } from '../../shared/schemas.js'
import type { Ledger } from '../../storage/ledger.js'
import { openLedger } from '../../storage/open.js'
import { temporaryFolder } from '../support/broker.js'

const LOT = 'LOT-A' as Id

async function build (): Promise<{ ledger: Ledger, handle: SensorIntake['handle'] }> {
  const config = Config.parse({ data: temporaryFolder() })
  const ledger = await openLedger({ config, clock: systemClock, metrics: createMetrics() })
  onTestFinished(() => ledger.close())
  await ledger.transact('test', async tx => tx.setLot(newLot(NewLot.parse({ lot: LOT, capacity: 100 }), 'UTC')))
  const intake = new SensorIntake({ ledger, config, clock: systemClock, metrics: createMetrics(), log: pino({ level: 'silent' }) })
  return { ledger, handle: async (batch, more) => await intake.handle(batch, more) }
}

function delivery (lot: string, payload: string): Delivery {
  return { topic: `lots/${lot}/sensor`, payload: Buffer.from(payload), qos: 1, retain: false, dup: false, properties: {}, receivedAtMs: 0 }
}

const delta = (seq: number, by: number): Delivery => delivery(LOT, JSON.stringify({ sensor: 'gate', epoch: 1, seq, delta: by }))
const codes = (outcomes: readonly Outcome[]): string[] => outcomes.map(outcome => outcome.type === 'refused' ? outcome.refusal.code : outcome.type)

/** What comes in two parts: before the batch is handed over, and until it can be stored. */
const COME = [delivery(LOT, 'garbage'), delta(1, 1), delivery('NO-LOT', '1')]
const COME_LATER = [delta(2, 10), delivery(LOT, '{'), delta(2, 10), delivery('NO-LOT', '1'), delivery(LOT, '100')]
const OUTCOMES = ['bad_message', 'accepted', 'unknown_lot', 'accepted', 'bad_message', 'accepted', 'unknown_lot', 'accepted']

test('each has its own outcome, whether it was there from the beginning or came meanwhile', async () => {
  const { ledger, handle } = await build()
  const batch = [...COME]
  let taken = 0
  const outcomes = await handle(batch, () => {
    if (taken++ === 0) batch.push(...COME_LATER)
    return batch
  })
  expect(codes(outcomes)).toEqual(OUTCOMES)
  expect(await ledger.lots([LOT])).toMatchObject([{ counted: 111 }])
})

test('what is stored again because another in its commit failed has grown on, and counts once', async () => {
  const { ledger, handle } = await build()
  const batch = [...COME]
  const come = [...COME_LATER]
  const stored = handle(batch, () => {
    batch.push(...come.splice(0, 3))
    return batch
  })
  // It is carried out after the batch, and takes the commit with it.
  const failing = ledger.transact('test', async () => { throw new Error('on purpose') }, { place: 'last' })
  await expect(failing).rejects.toThrow('on purpose')
  expect(codes(await stored)).toEqual(OUTCOMES)
  expect(await ledger.lots([LOT])).toMatchObject([{ counted: 111 }])
})
