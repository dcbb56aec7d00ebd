// What the conformance tests of MQTT 5.0 share: packets by their bytes, where a library would refuse to write them or
// would hide what came, and the few things that every test does. Black box: it knows the standard and not our broker.
import type { IPublishPacket, ISubackPacket, ISubscription, Packet } from 'mqtt-packet'
import { expect } from 'vitest'
import { RawClient } from '../support/raw-client.js'

type Ports = { port: number, wsPort: number }
type PublishOptions = Partial<Omit<IPublishPacket, 'cmd' | 'topic' | 'payload'>>

/** A length in front of some bytes, all as hexadecimal digits: how MQTT writes binary data and, as it is, ill-formed text. */
export function field (hex: string): string {
  return (hex.length / 2).toString(16).padStart(4, '0') + hex
}

/** Text as MQTT writes it. */
export function text (value: string): string {
  return field(Buffer.from(value).toString('hex'))
}

/** A variable byte integer. */
export function varint (value: number): string {
  return value < 0x80 ? byte(value) : byte((value & 0x7f) | 0x80) + varint(value >> 7)
}

function byte (value: number): string {
  return value.toString(16).padStart(2, '0')
}

/** A packet: its first byte, and its Remaining Length before the rest. */
export function packet (first: string, ...rest: string[]): string {
  const body = rest.join('')
  return first + varint(body.length / 2) + body
}

/** Properties with their length before them. */
export function properties (...all: string[]): string {
  const body = all.join('')
  return varint(body.length / 2) + body
}

/** A User Property. */
export function userProperty (name: string, value: string): string {
  return '26' + text(name) + text(value)
}

/** A CONNECT with Clean Start, unless `flags` say otherwise. `payload` is the client id and what follows it. */
export function connectBytes ({ name = text('MQTT'), version = '05', flags = '02', keepAlive = '0000', props = '', payload = text('c') } = {}): string {
  return packet('10', name, version, flags, keepAlive, properties(props), payload)
}

/** A PUBLISH with QoS 0, unless `first` says otherwise. */
export function publishBytes ({ first = '30', topic = text('t/1'), id = '', props = '', payload = '78' } = {}): string {
  return packet(first, topic, id, properties(props), payload)
}

/** A PUBLISH as `RawClient.send` takes it. */
export function publish (topic: string, payload: string | Buffer, options: PublishOptions = {}): Packet {
  return { cmd: 'publish', topic, payload, qos: 0, dup: false, retain: false, ...options }
}

/** Subscribes and returns SUBACK. Packet identifier 9 is used for it. */
export async function subscribe (client: RawClient, filters: string | readonly ISubscription[], { qos = 0, identifier }: { qos?: 0 | 1 | 2, identifier?: number } = {}): Promise<ISubackPacket> {
  const subscriptions = typeof filters === 'string' ? [{ topic: filters, qos }] : [...filters]
  client.send({ cmd: 'subscribe', messageId: 9, subscriptions, ...(identifier !== undefined && { properties: { subscriptionIdentifier: identifier } }) })
  return await client.nextOf('suback')
}

/** A new client with a subscription. */
export async function subscriber (ports: Ports, filter: string, { qos = 0, ...options }: { qos?: 0 | 1 | 2 } & Parameters<typeof RawClient.connected>[2] = {}): Promise<RawClient> {
  const client = await RawClient.connected(ports, 5, options)
  await subscribe(client, filter, { qos })
  return client
}

/**
 * Publishes, with QoS 1 unless told otherwise, and returns when the exchange is over: a server may pass a message with
 * QoS 2 on as late as at PUBREL. Packet identifier 8 is used for it.
 */
export async function publishAcknowledged (client: RawClient, topic: string, payload: string | Buffer, options: PublishOptions = {}): Promise<void> {
  const { qos = 1 } = options
  client.send(publish(topic, payload, { ...options, qos, ...(qos > 0 && { messageId: 8 }) }))
  if (qos === 1) expect((await client.nextOf('puback')).reasonCode).toBeLessThan(0x80)
  if (qos !== 2) return
  expect((await client.nextOf('pubrec')).reasonCode).toBeLessThan(0x80)
  client.send({ cmd: 'pubrel', messageId: 8, reasonCode: 0 })
  expect(await client.nextOf('pubcomp')).toMatchObject({ messageId: 8, reasonCode: 0 })
}

/** PUBACK, or the PUBREC and PUBCOMP of QoS 2. Returns when QoS 2 is at its end. */
export async function acknowledge (client: RawClient, { qos, messageId = 0 }: IPublishPacket): Promise<void> {
  if (qos === 1) client.send({ cmd: 'puback', messageId, reasonCode: 0 })
  if (qos !== 2) return
  client.send({ cmd: 'pubrec', messageId, reasonCode: 0 })
  expect(await client.nextOf('pubrel')).toMatchObject({ messageId })
  client.send({ cmd: 'pubcomp', messageId, reasonCode: 0 })
}

/** The messages that come before the one with this payload, which is the end of what a test sends. */
export async function messagesUntil (client: RawClient, end = 'end'): Promise<IPublishPacket[]> {
  const messages: IPublishPacket[] = []
  for (;;) {
    const message = await client.nextOf('publish')
    if (message.payload.toString() === end) return messages
    messages.push(message)
  }
}

/** The payloads of `messagesUntil`. */
export async function payloadsUntil (client: RawClient, end = 'end'): Promise<string[]> {
  return (await messagesUntil(client, end)).map(message => message.payload.toString())
}

/** The payloads of all messages that came on this connection, also of those that a wait for something else passed over. */
export function payloadsOf (client: RawClient): string[] {
  return client.packets.flatMap(one => one.cmd === 'publish' ? [one.payload.toString()] : [])
}

/** The next `count` messages. */
export async function nextMessages (client: RawClient, count: number): Promise<IPublishPacket[]> {
  const messages: IPublishPacket[] = []
  while (messages.length < count) messages.push(await client.nextOf('publish'))
  return messages
}

/** A connected client sends these bytes; it must be told one of these reasons in a DISCONNECT and be closed. */
export async function expectDisconnect (client: RawClient, hex: string | null, ...reasons: number[]): Promise<void> {
  if (hex !== null) client.write(hex)
  await client.closed()
  const last = client.packets.at(-1)
  expect(last?.cmd).toBe('disconnect')
  expect(reasons).toContain(last?.cmd === 'disconnect' ? last.reasonCode : null)
}

/**
 * Bytes that are no acceptable CONNECT: the connection is closed, after a CONNACK with one of these reasons or, where
 * null is among them, after nothing at all. Never after a DISCONNECT. [MQTT-3.14.0-1]
 */
export async function expectRefused (ports: Ports, hex: string, ...reasons: (number | null)[]): Promise<RawClient> {
  const client = await RawClient.open(ports)
  client.write(hex)
  await client.closed()
  const [first = Buffer.alloc(0), ...more] = packetsIn(client.bytes)
  expect(more).toEqual([])
  if (first.length === 0) expect(reasons).toContain(null)
  else {
    // Session Present is 0 beside a reason. [MQTT-3.2.2-6]
    expect([first[0], first[2]]).toEqual([0x20, 0])
    expect(reasons).toContain(first[3])
  }
  return client
}

/** The packets in what a client got, as their bytes. */
export function packetsIn (bytes: Buffer): Buffer[] {
  const packets: Buffer[] = []
  for (let at = 0; at < bytes.length;) {
    const [length, after] = varintAt(bytes, at + 1)
    packets.push(bytes.subarray(at, after + length))
    at = after + length
  }
  return packets
}

/** The bytes of the PUBLISH packets that a client got. */
export function publishesIn (client: RawClient): Buffer[] {
  return packetsIn(client.bytes).filter(bytes => (bytes[0] ?? 0) >> 4 === 3)
}

/** The User Properties of a PUBLISH, in their order, which an object by names would lose. */
export function userPropertiesOf (bytes: Buffer): [string, string][] {
  const qos = ((bytes[0] ?? 0) >> 1) & 3
  const [, start] = varintAt(bytes, 1)
  const [length, from] = varintAt(bytes, start + 2 + bytes.readUInt16BE(start) + (qos > 0 ? 2 : 0))
  const found: [string, string][] = []
  for (let at = from; at < from + length;) {
    const id = bytes.readUInt8(at++)
    const skipText = (): string => {
      const end = at + 2 + bytes.readUInt16BE(at)
      const value = bytes.toString('utf8', at + 2, end)
      at = end
      return value
    }
    switch (id) {
      case 0x01: at += 1; break
      case 0x02: at += 4; break
      case 0x23: at += 2; break
      case 0x0b: at = varintAt(bytes, at)[1]; break
      case 0x03: case 0x08: case 0x09: skipText(); break
      case 0x26: found.push([skipText(), skipText()]); break
      default: throw new Error(`a PUBLISH has the property ${id}`)
    }
  }
  return found
}

function varintAt (bytes: Buffer, at: number): [value: number, after: number] {
  let value = 0
  for (let shift = 0; ; shift += 7) {
    const part = bytes.readUInt8(at++)
    value += (part & 0x7f) * 2 ** shift
    if (part < 0x80) return [value, at]
  }
}

/** Lets time pass. Only for intervals of the standard, which count in seconds: nothing but time ends them. */
export async function pass (ms: number): Promise<void> {
  await new Promise(resolve => setTimeout(resolve, ms))
}
