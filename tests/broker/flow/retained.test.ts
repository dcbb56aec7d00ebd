// Retained messages and their limits: a client that meets one can still replace and delete, and nothing is lost count of.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Message } from '../../../broker/message.js'
import { Retained } from '../../../broker/retained.js'
import { startBroker } from '../../support/broker.js'
import { RawClient } from '../../support/raw-client.js'

function message (topic: string, text: string, { from = 'c', expiresAtMs = Infinity }: { from?: string | null, expiresAtMs?: number } = {}): Message {
  return new Message({ topic, payload: Buffer.from(text), qos: 1, retain: true, from, expiresAtMs })
}

const found = (retained: Retained, filter = '#', nowMs = 0): string[] => [...retained.matching(filter, () => nowMs)].flatMap(one => one === null ? [] : [`${one.topic}=${one.payload.toString()}`]).sort()

describe('at the limit of messages', () => {
  function full (): Retained {
    const retained = new Retained({ messages: 2, bytes: 1_000_000 })
    expect([retained.set(message('a', '1')), retained.set(message('b', '1')), retained.set(message('c', '1'))]).toEqual([true, true, false])
    return retained
  }

  test('a refused message changes nothing', () => {
    const retained = full()
    expect([found(retained), retained.count]).toEqual([['a=1', 'b=1'], 2])
  })

  test('replacing works', () => {
    const retained = full()
    expect(retained.set(message('a', '2'))).toBe(true)
    expect(found(retained)).toEqual(['a=2', 'b=1'])
  })

  test('deleting works and makes room for exactly one', () => {
    const retained = full()
    expect(retained.set(message('a', ''))).toBe(true)
    expect([retained.set(message('c', '1')), retained.set(message('d', '1'))]).toEqual([true, false])
    expect(found(retained)).toEqual(['b=1', 'c=1'])
  })

  test('deleting what is not there makes no room', () => {
    const retained = full()
    retained.set(message('x', ''))
    expect(retained.set(message('c', '1'))).toBe(false)
  })

  test('the services\' own come on top', () => {
    const retained = full()
    expect(retained.set(message('lots/A/free', '1', { from: null }))).toBe(true)
    expect(retained.set(message('c', '1'))).toBe(false)
  })

  test('what has expired makes room', () => {
    const retained = new Retained({ messages: 1, bytes: 1_000_000 })
    retained.set(message('a', '1', { expiresAtMs: 10 }))
    expect(retained.expire(9)).toEqual([])
    expect(found(retained, '#', 10)).toEqual([])
    expect(retained.expire(10)).toEqual(['a'])
    expect([retained.set(message('b', '1')), retained.count]).toEqual([true, 1])
  })
})

describe('at the limit of bytes', () => {
  const bytes = message('a', 'x'.repeat(1_000)).size * 2

  test('replacing by a larger one is refused, by a smaller one not, and room that is given back is used', () => {
    const retained = new Retained({ messages: 100, bytes })
    for (const topic of ['a', 'b']) expect(retained.set(message(topic, 'x'.repeat(1_000)))).toBe(true)
    expect(retained.set(message('a', 'x'.repeat(1_001)))).toBe(false)
    expect(found(retained).map(one => one.length)).toEqual([1_002, 1_002])
    expect(retained.set(message('a', 'x'))).toBe(true)
    expect(retained.set(message('c', 'x'))).toBe(true)
    expect(retained.bytes).toBeLessThanOrEqual(bytes)
  })

  test('long properties are bytes as well', () => {
    const retained = new Retained({ messages: 100, bytes: 100_000 })
    const large = (topic: string): Message => new Message({ topic, payload: Buffer.from('x'), qos: 1, retain: true, from: 'c', properties: { userProperties: [['k', 'v'.repeat(60_000)]] } })
    expect([retained.set(large('a')), retained.set(large('b'))]).toEqual([true, false])
  })
})

test('whatever is set, deleted and expired: it is a map with limits, and the count of bytes is that of what is there', () => {
  const step = fc.record({ topic: fc.constantFrom('a', 'b', 'c', 'd', 'e'), length: fc.integer({ min: 0, max: 60 }), from: fc.constantFrom('c', null), expires: fc.boolean(), expire: fc.boolean() })
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), steps => {
    const limits = { messages: 3, bytes: 900 }
    const retained = new Retained(limits)
    const map = new Map<string, Message>()
    for (const { topic, length, from, expires, expire } of steps) {
      const one = message(topic, 'x'.repeat(length), { from, expiresAtMs: expires ? 1 : Infinity })
      const others = [...map.values()].filter(other => other.from !== null && other.topic !== topic)
      const fits = from === null || length === 0 || (others.length < limits.messages && others.reduce((sum, { size }) => sum + size, one.size) <= limits.bytes)
      expect(retained.set(one)).toBe(fits)
      if (fits && length > 0) map.set(topic, one)
      else if (fits) map.delete(topic)
      if (expire) {
        const gone = [...map.values()].filter(({ expiresAtMs }) => expiresAtMs === 1).map(other => other.topic)
        expect(retained.expire(1).sort()).toEqual(gone.sort())
        for (const name of gone) map.delete(name)
      }
      expect([retained.count, retained.bytes]).toEqual([map.size, [...map.values()].reduce((sum, { size }) => sum + size, 0)])
    }
  }), { numRuns: 500 })
})

describe('what is due to a new subscription of a client that takes one message at a time', () => {
  interface Slow { readonly client: RawClient, readonly first: { topic: string, messageId?: number } }

  async function slowSubscriber (): Promise<Slow> {
    const broker = await startBroker({ prepare: async ({ bus }) => { for (const n of [1, 2, 3]) await bus.publish(`t/${n}`, String(n), { retain: true }) } })
    const client = await RawClient.connected(broker, 5, { properties: { receiveMaximum: 1 } })
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 't/+', qos: 1 }] })
    const first = await client.nextOf('publish')
    client.send({ cmd: 'subscribe', messageId: 2, subscriptions: [{ topic: '$share/g/t/+', qos: 1 }] })
    await client.nextOf('suback')
    return { client, first }
  }
  const unsubscribe = async (client: RawClient, filter: string): Promise<void> => {
    client.send({ cmd: 'unsubscribe', messageId: 3, unsubscriptions: [filter] })
    expect(await client.next()).toMatchObject({ cmd: 'unsuback', granted: [0] })
  }

  test('stays due when the shared subscription to the same topics is over', async () => {
    const { client, first } = await slowSubscriber()
    await unsubscribe(client, '$share/g/t/+')
    const got = [first]
    while (got.length < 3) {
      client.send({ cmd: 'puback', messageId: got.at(-1)?.messageId ?? 0 })
      got.push(await client.nextOf('publish'))
    }
    expect(got.map(({ topic }) => topic).sort()).toEqual(['t/1', 't/2', 't/3'])
  })

  test('is not sent any more when the subscription is over', async () => {
    const { client, first } = await slowSubscriber()
    await unsubscribe(client, 't/+')
    client.send({ cmd: 'puback', messageId: first.messageId ?? 0 })
    client.send({ cmd: 'pingreq' })
    expect(await client.next()).toMatchObject({ cmd: 'pingresp' })
  })
})
