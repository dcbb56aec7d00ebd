// Drafts of everything that a client may say, with all the properties and values that the standard allows and many that
// are unusual: names that mean something to JavaScript, empty levels, topics of the services, shared subscriptions.
import type { Random } from '../support/mqtt-bytes.js'
import type { Version } from './client-packets.js'
import { binary, packed, property, string, uint16, type Draft } from './drafts.js'

const TOPICS = ['a', 'a/b', 'lots/LOT-A/sensor', 'lots/__proto__/sensor', 'lots/LOT-A/free', 'lots/LOT-B/state', 'requests/reserve', 'requests/toString', 'replies/x/1',
  '__proto__', 'constructor', 'toString', '$SYS/x', '$share', '7', 'ü/ß', 'a//b', '/', '//', 'cameras/c/frame', 'services/s/n/status', '\ufeffb']
const WILD = ['#', '+', 'a/#', '+/+', 'lots/+/free', '__proto__/#', '+/constructor', '$SYS/#', '+/b', '/+', 'lots/#', '#']
const SHARED = ['$share/g/a', '$share/g/a/#', '$share/h/lots/+/sensor', '$share/__proto__/a', '$share/g/+/b']
/** Refused each. */
const WRONG_FILTERS = ['', 'a#', 'a/#/b', '+a', 'a/b+', '##', '$share/g', '$share//a', '$share/g/', '$share/+/a', '$share/g#/a', 'l/'.repeat(101)]
const TEXTS = ['', '1', '-1', '{"sensor":"gate-1","epoch":1,"seq":1,"delta":1}', '{', '\u00ff', 'online', '{"__proto__":{"x":1}}']

export interface ConnectChoice {
  readonly version: Version
  readonly clientId: string
  readonly clean: boolean
  /** Seconds; 5.0 only. 0 leaves the property out. */
  readonly sessionExpirySeconds: number
}

export function connectDraft (random: Random, { version, clientId, clean, sessionExpirySeconds }: ConnectChoice): Draft {
  const will = random.chance(0.25)
  const user = random.chance(0.15)
  const password = user && random.chance(0.7)
  const flags = (clean ? 2 : 0) | (will ? 4 | (random.int(3) << 3) | (random.chance(0.3) ? 0x20 : 0) : 0) | (user ? 0x80 : 0) | (password ? 0x40 : 0)
  const keepAliveSeconds = random.pick([0, 0, 60, 600, 65_535])
  return {
    first: 0x10,
    head: [string(version === 3 ? 'MQIsdp' : 'MQTT'), Buffer.from([version]), Buffer.from([flags]), uint16(keepAliveSeconds)],
    properties: version < 5 ? null : connectProperties(random, sessionExpirySeconds),
    tail: [string(clientId), ...will ? willFields(random, version) : [], ...user ? [string('user')] : [], ...password ? [string('secret')] : []]
  }
}

/** CONNECT with Clean Start and nothing that is optional. */
export function plainConnect (version: Version, clientId: string): Buffer {
  return packed({
    first: 0x10, properties: version < 5 ? null : [], tail: [string(clientId)],
    head: [string(version === 3 ? 'MQIsdp' : 'MQTT'), Buffer.from([version, 2, 0, 0])]
  })
}

function connectProperties (random: Random, sessionExpirySeconds: number): Buffer[] {
  const properties = sessionExpirySeconds > 0 ? [property(0x11, sessionExpirySeconds)] : []
  if (random.chance(0.4)) properties.push(property(0x21, random.pick([1, 2, 3, 10, 20, 65_535])))
  if (random.chance(0.3)) properties.push(property(0x27, random.pick([20, 24, 32, 50, 100, 200, 1_000, 268_435_460])))
  if (random.chance(0.4)) properties.push(property(0x22, random.pick([0, 1, 2, 10, 65_535])))
  if (random.chance(0.3)) properties.push(property(0x17, random.int(2)))
  if (random.chance(0.3)) properties.push(property(0x19, random.int(2)))
  for (let i = random.int(3); i > 0 && random.chance(0.3); i--) properties.push(userProperty(random))
  if (random.chance(0.02)) properties.push(property(0x15, 'SCRAM-SHA-1'))
  return shuffled(random, properties)
}

function willFields (random: Random, version: Version): Buffer[] {
  const payload = random.pick(TEXTS)
  if (version < 5) return [string(random.pick(TOPICS)), string(payload)]
  const properties = messageProperties(random, payload)
  if (random.chance(0.3)) properties.push(property(0x18, random.pick([0, 1])))
  const bytes = Buffer.concat(properties)
  // Every will that is made here has fewer than 16,384 bytes of properties.
  const length = bytes.length < 128 ? Buffer.from([bytes.length]) : Buffer.from([(bytes.length & 127) | 128, bytes.length >> 7])
  return [length, bytes, string(random.pick(TOPICS)), string(payload)]
}

export function publishDraft (random: Random, version: Version, id: number): Draft {
  const qos = random.pick([0, 1, 1, 2])
  const payload = Buffer.from(random.chance(0.1) ? 'x'.repeat(random.int(2_000)) : random.pick(TEXTS))
  const retain = random.chance(0.2)
  const first = 0x30 | (qos << 1) | (retain ? 1 : 0) | (qos > 0 && random.chance(0.1) ? 8 : 0)
  const properties = version < 5 ? null : messageProperties(random, payload.toString())
  let topic = random.pick(TOPICS)
  if (properties && random.chance(0.25)) {
    properties.push(property(0x23, random.chance(0.9) ? 1 + random.int(4) : random.pick([0, 16, 17, 65_535])))
    if (random.chance(0.6)) topic = ''
  }
  // What is retained by chance must also be taken away.
  return { first, head: [string(topic), ...qos > 0 ? [uint16(id)] : []], properties, tail: [retain && random.chance(0.4) ? Buffer.alloc(0) : payload] }
}

function messageProperties (random: Random, payload: string): Buffer[] {
  const properties: Buffer[] = []
  if (random.chance(0.15)) properties.push(property(0x01, random.int(2)))
  if (random.chance(0.2)) properties.push(property(0x02, random.pick([0, 1, 100, 0xffffffff])))
  if (random.chance(0.15)) properties.push(property(0x03, random.pick(['', 'text/plain', 'image/jpeg'])))
  if (random.chance(0.15)) properties.push(property(0x08, random.chance(0.9) ? random.pick(TOPICS) : random.pick(['', '#', 'a/+'])))
  if (random.chance(0.15)) properties.push(property(0x09, Buffer.from(payload)))
  for (let i = random.int(4); i > 0 && random.chance(0.3); i--) properties.push(userProperty(random))
  return shuffled(random, properties)
}

export function subscribeDraft (random: Random, version: Version, id: number): Draft {
  const filters = some(random, () => {
    const filter = filterOf(random)
    const shared = filter.startsWith('$share/')
    const options = version < 5 ? 0 : (random.chance(0.2) && (!shared || random.chance(0.1)) ? 4 : 0) | (random.chance(0.3) ? 8 : 0) | (random.int(3) << 4)
    return [string(filter), Buffer.from([random.int(3) | options])]
  })
  const properties = version < 5 ? null : random.chance(0.3) ? [property(0x0b, random.pick([1, 127, 128, 268_435_455]))] : []
  if (properties && random.chance(0.1)) properties.push(userProperty(random))
  return { first: 0x82, head: [uint16(id)], properties, tail: filters.flat() }
}

export function unsubscribeDraft (random: Random, version: Version, id: number): Draft {
  const properties = version < 5 ? null : random.chance(0.1) ? [userProperty(random)] : []
  return { first: 0xa2, head: [uint16(id)], properties, tail: some(random, () => string(filterOf(random))) }
}

/** An acknowledgement; `reason` and properties only where 5.0 has them. */
export function ackDraft (random: Random, version: Version, type: number, id: number): Draft {
  const first = (type << 4) | (type === 6 ? 2 : 0)
  if (version < 5 || random.chance(0.6)) return { first, head: [uint16(id)], properties: null, tail: [] }
  const reasons = type === 4 || type === 5 ? [0, 0, 0x10, 0x80, 0x97] : [0, 0, 0x92]
  const properties = random.chance(0.5) ? null : random.chance(0.3) ? [property(0x1f, 'because')] : []
  return { first, head: [uint16(id), Buffer.from([random.pick(reasons)])], properties, tail: [] }
}

export function pingDraft (): Draft {
  return { first: 0xc0, head: [], properties: null, tail: [] }
}

export function disconnectDraft (random: Random, version: Version): Draft {
  if (version < 5 || random.chance(0.5)) return { first: 0xe0, head: [], properties: null, tail: [] }
  const properties = random.chance(0.5) ? null : [...random.chance(0.4) ? [property(0x11, random.pick([0, 0, 1, 5]))] : [], ...random.chance(0.4) ? [property(0x1f, 'bye')] : []]
  return { first: 0xe0, head: [Buffer.from([random.pick([0, 4, 0x80, 0x82, 0x99])])], properties, tail: [] }
}

/** What a client may never say, or not now: SUBACK, AUTH, CONNECT again, and so on. */
export function foreignDraft (random: Random): Draft {
  return {
    first: random.pick([0x00, 0x20, 0x90, 0xb0, 0xd0, 0xf0, 0x10]), properties: null, tail: [],
    head: random.chance(0.5) ? [] : [binary(Buffer.from('MQTT')), Buffer.from([5, 2, 0, 0, 0]), string('x')]
  }
}

function filterOf (random: Random): string {
  if (random.chance(0.04)) return random.pick(WRONG_FILTERS)
  return random.chance(0.5) ? random.pick(TOPICS) : random.pick(random.chance(0.7) ? WILD : SHARED)
}

function userProperty (random: Random): Buffer {
  return property(0x26, random.pick(['a=b', 'a=c', '__proto__=y', 'constructor=x', '=', `long=${'v'.repeat(random.int(300))}`]))
}

function some<T> (random: Random, make: () => T): T[] {
  return Array.from({ length: random.chance(0.05) ? 30 : 1 + random.int(3) }, make)
}

function shuffled<T> (random: Random, items: T[]): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = random.int(i + 1)
    const [a, b] = [items[i], items[j]]
    if (a !== undefined && b !== undefined) [items[i], items[j]] = [b, a]
  }
  return items
}
