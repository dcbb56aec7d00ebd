// All reservations of a plate, and of an owner, in the order of time: one index each, which is written when a reservation is made and
// again only when its plate changes. What is live has small ones of its own.
import { sql, type Kysely } from 'kysely'
import type { Engine } from '../rows.js'

/** Done again from its beginning after a crash, it comes to the same. */
export function lists (engine: Engine): (db: Kysely<unknown>) => Promise<void> {
  return async db => {
    await sql`create index if not exists reservations_owner on reservations (owner, made_at_ms) where owner is not null`.execute(db)
    if (engine === 'sqlite') {
      await db.schema.dropIndex('reservations_plate').ifExists().execute()
      await sql`create index reservations_plate on reservations (plate, made_at_ms)`.execute(db)
      return
    }
    // Other nodes go on reading while it is made: to drop an index shuts out everybody, so it comes last.
    await sql`create index reservations_plate_made on reservations (plate, made_at_ms)`.execute(db)
    await db.schema.dropIndex('reservations_plate').execute()
    await sql`alter index reservations_plate_made rename to reservations_plate`.execute(db)
  }
}
