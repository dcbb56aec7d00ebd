// Takes deliveries of sensors' messages: parses them and stores a batch in one transaction.
import { ACCEPTED, type Delivery, type Outcome } from '../../shared/bus.js'
import type { Clock } from '../../shared/clock.js'
import type { Config } from '../../shared/config.js'
import type { Refusal } from '../../shared/errors.js'
import { createLimitedWarn, type LimitedWarn, type Log } from '../../shared/log.js'
import type { Metrics } from '../../shared/metrics.js'
import type { Ledger } from '../../storage/ledger.js'
import type { Fence } from '../../storage/leases.js'
import { ask } from '../../storage/questions.js'
import { applyBatch, batchQuestions, type Applying } from './batch.js'
import type { SensorMessage } from './core.js'
import { parseSensorMessage, type ParsedMessage } from './messages.js'

export interface SensorIntakeParts {
  readonly ledger: Ledger
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  readonly config: Pick<Config, 'times' | 'limits'>
  /** Where the messages of these lots are one process's at a time: that they are still this one's. */
  readonly fence?: Fence | undefined
}

export class SensorIntake {
  readonly #parts: SensorIntakeParts
  readonly #warn: LimitedWarn

  constructor (parts: SensorIntakeParts) {
    this.#parts = parts
    this.#warn = createLimitedWarn(parts.log, parts.clock)
  }

  /** `more`: see `Consumer`. */
  async handle (batch: readonly Delivery[], more: () => readonly Delivery[]): Promise<Outcome[]> {
    const parsed = batch.map(parseSensorMessage)
    const results = parsed.some(isMessage) ? await this.#store(parsed, more) : []
    let next = 0
    return parsed.map((item, i) => {
      const result = isMessage(item) ? results[next++] : undefined
      const refusal = isMessage(item) ? result?.refusal : item.refusal
      if (!refusal) return ACCEPTED
      // Refusals of the core are counted with the batch; those of the parser are counted here.
      if (!isMessage(item)) this.#parts.metrics.sensorMessages.inc({ outcome: 'refused' })
      this.#tell(batch[i], refusal)
      return { type: 'refused', refusal }
    })
  }

  /** Stores what was parsed, and what has come until it can be stored: that is parsed as well. One result for each message. */
  async #store (parsed: ParsedMessage[], more: () => readonly Delivery[]): Promise<Applying[]> {
    const { ledger, metrics, config, fence } = this.#parts
    const rules = { gapGraceMs: config.times.gapGraceMs, sensorsPerLot: config.limits.sensorsPerLot }
    const takeIn = (): SensorMessage[] => {
      for (const delivery of more().slice(parsed.length)) parsed.push(parseSensorMessage(delivery))
      return parsed.filter(isMessage).map(({ message }) => message)
    }
    let asked: SensorMessage[] | null = null
    const results = await ledger.transact('occupancy', async tx => {
      if (fence) await ask(tx.database, fence(tx.database))
      return await applyBatch(tx, asked ?? takeIn(), rules)
    }, { place: 'last', first: database => [...fence ? [fence(database)] : [], ...batchQuestions(database, asked = takeIn())] })
    metrics.batchSize.observe({ service: 'occupancy' }, results.length)
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

function isMessage (parsed: ParsedMessage): parsed is { readonly message: SensorMessage } {
  return 'message' in parsed
}
