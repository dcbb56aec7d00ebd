// MQTT 5.0 section 4.7: which topics a filter matches, for live and for retained messages, and which topics and filters
// there may not be. Both tables hold for every version of the protocol.
import { describe, expect, test } from 'vitest'
import { startBroker } from '../support/broker.js'
import { RawClient, type Version } from '../support/raw-client.js'
import { deliver, expectQuiet, freshId, listen, listener, payloadsOf, receive } from './parties.js'
import { expectDisconnect, field, packet, properties, publish, publishBytes, text } from './v5-wire.js'

/** Clients may not publish below `$`; what parkmq itself says there comes over its bus. */
const DOLLAR = ['$demo', '$demo/a', '$demo/a/b', '$SYS-like/a', '$']
const TOPICS = [
  'a', 'A', 'b', 'a/b', 'a/B', 'a/b/c', 'a/b/c/d', 'b/a', '/', '//', '///', '/a', 'a/', 'a//', 'a//b', '/a/b', 'a/b/', ' ', 'a b', ' a', 'a ',
  'sport', 'sport/tennis', 'sport/tennis/player1', 'sport/tennis/player1/ranking', 'sport/', 'finance', 'x/y/a', 'a$', 'a/$b', '/$SYS',
  'ü', 'u\u0308', '\u00fc/\u6f22', '漢/字', '🚗', '\ufeffa', '\u{10ffff}', 'ﬁ', 'fi', 'İ', 'i̇', '\t', '..', './a', 'a/./b', 'a/../b', '*', 'a/*', '%2F', '\\', '?', 'toString', '__proto__/a', 'constructor'
]

/** Every filter with the topics, of all the above, that it matches by the standard. */
const MATCHES: [filter: string, topics: string[]][] = [
  ['#', TOPICS],
  ['a', ['a']],
  ['A', ['A']],
  ['a/b', ['a/b']],
  ['a/#', ['a', 'a/b', 'a/B', 'a/b/c', 'a/b/c/d', 'a/', 'a//', 'a//b', 'a/b/', 'a/$b', 'a/./b', 'a/../b', 'a/*']],
  ['a/b/#', ['a/b', 'a/b/c', 'a/b/c/d', 'a/b/']],
  ['+', TOPICS.filter(topic => !topic.includes('/'))],
  ['+/+', TOPICS.filter(topic => topic.split('/').length === 2)],
  ['/+', ['/', '/a', '/$SYS']],
  ['+/', ['/', 'a/', 'sport/']],
  ['a/+', ['a/b', 'a/B', 'a/', 'a/$b', 'a/*']],
  ['+/b', ['a/b']],
  ['a/+/c', ['a/b/c']],
  ['a/+/+', ['a/b/c', 'a//', 'a//b', 'a/b/', 'a/./b', 'a/../b']],
  ['+/+/+', TOPICS.filter(topic => topic.split('/').length === 3)],
  ['+/b/#', ['a/b', 'a/b/c', 'a/b/c/d', 'a/b/']],
  ['+/#', TOPICS],
  ['/#', ['/', '//', '///', '/a', '/a/b', '/$SYS']],
  ['//#', ['/', '//', '///']],
  ['/', ['/']],
  ['//', ['//']],
  ['/+/', ['//']],
  ['/+/+', ['//', '/a/b']],
  ['a/', ['a/']],
  ['a//b', ['a//b']],
  ['a/+/b', ['a//b', 'a/./b', 'a/../b']],
  ['sport/tennis/player1/#', ['sport/tennis/player1', 'sport/tennis/player1/ranking']],
  ['sport/#', ['sport', 'sport/tennis', 'sport/tennis/player1', 'sport/tennis/player1/ranking', 'sport/']],
  ['sport/+', ['sport/tennis', 'sport/']],
  ['+/tennis/#', ['sport/tennis', 'sport/tennis/player1', 'sport/tennis/player1/ranking']],
  ['sport/tennis', ['sport/tennis']],
  [' ', [' ']], ['a ', ['a ']], ['..', ['..']], ['a/../b', ['a/../b']], ['*', ['*']], ['a/*', ['a/*']], ['?', ['?']], ['%2F', ['%2F']], ['\\', ['\\']],
  // Neither composed nor decomposed, neither upper nor lower case, neither stripped nor shortened.
  ['ü', ['ü']], ['u\u0308', ['u\u0308']], ['ü/+', ['\u00fc/\u6f22']], ['+/字', ['漢/字']], ['🚗', ['🚗']], ['\ufeffa', ['\ufeffa']], ['\ufeff', []],
  ['\u{10ffff}', ['\u{10ffff}']], ['ﬁ', ['ﬁ']], ['fi', ['fi']], ['İ', ['İ']], ['i̇', ['i̇']],
  ['toString', ['toString']], ['__proto__/+', ['__proto__/a']], ['constructor/#', ['constructor']], ['hasOwnProperty', []],
  ['$demo/#', ['$demo', '$demo/a', '$demo/a/b']],
  ['$demo/+', ['$demo/a']],
  ['$demo/+/b', ['$demo/a/b']],
  ['$demo', ['$demo']],
  ['$', ['$']],
  ['$SYS-like/#', ['$SYS-like/a']],
  ['+/a', TOPICS.filter(topic => /^[^/]*\/a$/.test(topic))],
  ['+/a/b', ['/a/b']]
]

describe.each<Version>([3, 4, 5])('protocol level %i', version => {
  test('live messages reach the filters that match [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.2-1] [MQTT-4.7.3-4] [MQTT-3.3.2-3]', async () => {
    const broker = await startBroker()
    const sender = await RawClient.connected(broker, version)
    const watchers = await Promise.all(MATCHES.map(async ([filter]) => {
      const watcher = await RawClient.connected(broker, version)
      expect(await listen(watcher, [filter, 'the end'], 0)).toEqual([0, 0])
      return watcher
    }))
    for (const topic of DOLLAR) await broker.bus.publish(topic, 'x')
    sender.send(...TOPICS.map(topic => publish(topic, 'x')))
    await sender.flushed()
    await deliver(sender, 'the end', 'end')
    for (const [i, [filter, topics]] of MATCHES.entries()) {
      const got = (await receive(watchers[i] as RawClient)).map(({ topic }) => topic)
      expect([filter, ownTopics(got).sort()]).toEqual([filter, [...topics].sort()])
    }
  })

  test('retained messages reach the filters that match [MQTT-4.7.2-1] [MQTT-4.7.3-4] [MQTT-3.3.1-9]', async () => {
    const broker = await startBroker()
    const sender = await RawClient.connected(broker, version)
    for (const topic of DOLLAR) await broker.bus.publish(topic, 'x', { retain: true })
    sender.send(...TOPICS.map(topic => publish(topic, 'x', { retain: true, qos: 1, messageId: freshId(sender) })))
    for (let i = 0; i < TOPICS.length; i++) await sender.nextOf('puback')
    for (const [filter, topics] of MATCHES) {
      const watcher = await RawClient.connected(broker, version)
      // SUBACK may come before or after what is retained.
      watcher.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: filter, qos: 0 }] })
      await expect.poll(() => ownTopics(retainedIn(watcher)).sort(), { message: filter, interval: 5 }).toEqual([...topics].sort())
      await watcher.nextOf('suback')
      await watcher.flushed()
      expect([filter, ownTopics(retainedIn(watcher)).sort()]).toEqual([filter, [...topics].sort()])
      watcher.destroy()
    }
  })
})

/** What a broker says of itself on `$SYS` is none of this. */
function ownTopics (topics: readonly string[]): string[] {
  return topics.filter(topic => !topic.startsWith('$SYS/'))
}

function retainedIn ({ packets }: RawClient): string[] {
  return packets.flatMap(packet => packet.cmd === 'publish' && packet.retain ? [packet.topic] : [])
}

describe('filters that are not valid', () => {
  test.each(['a#', '#a', 'a/#/b', '#/', '##', 'a/b#', '+a', 'a+', 'a+b', 'a/+b', 'a/b+/c', '++', 'a/#b', '/#/', '#+', '+#', ''])(
    'the filter %j is never granted, and the mistake is told [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] [MQTT-4.13.1-1]', async filter => {
      const broker = await startBroker()
      const client = await RawClient.connected(broker)
      client.write(packet('82', '0007', properties(), text(filter), '01'))
      const answer = await client.next()
      if (answer.cmd === 'suback') {
        expect(answer.granted).toEqual([0x8f])
        return
      }
      expect(answer).toMatchObject({ cmd: 'disconnect' })
      expect([0x81, 0x82, 0x8f]).toContain((answer as { reasonCode?: number }).reasonCode)
      await client.closed()
    })

  test('a null character in a filter, also of UNSUBSCRIBE [MQTT-4.7.3-2]', async () => {
    const broker = await startBroker()
    const nul = field('610062')
    await expectDisconnect(await RawClient.connected(broker), packet('82', '0007', properties(), nul, '01'), 0x81)
    await expectDisconnect(await RawClient.connected(broker), packet('a2', '0007', properties(), nul), 0x81)
  })
})

describe('topics that are not valid', () => {
  test.each(['+', '#', 'a/+', 'a/#', '+/a', 'a+', '#a', 'a/b#/c'])('a PUBLISH on %j ends the connection with 0x90 and reaches nobody [MQTT-4.7.0-1] [MQTT-3.3.2-2]', async topic => {
    const broker = await startBroker()
    const watcher = await listener(broker, 5, '#', 1)
    const client = await RawClient.connected(broker)
    await expectDisconnect(client, publishBytes({ topic: text(topic) }), 0x90, 0x81, 0x82)
    await expectQuiet(watcher)
  })

  test('none at all, without an alias, is a protocol error [MQTT-4.7.3-1]', async () => {
    const broker = await startBroker()
    await expectDisconnect(await RawClient.connected(broker), publishBytes({ topic: text('') }), 0x82, 0x90)
  })

  test('one with a null character [MQTT-4.7.3-2]', async () => {
    const broker = await startBroker()
    await expectDisconnect(await RawClient.connected(broker), publishBytes({ topic: field('610062') }), 0x81)
  })
})

test('the longest topic and the longest filter get an answer, whichever it is, and hurt nothing [MQTT-4.7.3-3]', async () => {
  const broker = await startBroker()
  const client = await RawClient.connected(broker)
  const longest = 'x'.repeat(65_535)
  client.send(publish(longest, 'x', { qos: 1, messageId: 1 }))
  const { reasonCode = 0 } = await client.nextOf('puback')
  expect([0x00, 0x10, 0x90]).toContain(reasonCode)
  const [granted = 0] = await listen(client, [longest], 1)
  expect([1, 0x8f, 0x97]).toContain(granted)
  await deliver(client, 'short', 'x')
})

test('a client may see the broker\'s own topics below $SYS only by naming $SYS [MQTT-4.7.2-1]', async () => {
  const broker = await startBroker()
  await broker.bus.publish('$SYS/broker/version', 'parkmq', { retain: true })
  const all = await listener(broker, 5, '#', 0)
  const level = await listener(broker, 5, '+/broker/version', 0)
  const named = await listener(broker, 5, '$SYS/broker/+', 0)
  expect((await named.nextOf('publish')).topic).toMatch(/^\$SYS\/broker\//)
  const sender = await RawClient.connected(broker)
  await deliver(sender, 'x/broker/version', 'end')
  expect(payloadsOf(await receive(all))).toEqual([])
  expect(payloadsOf(await receive(level))).toEqual([])
})
