// The request `clients`: who has a session here, how far each subscriber is behind, and what it has lost. Only the
// broker knows that, so it answers by itself. It changes nothing, and one reply never grows with the number of clients.
import type { z } from 'zod'
import { mayCall } from '../shared/access.js'
import { ACCEPTED, type Bus, type Consumer, type Delivery, type Outcome } from '../shared/bus.js'
import type { Clock } from '../shared/clock.js'
import type { Refusal } from '../shared/errors.js'
import { createLimitedWarn, type LimitedWarn, type Log } from '../shared/log.js'
import type { Metrics } from '../shared/metrics.js'
import { openRequest, publishReply, type ReplyAddress, type RequestContent } from '../shared/request-envelope.js'
import { BROKER_REQUESTS, firstIssue, MAX_LISTED, type ClientList, type ClientRow, type Reply } from '../shared/schemas.js'
import type { Connection } from './connection.js'
import { shortened } from './refusals.js'
import type { Session } from './session.js'

/** A reply may have some hundred kilobytes: so many are made in one turn of the event loop at most. */
const AT_ONCE = 10
const PROTOCOLS = { 3: '3.1', 4: '3.1.1', 5: '5.0' } as const

export interface ClientsParts {
  readonly bus: Bus
  /** By client id. */
  readonly sessions: () => ReadonlyMap<string, Session>
  readonly connections: () => Iterable<Connection>
  readonly metrics: Metrics
  readonly clock: Clock
  readonly log: Log
}

type Body = z.infer<typeof BROKER_REQUESTS.clients>
type Asked = { readonly ok: true, readonly body: Body } | { readonly ok: false, readonly refusal: Refusal }

export class Clients implements Consumer {
  readonly maxBatch = AT_ONCE
  readonly #parts: ClientsParts
  readonly #warn: LimitedWarn

  constructor (parts: ClientsParts) {
    this.#parts = parts
    this.#warn = createLimitedWarn(parts.log, parts.clock)
  }

  async handle (batch: readonly Delivery[]): Promise<Outcome[]> {
    return batch.map(delivery => this.#answer(delivery))
  }

  #answer (delivery: Delivery): Outcome {
    const { metrics, clock } = this.#parts
    const opened = openRequest(delivery)
    if (opened.type === 'unanswerable') {
      metrics.refusedRequests.inc({ code: opened.refusal.code })
      return this.#refused(delivery, opened.refusal)
    }
    const asked = askedBy(delivery, opened.content)
    metrics.requests.inc({ method: 'clients', code: asked.ok ? 'ok' : asked.refusal.code })
    this.#send(opened.address, asked.ok ? { ok: true, result: this.#list(asked.body) } : { ok: false, error: asked.refusal })
    if (!asked.ok) return this.#refused(delivery, asked.refusal)
    metrics.requestSeconds.observe({ method: 'clients' }, Math.max(0, clock.nowMs() - delivery.receivedAtMs) / 1_000)
    return ACCEPTED
  }

  #list ({ client, slow }: Body): ClientList {
    const { sessions, clock } = this.#parts
    const one = client === undefined ? undefined : sessions().get(client)
    const all = client === undefined ? [...sessions().values()] : one === undefined ? [] : [one]
    const found = all.filter(session => session.isSlowNow || !slow).sort(byUrgency)
    const listed = found.slice(0, MAX_LISTED)
    const connections = new Map<Session, Connection>()
    for (const connection of this.#parts.connections()) if (connection.session !== null) connections.set(connection.session, connection)
    const nowMs = clock.nowMs()
    const rows = listed.map(session => rowOf(session, connections.get(session), nowMs))
    return { clients: rows, more: found.length - rows.length, at: new Date(nowMs).toISOString() }
  }

  #send (address: ReplyAddress, reply: Reply): void {
    const { bus, metrics, log } = this.#parts
    metrics.published.inc({ kind: 'reply' })
    publishReply(bus, address, JSON.stringify(reply)).catch((err: unknown) => {
      metrics.publishFailures.inc({ kind: 'reply' })
      log.error({ err }, 'a reply could not be sent')
    })
  }

  #refused ({ clientId, topic }: Delivery, refusal: Refusal): Outcome {
    this.#warn(clientId ?? 'unknown client', { code: refusal.code, topic, clientId }, refusal.message)
    return { type: 'refused', refusal }
  }
}

function askedBy ({ role }: Delivery, content: RequestContent): Asked {
  if (role !== undefined && !mayCall(role, 'clients')) return { ok: false, refusal: { code: 'not_allowed', message: `clients is not for the role ${role}` } }
  if (!content.ok) return content
  const parsed = BROKER_REQUESTS.clients.safeParse(content.body)
  return parsed.success ? { ok: true, body: parsed.data } : { ok: false, refusal: { code: 'bad_request', message: firstIssue(parsed.error) } }
}

/** Those that an operator looks for come first: slow ones, then the longest queues. */
function byUrgency (a: Session, b: Session): number {
  return Number(b.isSlowNow) - Number(a.isSlowNow) || b.queued - a.queued || b.inflight - a.inflight || (a.id < b.id ? -1 : 1)
}

function rowOf (session: Session, connection: Connection | undefined, nowMs: number): ClientRow {
  const { own, inflight, queued, queuedBytes, window, expirySeconds, isSlowNow } = session
  const version = connection?.version ?? null
  const iso = (ms: number): string => new Date(ms).toISOString()
  return {
    // A client id may have 65,535 bytes.
    client: shortened(session.id),
    connected: session.connected,
    address: connection?.parts.address ?? null,
    protocol: version === null ? null : PROTOCOLS[version],
    connectedSince: connection === undefined ? null : iso(session.connectedAtMs),
    subscriptions: session.subscriptions.size,
    window,
    inflight,
    queued,
    queuedBytes,
    sent: own.sent,
    dropped: own.dropped,
    conflated: own.conflated,
    slow: isSlowNow,
    lastProgress: iso(Math.round(nowMs - (performance.now() - session.progressAtMs))),
    // Of a connected one: how long the session would live without its connection.
    expirySeconds,
    will: connection?.will !== undefined
  }
}
