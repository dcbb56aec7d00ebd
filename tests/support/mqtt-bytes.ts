// Random MQTT: valid packets of every kind that a client sends, and mutations of any bytes. Everything comes from a
// seeded generator, so that a failing case can be run again.
import mqttPacket, { type Packet } from 'mqtt-packet'
import type { Version } from './raw-client.js'

/** Let in by any broker: 3.1.1 and 5.0. */
export const CONNECT = '100d00044d5154540402000a000161'
const CONNECT_5 = '100e00044d5154540502000a00000162'

/** The six inputs that end plain aedes 2.0.0-beta.1 and their kin: a name, the CONNECT that goes before, the bytes. */
export const CRASHES: readonly (readonly [string, string, string])[] = [
  ['client id __proto__', '', '101500044d5154540402000a00095f5f70726f746f5f5f'],
  ['client id constructor', '', '101700044d5154540402000a000b636f6e7374727563746f72'],
  ['client id toString', '', '101400044d5154540402000a0008746f537472696e67'],
  ['Session Expiry twice, then the end', '', '101800044d5154540502000a0a11000000011100000001000170'],
  ['a truncated Response Topic', CONNECT_5, '32120005746f70696304d201087061796c6f6164'],
  ['SUBSCRIBE constructor', CONNECT, '82100001000b636f6e7374727563746f7201'],
  ['SUBSCRIBE __proto__', CONNECT, '820e000100095f5f70726f746f5f5f01'],
  ['SUBSCRIBE __proto__ and constructor', CONNECT, '821c000100095f5f70726f746f5f5f01000b636f6e7374727563746f7200'],
  ['UNSUBSCRIBE toString', CONNECT, 'a20c00010008746f537472696e67'],
  ['SUBSCRIBE in 5.0 constructor', CONNECT_5, '8211000100000b636f6e7374727563746f7201'],
  ['PUBREL twice', CONNECT, '3406000161000178' + '6202000162020001']
]

/** mulberry32: numbers in [0, 1), the same for the same seed. */
export function seeded (seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** Choices and changes of bytes from one seed. */
export class Random {
  readonly #random: () => number

  constructor (seed: number) {
    this.#random = seeded(seed)
  }

  /** An integer from 0 to `below` - 1. */
  int (below: number): number {
    return Math.floor(this.#random() * below)
  }

  pick<T> (from: readonly T[]): T {
    return from[this.int(from.length)] as T
  }

  chance (probability: number): boolean {
    return this.#random() < probability
  }

  /** The bytes with one to three changes: bits, bytes, lengths, cuts, repeats. */
  mutated (original: Buffer): Buffer {
    let bytes = Buffer.from(original)
    for (let i = 1 + this.int(3); i > 0 && bytes.length > 0; i--) {
      const at = this.int(bytes.length)
      switch (this.int(7)) {
        case 0: bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << this.int(8)), at); break
        case 1: bytes.writeUInt8(this.pick([0, 1, 2, 0x7f, 0x80, 0xff, this.int(256)]), at); break
        case 2: bytes = bytes.subarray(0, at); break
        case 3: bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + this.int(4))]); break
        case 4: bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from([this.int(256)]), bytes.subarray(at)]); break
        case 5: bytes = Buffer.concat([bytes, bytes.subarray(at)]); break
        // The remaining length said again, so that the mutation before is looked at and not only its length.
        default: if (bytes.length > 2 && bytes.length < 130) bytes.writeUInt8(bytes.length - 2, 1)
      }
    }
    return bytes
  }
}

export class RandomMqtt extends Random {
  /** A valid packet that a connected client may send. */
  packet (version: Version): Packet {
    const messageId = 1 + this.int(20)
    const properties = version === 5 && this.chance(0.5)
    switch (this.int(10)) {
      case 0: return { cmd: 'pingreq' }
      case 1: return { cmd: this.pick(['puback', 'pubrec', 'pubrel', 'pubcomp'] as const), messageId, reasonCode: 0 }
      case 2: return {
        cmd: 'unsubscribe', messageId, unsubscriptions: this.#some(() => this.#filter()), ...(properties && { properties: { userProperties: { a: 'b' } } })
      }
      case 3: case 4: return {
        cmd: 'subscribe', messageId, ...(properties && { properties: { subscriptionIdentifier: 1 + this.int(1_000_000) } }),
        subscriptions: this.#some(() => ({
          topic: this.#filter(), qos: this.pick([0, 1, 2] as const), ...(version === 5 && { nl: this.chance(0.3), rap: this.chance(0.3), rh: this.int(3) })
        }))
      }
      default: {
        const qos = this.pick([0, 1, 2] as const)
        return {
          cmd: 'publish', topic: this.#topic(), payload: Buffer.from(this.#text()), qos, retain: this.chance(0.2), dup: qos > 0 && this.chance(0.2),
          ...(qos > 0 && { messageId }), ...(properties && { properties: this.#publishProperties() })
        }
      }
    }
  }

  connect (version: Version, clientId: string): Packet {
    return {
      cmd: 'connect', clientId, clean: this.chance(0.7), keepalive: this.int(100), protocolVersion: version, protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
      ...(this.chance(0.3) && { will: { topic: this.#topic(), payload: Buffer.from(this.#text()), qos: this.pick([0, 1, 2] as const), retain: this.chance(0.3) } }),
      ...(this.chance(0.2) && { username: 'user', password: Buffer.from('secret') }),
      ...(version === 5 && this.chance(0.5) && { properties: { sessionExpiryInterval: this.int(3), receiveMaximum: 1 + this.int(10), requestProblemInformation: this.chance(0.5), userProperties: { a: ['b', 'c'] } } })
    }
  }

  bytes (packet: Packet, version: Version): Buffer {
    return mqttPacket.generate(packet, { protocolVersion: version })
  }

  #some<T> (make: () => T): T[] {
    return Array.from({ length: 1 + this.int(3) }, make)
  }

  #topic (): string {
    return this.pick(['a', 'lots/LOT-A/sensor', 'lots/__proto__/sensor', 'lots/LOT-A/free', 'requests/reserve', 'requests/toString', '__proto__', 'constructor', 'toString', '$SYS/x', '7', 'ü/ß', 'a//b', '/', 'cameras/c/frame'])
  }

  #filter (): string {
    return this.chance(0.5) ? this.#topic() : this.pick(['#', '+', 'a/#', '+/+', 'lots/+/free', '$share/g/a', '$share/g', '__proto__/#', '+/constructor', '$SYS/#'])
  }

  #text (): string {
    return this.pick(['', '1', '-1', '{"sensor":"gate-1","epoch":1,"seq":1,"delta":1}', 'x'.repeat(this.int(300)), '{', '\u0000\u00ff'])
  }

  #publishProperties (): object {
    return {
      ...(this.chance(0.3) && { payloadFormatIndicator: this.chance(0.5) }),
      ...(this.chance(0.3) && { messageExpiryInterval: this.int(100) }),
      ...(this.chance(0.3) && { topicAlias: 1 + this.int(17) }),
      ...(this.chance(0.3) && { responseTopic: this.#topic() }),
      ...(this.chance(0.3) && { correlationData: Buffer.from(this.#text()) }),
      ...(this.chance(0.3) && { contentType: this.#text().replaceAll('\u0000', '') }),
      ...(this.chance(0.3) && { userProperties: { constructor: 'x', ['__proto__']: 'y', a: ['1', '2'] } })
    }
  }
}
