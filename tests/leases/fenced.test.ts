// What services do with messages of a share that is another's by now: nothing. They are not acknowledged, so that the broker hands
// them to the other; and what changes afterwards is published by the other alone.
import { describe, expect, onTestFinished, test } from 'vitest'
import { startShare } from '../../services/occupancy/share.js'
import { lotDefaultsOf } from '../../services/reservation/intake.js'
import { seedLots } from '../../services/reservation/lots.js'
import { startAnswering } from '../../services/reservation/service.js'
import { ACCEPTED } from '../../shared/bus.js'
import { systemClock } from '../../shared/clock.js'
import { Config } from '../../shared/config.js'
import { FencedError } from '../../shared/errors.js'
import type { Id } from '../../shared/lot.js'
import { createLog } from '../../shared/log.js'
import { createMetrics } from '../../shared/metrics.js'
import { openMqttSession, type MqttSession } from '../../shared/mqtt-session.js'
import type { Ledger } from '../../storage/ledger.js'
import type { Fence } from '../../storage/leases.js'
import { connectTestClient } from '../support/app.js'
import { openTestLedger } from '../support/postgres.js'
import { ABSENT, serversOfFile, SKIPPED } from './support.js'

const LOT = 'F' as Id
const log = createLog('silent', false)
const config = Config.parse({ lots: [{ lot: LOT, capacity: 10, occupied: 0 }] })

describe.skipIf(ABSENT !== null)(`messages of a share that is another's${SKIPPED}`, () => {
  const servers = serversOfFile()
  const metrics = createMetrics()

  async function openLedger (): Promise<Ledger> {
    const ledger = await openTestLedger(await servers().postgres.database())
    onTestFinished(() => ledger.close())
    await seedLots(ledger, config.lots, lotDefaultsOf(config))
    return ledger
  }

  async function open (clientId: string): Promise<MqttSession> {
    const session = await openMqttSession({ url: servers().mosquitto.url, clientId, clock: systemClock, log, metrics })
    onTestFinished(() => session.close())
    return session
  }

  /** The payloads that the next owner of the session gets. */
  async function handedOn (clientId: string, count: number): Promise<string[]> {
    const got: string[] = []
    const next = await open(clientId)
    next.start('#', { handle: async batch => {
      got.push(...batch.map(({ payload }) => Buffer.from(payload).toString()))
      return batch.map(() => ACCEPTED)
    } })
    await expect.poll(() => got.length, { timeout: 5_000 }).toBe(count)
    return got
  }

  const fence: Fence = () => ({ query: null, read: () => { throw new FencedError('it is another\'s') } })
  const countedIn = async (ledger: Ledger): Promise<unknown> => (await ledger.lots([LOT])).map(({ counted, held }) => ({ counted, held }))

  test('a sensor\'s message counts nothing and stays with the broker', async () => {
    const ledger = await openLedger()
    const session = await open('fenced-00')
    const share = await startShare({ session, ledger, clock: ledger.clock, log, metrics, config, isOurs: () => true, fence })
    onTestFinished(() => share.stop())
    await (await connectTestClient(servers().mosquitto.url)).publish(`lots/${LOT}/sensor`, '1')
    await session.ended
    expect(await countedIn(ledger)).toEqual([{ counted: 0, held: 0 }])
    expect(await handedOn('fenced-00', 1)).toEqual(['1'])
  })

  test('a request has no effect, no answer, and stays with the broker', async () => {
    const ledger = await openLedger()
    const session = await open('fenced-requests')
    const answering = await startAnswering({ bus: session.bus, ledger, clock: ledger.clock, log, metrics, config, version: '1', fence })
    onTestFinished(() => answering.stop())
    const client = await connectTestClient(servers().mosquitto.url)
    await client.subscribe('answers/fenced')
    const body = JSON.stringify({ lot: LOT, plate: 'X1' })
    await client.mqtt.publishAsync('requests/reserve', body, { qos: 1, properties: { responseTopic: 'answers/fenced' } })
    await session.ended
    expect(await countedIn(ledger)).toEqual([{ counted: 0, held: 0 }])
    expect(await handedOn('fenced-requests', 1)).toEqual([body])
    expect(client.received).toEqual([])
  })

  test('what changes after another has the session is not published by the one before', async () => {
    const ledger = await openLedger()
    const session = await open('fenced-01')
    const share = await startShare({ session, ledger, clock: ledger.clock, log, metrics, config, isOurs: () => true, fence: () => ({ query: null, read: () => {} }) })
    onTestFinished(() => share.stop())
    const client = await connectTestClient(servers().mosquitto.url)
    await client.subscribe(`lots/${LOT}/free`)
    await client.last(`lots/${LOT}/free`, '10')
    await open('fenced-01')
    await session.ended
    const failures = async (): Promise<number> => (await metrics.publishFailures.get()).values.reduce((sum, { value }) => sum + value, 0)
    const before = await failures()
    await ledger.transact('test', async tx => {
      await tx.load([LOT])
      const lot = tx.lot(LOT)
      if (lot) tx.setLot({ ...lot, counted: 3 })
    })
    await expect.poll(failures, { timeout: 5_000 }).toBeGreaterThan(before)
    await client.publish('after', 'that')
    expect(client.received.map(({ text }) => text)).toEqual(['10'])
  })
})
