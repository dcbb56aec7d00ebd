// Bytes that ended the process of plain aedes, mutations of them, and random packets: the broker goes on, and whoever
// could be told what was wrong was told. More cases by hand: set CASES below to 100,000 or more.
import { connect } from 'node:net'
import { describe, expect, test } from 'vitest'
import { Decoder } from '../../broker/decoder.js'
import { Guard } from '../../broker/guard.js'
import type { PacketError } from '../../broker/reason-codes.js'
import { ACCEPTED } from '../../shared/bus.js'
import { startBroker, type TestBroker } from '../support/broker.js'
import { RandomMqtt } from '../support/mqtt-bytes.js'
import { RawClient, type Version } from '../support/raw-client.js'

const CASES = 3_000
const AT_ONCE = 25
const SEED = Date.now() % 1_000_000_000

const CONNECT = '100d00044d5154540402000a000161'
const CONNECT_5 = '100e00044d5154540502000a00000162'

/** The six inputs that end plain aedes 2.0.0-beta.1, with the CONNECT that goes before. */
const CRASHES: [string, string, string][] = [
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

/** Consumers as in the real thing, with a refusal now and then, so that every way of a message is gone. */
async function busyBroker (): Promise<TestBroker> {
  return await startBroker({
    prepare: async ({ bus }) => {
      await bus.consume('lots/+/sensor', {
        handle: async batch => batch.map(({ payload }) => payload.length % 3 === 0 ? { type: 'refused', refusal: { code: 'bad_message', message: 'no' } } : ACCEPTED)
      })
      await bus.consume('requests/+', { handle: async batch => batch.map(() => ACCEPTED) })
      await bus.publish('lots/LOT-A/free', '42', { retain: true })
    }
  })
}

async function expectAlive (broker: TestBroker): Promise<void> {
  const client = await RawClient.connected(broker, 5)
  client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'lots/+/free', qos: 1 }] })
  expect(await client.nextOf('publish')).toMatchObject({ topic: 'lots/LOT-A/free', payload: Buffer.from('42') })
  client.send({ cmd: 'publish', topic: 'lots/LOT-A/sensor', payload: 'x', qos: 1, messageId: 9, dup: false, retain: false })
  expect(await client.nextOf('puback')).toMatchObject({ messageId: 9, reasonCode: 0 })
}

describe('the process survives', () => {
  test.each(CRASHES)('%s', async (_, connect, hex) => {
    const broker = await busyBroker()
    const version = (connect || hex).includes('4d51545405') ? 5 : 4
    const client = await RawClient.open(broker, version)
    if (connect) {
      client.write(connect)
      await client.next()
    }
    client.write(hex)
    client.stream.end()
    await client.closed()
    await expectAlive(broker)
  })
})

test('names that mean something to JavaScript are ordinary names for clients and topics', async () => {
  const broker = await startBroker()
  for (const name of ['__proto__', 'constructor', 'toString']) {
    const client = await RawClient.connected(broker, 4, { clientId: name })
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: `${name}/#`, qos: 1 }] })
    expect(await client.next()).toMatchObject({ cmd: 'suback', granted: [1] })
    client.send({ cmd: 'publish', topic: name, payload: 'x', qos: 0, dup: false, retain: false })
    expect(await client.next()).toMatchObject({ cmd: 'publish', topic: name })
    client.send({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: [`${name}/#`, name] })
    expect(await client.next()).toMatchObject({ cmd: 'unsuback' })
  }
})

test.each<[Version, number]>([[4, 0x80], [5, 0x8f]])('the filter __proto__ is refused, and the session can come back (version %i)', async (version, code) => {
  const broker = await startBroker()
  const session = { clientId: 'c', clean: false, ...(version === 5 && { properties: { sessionExpiryInterval: 100 } }) }
  for (const round of [1, 2]) {
    const client = await RawClient.open(broker, version)
    expect(await client.connect(session)).toMatchObject({ sessionPresent: round === 2 })
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 1 }, { topic: '__proto__', qos: 1 }, { topic: 'b', qos: 0 }] })
    expect(await client.next()).toMatchObject({ cmd: 'suback', granted: [1, code, 0] })
    client.send({ cmd: 'subscribe', messageId: 2, subscriptions: [{ topic: '__proto__', qos: 1 }] })
    expect(await client.next()).toMatchObject({ cmd: 'suback', granted: [code] })
    client.destroy()
  }
})

/** What decoder and guard alone make of some bytes: whether a CONNECT is in them, and the reason code that they deserve. */
function judge (...bytes: Buffer[]): { version: Version | null, connected: boolean, reason: number | null } {
  const guard = new Guard()
  let connected = false
  let over = false
  const decoder = new Decoder({
    maxPacketBytes: 512 * 1_024,
    onPacket: packet => {
      if (over) return
      guard.inspect(packet)
      connected ||= packet.cmd === 'connect'
      over = packet.cmd === 'disconnect'
    }
  })
  let reason: number | null = null
  try {
    for (const part of bytes) decoder.push(part)
  } catch (error) {
    if (!over) reason = (error as PacketError).reason
  }
  return { version: decoder.version, connected, reason }
}

interface Case { readonly version: Version, readonly connect: Buffer, readonly bytes: Buffer, readonly cut: number }

function makeCase (random: RandomMqtt, number: number): Case {
  const version = random.pick([3, 4, 5, 5] as const)
  const connect = random.bytes(random.connect(version, random.pick(['a', 'b', '__proto__', `case-${number}`])), version)
  const parts = Array.from({ length: 1 + random.int(4) }, () => {
    const part = random.chance(0.2) ? Buffer.from(random.pick(CRASHES)[2], 'hex') : random.bytes(random.packet(version), version)
    return random.chance(0.6) ? random.mutated(part) : part
  })
  const bytes = Buffer.concat(parts)
  return { version, connect: random.chance(0.1) ? random.mutated(connect) : connect, bytes, cut: random.int(bytes.length + 1) }
}

/** Plays a case and says what was wrong with how it went; null when nothing was. */
async function play (broker: TestBroker, { version, connect, bytes, cut }: Case): Promise<string | null> {
  const client = await RawClient.open(broker, version)
  const knock = judge(connect)
  client.write(connect)
  if (!knock.connected || knock.reason !== null) {
    client.stream.end()
    await client.closed()
    // Half a CONNECT is no mistake yet, and only 5.0 has words for one.
    if (knock.reason === null || knock.connected || knock.version !== 5) return null
    const code = client.bytes[0] === 0x20 ? client.bytes[3] : null
    return knock.reason === code ? null : `CONNECT deserves ${knock.reason}, got ${code}`
  }
  const first = await client.next().catch(() => null)
  if (first?.cmd !== 'connack' || (first.reasonCode ?? first.returnCode ?? 0) !== 0) return null
  client.stream.write(bytes.subarray(0, cut))
  client.stream.end(bytes.subarray(cut))
  await client.closed()
  const { reason } = judge(connect, bytes)
  const got = client.packets.find(packet => packet.cmd === 'disconnect')?.reasonCode ?? null
  // Another case took the session over: that is an answer too.
  if (version < 5 || got === 0x8e) return null
  return reason === got ? null : `deserves ${reason}, got ${got}`
}

test('what is no WebSocket is survived too: broken requests, broken frames, resets', async () => {
  const broker = await busyBroker()
  const random = new RandomMqtt(SEED)
  const request = (protocol: string): Buffer => Buffer.from(`GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: ${protocol}\r\n\r\n`)
  const mqttBytes = Buffer.from(CONNECT, 'hex')
  const frame = Buffer.concat([Buffer.from([0x82, 0x80 | mqttBytes.length, 0, 0, 0, 0]), mqttBytes])
  for (let i = 0; i < 300; i++) {
    const head = request(random.pick(['mqtt', 'mqtt', 'chat']))
    const socket = connect(broker.wsPort, '127.0.0.1')
    socket.on('error', () => {})
    socket.write(Buffer.concat([random.chance(0.4) ? random.mutated(head) : head, random.chance(0.7) ? random.mutated(frame) : frame]))
    if (random.chance(0.3)) setImmediate(() => socket.resetAndDestroy())
    else if (random.chance(0.5)) socket.once('data', () => socket.resetAndDestroy())
    socket.end()
    socket.resume()
    await new Promise(resolve => socket.once('close', resolve))
  }
  await expectAlive(broker)
}, 60_000)

test(`${CASES} random and mutated cases, seed ${SEED}: nothing ends the process, nothing wrong is left unanswered`, async () => {
  const broker = await busyBroker()
  const random = new RandomMqtt(SEED)
  const failures: string[] = []
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < CASES) {
      const number = next++
      const each = makeCase(random, number)
      const failure = await play(broker, each).catch(String)
      if (failure !== null) failures.push(`seed ${SEED} case ${number} version ${each.version}: ${failure}; connect ${each.connect.toString('hex')} bytes ${each.bytes.toString('hex')} cut ${each.cut}`)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  expect(failures).toEqual([])
  // Nobody is forgotten in the list of clients, and nobody is left in it.
  await expect.poll(() => broker.count('broker_clients'), { timeout: 5_000 }).toBe(0)
  expect(broker.logged.filter(({ level }) => Number(level) >= 50)).toEqual([])
  await expectAlive(broker)
}, 120_000)
