// What both sides of one connection have said, and what must hold between them: every question gets its answer once,
// nothing unasked is said, and the broker keeps to every limit that the client set.
import { isShared, TYPE, type ClientPacket, type Filter } from './client-packets.js'
import { NO_PROPERTIES, numberOf, SUBSCRIPTION_IDENTIFIER, USER_PROPERTY, type Properties } from './properties.js'
import type { ServerPacket } from './server-packets.js'

/** The broker's own window, which a client's Receive Maximum can only make smaller. */
const MAX_INFLIGHT = 20

interface Due {
  least: number
  most: number
  came: number
}

/** A SUBSCRIBE or UNSUBSCRIBE that waits for its answer. */
type Asked = Pick<ClientPacket, 'id' | 'filters'>

/** A message of the broker with QoS 1 or 2. */
interface Inflight {
  readonly qos2: boolean
  /** It may have expired, or gone to another member of a shared subscription, before it is sent again. */
  readonly mayGo: boolean
}

/** What must be so when a client comes back. */
export interface Before {
  readonly clientId: string
  readonly conversation: Conversation
  /** Whether its session was kept; null where that cannot be known. */
  readonly kept: boolean | null
}

export class Conversation {
  #before: Before | null
  #version = 4
  #asked: Properties = NO_PROPERTIES
  connack: ServerPacket | null = null
  disconnect: ServerPacket | null = null
  /** Messages that the broker sent and this client has not acknowledged for good, by identifier. */
  readonly #inflight = new Map<number, Inflight>()
  /** Messages whose PUBREC was said: PUBREL is due, and PUBCOMP frees the identifier. */
  readonly #releasing = new Set<number>()
  /** Identifiers that this client acknowledged before it had seen a message with them. */
  readonly #uncounted = new Set<number>()
  readonly #due = new Map<string, Due>()
  readonly #subscribes: Asked[] = []
  readonly #unsubscribes: Asked[] = []
  /** Every filter ever asked for on this connection, with the highest QoS. */
  readonly #filters: Map<string, number>
  readonly #identifiers: Set<number>
  /** Messages of an earlier connection that must be sent again, with DUP. [MQTT-4.4.0-1] */
  readonly #owed: Map<number, Inflight>
  readonly #aliases = new Map<number, string>()
  #cleanStart = true

  constructor (before: Before | null) {
    this.#before = before
    const kept = before?.kept === true ? before.conversation : null
    this.#filters = new Map(kept === null ? [] : kept.#filters)
    this.#identifiers = new Set(kept === null ? [] : kept.#identifiers)
    this.#owed = new Map(kept === null ? [] : [...kept.#owed, ...kept.#inflight].filter(([id]) => !kept.#releasing.has(id)).map(([id, message]) => [id, kept.#stillOwed(message)]))
  }

  /** What was too large for this connection is over. [MQTT-3.1.2-25] */
  #stillOwed (message: Inflight): Inflight {
    return this.maximumPacketBytes === Infinity ? message : { ...message, mayGo: true }
  }

  /** This client turns out to be another one than before. */
  #isAnother (): void {
    this.#before = null
    this.#filters.clear()
    this.#identifiers.clear()
    this.#owed.clear()
  }

  /** Whether the session is older than the connection; null where nobody says so: MQTT 3.1 has no word for it. */
  get #present (): boolean | null {
    if (this.connack === null) return null
    return this.#version > 3 || this.#cleanStart ? this.connack.sessionPresent : null
  }

  /** Whether everything is known that may come: there was no session before, or the fuzzer made all of it. */
  get known (): boolean { return this.#present === false || (this.#before?.kept === true && this.#before.conversation.known) }
  /** Messages of an earlier connection that have to come again and have not. */
  get owed (): number { return [...this.#owed.values()].filter(({ mayGo }) => !mayGo).length }
  /** PUBLISH packets that may be unacknowledged at once. */
  get window (): number { return Math.min(numberOf(this.#asked, 0x21) ?? 65_535, MAX_INFLIGHT) }
  get maximumPacketBytes (): number { return numberOf(this.#asked, 0x27) ?? Infinity }

  /** A packet of the client that need not be refused. */
  sent (packet: ClientPacket): void {
    const { type, id } = packet
    switch (type) {
      case TYPE.connect:
        this.#version = packet.connect?.version ?? 4
        this.#asked = packet.properties
        this.#cleanStart = packet.connect?.clean ?? true
        if (this.#before !== null && packet.connect?.clientId !== this.#before.clientId) this.#isAnother()
        return
      case TYPE.publish: {
        const qos = (packet.flags >> 1) & 3
        if (qos === 1) this.#ask(TYPE.puback, id)
        // Copies that come while the first is in work may share one answer.
        if (qos === 2) this.#ask(TYPE.pubrec, id, this.#due.has(keyOf(TYPE.pubrec, id)) ? 0 : 1)
        return
      }
      case TYPE.pubrel: return this.#ask(TYPE.pubcomp, id)
      case TYPE.pingreq: return this.#ask(TYPE.pingresp, 0)
      case TYPE.subscribe:
        this.#ask(TYPE.suback, id)
        this.#subscribes.push(packet)
        for (const { filter, options } of packet.filters) this.#filters.set(filter, Math.max(options & 3, this.#filters.get(filter) ?? 0))
        this.#identifiers.add(numberOf(packet.properties, SUBSCRIPTION_IDENTIFIER) ?? 0)
        return
      case TYPE.unsubscribe:
        this.#ask(TYPE.unsuback, id)
        this.#unsubscribes.push(packet)
        return
      case TYPE.puback: case TYPE.pubcomp: return this.#free(id)
      case TYPE.pubrec: return this.#received(packet)
      default:
    }
  }

  /** PUBREC of this client: an error frees the identifier, else PUBREL is due if the broker waits for it. */
  #received ({ id, reason }: ClientPacket): void {
    if (reason >= 0x80) {
      this.#free(id)
      this.#ask(TYPE.pubrel, id, 0)
      return
    }
    const expected = this.#inflight.get(id)?.qos2 === true && !this.#releasing.has(id)
    this.#ask(TYPE.pubrel, id, expected ? 1 : 0)
    if (expected) this.#releasing.add(id)
  }

  /** An acknowledgement that ends a message, or may end one that is on its way here: then the identifier is not counted. */
  #free (id: number): void {
    if (!this.#inflight.delete(id)) this.#uncounted.add(id)
    this.#releasing.delete(id)
    this.#owed.delete(id)
  }

  #ask (type: number, id: number, least = 1): void {
    const due = this.#due.get(keyOf(type, id)) ?? { least: 0, most: 0, came: 0 }
    due.least += least
    due.most++
    this.#due.set(keyOf(type, id), due)
  }

  /**
   * What the broker owes now, as a function that says later what is still missing of it, in words. What is asked for
   * meanwhile does not count: a busy client always waits for something.
   */
  dueNow (): () => string[] {
    const due = [...this.#due].filter(([, { least, came }]) => came < least).map(([key, entry]) => ({ key, entry, least: entry.least }))
    return () => due.filter(({ entry, least }) => entry.came < least).map(({ key, entry, least }) => `${least - entry.came} of ${key}`)
  }

  /** Throws an `Error` when the broker may not say this here. */
  received (packet: ServerPacket): void {
    const { type, size, properties } = packet
    if (size > this.maximumPacketBytes) throw new Error(`the broker sent ${size} bytes of type ${type} to a client with Maximum Packet Size ${this.maximumPacketBytes}`)
    if (this.disconnect) throw new Error(`the broker said type ${type} after DISCONNECT`)
    if (this.connack === null && type !== TYPE.connack) throw new Error(`the broker said type ${type} before CONNACK`)
    if (type !== TYPE.publish && type !== TYPE.connack && type !== TYPE.disconnect && numberOf(this.#asked, 0x17) === 0 && (properties.has(0x1f) || properties.has(USER_PROPERTY))) {
      throw new Error(`type ${type} has a Reason String or user properties, which the client does not want`)
    }
    switch (type) {
      case TYPE.connack: return this.#connected(packet)
      case TYPE.publish: return this.#publish(packet)
      case TYPE.disconnect: this.disconnect = packet; return
      case TYPE.suback: this.#answered(packet); return this.#subscribed(packet)
      case TYPE.unsuback: this.#answered(packet); return this.#unsubscribed(packet)
      default: return this.#answered(packet)
    }
  }

  #connected (packet: ServerPacket): void {
    if (this.connack) throw new Error('a second CONNACK')
    if (packet.sessionPresent && this.#cleanStart) throw new Error('CONNACK has a session for a client that wants a clean start')
    if (packet.properties.has(0x1a) && numberOf(this.#asked, 0x19) !== 1) throw new Error('CONNACK has Response Information that nobody asked for')
    const { kept = null } = this.#before ?? {}
    // [MQTT-3.2.2-2] [MQTT-3.2.2-3]
    if (packet.reason === 0 && kept !== null && this.#version > 3 && packet.sessionPresent !== (kept && !this.#cleanStart)) {
      throw new Error(`CONNACK says session present ${packet.sessionPresent}; the session was ${kept ? 'kept' : 'not kept'}, Clean Start is ${this.#cleanStart}`)
    }
    this.connack = packet
    if (this.#present === false) this.#owed.clear()
  }

  #answered ({ type, id }: ServerPacket): void {
    const due = this.#due.get(keyOf(type, id))
    if (due && due.came < due.most) {
      due.came++
      return
    }
    // A session may go on with PUBREL for messages of an earlier connection.
    if (type !== TYPE.pubrel || this.#present === false) throw new Error(`nobody asked for ${keyOf(type, id)}${due ? ` more than ${due.most} times` : ''}`)
  }

  #subscribed ({ id, reasons }: ServerPacket): void {
    const filters = taken(this.#subscribes, id, reasons)
    if (reasons.length !== filters.length) throw new Error(`SUBACK ${id} has ${reasons.length} codes for ${filters.length} filters`)
    for (const [i, { filter, options }] of filters.entries()) {
      const reason = reasons[i] ?? 0
      if (reason < 0x80 && reason > (options & 3)) throw new Error(`SUBACK ${id} grants ${JSON.stringify(filter)} QoS ${reason}, asked for ${options & 3}`)
    }
  }

  #unsubscribed ({ id, reasons }: ServerPacket): void {
    const filters = taken(this.#unsubscribes, id, reasons)
    if (this.#version < 5) return
    if (reasons.length !== filters.length) throw new Error(`UNSUBACK ${id} has ${reasons.length} codes for ${filters.length} filters`)
    for (const [i, { filter }] of filters.entries()) {
      if (this.known && reasons[i] === 0 && !this.#filters.has(filter)) throw new Error(`UNSUBACK ${id} has removed ${JSON.stringify(filter)}, which was never there`)
    }
  }

  #publish (packet: ServerPacket): void {
    const qos = (packet.flags >> 1) & 3
    const topic = this.#topicOf(packet)
    if (this.known) this.#checkWanted(topic, qos, packet.properties)
    if (qos === 0) return
    if (this.#uncounted.has(packet.id)) return
    if (this.#inflight.has(packet.id)) throw new Error(`PUBLISH with the identifier ${packet.id}, which is in use`)
    this.#inflight.set(packet.id, { qos2: qos === 2, mayGo: packet.properties.has(0x02) || [...this.#filters.keys()].some(filter => isShared(filter) && matches(filter, topic)) })
    if (this.#inflight.size > this.window) throw new Error(`${this.#inflight.size} messages are unacknowledged, the window is ${this.window}`)
    const again = (packet.flags & 8) !== 0
    if (this.#owed.delete(packet.id) && !again) throw new Error(`a message with the identifier ${packet.id} of an earlier connection came without DUP`)
    if (again && this.#present === false) throw new Error('DUP on a message that was never sent before')
  }

  #topicOf ({ topic, properties }: ServerPacket): string {
    const alias = numberOf(properties, 0x23)
    if (alias === undefined) return topic
    const maximum = numberOf(this.#asked, 0x22) ?? 0
    if (alias > maximum) throw new Error(`the topic alias ${alias}, the client's maximum is ${maximum}`)
    if (topic !== '') this.#aliases.set(alias, topic)
    const known = this.#aliases.get(alias)
    if (known === undefined) throw new Error(`the topic alias ${alias} was never set`)
    return known
  }

  #checkWanted (topic: string, qos: number, properties: Properties): void {
    const granted = [...this.#filters].filter(([filter]) => matches(filter, topic)).map(([, most]) => most)
    if (granted.length === 0) throw new Error(`PUBLISH on ${JSON.stringify(topic)}, which was not subscribed to`)
    if (qos > Math.max(...granted)) throw new Error(`PUBLISH with QoS ${qos} on ${JSON.stringify(topic)}, subscribed with ${Math.max(...granted)}`)
    for (const identifier of properties.get(SUBSCRIPTION_IDENTIFIER) ?? []) {
      if (!this.#identifiers.has(Number(identifier))) throw new Error(`PUBLISH with the Subscription Identifier ${String(identifier)}, which was never given`)
    }
  }
}

/**
 * The filters of the question that an answer belongs to, which is one no more. A client that uses an identifier twice at
 * once cannot tell which answer is first: the one that fits is taken.
 */
function taken (questions: Asked[], id: number, codes: readonly number[]): readonly Filter[] {
  const fits = questions.findIndex(asked => asked.id === id && asked.filters.length === codes.length &&
    asked.filters.every(({ options }, i) => (codes[i] ?? 0) > 2 || (codes[i] ?? 0) <= (options & 3)))
  const at = fits >= 0 ? fits : questions.findIndex(asked => asked.id === id)
  const [asked] = questions.splice(at, 1)
  return asked?.filters ?? []
}

function keyOf (type: number, id: number): string {
  const name = Object.entries(TYPE).find(([, number]) => number === type)?.[0] ?? String(type)
  return `${name} ${id}`
}

/** MQTT 5.0 section 4.7, and what stands behind the name of a shared subscription. */
export function matches (filter: string, topic: string): boolean {
  if (isShared(filter)) {
    const inner = filter.split('/').slice(2).join('/')
    return matches(inner, topic)
  }
  if (/^[+#]/.test(filter) && topic.startsWith('$')) return false
  const levels = filter.split('/')
  const names = topic.split('/')
  for (const [i, level] of levels.entries()) {
    if (level === '#') return true
    if (i >= names.length || (level !== '+' && level !== names[i])) return false
  }
  return levels.length === names.length
}
