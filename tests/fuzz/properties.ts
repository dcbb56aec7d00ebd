// Every property of MQTT 5.0 (section 2.2.2.2), for both directions, and a strict reader of them. It is written from the
// standard and shares nothing with the broker: a mistake there must not be repeated here.
import { MALFORMED, PROTOCOL_ERROR, type Reader } from './reader.js'

export type Kind = 'flag' | 'byte' | 'uint16' | 'uint32' | 'varint' | 'string' | 'binary' | 'pair'

/** Where properties stand: a packet of the client (`c:`) or of the server (`s:`), or the will. */
export type Place =
  | 'c:connect' | 'c:will' | 'c:publish' | 'c:ack' | 'c:subscribe' | 'c:unsubscribe' | 'c:disconnect' | 'c:auth'
  | 's:connack' | 's:publish' | 's:ack' | 's:suback' | 's:unsuback' | 's:disconnect' | 's:auth'

export interface Property {
  readonly kind: Kind
  readonly places: readonly Place[]
  /** The least legal value of a number. */
  readonly least?: number
}

const MESSAGE = ['c:publish', 'c:will', 's:publish'] as const
const AUTH = ['c:connect', 's:connack', 'c:auth', 's:auth'] as const
const ANY = ['c:connect', 'c:will', 'c:publish', 'c:ack', 'c:subscribe', 'c:unsubscribe', 'c:disconnect', 'c:auth',
  's:connack', 's:publish', 's:ack', 's:suback', 's:unsuback', 's:disconnect', 's:auth'] as const

export const USER_PROPERTY = 0x26
export const SUBSCRIPTION_IDENTIFIER = 0x0b

export const PROPERTIES: ReadonlyMap<number, Property> = new Map<number, Property>([
  [0x01, { kind: 'flag', places: MESSAGE }],
  [0x02, { kind: 'uint32', places: MESSAGE }],
  [0x03, { kind: 'string', places: MESSAGE }],
  [0x08, { kind: 'string', places: MESSAGE }],
  [0x09, { kind: 'binary', places: MESSAGE }],
  [0x0b, { kind: 'varint', places: ['c:subscribe', 's:publish'], least: 1 }],
  [0x11, { kind: 'uint32', places: ['c:connect', 's:connack', 'c:disconnect'] }],
  [0x12, { kind: 'string', places: ['s:connack'] }],
  [0x13, { kind: 'uint16', places: ['s:connack'] }],
  [0x15, { kind: 'string', places: AUTH }],
  [0x16, { kind: 'binary', places: AUTH }],
  [0x17, { kind: 'flag', places: ['c:connect'] }],
  [0x18, { kind: 'uint32', places: ['c:will'] }],
  [0x19, { kind: 'flag', places: ['c:connect'] }],
  [0x1a, { kind: 'string', places: ['s:connack'] }],
  [0x1c, { kind: 'string', places: ['s:connack', 's:disconnect'] }],
  [0x1f, { kind: 'string', places: ['s:connack', 'c:ack', 's:ack', 's:suback', 's:unsuback', 'c:disconnect', 's:disconnect', 'c:auth', 's:auth'] }],
  [0x21, { kind: 'uint16', places: ['c:connect', 's:connack'], least: 1 }],
  [0x22, { kind: 'uint16', places: ['c:connect', 's:connack'] }],
  [0x23, { kind: 'uint16', places: ['c:publish', 's:publish'] }],
  [0x24, { kind: 'flag', places: ['s:connack'] }],
  [0x25, { kind: 'flag', places: ['s:connack'] }],
  [0x26, { kind: 'pair', places: ANY }],
  [0x27, { kind: 'uint32', places: ['c:connect', 's:connack'], least: 1 }],
  [0x28, { kind: 'flag', places: ['s:connack'] }],
  [0x29, { kind: 'flag', places: ['s:connack'] }],
  [0x2a, { kind: 'flag', places: ['s:connack'] }]
])

export type Value = number | string | Buffer

/** The properties of one packet by identifier; what came several times has several values. */
export type Properties = ReadonlyMap<number, readonly Value[]>

export const NO_PROPERTIES: Properties = new Map()

/** Reads a property length and what it covers. Throws `Fault` when it cannot be read, notes other faults in the reader. */
export function readProperties (reader: Reader, place: Place): Properties {
  const inner = reader.part(reader.varint())
  const read = new Map<number, Value[]>()
  while (inner.left > 0) {
    const id = inner.varint()
    const property = PROPERTIES.get(id)
    if (property === undefined) throw inner.fault(`no property has the identifier ${id}`)
    if (!property.places.includes(place)) inner.note(`property ${id} does not belong in ${place}`, MALFORMED, PROTOCOL_ERROR)
    const value = readValue(inner, property)
    const several = id === USER_PROPERTY || (id === SUBSCRIPTION_IDENTIFIER && place === 's:publish')
    const before = read.get(id)
    if (before === undefined) read.set(id, [value])
    else if (several) before.push(value)
    else inner.note(`property ${id} stands twice`, MALFORMED, PROTOCOL_ERROR)
  }
  return read
}

function readValue (reader: Reader, { kind, least = 0 }: Property): Value {
  switch (kind) {
    case 'string': return reader.string()
    case 'binary': return reader.binary()
    case 'pair': return `${reader.string()}=${reader.string()}`
    case 'byte': return reader.byte()
    case 'flag': {
      const value = reader.byte()
      if (value > 1) reader.note(`a flag is ${value}`, MALFORMED, PROTOCOL_ERROR)
      return value
    }
    case 'uint16': case 'uint32': case 'varint': {
      const value = reader[kind]()
      if (value < least) reader.note(`a number is ${value}`, MALFORMED, PROTOCOL_ERROR)
      return value
    }
    default: return kind satisfies never
  }
}

/** The only value of a property as a number; undefined when it is not there. */
export function numberOf (properties: Properties, id: number): number | undefined {
  const value = properties.get(id)?.[0]
  return typeof value === 'number' ? value : undefined
}

/** The only value of a property as text; undefined when it is not there. */
export function textOf (properties: Properties, id: number): string | undefined {
  const value = properties.get(id)?.[0]
  return typeof value === 'string' ? value : undefined
}
