// Kysely's way to a SQLite file through libsql. A commit waits for the disk: where that is slow, it is done beside the event loop,
// or a card that takes 20 ms to sync would hold up every client for them, whatever he wants.
import { SqliteDialect, SqliteDriver, type DatabaseConnection, type Driver as KyselyDriver, type SqliteDatabase } from 'kysely'
import type Driver from 'libsql'
import PromiseDriver from 'libsql/promise'
import type { CommitPace } from './commit-pace.js'

export interface PacedParts {
  readonly driver: Driver.Database
  /** Its statements, as Kysely asks for them. */
  readonly statements: SqliteDatabase
  readonly pace: CommitPace
}

/** Nothing but the commit may be under way on the connection; Kysely lends it to one at a time. */
export class PacedSqliteDialect extends SqliteDialect {
  readonly #parts: PacedParts

  constructor (parts: PacedParts) {
    super({ database: parts.statements })
    this.#parts = parts
  }

  override createDriver (): KyselyDriver {
    return new PacedSqliteDriver(this.#parts)
  }
}

class PacedSqliteDriver extends SqliteDriver {
  readonly #pace: CommitPace
  readonly #beside: Pick<PromiseDriver, 'exec'>
  readonly #changes: { get (): unknown }
  /** As they were at the end of the last transaction. */
  #changesBefore = 0

  constructor ({ driver, statements, pace }: PacedParts) {
    super({ database: statements })
    this.#pace = pace
    this.#beside = besideOf(driver)
    this.#changes = driver.prepare('select total_changes()').raw()
  }

  /** Throws where libsql is not the one that this file knows, before anything is written. */
  override async init (): Promise<void> {
    await super.init()
    try {
      await this.#beside.exec('select 1')
    } catch (cause) {
      throw new Error('this libsql does not run statements beside the event loop as the one does that parkmq is made for; install the version in package-lock.json', { cause })
    }
  }

  override async commitTransaction (connection: DatabaseConnection): Promise<void> {
    const changes = this.#countChanges()
    if (changes === this.#changesBefore) {
      await super.commitTransaction(connection)
      return
    }
    this.#changesBefore = changes
    const { isBeside } = this.#pace
    const startedMs = performance.now()
    if (isBeside) await this.#beside.exec('commit')
    else await super.commitTransaction(connection)
    this.#pace.took(performance.now() - startedMs, isBeside)
  }

  override async rollbackTransaction (connection: DatabaseConnection): Promise<void> {
    await super.rollbackTransaction(connection)
    this.#changesBefore = this.#countChanges()
  }

  #countChanges (): number {
    return (this.#changes.get() as [number])[0]
  }
}

/** libsql's other interface, which runs what it is given beside the event loop, to the same connection: what both keep of that is `db`. */
function besideOf (driver: Driver.Database): Pick<PromiseDriver, 'exec'> {
  const { db } = driver as unknown as { readonly db: unknown }
  return Object.create(PromiseDriver.prototype, { db: { value: db } }) as PromiseDriver
}
