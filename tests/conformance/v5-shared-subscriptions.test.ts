// MQTT 5.0 section 4.8: shared subscriptions. Each message goes to one member of each group; what becomes of it when that
// member refuses it or goes away depends on the QoS.
import { describe, expect, test } from 'vitest'
import type { QoS } from 'mqtt-packet'
import { startBroker, type TestBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'
import { deliver, expectQuiet, join, kept, leave, listen, listener, numbered, payloadsOf, receive, take } from './parties.js'
import { expectDisconnect, field, packet, properties, text } from './v5-wire.js'

/** Clients with one filter each, and with `end`, by which they know that nothing more comes. */
async function listeners (broker: TestBroker, filters: readonly string[], qos: QoS = 1): Promise<RawClient[]> {
  return await Promise.all(filters.map(async filter => {
    const client = await RawClient.connected(broker)
    expect(await listen(client, [filter, 'end'], qos)).toEqual([qos, qos])
    return client
  }))
}

/** Members of the group `g` on `t/#`. */
async function members (broker: TestBroker, count: number, qos: QoS = 1): Promise<RawClient[]> {
  return await listeners(broker, Array.from({ length: count }, () => '$share/g/t/#'), qos)
}

/** Which of these clients has the first message, and its packet identifier, as soon as one has it. */
async function first (clients: readonly RawClient[]): Promise<{ at: number, messageId: number, payload: string }> {
  const having = (): number => clients.findIndex(({ packets }) => packets.some(({ cmd }) => cmd === 'publish'))
  await expect.poll(having, { interval: 5 }).toBeGreaterThanOrEqual(0)
  const at = having()
  const [{ messageId = 0, payload } = { payload: '' }] = await take(clients[at] as RawClient, 1)
  return { at, messageId, payload: payload.toString() }
}

/** What each of these clients gets before `end`. */
async function ends (sender: RawClient, clients: readonly RawClient[]): Promise<string[][]> {
  await deliver(sender, 'end', 'end')
  return await Promise.all(clients.map(async client => payloadsOf(await receive(client))))
}

describe('who gets a message', () => {
  test.each<QoS>([0, 1, 2])('one member of the group gets it, in turn, with QoS %i [4.8.2] [MQTT-4.8.2-1]', async qos => {
    const broker = await startBroker()
    const group = await members(broker, 3, qos)
    const sender = await RawClient.connected(broker)
    const received = Promise.all(group.map(async client => payloadsOf(await receive(client, 10))))
    for (const payload of numbered('m', 30)) await deliver(sender, 't/1', payload, qos)
    const got = await received
    expect(got.flat().sort()).toEqual(numbered('m', 30).sort())
    // Round robin is this broker's choice.
    expect(got.map(payloads => payloads.length)).toEqual([10, 10, 10])
  })

  test('each group gets it once, as does each subscriber beside them [4.8.2]', async () => {
    const broker = await startBroker()
    const clients = await listeners(broker, ['$share/g/t', '$share/g/t', '$share/other/t', '$share/g/+', 't', 't/#'])
    const sender = await RawClient.connected(broker)
    for (const payload of numbered('m', 4)) await deliver(sender, 't', payload)
    const [one = [], two = [], ...alone] = await ends(sender, clients)
    expect([...one, ...two].sort()).toEqual(numbered('m', 4))
    // `$share/g/+` is another group than `$share/g/t`, and takes `end` as well.
    expect(alone).toEqual(alone.map(() => numbered('m', 4)))
  })

  test('a client with a shared and an ordinary subscription gets a copy for each [4.8.2]', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker)
    for (const [identifier, topic] of [[1, '$share/g/t'], [2, 't']] as const) {
      client.send({ cmd: 'subscribe', messageId: identifier, properties: { subscriptionIdentifier: identifier }, subscriptions: [{ topic, qos: 1 }] })
      await client.nextOf('suback')
    }
    const sender = await RawClient.connected(broker)
    await deliver(sender, 't', 'x')
    const got = await receive(client, 2)
    expect(payloadsOf(got)).toEqual(['x', 'x'])
    expect(got.map(({ properties }) => properties?.subscriptionIdentifier).sort()).toEqual([1, 2])
  })

  test('each member with the QoS that it was granted [MQTT-4.8.2-3]', async () => {
    const broker = await startBroker()
    const group = await Promise.all(([0, 1, 2] as const).map(async qos => await listener(broker, 5, '$share/g/t', qos)))
    const sender = await RawClient.connected(broker)
    const received = Promise.all(group.map(async client => (await receive(client, 2)).map(({ qos }) => qos)))
    for (const payload of numbered('m', 6)) await deliver(sender, 't', payload, 2)
    expect(await received).toEqual([[0, 0], [1, 1], [2, 2]])
  })

  test('a member without a connection is passed over while others have one [4.8.2]', async () => {
    const broker = await startBroker()
    const away = await listener(broker, 5, '$share/g/t', 1, kept('away'))
    const here = await listener(broker, 5, '$share/g/t', 1)
    await leave(away)
    const sender = await RawClient.connected(broker)
    for (const payload of numbered('m', 5)) await deliver(sender, 't', payload)
    expect(payloadsOf(await receive(here, 5))).toEqual(numbered('m', 5))
    const { client } = await join(broker, 5, kept('away'))
    await expectQuiet(client, sender)
  })

  test.each<[number, QoS]>([[1, 1], [1, 2], [3, 1], [3, 2]])('where none of %i members has a connection, one of them finds it when it is back, with QoS %i [4.8.2] [MQTT-4.5.0-1]', async (count, qos) => {
    const broker = await startBroker()
    for (let i = 0; i < count; i++) {
      const client = await RawClient.connected(broker, 5, kept(`member-${i}`))
      expect(await listen(client, ['$share/g/t', `end/${i}`], qos)).toEqual([qos, qos])
      await leave(client)
    }
    const sender = await RawClient.connected(broker)
    for (const payload of numbered('m', 4)) await deliver(sender, 't', payload, qos)
    const got: string[] = []
    for (let i = 0; i < count; i++) {
      const { client } = await join(broker, 5, kept(`member-${i}`))
      await deliver(sender, `end/${i}`, `end ${i}`, qos)
      got.push(...payloadsOf(await receive(client, `end ${i}`)))
    }
    expect(got.sort()).toEqual(numbered('m', 4))
  })

  test('a member that comes back is one again [4.8.2] [MQTT-3.1.2-5]', async () => {
    const broker = await startBroker()
    await leave(await listener(broker, 5, '$share/g/t', 1, kept('only')))
    const { client } = await join(broker, 5, kept('only'))
    const sender = await RawClient.connected(broker)
    await deliver(sender, 't', 'live')
    expect(payloadsOf(await receive(client, 1))).toEqual(['live'])
  })

  test('nobody who has unsubscribed; only the whole filter ends a membership [4.8.2] [MQTT-3.10.4-1] [MQTT-3.10.4-2]', async () => {
    const broker = await startBroker()
    const [one, two] = await members(broker, 2) as [RawClient, RawClient]
    for (const [filter, code] of [['t/#', 0x11], ['$share/h/t/#', 0x11], ['$share/g/t/#', 0x00]] as const) {
      one.send({ cmd: 'unsubscribe', messageId: 5, unsubscriptions: [filter] })
      expect(await one.nextOf('unsuback')).toMatchObject({ granted: [code] })
    }
    const sender = await RawClient.connected(broker)
    for (const payload of numbered('m', 4)) await deliver(sender, 't/1', payload)
    expect(payloadsOf(await receive(two, 4))).toEqual(numbered('m', 4))
    await expectQuiet(one, sender)
  })

  test('a member that subscribes again is no second member, and has its new QoS [4.8.2] [MQTT-4.8.2-3]', async () => {
    const broker = await startBroker()
    const [one, two] = await members(broker, 2) as [RawClient, RawClient]
    expect(await listen(one, ['$share/g/t/#'], 0)).toEqual([0])
    const sender = await RawClient.connected(broker)
    const received = Promise.all([receive(one, 3), receive(two, 3)])
    for (const payload of numbered('m', 6)) await deliver(sender, 't/1', payload)
    const [ofOne, ofTwo] = await received
    expect(ofOne.map(({ qos }) => qos)).toEqual([0, 0, 0])
    expect(ofTwo.map(({ qos }) => qos)).toEqual([1, 1, 1])
  })

  test('nobody gets what is retained, at the first subscription or a later one [4.8.2]', async () => {
    const broker = await startBroker()
    const sender = await RawClient.connected(broker)
    await deliver(sender, 't/1', 'retained', 1, { retain: true })
    const group = await members(broker, 2)
    for (const client of group) await listen(client, ['$share/g/t/#'], 1)
    for (const client of group) await expectQuiet(client, sender)
    // A live one goes to the group as any message does.
    await deliver(sender, 't/1', 'live', 1, { retain: true })
    expect((await first(group)).payload).toBe('live')
  })

  test('wildcards of a shared filter do not reach topics that begin with $ [MQTT-4.7.2-1]', async () => {
    const broker = await startBroker()
    const all = await listener(broker, 5, '$share/g/#', 0)
    const named = await listener(broker, 5, '$share/g/$demo/+', 0)
    await broker.bus.publish('$demo/a', 'x')
    expect((await named.nextOf('publish')).topic).toBe('$demo/a')
    await expectQuiet(all, named)
  })

  test('a publisher may be its own group [4.8.2]', async () => {
    const broker = await startBroker()
    const client = await listener(broker, 5, '$share/g/t', 0)
    await deliver(client, 't', 'mine', 0)
    expect(client.packets).toContainEqual(expect.objectContaining({ cmd: 'publish', payload: Buffer.from('mine') }))
  })
})

describe('who goes away', () => {
  test('QoS 1 that its session leaves unacknowledged goes to another member [4.8.2]', async () => {
    const broker = await startBroker()
    const group = await members(broker, 2)
    const sender = await RawClient.connected(broker)
    await deliver(sender, 't/1', 'again')
    const { at } = await first(group)
    group[at]?.destroy()
    expect(payloadsOf(await receive(group[1 - at] as RawClient, 1))).toEqual(['again'])
  })

  test('many of them go to the others, each to one [4.8.2]', async () => {
    const broker = await startBroker()
    const [dead, ...others] = await members(broker, 3) as [RawClient, RawClient, RawClient]
    const sender = await RawClient.connected(broker)
    const got: string[] = []
    const receiving = others.map(async client => {
      for (;;) got.push(...payloadsOf(await receive(client, 1)))
    })
    for (const payload of numbered('m', 30)) await deliver(sender, 't/1', payload)
    dead.destroy()
    await expect.poll(() => [...got].sort()).toEqual(numbered('m', 30).sort())
    for (const client of others) client.destroy()
    await Promise.allSettled(receiving)
  })

  test('QoS 2 that is on its way is completed by the same member when it comes back, and by no other [MQTT-4.8.2-4]', async () => {
    const broker = await startBroker()
    const away = await listener(broker, 5, '$share/g/t', 2, kept('away'))
    const sender = await RawClient.connected(broker)
    for (const payload of ['sent', 'received']) await deliver(sender, 't', payload, 2)
    const [, received] = await take(away, 2)
    away.send({ cmd: 'pubrec', messageId: received?.messageId ?? 0 })
    await away.nextOf('pubrel')
    const other = await listener(broker, 5, '$share/g/t', 2)
    away.destroy()
    await expectQuiet(other, sender)
    const { client } = await join(broker, 5, kept('away'))
    const again = [await client.next(), await client.next()]
    expect(again).toContainEqual(expect.objectContaining({ cmd: 'pubrel', messageId: received?.messageId }))
    expect(again).toContainEqual(expect.objectContaining({ cmd: 'publish', dup: true, payload: Buffer.from('sent') }))
    await expectQuiet(other, sender)
  })

  test('QoS 2 ends with the session of its member: no other gets it [MQTT-4.8.2-5]', async () => {
    const broker = await startBroker()
    const group = await members(broker, 2, 2)
    const sender = await RawClient.connected(broker)
    await deliver(sender, 't/1', 'lost', 2)
    const { at } = await first(group)
    group[at]?.destroy()
    await deliver(sender, 't/1', 'next', 2)
    // `next` goes to who is left, whether the broker has seen the other one's end or not: it tells by being alone.
    const [alone] = await ends(sender, [group[1 - at] as RawClient])
    expect(alone?.filter(payload => payload === 'lost')).toEqual([])
  })

  test.each<[QoS, 'puback' | 'pubrec', number]>([[1, 'puback', 0x80], [1, 'puback', 0x97], [2, 'pubrec', 0x83]])(
    'what a member refuses, QoS %i with %s %i, goes to nobody else [MQTT-4.8.2-6] [MQTT-4.4.0-2]', async (qos, cmd, reasonCode) => {
      const broker = await startBroker()
      const group = await members(broker, 3, qos)
      const sender = await RawClient.connected(broker)
      await deliver(sender, 't/1', 'refused', qos)
      const { at, messageId } = await first(group)
      group[at]?.send({ cmd, messageId, reasonCode })
      await group[at]?.flushed()
      group[at]?.destroy()
      const others = group.filter((_, i) => i !== at)
      expect(await ends(sender, others)).toEqual([[], []])
    })
})

describe('what is no shared subscription', () => {
  test.each(['$share/', '$share/g', '$share//t', '$share/g/', '$share/+/t', '$share/#', '$share/#/t', '$share/a+b/t', '$share/a#/t', '$share/g/a#', '$share/g/a/#/b', '$share/g/+a'])(
    '%s is never granted [MQTT-4.8.2-1] [MQTT-4.8.2-2]', async filter => {
      const broker = await startBroker()
      const client = await RawClient.connected(broker)
      client.write(packet('82', '0007', properties(), text(filter), '01'))
      const answer = await client.next()
      if (answer.cmd === 'suback') expect(answer.granted).toEqual([0x8f])
      else {
        expect(answer).toMatchObject({ cmd: 'disconnect' })
        expect([0x81, 0x82, 0x8f]).toContain((answer as { reasonCode?: number }).reasonCode)
      }
    })

  test('a share name with a null character is malformed [MQTT-4.7.3-2]', async () => {
    const broker = await startBroker()
    const filter = field(Buffer.from('$share/g\0/t').toString('hex'))
    await expectDisconnect(await RawClient.connected(broker), packet('82', '0007', properties(), filter, '01'), 0x81)
  })

  test('No Local on one is a protocol error [MQTT-3.8.3-4]', async () => {
    const broker = await startBroker()
    await expectDisconnect(await RawClient.connected(broker), packet('82', '0007', properties(), text('$share/g/t'), '05'), 0x82)
  })

  test('names of groups may be any other text, and differ by case and bytes [MQTT-4.8.2-1] [MQTT-4.8.2-2]', async () => {
    const broker = await startBroker()
    const clients = await Promise.all(['g', 'G', 'ü', 'u\u0308', '$', ' ', '__proto__', 'toString', '.'].map(async name => await listener(broker, 5, `$share/${name}/t`, 1)))
    const sender = await RawClient.connected(broker)
    await deliver(sender, 't', 'x')
    for (const client of clients) expect(payloadsOf(await receive(client, 1))).toEqual(['x'])
  })

  test('nothing can be published to a group [MQTT-4.7.2-1]', async () => {
    const broker = await startBroker()
    const client = await listener(broker, 5, '$share/g/t', 1)
    const sender = await RawClient.connected(broker)
    sender.send({ cmd: 'publish', topic: '$share/g/t', payload: 'x', qos: 1, messageId: 1, dup: false, retain: false })
    await sender.nextOf('puback')
    await expectQuiet(client, sender)
  })
})
