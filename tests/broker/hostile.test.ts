// Bytes that ended the process of plain aedes, names that mean something to JavaScript, and what is no WebSocket: the
// broker goes on. Whole lives of hostile clients are in tests/fuzz/.
import { connect, type Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import { ACCEPTED } from '../../shared/bus.js'
import { startBroker, type TestBroker } from '../support/broker.js'
import { CONNECT, CRASHES, Random } from '../support/mqtt-bytes.js'
import { RawClient, type Version } from '../support/raw-client.js'

const SEED = Date.now() % 1_000_000_000

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

test.each<Version>([4, 5])('the filter __proto__ is a filter like any other, and the session can come back (version %i)', async version => {
  const broker = await startBroker()
  const session = { clientId: 'c', clean: false, ...(version === 5 && { properties: { sessionExpiryInterval: 100 } }) }
  for (const round of [1, 2]) {
    const client = await RawClient.open(broker, version)
    expect(await client.connect(session)).toMatchObject({ sessionPresent: round === 2 })
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 1 }, { topic: '__proto__', qos: 1 }, { topic: 'b', qos: 0 }] })
    expect(await client.next()).toMatchObject({ cmd: 'suback', granted: [1, 1, 0] })
    client.send({ cmd: 'subscribe', messageId: 2, subscriptions: [{ topic: '__proto__', qos: 1 }] })
    expect(await client.next()).toMatchObject({ cmd: 'suback', granted: [1] })
    client.destroy()
  }
})

test('what is no WebSocket is survived too: broken requests, broken frames, resets', async () => {
  const broker = await busyBroker()
  const random = new Random(SEED)
  const request = (protocol: string): Buffer => Buffer.from(`GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: ${protocol}\r\n\r\n`)
  const mqttBytes = Buffer.from(CONNECT, 'hex')
  const frame = Buffer.concat([Buffer.from([0x82, 0x80 | mqttBytes.length, 0, 0, 0, 0]), mqttBytes])
  // Node cannot reset a socket that is shutting down already, and never says `close` of it.
  const reset = (socket: Socket): void => { if (socket.writable) socket.resetAndDestroy(); else socket.destroy() }
  for (let i = 0; i < 300; i++) {
    const head = request(random.pick(['mqtt', 'mqtt', 'chat']))
    const isWhole = random.chance(0.6)
    const socket = connect(broker.wsPort, '127.0.0.1')
    socket.on('error', () => {})
    socket.write(Buffer.concat([isWhole ? head : random.mutated(head), random.chance(0.7) ? random.mutated(frame) : frame]))
    if (random.chance(0.3)) setImmediate(() => reset(socket))
    else if (isWhole && random.chance(0.5)) socket.once('data', () => reset(socket))
    else socket.end()
    socket.resume()
    await new Promise(resolve => socket.once('close', resolve))
  }
  await expectAlive(broker)
}, 60_000)
