// What the broker tells its operator about clients: a counter for everything, a log line at most once a second for each
// client, so that no client can fill the log.
import type { Clock } from '../shared/clock.js'
import { messageOf } from '../shared/errors.js'
import { createLimitedWarn, type LimitedWarn, type Log } from '../shared/log.js'
import type { Metrics } from '../shared/metrics.js'
import { hexOf, Reason } from './reason-codes.js'

/** Who is spoken of. */
export interface Who {
  /** Null until CONNECT is accepted. */
  readonly clientId: string | null
  readonly address: string
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

  constructor (log: Log, clock: Clock, metrics: Metrics) {
    this.log = log
    this.metrics = metrics
    this.#warn = createLimitedWarn(log, clock)
  }

  /** A client sent what MQTT does not allow. */
  malformed (who: Who, reason: Reason, words: string): void {
    this.metrics.malformed.inc({ reason: hexOf(reason) })
    this.#warn(keyOf(who), { ...who, reason: hexOf(reason) }, `a client sent what MQTT does not allow: ${words}`)
  }

  /** A client published where only parkmq may. */
  denied (who: Who, topic: string): void {
    this.metrics.denied.inc()
    this.#warn(keyOf(who), { ...who, topic }, 'a client may not publish on this topic; the message is dropped')
  }

  /** A client met one of the limits: `limit` is its name among the counters. */
  overLimit (who: Who, limit: 'retained' | 'subscriptions' | 'sessions' | 'connectionsPerAddress' | 'connections', words: string): void {
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
