import { expect, test } from 'vitest'
import { faultOfFilter, isTooLong, matcherOf } from '../../broker/topic-filters.js'

const LIMITS = { topicLevels: 100, topicBytes: 200 }

test.each<[string, string[], string[]]>([
  ['lots/+/sensor', ['lots/LOT-A/sensor', 'lots//sensor'], ['lots/LOT-A/sensors', 'lots/LOT-A', 'lots/a/b/sensor', 'lots/LOT-A/sensor/', 'xlots/a/sensor', 'lots/sensor', '']],
  ['requests/+', ['requests/lots', 'requests/'], ['requests', 'requests/a/b', 'requestsx']],
  ['a/#', ['a', 'a/', 'a/b', 'a/b/c'], ['ab', 'b']],
  ['#', ['a', 'a/b', '/'], ['$SYS/x']],
  ['+/b', ['a/b', '/b'], ['$SYS/b', 'a/b/c']],
  ['$SYS/#', ['$SYS/x', '$SYS'], ['SYS/x']],
  ['+', ['a', ''], ['a/b', '/']],
  ['/+', ['/a', '/'], ['a', 'a/b']],
  ['a/+/+', ['a/b/c', 'a//'], ['a/b', 'a/b/c/d']]
])('%s matches %j but not %j', (filter, matching, others) => {
  const matches = matcherOf(filter)
  for (const topic of matching) expect([topic, matches(topic)]).toEqual([topic, true])
  for (const topic of others) expect([topic, matches(topic)]).toEqual([topic, false])
})

test.each(['', 'a#', '#a', 'a/#/b', 'a+', '+a/b', 'a/b+', '##', '++'])('%j is no filter', filter => {
  expect(faultOfFilter(filter)).not.toBeNull()
  expect(() => matcherOf(filter)).toThrow(JSON.stringify(filter))
})

test.each(['a', '/', '#', '+', 'a/+/b', '+/+', 'a/#', '$share/g/a'])('%s is a filter', filter => expect(faultOfFilter(filter)).toBeNull())

test('100 levels are enough for everybody', () => {
  expect(isTooLong('/'.repeat(99), LIMITS)).toBe(false)
  expect(isTooLong('/'.repeat(100), LIMITS)).toBe(true)
  expect(isTooLong('a'.repeat(200), LIMITS)).toBe(false)
  expect(isTooLong('a'.repeat(201), LIMITS)).toBe(true)
  expect(isTooLong('ü'.repeat(101), LIMITS)).toBe(true)
})
