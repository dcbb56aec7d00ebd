// Brokers that end and begin again on the same stored sessions: after a clean stop, or as kill -9 leaves the file; and a
// store whose writes a test holds up or lets fail.
import { copyFileSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import Driver from 'libsql'
import { pino } from 'pino'
import { createEmbeddedBroker } from '../../broker/index.js'
import type { BrokerChanges, BrokerState, BrokerStore } from '../../shared/broker-store.js'
import { systemClock, type Clock } from '../../shared/clock.js'
import { Config } from '../../shared/config.js'
import { UnavailableError } from '../../shared/errors.js'
import { counterValues, createMetrics } from '../../shared/metrics.js'
import { openBrokerStore } from '../../storage/broker-store.js'
import { afterThisTest, temporaryFolder, type TestBroker } from './broker.js'

/** How a broker ends. Resolves with the folder that the next one finds. */
export type End = (broker: TestBroker, data: string) => Promise<string>

/** The two ways in which the process may end, by name. */
export const ENDS: Readonly<Record<string, End>> = {
  'a clean stop': async (broker, data) => {
    await broker.close()
    return data
  },
  'kill -9': async (_, data) => copyOfSessions(data)
}

/** A folder with the files as they are now, without anybody being told: what kill -9 at this moment would leave. */
export function copyOfSessions (data: string): string {
  const folder = temporaryFolder()
  for (const name of ['sessions.db', 'sessions.db-wal']) {
    if (existsSync(join(data, name))) copyFileSync(join(data, name), join(folder, name))
  }
  return folder
}

const TABLES = ['sessions', 'subscriptions', 'messages', 'entries', 'retained', 'wills', 'receipts'] as const

/** How many rows each table has; only those that have any. */
export function storedRows (data: string): Partial<Record<typeof TABLES[number], number>> {
  const db = new Driver(join(data, 'sessions.db'))
  try {
    const rows = TABLES.map(table => [table, Number((db.prepare(`select count(*) as n from ${table}`).get([]) as { n: number }).n)] as const)
    return Object.fromEntries(rows.filter(([, count]) => count > 0))
  } finally {
    db.close()
  }
}

/** The real store behind a gate. */
export class GatedStore implements BrokerStore {
  readonly #store: BrokerStore
  #gate: { readonly opened: Promise<void>, readonly open: () => void } | null = null
  #arrived: (() => void)[] = []
  /** Batches that came to the gate. */
  batches = 0
  /** Every write fails while this is set, as on a disk that does not work. */
  failing = false

  constructor (store: BrokerStore) {
    this.#store = store
  }

  /** Writes wait from now on. */
  hold (): void {
    let open = (): void => {}
    const opened = new Promise<void>(resolve => { open = resolve })
    this.#gate = { opened, open }
  }

  /** Writes go on. */
  release (): void {
    this.#gate?.open()
    this.#gate = null
  }

  /** Resolves when another batch has come to the gate. */
  async batch (): Promise<void> {
    await new Promise<void>(resolve => this.#arrived.push(resolve))
  }

  async load (): Promise<BrokerState> {
    return await this.#store.load()
  }

  async write (changes: BrokerChanges): Promise<void> {
    this.batches++
    for (const resolve of this.#arrived.splice(0)) resolve()
    await this.#gate?.opened
    if (this.failing) throw new UnavailableError('the disk does not work', { cause: null })
    await this.#store.write(changes)
  }

  async close (): Promise<void> {
    this.failing = false
    this.release()
    await this.#store.close()
  }
}

/** A broker over a gated store, closed after the test. */
export async function startGatedBroker ({ data = temporaryFolder(), clock = systemClock, limits = {} }: { data?: string, clock?: Clock, limits?: Partial<Config['limits']> } = {}): Promise<TestBroker & { readonly store: GatedStore, readonly data: string }> {
  const store = new GatedStore(await openBrokerStore(data))
  afterThisTest(() => store.close())
  const metrics = createMetrics()
  const logged: Record<string, unknown>[] = []
  const sink = new Writable({
    write (line: Buffer, _, done) {
      logged.push(JSON.parse(line.toString()) as Record<string, unknown>)
      done()
    }
  })
  const config = Config.parse({ port: 0, wsPort: 0, limits })
  const broker = await createEmbeddedBroker({ config, clock, log: pino({ level: 'info', base: null }, sink), metrics, store })
  afterThisTest(async () => {
    store.failing = false
    store.release()
    await broker.close()
  })
  const ports = await broker.listen()
  return { ...broker, ...ports, metrics, logged, store, data, users: null, count: async name => (await counterValues(metrics))[`parkmq_${name}`] ?? 0 }
}
