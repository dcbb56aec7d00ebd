// Takes deliveries on `requests/{method}`, answers a batch of them in one transaction, and sends the replies after its
// commit.
import type { OnAccess } from '../../shared/access-event.js'
import { ACCEPTED, LATER, type Bus, type Delivery, type Later, type Outcome } from '../../shared/bus.js'
import type { Clock } from '../../shared/clock.js'
import { timeZoneOf, type Config } from '../../shared/config.js'
import type { Refusal } from '../../shared/errors.js'
import { createLimitedWarn, type LimitedWarn, type Log } from '../../shared/log.js'
import type { Metrics } from '../../shared/metrics.js'
import { publishReply, type ReplyAddress } from '../../shared/request-envelope.js'
import { MAX_HOLD_SECONDS, READ_ONLY } from '../../shared/schemas.js'
import type { Ledger } from '../../storage/ledger.js'
import type { Fence } from '../../storage/leases.js'
import { ask } from '../../storage/questions.js'
import { createAbout, type About } from './about.js'
import { refusedAnswer } from './answers.js'
import { answerBatch, batchQuestions, type Answering } from './batch.js'
import type { Rules } from './core.js'
import type { Experiment } from './experiment.js'
import type { LotDefaults } from './lots.js'
import type { Monitors } from './monitors.js'
import { parseRequest, type ParsedRequest, type Request } from './requests.js'
import type { BatchSettings } from './work.js'

export interface IntakeParts {
  readonly bus: Bus
  readonly ledger: Ledger
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  readonly config: Pick<Config, 'times' | 'limits' | 'node' | 'timeZone' | 'tariffs' | 'currency' | 'permits'>
  /** The version of parkmq. */
  readonly version: string
  /** Told of whoever asked for a reservation that is another's. What parsing refuses, the broker tells. */
  readonly onAccess?: OnAccess
  /** Methods that others answer on the same broker, for the list of `info`; default none. */
  readonly otherMethods?: readonly string[]
  /** Of `parkmq experiment` alone. */
  readonly experiment?: Experiment | undefined
  /** Where one of several processes answers: that it is still this one. */
  readonly fence?: Fence | undefined
}

/** The rules of admission as the settings have them. */
export function rulesOf ({ times }: Pick<Config, 'times'>): Rules {
  return { times, holdMs: times.holdMs, longestHoldMs: Math.max(times.holdMs, MAX_HOLD_SECONDS * 1_000), bookAheadMs: times.bookAheadMs, waitMs: times.waitMs }
}

export function lotDefaultsOf (config: Pick<Config, 'timeZone' | 'tariffs'>): LotDefaults {
  return { timeZone: timeZoneOf(config), tariffs: Object.keys(config.tariffs) }
}

export class RequestIntake {
  readonly #parts: IntakeParts
  readonly #monitors: Monitors
  readonly #warn: LimitedWarn
  readonly #about: About
  readonly #settings: BatchSettings

  constructor (parts: IntakeParts, monitors: Monitors) {
    this.#parts = parts
    this.#monitors = monitors
    this.#warn = createLimitedWarn(parts.log, parts.clock)
    this.#about = createAbout(parts)
    const { config } = parts
    this.#settings = {
      rules: rulesOf(config), limits: config.limits, lots: lotDefaultsOf(config), prices: config, monitors,
      about: async method => await this.#about.answer(method),
      remembers: parts.experiment?.history !== 'off'
    }
  }

  /** The last ones are `LATER` where all would take long. */
  async handle (batch: readonly Delivery[]): Promise<(Outcome | Later)[]> {
    const parsed = batch.map(parseRequest)
    const requests = parsed.flatMap(item => item.type === 'request' ? [item.request] : [])
    const answers = requests.length > 0 ? await this.#answer(requests) : []
    const outcomes: Outcome[] = []
    let next = 0
    for (const [i, item] of parsed.entries()) {
      if (item.type === 'request') {
        const answering = answers[next++]
        if (!answering) break
        outcomes.push(this.#accept(item.request, answering))
      } else {
        outcomes.push(this.#refuse(batch[i], item))
      }
    }
    return [...outcomes, ...new Array<Later>(batch.length - outcomes.length).fill(LATER)]
  }

  #accept (request: Request, answering: Answering): Outcome {
    this.#reply(request, answering)
    // Behind the reply, with which the stream of a monitor begins.
    if (answering.act) this.#monitors.carryOut(answering.act)
    return ACCEPTED
  }

  #refuse (delivery: Delivery | undefined, item: Exclude<ParsedRequest, { type: 'request' }>): Outcome {
    this.#note(delivery, item.refusal)
    switch (item.type) {
      case 'refused':
        this.#parts.metrics.requests.inc({ method: item.method, code: item.refusal.code })
        this.#send(item.address, JSON.stringify(refusedAnswer(item.refusal)), false)
        break
      case 'unanswerable':
        this.#parts.metrics.refusedRequests.inc({ code: item.refusal.code })
        break
      default: return item satisfies never
    }
    return { type: 'refused', refusal: item.refusal }
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
    const { ledger, metrics, experiment, fence } = this.#parts
    const answers = await ledger.transact('reservation', async tx => {
      if (fence) await ask(tx.database, fence(tx.database))
      return await answerBatch(tx, requests, this.#settings)
    }, {
      place: requests.every(({ call }) => READ_ONLY.has(call.method)) ? 'alone' : undefined,
      first: database => [...fence ? [fence(database)] : [], ...batchQuestions(database, requests)]
    })
    metrics.batchSize.observe({ service: 'reservation' }, answers.length)
    if (experiment) for (const [i, request] of requests.entries()) if (answers[i]?.replayed === false) experiment.carriedOut(request)
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
