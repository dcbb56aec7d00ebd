// What several nodes on one database need: who they are, and by what each knows its own commits again. PostgreSQL alone: a
// ledger in a file has one process.
import { sql, type Kysely } from 'kysely'

export async function severalNodes (db: Kysely<unknown>): Promise<void> {
  await db.schema.createTable('nodes')
    .addColumn('node', 'text', c => c.primaryKey())
    .addColumn('seen_at_ms', 'bigint', c => c.notNull())
    // The last notice that this node has sent.
    .addColumn('noticed', 'bigint', c => c.notNull())
    .execute()
  // A few rows that every transaction changes: with room for new versions on their page, and no index on what changes.
  await db.schema.createTable('transactions')
    .addColumn('process', 'text', c => c.notNull())
    .addColumn('slot', 'bigint', c => c.notNull())
    .addColumn('mark', 'text', c => c.notNull())
    .addColumn('at_ms', 'bigint', c => c.notNull())
    .addPrimaryKeyConstraint('transactions_key', ['process', 'slot'])
    .modifyEnd(sql`with (fillfactor = 10)`)
    .execute()
}
