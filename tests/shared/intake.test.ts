// Batches, holding, giving up, poison and stopping, with a clock turned by hand. Tickets are the payloads.
import { describe, expect, test } from 'vitest'
import { BatchStart } from '../../shared/batch-start.js'
import { ACCEPTED, type Outcome } from '../../shared/bus.js'
import { UnavailableError } from '../../shared/errors.js'
import { build, text, UNAVAILABLE } from '../support/intake.js'

const unavailable = (): UnavailableError => new UnavailableError('the disk is full', { cause: null })

describe('batches', () => {
  test('what arrives in one turn of the event loop is one batch, in order', async () => {
    const { push, call } = build()
    push('a', 'b', 'c')
    expect((await call(0)).texts).toEqual(['a', 'b', 'c'])
  })

  test('what arrives during a commit is the next batch, and nothing is handed over before the commit ends', async () => {
    const { push, call, calls, intake } = build()
    push('a')
    const first = await call(0)
    push('b')
    await new Promise(resolve => setImmediate(resolve))
    push('c')
    await new Promise(resolve => setImmediate(resolve))
    expect(calls).toHaveLength(1)
    expect(intake.waiting).toBe(2)
    first.commit()
    expect((await call(1)).texts).toEqual(['b', 'c'])
  })

  test.each([
    ['a short one', 4, 0],
    ['one that takes long since the disk is slow, and its senders 3 ms', 40, 3]
  ])('senders that were just answered come into the next batch together with those who wait: %s', async (_, batchMs, backAfterMs) => {
    const { push, call } = build({}, new BatchStart(() => backAfterMs > 0))
    const turn = async (): Promise<void> => await new Promise(resolve => setImmediate(resolve))
    const last = async (ms: number): Promise<void> => { for (const startedMs = performance.now(); performance.now() - startedMs < ms;) await turn() }
    push('a', 'b', 'c')
    await call(0)
    push('d', 'e', 'f')
    const sizes: number[] = []
    // On a busy machine they may come back later than anybody is waited for: once is enough.
    for (let number = 0; number < 50 && !sizes.includes(6); number++) {
      const one = await call(number)
      sizes.push(one.texts.length)
      await last(batchMs)
      one.commit()
      for (let turns = 0; turns < 3; turns++) await turn()
      await last(backAfterMs)
      push(...one.texts)
    }
    expect(sizes).toContain(6)
  })

  test('nobody is waited for who would not fit into the next batch', async () => {
    const { push, call, calls } = build({ maxBatch: 4 }, new BatchStart(() => true))
    const turn = async (): Promise<void> => await new Promise(resolve => setImmediate(resolve))
    push('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h')
    const one = await call(0)
    for (const startedMs = performance.now(); performance.now() - startedMs < 50;) await turn()
    one.commit()
    // Those of 10 ms would be hundreds.
    for (let turns = 0; turns < 5 && calls.length < 2; turns++) await turn()
    expect(calls[1]?.texts).toEqual(['e', 'f', 'g', 'h'])
  })

  test('a batch has at most maxBatch deliveries', async () => {
    const { push, call } = build({ maxBatch: 2 })
    push('a', 'b', 'c', 'd', 'e')
    for (const [number, texts] of [['a', 'b'], ['c', 'd'], ['e']].entries()) {
      const one = await call(number)
      expect(one.texts).toEqual(texts)
      one.commit()
    }
  })

  test('a batch that can still take messages in is committed with those that came meanwhile, no more than maxBatch', async () => {
    const { push, call, settled, settledCount, intake } = build({ maxBatch: 3 })
    push('a')
    const first = await call(0)
    expect(first.more()).toEqual(['a'])
    push('b')
    expect(first.more()).toEqual(['a', 'b'])
    push('c', 'd')
    expect(first.more()).toEqual(['a', 'b', 'c'])
    expect(intake.waiting).toBe(1)
    first.commit()
    const second = await call(1)
    expect(second.texts).toEqual(['d'])
    second.commit()
    await settledCount(4)
    expect(settled).toEqual(['a', 'b', 'c', 'd'].map(ticket => [ticket, ACCEPTED]))
  })

  test('each delivery is settled once, with its own outcome, after the commit', async () => {
    const { push, call, settled, settledCount } = build()
    const refused: Outcome = { type: 'refused', refusal: { code: 'bad_message', message: 'no' } }
    push('a', 'b')
    const first = await call(0)
    expect(settled).toEqual([])
    first.commit([refused, ACCEPTED])
    await settledCount(2)
    expect(settled).toEqual([['a', refused], ['b', ACCEPTED]])
  })
})

describe('one by one', () => {
  test('each is handed over as it comes, and settled by itself', async () => {
    const { push, call, settled, settledCount, intake } = build({ atOnce: true })
    push('a', 'b')
    const [a, b] = [await call(0), await call(1)]
    expect([a.texts, b.texts]).toEqual([['a'], ['b']])
    expect(intake.waiting).toBe(2)
    b.commit()
    await settledCount(1)
    expect(settled).toEqual([['b', ACCEPTED]])
    expect(intake.waiting).toBe(1)
    a.commit()
    await settledCount(2)
  })

  test('each is held and given up by itself while the ledger is unavailable', async () => {
    const { push, call, fail, clock, settled, settledCount } = build({ atOnce: true, holdMs: 150 })
    push('a', 'b')
    await fail(0, unavailable())
    ;(await call(1)).commit()
    await settledCount(1)
    await clock.armed()
    clock.advance(100)
    await fail(2, unavailable())
    await clock.armed()
    clock.advance(100)
    await fail(3, unavailable())
    await settledCount(2)
    expect(settled).toEqual([['b', ACCEPTED], ['a', UNAVAILABLE]])
  })

  test('stopping waits for all of them, and a held one does not delay it', async () => {
    const { push, call, fail, clock, settled, intake } = build({ atOnce: true })
    push('a', 'b')
    await fail(0, unavailable())
    await clock.armed()
    const stopped = intake.stop()
    await fail(2, unavailable())
    ;(await call(1)).commit()
    await stopped
    expect(settled).toEqual(expect.arrayContaining([['a', UNAVAILABLE], ['b', ACCEPTED]]))
  })
})

describe('an unavailable ledger', () => {
  test('is tried again every 100 ms with the same batch; what arrives meanwhile waits', async () => {
    const { push, fail, call, clock, settled, settledCount, counter, logged } = build()
    push('a', 'b')
    for (const number of [0, 1, 2]) {
      await fail(number, unavailable())
      push(`later ${number}`)
      await clock.armed()
      clock.advance(100)
    }
    const again = await call(3)
    expect(again.texts).toEqual(['a', 'b'])
    expect(settled).toEqual([])
    again.commit()
    await settledCount(2)
    expect((await call(4)).texts).toEqual(['later 0', 'later 1', 'later 2'])
    expect(await counter('held')).toBe(6)
    expect(logged.map(({ msg }) => msg)).toEqual([
      'the ledger is unavailable, messages are held unacknowledged for at most 5000 ms', 'the ledger is available again'
    ])
  })

  test('is tried again with what had come into the batch', async () => {
    const { push, call, clock, settled, settledCount } = build()
    push('a')
    const first = await call(0)
    push('b')
    expect(first.more()).toEqual(['a', 'b'])
    first.fail(unavailable())
    push('c')
    await clock.armed()
    clock.advance(100)
    const again = await call(1)
    expect(again.texts).toEqual(['a', 'b'])
    expect(again.more()).toEqual(['a', 'b', 'c'])
    again.commit()
    await settledCount(3)
    expect(settled).toEqual(['a', 'b', 'c'].map(ticket => [ticket, ACCEPTED]))
  })

  test('is given up when holdMs are over: told to the consumer first, then settled as unavailable', async () => {
    const order: string[] = []
    const { push, fail, clock, settled, settledCount, counter } = build({
      holdMs: 250,
      abandon: async batch => { order.push(...batch.map(text), `settled: ${settled.length}`) }
    })
    push('a', 'b')
    for (const number of [0, 1, 2]) {
      await fail(number, unavailable())
      await clock.armed()
      clock.advance(100)
    }
    await fail(3, unavailable())
    await settledCount(2)
    expect(order).toEqual(['a', 'b', 'settled: 0'])
    expect(settled).toEqual([['a', UNAVAILABLE], ['b', UNAVAILABLE]])
    expect(await counter('abandoned')).toBe(2)
  })

  test('holds none for longer, whenever it came, and goes on holding those that came later', async () => {
    const { push, fail, call, clock, settled, settledCount } = build({ holdMs: 200 })
    push('a')
    await fail(0, unavailable())
    push('b')
    await clock.armed()
    clock.advance(100)
    push('c')
    await fail(1, unavailable())
    await clock.armed()
    clock.advance(100)
    await fail(2, unavailable())
    await settledCount(1)
    // Whoever came when it was unavailable already was not held from when it was tried.
    await fail(3, unavailable())
    await settledCount(2)
    expect(settled).toEqual([['a', UNAVAILABLE], ['b', UNAVAILABLE]])
    await clock.armed()
    clock.advance(100)
    const fifth = await call(4)
    expect(fifth.texts).toEqual(['c'])
    fifth.commit()
    await settledCount(3)
    expect(settled.at(-1)).toEqual(['c', ACCEPTED])
  })

  test('holds for as long what had waited for another reason before', async () => {
    const { push, call, fail, clock, settled, settledCount } = build({ holdMs: 200 })
    push('a')
    const first = await call(0)
    push('b')
    clock.advance(1_000)
    first.commit()
    await fail(1, unavailable())
    await clock.armed()
    clock.advance(100)
    ;(await call(2)).commit()
    await settledCount(2)
    expect(settled).toEqual([['a', ACCEPTED], ['b', ACCEPTED]])
  })

  test('does not wait longer than 1 s for the consumer to tell the requesters', async () => {
    const { push, fail, clock, settledCount, settled } = build({ holdMs: 0, abandon: async () => await new Promise(() => {}) })
    push('a')
    await fail(0, unavailable())
    await clock.armed()
    clock.advance(999)
    await new Promise(resolve => setImmediate(resolve))
    expect(settled).toEqual([])
    clock.advance(1)
    await settledCount(1)
    expect(settled).toEqual([['a', UNAVAILABLE]])
  })

  test('survives a consumer that fails while it tells the requesters', async () => {
    const { push, fail, settledCount, logged, clock } = build({ holdMs: 0, abandon: async () => { throw new Error('no connection') } })
    push('a')
    await fail(0, unavailable())
    await settledCount(1)
    expect(logged.at(-1)).toMatchObject({ msg: 'telling the requesters failed' })
    expect(clock.waiting).toBe(0)
  })
})

describe('a batch that fails for another reason', () => {
  test('is tried message by message, and only the one that fails again is dropped', async () => {
    const { push, call, settled, settledCount, counter, logged } = build()
    push('a', 'poison', 'c')
    for (const number of [0, 1, 2, 3]) {
      const { texts, commit, fail } = await call(number)
      if (texts.includes('poison')) fail(new Error('cannot divide by a plate'))
      else commit()
    }
    await settledCount(3)
    const dropped = { type: 'refused', refusal: { code: 'internal', message: 'the message could not be handled: cannot divide by a plate' } }
    expect(settled).toEqual([['a', ACCEPTED], ['poison', dropped], ['c', ACCEPTED]])
    expect(await counter('poison')).toBe(1)
    expect(logged).toMatchObject([{ level: 50, topic: 'lots/LOT-A/sensor', msg: 'a message could not be handled; it is acknowledged and dropped' }])
  })

  test('is tried message by message with what had come into the batch, and each stays by itself', async () => {
    const { push, call, fail, settled, settledCount } = build()
    push('a')
    const first = await call(0)
    push('poison')
    first.more()
    first.fail(new Error('cannot divide by a plate'))
    push('later')
    const alone = await call(1)
    expect([alone.texts, alone.more()]).toEqual([['a'], ['a']])
    alone.commit()
    await fail(2, new Error('cannot divide by a plate'))
    ;(await call(3)).commit()
    await settledCount(3)
    expect(settled).toMatchObject([['a', ACCEPTED], ['poison', { type: 'refused' }], ['later', ACCEPTED]])
  })

  test('is tried once more also when it is a single message', async () => {
    const { push, fail, commit, settled, settledCount, counter } = build()
    push('a')
    await fail(0, new Error('once'))
    await commit(1)
    await settledCount(1)
    expect(settled).toEqual([['a', ACCEPTED]])
    expect(await counter('poison')).toBe(0)
  })

  test('with the ledger away in between, holds the message that met it', async () => {
    const { push, commit, fail, call, clock, settled, settledCount } = build()
    push('a', 'b')
    await fail(0, new Error('bug'))
    await fail(1, unavailable())
    await clock.armed()
    clock.advance(100)
    const again = await call(2)
    expect(again.texts).toEqual(['a'])
    again.commit()
    await commit(3)
    await settledCount(2)
    expect(settled).toEqual([['a', ACCEPTED], ['b', ACCEPTED]])
  })

  test('because the consumer returned too few outcomes, is not settled by guess', async () => {
    const { push, commit, settled, settledCount } = build()
    push('a', 'b')
    await commit(0, [ACCEPTED])
    await commit(1)
    await commit(2, [])
    await settledCount(2)
    expect(settled[0]).toEqual(['a', ACCEPTED])
    expect(settled[1]).toMatchObject(['b', { type: 'refused', refusal: { code: 'internal', message: expect.stringContaining('0 outcomes for 1') as string } }])
  })
})

describe('stop', () => {
  test('waits until what has arrived is settled, and refuses what comes later', async () => {
    const { push, call, intake, settled } = build({ maxBatch: 1 })
    push('a', 'b')
    const first = await call(0)
    let stopped = false
    const stop = intake.stop().then(() => { stopped = true })
    push('late')
    expect(settled).toEqual([['late', UNAVAILABLE]])
    first.commit()
    const second = await call(1)
    expect(stopped).toBe(false)
    second.commit()
    await stop
    expect(settled).toEqual([['late', UNAVAILABLE], ['a', ACCEPTED], ['b', ACCEPTED]])
  })

  test('does not hold on to a batch that waits for the ledger', async () => {
    const { push, fail, intake, clock, settled } = build()
    push('a')
    await fail(0, unavailable())
    await clock.armed()
    const stop = intake.stop()
    await fail(1, unavailable())
    await stop
    expect(settled).toEqual([['a', UNAVAILABLE]])
    expect(clock.waiting).toBe(0)
  })

  test('is done at once when nothing is there', async () => {
    const { intake } = build()
    await intake.stop()
    expect(intake.waiting).toBe(0)
  })
})

test('discard forgets what waits and fits, unsettled and in order, and never what is being handled', async () => {
  const { push, call, intake, settled, settledCount } = build()
  push('old 1')
  const first = await call(0)
  push('old 2', 'new 1', 'old 3', 'new 2')
  intake.discard(ticket => ticket.startsWith('old'))
  expect(intake.waiting).toBe(2)
  first.commit()
  const second = await call(1)
  expect(second.texts).toEqual(['new 1', 'new 2'])
  second.commit()
  await settledCount(3)
  expect(settled.map(([ticket]) => ticket)).toEqual(['old 1', 'new 1', 'new 2'])
})
