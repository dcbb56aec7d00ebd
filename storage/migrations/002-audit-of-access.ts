// The audit tells of people as well: where an act came from, and acts that concern no lot. It is read
// by time.
import { sql, type Kysely } from 'kysely'
import type { Engine } from '../rows.js'

export function auditOfAccess (engine: Engine) {
  return async function up (db: Kysely<unknown>): Promise<void> {
    if (engine === 'postgres') {
      await db.schema.alterTable('audit').addColumn('address', 'text').execute()
      await db.schema.alterTable('audit').alterColumn('lot', c => c.dropNotNull()).execute()
      await addIndexes(db, engine)
      return
    }
    // Kysely runs migrations of SQLite without a transaction, and notes them only afterwards: a crash must leave the
    // audit as it was or as it will be, and what was done already must be known again.
    await db.transaction().execute(async tx => {
      if (await hasAddress(tx)) return
      await rebuild(tx)
      await addIndexes(tx, engine)
    })
  }
}

/** SQLite cannot take a NOT NULL away: the lines move to a table that has none, with their numbers. */
async function rebuild (db: Kysely<unknown>): Promise<void> {
  await db.schema.createTable('audit_002')
    .addColumn('id', 'integer', c => c.primaryKey().autoIncrement())
    .addColumn('at_ms', 'integer', c => c.notNull())
    .addColumn('lot', 'text')
    .addColumn('type', 'text', c => c.notNull())
    .addColumn('who', 'text', c => c.notNull())
    .addColumn('address', 'text')
    .addColumn('why', 'text')
    .addColumn('reservation', 'text')
    .addColumn('sensor', 'text')
    .addColumn('before', 'text')
    .addColumn('after', 'text')
    .execute()
  await sql`insert into audit_002 (id, at_ms, lot, type, who, why, reservation, sensor, before, after)
    select id, at_ms, lot, type, who, why, reservation, sensor, before, after from audit order by id`.execute(db)
  // The highest number ever given, also when its line was forgotten: cursors have passed it.
  await sql`delete from sqlite_sequence where name = 'audit_002'`.execute(db)
  await sql`insert into sqlite_sequence (name, seq) select 'audit_002', seq from sqlite_sequence where name = 'audit'`.execute(db)
  await db.schema.dropTable('audit').execute()
  await db.schema.alterTable('audit_002').renameTo('audit').execute()
}

async function addIndexes (db: Kysely<unknown>, engine: Engine): Promise<void> {
  // None by lot or who: they would make every line cost up to ten times as much, and save a reader who looks at a part at
  // a time only milliseconds. An index of SQLite has the number in it already.
  await db.schema.createIndex('audit_at').on('audit').columns(engine === 'sqlite' ? ['at_ms'] : ['at_ms', 'id']).execute()
}

async function hasAddress (db: Kysely<unknown>): Promise<boolean> {
  const { rows } = await sql<{ name: string }>`select name from pragma_table_info('audit')`.execute(db)
  return rows.some(column => column.name === 'address')
}
