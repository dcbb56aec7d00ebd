// One transaction of the ledger as its services see it: lots are loaded with their due transitions applied, changes are
// collected, and everything is written at its end with a fixed number of statements, whatever the size of the batch.
import { sql } from 'kysely'
import type { Id, Lot } from '../shared/lot.js'
import { qualityAt } from '../shared/lot.js'
import { lotAfter, transition, type Reservation, type ReservationTimes } from '../shared/reservation.js'
import { appendAudit, type AuditEntry } from './audit.js'
import { lotOf, reservationOf, rowOfLot, rowOfReservation } from './records.js'
import { selectByKeys, upsert, type Database } from './rows.js'

/** How the rules of time are set (shared/config.ts). */
export interface LedgerTimes extends ReservationTimes {
  readonly staleAfterMs: number
}

/** Who and why of a change, for the audit. */
export interface Cause {
  readonly who: string
  /** Where it came from, if that is known. */
  readonly address?: string
  readonly why?: string
}

export class LedgerTransaction {
  /** The time of the whole transaction, by the ledger's clock. */
  readonly nowMs: number
  readonly database: Database
  readonly times: LedgerTimes
  /** As the tables have them. */
  readonly #loaded = new Map<Id, Lot>()
  /** Changed and not written yet. */
  readonly #lots = new Map<Id, Lot>()
  /** Changed and not written yet. */
  readonly #reservations = new Map<string, Reservation>()
  /** Reservations as they are now, changed or just loaded. */
  readonly #known = new Map<string, Reservation>()
  /** The same, by lot. */
  readonly #knownOf = new Map<Id, Map<string, Reservation>>()
  #audit: AuditEntry[] = []
  readonly #changed = new Set<Id>()
  /** Lots whose bays were changed in this transaction: who changes bays says so here. */
  readonly lotsWithChangedBays = new Set<Id>()

  constructor (database: Database, nowMs: number, times: LedgerTimes) {
    this.database = database
    this.nowMs = nowMs
    this.times = times
  }

  /** Lots that this transaction changed, removed or audited; complete after the last `flush`. */
  get changedLots (): ReadonlySet<Id> { return this.#changed }

  /** Loads the lots with these ids, each once in a transaction, and first applies what time has made due. */
  async load (ids: Iterable<Id>): Promise<void> {
    const missing = [...new Set(ids)].filter(id => !this.#loaded.has(id))
    const rows = await selectByKeys(this.database, 'lots', ['id'], missing.map(id => [id]))
    for (const row of rows) this.#loaded.set(row.id, lotOf(row))
    await this.#applyDue(rows.filter(row => row.due_at_ms !== null && row.due_at_ms <= this.nowMs).map(row => row.id))
  }

  /** A loaded lot as it is now in this transaction; undefined when there is none of this id. */
  lot (id: Id): Lot | undefined {
    return this.#lots.get(id) ?? this.#loaded.get(id)
  }

  /** Changes a lot, or makes a new one. Its version, its time of change and its quality as of now are set here. */
  setLot (lot: Lot): void {
    this.#lots.set(lot.id, {
      ...lot,
      quality: qualityAt(lot, this.nowMs, this.times.staleAfterMs),
      version: (this.#loaded.get(lot.id)?.version ?? 0) + 1,
      changedAtMs: this.nowMs
    })
  }

  /** Removes a lot with its sensors and bays, at once: the same transaction may make it anew. */
  async removeLot (id: Id): Promise<void> {
    this.#lots.delete(id)
    this.#loaded.delete(id)
    this.#changed.add(id)
    this.lotsWithChangedBays.add(id)
    await this.#erase(id)
  }

  /** A reservation as it is now in this transaction. */
  reservation (id: string): Reservation | undefined {
    return this.#known.get(id)
  }

  /** Takes over reservations read by a query; those already known here keep their newer state. Returns that state. */
  know (reservations: readonly Reservation[]): Reservation[] {
    return reservations.map(read => {
      const known = this.#known.get(read.id)
      if (known) return known
      this.#remember(read)
      return read
    })
  }

  /** The reservations of a lot that this transaction knows, loaded or changed, in the order it met them. */
  reservationsOf (lot: Id): Reservation[] {
    return [...this.#knownOf.get(lot)?.values() ?? []]
  }

  /** Changes or makes a reservation, and with it its lot's places and the audit. */
  setReservation (before: Reservation | null, after: Reservation, cause: Cause, carCountedElsewhere = false): void {
    const lot = this.lot(after.lot)
    if (!lot) throw new Error(`reservation ${after.id} is of the lot ${after.lot}, which is not loaded`)
    const changed = lotAfter(lot, before, after, carCountedElsewhere)
    // Where requests count, arrive and depart are the word on the lot that sensors are elsewhere.
    const next = changed.counted === lot.counted ? changed : { ...changed, heardAtMs: this.nowMs }
    this.setLot(after.dueAtMs !== null && (next.dueAtMs === null || after.dueAtMs < next.dueAtMs) ? { ...next, dueAtMs: after.dueAtMs } : next)
    this.#reservations.set(after.id, after)
    this.#remember(after)
    if (before?.status !== after.status) {
      this.audit({ lot: after.lot, type: `reservation.${after.status}`, reservation: after.id, ...cause, ...(before && { before: before.status }), after: after.status })
    }
  }

  /**
   * An absolute count of the lot: sets what is counted, ends `suspect`, and makes every gap that its sensors had until
   * now a matter of the past. The drift (old - new, in cars) goes to the audit.
   */
  async recount (lot: Lot, occupied: number, cause: Cause & { sensor?: Id }): Promise<number> {
    const drift = lot.counted - occupied
    this.setLot({ ...lot, counted: occupied, suspect: false, heardAtMs: this.nowMs })
    this.audit({ lot: lot.id, type: 'lot.recounted', ...cause, before: { counted: lot.counted }, after: { counted: occupied, drift } })
    await this.settleGaps(lot.id)
    return drift
  }

  /** Takes all messages that are missing from this lot's sensors as told. */
  async settleGaps (lot: Id): Promise<void> {
    await this.database.kysely.updateTable('sensors')
      .set(e => ({ gap_due_at_ms: null, reported: e.ref('missing') }))
      .where('lot', '=', lot).where(e => e('missing', '>', e.ref('reported')))
      .execute()
  }

  audit (entry: AuditEntry): void {
    this.#audit.push(entry)
  }

  #remember (reservation: Reservation): void {
    this.#known.set(reservation.id, reservation)
    let ofLot = this.#knownOf.get(reservation.lot)
    if (!ofLot) this.#knownOf.set(reservation.lot, ofLot = new Map<string, Reservation>())
    ofLot.set(reservation.id, reservation)
  }

  /** Writes what has changed so far. The ledger calls it last; a query that must see the changes calls it before. */
  async flush (): Promise<void> {
    for (const lot of this.#lots.values()) this.#auditQuality(lot)
    await upsert(this.database, 'lots', ['id'], [...this.#lots.values()].map(rowOfLot))
    await upsert(this.database, 'reservations', ['id'], [...this.#reservations.values()].map(rowOfReservation))
    await appendAudit(this.database, this.nowMs, this.#audit)
    for (const [id, lot] of this.#lots) this.#loaded.set(id, lot)
    for (const id of [...this.#lots.keys(), ...this.#audit.flatMap(entry => entry.lot ?? [])]) this.#changed.add(id)
    this.#lots.clear()
    this.#reservations.clear()
    this.#audit = []
  }

  #auditQuality (lot: Lot): void {
    const before = this.#loaded.get(lot.id)?.quality
    if (before === undefined || before === lot.quality) return
    this.audit({ lot: lot.id, type: 'quality.changed', who: lot.quality === 'stale' ? 'time' : 'sensors', before, after: lot.quality })
  }

  /**
   * Applies every transition that time has made due in these lots, in the order of time, before anything else in the
   * transaction sees them. So a late timer can never admit too many: the timers only make it prompt.
   */
  async #applyDue (ids: readonly Id[]): Promise<void> {
    if (ids.length === 0) return
    const rows = await selectDue(this.database, ids, this.nowMs)
    const queue = this.know(rows.map(reservationOf))
    for (let reservation of queue) {
      while (reservation.dueAtMs !== null && reservation.dueAtMs <= this.nowMs) {
        const result = transition(reservation, { type: 'due' }, reservation.dueAtMs, this.times)
        if (!result.ok) throw new Error(`reservation ${reservation.id} is due but ${reservation.status}`)
        const why = reservation.status === 'arriving' ? 'arrival_grace_over' : reservation.status === 'arrived' ? 'longest_stay_over' : 'not_arrived_in_time'
        this.setReservation(reservation, result.reservation, { who: 'time', why })
        reservation = result.reservation
      }
    }
    // Those changed just now are not written yet: their own due times count, the stored ones of the others do.
    const nextDue = await selectNextDue(this.database, ids, this.nowMs)
    for (const id of ids) {
      const lot = this.lot(id)
      if (!lot) continue
      const own = queue.filter(r => r.lot === id).flatMap(r => this.#known.get(r.id)?.dueAtMs ?? [])
      const all = [...own, ...nextDue.filter(row => row.lot === id).map(row => row.due_at_ms)]
      this.setLot({ ...lot, dueAtMs: all.length > 0 ? Math.min(...all) : null })
    }
  }

  async #erase (id: Id): Promise<void> {
    const { kysely } = this.database
    await kysely.deleteFrom('lots').where('id', '=', id).execute()
    await kysely.deleteFrom('sensors').where('lot', '=', id).execute()
    await kysely.deleteFrom('bays').where('lot', '=', id).execute()
  }
}

async function selectDue ({ kysely }: Database, ids: readonly Id[], nowMs: number) {
  return kysely.selectFrom('reservations').selectAll()
    .where('lot', 'in', ids).where('due_at_ms', 'is not', null).where('due_at_ms', '<=', nowMs)
    .orderBy('due_at_ms').execute()
}

async function selectNextDue ({ kysely }: Database, ids: readonly Id[], nowMs: number) {
  return kysely.selectFrom('reservations').select(['lot', sql<number>`min(due_at_ms)`.as('due_at_ms')])
    .where('lot', 'in', ids).where('due_at_ms', 'is not', null).where('due_at_ms', '>', nowMs)
    .groupBy('lot').execute()
}
