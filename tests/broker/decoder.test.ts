// The decoder beside mqtt-packet's parser: the same packets from the same valid bytes, however they are cut; and, for
// any bytes at all, packets or a PacketError, never anything else.
import fc from 'fast-check'
import mqttPacket, { type Packet } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import { Decoder } from '../../broker/decoder.js'
import type { InboundPacket } from '../../broker/packets.js'
import { PacketError } from '../../broker/reason-codes.js'
import { RandomMqtt } from '../support/mqtt-bytes.js'
import type { Version } from '../support/raw-client.js'

function decoded (bytes: Buffer, cuts: number[] = []): InboundPacket[] {
  const packets: InboundPacket[] = []
  const decoder = new Decoder({ maxPacketBytes: 500_000, onPacket: packet => packets.push(packet) })
  let from = 0
  for (const cut of [...cuts.map(c => c % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]) {
    decoder.push(bytes.subarray(from, cut))
    from = cut
  }
  return packets
}

/** What mqtt-packet makes of a packet, without the fields of other packets and those that are only there when set. */
function expectedOf (packet: Packet): object {
  const used = Object.entries(packet as object).filter(([key, value]) => value !== undefined && value !== null && key !== 'length')
  const fields = new Set({
    publish: ['qos', 'retain', 'dup', 'topic', 'payload', 'messageId', 'properties'], subscribe: ['subscriptions', 'messageId', 'properties'],
    unsubscribe: ['unsubscriptions', 'messageId', 'properties'], pingreq: [],
    connect: ['clientId', 'clean', 'keepalive', 'protocolId', 'protocolVersion', 'will', 'username', 'password', 'properties']
  }[packet.cmd as string] ?? ['messageId', 'reasonCode', 'properties'])
  return inPairs(Object.fromEntries([['cmd', packet.cmd], ...used.filter(([key]) => fields.has(key))]))
}

/** User properties as the decoder has them. */
function inPairs<T extends object> (packet: T): T {
  const { properties, will } = packet as { properties?: { userProperties?: object }, will?: object }
  const { userProperties = {} } = properties ?? {}
  const pairs = Array.isArray(userProperties)
    ? userProperties as [string, string][]
    : Object.entries(userProperties).flatMap(([name, values]) => [values].flat().map(value => [name, value as string]))
  return { ...packet, ...(will && { will: inPairs(will) }), ...(pairs.length > 0 && { properties: { ...properties, userProperties: pairs } }) }
}

const versions: Version[] = [3, 4, 5]

test.each(versions)('takes valid packets of version %i as mqtt-packet does, however they are cut', version => {
  fc.assert(fc.property(fc.integer(), fc.array(fc.nat(), { maxLength: 6 }), (seed, cuts) => {
    const random = new RandomMqtt(seed)
    const connect = random.connect(version, 'c')
    const bytes = Buffer.concat([connect, ...Array.from({ length: 5 }, () => random.packet(version))].map(packet => random.bytes(packet, version)))
    const expected: Packet[] = []
    const parser = mqttPacket.parser({ protocolVersion: version })
    parser.on('packet', packet => expected.push(packet))
    parser.parse(bytes)
    const packets = decoded(bytes, cuts)
    expect(packets).toHaveLength(6)
    for (const [i, packet] of packets.entries()) expect(inPairs(packet)).toMatchObject(expectedOf(expected[i] as Packet))
  }), { numRuns: 300 })
})

test('never throws anything but PacketError, whatever the bytes', () => {
  const seed = Date.now()
  const random = new RandomMqtt(seed)
  for (let i = 0; i < 20_000; i++) {
    const version = random.pick(versions)
    const bytes = Buffer.concat([random.bytes(random.connect(version, 'c'), version), random.mutated(random.bytes(random.packet(version), version))])
    const cases = random.chance(0.8) ? bytes : random.mutated(bytes)
    try {
      decoded(cases, [random.int(50)])
    } catch (error) {
      if (!(error instanceof PacketError)) throw new Error(`seed ${seed}, case ${i}, bytes ${cases.toString('hex')}`, { cause: error })
    }
  }
})

describe('limits', () => {
  const connect = mqttPacket.generate({ cmd: 'connect', clientId: 'c', clean: true, keepalive: 0, protocolId: 'MQTT', protocolVersion: 4 })

  test('a packet of exactly the limit passes, one byte more does not, as soon as its length is known', () => {
    const decoder = new Decoder({ maxPacketBytes: 100, onPacket: () => {} })
    decoder.push(connect)
    const publish = (payloadBytes: number): Buffer => mqttPacket.generate({ cmd: 'publish', topic: 'a', payload: Buffer.alloc(payloadBytes), qos: 0, dup: false, retain: false })
    expect(publish(95)).toHaveLength(100)
    decoder.push(publish(95))
    expect(() => decoder.push(publish(96).subarray(0, 2))).toThrow(expect.objectContaining({ reason: 0x95 }))
  })

  test('a padded remaining length is taken before MQTT 5.0 only', () => {
    const padded = Buffer.from('c080808000', 'hex')
    expect(decoded(Buffer.concat([connect, padded]))).toHaveLength(2)
    const five = mqttPacket.generate({ cmd: 'connect', clientId: 'c', clean: true, keepalive: 0, protocolId: 'MQTT', protocolVersion: 5 }, { protocolVersion: 5 })
    expect(() => decoded(Buffer.concat([five, padded]))).toThrow(expect.objectContaining({ reason: 0x81 }))
  })

  test('a property length in more bytes than it needs is malformed', () => {
    const five = mqttPacket.generate({ cmd: 'connect', clientId: 'c', clean: true, keepalive: 0, protocolId: 'MQTT', protocolVersion: 5 }, { protocolVersion: 5 })
    expect(() => decoded(Buffer.concat([five, Buffer.from('3005' + '000161' + '8000', 'hex')]))).toThrow(expect.objectContaining({ reason: 0x81 }))
  })

  test('packets behind a held one wait', () => {
    const packets: string[] = []
    const decoder: Decoder = new Decoder({
      maxPacketBytes: 100,
      onPacket: ({ cmd }) => {
        packets.push(cmd)
        if (cmd === 'connect') decoder.hold()
      }
    })
    decoder.push(Buffer.concat([connect, Buffer.from('c000c0', 'hex')]))
    decoder.push(Buffer.from('00', 'hex'))
    expect(packets).toEqual(['connect'])
    decoder.proceed()
    expect(packets).toEqual(['connect', 'pingreq', 'pingreq'])
  })

  test('bridges of mosquitto are known by the highest bit of the version', () => {
    const bridge = Buffer.concat([Buffer.from('100d' + '00044d515454' + '84020000' + '000162', 'hex'), Buffer.from('8206' + '0001' + '000161' + '00', 'hex')])
    expect(decoded(bridge)).toMatchObject([{ bridgeMode: true, protocolVersion: 4 }, { subscriptions: [{ nl: true, rap: true, rh: 0 }] }])
  })
})
