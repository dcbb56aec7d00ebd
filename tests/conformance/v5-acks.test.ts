// MQTT 5.0 sections 3.4 to 3.7: PUBACK, PUBREC, PUBREL and PUBCOMP, in both directions.
import { describe, expect, test } from 'vitest'
import { startBroker, type TestBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'
import { acknowledge, expectDisconnect, packet, packetsIn, payloadsUntil, properties, publish, publishAcknowledged, publishBytes, subscriber, text, userProperty } from './v5-wire.js'

/** Only the services publish here; clients are told 0x87. */
const NOT_FOR_CLIENTS = 'lots/LOT-A/free'

/** What comes for a PUBLISH that is accepted, not well-formed text, and not authorised. */
async function codesOf (broker: TestBroker, qos: 1 | 2): Promise<(number | undefined)[]> {
  const client = await RawClient.connected(broker)
  const codes: (number | undefined)[] = []
  for (const [topic, properties] of [['t/1', {}], ['t/1', { payloadFormatIndicator: true }], [NOT_FOR_CLIENTS, {}]] as const) {
    client.send(publish(topic, Buffer.from('c328', 'hex'), { qos, messageId: 5, properties }))
    const ack = await client.nextOf(qos === 1 ? 'puback' : 'pubrec')
    expect(ack.messageId).toBe(5)
    codes.push(ack.reasonCode)
    if (qos === 2 && (ack.reasonCode ?? 0) < 0x80) {
      client.send({ cmd: 'pubrel', messageId: 5, reasonCode: 0 })
      expect(await client.nextOf('pubcomp')).toMatchObject({ messageId: 5, reasonCode: 0 })
    }
  }
  return codes
}

test.each<[string, 1 | 2]>([['PUBACK [MQTT-3.4.2-1]', 1], ['PUBREC [MQTT-3.5.2-1]', 2]])('%s says why a PUBLISH was not taken', async (_, qos) => {
  const broker = await startBroker()
  await subscriber(broker, 't/#')
  expect(await codesOf(broker, qos)).toEqual([0, 0x99, 0x87])
})

test.each<[string, 1 | 2]>([['PUBACK [MQTT-3.4.2-1]', 1], ['PUBREC [MQTT-3.5.2-1]', 2]])('%s without subscribers is 0x00 or 0x10', async (_, qos) => {
  const [accepted] = await codesOf(await startBroker(), qos)
  expect([0x00, 0x10]).toContain(accepted)
})

test.each<[string, 1 | 2]>([
  ['PUBACK [MQTT-3.4.2-2] [MQTT-3.4.2-3]', 1],
  ['PUBREC [MQTT-3.5.2-2] [MQTT-3.5.2-3]', 2]
])('leaves out its Reason String where %s would be larger than the client takes', async (_, qos) => {
  const broker = await startBroker()
  async function answer (options: { maximumPacketSize?: number }): Promise<Buffer> {
    const client = await RawClient.connected(broker, 5, { properties: options })
    client.send(publish(NOT_FOR_CLIENTS, 'x', { qos, messageId: 5 }))
    expect(await client.nextOf(qos === 1 ? 'puback' : 'pubrec')).toMatchObject({ messageId: 5, reasonCode: 0x87 })
    return packetsIn(client.bytes).at(-1) ?? Buffer.alloc(0)
  }
  const { length } = await answer({})
  expect((await answer({ maximumPacketSize: length - 1 })).length).toBeLessThan(length)
})

test('PUBCOMP is 0x00 for what was waiting, and 0x92 for what was not [MQTT-3.7.2-1] [3.6.4]', async () => {
  const broker = await startBroker()
  const client = await RawClient.connected(broker)
  client.send(publish('t/1', 'x', { qos: 2, messageId: 5 }))
  await client.nextOf('pubrec')
  client.send({ cmd: 'pubrel', messageId: 5, reasonCode: 0 })
  expect(await client.next()).toMatchObject({ cmd: 'pubcomp', messageId: 5, reasonCode: 0 })
  for (const messageId of [5, 6]) {
    client.send({ cmd: 'pubrel', messageId, reasonCode: 0 })
    expect(await client.next()).toMatchObject({ cmd: 'pubcomp', messageId, reasonCode: 0x92 })
  }
})

test('PUBREL answers PUBREC with 0x00, and with 0x92 one for which there is no message [MQTT-3.6.2-1]', async () => {
  const broker = await startBroker()
  const client = await subscriber(broker, 't/#', { qos: 2 })
  await publishAcknowledged(await RawClient.connected(broker), 't/1', 'x', { qos: 2 })
  const { messageId = 0 } = await client.nextOf('publish')
  client.send({ cmd: 'pubrec', messageId, reasonCode: 0 })
  expect(await client.nextOf('pubrel')).toMatchObject({ messageId, reasonCode: 0 })
  client.send({ cmd: 'pubcomp', messageId, reasonCode: 0 })
  const unknown = messageId === 77 ? 78 : 77
  client.send({ cmd: 'pubrec', messageId: unknown, reasonCode: 0 })
  expect(await client.nextOf('pubrel')).toMatchObject({ messageId: unknown, reasonCode: 0x92 })
})

test('PUBREL and PUBCOMP are no larger than the client takes [MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2] [MQTT-3.7.2-3]', async () => {
  const broker = await startBroker()
  const client = await subscriber(broker, 't/#', { qos: 2, properties: { maximumPacketSize: 30 } })
  await publishAcknowledged(await RawClient.connected(broker), 't/1', 'x', { qos: 2 })
  await acknowledge(client, await client.nextOf('publish'))
  client.send(publish('other', 'x', { qos: 2, messageId: 5 }))
  await client.nextOf('pubrec')
  for (const messageId of [5, 6]) {
    client.send({ cmd: 'pubrel', messageId, reasonCode: 0 })
    await client.nextOf('pubcomp')
  }
  client.send({ cmd: 'pubrec', messageId: 77, reasonCode: 0 })
  await client.nextOf('pubrel')
  for (const bytes of packetsIn(client.bytes)) expect(bytes.length).toBeLessThanOrEqual(30)
})

test.each([1, 2] as const)('takes acknowledgements in each of their forms (QoS %i) [3.4.2.1] [3.5.2.1] [3.7.2.1]', async qos => {
  const broker = await startBroker()
  const client = await subscriber(broker, 't/#', { qos, properties: { receiveMaximum: 1 } })
  const sender = await RawClient.connected(broker)
  const forms = ['', '00', '0000', '00' + properties('1f' + text('because'), userProperty('a', '1'), userProperty('a', '1')), '10']
  // With a window of one the next message shows that the one before was acknowledged.
  for (const form of forms) {
    sender.send(publish('t/1', `form ${form}`, { qos, messageId: 5 }))
    if (qos === 2) {
      await sender.nextOf('pubrec')
      sender.write(packet('62', '0005', form === '10' ? '' : form))
      expect(await sender.nextOf('pubcomp')).toMatchObject({ reasonCode: 0 })
    }
    const message = await client.nextOf('publish')
    expect(message.payload.toString()).toBe(`form ${form}`)
    const id = (message.messageId ?? 0).toString(16).padStart(4, '0')
    if (qos === 1) client.write(packet('40', id, form))
    else {
      client.write(packet('50', id, form))
      await client.nextOf('pubrel')
      client.write(packet('70', id, form === '10' ? '' : form))
    }
  }
})

describe('an acknowledgement that ends the connection', () => {
  test.each<[string, string, number[]]>([
    ['PUBACK with a reason that it has not [MQTT-3.4.2-1]', packet('40', '0001', '92'), [0x81, 0x82]],
    ['PUBREC with a reason that it has not [MQTT-3.5.2-1]', packet('50', '0001', '55'), [0x81, 0x82]],
    ['PUBREL with a reason that it has not [MQTT-3.6.2-1]', packet('62', '0001', '10'), [0x81, 0x82]],
    ['PUBCOMP with a reason that it has not [MQTT-3.7.2-1]', packet('70', '0001', '80'), [0x81, 0x82]],
    ['PUBACK with a Reason String twice [3.4.2.2.2]', packet('40', '0001', '00', properties('1f' + text('a'), '1f' + text('a'))), [0x82]],
    ['PUBREC with a Reason String twice [3.5.2.2.2]', packet('50', '0001', '00', properties('1f' + text('a'), '1f' + text('a'))), [0x82]],
    ['PUBREL with a Reason String twice [3.6.2.2.2]', packet('62', '0001', '00', properties('1f' + text('a'), '1f' + text('a'))), [0x82]],
    ['PUBCOMP with a Reason String twice [3.7.2.2.2]', packet('70', '0001', '00', properties('1f' + text('a'), '1f' + text('a'))), [0x82]],
    ['PUBACK with a property that it has not [3.4.2.2]', packet('40', '0001', '00', properties('230001')), [0x81, 0x82]],
    ['PUBACK with packet identifier 0 [2.2.1]', packet('40', '0000'), [0x81, 0x82]],
    ['PUBREL with bytes behind its end [3.6.2]', packet('62', '0001', '00', '00', '00'), [0x81]],
    ['PUBCOMP with half a packet identifier [3.7.2]', packet('70', '01'), [0x81]]
  ])('%s', async (_, bytes, reasons) => {
    const broker = await startBroker()
    await expectDisconnect(await RawClient.connected(broker), bytes, ...reasons)
  })
})

test('what was refused goes to nobody and is not kept, and its packet identifier is free [3.5.2.1]', async () => {
  const broker = await startBroker()
  const watcher = await subscriber(broker, '#', { qos: 2 })
  const client = await RawClient.connected(broker)
  client.write(publishBytes({ first: '35', id: '0005', topic: text(NOT_FOR_CLIENTS) }))
  expect((await client.nextOf('pubrec')).reasonCode).toBe(0x87)
  client.send(publish('t/1', 'end', { qos: 2, messageId: 5 }))
  expect((await client.nextOf('pubrec')).reasonCode).toBeLessThan(0x80)
  client.send({ cmd: 'pubrel', messageId: 5, reasonCode: 0 })
  expect(await payloadsUntil(watcher)).toEqual([])
  const late = await subscriber(broker, '#')
  client.send(publish('t/1', 'end'))
  expect(await payloadsUntil(late)).toEqual([])
})
