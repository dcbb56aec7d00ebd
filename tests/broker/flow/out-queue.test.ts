// The queue behind a window, against a plain model: what waits, what goes first when there is too much, and that its
// limits hold whatever comes.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Message } from '../../../broker/message.js'
import { Entry, OutQueue, type QueueLimits } from '../../../broker/out-queue.js'
import type { Policy } from '../../../broker/policy.js'
import { upTo } from './stream-client.js'

type Waiting = 1 | 2

function queueOf ({ messages = 5, bytes = 1_000_000, totalBytes = 10_000_000 } = {}): { queue: OutQueue, limits: QueueLimits } {
  const limits = { messages, bytes, total: { bytes: 0, limit: totalBytes } }
  return { queue: new OutQueue(limits), limits }
}

function entry (name: string, policy: Policy = 'drop-oldest', { topic = 't', bytes = 0, qos = 1, retain = false }: { topic?: string, bytes?: number, qos?: Waiting, retain?: boolean } = {}): Entry {
  const payload = Buffer.alloc(Math.max(bytes, name.length))
  payload.write(name)
  return new Entry(new Message({ topic, payload, qos: 2, retain: false, from: 'c', policy }), qos, retain, null, null)
}

const nameOf = ({ message }: Entry): string => message.payload.toString().replaceAll('\0', '')
const names = (entries: readonly Entry[]): string[] => entries.map(nameOf)

function drain (queue: OutQueue): string[] {
  const out: string[] = []
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) out.push(nameOf(next))
  return out
}

describe('drop-oldest', () => {
  test('keeps the newest in their order and says which went', () => {
    const { queue } = queueOf({ messages: 3 })
    const dropped = ['a', 'b', 'c', 'd', 'e'].flatMap(name => names(queue.put(entry(name)).dropped))
    expect(dropped).toEqual(['a', 'b'])
    expect(queue.length).toBe(3)
    expect(drain(queue)).toEqual(['c', 'd', 'e'])
  })

  test('what goes is marked, so that nobody sends it', () => {
    const { queue } = queueOf({ messages: 1 })
    const first = entry('a')
    queue.put(first)
    queue.put(entry('b'))
    expect(first.gone).toBe(true)
  })

  test('a message larger than the whole queue is dropped itself and nothing stays counted', () => {
    const { queue, limits } = queueOf({ bytes: 10_000 })
    queue.put(entry('a', 'drop-oldest', { bytes: 4_000 }))
    const { dropped, overflow } = queue.put(entry('b', 'drop-oldest', { bytes: 20_000 }))
    expect([names(dropped), overflow, queue.length, limits.total.bytes]).toEqual([['a', 'b'], false, 0, 0])
  })
})

describe('conflate', () => {
  test('only the newest of a topic waits, in the place of the first', () => {
    const { queue } = queueOf()
    queue.put(entry('a1', 'conflate', { topic: 'a' }))
    queue.put(entry('b1', 'conflate', { topic: 'b' }))
    expect(names([queue.put(entry('a2', 'conflate', { topic: 'a' })).conflated].flatMap(one => one ?? []))).toEqual(['a2'])
    expect(drain(queue)).toEqual(['a2', 'b1'])
  })

  test('does not count as history: 1,000 topics wait behind a full queue of three', () => {
    const { queue } = queueOf({ messages: 3 })
    for (const i of upTo(3)) queue.put(entry(`h${i}`))
    const dropped = upTo(1_000).flatMap(i => queue.put(entry(`s${i}`, 'conflate', { topic: `s/${i}` })).dropped)
    expect([dropped, queue.length]).toEqual([[], 1_003])
  })

  test('a message that has left is not replaced: the next one waits for itself', () => {
    const { queue } = queueOf()
    queue.put(entry('a1', 'conflate'))
    queue.shift()
    expect(queue.put(entry('a2', 'conflate')).conflated).toBe(null)
    expect(drain(queue)).toEqual(['a2'])
  })

  test('another QoS or RETAIN is another promise', () => {
    const { queue } = queueOf()
    for (const options of [{ qos: 1 }, { qos: 2 }, { retain: true }] as const) expect(queue.put(entry('x', 'conflate', options)).conflated).toBe(null)
    expect(drain(queue)).toHaveLength(3)
  })

  test('larger messages in the place of smaller ones keep to the limit in bytes', () => {
    const { queue, limits } = queueOf({ bytes: 100_000 })
    for (const i of upTo(50)) queue.put(entry('small', 'conflate', { topic: `s/${i}` }))
    for (const i of upTo(50)) queue.put(entry('large', 'conflate', { topic: `s/${i}`, bytes: 40_000 }))
    expect(limits.total.bytes).toBeLessThanOrEqual(100_000)
  })

  test('states that come with another QoS do not end a client that keeps few topics', () => {
    const { queue } = queueOf({ messages: 10 })
    for (const i of upTo(30)) queue.put(entry('old', 'conflate', { topic: `s/${i}` }))
    for (const i of upTo(11)) queue.put(entry(`h${i}`))
    const puts = upTo(30).map(i => queue.put(entry('new', 'conflate', { topic: `s/${i}`, qos: 2 })))
    expect(puts.some(({ overflow }) => overflow)).toBe(false)
    expect(drain(queue).filter(name => name === 'new')).toHaveLength(30)
  })
})

describe('never', () => {
  test('overflows when only such messages are left, and loses none', () => {
    const { queue } = queueOf({ messages: 3 })
    queue.put(entry('h'))
    const puts = ['a', 'b', 'c', 'd'].map(name => queue.put(entry(name, 'never')))
    expect(puts.map(({ dropped }) => names(dropped))).toEqual([[], [], ['h'], []])
    expect(puts.map(({ overflow }) => overflow)).toEqual([false, false, false, true])
    expect(drain(queue)).toEqual(['a', 'b', 'c', 'd'])
  })

  test('too many of them cost no state its newest message, which would make no room for them', () => {
    const { queue } = queueOf({ messages: 3 })
    queue.put(entry('state', 'conflate'))
    for (const name of ['a', 'b', 'c', 'd']) queue.put(entry(name, 'never'))
    expect(drain(queue)).toContain('state')
  })
})

describe('bytes', () => {
  test('history goes first, then states', () => {
    const { queue } = queueOf({ bytes: 10_000, messages: 100 })
    queue.put(entry('state', 'conflate', { bytes: 3_000 }))
    queue.put(entry('h1', 'drop-oldest', { bytes: 3_000 }))
    expect(names(queue.put(entry('h2', 'drop-oldest', { bytes: 5_000 })).dropped)).toEqual(['h1'])
    expect(names(queue.put(entry('n', 'never', { bytes: 9_000 })).dropped)).toEqual(['h2', 'state'])
  })

  test('what many queues hold together has a limit of its own', () => {
    const total = { bytes: 0, limit: 10_000 }
    const queues = upTo(20).map(() => new OutQueue({ messages: 100, bytes: 5_000, total }))
    for (const round of upTo(5)) for (const queue of queues) queue.put(entry(`m${round}`, 'drop-oldest', { bytes: 800 }))
    expect(total.bytes).toBeLessThanOrEqual(10_000)
    expect(total.bytes).toBeGreaterThan(5_000)
  })

  test('long user properties are bytes as well', () => {
    const { queue, limits } = queueOf({ bytes: 100_000, messages: 1_000 })
    for (let i = 0; i < 20; i++) {
      const message = new Message({ topic: 't', payload: Buffer.alloc(1), qos: 1, retain: false, from: 'c', properties: { userProperties: [['k', 'v'.repeat(50_000)]] } })
      queue.put(new Entry(message, 1, false, null, null))
    }
    expect(queue.length).toBeLessThanOrEqual(2)
    expect(limits.total.bytes).toBeGreaterThan(50_000)
  })
})

/** What is done to a queue: put by policy, topic and size; take the next; take those of a topic; empty it. */
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('put' as const), policy: fc.constantFrom<Policy>('conflate', 'drop-oldest', 'never'), topic: fc.constantFrom('a', 'b', 'c'), bytes: fc.integer({ min: 0, max: 900 }), qos: fc.constantFrom<Waiting>(1, 2) }) },
  { weight: 4, arbitrary: fc.constant({ kind: 'shift' as const }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('take' as const), topic: fc.constantFrom('a', 'b', 'c') }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'clear' as const }) }
)

test('whatever is done: nothing is lost unsaid, order holds, never stays, and the bytes are those of what waits', () => {
  fc.assert(fc.property(fc.array(step, { maxLength: 200 }), fc.integer({ min: 1, max: 12 }), (steps, messages) => {
    const { queue, limits } = queueOf({ messages, bytes: 6_000 })
    const model: Entry[] = []
    const leave = (gone: Entry): void => {
      expect(model).toContain(gone)
      model.splice(model.indexOf(gone), 1)
    }
    for (const one of steps) {
      if (one.kind === 'put') {
        const put = entry('x', one.policy, { topic: one.topic, bytes: one.bytes, qos: one.qos })
        const { dropped, conflated, overflow } = queue.put(put)
        if (conflated === null) model.push(put)
        else expect([model.includes(conflated), conflated.message]).toEqual([true, put.message])
        for (const gone of dropped) {
          expect(gone.message.policy).not.toBe('never')
          leave(gone)
        }
        const isOver = limits.total.bytes > 6_000
        if (!overflow) expect(isOver).toBe(false)
        if (isOver) expect(model.every(({ message }) => message.policy === 'never')).toBe(true)
      } else if (one.kind === 'shift') {
        expect(queue.peek()).toBe(model[0])
        expect(queue.shift()).toBe(model.shift())
      } else {
        const wanted = (waiting: Entry): boolean => one.kind === 'clear' || waiting.message.topic === one.topic
        const taken = one.kind === 'clear' ? queue.clear() : queue.take(wanted)
        expect(taken).toEqual(model.filter(wanted))
        for (const gone of taken) leave(gone)
      }
      expect(queue.length).toBe(model.length)
      expect(limits.total.bytes).toBe(model.reduce((sum, { message }) => sum + message.size, 0))
    }
  }), { numRuns: 500 })
})

test('a long life costs no more than a short one: places are given back', () => {
  const { queue } = queueOf({ messages: 10 })
  for (const i of upTo(50_000)) {
    queue.put(entry(`m${i}`))
    if (i % 2 === 1) queue.shift()
  }
  expect(queue.length).toBe(10)
  expect(drain(queue).at(-1)).toBe('m50000')
})
