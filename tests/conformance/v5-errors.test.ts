// MQTT 5.0 sections 4.12 and 4.13: what a server does about authentication it does not know, and about errors: it tells
// the reason, closes, and nobody else notices. Which packet is wrong in which way is the matter of the v5 tests of section 3.
import { describe, expect, test } from 'vitest'
import { startBroker } from '../support/broker.js'
import { RawClient, type Transport } from '../support/raw-client.js'
import { deliver, expectQuiet, freshId, join, kept, listener, payloadsOf, receive, take } from './parties.js'
import { connectBytes, expectDisconnect, expectRefused, field, packet, packetsIn, properties, publish, publishBytes, text } from './v5-wire.js'

/** What a connected client may do wrong, and the reasons that fit. */
const ERRORS: [what: string, hex: string, ...reasons: number[]][] = [
  ['a packet type that is reserved', '0000', 0x81],
  ['a Remaining Length of five bytes', '30ffffffff01', 0x81],
  ['a length inside that is longer than the packet', '3003000561', 0x81],
  ['a PUBLISH with QoS 3', publishBytes({ first: '36', id: '0001' }), 0x81],
  ['a PUBLISH with QoS 1 and identifier 0', publishBytes({ first: '32', id: '0000' }), 0x81, 0x82],
  ['a topic that is not UTF-8', publishBytes({ topic: field('c328') }), 0x81],
  ['a topic with a wildcard', publishBytes({ topic: text('a/+') }), 0x90, 0x81, 0x82],
  ['a topic alias of 0', publishBytes({ props: '230000' }), 0x94, 0x82],
  ['an unknown property', publishBytes({ props: '7f00' }), 0x81],
  ['a property twice', publishBytes({ props: '01000100' }), 0x82],
  ['a second CONNECT', connectBytes(), 0x82],
  ['a SUBSCRIBE without a filter', packet('82', '0001', properties()), 0x82, 0x81],
  ['a SUBSCRIBE with wrong flags', packet('80', '0001', properties(), text('a'), '00'), 0x81],
  ['a packet that only servers send', packet('20', '00', '00', properties()), 0x82, 0x81],
  ['an AUTH without an authentication method', 'f000', 0x82, 0x8c],
  ['a DISCONNECT with reserved flags', 'e100', 0x81]
]

describe('an error after CONNACK', () => {
  test.each(ERRORS)('%s: DISCONNECT with the reason, then the end [MQTT-4.13.1-1] [MQTT-4.13.2-1] [MQTT-3.14.4-1]', async (_, hex, ...reasons) => {
    const broker = await startBroker()
    const bystander = await listener(broker, 5, 'bystander', 1)
    const client = await RawClient.connected(broker)
    await expectDisconnect(client, hex, ...reasons)
    // CONNACK and DISCONNECT are all that it gets, and the words of DISCONNECT are whole.
    expect(packetsIn(client.bytes).map(bytes => (bytes[0] ?? 0) >> 4)).toEqual([2, 14])
    await deliver(bystander, 'bystander', 'fine', 0)
  })

  test.each<Transport>(['tcp', 'ws'])('what came before it in the same write is done, what came after it is not, over %s [MQTT-4.13.1-1]', async transport => {
    const broker = await startBroker()
    const watcher = await listener(broker, 5, 't', 1)
    const client = await RawClient.connected(broker, 5, { transport })
    client.write(publishBytes({ topic: text('t'), payload: '31' }) + '0000' + publishBytes({ topic: text('t'), payload: '32' }))
    await client.closed()
    expect(payloadsOf(await take(watcher, 1))).toEqual(['1'])
    await expectQuiet(watcher)
  })

  test('the session stays as its expiry says, and what was acknowledged stays acknowledged [MQTT-4.1.0-2] [MQTT-4.13.1-1]', async () => {
    const broker = await startBroker()
    const client = await listener(broker, 5, 't', 1, kept('c'))
    const sender = await RawClient.connected(broker)
    await deliver(sender, 't', 'acknowledged')
    await receive(client, 1)
    await client.flushed()
    await expectDisconnect(client, '0000', 0x81)
    await deliver(sender, 't', 'end')
    const { client: again, present } = await join(broker, 5, kept('c'))
    expect(present).toBe(true)
    expect(await receive(again)).toEqual([])
  })

  test('the end of a connection in the middle of a packet is no packet [4.13.1]', async () => {
    const broker = await startBroker()
    const watcher = await listener(broker, 5, 't', 1)
    const client = await RawClient.connected(broker)
    client.write(publishBytes({ topic: text('t'), payload: '31'.repeat(50) }).slice(0, -2))
    client.stream.end()
    await client.closed()
    await expectQuiet(watcher)
  })

  test('the client is closed even when it reads nothing of it [MQTT-4.13.2-1]', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker, 5, { clientId: 'deaf' })
    client.stream.pause()
    client.write('0000')
    await expect.poll(async () => await broker.count('broker_clients')).toBe(0)
  })
})

describe('an error that ends nothing', () => {
  test('PUBACK and PUBREC carry it, and the connection goes on [4.13.2] [MQTT-3.4.2-1] [MQTT-3.5.2-1]', async () => {
    const broker = await startBroker()
    const watcher = await listener(broker, 5, 't', 1)
    const client = await RawClient.connected(broker)
    for (const [qos, cmd] of [[1, 'puback'], [2, 'pubrec']] as const) {
      const messageId = freshId(client)
      client.send(publish('$SYS/broker/forged', 'x', { qos, messageId }))
      const answer = await client.next()
      expect(answer).toMatchObject({ cmd, messageId })
      expect((answer as { reasonCode?: number }).reasonCode).toBeGreaterThanOrEqual(0x80)
    }
    await deliver(client, 't', 'after', 2)
    expect(payloadsOf(await receive(watcher, 1))).toEqual(['after'])
  })

  test('an acknowledgement of what was never sent: PUBREC and PUBREL are answered, the others are not [4.13.2] [MQTT-4.3.3-4] [MQTT-4.3.3-11]', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker)
    client.send({ cmd: 'puback', messageId: 77 }, { cmd: 'pubcomp', messageId: 78 }, { cmd: 'pubrec', messageId: 79 }, { cmd: 'pubrel', messageId: 80 })
    for (const [cmd, messageId] of [['pubrel', 79], ['pubcomp', 80]] as const) {
      const answer = await client.next()
      expect(answer).toMatchObject({ cmd, messageId })
      expect([0, 0x92]).toContain((answer as { reasonCode?: number }).reasonCode)
    }
    await expectQuiet(client)
  })
})

describe('an error before CONNACK', () => {
  test.each<[string, string, ...(number | null)[]]>([
    ['a reserved flag of CONNECT', connectBytes({ flags: '03' }), 0x81, 0x82, null],
    ['a protocol version that does not exist', connectBytes({ version: '06' }), 0x84, 0x01, null],
    ['another protocol', connectBytes({ name: text('HTTP') }), 0x84, 0x81, 0x82, null],
    ['a packet that is not CONNECT', 'c000', null],
    ['a property twice', connectBytes({ props: '1100000001' + '1100000001' }), 0x82, null],
    ['a Receive Maximum of 0', connectBytes({ props: '210000' }), 0x82, null],
    ['bytes of another protocol', Buffer.from('GET / HTTP/1.1\r\n\r\n').toString('hex'), null, 0x81]
  ])('%s: CONNACK with the reason or nothing, never DISCONNECT, then the end [MQTT-4.13.1-1] [MQTT-4.13.2-1] [MQTT-3.14.0-1]', async (_, hex, ...reasons) => {
    await expectRefused(await startBroker(), hex, ...reasons)
  })
})

describe('authentication', () => {
  test('a method that the server does not know: 0x8C or 0x87, and the end [MQTT-4.12.0-1]', async () => {
    await expectRefused(await startBroker(), connectBytes({ props: '15' + text('SCRAM-SHA-1') }), 0x8c, 0x87)
  })

  test('data without a method is a protocol error [3.1.2.11.10]', async () => {
    await expectRefused(await startBroker(), connectBytes({ props: '16' + field('00') }), 0x82, null)
  })

  test('who names no method gets no AUTH and no method [MQTT-4.12.0-6]', async () => {
    const broker = await startBroker()
    const client = await RawClient.open(broker)
    const connack = await client.connect({ username: 'somebody', password: Buffer.from('something') })
    expect(connack.properties ?? {}).not.toHaveProperty('authenticationMethod')
    expect(connack.properties ?? {}).not.toHaveProperty('authenticationData')
    expect(client.packets.map(({ cmd }) => cmd)).toEqual(['connack'])
  })

  test.each(['f000', packet('f0', '19', properties('15' + text('SCRAM-SHA-1'))), packet('f0', '18', properties())])(
    'and AUTH %s from it is a protocol error [MQTT-4.12.0-7] [MQTT-4.12.1-1] [MQTT-4.12.1-2]', async hex => {
      await expectDisconnect(await RawClient.connected(await startBroker()), hex, 0x82, 0x81, 0x8c)
    })
})
