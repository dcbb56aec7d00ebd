// The occupancy service: takes the sensors' messages, keeps the count of every lot in the ledger, and publishes it.
// It never answers requests and never publishes anything that is not committed.
import { ACCEPTED, type Bus, type Delivery, type Outcome } from '../../shared/bus.js'
import type { Clock } from '../../shared/clock.js'
import type { Config } from '../../shared/config.js'
import type { Refusal } from '../../shared/errors.js'
import { createLimitedWarn, type LimitedWarn, type Log } from '../../shared/log.js'
import type { Metrics } from '../../shared/metrics.js'
import { SENSOR_FILTER, topics } from '../../shared/topics.js'
import type { Ledger } from '../../storage/ledger.js'
import { applyBatch, type Applying } from './batch.js'
import type { SensorMessage } from './core.js'
import { parseSensorMessage } from './messages.js'
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
  await bus.consume(SENSOR_FILTER, { handle: async batch => await intake.handle(batch) })
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

class SensorIntake {
  readonly #parts: OccupancyParts
  readonly #warn: LimitedWarn

  constructor (parts: OccupancyParts) {
    this.#parts = parts
    this.#warn = createLimitedWarn(parts.log, parts.clock)
  }

  async handle (batch: readonly Delivery[]): Promise<Outcome[]> {
    const parsed = batch.map(parseSensorMessage)
    const messages: SensorMessage[] = []
    for (const item of parsed) if ('message' in item) messages.push(item.message)
    const results = messages.length > 0 ? await this.#store(messages) : []
    let next = 0
    return parsed.map((item, i) => {
      const result = 'message' in item ? results[next++] : undefined
      const refusal = 'refusal' in item ? item.refusal : result?.refusal
      if (!refusal) return ACCEPTED
      // Refusals of the core are counted with the batch; those of the parser are counted here.
      if ('refusal' in item) this.#parts.metrics.sensorMessages.inc({ outcome: 'refused' })
      this.#tell(batch[i], refusal)
      return { type: 'refused', refusal }
    })
  }

  async #store (messages: readonly SensorMessage[]): Promise<Applying[]> {
    const { ledger, metrics, config } = this.#parts
    const rules = { gapGraceMs: config.times.gapGraceMs, sensorsPerLot: config.limits.sensorsPerLot }
    const results = await ledger.transact('occupancy', async tx => await applyBatch(tx, messages, rules))
    metrics.batchSize.observe({ service: 'occupancy' }, messages.length)
    const outcomes = new Map<string, number>()
    for (const { outcome, lost, drift } of results) {
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
      if (lost > 0) metrics.sensorGaps.inc(lost)
      if (drift !== 0) metrics.driftCars.inc(Math.abs(drift))
    }
    for (const [outcome, count] of outcomes) metrics.sensorMessages.inc({ outcome }, count)
    return results
  }

  #tell (delivery: Delivery | undefined, refusal: Refusal): void {
    this.#warn(delivery?.clientId ?? 'unknown client', { code: refusal.code, topic: delivery?.topic, clientId: delivery?.clientId }, refusal.message)
  }
}
