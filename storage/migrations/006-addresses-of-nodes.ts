// Where clients find each node, so that every node can tell them of all. PostgreSQL alone.
import type { Kysely } from 'kysely'

export async function addressesOfNodes (db: Kysely<unknown>): Promise<void> {
  // A JSON list; null as long as the node takes no clients.
  await db.schema.alterTable('nodes').addColumn('urls', 'text').execute()
}
