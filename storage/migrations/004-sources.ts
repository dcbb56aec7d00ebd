// Who said what of a lot's count, and for how long a sensor's word on its bays stands.
import { sql, type Kysely } from 'kysely'
import type { Engine } from '../rows.js'

export function sources (engine: Engine) {
  return async function up (db: Kysely<unknown>): Promise<void> {
    if (engine === 'postgres') {
      await change(db, engine)
      return
    }
    // Kysely runs migrations of SQLite without a transaction, and notes them only afterwards: a crash must leave all as
    // it was or as it will be, and what was done already must be known again.
    await db.transaction().execute(async tx => {
      if (!await hasLapsed(tx)) await change(tx, engine)
    })
  }
}

async function change (db: Kysely<unknown>, engine: Engine): Promise<void> {
  const int = engine === 'sqlite' ? 'integer' : 'bigint'
  const add = async (table: string, column: string, type: 'text' | 'integer' | 'bigint'): Promise<void> => await db.schema.alterTable(table).addColumn(column, type).execute()
  await add('lots', 'absolute_sensor', 'text')
  await add('lots', 'absolute_said', 'text')
  await add('lots', 'absolute_at_ms', int)
  await add('lots', 'corrected_sensor', 'text')
  await add('lots', 'corrected_at_ms', int)
  await add('sensors', 'stands_until_ms', int)
  await db.schema.alterTable('lots').addColumn('lapsed_bays', int, c => c.notNull().defaultTo(0).check(sql`lapsed_bays >= 0`)).execute()
  await db.schema.alterTable('bays').addColumn('lapsed', int, c => c.notNull().defaultTo(0)).execute()
  // Few sensors say how long their word stands.
  await sql`create index sensors_standing on sensors (stands_until_ms) where stands_until_ms is not null`.execute(db)
}

async function hasLapsed (db: Kysely<unknown>): Promise<boolean> {
  const { rows } = await sql<{ name: string }>`select name from pragma_table_info('bays')`.execute(db)
  return rows.some(column => column.name === 'lapsed')
}
