// The intake of a consumer: collects what arrives while the last batch commits, hands it over as one batch, holds it
// while the ledger is unavailable, and finds the poison message in a batch that fails. Both Buses are made of it.
// It never settles a delivery twice and never reorders those of one sender.
import { BatchStart } from './batch-start.js'
import type { Clock } from './clock.js'
import { FencedError, messageOf, UnavailableError } from './errors.js'
import type { Consumer, Delivery, Later, Outcome } from './bus.js'
import type { Log } from './log.js'
import type { Metrics } from './metrics.js'
import { WaitingLine, type Waiting } from './waiting-line.js'

const DEFAULT_HOLD_MS = 5_000
const DEFAULT_MAX_BATCH = 1_000
const RETRY_EVERY_MS = 100
/** Messages at once from which on it pays to wait for more. */
const FEW = 4
/** How long at most, as a share of what the last batch took, and in all. */
const GATHER_SHARE = 0.5
const LONGEST_GATHER_MS = 1
/** The same where commits are slow: then a share of what one took may be more. */
const SLOW_GATHER_SHARE = 0.2
const LONGEST_SLOW_GATHER_MS = 10
/** Who gathers for longer looks so often, in milliseconds; until then in each turn of the event loop. */
const LOOK_EVERY_MS = 1
/** What still waits so long after a stop was asked for is not done any more: supervisors kill what does not end. */
const STOP_WITHIN_MS = 5_000
/** How long `abandon` may take before the connections are closed anyway. */
const ABANDON_WITHIN_MS = 1_000

/** What a Bus does with a delivery: acknowledge it by its outcome, or close the sender's connection unacknowledged. */
export type Settlement = Outcome | { readonly type: 'unavailable' }

const UNAVAILABLE: Settlement = { type: 'unavailable' }

export interface IntakeParts<Ticket> {
  readonly consumer: Consumer
  readonly filter: string
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  /** Shared by the consumers whose batches may begin together; default: its own. */
  readonly batchStart?: BatchStart
  /** Carries out the settlements of one batch; the arrays have the same length. Must not throw. */
  readonly settle: (tickets: readonly Ticket[], settlements: readonly Settlement[]) => void
}

/** `Ticket` is what the Bus needs to acknowledge a delivery. */
export class Intake<Ticket> {
  readonly #parts: IntakeParts<Ticket>
  readonly #maxBatch: number
  readonly #holdMs: number
  readonly #batchStart: BatchStart
  readonly #line: WaitingLine<Ticket>
  #running = false
  #stopped = false
  /** Infinity as long as it is not to stop. */
  #stopAtMs = Infinity
  #idle: (() => void)[] = []
  /** Deliveries that were handed over one by one and are in work. */
  #inWork = 0
  /** What was forgotten while a batch is in work: some of it may be handed back. */
  readonly #forgotten: ((ticket: Ticket) => boolean)[] = []
  /** Called when the intake stops, so that held batches do not delay the stop. */
  readonly #wakes = new Set<() => void>()
  /** When the ledger was found unavailable; null while it is not. */
  #unavailableSinceMs: number | null = null
  /** When that was found the last time. */
  #failedAtMs = 0
  /** What was given up since. */
  #abandoned = 0

  constructor (parts: IntakeParts<Ticket>) {
    this.#parts = parts
    this.#line = new WaitingLine(parts.consumer.takesTurns ?? false)
    this.#maxBatch = parts.consumer.maxBatch ?? DEFAULT_MAX_BATCH
    this.#holdMs = parts.consumer.holdMs ?? DEFAULT_HOLD_MS
    this.#batchStart = parts.batchStart ?? new BatchStart()
  }

  /** Deliveries that wait for their batch, or are in work by themselves. */
  get waiting (): number { return this.#line.length + this.#inWork }

  push (delivery: Delivery, ticket: Ticket): void {
    if (this.#stopped) {
      this.#parts.settle([ticket], [UNAVAILABLE])
      return
    }
    if (this.#parts.consumer.atOnce === true) {
      void this.#runAlone(delivery, ticket)
      return
    }
    this.#line.push({ delivery, ticket })
    if (!this.#running) {
      this.#running = true
      void this.#run()
    }
  }

  /**
   * Forgets deliveries that wait for their batch and will come again: their connection is gone and the broker keeps the
   * session. They are not settled.
   */
  discard (comesAgain: (ticket: Ticket) => boolean): void {
    if (this.#running) this.#forgotten.push(comesAgain)
    this.#line.discard(comesAgain)
  }

  /** Finishes what has arrived, as far as that takes a few seconds, then closes the connections of whatever is left or arrives later. */
  async stop (): Promise<void> {
    this.#stopped = true
    this.#stopAtMs = performance.now() + STOP_WITHIN_MS
    for (const wake of this.#wakes) wake()
    if (this.#running || this.#inWork > 0) await new Promise<void>(resolve => this.#idle.push(resolve))
  }

  async #run (): Promise<void> {
    await this.#batchStart.ready()
    // Fewer than may be in a batch where the consumer has not done all of one.
    let most = this.#maxBatch
    while (this.#line.length > 0) {
      if (performance.now() >= this.#stopAtMs) {
        const left = this.#line.take(this.#line.length)
        this.#parts.settle(left.map(({ ticket }) => ticket), left.map(() => UNAVAILABLE))
        break
      }
      const batch: Waiting<Ticket>[] = []
      const deliveries: Delivery[] = []
      const more = (): readonly Delivery[] => {
        const others = this.#line.take(most - batch.length)
        // Who came first has been held for longest, whosever turn it is.
        if (this.#unavailableSinceMs !== null) others.sort((a, b) => a.delivery.receivedAtMs - b.delivery.receivedAtMs)
        batch.push(...others)
        for (const { delivery } of others) deliveries.push(delivery)
        return deliveries
      }
      this.#forgotten.length = 0
      const startedMs = performance.now()
      const settlements = await this.#handle(more(), more)
      const left = batch.splice(settlements.length)
      if (left.length > 0) this.#line.putBack(left.filter(({ ticket }) => !this.#forgotten.some(comesAgain => comesAgain(ticket))))
      this.#parts.settle(batch.map(({ ticket }) => ticket), settlements)
      if (settlements.includes(UNAVAILABLE)) most = this.#maxBatch
      // What is read for a batch is read again for those that are handed back.
      else most = left.length > 0 ? Math.min(2 * batch.length, this.#maxBatch - 1) : Math.min(2 * most, this.#maxBatch)
      if (left.length > 0 && settlements.includes(UNAVAILABLE)) await this.#pause()
      else if (left.length > 0) await this.#batchStart.ready()
      else await this.#readyAgain(deliveries, performance.now() - startedMs)
    }
    this.#running = false
    for (const resolve of this.#idle.splice(0)) resolve()
  }

  /**
   * Lets those who were just answered send again, so that they come into the next batch together with those who wait: a batch
   * of its own costs as much as ten messages. Never longer than a part of what the last batch took, and not at all when few
   * send at once. Other consumers wait with those whose senders wait for a commit; who gathers for less begins with them.
   */
  async #readyAgain (answered: readonly Delivery[], tookMs: number): Promise<void> {
    const expected = Math.min(answered.length + this.#line.length, this.#maxBatch)
    const { waitsForCommit } = this.#parts.consumer
    if (expected >= FEW) {
      const longestMs = this.#batchStart.isSlow ? Math.min(Math.max(LONGEST_GATHER_MS, tookMs * SLOW_GATHER_SHARE), LONGEST_SLOW_GATHER_MS) : LONGEST_GATHER_MS
      const untilMs = performance.now() + Math.min(tookMs * GATHER_SHARE, longestMs)
      if (waitsForCommit !== undefined && answered.some(waitsForCommit)) {
        await this.#batchStart.readyAfter(this.#untilBack(expected, untilMs, () => false))
        return
      }
      const { gathered } = this.#batchStart
      const isOver = (): boolean => this.#batchStart.gathered !== gathered
      await this.#untilBack(expected, untilMs, isOver)
      // The event loop has turned, and there is nobody to begin with.
      if (!isOver() && !this.#batchStart.isGathering) return
    }
    await this.#batchStart.ready()
  }

  async #untilBack (expected: number, untilMs: number, isOver: () => boolean): Promise<void> {
    const lookUntilMs = performance.now() + LONGEST_GATHER_MS
    do await new Promise(resolve => performance.now() < lookUntilMs ? setImmediate(resolve) : setTimeout(resolve, LOOK_EVERY_MS))
    while (this.#line.length < expected && !isOver() && !this.#stopped && performance.now() < untilMs)
  }

  async #runAlone (delivery: Delivery, ticket: Ticket): Promise<void> {
    this.#inWork++
    const settlements = await this.#handle([delivery], null)
    this.#inWork--
    this.#parts.settle([ticket], settlements)
    if (this.#inWork === 0) for (const resolve of this.#idle.splice(0)) resolve()
  }

  /** Returns the settlements of all, or of the first ones. `more`: see `Consumer`; null for one message that is tried by itself. */
  async #handle (batch: readonly Delivery[], more: (() => readonly Delivery[]) | null): Promise<readonly Settlement[]> {
    const { consumer, clock, log, filter, metrics } = this.#parts
    let sinceMs: number | null = null
    for (;;) {
      try {
        const outcomes = await consumer.handle(batch, more ?? (() => batch))
        if (outcomes.length !== batch.length) throw new Error(`consumer of ${filter} returned ${outcomes.length} outcomes for ${batch.length} deliveries`)
        const done = outcomes.filter(isOutcome)
        if (done.length === 0 || outcomes.slice(0, done.length).some(outcome => !isOutcome(outcome))) throw new Error(`consumer of ${filter} did none of ${batch.length} deliveries, or one before another`)
        this.#wasDone(batch.slice(0, done.length))
        return done
      } catch (error) {
        if (error instanceof FencedError) return batch.map(() => UNAVAILABLE)
        if (!(error instanceof UnavailableError)) return more === null ? this.#drop(batch, error) : await this.#handleSingly(batch)
        if (this.#unavailableSinceMs === null) {
          this.#unavailableSinceMs = clock.nowMs()
          log.error({ filter, messages: batch.length, err: error }, `the ledger is unavailable, messages are held unacknowledged for at most ${this.#holdMs} ms`)
        }
        this.#failedAtMs = clock.nowMs()
        sinceMs ??= this.#unavailableSinceMs
        const inVain = this.#heldInVain(batch, sinceMs)
        if (inVain.length > 0) return await this.#abandon(inVain)
        metrics.held.inc({ filter }, batch.length)
        await this.#pause()
      }
    }
  }

  /** What changes nothing goes well also while nothing can be written: it ends an outage only where nothing else has failed for as long as it would be held. */
  #wasDone (batch: readonly Delivery[]): void {
    const { consumer: { waitsForCommit = () => true }, clock, log, filter } = this.#parts
    if (this.#unavailableSinceMs === null) return
    if (!batch.some(waitsForCommit) && clock.nowMs() - this.#failedAtMs < this.#holdMs) return
    log.info({ filter, messages: batch.length, abandoned: this.#abandoned }, 'the ledger is available again')
    this.#unavailableSinceMs = null
    this.#abandoned = 0
  }

  /** Those that were held for as long as any is, and whoever is before one of them. The others go on waiting: they came later. */
  #heldInVain (batch: readonly Delivery[], unavailableSinceMs: number): readonly Delivery[] {
    if (this.#stopped) return batch
    const heldSinceMs = this.#parts.clock.nowMs() - this.#holdMs
    return batch.slice(0, 1 + batch.findLastIndex(({ receivedAtMs }) => Math.max(receivedAtMs, unavailableSinceMs) <= heldSinceMs))
  }

  /** A batch failed for another reason than I/O: one message must not take the others with it. Each is tried once more. */
  async #handleSingly (batch: readonly Delivery[]): Promise<readonly Settlement[]> {
    const settlements: Settlement[] = []
    for (const delivery of batch) settlements.push(...await this.#handle([delivery], null))
    return settlements
  }

  #drop ([delivery]: readonly Delivery[], error: unknown): readonly Settlement[] {
    this.#parts.metrics.poison.inc({ filter: this.#parts.filter })
    this.#parts.log.error({ err: error, topic: delivery?.topic, clientId: delivery?.clientId }, 'a message could not be handled; it is acknowledged and dropped')
    if (delivery) this.#parts.consumer.dropped?.(delivery)
    return [{ type: 'refused', refusal: { code: 'internal', message: `the message could not be handled: ${messageOf(error)}` } }]
  }

  async #abandon (batch: readonly Delivery[]): Promise<readonly Settlement[]> {
    const { consumer, clock, log, filter, metrics } = this.#parts
    metrics.abandoned.inc({ filter }, batch.length)
    // Said once of an outage, not of each message.
    if (this.#abandoned === 0) log.error({ filter, messages: batch.length }, 'the ledger stays unavailable: connections are closed without acknowledgement, so that clients send again')
    this.#abandoned += batch.length
    if (consumer.abandon) {
      let timer
      const late = new Promise<void>(resolve => { timer = clock.after(ABANDON_WITHIN_MS, resolve) })
      const told = consumer.abandon(batch).catch((err: unknown) => log.error({ err, filter }, 'telling the requesters failed'))
      await Promise.race([told, late])
      ;(timer as { cancel (): void } | undefined)?.cancel()
    }
    return batch.map(() => UNAVAILABLE)
  }

  async #pause (): Promise<void> {
    if (this.#stopped) return
    let wake = (): void => {}
    await new Promise<void>(resolve => {
      const timer = this.#parts.clock.after(RETRY_EVERY_MS, resolve)
      wake = () => {
        timer.cancel()
        resolve()
      }
      this.#wakes.add(wake)
    })
    this.#wakes.delete(wake)
  }
}

function isOutcome (outcome: Outcome | Later): outcome is Outcome {
  return outcome.type !== 'later'
}
