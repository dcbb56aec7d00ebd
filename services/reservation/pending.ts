// How many reservations each plate and each user has whose car has not come: what the limits of one plate and of one user
// are held against, within a batch as well.
import { sql, type RawBuilder } from 'kysely'
import type { Id } from '../../shared/lot.js'
import { PENDING_STATUSES, type Reservation } from '../../shared/reservation.js'
import { jsonRows, type Database } from '../../storage/rows.js'
import { refuse, type Refused } from './core.js'

export interface ReservationLimits {
  readonly reservationsPerPlate: number
  readonly reservationsPerUser: number
}

export class Pending {
  readonly #limits: ReservationLimits
  readonly #ofPlate: Map<string, number>
  readonly #ofUser: Map<string, number>

  private constructor (limits: ReservationLimits, ofPlate: Map<string, number>, ofUser: Map<string, number>) {
    this.#limits = limits
    this.#ofPlate = ofPlate
    this.#ofUser = ofUser
  }

  /** Counts what is on the tables for these plates and users. */
  static async load (database: Database, plates: ReadonlySet<string>, users: ReadonlySet<string>, limits: ReservationLimits): Promise<Pending> {
    return new Pending(limits, await count(database, 'plate', plates), await count(database, 'owner', users))
  }

  /** Null if one more is allowed. `user` is null for whoever has no limit. */
  refusal (plate: string, user: string | null): Refused | null {
    const { reservationsPerPlate: ofPlate, reservationsPerUser: ofUser } = this.#limits
    if ((this.#ofPlate.get(plate) ?? 0) >= ofPlate) return refuse('over_limit', `the plate has ${ofPlate} reservations whose car has not come, the most of one plate (limits.reservationsPerPlate); cancel one`)
    if (user !== null && (this.#ofUser.get(user) ?? 0) >= ofUser) return refuse('over_limit', `you have ${ofUser} reservations whose car has not come, the most of one user (limits.reservationsPerUser); cancel one`)
    return null
  }

  /** A reservation of a plate or user that was loaded has changed. */
  note (before: Reservation | null, after: Reservation): void {
    for (const [reservation, by] of [[before, -1], [after, 1]] as const) {
      if (reservation === null || !PENDING_STATUSES.includes(reservation.status)) continue
      add(this.#ofPlate, reservation.plate, by)
      if (reservation.owner !== null) add(this.#ofUser, reservation.owner, by)
    }
  }
}

function add (counts: Map<string, number>, key: string, by: number): void {
  counts.set(key, (counts.get(key) ?? 0) + by)
}

/** Lots in which time has made something of these plates and users due. */
export async function lotsLateFor (database: Database, plates: ReadonlySet<string>, users: ReadonlySet<string>, nowMs: number): Promise<Set<Id>> {
  const late = new Set<Id>()
  for (const [column, keys] of [['plate', plates], ['owner', users]] as const) {
    if (keys.size === 0) continue
    const { rows } = await sql<{ lot: Id }>`
      select distinct r.lot as lot from ${given(database, keys)} as given join reservations as r on r.${sql.ref(column)} = given.key
      where r.due_at_ms is not null and r.due_at_ms <= ${nowMs}`.execute(database.kysely)
    for (const { lot } of rows) late.add(lot)
  }
  return late
}

function given ({ engine }: Database, keys: ReadonlySet<string>): RawBuilder<unknown> {
  return jsonRows(engine, [['key', 'text']], [...keys].map(key => [key]))
}

async function count (database: Database, column: 'plate' | 'owner', keys: ReadonlySet<string>): Promise<Map<string, number>> {
  if (keys.size === 0) return new Map()
  const pending: RawBuilder<unknown> = sql.join(PENDING_STATUSES.map(status => sql.lit(status)))
  const { rows } = await sql<{ key: string, count: number }>`
    select given.key as key, count(*) as count from ${given(database, keys)} as given join reservations as r on r.${sql.ref(column)} = given.key
    where r.due_at_ms is not null and r.status in (${pending}) group by given.key`.execute(database.kysely)
  return new Map(rows.map(({ key, count }) => [key, Number(count)]))
}
