// A list of brokers: what is one, in which order they are tried, and what is learnt of others.
import { expect, test } from 'vitest'
import { BrokerUrls, shownUrl } from '../../shared/broker-urls.js'

const [A, B, C] = ['mqtt://a:1883', 'mqtt://b:1883', 'mqtt://c:1883']
const NODES = [{ node: 'a', urls: [A, 'ws://a:9001'] }, { node: 'c', urls: [C, 'ws://c:9001'] }]

test('several URLs are tried in their order, and round again', () => {
  const urls = new BrokerUrls(`${A}, ${B}`)
  expect([urls.current, urls.next(), urls.next(), urls.next()]).toEqual([A, B, A, B])
})

test('a comma in a password separates nothing', () => {
  expect(new BrokerUrls('mqtt://me:one,two@a:1883,mqtt://b').given).toEqual(['mqtt://me:one,two@a:1883', 'mqtt://b'])
})

test.each(['', 'a:1883', 'http://a', `${A},b:1883`, `${A},`, 'mqtt://a:1883,,mqtt://b'])('%j is no list of brokers', text => {
  expect(() => new BrokerUrls(text)).toThrow(expect.objectContaining({ code: 'bad_url' }))
})

test('nodes that are heard of come behind those given, each once, and go when they are gone', () => {
  const urls = new BrokerUrls(`mqtt://me:secret@a:1883/,${B}`)
  urls.learn(NODES)
  expect(urls.all).toEqual(['mqtt://me:secret@a:1883/', B, C])
  urls.learn([])
  expect(urls.all).toHaveLength(2)
})

test('who came with TLS goes on with TLS, and over WebSocket who came over that', () => {
  const secure = new BrokerUrls('mqtts://a:8883')
  secure.learn(NODES)
  expect(secure.isSingle).toBe(true)
  const web = new BrokerUrls('ws://a:9001')
  web.learn(NODES)
  expect(web.all).toEqual(['ws://a:9001', 'ws://c:9001'])
})

test('the next one is tried at once, the same one or all of them again after a rest', () => {
  expect(new BrokerUrls(A).restMs()).toBe(1_000)
  const urls = new BrokerUrls(`${A},${B}`)
  const rests = [urls.restMs()]
  for (let n = 0; n < 3; n++) {
    urls.next()
    rests.push(urls.restMs())
  }
  expect(rests.map(ms => ms < 100)).toEqual([true, true, false, true])
  urls.connected()
  expect(urls.restMs()).toBeLessThan(100)
})

test('no password of a list is shown', () => {
  expect(shownUrl('mqtt://me:secret@a,mqtt://me:other@b')).toBe('mqtt://a,mqtt://b')
})
