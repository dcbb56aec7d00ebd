// All reservations of a plate, and of an owner, in the order of time: one index each, which is written when a reservation is made and
// not again. What is live has small ones of its own.
import { sql, type Kysely } from 'kysely'

/** Done again from its beginning after a crash, it comes to the same. */
export async function lists (db: Kysely<unknown>): Promise<void> {
  await db.schema.dropIndex('reservations_plate').ifExists().execute()
  await sql`create index reservations_plate on reservations (plate, made_at_ms)`.execute(db)
  await sql`create index if not exists reservations_owner on reservations (owner, made_at_ms) where owner is not null`.execute(db)
}
