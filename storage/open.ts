// Opens the ledger that the settings name.
import type { Clock } from '../shared/clock.js'
import type { Config } from '../shared/config.js'
import type { Metrics } from '../shared/metrics.js'
import { nextLine } from './audit.js'
import { Ledger } from './ledger.js'
import { isSqliteUnavailable, openSqlite } from './sqlite.js'

export interface OpenParts {
  readonly config: Pick<Config, 'data' | 'times'>
  readonly clock: Clock
  readonly metrics: Metrics
}

/** Opens the SQLite ledger in the folder `config.data`. Throws `OperatorError` when it cannot be used. */
export async function openLedger ({ config, clock, metrics }: OpenParts): Promise<Ledger> {
  const opened = await openSqlite(config.data)
  return new Ledger({
    database: opened.database,
    close: () => opened.close(),
    isThere: () => opened.isThere(),
    isUnavailable: isSqliteUnavailable,
    clock,
    metrics,
    times: config.times,
    nextLine: await nextLine(opened.database)
  })
}
