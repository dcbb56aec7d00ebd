// The occupancy service's own rows of the ledger: sensor identities and bays, read and written by the batch.
import { sql } from 'kysely'
import type { Id, Lot } from '../../shared/lot.js'
import { LIVE_STATUSES, type Reservation } from '../../shared/reservation.js'
import { livePlates } from '../../storage/live-plates.js'
import { ask, type Question } from '../../storage/questions.js'
import { reservationOf } from '../../storage/records.js'
import { byKeys, selectByKeys, upsert, type Database } from '../../storage/rows.js'
import { CAR_IS_HERE, type BaysTable, type ReservationsTable, type SensorsTable } from '../../storage/tables.js'
import type { LedgerTransaction } from '../../storage/transaction.js'
import type { Bay, SensorMessage } from './core.js'
import type { SensorSeen } from './sequence.js'

/** A sensor's row as the service works with it. */
export interface Sensor {
  readonly lot: Id
  readonly sensor: Id
  readonly seen: SensorSeen
  readonly heardAtMs: number
  /** When a message of it was last told of as too old; 0 for never. */
  readonly toldAtMs: number
  /** When its word on bays lapses unless it is heard again; null for never. */
  readonly standsUntilMs: number | null
}

/** Everything that a batch may touch, by lot. Changes are noted and written at its end. */
export class Working {
  readonly #sensors = new Map<string, Sensor>()
  readonly #changedSensors = new Map<string, Sensor>()
  readonly #bays = new Map<Id, Map<Id, Bay>>()
  readonly #changedBays = new Map<string, { lot: Id, bay: Bay }>()
  /** Sensors that each lot remembers, for lots that a new sensor speaks for. */
  readonly #sensorCounts = new Map<Id, number>()

  /** Loads what `messages` may touch; the lots themselves are loaded in `tx`. */
  static async load (tx: LedgerTransaction, messages: readonly SensorMessage[]): Promise<Working> {
    const working = new Working()
    await working.#loadSensors(tx.database, messages)
    await working.#loadBays(tx.database, messages)
    await working.#loadReservations(tx, messages)
    return working
  }

  /** What `load` asks, unless a sensor is new. */
  static questions (database: Database, messages: readonly SensorMessage[]): Question<unknown>[] {
    return [sensorsOf(database, messages), bayRowsOf(database, lotsOfBays(messages)), ofPlates(database, messages)]
  }

  sensor (lot: Id, sensor: Id): Sensor | null {
    return this.#sensors.get(sensorKey(lot, sensor)) ?? null
  }

  sensorsIn (lot: Id): number {
    return this.#sensorCounts.get(lot) ?? 0
  }

  setSensor (sensor: Sensor): void {
    const key = sensorKey(sensor.lot, sensor.sensor)
    if (!this.#sensors.has(key)) this.#sensorCounts.set(sensor.lot, this.sensorsIn(sensor.lot) + 1)
    this.#sensors.set(key, sensor)
    this.#changedSensors.set(key, sensor)
  }

  /** Changes what is known of every loaded sensor of a lot. */
  mapSensors (lot: Id, change: (seen: SensorSeen) => SensorSeen): void {
    for (const sensor of this.#sensors.values()) {
      if (sensor.lot !== lot) continue
      const seen = change(sensor.seen)
      if (seen !== sensor.seen) this.setSensor({ ...sensor, seen })
    }
  }

  bays (lot: Id): ReadonlyMap<Id, Bay> {
    return this.#bays.get(lot) ?? new Map<Id, Bay>()
  }

  setBay (lot: Id, bay: Bay): void {
    let bays = this.#bays.get(lot)
    if (!bays) this.#bays.set(lot, bays = new Map<Id, Bay>())
    bays.set(bay.bay, bay)
    this.#changedBays.set(`${lot}/${bay.bay}`, { lot, bay })
  }

  async save (tx: LedgerTransaction): Promise<void> {
    await upsert(tx.database, 'sensors', ['lot', 'sensor'], [...this.#changedSensors.values()].map(rowOfSensor))
    await upsert(tx.database, 'bays', ['lot', 'bay'], [...this.#changedBays.values()].map(({ lot, bay }) => rowOfBay(lot, bay, tx.nowMs)))
  }

  async #loadSensors (database: Database, messages: readonly SensorMessage[]): Promise<void> {
    for (const row of await ask(database, sensorsOf(database, messages))) this.#sensors.set(sensorKey(row.lot, row.sensor), sensorOf(row))
    const lotsWithNew = new Set<Id>()
    for (const message of messages) if (message.type !== 'bare' && !this.#sensors.has(sensorKey(message.lot, message.sensor))) lotsWithNew.add(message.lot)
    if (lotsWithNew.size === 0) return
    const counts = await database.kysely.selectFrom('sensors').select(e => ['lot', e.fn.countAll<number>().as('count')])
      .where('lot', 'in', [...lotsWithNew]).groupBy('lot').execute()
    for (const { lot, count } of counts) this.#sensorCounts.set(lot, Number(count))
  }

  async #loadBays (database: Database, messages: readonly SensorMessage[]): Promise<void> {
    for (const [lot, bays] of await baysOf(database, lotsOfBays(messages))) this.#bays.set(lot, bays)
  }

  /** Reservations of the plates that were seen, and those whose driver waits for the sensor to count the car. */
  async #loadReservations (tx: LedgerTransaction, messages: readonly SensorMessage[]): Promise<void> {
    const lots = new Map<Id, Lot>()
    for (const message of messages) {
      const lot = tx.lot(message.lot)
      if (lot && lot.arriving > 0) lots.set(lot.id, lot)
    }
    const byPlate = await ask(tx.database, ofPlates(tx.database, messages))
    const byLot = await selectByKeys(tx.database, 'reservations', ['lot', 'status'], [...lots.keys()].map(lot => [lot, 'arriving']), { where: `t.${CAR_IS_HERE}` })
    const live = [...byPlate, ...byLot].map(reservationOf).filter(reservation => LIVE_STATUSES.includes(reservation.status))
    tx.know(live.sort((a, b) => a.madeAtMs - b.madeAtMs))
  }
}

function sensorsOf (database: Database, messages: readonly SensorMessage[]): Question<SensorsTable[]> {
  const keys = new Map<string, [Id, Id]>()
  for (const message of messages) if (message.type !== 'bare') keys.set(sensorKey(message.lot, message.sensor), [message.lot, message.sensor])
  return byKeys(database, 'sensors', ['lot', 'sensor'], [...keys.values()])
}

function lotsOfBays (messages: readonly SensorMessage[]): Id[] {
  const lots = new Set<Id>()
  for (const message of messages) if (message.type === 'bays') lots.add(message.lot)
  return [...lots]
}

function bayRowsOf (database: Database, lots: readonly Id[]): Question<BaysTable[]> {
  return byKeys(database, 'bays', ['lot'], lots.map(lot => [lot]))
}

/** The reservations of plates that a gate has read. */
function ofPlates (database: Database, messages: readonly SensorMessage[]): Question<ReservationsTable[]> {
  const plates = new Map<string, [Id, string]>()
  for (const message of messages) if (message.type === 'delta' && message.plate !== null) plates.set(`${message.lot}/${message.plate}`, [message.lot, message.plate])
  return livePlates(database, [...plates.values()])
}

/** The reservations that a message may concern, the oldest first. */
export function waitingFor (tx: LedgerTransaction, message: SensorMessage): Reservation[] {
  if (message.type !== 'delta' && message.type !== 'bare') return []
  const plate = message.type === 'delta' ? message.plate : null
  if (plate === null && (tx.lot(message.lot)?.arriving ?? 0) === 0) return []
  // The transaction met those first that time had made due: that must not put them before older ones.
  return tx.reservationsOf(message.lot)
    .filter(reservation => plate === null ? reservation.status === 'arriving' : reservation.plate === plate && LIVE_STATUSES.includes(reservation.status))
    .sort((a, b) => a.madeAtMs - b.madeAtMs)
}

/** The bays of these lots. */
export async function baysOf (database: Database, lots: readonly Id[]): Promise<Map<Id, Map<Id, Bay>>> {
  const found = new Map<Id, Map<Id, Bay>>()
  for (const row of await ask(database, bayRowsOf(database, lots))) {
    let bays = found.get(row.lot)
    if (!bays) found.set(row.lot, bays = new Map<Id, Bay>())
    bays.set(row.bay, bayOf(row))
  }
  return found
}

/** At most `limit` sensors whose missing messages are a gap by now. */
export async function sensorsWithGap ({ kysely }: Database, nowMs: number, limit: number): Promise<Sensor[]> {
  const rows = await kysely.selectFrom('sensors').selectAll()
    .where('gap_due_at_ms', 'is not', null).where('gap_due_at_ms', '<=', nowMs).orderBy('gap_due_at_ms').limit(limit).execute()
  return rows.map(sensorOf)
}

/** At most `limit` sensors whose word on bays has lapsed by now. */
export async function sensorsWithoutWord ({ kysely }: Database, nowMs: number, limit: number): Promise<Sensor[]> {
  const rows = await kysely.selectFrom('sensors').selectAll()
    .where('stands_until_ms', 'is not', null).where('stands_until_ms', '<=', nowMs).orderBy('stands_until_ms').limit(limit).execute()
  return rows.map(sensorOf)
}

export async function saveBays (database: Database, lot: Id, bays: readonly Bay[], nowMs: number): Promise<void> {
  await upsert(database, 'bays', ['lot', 'bay'], bays.map(bay => rowOfBay(lot, bay, nowMs)))
}

export async function saveSensors (database: Database, sensors: readonly Sensor[]): Promise<void> {
  await upsert(database, 'sensors', ['lot', 'sensor'], sensors.map(rowOfSensor))
}

/** What a look at a part of a table has found, and where the next part begins; null behind the last one. */
export interface Part<T, Place> {
  readonly found: readonly T[]
  readonly next: Place | null
}

/**
 * Lots that have been silent since `beforeMs` and are not told of as such, among the `count` that follow `after`: no index is worth what
 * it would cost at each message, and all of a hundred thousand at once would hold everybody up.
 */
export async function silentLots ({ kysely }: Database, beforeMs: number, after: Id | null, count: number): Promise<Part<Id, Id>> {
  const following = kysely.selectFrom('lots').select('id').$if(after !== null, query => query.where('id', '>', after as Id))
  const last = await following.orderBy('id').offset(count - 1).limit(1).executeTakeFirst()
  const rows = await following.$if(last !== undefined, query => query.where('id', '<=', last?.id as Id))
    .where('quality', 'not in', ['stale', 'unknown']).where('heard_at_ms', '<=', beforeMs).execute()
  return { found: rows.map(row => row.id), next: last?.id ?? null }
}

/** Names a sensor. */
export interface SensorName {
  readonly lot: Id
  readonly sensor: Id
}

/** Forgets at most `limit` sensors not heard since `beforeMs`, among the `count` that follow `after`. Returns those that it forgot. */
export async function pruneSensors ({ kysely }: Database, beforeMs: number, after: SensorName | null, { count, limit }: { readonly count: number, readonly limit: number }): Promise<Part<SensorName, SensorName>> {
  const following = kysely.selectFrom('sensors').select(['lot', 'sensor'])
    .$if(after !== null, query => query.where(sql<boolean>`(lot, sensor) > (${after?.lot}, ${after?.sensor})`)).orderBy('lot').orderBy('sensor')
  const last = await following.offset(count - 1).limit(1).executeTakeFirst()
  const old = await following.$if(last !== undefined, query => query.where(sql<boolean>`(lot, sensor) <= (${last?.lot}, ${last?.sensor})`))
    .where('heard_at_ms', '<', beforeMs).limit(limit).execute()
  for (const { lot, sensor } of old) await kysely.deleteFrom('sensors').where('lot', '=', lot).where('sensor', '=', sensor).where('heard_at_ms', '<', beforeMs).execute()
  return { found: old, next: (old.length === limit ? old.at(-1) : last) ?? null }
}

function sensorKey (lot: Id, sensor: Id): string {
  return `${lot}/${sensor}`
}

function sensorOf (row: SensorsTable): Sensor {
  return {
    lot: row.lot,
    sensor: row.sensor,
    seen: { epoch: row.epoch, high: row.high, seenLow: row.seen_low, seenHigh: row.seen_high, missing: row.missing, reported: row.reported, gapDueAtMs: row.gap_due_at_ms },
    heardAtMs: row.heard_at_ms,
    toldAtMs: row.told_at_ms,
    standsUntilMs: row.stands_until_ms
  }
}

function rowOfSensor ({ lot, sensor, seen, heardAtMs, toldAtMs, standsUntilMs }: Sensor): SensorsTable {
  return {
    lot,
    sensor,
    epoch: seen.epoch,
    high: seen.high,
    seen_low: seen.seenLow,
    seen_high: seen.seenHigh,
    missing: seen.missing,
    reported: seen.reported,
    gap_due_at_ms: seen.gapDueAtMs,
    heard_at_ms: heardAtMs,
    told_at_ms: toldAtMs,
    stands_until_ms: standsUntilMs
  }
}

function bayOf (row: BaysTable): Bay {
  return { bay: row.bay, state: row.state, listed: row.listed === 1, lapsed: row.lapsed === 1, by: row.sensor === null ? null : { sensor: row.sensor, epoch: row.epoch, seq: row.seq } }
}

function rowOfBay (lot: Id, { bay, state, listed, lapsed, by }: Bay, nowMs: number): BaysTable {
  return { lot, bay, state, listed: Number(listed), lapsed: Number(lapsed), sensor: by?.sensor ?? null, epoch: by?.epoch ?? 0, seq: by?.seq ?? 0, changed_at_ms: nowMs }
}
