// Runs a source of readings through the faults to a broker, at the readings' own pace, and can set the lots' counts
// before and after by absolute recounts. Recounts never suffer a fault and never meet a delta on the way: each phase is
// acknowledged before the next begins.
import { setTimeout as sleep } from 'node:timers/promises'
import type { MqttClient } from 'mqtt'
import type { Id } from '../../shared/lot.js'
import { topics } from '../../shared/topics.js'
import { withFaults, type FaultCounts, type FaultOptions } from './faults.js'
import { deltaPayload, recountPayload, sensorName, type Reading } from './messages.js'
import { GaveUpError, Sender, type SenderOptions, type Sent } from './sender.js'

export interface SimulationParts {
  /** Connected, MQTT 5, for this simulation alone. It stays open. */
  readonly client: MqttClient
  /** What the gates see, by `dueMs`. */
  readonly readings: Iterable<Reading>
  readonly faults: FaultOptions
  readonly sending: SenderOptions
  /** Cars in each lot before the first reading, as far as known. */
  readonly startAt: ReadonlyMap<Id, number>
  /** Lots that are set to `startAt` by a recount before the first reading. */
  readonly recountBefore?: readonly Id[]
  /** Lots that are set to the true count by a recount after the last reading. */
  readonly recountAfter?: readonly Id[]
  /** No reading is taken later than this, in milliseconds of real time; for a source without an end. */
  readonly stopAfterMs?: number
  /** Aborted: no further reading is taken; what was taken is sent and its acknowledgements are awaited. */
  readonly signal?: AbortSignal
}

/**
 * How a run ended: `done`; `interrupted` by the signal; `refused`: a lot refused the recount before the readings;
 * `unreachable`: the broker fell silent.
 */
export type Ending = 'done' | 'interrupted' | 'refused' | 'unreachable'

export interface Snapshot extends Sent, Readonly<FaultCounts> {
  readonly recounts: number
  /** Real time since the start, in seconds. */
  readonly seconds: number
  /** Acknowledged messages a second. */
  readonly perSecond: number
  /** The simulated time of the last reading: milliseconds since 1970; null before the first. */
  readonly simulatedMs: number | null
}

export interface Report extends Snapshot {
  readonly ending: Ending
  /** Why it was `unreachable` or `refused`. */
  readonly reason?: string
  /** Cars in each lot by what the gates saw, lost messages included: the truth that a perfect way would have carried. */
  readonly expected: ReadonlyMap<Id, number>
}

export interface Simulation {
  snapshot (): Snapshot
  /** Never rejects for what the broker does; only for a fault of the source. */
  readonly done: Promise<Report>
}

/** Starts a run; `done` tells its end. */
export function startSimulation (parts: SimulationParts): Simulation {
  const run = new Run(parts)
  return { snapshot: () => run.snapshot(), done: run.run() }
}

class Run {
  readonly #parts: SimulationParts
  readonly #sender: Sender
  readonly #startedMs = performance.now()
  readonly #expected: Map<Id, number>
  readonly #recounters = new Map<Id, { readonly sensor: Id, seq: number }>()
  #counts: Readonly<FaultCounts> = { duplicated: 0, duplicatedFar: 0, lost: 0, reordered: 0, restarts: 0 }
  #recounts = 0
  #simulatedMs: number | null = null
  #endedMs: number | null = null

  constructor (parts: SimulationParts) {
    this.#parts = parts
    this.#sender = new Sender(parts.client, parts.sending)
    this.#expected = new Map(parts.startAt)
  }

  snapshot (): Snapshot {
    const seconds = ((this.#endedMs ?? performance.now()) - this.#startedMs) / 1_000
    const sent = this.#sender.report()
    return { ...sent, ...this.#counts, recounts: this.#recounts, seconds, perSecond: seconds > 0 ? sent.acknowledged / seconds : 0, simulatedMs: this.#simulatedMs }
  }

  async run (): Promise<Report> {
    try {
      const { recountBefore = [], recountAfter = [], signal } = this.#parts
      await this.#recount(recountBefore)
      const [refusal] = Object.keys(this.#sender.report().refusals)
      if (refusal !== undefined) return this.#report('refused', `a recount before the first reading was refused (${refusal}), so nothing else was sent; lots that are missing can be made with --create-lots`)
      await this.#sendReadings()
      // An interrupted run does not claim to know how the recording ends.
      if (signal?.aborted) return this.#report('interrupted')
      await this.#recount(recountAfter)
      return this.#report('done')
    } catch (error) {
      if (error instanceof GaveUpError) return this.#report('unreachable', error.message)
      throw error
    } finally {
      this.#sender.close()
    }
  }

  async #sendReadings (): Promise<void> {
    const { messages, counts } = withFaults(this.#taken(), this.#parts.faults)
    this.#counts = counts
    const beganMs = performance.now()
    for (const message of messages) {
      await this.#until(beganMs + message.dueMs)
      await this.#sender.send(topics.sensor(message.lot), deltaPayload({ ...message, sensor: this.#own(message.sensor) }))
    }
    await this.#sender.settled()
  }

  /** The readings until the run is stopped. What comes after in the pipe still lets go what it holds back. */
  * #taken (): Generator<Reading> {
    const { readings, signal, stopAfterMs = Infinity } = this.#parts
    const stopMs = performance.now() + stopAfterMs
    for (const reading of readings) {
      if (signal?.aborted || performance.now() >= stopMs) return
      this.#expected.set(reading.lot, (this.#expected.get(reading.lot) ?? 0) + reading.delta)
      this.#simulatedMs = reading.atMs
      yield reading
    }
  }

  /** Waits for the moment; a stop ends the wait, because the message is taken already and is sent now. */
  async #until (momentMs: number): Promise<void> {
    const { signal } = this.#parts
    for (let waitMs = momentMs - performance.now(); waitMs > 0 && !signal?.aborted; waitMs = momentMs - performance.now()) {
      // Timers beyond 2^31 - 1 ms fire at once.
      await sleep(Math.min(waitMs, 2 ** 31 - 1), undefined, signal ? { signal } : {}).catch(ignoreAbort)
    }
  }

  /** Sets each lot to what it should count, and waits for the acknowledgements. */
  async #recount (lots: readonly Id[]): Promise<void> {
    for (const lot of lots) {
      let from = this.#recounters.get(lot)
      if (!from) this.#recounters.set(lot, from = { sensor: sensorName(this.#parts.faults.seed, 'attendant', this.#recounters.size + 1), seq: 0 })
      from.seq++
      this.#recounts++
      await this.#sender.send(topics.sensor(lot), recountPayload(this.#own(from.sensor), this.#parts.faults.epoch, from.seq, this.#expected.get(lot) ?? 0))
    }
    await this.#sender.settled()
  }

  /** A device may speak only for sensors that are called after its user. */
  #own (sensor: Id): Id {
    const { username } = this.#parts.client.options
    return username === undefined ? sensor : `${username}.${sensor}` as Id
  }

  #report (ending: Ending, reason?: string): Report {
    this.#endedMs = performance.now()
    return { ...this.snapshot(), ending, ...reason === undefined ? {} : { reason }, expected: this.#expected }
  }
}

function ignoreAbort (error: unknown): void {
  if ((error as Error).name !== 'AbortError') throw error
}
