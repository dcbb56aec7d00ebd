// The MQTT 5.0 properties that a client may send (section 2.2.2.2): which packet may carry which, and how often.
import { malformed, protocolError, type ByteReader } from './byte-reader.js'
import type { InboundPacket, Properties, UserProperties } from './packets.js'

/** Where properties stand: a packet, or the will inside CONNECT. */
export type PropertyPlace = InboundPacket['cmd'] | 'will'

type Name = keyof Properties
type Kind = 'flag' | 'uint16' | 'uint32' | 'varint' | 'string' | 'binary' | 'pair'

interface Known {
  readonly name: Name
  readonly kind: Kind
  readonly places: readonly PropertyPlace[]
  /** The least value that is legal; default 0. */
  readonly least?: number
}

const ACKS = ['puback', 'pubrec', 'pubrel', 'pubcomp'] as const

const KNOWN = new Map<number, Known>([
  [0x01, { name: 'payloadFormatIndicator', kind: 'flag', places: ['publish', 'will'] }],
  [0x02, { name: 'messageExpiryInterval', kind: 'uint32', places: ['publish', 'will'] }],
  [0x03, { name: 'contentType', kind: 'string', places: ['publish', 'will'] }],
  [0x08, { name: 'responseTopic', kind: 'string', places: ['publish', 'will'] }],
  [0x09, { name: 'correlationData', kind: 'binary', places: ['publish', 'will'] }],
  [0x0b, { name: 'subscriptionIdentifier', kind: 'varint', places: ['subscribe'], least: 1 }],
  [0x11, { name: 'sessionExpiryInterval', kind: 'uint32', places: ['connect', 'disconnect'] }],
  [0x15, { name: 'authenticationMethod', kind: 'string', places: ['connect'] }],
  [0x16, { name: 'authenticationData', kind: 'binary', places: ['connect'] }],
  [0x17, { name: 'requestProblemInformation', kind: 'flag', places: ['connect'] }],
  [0x18, { name: 'willDelayInterval', kind: 'uint32', places: ['will'] }],
  [0x19, { name: 'requestResponseInformation', kind: 'flag', places: ['connect'] }],
  [0x1f, { name: 'reasonString', kind: 'string', places: [...ACKS, 'disconnect'] }],
  [0x21, { name: 'receiveMaximum', kind: 'uint16', places: ['connect'], least: 1 }],
  [0x22, { name: 'topicAliasMaximum', kind: 'uint16', places: ['connect'] }],
  [0x23, { name: 'topicAlias', kind: 'uint16', places: ['publish'] }],
  [0x26, { name: 'userProperties', kind: 'pair', places: ['connect', 'will', 'publish', 'subscribe', 'unsubscribe', ...ACKS, 'disconnect'] }],
  [0x27, { name: 'maximumPacketSize', kind: 'uint32', places: ['connect'], least: 1 }]
])

/** Reads a property length and the properties after it; undefined when there are none. Throws `PacketError`. */
export function readProperties (reader: ByteReader, place: PropertyPlace): Properties | undefined {
  const length = reader.varint()
  if (length === 0) return undefined
  const inner = reader.inner(length)
  const properties: Partial<Record<Name, unknown>> = {}
  while (inner.left > 0) {
    const id = inner.byte()
    const known = KNOWN.get(id)
    if (known === undefined || !known.places.includes(place)) {
      // A client may not name subscriptions in what it publishes. [MQTT-3.3.4-6]
      if (id === 0x0b && place === 'publish') throw protocolError('a client may not send a Subscription Identifier in PUBLISH')
      throw malformed(`property 0x${id.toString(16).padStart(2, '0')} does not belong in ${place.toUpperCase()}`)
    }
    if (known.kind === 'pair') {
      const pairs = (properties.userProperties ??= []) as UserProperties
      pairs.push([inner.string('user property'), inner.string('user property')])
      continue
    }
    if (properties[known.name] !== undefined) throw protocolError(`${known.name} stands twice in ${place.toUpperCase()}`)
    properties[known.name] = readValue(inner, known)
  }
  return properties as Properties
}

function readValue (reader: ByteReader, { name, kind, least = 0 }: Known): unknown {
  switch (kind) {
    case 'string': return reader.string(name)
    case 'binary': return reader.binary()
    case 'flag': {
      const value = reader.byte()
      if (value > 1) throw protocolError(`${name} is ${value}, not 0 or 1`)
      return value === 1
    }
    case 'uint16': case 'uint32': case 'varint': {
      const value = reader[kind]()
      if (value < least) throw protocolError(`${name} is ${value}`)
      return value
    }
    case 'pair': throw new Error('user properties have no single value')
    default: return kind satisfies never
  }
}
