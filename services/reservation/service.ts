// The reservation service: answers the requests on `requests/{method}` and lets due reservations go on time. It never
// publishes a lot's count: that is occupancy's, driven by the change feed.
import type { OnAccess } from '../../shared/access-event.js'
import { ACCEPTED, type Bus, type Delivery, type Outcome } from '../../shared/bus.js'
import type { Clock } from '../../shared/clock.js'
import type { Config } from '../../shared/config.js'
import { UnavailableError, type Refusal } from '../../shared/errors.js'
import { every } from '../../shared/every.js'
import type { Id } from '../../shared/lot.js'
import { createLimitedWarn, type LimitedWarn, type Log } from '../../shared/log.js'
import type { Metrics } from '../../shared/metrics.js'
import { publishReply, type ReplyAddress } from '../../shared/request-envelope.js'
import { REQUEST_FILTER, topics } from '../../shared/topics.js'
import { pruneHistory } from '../../storage/history.js'
import type { Ledger } from '../../storage/ledger.js'
import { createAbout, type About } from './about.js'
import { refusedAnswer } from './answers.js'
import { answerBatch, type Answering } from './batch.js'
import { parseRequest, type Request } from './requests.js'
import { pruneReservations } from './store.js'

/** Requests are told `unavailable` after this; a sensor's message may wait longer. */
const HOLD_REQUESTS_MS = 2_000
/** Timers make due transitions prompt; every transaction applies them first anyway. */
const DUE_EVERY_MS = 200
const LOTS_AT_ONCE = 200
const PRUNE_EVERY_MS = 60_000
const PRUNE_AT_ONCE = 500

export interface ReservationParts {
  readonly bus: Bus
  readonly ledger: Ledger
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  readonly config: Pick<Config, 'times' | 'node'>
  /** The version of parkmq. */
  readonly version: string
  /** Told of whoever asked for a reservation that is another's. What parsing refuses, the broker tells. */
  readonly onAccess?: OnAccess
  /** Methods that others answer on the same broker, for the list of `info`; default none. */
  readonly otherMethods?: readonly string[]
}

export interface RunningService { stop (): Promise<void> }

export async function startReservation (parts: ReservationParts): Promise<RunningService> {
  const { bus, ledger, clock, config } = parts
  const log = parts.log.child({ service: 'reservation' })
  const answering = new RequestIntake({ ...parts, log })
  // What came due while nobody ran is applied before the first request.
  await applyDue(ledger, log)
  const tasks = [
    every(DUE_EVERY_MS, 'due reservations', clock, log, async () => await applyDue(ledger, log)),
    every(PRUNE_EVERY_MS, 'forgetting', clock, log, async () => await prune(parts))
  ]
  await bus.consume(REQUEST_FILTER, {
    handle: async batch => await answering.handle(batch),
    abandon: async batch => await answering.abandon(batch),
    dropped: delivery => answering.failed(delivery),
    holdMs: HOLD_REQUESTS_MS,
    maxBatch: 500
  })
  const status = topics.serviceStatus('reservation', config.node)
  await bus.publish(status, 'online', { retain: true })
  return {
    async stop () {
      await Promise.all(tasks.map(task => task.stop()))
      await bus.publish(status, 'offline', { retain: true })
    }
  }
}

async function applyDue (ledger: Ledger, log: Log): Promise<void> {
  for (;;) {
    const lots = await ledger.lotsDue(LOTS_AT_ONCE)
    if (lots.length === 0) return
    const apply = async (some: readonly Id[]): Promise<void> => await ledger.transact('reservation', async tx => await tx.load(some))
    try {
      await apply(lots)
    } catch (error) {
      if (error instanceof UnavailableError) throw error
      // One lot with a fault must not keep the others from their time.
      let failed = 0
      for (const lot of lots) {
        await apply([lot]).catch((err: unknown) => {
          failed++
          log.error({ err, lot }, 'what is due in this lot cannot be applied')
        })
      }
      if (failed === lots.length) return
    }
    await new Promise(resolve => setImmediate(resolve))
  }
}

async function prune ({ ledger, config: { times } }: ReservationParts): Promise<void> {
  for (;;) {
    const pruned = await ledger.transact('reservation', async tx => Math.max(
      await pruneHistory(tx.database, tx.nowMs - times.historyMs, PRUNE_AT_ONCE),
      await pruneReservations(tx.database, tx.nowMs - times.auditMs, PRUNE_AT_ONCE)
    ))
    if (pruned < PRUNE_AT_ONCE) return
    await new Promise(resolve => setImmediate(resolve))
  }
}

class RequestIntake {
  readonly #parts: ReservationParts
  readonly #warn: LimitedWarn
  readonly #about: About

  constructor (parts: ReservationParts) {
    this.#parts = parts
    this.#warn = createLimitedWarn(parts.log, parts.clock)
    this.#about = createAbout(parts)
  }

  async handle (batch: readonly Delivery[]): Promise<Outcome[]> {
    const parsed = batch.map(parseRequest)
    const requests = parsed.flatMap(item => item.type === 'request' ? [item.request] : [])
    const answers = requests.length > 0 ? await this.#answer(requests) : []
    let next = 0
    return parsed.map((item, i): Outcome => {
      switch (item.type) {
        case 'request': {
          const answering = answers[next++]
          if (!answering) throw new Error('a request has no answer')
          this.#reply(item.request, answering)
          return ACCEPTED
        }
        case 'refused':
          this.#note(batch[i], item.refusal)
          this.#parts.metrics.requests.inc({ method: item.method, code: item.refusal.code })
          this.#send(item.address, JSON.stringify(refusedAnswer(item.refusal)), false)
          return { type: 'refused', refusal: item.refusal }
        case 'unanswerable':
          this.#note(batch[i], item.refusal)
          this.#parts.metrics.refusedRequests.inc({ code: item.refusal.code })
          return { type: 'refused', refusal: item.refusal }
        default: return item satisfies never
      }
    })
  }

  /** The ledger stayed unavailable: whoever can be told is told to send again. */
  async abandon (batch: readonly Delivery[]): Promise<void> {
    const refusal: Refusal = { code: 'unavailable', message: 'the ledger cannot be written now and nothing was changed; send the same request again later, with the same requestId' }
    await Promise.all(batch.map(async delivery => {
      const item = parseRequest(delivery)
      if (item.type !== 'request') return
      this.#parts.metrics.requests.inc({ method: item.request.call.method, code: refusal.code })
      await this.#publish(item.request.address, JSON.stringify(refusedAnswer(refusal)), false)
    }))
  }

  /** A fault of ours: the requester is told, and nothing was changed. */
  failed (delivery: Delivery): void {
    const item = parseRequest(delivery)
    if (item.type !== 'request') return
    const refusal: Refusal = { code: 'internal', message: 'the request could not be handled and nothing was changed; the log of parkmq says why' }
    this.#parts.metrics.requests.inc({ method: item.request.call.method, code: refusal.code })
    this.#send(item.request.address, JSON.stringify(refusedAnswer(refusal)), false)
  }

  async #answer (requests: readonly Request[]): Promise<Answering[]> {
    const { ledger, metrics, config } = this.#parts
    const answers = await ledger.transact('reservation', async tx => await answerBatch(tx, requests, { holdMs: config.times.holdMs, about: async method => await this.#about.answer(method) }))
    metrics.batchSize.observe({ service: 'reservation' }, requests.length)
    return answers
  }

  #reply (request: Request, { answer, text, replayed }: Answering): void {
    const { metrics, clock } = this.#parts
    const { method } = request.call
    if (!answer.ok && answer.error.code === 'not_yours') {
      const { user, clientId, from } = request
      this.#parts.onAccess?.({ type: 'access.denied', user, clientId, address: from, why: `request ${method}: not_yours` })
    }
    metrics.requests.inc({ method, code: answer.ok ? 'ok' : answer.error.code })
    if (method === 'recount' && answer.ok && !replayed) metrics.driftCars.inc(Math.abs((answer.result as { drift: number }).drift))
    const tookMs = Math.max(0, clock.nowMs() - request.receivedAtMs)
    metrics.requestSeconds.observe({ method }, tookMs / 1_000)
    this.#about.took(method, tookMs)
    this.#send(request.address, text, replayed)
  }

  /** The reply follows the commit; nothing waits for it. */
  #send (address: ReplyAddress, text: string, replayed: boolean): void {
    this.#publish(address, text, replayed).catch((err: unknown) => {
      this.#parts.metrics.publishFailures.inc({ kind: 'reply' })
      this.#parts.log.error({ err }, 'a reply could not be sent; a repeat of the request gets it')
    })
  }

  async #publish (address: ReplyAddress, text: string, replayed: boolean): Promise<void> {
    this.#parts.metrics.published.inc({ kind: 'reply' })
    await publishReply(this.#parts.bus, address, text, replayed)
  }

  #note (delivery: Delivery | undefined, refusal: Refusal): void {
    this.#warn(delivery?.clientId ?? 'unknown client', { code: refusal.code, topic: delivery?.topic, clientId: delivery?.clientId }, refusal.message)
  }
}
