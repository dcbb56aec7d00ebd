// MQTT packets as bytes, against the packets of another implementation.
import mqttPacket, { type Packet } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import { PacketSplitter, topicOfPublish } from '../../cli/experiment/packets.js'

const bytes = (packet: Packet): Buffer => mqttPacket.generate(packet, { protocolVersion: 5 })

function publish (topic: string, payloadBytes: number, properties = {}): Buffer {
  return bytes({ cmd: 'publish', topic, payload: Buffer.alloc(payloadBytes, 'x'), qos: 0, retain: false, dup: false, properties })
}

// Remaining Lengths of one, two, three and four bytes.
const PACKETS: readonly Buffer[] = [
  bytes({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 5, clientId: 'c', clean: true, keepalive: 30 }),
  publish('requests/cancel', 10), bytes({ cmd: 'pingreq' }), publish('requests/extend', 200, { responseTopic: 'replies/c', correlationData: Buffer.from('1') }),
  publish('replies/ü/1', 20_000), publish('big', 2_100_000), bytes({ cmd: 'disconnect' })
]

describe('packets', () => {
  test.each([1, 2, 3, 7, 64, 1_000, 65_536, 5_000_000])('that come in chunks of %i bytes are whole and unchanged', size => {
    // In small chunks the big ones would take long and show nothing more.
    const packets = size < 1_000 ? PACKETS.filter(packet => packet.length < 1_000) : PACKETS
    const stream = Buffer.concat(packets)
    const splitter = new PacketSplitter()
    const out: Buffer[] = []
    for (let at = 0; at < stream.length; at += size) out.push(...splitter.push(stream.subarray(at, at + size)))
    expect(out.length).toBe(packets.length)
    expect(out.every((packet, i) => packet.equals(packets[i] ?? Buffer.alloc(0)))).toBe(true)
  })

  test('that are PUBLISH have a topic, whatever their length; the others have none', () => {
    expect(PACKETS.map(topicOfPublish)).toEqual([null, 'requests/cancel', null, 'requests/extend', 'replies/ü/1', 'big', null])
  })

  test('without an end are refused', () => {
    expect(() => new PacketSplitter().push(Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff]))).toThrow(/no MQTT/)
  })
})
