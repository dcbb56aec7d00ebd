// What all requests have in common, whoever answers them: where the reply goes, what it must carry, and a body that is
// a JSON object. It knows no method, and never lets a reply go where only parkmq or its devices write.
import { isUtf8 } from 'node:buffer'
import type { Bus, Delivery, MessageProperties } from './bus.js'
import type { Refusal } from './errors.js'
import { Envelope, firstIssue, MAX_BODY_BYTES } from './schemas.js'
import { mayReceiveReplies } from './topics.js'
import type { Writable } from './writable.js'

/** Where a reply goes, and what it must carry. */
export interface ReplyAddress {
  readonly topic: string
  /** MQTT 5: returned byte for byte. */
  readonly correlationData?: Uint8Array
  /** MQTT 3.1.1: returned in the reply's body. */
  readonly correlation?: string
}

/** The body with its envelope, or what is wrong with them. */
export type RequestContent =
  | { readonly ok: true, readonly body: object, readonly envelope: Envelope }
  | { readonly ok: false, readonly refusal: Refusal }

export type OpenedRequest =
  | { readonly type: 'answerable', readonly address: ReplyAddress, readonly content: RequestContent }
  /** Nobody can be told. */
  | { readonly type: 'unanswerable', readonly refusal: Refusal }

/** Finds out where the reply to a request goes and reads its body. Never throws. */
export function openRequest (delivery: Delivery): OpenedRequest {
  const body = parseBody(delivery.payload)
  const envelope = body.ok ? Envelope.safeParse(body.value) : null
  const address = addressOf(delivery, body, envelope?.success ? envelope.data : null)
  if ('code' in address) return { type: 'unanswerable', refusal: address }
  return { type: 'answerable', address, content: contentOf(body, envelope) }
}

/** Publishes a reply: `text` is the JSON of a `Reply`. `replayed` marks one that was given before. Throws as `Bus.publish` does. */
export async function publishReply (bus: Bus, address: ReplyAddress, text: string, replayed = false): Promise<void> {
  const body = address.correlation === undefined ? text : withCorrelation(text, address.correlation)
  const properties: Writable<MessageProperties> = { contentType: 'application/json', payloadFormatIndicator: 1 }
  if (address.correlationData !== undefined) properties.correlationData = address.correlationData
  if (replayed) properties.userProperties = { replayed: 'true' }
  await bus.publish(address.topic, body, { qos: 1, properties })
}

type ParsedBody = { readonly ok: true, readonly value: object } | { readonly ok: false, readonly refusal: Refusal }

function contentOf (body: ParsedBody, envelope: ReturnType<typeof Envelope.safeParse> | null): RequestContent {
  if (!body.ok) return body
  if (!envelope?.success) return { ok: false, refusal: { code: 'bad_request', message: envelope ? firstIssue(envelope.error) : 'not valid' } }
  return { ok: true, body: body.value, envelope: envelope.data }
}

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
function addressOf ({ properties, replyBase }: Delivery, body: ParsedBody, envelope: Envelope | null): ReplyAddress | Refusal {
  // Read even when another field of the envelope is wrong, so that its sender can be told.
  const inBody = body.ok ? body.value as Record<string, unknown> : {}
  const topic = properties.responseTopic ?? envelope?.replyTo ?? (typeof inBody.replyTo === 'string' ? inBody.replyTo : undefined)
  if (topic === undefined || topic === '') return { code: 'no_response_topic', message: 'the request names no Response Topic; MQTT 3.1.1 clients put replyTo into the body' }
  if (!mayReceiveReplies(topic)) return { code: 'forbidden_response_topic', message: `replies cannot go to ${topic.slice(0, 100)}; use a topic under replies/` }
  if (replyBase !== undefined && !topic.startsWith(replyBase)) return { code: 'forbidden_response_topic', message: `replies to this user cannot go to ${topic.slice(0, 100)}; use a topic under ${replyBase}` }
  const address: Writable<ReplyAddress> = { topic }
  if (properties.correlationData !== undefined) address.correlationData = properties.correlationData
  if (envelope?.correlation !== undefined) address.correlation = envelope.correlation
  return address
}

/** MQTT 3.1.1 has no Correlation Data: the reply's body carries what the request's body had. */
function withCorrelation (text: string, correlation: string): string {
  return `${text.slice(0, -1)},"correlation":${JSON.stringify(correlation)}}`
}
