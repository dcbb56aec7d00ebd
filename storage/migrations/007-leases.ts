// Who takes the messages of which lots, where several processes share one external broker (docs/decisions/017). PostgreSQL alone.
import type { Kysely } from 'kysely'

export async function leases (db: Kysely<unknown>): Promise<void> {
  await db.schema.createTable('leases')
    // What the client ids of the processes begin with: those of another broker have another one.
    .addColumn('prefix', 'text', c => c.notNull())
    .addColumn('share', 'text', c => c.notNull())
    // Grows with every change of owner, and never shrinks.
    .addColumn('epoch', 'bigint', c => c.notNull())
    // Null while nobody has it.
    .addColumn('process', 'text')
    .addColumn('node', 'text')
    .addColumn('until_ms', 'bigint', c => c.notNull())
    .addPrimaryKeyConstraint('leases_key', ['prefix', 'share'])
    .execute()
  await db.schema.createTable('lease_processes')
    .addColumn('prefix', 'text', c => c.notNull())
    .addColumn('process', 'text', c => c.notNull())
    .addColumn('node', 'text', c => c.notNull())
    .addColumn('until_ms', 'bigint', c => c.notNull())
    .addPrimaryKeyConstraint('lease_processes_key', ['prefix', 'process'])
    .execute()
}
