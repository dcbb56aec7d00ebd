// The packets of the load generator, read by a decoder that is not ours, and what it reads of what is not ours.
import mqttPacket, { type IPublishPacket } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import { ACTS, PLATE_BYTES, requestTemplate, type Act } from '../../bench/acts.js'
import { newMessage5, readMessage5 } from '../../bench/message5.js'
import { PacketTemplate, writeNumber } from '../../bench/packet-template.js'
import { Asker, type AskerParts } from '../../bench/workloads.js'
import { REQUESTS } from '../../shared/schemas.js'

function decoded (bytes: Buffer, protocolVersion: 4 | 5): IPublishPacket {
  const parser = mqttPacket.parser({ protocolVersion })
  const packets: IPublishPacket[] = []
  parser.on('packet', packet => packets.push(packet as IPublishPacket))
  parser.on('error', error => { throw error })
  parser.parse(bytes)
  expect(packets).toHaveLength(1)
  return packets[0] as IPublishPacket
}

describe('requestTemplate', () => {
  test.each(ACTS)('%s has its Response Topic, its Correlation Data and a body that its schema takes', act => {
    const asker = new Asker({ ...PARTS, workload: 'mixed' })
    // The mixed workload makes every act within few requests, as long as all are answered.
    for (let n = 0; n < 1_000; n++) {
      const asked = asker.next(false)
      if (asked === null) throw new Error('nothing is asked')
      asked.template.hole('packetId').writeUInt16BE(n + 1)
      asked.template.hole('correlation').writeUInt32BE(n)
      const reply = Buffer.from(`{"ok":true,"result":{"reservation":"R-${String(n).padStart(12, '0')}","secret":"${'s'.repeat(22)}"}}`)
      asker.answered(asked, true, reply, 0, reply.length)
      if (asked.act !== act) continue
      const packet = decoded(asked.template.copy(), 5)
      const method = packet.topic.slice('requests/'.length)
      expect(packet).toMatchObject({ qos: 1, retain: false, messageId: n + 1, properties: { responseTopic: 'replies/me' } })
      expect(packet.properties?.correlationData?.readUInt32BE(0)).toBe(n)
      const body = JSON.parse(packet.payload.toString()) as Record<string, unknown>
      expect(REQUESTS[method as keyof typeof REQUESTS].safeParse(body)).toMatchObject({ success: true })
      expect('requestId' in body).toBe(method !== 'availability')
      return
    }
    throw new Error(`${act} was never asked`)
  })

  test('leaves the requestId out where it is not wanted', () => {
    expect(requestTemplate({ act: 'reserve', lot: 'LOT-A', replyTo: 'replies/me', requestIds: false }).bytes.toString()).not.toContain('requestId')
  })

  test('asks for the same again when the seed is the same, and never names a plate twice', () => {
    const said = (seed: number): string[] => {
      const asker = new Asker({ ...PARTS, seed, workload: 'mixed' })
      return Array.from({ length: 200 }, () => asker.next(false)?.template.bytes.toString('latin1') ?? '')
    }
    expect(said(1)).toEqual(said(1))
    expect(said(2)).not.toEqual(said(1))
    const plates = said(1).flatMap(text => /"plate":"(.{16})"/.exec(text)?.[1] ?? [])
    expect(plates.length).toBeGreaterThan(10)
    expect(new Set(plates).size).toBe(plates.length)
    expect(plates.every(plate => plate.length === PLATE_BYTES)).toBe(true)
  })

  test('gives back all that it was given and nothing twice', () => {
    const asker = new Asker({ ...PARTS, workload: 'mixed' })
    const live = new Set<string>()
    const ask = (tidying: boolean, n: number): Act | null => {
      const asked = asker.next(tidying)
      if (asked === null) return null
      const id = `R-${String(n).padStart(12, '0')}`
      if (asked.act === 'cancel') expect(live.delete(asked.template.hole('reservation').toString())).toBe(true)
      if (asked.act === 'change') expect(live).toContain(asked.template.hole('reservation').toString())
      if (asked.act === 'reserve' || asked.act === 'book') live.add(id)
      const reply = Buffer.from(`{"ok":true,"result":{"reservation":"${id}","secret":"${'s'.repeat(22)}"}}`)
      asker.answered(asked, true, reply, 0, reply.length)
      return asked.act
    }
    for (let n = 0; n < 500; n++) ask(false, n)
    for (let n = 500; ask(true, n) !== null; n++);
    expect(live.size).toBe(0)
  })
})

describe('readMessage5', () => {
  test('finds its way through every property that a PUBLISH may have', () => {
    const bytes = mqttPacket.generate({
      cmd: 'publish', topic: 'replies/me', qos: 1, messageId: 515, dup: true, retain: false, payload: 'here',
      properties: {
        payloadFormatIndicator: true, messageExpiryInterval: 9, contentType: 'text/plain', responseTopic: 'back/to', correlationData: Buffer.from([1, 2, 3, 4]),
        subscriptionIdentifier: [300, 7], topicAlias: 4, userProperties: { a: 'one', b: ['two', 'three'] }
      }
    }, { protocolVersion: 5 })
    const message = newMessage5()
    readMessage5(message, bytes[0] ?? 0, bytes, 2)
    expect(message).toMatchObject({ qos: 1, isDup: true, packetId: 515, hasUserProperty: true })
    expect(bytes.toString('utf8', message.topicAt, message.topicEnd)).toBe('replies/me')
    expect(bytes.toString('utf8', message.responseTopicAt, message.responseTopicEnd)).toBe('back/to')
    expect([...bytes.subarray(message.correlationAt, message.correlationEnd)]).toEqual([1, 2, 3, 4])
    expect(bytes.toString('utf8', message.payloadAt)).toBe('here')
  })

  test('forgets what the message before had', () => {
    const message = newMessage5()
    const rich = mqttPacket.generate({ cmd: 'publish', topic: 't', qos: 1, messageId: 1, dup: false, retain: false, payload: '', properties: { correlationData: Buffer.from([1]), responseTopic: 'r', userProperties: { a: 'b' } } }, { protocolVersion: 5 })
    const poor = mqttPacket.generate({ cmd: 'publish', topic: 't', qos: 0, dup: false, retain: false, payload: 'x' }, { protocolVersion: 5 })
    readMessage5(message, rich[0] ?? 0, rich, 2)
    readMessage5(message, poor[0] ?? 0, poor, 2)
    expect(message).toMatchObject({ qos: 0, packetId: 0, correlationAt: -1, responseTopicAt: -1, hasUserProperty: false })
    expect(poor.toString('utf8', message.payloadAt)).toBe('x')
  })
})

describe('PacketTemplate', () => {
  test('writes numbers that JSON takes, whatever their length', () => {
    const template = new PacketTemplate<'seq'>(0x30, [Buffer.from([0, 1]), 't', '{"seq":', { hole: 'seq', bytes: 6 }, '}'])
    for (const value of [0, 7, -42, 999_999]) {
      writeNumber(template.hole('seq'), value)
      expect(JSON.parse(decoded(template.copy(), 4).payload.toString())).toEqual({ seq: value })
    }
    expect(() => writeNumber(template.hole('seq'), 1_000_000)).toThrow(RangeError)
  })
})

const PARTS: Omit<AskerParts, 'workload'> = { lots: ['LOT-A', 'LOT-B'], replyTo: 'replies/me', requestIds: true, seed: 1, client: 3, run: 'TEST0001', nowMs: Date.UTC(2026, 10, 21, 8) }
