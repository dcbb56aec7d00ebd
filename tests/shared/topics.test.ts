// Topics as they are built, read and refused.
import { describe, expect, test } from 'vitest'
import type { Id } from '../../shared/lot.js'
import { ID_PATTERN, isServicesOwn, lotOfSensorTopic, lotOfTopic, mayReceiveReplies, methodOfRequestTopic, topics } from '../../shared/topics.js'

const LOT = 'LOT-A' as Id

test('are built as the contract names them', () => {
  expect([
    topics.sensor(LOT), topics.free(LOT), topics.state(LOT), topics.bay(LOT, 'A-001' as Id), topics.events(LOT), topics.request('lot.add'),
    topics.serviceStatus('occupancy', 'node-1')
  ]).toEqual([
    'lots/LOT-A/sensor', 'lots/LOT-A/free', 'lots/LOT-A/state', 'lots/LOT-A/bays/A-001', 'lots/LOT-A/events', 'requests/lot.add',
    'services/occupancy/node-1/status'
  ])
})

test.each(['A', '0', 'LOT-A', 'a.b_c-d', 'x'.repeat(64)])('%s is an id', id => expect(id).toMatch(ID_PATTERN))
test.each(['', '-A', '.A', '_A', 'a b', 'a/b', 'a+', '#', 'ü', 'a\n', 'x'.repeat(65), '__proto__'])('%j is no id', id => expect(id).not.toMatch(ID_PATTERN))

test.each([
  ['lots/LOT-A/sensor', 'LOT-A'],
  ['lots//sensor', null],
  ['lots/a b/sensor', null],
  ['lots/A/B/sensor', null],
  ['lots/LOT-A/sensors', null],
  ['/lots/LOT-A/sensor', null],
  ['lots/sensor', null],
  ['lots/LOT-A/free', null]
])('the lot of the sensor topic %s is %s', (topic, lot) => expect(lotOfSensorTopic(topic)).toBe(lot))

test.each([
  ['requests/reserve', 'reserve'], ['requests/lot.add', 'lot.add'], ['requests/', null], ['requests/a/b', null], ['request/reserve', null]
])('the method of %s is %s', (topic, method) => expect(methodOfRequestTopic(topic)).toBe(method))

test('the lot of a published topic is read by its kind', () => {
  expect(lotOfTopic('lots/LOT-A/free', 'free')).toBe('LOT-A')
  expect(lotOfTopic('lots/LOT-A/free', 'state')).toBeNull()
})

describe('only parkmq publishes on', () => {
  test.each(['$SYS/broker/uptime', '$anything', 'services/x/y/status', 'cluster/1', 'lots/LOT-A/free', 'lots/LOT-A/state', 'lots/LOT-A/events', 'lots/LOT-A/bays/A-001', 'lots/LOT-A/bays', 'lots//free'])('%s', topic =>
    expect(isServicesOwn(topic)).toBe(true))
  test.each(['lots/LOT-A/sensor', 'lots/LOT-A/freedom', 'requests/reserve', 'replies/me', 'service/x', 'lots/free', 'cameras/c/frame', 'my/lots/LOT-A/free'])('but not %s', topic =>
    expect(isServicesOwn(topic)).toBe(false))
})

describe('replies', () => {
  test.each(['replies/me', 'replies/driver-1/aB3', 'my/own/topic', 'lotsx/a', 'réponses/ü', 'a'.repeat(512), 'a/'.repeat(31) + 'a'])('may go to %j', topic =>
    expect(mayReceiveReplies(topic)).toBe(true))
  test.each([
    '', 'lots/LOT-A/free', 'lots', 'requests/reserve', 'services/x', 'cameras/c/frame', 'sensors/s/status', 'cluster/x', '$SYS/x', '$share/g/x',
    'replies/+', 'replies/#', 'a+b', 'a'.repeat(513)
  ])('may not go to %j, which is not the requester\'s', topic => expect(mayReceiveReplies(topic)).toBe(false))
  test.each(['a\u0000', 'a\u0001b', 'a\n', 'a\u007f', 'a\u0085', 'a\uffff', 'a\ufdd0', 'a\ud800', 'a/'.repeat(32) + 'a', '/'.repeat(250)])('may not go to %j, for which a broker closes the connection', topic =>
    expect(mayReceiveReplies(topic)).toBe(false))
})
