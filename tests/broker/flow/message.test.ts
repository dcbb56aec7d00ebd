// A message's bytes: whatever its properties, they parse to the same message for every kind of receiver, and they are
// made once for all receivers of a kind.
import fc from 'fast-check'
import mqttPacket, { type IPublishPacket } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import { Alias, frameSize, Message, messageFromStored, remainingSeconds, writeFrame, type Frame } from '../../../broker/message.js'
import type { Properties, Qos } from '../../../broker/packets.js'

const text = fc.string({ unit: 'grapheme', maxLength: 40 }).map(one => one.replaceAll('\0', ''))
const properties: fc.Arbitrary<Properties> = fc.record({
  payloadFormatIndicator: fc.boolean(), contentType: text, responseTopic: text.map(one => `r${one}`),
  correlationData: fc.uint8Array({ maxLength: 60 }).map(bytes => Buffer.from(bytes)),
  // An empty name, and one that JavaScript knows, mqtt-packet itself reads wrongly.
  userProperties: fc.array(fc.tuple(text.map(one => `k${one}`), text.map(one => `v${one}`)), { minLength: 1, maxLength: 5 })
}, { requiredKeys: [] })
const qos = fc.constantFrom<Qos>(0, 1, 2)
/** Around the lengths at which the packet's length takes another byte and the payload is no longer copied. */
const payload = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.constantFrom(4_095, 4_096, 4_097, 16_300, 20_000)).map(length => Buffer.alloc(length, 'p'))
const topic = text.map(one => `t/${one}`)

function parse (bytes: Buffer, protocolVersion: 4 | 5): IPublishPacket {
  const packets: IPublishPacket[] = []
  const parser = mqttPacket.parser({ protocolVersion })
  parser.on('packet', packet => packets.push(packet as IPublishPacket))
  parser.on('error', error => { throw error })
  expect(parser.parse(bytes)).toBe(0)
  expect(packets).toHaveLength(1)
  return packets[0] as IPublishPacket
}

function bytesOf (frame: Frame, { messageId = 0, dup = false, seconds = 0 } = {}): Buffer {
  const into = Buffer.alloc(frame.bytes.length + 7)
  expect(writeFrame(frame, into, 7, messageId, dup, seconds)).toBe(into.length)
  return Buffer.concat([into.subarray(7), ...(frame.payload === null ? [] : [frame.payload])])
}

/** Properties as mqtt-packet shows them, without an order of names. */
function shown (packet: IPublishPacket): unknown {
  const { userProperties, ...rest } = packet.properties ?? {}
  return { ...rest, ...(userProperties && { userProperties: Object.entries(userProperties).map(([key, values]) => [key, [values].flat()]).sort() }) }
}

function expected ({ userProperties, ...rest }: Properties): unknown {
  const byName = new Map<string, string[]>()
  for (const [key, value] of userProperties ?? []) byName.set(key, [...byName.get(key) ?? [], value])
  return { ...rest, ...(userProperties && { userProperties: [...byName].map(([key, values]) => [key, values]).sort() }) }
}

test('the bytes parse to the same message for every protocol, QoS, RETAIN, alias, identifiers and expiry', () => {
  fc.assert(fc.property(fc.record({
    topic, payload, qos, retain: fc.boolean(), dup: fc.boolean(), v5: fc.boolean(), alias: fc.constantFrom(Alias.none, Alias.set, Alias.use), number: fc.integer({ min: 1, max: 65_535 }),
    messageId: fc.integer({ min: 1, max: 65_535 }), ids: fc.option(fc.array(fc.integer({ min: 1, max: 268_435_455 }), { minLength: 1, maxLength: 4 })),
    seconds: fc.option(fc.integer({ min: 0, max: 0xffff_ffff })), properties: fc.option(properties)
  }), one => {
    const message = new Message({
      topic: one.topic, payload: one.payload, qos: 2, retain: false, from: 'c',
      properties: one.properties ?? undefined, ...(one.seconds !== null && { expiresAtMs: 1 })
    })
    message.alias = one.number
    const { v5 } = one
    const alias = v5 && one.ids === null ? one.alias : Alias.none
    const frame = v5 && one.ids !== null ? message.frameWithIds(one.qos, one.retain, one.ids) : message.frame(v5, one.qos, one.retain, alias)
    const dup = one.dup && one.qos > 0
    const bytes = bytesOf(frame, { messageId: one.messageId, dup, seconds: one.seconds ?? 0 })
    expect(bytes.length).toBe(frameSize(frame))
    const packet = parse(bytes, v5 ? 5 : 4)
    expect(packet).toMatchObject({
      topic: alias === Alias.use ? '' : one.topic, qos: one.qos, retain: one.retain, dup,
      ...(one.qos > 0 && { messageId: one.messageId })
    })
    expect(one.payload.equals(packet.payload as Buffer)).toBe(true)
    if (!v5) return
    expect(shown(packet)).toEqual({
      ...expected(one.properties ?? {}) as object,
      ...(alias !== Alias.none && { topicAlias: one.number }),
      ...(one.seconds !== null && { messageExpiryInterval: one.seconds }),
      ...(one.ids !== null && { subscriptionIdentifier: one.ids.length === 1 ? one.ids[0] : one.ids })
    })
  }), { numRuns: 500 })
})

test('what is stored becomes the same message again', () => {
  fc.assert(fc.property(topic, payload, qos, fc.boolean(), fc.option(properties), fc.option(fc.integer({ min: 1, max: 0xffff_ffff })), (topic, payload, qos, retain, props, seconds) => {
    const all = { ...props ?? {}, ...(seconds !== null && { messageExpiryInterval: seconds }) }
    const message = new Message({ topic, payload, qos, retain, from: 'c', properties: all, ...(seconds !== null && { expiresAtMs: 5 }) })
    const again = messageFromStored(message.toStored())
    expect(again).toMatchObject({ topic, qos, retain, from: 'c', expiresAtMs: seconds === null ? Infinity : 5 })
    expect(again.payload.equals(payload)).toBe(true)
    expect(again.properties ?? {}).toEqual(all)
    expect(again.policy).toBe(message.policy)
  }), { numRuns: 300 })
})

describe('encoded once', () => {
  const kinds = [true, false].flatMap(v5 => ([0, 1, 2] as const).flatMap(qos => [true, false].flatMap(retain => (v5 ? [Alias.none, Alias.set, Alias.use] : [Alias.none]).map(alias => ({ v5, qos, retain, alias })))))

  test.each([10, 100_000])('all receivers of a kind share one frame, and no two kinds do; payload of %i bytes', bytes => {
    const message = new Message({ topic: 'topic', payload: Buffer.alloc(bytes), qos: 2, retain: true, from: null })
    message.alias = 3
    const frames = kinds.map(({ v5, qos, retain, alias }) => message.frame(v5, qos, retain, alias))
    expect(new Set(frames).size).toBe(kinds.length)
    kinds.forEach(({ v5, qos, retain, alias }, i) => { expect(message.frame(v5, qos, retain, alias)).toBe(frames[i]) })
  })

  test('a large payload is not copied', () => {
    const payload = Buffer.alloc(100_000)
    expect(new Message({ topic: 't', payload, qos: 0, retain: false, from: null }).frame(true, 0, false, Alias.none).payload).toBe(payload)
  })

  test('writing it for one receiver leaves it as it is for the next', () => {
    const message = new Message({ topic: 't', payload: Buffer.from('x'), qos: 1, retain: false, from: null, expiresAtMs: 1 })
    const frame = message.frame(true, 1, false, Alias.none)
    const before = Buffer.from(frame.bytes)
    bytesOf(frame, { messageId: 0xffff, dup: true, seconds: 77 })
    expect(frame.bytes).toEqual(before)
  })
})

describe('kept longer than its read', () => {
  const read = Buffer.alloc(64 * 1_024, 'r')

  test.each([10, 5_000])('%i bytes of payload do not keep the 64 KB in which they came', length => {
    const message = new Message({ topic: 't', payload: read.subarray(100, 100 + length), qos: 1, retain: false, from: null, properties: { correlationData: read.subarray(0, 8) } })
    message.frame(true, 1, false, Alias.none)
    message.keep()
    const frame = message.frame(true, 1, false, Alias.none)
    for (const kept of [message.payload, frame.payload, message.properties?.correlationData]) {
      if (kept !== null && kept !== undefined) expect(kept.buffer).not.toBe(read.buffer)
    }
    expect(message.payload.toString()).toBe('r'.repeat(length))
  })

  test('what was encoded before is the same afterwards', () => {
    const message = new Message({ topic: 't', payload: read.subarray(0, 6_000), qos: 1, retain: false, from: null })
    const before = bytesOf(message.frame(false, 1, false, Alias.none))
    message.keep()
    expect(bytesOf(message.frame(false, 1, false, Alias.none))).toEqual(before)
  })
})

test.each([[Infinity, 0], [1_000_000, -1], [999_999, -1], [1_000_001, 1], [1_001_000, 1], [1_001_001, 2]])('a message that expires at %d has %i seconds left at 1,000,000', (expiresAtMs, left) => {
  expect(remainingSeconds(new Message({ topic: 't', payload: Buffer.alloc(0), qos: 0, retain: false, from: null, expiresAtMs }), 1_000_000)).toBe(left)
})

test('its size counts its properties, which a queue keeps as well', () => {
  const plain = new Message({ topic: 't', payload: Buffer.alloc(0), qos: 0, retain: false, from: null })
  for (const properties of [{ userProperties: [['k', 'v'.repeat(10_000)]] as [string, string][] }, { correlationData: Buffer.alloc(10_000) }, { contentType: 'c'.repeat(10_000) }, { responseTopic: 'r'.repeat(10_000) }]) {
    expect(new Message({ topic: 't', payload: Buffer.alloc(0), qos: 0, retain: false, from: null, properties }).size).toBeGreaterThanOrEqual(plain.size + 10_000)
  }
})

test.each([0, 1, 255, 1_024, 1_025, 5_000])('a payload of %i bytes of every value is the same when it is kept, out of the read that it came in', length => {
  const read = Buffer.from(Array.from({ length: length + 70_000 }, (_, i) => i * 7 % 256))
  const original = Buffer.from(read.subarray(9, 9 + length))
  const message = new Message({ topic: 't/x', payload: read.subarray(9, 9 + length), qos: 1, retain: true, from: null })
  const size = message.size
  message.keep()
  read.fill(0)
  expect(message.payload.equals(original)).toBe(true)
  expect(message.payloadLength).toBe(length)
  expect(message.size).toBe(size)
  expect(message.toStored().payload).toEqual(original)
  expect(parse(bytesOf(message.frame(false, 1, false, Alias.none), { messageId: 5 }), 4).payload).toEqual(original)
})
