// One share of the lots on a broker that several processes use (docs/decisions/017): what the ledger says of these lots is published
// and their sensors are heard, over one connection that only the owner of the share has.
import type { Bus, Consumer } from '../../shared/bus.js'
import type { Config } from '../../shared/config.js'
import type { Clock } from '../../shared/clock.js'
import type { Id } from '../../shared/lot.js'
import type { Log } from '../../shared/log.js'
import type { Metrics } from '../../shared/metrics.js'
import { SENSOR_FILTER, topics } from '../../shared/topics.js'
import type { Ledger } from '../../storage/ledger.js'
import type { Fence } from '../../storage/leases.js'
import { SensorIntake } from './intake.js'
import { Publisher } from './publisher.js'

/** The connection, as far as it is needed here (shared/mqtt-session.ts). */
export interface ShareSession {
  readonly bus: Bus
  subscribe (filters: readonly string[]): Promise<void>
  unsubscribe (filters: readonly string[]): Promise<void>
  start (filter: string, consumer: Consumer): void
}

export interface ShareParts {
  readonly session: ShareSession
  readonly ledger: Ledger
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  readonly config: Pick<Config, 'times' | 'limits'>
  readonly isOurs: (lot: Id) => boolean
  readonly fence: Fence
}

/** When it resolves, the retained topics of these lots equal the ledger, and what sensors said meanwhile is being counted. */
export async function startShare (parts: ShareParts): Promise<{ stop (): Promise<void> }> {
  const { session, ledger, clock, metrics, isOurs } = parts
  const log = parts.log.child({ service: 'occupancy' })
  const heard = new Set<Id>()
  // A lot's sensors are heard before the lot is to be seen: who waits for `state` may send.
  const follow = async (there: readonly Id[], gone: readonly Id[]): Promise<void> => {
    const news = there.filter(lot => !heard.has(lot))
    await session.subscribe(news.map(topics.sensor))
    for (const lot of news) heard.add(lot)
    const old = gone.filter(lot => heard.has(lot))
    for (const lot of old) heard.delete(lot)
    await session.unsubscribe(old.map(topics.sensor))
  }
  const publisher = new Publisher({ bus: session.bus, ledger, clock, log, metrics, isOurs, follow })
  try {
    await publisher.publishAll()
  } catch (error) {
    await publisher.stop()
    throw error
  }
  const intake = new SensorIntake({ ...parts, log })
  session.start(SENSOR_FILTER, { handle: async (batch, more) => await intake.handle(batch, more) })
  return { stop: async () => await publisher.stop() }
}
