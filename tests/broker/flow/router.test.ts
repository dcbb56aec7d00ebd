// Who gets a message, at which QoS, with which identifiers, and that the answer kept for a topic is never an old one.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { newFlowCounts } from '../../../broker/flow-counts.js'
import { Journal } from '../../../broker/journal.js'
import { Message } from '../../../broker/message.js'
import type { Qos } from '../../../broker/packets.js'
import { Router, type SubscriptionOptions } from '../../../broker/router.js'
import { Session } from '../../../broker/session.js'
import { matcherOf, parseFilter, type ParsedFilter } from '../../../broker/topic-filters.js'
import { systemClock } from '../../../shared/clock.js'
import { createLog } from './silent-log.js'

interface Offered {
  readonly to: string
  readonly text: string
  readonly qos: Qos
  readonly retain: boolean
  readonly ids: readonly number[] | null
}

/** A session that notes what it is offered. */
function sessionOf (id: string, offered: Offered[]): Session {
  const journal = new Journal({ store: null, clock: systemClock, log: createLog() })
  const limits = { inflight: 20, messages: 1_000, bytes: 1_000_000, total: { bytes: 0, limit: 10_000_000 } }
  const session = new Session({ id, owner: null, limits, counts: newFlowCounts(), journal, nowMs: () => 0, onSlow: () => {} })
  session.mayRead = () => true
  session.offer = (message, qos, retain, ids) => { offered.push({ to: id, text: message.payload.toString(), qos, retain, ids }) }
  return session
}

function options ({ qos = 2, noLocal = false, retainAsPublished = false, id = 0 }: Partial<SubscriptionOptions> = {}): SubscriptionOptions {
  return { qos, noLocal, retainAsPublished, id }
}

function parsed (filter: string): ParsedFilter {
  const one = parseFilter(filter)
  if (one === null) throw new Error(`${filter} is no filter`)
  return one
}

function message (topic: string, { qos = 2, retain = false, from = 'publisher', text = 'x' }: { qos?: Qos, retain?: boolean, from?: string, text?: string } = {}): Message {
  return new Message({ topic, payload: Buffer.from(text), qos, retain, from })
}

describe('several subscriptions of one session', () => {
  test('are one delivery with the best QoS and every identifier [MQTT-3.3.4-2] [MQTT-3.3.4-4]', () => {
    const offered: Offered[] = []
    const router = new Router()
    const session = sessionOf('s', offered)
    router.subscribe(session, parsed('a/+'), options({ qos: 0, id: 7 }))
    router.subscribe(session, parsed('a/b'), options({ qos: 1, id: 9 }))
    router.subscribe(session, parsed('#'), options({ qos: 0 }))
    router.route(message('a/b'))
    expect(offered.map(one => ({ ...one, ids: [...one.ids ?? []].sort() }))).toEqual([{ to: 's', text: 'x', qos: 1, retain: false, ids: [7, 9] }])
  })

  test('never raise the QoS above that of the message', () => {
    const offered: Offered[] = []
    const router = new Router()
    router.subscribe(sessionOf('s', offered), parsed('a'), options())
    for (const qos of [0, 1, 2] as const) router.route(message('a', { qos }))
    expect(offered.map(({ qos }) => qos)).toEqual([0, 1, 2])
  })

  test('No Local counts for each of them, and only for the publisher itself [MQTT-3.8.3-3]', () => {
    const offered: Offered[] = []
    const router = new Router()
    const session = sessionOf('s', offered)
    router.subscribe(session, parsed('a/+'), options({ noLocal: true, id: 1 }))
    router.route(message('a/b', { from: 's', text: 'own' }))
    expect(offered).toEqual([])
    router.subscribe(session, parsed('a/b'), options({ qos: 0, id: 2 }))
    router.route(message('a/b', { from: 's', text: 'own' }))
    router.route(message('a/b', { text: 'other' }))
    expect(offered.map(one => ({ ...one, ids: [...one.ids ?? []].sort() }))).toEqual([
      { to: 's', text: 'own', qos: 0, retain: false, ids: [2] },
      { to: 's', text: 'other', qos: 2, retain: false, ids: [1, 2] }
    ])
  })

  test('RETAIN stays where Retain As Published is asked for, and only on what was retained', () => {
    const offered: Offered[] = []
    const router = new Router()
    router.subscribe(sessionOf('plain', offered), parsed('a'), options())
    router.subscribe(sessionOf('asPublished', offered), parsed('a'), options({ retainAsPublished: true }))
    for (const retain of [true, false]) router.route(message('a', { retain }))
    expect(offered.map(({ to, retain }) => [to, retain])).toEqual([['plain', false], ['asPublished', true], ['plain', false], ['asPublished', false]])
  })
})

test('a topic that is known to have subscribers has none when the last one leaves, and the new one when it comes', () => {
  const offered: Offered[] = []
  const router = new Router()
  const [s, t] = [sessionOf('s', offered), sessionOf('t', offered)]
  router.subscribe(s, parsed('a/+'), options())
  router.route(message('a/b'))
  router.unsubscribe(s, parsed('a/+'))
  router.route(message('a/b'))
  expect([offered.length, router.isWanted('a/b')]).toEqual([1, false])
  router.subscribe(t, parsed('#'), options())
  router.route(message('a/b'))
  expect(offered.map(({ to }) => to)).toEqual(['s', 't'])
})

test('names that mean something to JavaScript are names', () => {
  const offered: Offered[] = []
  const router = new Router()
  const session = sessionOf('__proto__', offered)
  for (const filter of ['__proto__', 'constructor/toString', '$share/__proto__/constructor']) router.subscribe(session, parsed(filter), options())
  for (const topic of ['__proto__', 'constructor/toString', 'constructor', 'toString']) router.route(message(topic, { text: topic }))
  expect(offered.map(({ text }) => text)).toEqual(['__proto__', 'constructor/toString', 'constructor'])
  expect(router.count).toBe(3)
})

const filter = fc.tuple(fc.array(fc.constantFrom('a', 'b', '+', ''), { maxLength: 3 }), fc.boolean())
  .map(([levels, all]) => [...levels, ...(all || levels.length === 0 ? ['#'] : [])].join('/')).filter(text => text.length > 0)
const topic = fc.array(fc.constantFrom('a', 'b', ''), { minLength: 1, maxLength: 3 }).map(levels => levels.join('/')).filter(text => text.length > 0)
const step = fc.oneof(
  fc.record({ kind: fc.constant('subscribe' as const), who: fc.constantFrom('s', 't', 'u'), filter, qos: fc.constantFrom<Qos>(0, 1, 2), id: fc.integer({ min: 0, max: 3 }) }),
  fc.record({ kind: fc.constant('unsubscribe' as const), who: fc.constantFrom('s', 't', 'u'), filter }),
  fc.record({ kind: fc.constant('publish' as const), topic, qos: fc.constantFrom<Qos>(0, 1, 2) })
)

test('whoever comes and goes between messages: each gets exactly what its subscriptions of that moment say', () => {
  fc.assert(fc.property(fc.array(step, { maxLength: 80 }), steps => {
    const offered: Offered[] = []
    const router = new Router()
    const sessions = new Map(['s', 't', 'u'].map(id => [id, sessionOf(id, offered)]))
    const model = new Map<string, Map<string, SubscriptionOptions>>([...sessions.keys()].map(id => [id, new Map<string, SubscriptionOptions>()]))
    for (const one of steps) {
      if (one.kind === 'publish') {
        offered.length = 0
        router.route(message(one.topic, { qos: one.qos }))
        const expected = [...model].flatMap(([to, subscriptions]) => {
          const all = [...subscriptions].filter(([filter]) => matcherOf(filter)(one.topic)).map(([, options]) => options)
          if (all.length === 0) return []
          const ids = all.flatMap(({ id }) => id > 0 ? [id] : []).sort()
          return [{ to, qos: Math.min(one.qos, Math.max(...all.map(({ qos }) => qos))), ids: ids.length > 0 ? ids : null }]
        })
        const got = offered.map(({ to, qos, ids }) => ({ to, qos, ids: ids === null ? null : [...ids].sort() })).sort((a, b) => a.to < b.to ? -1 : 1)
        expect(got).toEqual(expected)
        expect(router.isWanted(one.topic)).toBe(expected.length > 0)
        continue
      }
      const session = sessions.get(one.who) as Session
      const subscriptions = model.get(one.who) as Map<string, SubscriptionOptions>
      if (one.kind === 'subscribe') {
        subscriptions.set(one.filter, options({ qos: one.qos, id: one.id }))
        router.subscribe(session, parsed(one.filter), options({ qos: one.qos, id: one.id }))
      } else {
        subscriptions.delete(one.filter)
        router.unsubscribe(session, parsed(one.filter))
      }
      expect(router.count).toBe([...model.values()].reduce((sum, { size }) => sum + size, 0))
    }
  }), { numRuns: 500 })
})
