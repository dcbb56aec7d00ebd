// Puts the ledger on PostgreSQL together: connections, transactions, the other nodes.
import type { Clock } from '../shared/clock.js'
import type { Log } from '../shared/log.js'
import type { Metrics } from '../shared/metrics.js'
import { Ledger } from './ledger.js'
import { openPostgres } from './postgres.js'
import { isPostgresUnavailable } from './postgres-errors.js'
import { PostgresLeases } from './postgres-leases.js'
import { PostgresNodes } from './postgres-nodes.js'
import { DatabaseTime, PostgresTransactions } from './postgres-transactions.js'
import { parsePostgresUrl } from './postgres-url.js'
import { holdFolder } from './sqlite.js'
import type { LedgerTimes } from './transaction.js'

/** Connections that no transaction takes, for what is read outside of them. */
const FOR_READS = 3

export interface PostgresLedgerParts {
  readonly config: {
    readonly url: string
    /** The folder of what is this node's alone: it is held, as with a ledger in it. */
    readonly data: string
    readonly node?: string
    /** Default the node (nodes.ts). */
    readonly teller?: string | undefined
    readonly times: LedgerTimes
    readonly limits?: { readonly databaseConnections: number }
  }
  readonly clock: Clock
  readonly metrics: Metrics
  readonly log?: Log | undefined
  /** Of tests: what counts as now in a transaction. Default the database's time. */
  readonly nowMs?: () => number
}

/** Throws `OperatorError`: `bad_config`, `data_in_use`, `foreign_file`, `newer_file`, `node_in_use`, `cannot_open`. */
export async function openPostgresLedger ({ config, clock, metrics, log, nowMs }: PostgresLedgerParts): Promise<Ledger> {
  const { url, data, node = 'node-1', teller, times, limits: { databaseConnections: connections } = { databaseConnections: 10 } } = config
  const target = parsePostgresUrl(url)
  const release = holdFolder(data)
  try {
    const opened = await openPostgres({ target, node, connections, log })
    const { database, database: { kysely } } = opened
    const time = new DatabaseTime(clock)
    let nodes: PostgresNodes | null = null
    try {
      nodes = await PostgresNodes.start({ target, node, teller, database, clock, log })
      const { run } = new PostgresTransactions({ kysely, slots: Math.max(1, connections - FOR_READS), time, ...(nowMs && { nowMs }) })
      const ledger = new Ledger({
        database, metrics, log, times, run, nodes,
        openLeases: async ({ prefix, leaseMs }) => await PostgresLeases.open({ target, node, prefix, leaseMs, log }),
        clock: nowMs ? { nowMs, after: time.after } : time,
        close: async () => {
          await nodes?.stop()
          await opened.close()
          release()
        },
        // The other end says so itself when it is gone.
        isThere: () => true,
        isUnavailable: isPostgresUnavailable,
        nextLine: null
      })
      nodes.attach(ledger)
      // So that the first question outside a transaction knows the time.
      await ledger.transact('start', async () => {})
      return ledger
    } catch (error) {
      await nodes?.stop()
      await opened.close()
      throw error
    }
  } catch (error) {
    release()
    throw error
  }
}
