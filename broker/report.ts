// What the broker tells its operator about clients: a counter for everything, a log line at most once a second for each
// client, so that no client can fill the log.
import type { OnAccess } from '../shared/access-event.js'
import type { Clock } from '../shared/clock.js'
import { messageOf } from '../shared/errors.js'
import { createLimitedWarn, type LimitedWarn, type Log } from '../shared/log.js'
import type { Metrics } from '../shared/metrics.js'
import { hexOf, Reason } from './reason-codes.js'

/** Who is spoken of. */
export interface Who {
  /** Null until CONNECT is accepted. */
  readonly clientId: string | null
  /** `unknown` of a client whose connection is gone. */
  readonly address: string
}

/** What somebody asked for that is not for them. */
export type Denied = 'publish' | 'subscribe' | 'will' | 'client id' | 'request'

const DENIED: Readonly<Record<Denied, string>> = {
  publish: 'a client may not publish on this topic; the message is dropped',
  subscribe: 'a client may not subscribe to this',
  will: 'a client may not leave a will on this topic',
  'client id': 'a client came with the client id of another user',
  request: 'a service refused what is not for this client'
}

/** What the log tells of a session that does not keep up. */
export interface SlowSubscriber {
  readonly id: string
  readonly queued: number
  readonly inflight: number
  readonly own: { readonly dropped: number, readonly conflated: number }
}

/** Errors of a network that comes and goes: no news. */
const PASSING = new Set(['ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE', 'ETIMEDOUT'])

export class Report {
  readonly log: Log
  readonly metrics: Metrics
  readonly #warn: LimitedWarn
  readonly #onAccess: OnAccess | undefined

  /** `onAccess` is told of everything that is denied. */
  constructor (log: Log, clock: Clock, metrics: Metrics, onAccess?: OnAccess) {
    this.log = log
    this.metrics = metrics
    this.#onAccess = onAccess
    this.#warn = createLimitedWarn(log, clock)
  }

  /** A client sent what MQTT does not allow. */
  malformed (who: Who, reason: Reason, words: string): void {
    this.metrics.malformed.inc({ reason: hexOf(reason) })
    this.#warn(keyOf(who), { ...who, reason: hexOf(reason) }, `a client sent what MQTT does not allow: ${words}`)
  }

  /** A client asked for what is not for it. `topic` is shortened; for a client id it is that. */
  denied (who: Who, user: string | null, what: Denied, topic: string): void {
    this.metrics.denied.inc()
    this.#warn(keyOf(who), { ...who, topic }, DENIED[what])
    this.auditDenied(who, user, `${what} ${topic}`)
  }

  /** The same where it is counted and logged already: for the audit only. */
  auditDenied ({ clientId, address }: Who, user: string | null, why: string): void {
    this.#onAccess?.({ type: 'access.denied', user, clientId, address: address === 'unknown' ? null : address, why })
  }

  /** A client met one of the limits: `limit` is its name among the counters. */
  overLimit (who: Who, limit: 'retained' | 'subscriptions' | 'sessions' | 'qos2Ids' | 'connectionsPerAddress' | 'connections', words: string): void {
    this.metrics.overLimit.inc({ limit })
    this.#warn(keyOf(who), { ...who, limit }, `a client met a limit: ${words}`)
  }

  /** A subscriber begins to lose messages because it does not keep up, or has caught up again. */
  slow ({ id, own, queued, inflight }: SlowSubscriber, isSlow: boolean): void {
    const fields = { clientId: id, queued, inflight, dropped: own.dropped, conflated: own.conflated }
    if (!isSlow) this.log.info(fields, 'a slow subscriber has caught up')
    else this.#warn(`slow ${id}`, fields, 'a subscriber is slow: messages for it are dropped or replaced by newer ones')
  }

  /** A connection ended with an error, or was not let in. */
  broken (who: Who, error: unknown): void {
    this.metrics.connectionErrors.inc()
    const code = error instanceof Error && 'code' in error ? String(error.code) : undefined
    // ws closes the connection itself when a frame is larger than it takes.
    if (code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH') this.metrics.malformed.inc({ reason: hexOf(Reason.packetTooLarge) })
    if (code !== undefined && PASSING.has(code)) this.log.debug({ ...who, code }, 'a connection broke')
    else this.#warn(keyOf(who), { ...who, code }, `a connection failed: ${messageOf(error)}`)
  }
}

function keyOf (who: Who): string {
  return who.clientId ?? who.address
}
