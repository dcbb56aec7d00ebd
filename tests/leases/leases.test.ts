// A lease has one owner at a time, and whoever lost it commits nothing under it. Real servers; two processes' leases in one test.
import { describe, expect, onTestFinished, test } from 'vitest'
import { Term } from '../../cli/leases/term.js'
import { systemClock } from '../../shared/clock.js'
import { FencedError } from '../../shared/errors.js'
import type { Id } from '../../shared/lot.js'
import { createLog } from '../../shared/log.js'
import { createMetrics } from '../../shared/metrics.js'
import { openMqttSession, type MqttSession } from '../../shared/mqtt-session.js'
import type { Ledger } from '../../storage/ledger.js'
import { shareOf, type Lease, type Leases } from '../../storage/leases.js'
import { ask } from '../../storage/questions.js'
import { connectTestClient } from '../support/app.js'
import { openTestLedger } from '../support/postgres.js'
import { ABSENT, ALL_SHARES, serversOfFile, SKIPPED } from './support.js'

const LEASE_MS = 500
const log = createLog('silent', false)

describe.skipIf(ABSENT !== null)(`leases${SKIPPED}`, () => {
  const servers = serversOfFile()

  async function openTwo (): Promise<{ ledger: Ledger, a: Leases, b: Leases }> {
    const database = await servers().postgres.database()
    const ledger = await openTestLedger(database)
    onTestFinished(() => ledger.close())
    const [a, b] = await Promise.all([0, 1].map(async () => {
      const leases = await ledger.openLeases?.({ prefix: 'test', leaseMs: LEASE_MS })
      if (!leases) throw new Error('there are no leases')
      onTestFinished(() => leases.close())
      return leases
    }))
    return { ledger, a: a as Leases, b: b as Leases }
  }

  /** Takes what others have, when their leases have ended. */
  async function takeAll (leases: Leases): Promise<Lease[]> {
    const taken: Lease[] = []
    await expect.poll(async () => taken.push(...await leases.take(ALL_SHARES)), { timeout: 5_000, interval: 20 }).toBe(ALL_SHARES)
    return taken
  }

  async function open (clientId: string): Promise<MqttSession> {
    const session = await openMqttSession({ url: servers().mosquitto.url, clientId, clock: systemClock, log, metrics: createMetrics() })
    onTestFinished(() => session.close())
    return session
  }

  test('two that take at once have each share once; one whose lease has ended is fenced out by a higher epoch', async () => {
    const { ledger, a, b } = await openTwo()
    const both = await Promise.all([a.take(ALL_SHARES), b.take(ALL_SHARES)])
    expect(both.flat().map(({ share }) => share).sort()).toEqual([...new Set(both.flat().map(({ share }) => share))].sort())
    expect(both.flat()).toHaveLength(ALL_SHARES)
    await a.release(both[0] ?? [])
    await b.release(both[1] ?? [])

    const [old] = await takeAll(a)
    const now = (await takeAll(b)).find(({ share }) => share === old?.share)
    if (!old || !now) throw new Error('the share was not taken')
    expect(now.epoch).toBe(old.epoch + 1)
    const write = async (leases: Leases, lease: Lease, name: string): Promise<void> => await ledger.transact('test', async tx => {
      await ask(tx.database, leases.fence(lease)(tx.database))
      tx.audit({ type: 'test.written', who: name })
    })
    await expect(write(a, old, 'a')).rejects.toThrow(FencedError)
    await write(b, now, 'b')
    const lines = await ledger.read(async ({ kysely }) => await kysely.selectFrom('audit').select('who').where('type', '=', 'test.written').execute())
    expect(lines).toEqual([{ who: 'b' }])
    // It finds out by itself, and gives back nothing that is another's.
    expect((await a.renew(true, [old])).kept).toEqual([])
    await a.release([old])
    expect(await b.isOurs(now)).toBe(true)
  })

  test('a lease is prolonged, but not taken by another, while a transaction of it is under way', async () => {
    const { ledger, a, b } = await openTwo()
    const [lease] = await takeAll(a)
    if (!lease) throw new Error('nothing was taken')
    await ledger.transact('test', async tx => {
      await ask(tx.database, a.fence(lease)(tx.database))
      const others: Lease[] = []
      await expect.poll(async () => others.push(...await b.take(ALL_SHARES)), { timeout: 5_000, interval: 20 }).toBe(ALL_SHARES - 1)
      expect(others.map(({ share }) => share)).not.toContain(lease.share)
      expect((await a.renew(true, [lease])).kept).toEqual([lease])
    })
  })

  test('what a process does not know it has, since an answer was lost, is not prolonged, and goes to another', async () => {
    const { a, b } = await openTwo()
    const [known] = await takeAll(a)
    if (!known) throw new Error('nothing was taken')
    const others: Lease[] = []
    await expect.poll(async () => {
      await a.renew(true, [known])
      return others.push(...await b.take(ALL_SHARES))
    }, { timeout: 5_000, interval: 20 }).toBe(ALL_SHARES - 1)
    expect(others.map(({ share }) => share)).not.toContain(known.share)
  })

  test('who connects for a share has the queue of the one before, in order, and that one can publish nothing more', async () => {
    const first = await open('test-share-00')
    await first.subscribe(['lots/Q/sensor'])
    const held: string[] = []
    await new Promise<void>(resolve => {
      // Never settled: as if the owner had died between the delivery and its commit.
      first.start('lots/Q/sensor', { handle: async batch => {
        held.push(...batch.map(({ payload }) => Buffer.from(payload).toString()))
        resolve()
        return await new Promise(() => {})
      } })
      void connectTestClient(servers().mosquitto.url).then(async client => { for (const n of [1, 2, 3]) await client.publish('lots/Q/sensor', String(n)) })
    })
    const second = await open('test-share-00')
    await first.ended
    await expect(first.bus.publish('lots/Q/state', 'old', { retain: true })).rejects.toThrow('no connection')
    const got: string[] = []
    second.start('lots/Q/sensor', { handle: async batch => {
      got.push(...batch.map(({ payload }) => Buffer.from(payload).toString()))
      return batch.map(() => ({ type: 'accepted' }))
    } })
    await expect.poll(() => got, { timeout: 5_000 }).toEqual(['1', '2', '3'])
  })

  test('who has lost its lease does not connect again, and does nothing over a connection that was on its way meanwhile', async () => {
    const { a, b } = await openTwo()
    const [lease, late] = await takeAll(a)
    if (!lease || !late) throw new Error('nothing was taken')
    const connects: string[] = []
    const begun: string[] = []
    let onConnect = async (): Promise<void> => {}
    const term = (of: Lease): Term => new Term({
      lease: of, leases: a, clock: systemClock, log,
      async connect (share) {
        connects.push(share)
        await onConnect()
        return await open(`late-${share}`)
      },
      async begin ({ share }) {
        begun.push(share)
        return { stop: async () => {} }
      }
    })
    const served = term(lease)
    await served.begun
    const taken = await takeAll(b)
    await open(`late-${lease.share}`)
    expect(await served.ended).toEqual({ why: 'lost' })
    expect(connects).toEqual([lease.share])

    // Both are b's by now. `a` had them again, and loses one of them while it connects.
    await b.release(taken)
    const again = (await takeAll(a)).find(({ share }) => share === late.share)
    if (!again) throw new Error('it was not taken')
    onConnect = async () => { await takeAll(b) }
    expect(await term(again).ended).toEqual({ why: 'lost' })
    expect(connects).toEqual([lease.share, late.share])
    expect(begun).toEqual([lease.share])
  })

  test('a lot is of the same share for ever', () => {
    // FNV-1a of `a` is 0xe40c292c.
    expect(['a', 'LOT-A', 'LOT-B', 'LOT-C', 'LOT-D'].map(lot => shareOf(lot as Id, 16))).toEqual(['12', '10', '07', '04', '01'])
  })
})
