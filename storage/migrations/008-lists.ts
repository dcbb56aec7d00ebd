// Reservations of a plate and of an owner are found by one index each, the live ones and the newest of all.
import { sql, type Kysely } from 'kysely'

/** Done again from its beginning after a crash, it comes to the same. */
export async function lists (db: Kysely<unknown>): Promise<void> {
  for (const index of ['reservations_plate', 'reservations_live_plate', 'reservations_live_owner']) await db.schema.dropIndex(index).ifExists().execute()
  await sql`create index reservations_plate on reservations (plate, due_at_ms, made_at_ms)`.execute(db)
  await sql`create index if not exists reservations_owner on reservations (owner, due_at_ms, made_at_ms) where owner is not null`.execute(db)
}
