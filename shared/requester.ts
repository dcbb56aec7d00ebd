// The client side of a request: one answer or one clear error within a time limit, over lost messages, lost connections
// and an unavailable ledger. A changing request keeps its requestId over all tries, so it never has its effect twice.
import { randomBytes, randomInt } from 'node:crypto'
import type { IPublishPacket, MqttClient } from 'mqtt'
import { systemClock, type Clock } from './clock.js'
import { messageOf } from './errors.js'
import { responseBaseOf } from './mqtt-client.js'
import { firstIssue, isMethod, READ_ONLY, Reply } from './schemas.js'
import { topics } from './topics.js'

const DEFAULT_TIMEOUT_MS = 5_000
const DEFAULT_RETRIES = 2
/** The first pause before a try after `unavailable`; it doubles with each, and is shortened by up to a half at random. */
const BACK_OFF_MS = 200
/** How long a reply may still come after the broker refused the request's PUBLISH: the two do not wait for each other. */
const REFUSED_GRACE_MS = 250

export interface RequesterOptions {
  /** The whole time that a request may take over all its tries, in milliseconds; default 5,000. */
  readonly timeoutMs?: number
  /** Tries after the first, spread over `timeoutMs`; default 2. A try that a lost connection cut short does not count. */
  readonly retries?: number
  /**
   * The longest that a try waits for its reply before the next, in milliseconds; the last waits as long as `timeoutMs`
   * lets it. Default: every try has the same share of what is left.
   */
  readonly tryMs?: number
  /**
   * How requests and their replies travel; default 1. With 0 each may get lost and only a retry brings it; and a refusal
   * by the broker cannot be told, so that it is a `TimeoutError`.
   */
  readonly qos?: 0 | 1
  readonly clock?: Clock
}

export interface Requester {
  /**
   * Sends one request and resolves with its reply, a refusal included. `body` gets a `requestId` when the method changes
   * something and it has none.
   * Throws `TimeoutError` when no reply came, `RequestRefusedError` when the broker refused the PUBLISH,
   * `ConnectionLostError` when the client is ended, and `BadReplyError` when the answer is no reply.
   */
  readonly request: (method: string, body?: object) => Promise<Reply>
  /**
   * As `request`, for a method whose reply is the first of many messages: `onMessage` is told of a reply that is no refusal,
   * and of everything that comes behind it with the Correlation Data of any of the tries, until the requester is closed or
   * `end` is called.
   */
  readonly follow: (method: string, body: object, onMessage: (message: Reply | BadReplyError) => void) => Promise<Following>
  /** Fails the open requests and unsubscribes. The client stays connected. */
  readonly close: () => Promise<void>
}

/** What is heard of a request after its reply. */
export interface Following {
  readonly reply: Reply
  /** Nothing more is heard of it. */
  readonly end: () => void
}

/** No reply came in time. */
export class TimeoutError extends Error {
  readonly code = 'timeout'
  override readonly name = 'TimeoutError'
}

/** The connection ended for good, or the requester was closed, before the reply came. */
export class ConnectionLostError extends Error {
  readonly code = 'connection_lost'
  override readonly name = 'ConnectionLostError'
}

/** The broker did not take the request, with the reason that it gave. */
export class RequestRefusedError extends Error {
  readonly code = 'request_refused'
  override readonly name = 'RequestRefusedError'
}

/** What came on the Response Topic is not a reply. */
export class BadReplyError extends Error {
  readonly code = 'bad_reply'
  override readonly name = 'BadReplyError'
}

/** What ended one try. */
type TryEnd =
  | { readonly type: 'reply', readonly reply: Reply }
  | { readonly type: 'late' }
  | { readonly type: 'lost' }
  | { readonly type: 'refused', readonly reason: string }
  | { readonly type: 'bad', readonly error: BadReplyError }
  | { readonly type: 'failed', readonly error: Error }

/** One request under way: any of its tries may still be answered. */
interface Pending {
  readonly correlations: Set<string>
  /** Ends the current try. */
  end: (how: TryEnd) => void
  /** For one that is followed. */
  readonly onMessage?: (message: Reply | BadReplyError) => void
  /** Its reply has come: what comes now is the rest. */
  isFollowed: boolean
}

/**
 * Subscribes to a response topic of its own, under `replies/{user}/` or `replies/{client id}/`, and resolves when requests may be made. With an
 * MQTT 3.1.1 client, `replyTo` and `correlation` go in the body, and the reply carries `correlation` at its top level.
 * Throws `RequestRefusedError` when the broker does not allow the subscription.
 */
export async function createRequester (client: MqttClient, { timeoutMs = DEFAULT_TIMEOUT_MS, retries = DEFAULT_RETRIES, tryMs, qos = 1, clock = systemClock }: RequesterOptions = {}): Promise<Requester> {
  const responseTopic = `${responseBaseOf(client)}/${token(9)}`
  const v5 = client.options.protocolVersion === 5
  const underWay = new Set<Pending>()
  const open = new Map<string, Pending>()
  let closed = false

  const onMessage = (topic: string, payload: Uint8Array, packet: IPublishPacket): void => {
    if (topic !== responseTopic) return
    const parsed = parseReply(payload)
    const correlation = v5 ? packet.properties?.correlationData?.toString('base64url') : parsed.correlation
    // An unknown one is the late reply to a request that is over.
    const pending = open.get(correlation ?? '')
    if (pending?.isFollowed) pending.onMessage?.(parsed.end.type === 'reply' ? parsed.end.reply : parsed.end.error)
    else pending?.end(parsed.end)
  }
  const onClose = (): void => { for (const pending of underWay) pending.end({ type: 'lost' }) }
  client.on('message', onMessage)
  client.on('close', onClose)
  await client.subscribeAsync(responseTopic, { qos }).catch((error: unknown) => {
    client.off('message', onMessage)
    client.off('close', onClose)
    throw new RequestRefusedError(`the broker does not let this user take replies on ${responseTopic} (${messageOf(error)}): devices and displays may make no requests; log in as a driver or an operator`, { cause: error })
  })

  const ended = (): boolean => closed || client.disconnecting || client.disconnected

  /** One PUBLISH and what became of it, for at most `waitMs`. */
  const tryOnce = async (method: string, body: object, pending: Pending, waitMs: number, leftMs: number): Promise<TryEnd> => {
    const correlation = token(16)
    pending.correlations.add(correlation)
    open.set(correlation, pending)
    return await new Promise<TryEnd>(resolve => {
      let timer = clock.after(waitMs, () => pending.end({ type: 'late' }))
      let isOver = false
      pending.end = how => {
        if (isOver) return
        isOver = true
        timer.cancel()
        if (pending.onMessage && !pending.isFollowed && how.type === 'reply' && how.reply.ok) {
          // At once: the next message may be in the same read.
          pending.isFollowed = true
          pending.onMessage(how.reply)
        }
        resolve(how)
      }
      const payload = JSON.stringify(v5 ? body : { ...body, replyTo: responseTopic, correlation })
      const properties = {
        responseTopic,
        correlationData: Buffer.from(correlation, 'base64url'),
        contentType: 'application/json',
        // A broker that keeps requests for an absent service must not hand them over when nobody waits any more.
        messageExpiryInterval: Math.ceil(leftMs / 1_000)
      }
      client.publish(topics.request(method), payload, { qos, ...v5 ? { properties } : {} }, error => {
        if (!error) return
        // Only the broker's own refusal has a number.
        if (typeof (error as { code?: unknown }).code !== 'number') return pending.end(client.connected ? { type: 'failed', error } : { type: 'lost' })
        timer.cancel()
        timer = clock.after(REFUSED_GRACE_MS, () => pending.end({ type: 'refused', reason: messageOf(error) }))
      })
    })
  }

  /** Resolves when the client is connected, ended, or `waitMs` are over. */
  const connection = async (pending: Pending, waitMs: number): Promise<void> => {
    if (client.connected || ended()) return
    await new Promise<void>(resolve => {
      const timer = clock.after(waitMs, done)
      function done (): void {
        timer.cancel()
        client.off('connect', done)
        client.off('end', done)
        resolve()
      }
      client.on('connect', done)
      client.on('end', done)
      pending.end = done
    })
  }

  const request = async (method: string, givenBody: object, pending: Pending): Promise<Reply> => {
    const startedAtMs = clock.nowMs()
    const body = withRequestId(method, givenBody, startedAtMs)
    const leftMs = (): number => startedAtMs + timeoutMs - clock.nowMs()
    let tries = 0
    let sent = 0
    let unavailable: Reply | null = null
    while (leftMs() > 0) {
      if (ended()) throw new ConnectionLostError(`the connection to the broker ended before ${method} was answered; whether it had its effect is not known`)
      await connection(pending, leftMs())
      if (!client.connected) continue
      const triesLeft = Math.max(1, retries + 1 - tries)
      tries++
      sent++
      const waitMs = tryMs === undefined || triesLeft === 1 ? leftMs() / triesLeft : Math.min(tryMs, leftMs())
      const end = await tryOnce(method, body, pending, waitMs, leftMs())
      switch (end.type) {
        case 'reply':
          if (end.reply.ok || end.reply.error.code !== 'unavailable') return end.reply
          unavailable = end.reply
          if (tries > retries) return unavailable
          await pause(clock, pending, Math.min(leftMs(), backOffMs(tries)))
          break
        case 'bad': case 'failed': throw end.error
        case 'refused': throw new RequestRefusedError(`the broker refused ${method}: ${end.reason}`)
        case 'lost': tries--; break
        case 'late': break
        default: end satisfies never
      }
    }
    if (unavailable) return unavailable
    throw new TimeoutError(sent === 0
      ? `no connection to the broker within ${timeoutMs} ms: ${method} was not sent`
      : `no reply to ${method} within ${timeoutMs} ms (sent ${sent} ${sent === 1 ? 'time' : 'times'}): is the reservation service running?`)
  }

  const forget = ({ correlations }: Pending): void => { for (const correlation of correlations) open.delete(correlation) }

  return {
    async request (method, body = {}) {
      const pending: Pending = { correlations: new Set(), end: () => {}, isFollowed: false }
      underWay.add(pending)
      try {
        return await request(method, body, pending)
      } finally {
        underWay.delete(pending)
        forget(pending)
      }
    },
    async follow (method, body, onMessage) {
      const pending: Pending = { correlations: new Set(), end: () => {}, onMessage, isFollowed: false }
      underWay.add(pending)
      try {
        return { reply: await request(method, body, pending), end: () => forget(pending) }
      } finally {
        underWay.delete(pending)
        if (!pending.isFollowed) forget(pending)
      }
    },
    async close () {
      if (closed) return
      closed = true
      onClose()
      client.off('message', onMessage)
      client.off('close', onClose)
      if (client.connected && !client.disconnecting) await client.unsubscribeAsync(responseTopic)
    }
  }
}

function withRequestId (method: string, body: object, nowMs: number): object {
  const changes = !isMethod(method) || !READ_ONLY.has(method)
  return changes && !('requestId' in body) ? { ...body, requestId: newRequestId(nowMs) } : body
}

/** Begins with the time, as a UUIDv7 does (RFC 9562): ids of one time lie side by side in the index by which repeats are found. */
function newRequestId (nowMs: number): string {
  return `${nowMs.toString(36).padStart(9, '0')}-${token(12)}`
}

/** The reply in a payload, with the `correlation` that a 3.1.1 reply carries in its body. */
function parseReply (payload: Uint8Array): { end: Extract<TryEnd, { type: 'reply' | 'bad' }>, correlation?: string } {
  let json: unknown
  try {
    json = JSON.parse(Buffer.from(payload).toString('utf8'))
  } catch (cause) {
    return { end: { type: 'bad', error: new BadReplyError(`the reply is not JSON: ${messageOf(cause)}`, { cause }) } }
  }
  const parsed = Reply.safeParse(json)
  const end = parsed.success
    ? { type: 'reply' as const, reply: parsed.data }
    : { type: 'bad' as const, error: new BadReplyError(`the reply has not the shape of one: ${firstIssue(parsed.error)}`) }
  const { correlation } = (json ?? {}) as { correlation?: unknown }
  return typeof correlation === 'string' ? { end, correlation } : { end }
}

async function pause (clock: Clock, pending: Pending, ms: number): Promise<void> {
  await new Promise<void>(resolve => {
    const timer = clock.after(ms, resolve)
    pending.end = () => {
      timer.cancel()
      resolve()
    }
  })
}

function backOffMs (tries: number): number {
  const fullMs = BACK_OFF_MS * 2 ** (tries - 1)
  return randomInt(fullMs / 2, fullMs + 1)
}

function token (bytes: number): string {
  return randomBytes(bytes).toString('base64url')
}
