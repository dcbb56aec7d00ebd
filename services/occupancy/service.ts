// The occupancy service: takes the sensors' messages, keeps the count of every lot in the ledger, and publishes it.
// It never answers requests and never publishes anything that is not committed.
import type { Bus } from '../../shared/bus.js'
import type { Clock } from '../../shared/clock.js'
import type { Config } from '../../shared/config.js'
import type { Log } from '../../shared/log.js'
import type { Metrics } from '../../shared/metrics.js'
import { SENSOR_FILTER, topics } from '../../shared/topics.js'
import type { Ledger } from '../../storage/ledger.js'
import { SensorIntake } from './intake.js'
import { Outbox } from './outbox.js'
import { Publisher } from './publisher.js'
import { catchUp, startWatch } from './watch.js'

export interface OccupancyParts {
  readonly bus: Bus
  readonly ledger: Ledger
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  readonly config: Pick<Config, 'times' | 'limits' | 'node'>
}

export interface OccupancyService {
  /** Resolves when every lot that is known by now to have changed is published. */
  settled (): Promise<void>
  stop (): Promise<void>
}

/** Starts the service. When it resolves, every retained topic equals the ledger (guarantee 6). */
export async function startOccupancy (parts: OccupancyParts): Promise<OccupancyService> {
  const { bus, ledger, clock, metrics, config } = parts
  const log = parts.log.child({ service: 'occupancy' })
  const shared = { bus, ledger, clock, log, metrics }
  await catchUp({ ...shared, times: config.times })
  const publisher = new Publisher(shared)
  await publisher.publishAll()
  const outbox = await Outbox.start(shared)
  const watch = startWatch({ ...shared, times: config.times })
  const intake = new SensorIntake({ ...parts, log })
  await bus.consume(SENSOR_FILTER, { handle: async (batch, more) => await intake.handle(batch, more) })
  const status = topics.serviceStatus('occupancy', config.node)
  await bus.publish(status, 'online', { retain: true })
  return {
    settled: async () => await publisher.settled(),
    async stop () {
      await watch.stop()
      await publisher.stop()
      await outbox.stop()
      await bus.publish(status, 'offline', { retain: true })
    }
  }
}
