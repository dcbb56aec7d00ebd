// From the bytes on `lots/{lot}/sensor` to a message of the core, or to a refusal that names what is wrong.
import { isUtf8 } from 'node:buffer'
import { maySpeakAs } from '../../shared/access.js'
import type { Delivery } from '../../shared/bus.js'
import type { Refusal } from '../../shared/errors.js'
import type { BayState, Id } from '../../shared/lot.js'
import { BareDelta, firstIssue, MAX_BODY_BYTES, SensorBays, SensorDelta, SensorRecount } from '../../shared/schemas.js'
import { lotOfSensorTopic } from '../../shared/topics.js'
import type { SensorMessage } from './core.js'

export type ParsedMessage = { readonly message: SensorMessage } | { readonly refusal: Refusal }

const FORMS = { delta: SensorDelta, occupied: SensorRecount, bays: SensorBays } as const

type FromDevice = Pick<Delivery, 'topic' | 'payload' | 'role' | 'user'>

/** Parses one delivery. Never throws. */
export function parseSensorMessage (delivery: FromDevice): ParsedMessage {
  const parsed = parsePayload(delivery)
  if ('refusal' in parsed || parsed.message.type === 'bare') return parsed
  const { role, user } = delivery
  const { sensor } = parsed.message
  // A device whose password was stolen must not silence the others by numbers of the future.
  if (role === 'device' && user !== undefined && !maySpeakAs(user, sensor)) {
    return refuse('not_allowed', `sensor: ${sensor} is not for the device ${user} to speak for; call it ${user} or ${user}.something`)
  }
  return parsed
}

function parsePayload ({ topic, payload }: FromDevice): ParsedMessage {
  const lot = lotOfSensorTopic(topic)
  if (lot === null) return refuse('bad_topic', `the topic ${topic.slice(0, 100)} has no valid lot id; ids match [A-Za-z0-9][A-Za-z0-9._-]{0,63}`)
  if (payload.length > MAX_BODY_BYTES) return refuse('too_large', `the payload has ${payload.length} bytes; at most ${MAX_BODY_BYTES} are taken`)
  if (!isUtf8(payload)) return refuse('bad_message', 'the payload is not valid UTF-8')
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString())
  } catch {
    return refuse('bad_message', 'the payload is neither a whole number nor JSON')
  }
  if (typeof value === 'number') {
    const delta = BareDelta.safeParse(value)
    return delta.success ? { message: { type: 'bare', lot, delta: delta.data } } : refuse('bad_message', `bare delta: ${firstIssue(delta.error)}`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return refuse('bad_message', 'the payload must be a whole number or an object')
  return parseForm(lot, value)
}

function parseForm (lot: Id, value: object): ParsedMessage {
  const keys = (Object.keys(FORMS) as (keyof typeof FORMS)[]).filter(key => Object.hasOwn(value, key))
  const [key] = keys
  if (key === undefined || keys.length > 1) {
    return refuse('bad_message', `the payload must have exactly one of delta, occupied and bays; it has ${keys.length === 0 ? 'none' : keys.join(' and ')}`)
  }
  switch (key) {
    case 'delta': {
      const parsed = SensorDelta.safeParse(value)
      if (!parsed.success) return refuse('bad_message', firstIssue(parsed.error))
      const { sensor, epoch, seq, delta, plate } = parsed.data
      return { message: { type: 'delta', lot, sensor, epoch, seq, delta, plate: plate ?? null } }
    }
    case 'occupied': {
      const parsed = SensorRecount.safeParse(value)
      if (!parsed.success) return refuse('bad_message', firstIssue(parsed.error))
      const { sensor, epoch, seq, occupied } = parsed.data
      return { message: { type: 'recount', lot, sensor, epoch, seq, occupied } }
    }
    case 'bays': {
      const parsed = SensorBays.safeParse(value)
      if (!parsed.success) return refuse('bad_message', firstIssue(parsed.error))
      const { sensor, epoch, seq, bays, whole, standsForSeconds } = parsed.data
      // The schema leaves out a key named __proto__ instead of refusing it.
      if (Object.hasOwn((value as { bays: object }).bays, '__proto__')) return refuse('bad_message', 'bays: __proto__ is not an id')
      return { message: { type: 'bays', lot, sensor, epoch, seq, bays: new Map(Object.entries(bays) as [Id, BayState][]), whole: whole ?? false, standsForMs: standsForSeconds === undefined ? null : standsForSeconds * 1_000 } }
    }
    default: return key satisfies never
  }
}

function refuse (code: Refusal['code'], message: string): ParsedMessage {
  return { refusal: { code, message } }
}
