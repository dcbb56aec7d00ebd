// From the bytes on `requests/{method}` to a request that can be answered, or to the reason why it cannot.
import { hash } from 'node:crypto'
import { mayCall, type Role } from '../../shared/access.js'
import type { Delivery } from '../../shared/bus.js'
import type { Refusal } from '../../shared/errors.js'
import { openRequest, type ReplyAddress } from '../../shared/request-envelope.js'
import { firstIssue, isMethod, REQUESTS, type Method, type RequestBody } from '../../shared/schemas.js'
import { methodOfRequestTopic } from '../../shared/topics.js'

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
  /** Where it was sent from; null where that is not known. */
  readonly from: string | null
  /** Aborted when the connection that it came on has ended; null where that is not known. */
  readonly gone: AbortSignal | null
  readonly user: string | null
  /** Null where the broker knows no roles. */
  readonly role: Role | null
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
  const opened = openRequest(delivery)
  if (opened.type === 'unanswerable') return opened
  const { address, content } = opened
  const refused = (refusal: Refusal): ParsedRequest => ({ type: 'refused', method: isMethod(method) ? method : 'unknown', address, refusal })
  if (!isMethod(method)) return refused({ code: 'unknown_method', message: `there is no method ${delivery.topic.slice('requests/'.length, 100)}; info lists them` })
  const { role = null } = delivery
  if (role !== null && !mayCall(role, method)) return refused({ code: 'not_allowed', message: `${method} is not for the role ${role}` })
  if (!content.ok) return refused(content.refusal)
  const parsed = REQUESTS[method].safeParse(content.body)
  if (!parsed.success) return refused({ code: 'bad_request', message: firstIssue(parsed.error) })
  return {
    type: 'request',
    request: {
      call: { method, body: parsed.data } as MethodCall,
      address,
      requestId: content.envelope.requestId ?? null,
      bodyHash: sha256(`${method} ${canonical(parsed.data)}`),
      clientId: delivery.clientId ?? null,
      from: delivery.address ?? null,
      gone: delivery.gone ?? null,
      user: delivery.user ?? null,
      role,
      receivedAtMs: delivery.receivedAtMs
    }
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
  return hash('sha256', text)
}
