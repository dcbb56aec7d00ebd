// MQTT 3.1.1 sections 3.1, 3.2, 3.12 and 3.14, and what MQTT 3.1 does differently: who is let in, how the others are told,
// keep alive, wills and the end of a connection. Statement numbers are those of 3.1.1 throughout.
import { describe, expect, test } from 'vitest'
import { startBroker, type TestBroker } from '../support/broker.js'
import { RawClient, type Version } from '../support/raw-client.js'
import { deliver, expectQuiet, join, leave, listen, listener, payloadsOf, receive, take } from './parties.js'
import { field, packet, pass, text } from './v5-wire.js'

/** A CONNECT of 3.1.1 as bytes. `payload` is the client id and what follows it. */
function connect ({ name = 'MQTT', level = '04', flags = '02', keepAlive = '0000', payload = text('c') } = {}): string {
  return packet('10', text(name), level, flags, keepAlive, payload)
}

/** Sends bytes and returns what came until the server closed. */
async function answerTo (broker: TestBroker, hex: string): Promise<string> {
  const client = await RawClient.open(broker, 4)
  client.write(hex)
  await client.closed()
  return client.bytes.toString('hex')
}

const ACCEPTED = '20020000'
const WRONG_LEVEL = '20020001'
const WRONG_ID = '20020002'

describe('CONNECT', () => {
  test('is acknowledged with a CONNACK of four bytes, which comes first (3.1.1: MQTT-3.1.4-4, MQTT-3.2.0-1, MQTT-3.2.2-1)', async () => {
    const broker = await startBroker()
    const client = await RawClient.open(broker, 4)
    client.write(connect() + 'c000')
    await client.nextOf('pingresp')
    expect(client.bytes.toString('hex')).toBe(ACCEPTED + 'd000')
  })

  test('may come in pieces, and other packets right behind it (3.1.1: MQTT-3.1.4-4)', async () => {
    const broker = await startBroker()
    const client = await RawClient.open(broker, 4)
    const bytes = connect() + packet('82', '0001', text('t'), '00') + packet('30', text('t'), '78')
    for (const byte of Buffer.from(bytes, 'hex')) {
      client.write(Buffer.from([byte]))
      await new Promise(resolve => setImmediate(resolve))
    }
    await client.nextOf('publish')
    expect(client.packets.map(({ cmd }) => cmd)).toEqual(['connack', 'suback', 'publish'])
  })

  test.each([
    ['a level that does not exist', connect({ level: '07' })], ['level 2', connect({ level: '02' })], ['the name of 3.1 with the level of 3.1.1', connect({ name: 'MQIsdp' })]
  ])('%s is refused with 0x01, and nothing behind it is done (3.1.1: MQTT-3.1.2-2, MQTT-3.2.2-4, MQTT-3.2.2-5, MQTT-3.1.4-5)', async (_, hex) => {
    const broker = await startBroker()
    const watcher = await listener(broker, 4, '#', 0)
    const answer = await answerTo(broker, hex + packet('30', text('t'), '78'))
    // Who speaks a later version than 3.1.1 may be told in the words of 5.0, with its 0x84.
    if (hex === connect({ level: '07' })) expect(answer).toMatch(/^(20020001$|20..0084)/)
    else expect(answer).toBe(WRONG_LEVEL)
    await expectQuiet(watcher)
  })

  test('without a client id and with clean session 0 it is refused with 0x02 (3.1.1: MQTT-3.1.3-8, MQTT-3.2.2-4)', async () => {
    const broker = await startBroker()
    expect(await answerTo(broker, connect({ flags: '00', payload: text('') }))).toBe(WRONG_ID)
  })

  test('without a client id and with clean session 1 it gets one of its own (3.1.1: MQTT-3.1.3-6)', async () => {
    const broker = await startBroker()
    const [one, two] = [await listener(broker, 4, 't', 0, { clientId: '' }), await listener(broker, 4, 't', 0, { clientId: '' })]
    await deliver(one, 't', 'end', 0)
    await receive(two)
    expect(one.isClosed).toBe(false)
  })

  test.each(['0', 'aZ09', '0123456789abcdefghijklm', 'NOPQRSTUVWXYZnopqrstuvw', 'x'.repeat(200), 'ü with spaces/and+more#'])('the client id %j is taken (3.1.1: MQTT-3.1.3-5)', async clientId => {
    await RawClient.connected(await startBroker(), 4, { clientId })
  })

  test('takes a user name and a password, an empty one too (3.1.1: MQTT-3.1.2-19, MQTT-3.1.2-21, MQTT-3.1.3-1)', async () => {
    const broker = await startBroker()
    for (const password of ['', '00ff']) {
      const client = await RawClient.open(broker, 4)
      client.write(connect({ flags: 'c2', payload: text('c') + text('user') + field(password) }))
      expect(await client.next()).toMatchObject({ cmd: 'connack', returnCode: 0 })
    }
  })

  test.each([
    ['the reserved flag (3.1.1: MQTT-3.1.2-3)', connect({ flags: '03' })],
    ['a wrong fixed header (3.1.1: MQTT-2.2.2-2)', connect().replace(/^10/, '11')],
    ['another protocol name (3.1.1: MQTT-3.1.2-1)', connect({ name: 'MQTX' })],
    ['a will QoS without a will (3.1.1: MQTT-3.1.2-11, MQTT-3.1.2-13)', connect({ flags: '0a' })],
    ['a retained will without a will (3.1.1: MQTT-3.1.2-15)', connect({ flags: '22' })],
    ['a will with QoS 3 (3.1.1: MQTT-3.1.2-14)', connect({ flags: '1e', payload: text('c') + text('t') + text('x') })],
    ['a will topic that is missing (3.1.1: MQTT-3.1.2-9)', connect({ flags: '06' })],
    ['a will message that is missing (3.1.1: MQTT-3.1.2-9)', connect({ flags: '06', payload: text('c') + text('t') })],
    ['a will topic with a wildcard (3.1.1: MQTT-4.7.1-1)', connect({ flags: '06', payload: text('c') + text('t/#') + text('x') })],
    ['a will topic that is not UTF-8 (3.1.1: MQTT-3.1.3-10)', connect({ flags: '06', payload: text('c') + field('c328') + text('x') })],
    ['a password without a user name (3.1.1: MQTT-3.1.2-22)', connect({ flags: '42', payload: text('c') + text('secret') })],
    ['a user name that is missing (3.1.1: MQTT-3.1.2-19)', connect({ flags: '82' })],
    ['a user name that nobody announced (3.1.1: MQTT-3.1.2-18)', connect({ payload: text('c') + text('user') })],
    ['a user name that is not UTF-8 (3.1.1: MQTT-3.1.3-11)', connect({ flags: '82', payload: text('c') + field('ff') })],
    ['a client id that is not UTF-8 (3.1.1: MQTT-3.1.3-4)', connect({ payload: field('eda080') })],
    ['a client id with a null character (3.1.1: MQTT-1.5.3-2)', connect({ payload: field('610062') })],
    ['no client id at all (3.1.1: MQTT-3.1.3-3)', connect({ payload: '' })],
    ['a keep alive that is cut off (3.1.1: MQTT-3.1.4-1)', packet('10', text('MQTT'), '0402', '00')]
  ])('is closed without a CONNACK for %s, MQTT-3.1.4-1', async (_, hex) => {
    expect(await answerTo(await startBroker(), hex)).toBe('')
  })

  test.each([
    ['PUBLISH', packet('30', text('t'), '78')], ['SUBSCRIBE', packet('82', '0001', text('#'), '00')], ['PINGREQ', 'c000'], ['DISCONNECT', 'e000'], ['CONNACK', ACCEPTED], ['an empty packet', '0000']
  ])('%s in its place ends the connection unanswered, and does nothing (3.1.1: MQTT-3.1.0-1)', async (_, hex) => {
    const broker = await startBroker()
    const watcher = await listener(broker, 4, '#', 0)
    expect(await answerTo(broker, hex + connect())).toBe('')
    await expectQuiet(watcher)
  })

  test('a second one ends the connection (3.1.1: MQTT-3.1.0-2)', async () => {
    expect(await answerTo(await startBroker(), connect() + connect())).toBe(ACCEPTED)
  })

  test('that never comes ends the connection in time (3.1.1: section 3.1)', async () => {
    expect(await answerTo(await startBroker({ limits: { connectTimeoutMs: 200 } }), '10')).toBe('')
  })

  test('with the id of another client ends that one\'s connection (3.1.1: MQTT-3.1.4-2, MQTT-3.1.3-2)', async () => {
    const broker = await startBroker()
    const first = await RawClient.connected(broker, 4, { clientId: 'c' })
    const second = await RawClient.connected(broker, 4, { clientId: 'c' })
    await first.closed()
    // 3.1.1 has no words for it.
    expect(first.packets.map(({ cmd }) => cmd)).toEqual(['connack'])
    await second.flushed()
    // Ids differ by case.
    await RawClient.connected(broker, 4, { clientId: 'C' })
    await second.flushed()
  })
})

describe('the end of a connection', () => {
  test.each([
    ['DISCONNECT with reserved flags (3.1.1: MQTT-3.14.1-1)', 'e100'], ['PINGREQ with reserved flags (3.1.1: MQTT-2.2.2-2)', 'c100']
  ])('%s closes, and the will is published', async (_, hex) => {
    const broker = await startBroker()
    const watcher = await listener(broker, 4, 'will', 0)
    const client = await RawClient.connected(broker, 4, { will: { topic: 'will', payload: 'gone' } })
    client.write(hex)
    await client.closed()
    await watcher.nextOf('publish')
  })

  test('nothing for one and a half keep alives ends it, as if the network had failed; packets of any kind keep it (3.1.1: MQTT-3.1.2-24, MQTT-3.12.4-1)', async () => {
    const broker = await startBroker()
    const watcher = await listener(broker, 4, 'will/#', 0)
    const silent = await RawClient.connected(broker, 4, { keepalive: 1, will: { topic: 'will/silent', payload: 'gone' } })
    const startMs = Date.now()
    const unlimited = await RawClient.connected(broker, 4, { keepalive: 0, will: { topic: 'will/unlimited', payload: 'gone' } })
    const busy = await RawClient.connected(broker, 4, { keepalive: 1, will: { topic: 'will/busy', payload: 'gone' } })
    const talking = (async () => {
      while (!silent.isClosed) {
        busy.write(packet('30', text('t'), '78'))
        await pass(300)
      }
    })()
    expect((await watcher.nextOf('publish')).topic).toBe('will/silent')
    expect(Date.now() - startMs).toBeGreaterThanOrEqual(1_400)
    await silent.closed()
    await talking
    await busy.flushed()
    await unlimited.flushed()
    await expectQuiet(watcher)
  })
})

describe('a will', () => {
  test('is published when the connection ends without DISCONNECT, as CONNECT says (3.1.1: MQTT-3.1.2-8, MQTT-3.1.2-16, MQTT-3.1.2-17)', async () => {
    const broker = await startBroker()
    const watcher = await listener(broker, 4, 'will/#', 2)
    for (const [qos, retain] of [[0, false], [1, true], [2, true]] as const) {
      const client = await RawClient.connected(broker, 4, { will: { topic: `will/${qos}`, payload: `gone ${qos}`, qos, retain } })
      client.destroy()
      expect(await receive(watcher, 1)).toMatchObject([{ topic: `will/${qos}`, payload: Buffer.from(`gone ${qos}`), qos, retain: false }])
    }
    const late = await listener(broker, 4, 'will/#', 2)
    expect((await receive(late, 2)).map(({ topic, retain }) => [topic, retain]).sort()).toEqual([['will/1', true], ['will/2', true]])
  })

  test('is forgotten with DISCONNECT, and once it is published (3.1.1: MQTT-3.14.4-3, MQTT-3.1.2-10, MQTT-3.1.2-12)', async () => {
    const broker = await startBroker()
    const watcher = await listener(broker, 4, 'will', 1)
    const first = await RawClient.connected(broker, 4, { clientId: 'c', clean: false, will: { topic: 'will', payload: 'first' } })
    await leave(first)
    const second = await RawClient.connected(broker, 4, { clientId: 'c', clean: false, will: { topic: 'will', payload: 'second' } })
    second.destroy()
    expect(payloadsOf(await take(watcher, 1))).toEqual(['second'])
    const third = await RawClient.connected(broker, 4, { clientId: 'c', clean: false })
    third.destroy()
    await third.closed()
    const fourth = await RawClient.connected(broker, 4, { clientId: 'c', clean: false })
    await expectQuiet(watcher, fourth)
  })

  test('is published when another client takes the id over, and may be empty (3.1.1: MQTT-3.1.2-8, MQTT-3.1.4-2)', async () => {
    const broker = await startBroker()
    const watcher = await listener(broker, 4, 'will', 0)
    await RawClient.connected(broker, 4, { clientId: 'c', will: { topic: 'will', payload: '' } })
    await RawClient.connected(broker, 4, { clientId: 'c' })
    expect((await watcher.nextOf('publish')).payload).toHaveLength(0)
  })

  test('finds clients of 5.0 as theirs find those of 3.1.1, without what 3.1.1 does not know', async () => {
    const broker = await startBroker()
    const [old, young] = [await listener(broker, 4, 'will/#', 1), await listener(broker, 5, 'will/#', 1)]
    const properties = { willDelayInterval: 0, contentType: 'text/plain', userProperties: { a: 'b' } }
    for (const [version, will] of [[4, { topic: 'will/4', payload: 'x' }], [5, { topic: 'will/5', payload: Buffer.from('x'), properties }]] as const) {
      (await RawClient.connected(broker, version, { will: { ...will, qos: 1, retain: false } })).destroy()
      for (const watcher of [old, young]) expect(await receive(watcher, 1)).toMatchObject([{ topic: `will/${version}`, payload: Buffer.from('x'), qos: 1 }])
    }
  })
})

describe('MQTT 3.1', () => {
  const LEVEL_3 = { name: 'MQIsdp', level: '03' }

  test.each([1, 23, 24, 64])('a client with an id of %i characters: 1 to 23 are let in under the name MQIsdp, longer ones are or hear 0x02', async length => {
    const client = await RawClient.open(await startBroker(), 3)
    client.write(connect({ ...LEVEL_3, payload: text('x'.repeat(length)) }))
    const { returnCode } = await client.nextOf('connack')
    expect(length <= 23 ? [0] : [0, 2]).toContain(returnCode)
  })

  test('an id must be there: without one 0x02, whatever clean session says', async () => {
    const broker = await startBroker()
    for (const flags of ['00', '02']) expect(await answerTo(broker, connect({ ...LEVEL_3, flags, payload: text('') }))).toBe(WRONG_ID)
  })

  test('goes on with its session; the byte that 3.1.1 says so in stays 0', async () => {
    const broker = await startBroker()
    await leave(await listener(broker, 3, 't', 2, { clientId: 'c', clean: false }))
    const sender = await RawClient.connected(broker, 3)
    await deliver(sender, 't', 'queued', 2)
    const { client } = await join(broker, 3, { clientId: 'c', clean: false })
    expect(payloadsOf(await receive(client, 1))).toEqual(['queued'])
    expect(client.bytes.subarray(0, 4).toString('hex')).toBe(ACCEPTED)
  })

  test.each<Version>([3, 4, 5])('speaks with a client of level %i, in every QoS, retained and with wills', async version => {
    const broker = await startBroker()
    const [watcher, sender] = [await listener(broker, 3, '#', 2), await RawClient.connected(broker, version)]
    for (const qos of [0, 1, 2] as const) {
      await deliver(sender, `t/${qos}`, 'x', qos, { retain: true })
      expect(await receive(watcher, 1)).toMatchObject([{ topic: `t/${qos}`, qos, retain: false }])
    }
    const late = await listener(broker, version, 't/+', 1)
    expect((await receive(late, 3)).map(({ topic, qos, retain }) => [topic, qos, retain]).sort()).toEqual([['t/0', 0, true], ['t/1', 1, true], ['t/2', 1, true]])
    const mortal = await RawClient.connected(broker, 3, { will: { topic: 'will', payload: Buffer.from('gone') } })
    await listen(sender, ['will'], 0)
    mortal.destroy()
    await sender.nextOf('publish')
  })
})
