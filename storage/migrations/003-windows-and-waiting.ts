// Reservations for windows of time, waiting lists with the messages that they promise, and permits.
import { sql, type Kysely } from 'kysely'
import type { Engine } from '../rows.js'
import { CAR_IS_HERE } from '../tables.js'

export function windowsAndWaiting (engine: Engine) {
  return async function up (db: Kysely<unknown>): Promise<void> {
    if (engine === 'postgres') {
      await change(db, engine)
      return
    }
    // Kysely runs migrations of SQLite without a transaction, and notes them only afterwards: a crash must leave all as
    // it was or as it will be, and what was done already must be known again.
    await db.transaction().execute(async tx => {
      if (!await hasKind(tx)) await change(tx, engine)
    })
  }
}

async function change (db: Kysely<unknown>, engine: Engine): Promise<void> {
  const int = engine === 'sqlite' ? 'integer' : 'bigint'
  await addColumns(db, int)
  // A hold whose car is in has no window any more; the car is counted.
  await sql`update reservations set original_to_ms = to_ms`.execute(db)
  await sql`update reservations set to_ms = from_ms where status = 'arrived'`.execute(db)
  await changeIndexes(db)
  await addTables(db, int, engine)
}

async function addColumns (db: Kysely<unknown>, int: 'integer' | 'bigint'): Promise<void> {
  await db.schema.alterTable('lots').addColumn('waiting', int, c => c.notNull().defaultTo(0).check(sql`waiting >= 0`)).execute()
  await db.schema.alterTable('lots').addColumn('windows_version', int, c => c.notNull().defaultTo(0)).execute()
  await db.schema.alterTable('lots').addColumn('time_zone', 'text', c => c.notNull().defaultTo('UTC')).execute()
  await db.schema.alterTable('lots').addColumn('tariff', 'text', c => c.notNull().defaultTo('standard')).execute()
  await db.schema.alterTable('reservations').addColumn('kind', 'text', c => c.notNull().defaultTo('hold')).execute()
  await db.schema.alterTable('reservations').addColumn('original_to_ms', int, c => c.notNull().defaultTo(0)).execute()
}

async function changeIndexes (db: Kysely<unknown>): Promise<void> {
  const live = sql`due_at_ms is not null`
  await db.schema.dropIndex('reservations_live_plate').execute()
  // By plate alone as well, for the limit of reservations of one plate.
  await sql`create index reservations_live_plate on reservations (plate, lot) where ${live}`.execute(db)
  await sql`create index reservations_live_owner on reservations (owner) where ${live} and owner is not null`.execute(db)
  await sql`create index lots_waiting on lots (id) where waiting > 0`.execute(db)
  await sql`create index reservations_here on reservations (lot, status) where ${sql.raw(CAR_IS_HERE)}`.execute(db)
}

async function addTables (db: Kysely<unknown>, int: 'integer' | 'bigint', engine: Engine): Promise<void> {
  // Numbers are never used again, so that their order is that of their making.
  const numbered = (name: string, column: string) => db.schema.createTable(name)
    .addColumn(column, int, c => engine === 'sqlite' ? c.primaryKey().autoIncrement() : c.primaryKey().generatedAlwaysAsIdentity())
  await numbered('waiting', 'position')
    .addColumn('reservation', 'text', c => c.notNull().unique())
    .addColumn('lot', 'text', c => c.notNull())
    .addColumn('topic', 'text', c => c.notNull())
    .addColumn('correlation_data', 'text')
    .addColumn('correlation', 'text')
    .execute()
  await db.schema.createIndex('waiting_lot').on('waiting').columns(['lot', 'position']).execute()
  await numbered('notices', 'id')
    .addColumn('topic', 'text', c => c.notNull())
    .addColumn('correlation_data', 'text')
    .addColumn('correlation', 'text')
    .addColumn('payload', 'text', c => c.notNull())
    .addColumn('at_ms', int, c => c.notNull())
    .execute()
  await db.schema.createTable('permits')
    .addColumn('permit', 'text', c => c.primaryKey())
    .addColumn('sold', int, c => c.notNull().check(sql`sold >= 0`))
    .execute()
  await db.schema.createTable('permit_sales')
    .addColumn('id', 'text', c => c.primaryKey())
    .addColumn('permit', 'text', c => c.notNull())
    .addColumn('plate', 'text', c => c.notNull())
    .addColumn('owner', 'text')
    .addColumn('price_cents', int, c => c.notNull())
    .addColumn('sold_at_ms', int, c => c.notNull())
    .execute()
  await db.schema.createIndex('permit_sales_at').on('permit_sales').column('sold_at_ms').execute()
}

async function hasKind (db: Kysely<unknown>): Promise<boolean> {
  const { rows } = await sql<{ name: string }>`select name from pragma_table_info('reservations')`.execute(db)
  return rows.some(column => column.name === 'kind')
}
