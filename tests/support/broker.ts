// Starts real embedded brokers on free ports for tests, with a log that can be read and everything closed afterwards.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { onTestFinished } from 'vitest'
import { createEmbeddedBroker, type EmbeddedBroker } from '../../broker/index.js'
import { openUsers, type Users } from '../../broker/users.js'
import type { OnAccess } from '../../shared/access-event.js'
import type { Consumer, Delivery, Outcome } from '../../shared/bus.js'
import { ACCEPTED } from '../../shared/bus.js'
import { systemClock, type Clock } from '../../shared/clock.js'
import { Config } from '../../shared/config.js'
import { openBrokerStore } from '../../storage/broker-store.js'
import { counterValues, createMetrics, type Metrics } from '../../shared/metrics.js'
import { writeUsers, type TestUser } from './users-file.js'

export interface TestBroker extends EmbeddedBroker {
  readonly port: number
  readonly wsPort: number
  readonly metrics: Metrics
  readonly users: Users | null
  /** Log lines from `info` up, parsed. */
  readonly logged: readonly Record<string, unknown>[]
  /** A counter's or gauge's value by the name without `parkmq_`, with labels as in `counterValues`; 0 when never counted. */
  count (name: string): Promise<number>
}

export interface BrokerOptions {
  readonly limits?: Partial<Config['limits']>
  /** `$SYS` is silent unless `sysMs` says otherwise. */
  readonly times?: Partial<Config['times']>
  readonly host?: string
  readonly port?: number
  readonly wsPort?: number
  readonly wsOrigins?: string[]
  readonly tls?: Config['tls']
  /** Who may come in; without them everybody may. */
  readonly users?: readonly TestUser[]
  readonly allowAnonymous?: boolean
  readonly onAccess?: OnAccess
  readonly clock?: Clock
  /** Folder of the sessions, to be found again by a later broker; default one of its own. */
  readonly data?: string
  /** Called before the doors open. */
  readonly prepare?: (broker: EmbeddedBroker) => Promise<void>
}

const toClose: (() => Promise<void> | void)[] = []

/** Runs `close` after the test, the last registered first. */
export function afterThisTest (close: () => Promise<void> | void): void {
  if (toClose.length === 0) onTestFinished(closeAll)
  toClose.push(close)
}

async function closeAll (): Promise<void> {
  for (const close of toClose.splice(0).reverse()) await close()
}

/** A folder that is removed after the test. */
export function temporaryFolder (): string {
  const folder = mkdtempSync(join(tmpdir(), 'parkmq-test-'))
  afterThisTest(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** A broker on free ports of 127.0.0.1 that is closed after the test. */
export async function startBroker ({ limits = {}, times = {}, prepare, clock = systemClock, data = temporaryFolder(), users: entries, onAccess, ...settings }: BrokerOptions = {}): Promise<TestBroker> {
  const config = Config.parse({ port: 0, wsPort: 0, ...settings, limits, times: { sysMs: 0, ...times } })
  const metrics = createMetrics()
  const logged: Record<string, unknown>[] = []
  const sink = new Writable({
    write (line: Buffer, _, done) {
      logged.push(JSON.parse(line.toString()) as Record<string, unknown>)
      done()
    }
  })
  const store = await openBrokerStore(data)
  afterThisTest(() => store.close())
  const log = pino({ level: 'info', base: null }, sink)
  const users = entries === undefined ? null : await openUsers({ file: await writeUsers(entries, join(data, 'users.yaml')), clock, log, metrics })
  if (users !== null) afterThisTest(() => users.close())
  const broker = await createEmbeddedBroker({ config, clock, log, metrics, store, users, ...(onAccess && { onAccess }) })
  afterThisTest(() => broker.close())
  await prepare?.(broker)
  const ports = await broker.listen()
  return {
    ...broker, ...ports, metrics, logged, users,
    count: async name => (await counterValues(metrics))[`parkmq_${name}`] ?? 0
  }
}

/** A consumer whose outcomes the test decides: each batch waits until it is settled. */
export class ManualConsumer implements Consumer {
  readonly batches: { deliveries: readonly Delivery[], settle: (outcomes?: readonly Outcome[]) => void, fail: (error: Error) => void }[] = []
  #wake: (() => void)[] = []

  async handle (deliveries: readonly Delivery[]): Promise<readonly Outcome[]> {
    return await new Promise((resolve, reject) => {
      this.batches.push({ deliveries, settle: (outcomes = deliveries.map(() => ACCEPTED)) => resolve(outcomes), fail: reject })
      for (const wake of this.#wake.splice(0)) wake()
    })
  }

  /** The batch with this number, counted from 0, as soon as it is there. */
  async batch (number: number): Promise<ManualConsumer['batches'][number]> {
    for (;;) {
      const batch = this.batches[number]
      if (batch) return batch
      await new Promise<void>(resolve => this.#wake.push(resolve))
    }
  }
}

/** A consumer that accepts everything and remembers it. */
export class AcceptingConsumer implements Consumer {
  readonly deliveries: Delivery[] = []
  #wake: (() => void)[] = []

  async handle (batch: readonly Delivery[]): Promise<readonly Outcome[]> {
    this.deliveries.push(...batch)
    for (const wake of this.#wake.splice(0)) wake()
    return batch.map(() => ACCEPTED)
  }

  /** The delivery with this number, counted from 0, as soon as it is there. */
  async delivery (number: number): Promise<Delivery> {
    for (;;) {
      const delivery = this.deliveries[number]
      if (delivery) return delivery
      await new Promise<void>(resolve => this.#wake.push(resolve))
    }
  }
}
