// What time does to occupancy without any message: missing messages become a gap, silence makes a lot stale, and what
// has outlived its use is forgotten in small steps.
import type { Clock } from '../../shared/clock.js'
import type { Config } from '../../shared/config.js'
import { every, type Repeating } from '../../shared/every.js'
import type { Log } from '../../shared/log.js'
import type { Metrics } from '../../shared/metrics.js'
import { pruneAudit } from '../../storage/audit.js'
import type { Ledger } from '../../storage/ledger.js'
import type { Id } from '../../shared/lot.js'
import { lapse } from './core.js'
import { tellGap } from './sequence.js'
import { baysOf, pruneSensors, saveBays, saveSensors, sensorsWithGap, sensorsWithoutWord, silentLots, type SensorName } from './store.js'

const AT_ONCE = 500
/** Rows that are looked at without a turn of the event loop: some 5 ms. */
const LOOKED_AT_ONCE = 5_000
const PRUNE_EVERY_MS = 60_000
/** A word that lapses is told at most so late. */
const LAPSES_EVERY_MS = 500

export interface WatchParts {
  readonly ledger: Ledger
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  readonly times: Config['times']
}

/** Looks often enough that a gap or a stale lot is told within a tenth of its time, at most `mostMs` late. */
function lookEveryMs (timeMs: number, mostMs: number): number {
  return Math.min(Math.max(Math.round(timeMs / 10), 50), mostMs)
}

/** Tells what came due while nobody ran; to be done before anything is published. */
export async function catchUp (parts: WatchParts): Promise<void> {
  await untilFew(() => tellGaps(parts))
  await untilFew(() => tellLapses(parts))
  await tellSilence(parts)
}

export function startWatch (parts: WatchParts): Repeating {
  const { clock, log, times } = parts
  const forget = forgetting(parts)
  const tasks = [
    every(lookEveryMs(times.gapGraceMs, 1_000), 'gaps', clock, log, async () => await untilFew(() => tellGaps(parts))),
    every(LAPSES_EVERY_MS, 'lapses', clock, log, async () => await untilFew(() => tellLapses(parts))),
    every(lookEveryMs(times.staleAfterMs, 10_000), 'silence', clock, log, async () => await tellSilence(parts)),
    every(PRUNE_EVERY_MS, 'forgetting', clock, log, async () => await forget())
  ]
  return { stop: async () => { await Promise.all(tasks.map(task => task.stop())) } }
}

async function untilFew (step: () => Promise<number>): Promise<void> {
  while (await step() >= AT_ONCE) await turn()
}

async function turn (): Promise<void> {
  await new Promise(resolve => setImmediate(resolve))
}

async function tellGaps ({ ledger, clock, metrics }: WatchParts): Promise<number> {
  const due = await ledger.read(async database => await sensorsWithGap(database, clock.nowMs(), AT_ONCE))
  if (due.length === 0) return 0
  const { sensors, missing } = await ledger.transact('occupancy', async tx => {
    await tx.load(due.map(sensor => sensor.lot))
    // Read again when their lots are ours: a late message may have closed the gap meanwhile, or another node told of it.
    const sensors = (await sensorsWithGap(tx.database, tx.nowMs, AT_ONCE)).filter(sensor => tx.isLoaded(sensor.lot))
    let missing = 0
    for (const { lot: id, sensor, seen } of sensors) {
      const { told } = tellGap(seen)
      const lot = tx.lot(id)
      if (told === 0 || !lot) continue
      missing += told
      tx.setLot({ ...lot, suspect: true })
      tx.audit({ lot: id, type: 'sensor.gap', who: 'time', sensor, after: { missing: told, epoch: seen.epoch } })
    }
    await saveSensors(tx.database, sensors.map(sensor => ({ ...sensor, seen: tellGap(sensor.seen).seen })))
    return { sensors: sensors.length, missing }
  })
  metrics.sensorGaps.inc(missing)
  return sensors
}

/** Sensors that were silent for longer than they said no longer vouch for their bays. */
async function tellLapses ({ ledger, clock }: WatchParts): Promise<number> {
  const due = await ledger.read(async database => await sensorsWithoutWord(database, clock.nowMs(), AT_ONCE))
  if (due.length === 0) return 0
  return await ledger.transact('occupancy', async tx => {
    // Read again inside: one may have been heard meanwhile.
    const sensors = await sensorsWithoutWord(tx.database, tx.nowMs, AT_ONCE)
    const byLot = new Map<Id, Set<Id>>()
    for (const { lot, sensor } of sensors) byLot.set(lot, (byLot.get(lot) ?? new Set()).add(sensor))
    await tx.load(byLot.keys())
    const bays = await baysOf(tx.database, [...byLot.keys()])
    for (const [id, silent] of byLot) {
      const lot = tx.lot(id)
      const lapsed = lot && lapse({ lot, bays: bays.get(id) ?? new Map() }, silent, tx.nowMs, tx.times)
      if (!lapsed) continue
      tx.setLot(lapsed.lot)
      await saveBays(tx.database, id, lapsed.bays, tx.nowMs)
      tx.lotsWithChangedBays.add(id)
      for (const sensor of silent) {
        const unknown = lapsed.bays.filter(bay => bay.by?.sensor === sensor).length
        if (unknown > 0) tx.audit({ lot: id, type: 'sensor.silent', who: 'time', sensor, after: { unknown } })
      }
    }
    await saveSensors(tx.database, sensors.map(sensor => ({ ...sensor, standsUntilMs: null })))
    return sensors.length
  })
}

async function tellSilence (parts: WatchParts): Promise<void> {
  const { ledger, clock, times } = parts
  for (let after: Id | null = null; ;) {
    const { found, next } = await ledger.read(async database => await silentLots(database, clock.nowMs() - times.staleAfterMs, after, LOOKED_AT_ONCE))
    for (let first = 0; first < found.length; first += AT_ONCE) {
      await makeStale(parts, found.slice(first, first + AT_ONCE))
      await turn()
    }
    if (next === null) return
    after = next
    await turn()
  }
}

async function makeStale ({ ledger }: WatchParts, silent: readonly Id[]): Promise<void> {
  await ledger.transact('occupancy', async tx => {
    await tx.load(silent)
    // Writing the lot is enough: its quality is worked out anew whenever it is written.
    for (const id of silent) {
      const lot = tx.lot(id)
      // Another node may have told of it meanwhile.
      if (lot && lot.quality !== 'stale') tx.setLot(lot)
    }
  })
}

/** What forgets old lines of the audit, and old sensors among those that follow the ones it looked at before: it need not be prompt. */
function forgetting ({ ledger, clock, times }: WatchParts): () => Promise<void> {
  let after: SensorName | null = null
  return async () => {
    await untilFew(async () => await ledger.transact('occupancy', async tx => await pruneAudit(tx.database, clock.nowMs() - times.auditMs, AT_ONCE)))
    await untilFew(async () => {
      const { found, next } = await ledger.transact('occupancy', async tx => await pruneSensors(tx.database, clock.nowMs() - times.sensorMs, after, { count: LOOKED_AT_ONCE, limit: AT_ONCE }))
      after = next
      return found.length
    })
  }
}
