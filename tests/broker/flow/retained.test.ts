// Retained messages and their limits: a client that meets one can still replace and delete, and nothing is lost count of.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Message } from '../../../broker/message.js'
import { Retained } from '../../../broker/retained.js'

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
