// One transaction of the ledger as its services see it: lots are loaded with their due transitions applied, changes are
// collected, and everything is written at its end with few statements, whatever the size of the batch (rows.ts).
import { copyOf, qualityAt, type Id, type Lot } from '../shared/lot.js'
import type { ReplyAddress } from '../shared/request-envelope.js'
import { lotAfter, windowOf, type Reservation, type ReservationTimes } from '../shared/reservation.js'
import { Overlaps } from '../shared/windows.js'
import type { Writable } from '../shared/writable.js'
import { appendAudit, eventsOf, type AuditEntry } from './audit.js'
import { applyDue } from './due.js'
import type { Committed } from './feed.js'
import { lockLots } from './locks.js'
import { lotOf, rowOfLot, rowOfReservation } from './records.js'
import { upsert, type Database } from './rows.js'
import { liveWindows } from './live-windows.js'
import type { AuditTable, ReservationsTable } from './tables.js'
import { addWaiting, leaveWaiting, type NewWaiting } from './waiting.js'
import type { WindowsCache } from './windows-cache.js'

/** How the rules of time are set (shared/config.ts). */
export interface LedgerTimes extends ReservationTimes {
  readonly staleAfterMs: number
  /** How far ahead the next booking is told of cars that have overstayed. */
  readonly conflictNoticeMs: number
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
  readonly #asked = new Set<Id>()
  /** The versions that were committed: several writes of one transaction are one change. */
  readonly #versions = new Map<Id, number>()
  /** Changed and not written yet. */
  readonly #lots = new Map<Id, Lot>()
  /** Changed and not written yet. */
  readonly #reservations = new Map<string, Reservation>()
  /** Those of them that got another lot or plate. */
  readonly #relocated = new Set<string>()
  /** Reservations as they are now, changed or just loaded. */
  readonly #known = new Map<string, Reservation>()
  /** The same, by lot. */
  readonly #knownOf = new Map<Id, Map<string, Reservation>>()
  #audit: AuditEntry[] = []
  readonly #lines: AuditTable[] = []
  /** Gives so many lines of the audit their numbers; null where the engine does. */
  readonly #numbers: ((count: number) => number) | null
  readonly #changed = new Set<Id>()
  readonly #cache: WindowsCache
  /** The windows of the lots that this transaction has to do with, as they are now in it. */
  readonly #windows = new Map<Id, Overlaps>()
  #joined: NewWaiting[] = []
  readonly #left = new Map<string, Reservation>()
  #hasNotices = false
  /** Lots whose bays were changed in this transaction: who changes bays says so here. */
  readonly lotsWithChangedBays = new Set<Id>()

  constructor (database: Database, nowMs: number, times: LedgerTimes, cache: WindowsCache, numbers: ((count: number) => number) | null) {
    this.database = database
    this.nowMs = nowMs
    this.times = times
    this.#cache = cache
    this.#numbers = numbers
  }

  /** Lots that this transaction changed, removed or audited; complete after the last `flush`. */
  get changedLots (): ReadonlySet<Id> { return this.#changed }

  /** What it has changed, for those who would otherwise read it again; complete after the last `flush`. */
  get outcome (): Committed {
    const lots = new Map<Id, Lot>()
    for (const id of this.#changed) {
      const lot = this.lot(id)
      if (lot) lots.set(id, lot)
    }
    return { lots, events: eventsOf(this.#lines) }
  }

  /** Whether somebody on a waiting list is to be told what became of it; complete after the last `flush`. */
  get hasNotices (): boolean { return this.#hasNotices }

  /** Whether it has lines of the audit that are to be published; complete after the last `flush`. */
  get hasEvents (): boolean { return this.#lines.some(line => line.lot !== null) }

  /** Loads the lots with these ids, each once in a transaction, and first applies what time has made due. */
  async load (ids: Iterable<Id>): Promise<void> {
    const missing = [...new Set(ids)].filter(id => !this.#loaded.has(id))
    const rows = await lockLots(this.database, missing)
    for (const id of missing) this.#asked.add(id)
    for (const row of rows) {
      this.#loaded.set(row.id, lotOf(row))
      this.#versions.set(row.id, row.version)
    }
    await applyDue(this, rows.filter(row => row.due_at_ms !== null && row.due_at_ms <= this.nowMs).map(row => row.id))
  }

  /** Whether this lot was loaded, or was not there when that was tried: nobody else changes it, or what is of it, from then on. */
  isLoaded (id: Id): boolean {
    return this.#asked.has(id)
  }

  /** Loads the windows of these lots' reservations, for `overlaps`; the lots are loaded. Those that do not exist are passed over. */
  async loadWindows (ids: Iterable<Id>): Promise<void> {
    const missing = [...new Set(ids)].filter(id => this.lot(id) !== undefined && this.#windowsOf(id) === null)
    if (missing.length === 0) return
    // What was changed must be on the tables to be read with the others.
    await this.flush()
    const windows = await liveWindows(this.database, missing)
    for (const id of missing) this.#windows.set(id, new Overlaps(windows.get(id)))
  }

  /** How many reservations of a lot overlap at each instant. Only `setReservation` changes it. */
  overlaps (id: Id): Pick<Overlaps, 'peak' | 'steps'> {
    const overlaps = this.#windows.get(id)
    if (!overlaps) throw new Error(`the windows of the lot ${id} are not loaded`)
    return overlaps
  }

  /** A loaded lot as it is now in this transaction; undefined when there is none of this id. */
  lot (id: Id): Lot | undefined {
    return this.#lots.get(id) ?? this.#loaded.get(id)
  }

  /** Changes a lot, or makes a new one. Its version, its time of change and its quality as of now are set here. */
  setLot (lot: Lot): void {
    const next = copyOf(lot)
    next.quality = qualityAt(lot, this.nowMs, this.times.staleAfterMs)
    next.version = (this.#versions.get(lot.id) ?? 0) + 1
    next.changedAtMs = this.nowMs
    this.#lots.set(lot.id, next)
  }

  /** Removes a lot with its sensors and bays, at once: the same transaction may make it anew. */
  async removeLot (id: Id): Promise<void> {
    this.#lots.delete(id)
    this.#loaded.delete(id)
    this.#versions.delete(id)
    this.#windows.delete(id)
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

  /** Changes or makes a reservation, and with it its lot's places, its windows and the audit. */
  setReservation (before: Reservation | null, after: Reservation, cause: Cause, carCountedElsewhere = false): void {
    if (before !== null && before.lot !== after.lot) {
      this.#move(before.lot, before, null, carCountedElsewhere)
      this.#move(after.lot, null, after, carCountedElsewhere)
    } else {
      this.#move(after.lot, before, after, carCountedElsewhere)
    }
    this.#reservations.set(after.id, after)
    if (before !== null && (before.lot !== after.lot || before.plate !== after.plate)) this.#relocated.add(after.id)
    if (before !== null && before.lot !== after.lot) this.#knownOf.get(before.lot)?.delete(after.id)
    this.#remember(after)
    if (before?.status === 'waiting' && after.status !== 'waiting') this.#left.set(after.id, after)
    if (before?.status !== after.status) {
      const entry: Writable<AuditEntry> = { lot: after.lot, type: `reservation.${after.status}`, reservation: after.id, who: cause.who, after: after.status }
      if (cause.address !== undefined) entry.address = cause.address
      if (cause.why !== undefined) entry.why = cause.why
      if (before !== null) entry.before = before.status
      this.audit(entry)
    }
  }

  /** Puts a reservation that is `waiting` at the end of its lot's list; what becomes of it is told to `address`. */
  putOnWaitingList ({ id, lot }: Reservation, address: ReplyAddress): void {
    this.#joined.push({ reservation: id, lot, address })
  }

  #move (id: Id, before: Reservation | null, after: Reservation | null, carCountedElsewhere: boolean): void {
    const lot = this.lot(id)
    if (!lot) throw new Error(`the reservation ${(after ?? before)?.id} is of the lot ${id}, which is not loaded`)
    const next = lotAfter(lot, before, after, carCountedElsewhere)
    // Where requests count, arrive and depart are the word on the lot that sensors are elsewhere.
    if (next.counted !== lot.counted) {
      next.heardAtMs = this.nowMs
      next.corrected = { sensor: null, said: 'delta', atMs: this.nowMs }
    }
    const [from, to] = [before && windowOf(before), after && windowOf(after)]
    if (from?.fromMs !== to?.fromMs || from?.toMs !== to?.toMs) {
      const overlaps = this.#windowsOf(id)
      if (from) overlaps?.remove(from)
      if (to) overlaps?.add(to)
      next.windowsVersion++
    }
    const dueAtMs = after?.dueAtMs ?? null
    if (dueAtMs !== null && (next.dueAtMs === null || dueAtMs < next.dueAtMs)) next.dueAtMs = dueAtMs
    this.setLot(next)
  }

  /** The windows of a loaded lot if they are in memory. From now on they are this transaction's. */
  #windowsOf (id: Id): Overlaps | null {
    const own = this.#windows.get(id)
    if (own) return own
    const lot = this.lot(id)
    const kept = lot ? this.#cache.take(lot) : null
    if (kept) this.#windows.set(id, kept)
    return kept
  }

  /** Told by the ledger after the commit: what this transaction knows of windows is now the truth. */
  committed (): void {
    for (const [id, overlaps] of this.#windows) {
      const lot = this.lot(id)
      if (lot) this.#cache.put(lot, overlaps)
    }
  }

  /**
   * An absolute count of the lot: sets what is counted, ends `suspect`, and makes every gap that its sensors had until
   * now a matter of the past. The drift (old - new, in cars) goes to the audit.
   */
  async recount (lot: Lot, occupied: number, cause: Cause & { sensor?: Id }): Promise<number> {
    const drift = lot.counted - occupied
    this.setLot({ ...lot, counted: occupied, suspect: false, heardAtMs: this.nowMs, absolute: { sensor: cause.sensor ?? null, said: 'recount', atMs: this.nowMs } })
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

  /** Writes what one piece of work has changed. What the next one in this transaction does to a lot makes another version of it. */
  async finishWork (): Promise<void> {
    await this.flush()
    for (const id of this.#changed) {
      const lot = this.#loaded.get(id)
      if (lot) this.#versions.set(id, lot.version)
    }
  }

  /** Writes what has changed so far. The ledger calls it last; a query that must see the changes calls it before. */
  async flush (): Promise<void> {
    for (const lot of this.#lots.values()) this.#auditQuality(lot)
    await upsert(this.database, 'lots', ['id'], [...this.#lots.values()].map(rowOfLot))
    await this.#writeReservations()
    await addWaiting(this.database, this.#joined)
    if (this.#left.size > 0) this.#hasNotices = true
    await leaveWaiting(this.database, [...this.#left.values()], this.nowMs)
    if (this.#audit.length > 0) this.#lines.push(...await appendAudit(this.database, this.nowMs, this.#audit, this.#numbers?.(this.#audit.length) ?? null))
    for (const [id, lot] of this.#lots) this.#loaded.set(id, lot)
    for (const id of [...this.#lots.keys(), ...this.#audit.flatMap(entry => entry.lot ?? [])]) this.#changed.add(id)
    this.#lots.clear()
    this.#reservations.clear()
    this.#relocated.clear()
    this.#joined = []
    this.#left.clear()
    this.#audit = []
  }

  /** Lot and plate are in most of the table's indexes: where they stay, those indexes are left alone. */
  async #writeReservations (): Promise<void> {
    const [moved, others]: [ReservationsTable[], ReservationsTable[]] = [[], []]
    for (const reservation of this.#reservations.values()) (this.#relocated.has(reservation.id) ? moved : others).push(rowOfReservation(reservation))
    await upsert(this.database, 'reservations', ['id'], others, ['lot', 'plate'])
    await upsert(this.database, 'reservations', ['id'], moved)
  }

  #auditQuality (lot: Lot): void {
    const before = this.#loaded.get(lot.id)?.quality
    if (before === undefined || before === lot.quality) return
    this.audit({ lot: lot.id, type: 'quality.changed', who: lot.quality === 'stale' ? 'time' : 'sensors', before, after: lot.quality })
  }

  async #erase (id: Id): Promise<void> {
    const { kysely } = this.database
    await kysely.deleteFrom('lots').where('id', '=', id).execute()
    await kysely.deleteFrom('sensors').where('lot', '=', id).execute()
    await kysely.deleteFrom('bays').where('lot', '=', id).execute()
  }
}
