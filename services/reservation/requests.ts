// From the bytes on `requests/{method}` to a request that can be answered, or to the reason why it cannot.
import { createHash } from 'node:crypto'
import { isUtf8 } from 'node:buffer'
import type { Delivery } from '../../shared/bus.js'
import type { Refusal } from '../../shared/errors.js'
import { Envelope, firstIssue, isMethod, MAX_BODY_BYTES, REQUESTS, type Method, type RequestBody } from '../../shared/schemas.js'
import { mayReceiveReplies, methodOfRequestTopic } from '../../shared/topics.js'

/** Where a reply goes, and what it must carry. */
export interface ReplyAddress {
  readonly topic: string
  /** MQTT 5: returned byte for byte. */
  readonly correlationData?: Uint8Array
  /** MQTT 3.1.1: returned in the reply's body. */
  readonly correlation?: string
}

/** A method with its body; `switch` on `method` gives the body's type. */
export type MethodCall = { [M in Method]: { readonly method: M, readonly body: RequestBody<M> } }[Method]

export interface Request {
  readonly call: MethodCall
  readonly address: ReplyAddress
  /** Null for a request that is executed again when it is sent again. */
  readonly requestId: string | null
  /** What a repeat must equal: the method and the body without the envelope. */
  readonly bodyHash: string
  readonly clientId: string | null
  readonly user: string | null
  readonly receivedAtMs: number
}

export type ParsedRequest =
  | { readonly type: 'request', readonly request: Request }
  /** It can be told what is wrong. */
  | { readonly type: 'refused', readonly method: string, readonly address: ReplyAddress, readonly refusal: Refusal }
  /** Nobody can be told. */
  | { readonly type: 'unanswerable', readonly refusal: Refusal }

/** Parses one delivery. Never throws. */
export function parseRequest (delivery: Delivery): ParsedRequest {
  const method = methodOfRequestTopic(delivery.topic) ?? ''
  const body = parseBody(delivery.payload)
  const envelope = body.ok ? Envelope.safeParse(body.value) : null
  const address = addressOf(delivery, body, envelope?.success ? envelope.data : null)
  if ('code' in address) return { type: 'unanswerable', refusal: address }
  const refused = (refusal: Refusal): ParsedRequest => ({ type: 'refused', method: isMethod(method) ? method : 'unknown', address, refusal })
  if (!isMethod(method)) return refused({ code: 'unknown_method', message: `there is no method ${delivery.topic.slice('requests/'.length, 100)}; info lists them` })
  if (!body.ok) return refused(body.refusal)
  if (!envelope?.success) return refused({ code: 'bad_request', message: envelope ? firstIssue(envelope.error) : 'not valid' })
  const parsed = REQUESTS[method].safeParse(body.value)
  if (!parsed.success) return refused({ code: 'bad_request', message: firstIssue(parsed.error) })
  return {
    type: 'request',
    request: {
      call: { method, body: parsed.data } as MethodCall,
      address,
      requestId: envelope.data.requestId ?? null,
      bodyHash: sha256(`${method} ${canonical(parsed.data)}`),
      clientId: delivery.clientId ?? null,
      user: delivery.user ?? null,
      receivedAtMs: delivery.receivedAtMs
    }
  }
}

type ParsedBody = { readonly ok: true, readonly value: object } | { readonly ok: false, readonly refusal: Refusal }

function parseBody (payload: Uint8Array): ParsedBody {
  const refuse = (code: Refusal['code'], message: string): ParsedBody => ({ ok: false, refusal: { code, message } })
  if (payload.length > MAX_BODY_BYTES) return refuse('too_large', `the body has ${payload.length} bytes; at most ${MAX_BODY_BYTES} are taken`)
  if (payload.length === 0) return { ok: true, value: {} }
  if (!isUtf8(payload)) return refuse('bad_request', 'the body is not valid UTF-8')
  try {
    const value: unknown = JSON.parse(Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString())
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ok: true, value }
  } catch {
    return refuse('bad_request', 'the body is not JSON')
  }
  return refuse('bad_request', 'the body must be a JSON object')
}

/** MQTT 5 names the way back in its properties; an older client in the body. */
function addressOf ({ properties }: Delivery, body: ParsedBody, envelope: Envelope | null): ReplyAddress | Refusal {
  // Read even when another field of the envelope is wrong, so that its sender can be told.
  const inBody = body.ok ? body.value as Record<string, unknown> : {}
  const topic = properties.responseTopic ?? envelope?.replyTo ?? (typeof inBody.replyTo === 'string' ? inBody.replyTo : undefined)
  if (topic === undefined || topic === '') return { code: 'no_response_topic', message: 'the request names no Response Topic; MQTT 3.1.1 clients put replyTo into the body' }
  if (!mayReceiveReplies(topic)) return { code: 'forbidden_response_topic', message: `replies cannot go to ${topic.slice(0, 100)}; use a topic under replies/` }
  return {
    topic,
    ...(properties.correlationData && { correlationData: properties.correlationData }),
    ...(envelope?.correlation !== undefined && { correlation: envelope.correlation })
  }
}

/** JSON with its keys in order, so that the same content has the same hash. */
function canonical (value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([, v]) => v !== undefined).sort(([a], [b]) => a < b ? -1 : 1)
    return `{${entries.map(([k, v]) => `${JSON.stringify(k)}:${canonical(v)}`).join(',')}}`
  }
  return JSON.stringify(value) ?? 'null'
}

export function sha256 (text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
