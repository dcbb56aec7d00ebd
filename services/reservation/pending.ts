// How many reservations each plate and each user has whose car has not come: what the limits of one plate and of one user
// are held against, within a batch as well.
import { sql } from 'kysely'
import type { Id } from '../../shared/lot.js'
import { PENDING_STATUSES, type Reservation } from '../../shared/reservation.js'
import { ask, type Question } from '../../storage/questions.js'
import { givenRows, lookUp, type Database } from '../../storage/rows.js'
import type { LedgerTransaction } from '../../storage/transaction.js'
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

  /**
   * Counts what these plates and users have. They may have some in lots that nobody asks about, where nobody has noticed yet
   * that their time is over: that is applied first.
   */
  static async load (tx: LedgerTransaction, plates: ReadonlySet<string>, users: ReadonlySet<string>, limits: ReservationLimits): Promise<Pending> {
    // What was changed must be on the tables to be counted.
    if (plates.size + users.size > 0) await tx.flush()
    const [plateQuestion, userQuestion] = Pending.questions(tx.database, plates, users)
    let [ofPlates, ofUsers] = [await ask(tx.database, plateQuestion), await ask(tx.database, userQuestion)]
    const late = [...ofPlates, ...ofUsers].filter(({ dueAtMs }) => dueAtMs <= tx.nowMs)
    if (late.length > 0) {
      await tx.load(late.map(({ lot }) => lot))
      await tx.flush()
      ;[ofPlates, ofUsers] = [await ask(tx.database, plateQuestion), await ask(tx.database, userQuestion)]
    }
    return new Pending(limits, summed(ofPlates), summed(ofUsers))
  }

  /** What `load` asks, unless something is due. */
  static questions (database: Database, plates: ReadonlySet<string>, users: ReadonlySet<string>): [Question<PendingIn[]>, Question<PendingIn[]>] {
    return [pendingOf(database, 'plate', plates), pendingOf(database, 'owner', users)]
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

/** What a plate or a user has pending in one lot. */
interface PendingIn {
  readonly key: string
  readonly lot: Id
  readonly count: number
  /** When the first of them is due. */
  readonly dueAtMs: number
}

function pendingOf (database: Database, column: 'plate' | 'owner', keys: ReadonlySet<string>): Question<PendingIn[]> {
  const { query, read } = givenRows(database, `pending of ${column}`, [['key', 'text']], [...keys].map(key => [key]), given => {
    const statuses = sql.join(PENDING_STATUSES.map(status => sql.lit(status)))
    return sql<PendingIn>`
      select given.key as key, t.lot as lot, count(*) as count, min(t.due_at_ms) as ${sql.ref('dueAtMs')}
      from ${lookUp(database.engine, given, 'reservations', sql`t.${sql.ref(column)} = given.key and t.due_at_ms is not null and t.status in (${statuses})`, { index: `reservations_live_${column}` })}
      group by given.key, t.lot`
  })
  return { query, read: rows => read(rows).map(row => ({ ...row, count: Number(row.count), dueAtMs: Number(row.dueAtMs) })) }
}

function summed (pending: readonly PendingIn[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { key, count } of pending) add(counts, key, count)
  return counts
}
