// `monitor` and `unmonitor` inside the transaction of their batch: they are decided here and nothing is begun. What is
// decided becomes true in monitors.ts, after the commit; of a batch that fails nothing is left.
import type { Refusal } from '../../shared/errors.js'
import type { Config } from '../../shared/config.js'
import type { Id, Lot } from '../../shared/lot.js'
import type { ReplyAddress } from '../../shared/request-envelope.js'
import type { Availability, MonitorMessage, RequestBody } from '../../shared/schemas.js'
import { answered, refusedAnswer, type Answer } from './answers.js'
import { availabilityOf, shownLot } from './monitor-messages.js'
import type { Request } from './requests.js'
import { unknownLot } from './work.js'

/** A monitor that was promised: to be begun after the commit. */
export interface MonitorStart {
  readonly type: 'start'
  readonly requester: string
  readonly lot: Id
  readonly address: ReplyAddress
  /** Aborted when its client is gone; null where that is not known. */
  readonly gone: AbortSignal | null
  readonly untilMs: number
  /** What the reply says, with the lot's version. */
  readonly told: Availability
  readonly version: number
}

/** A monitor that is to be ended after the commit. */
export interface MonitorStop {
  readonly type: 'stop'
  readonly requester: string
  readonly lot: Id
}

export type MonitorAct = MonitorStart | MonitorStop

/** What decisions are made of. */
export interface OpenMonitors {
  /** Of all requesters. */
  readonly count: number
  /** No more are begun. */
  readonly isStopping: boolean
  readonly limits: Pick<Config['limits'], 'monitors' | 'monitorsPerClient'>
  has (requester: string, lot: Id): boolean
  countOf (requester: string): number
}

/**
 * Whose monitors they are: the client's, where the broker knows it, otherwise those of the Response Topic. There, whoever
 * knows the Response Topic of another may end its monitors, as it may read its replies.
 */
export function requesterOf ({ clientId, address }: Request): string {
  return clientId === null ? `topic ${address.topic}` : `client ${clientId}`
}

/** The decisions of one batch, each made with those before it. */
export class MonitorDraft {
  /** What is to be done after the commit, by request. */
  readonly acts = new Map<Request, MonitorAct>()
  readonly #open: OpenMonitors
  /** By lot and requester: whether it is there after the requests so far. */
  readonly #changed = new Map<string, boolean>()
  /** How many more, or less, each has after the requests so far. */
  readonly #differences = new Map<string, number>()
  #difference = 0

  constructor (open: OpenMonitors) {
    this.#open = open
  }

  /** Promises a monitor of `lot` from now on; one of the same requester and lot is renewed. */
  start (request: Request, { lot: id, forSeconds }: RequestBody<'monitor'>, lot: Lot | undefined, nowMs: number): Answer {
    if (!lot) return refusedAnswer(unknownLot(id).refusal)
    const requester = requesterOf(request)
    const refusal = this.#refusal(request, requester, id)
    if (refusal !== null) return refusedAnswer(refusal)
    this.#set(requester, id, true)
    const untilMs = nowMs + forSeconds * 1_000
    const told = availabilityOf(lot)
    this.acts.set(request, { type: 'start', requester, lot: id, address: request.address, gone: request.gone, untilMs, told, version: lot.version })
    return answered({ monitor: 'started', until: new Date(untilMs).toISOString(), ...shownLot(lot) } satisfies MonitorMessage)
  }

  stop (request: Request, lot: Id): Answer {
    const requester = requesterOf(request)
    const ended = this.#has(requester, lot)
    if (ended) {
      this.#set(requester, lot, false)
      this.acts.set(request, { type: 'stop', requester, lot })
    }
    return answered({ lot, ended })
  }

  #refusal ({ gone }: Request, requester: string, lot: Id): Refusal | null {
    const { limits, isStopping, count } = this.#open
    if (isStopping) return { code: 'unavailable', message: 'parkmq is stopping; send the same request again later' }
    // A will, or what was on its way when its connection ended.
    if (gone?.aborted === true) return { code: 'bad_request', message: 'a monitor lasts no longer than the connection that asks for it, and that has ended' }
    if (this.#has(requester, lot)) return null
    if (this.#open.countOf(requester) + (this.#differences.get(requester) ?? 0) >= limits.monitorsPerClient) {
      return { code: 'over_limit', message: `you monitor ${limits.monitorsPerClient} lots, the most of one client (limits.monitorsPerClient); end one with unmonitor` }
    }
    if (count + this.#difference >= limits.monitors) return { code: 'over_limit', message: `${limits.monitors} monitors are open, the most of all clients together (limits.monitors); try again later` }
    return null
  }

  #has (requester: string, lot: Id): boolean {
    return this.#changed.get(`${lot} ${requester}`) ?? this.#open.has(requester, lot)
  }

  #set (requester: string, lot: Id, isOpen: boolean): void {
    const by = Number(isOpen) - Number(this.#has(requester, lot))
    this.#changed.set(`${lot} ${requester}`, isOpen)
    this.#differences.set(requester, (this.#differences.get(requester) ?? 0) + by)
    this.#difference += by
  }
}
