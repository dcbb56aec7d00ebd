// Opens the ledger that the settings name: a file, or a database that several processes share.
import { BatchStart } from '../shared/batch-start.js'
import type { Clock } from '../shared/clock.js'
import type { Config } from '../shared/config.js'
import type { Log } from '../shared/log.js'
import type { Metrics } from '../shared/metrics.js'
import { nextLine } from './audit.js'
import { MeasuredPace, type CommitPace } from './commit-pace.js'
import { Ledger } from './ledger.js'
import { isSqliteUnavailable, openSqlite } from './sqlite.js'

export interface OpenParts {
  readonly config: Pick<Config, 'data' | 'times'> & Partial<Pick<Config, 'database' | 'node' | 'limits' | 'broker' | 'brokerPrefix'>>
  readonly clock: Clock
  readonly metrics: Metrics
  readonly log?: Log
  /** When batches begin on the Bus of those who use it. */
  readonly batchStart?: BatchStart
  /** Of a file: where its commits are done; default: by how long they take. */
  readonly pace?: CommitPace
}

/** Opens the database `config.database`, or else the file in the folder `config.data`. Throws `OperatorError` when it cannot be used. */
export async function openLedger ({ config, clock, metrics, log, batchStart = new BatchStart(), pace = new MeasuredPace() }: OpenParts): Promise<Ledger> {
  if (config.database !== undefined) {
    // Whoever has a file never loads the driver.
    const { openPostgresLedger } = await import('./postgres-ledger.js')
    // A node's name has no colon in it.
    const teller = config.broker === undefined ? undefined : `broker:${config.brokerPrefix ?? 'parkmq'}`
    return await openPostgresLedger({ config: { ...config, url: config.database, teller }, clock, metrics, log })
  }
  const opened = await openSqlite(config.data, { pace })
  return new Ledger({
    database: opened.database,
    close: () => opened.close(),
    isThere: () => opened.isThere(),
    isUnavailable: isSqliteUnavailable,
    clock,
    metrics,
    log,
    times: config.times,
    nextLine: await nextLine(opened.database),
    // Those whose commit was waited for beside the event loop ask again while others have asked already: all of them come into the next one.
    regather: () => pace.isSlow ? batchStart.ready() : null
  })
}
