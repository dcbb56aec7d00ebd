// A consumer that does not do all at once: what is handed over again, to whose turn it is.
import { expect, onTestFinished, test, vi } from 'vitest'
import { ACCEPTED, LATER } from '../../shared/bus.js'
import { UnavailableError } from '../../shared/errors.js'
import { build, text, UNAVAILABLE } from '../support/intake.js'

test('what a consumer does not do at once is handed over again, each sender in turn and each one\'s own in order', async () => {
  const { pushFrom, call, settled, settledCount } = build({ takesTurns: true })
  pushFrom('a1', 'a2', 'a3', 'a4', 'b1')
  const first = await call(0)
  expect(first.texts).toEqual(['a1', 'a2', 'a3', 'a4', 'b1'])
  pushFrom('c1', 'a5', 'b2')
  first.commit([ACCEPTED, LATER, LATER, LATER, LATER])
  await settledCount(1)
  // Few at once now: what was read for the others was read in vain.
  const second = await call(1)
  expect(second.texts).toEqual(['a2', 'b1'])
  second.commit([ACCEPTED, LATER])
  const third = await call(2)
  expect(third.texts).toEqual(['b1', 'c1'])
  third.commit()
  const fourth = await call(3)
  expect(fourth.texts).toEqual(['a3', 'b2', 'a4', 'a5'])
  fourth.commit()
  await settledCount(8)
  expect(settled.map(([one]) => one)).toEqual(['a1', 'a2', 'b1', 'c1', 'a3', 'b2', 'a4', 'a5'])
})

test('where more waits than fits into a batch, each sender has his turn', async () => {
  const { pushFrom, call, settled, settledCount } = build({ takesTurns: true, maxBatch: 3 })
  pushFrom('a1')
  const first = await call(0)
  pushFrom('a2', 'a3', 'a4', 'b1')
  first.commit()
  const second = await call(1)
  expect(second.texts).toEqual(['a2', 'b1', 'a3'])
  pushFrom('c1', 'b2')
  second.commit()
  const third = await call(2)
  expect(third.texts).toEqual(['a4', 'c1', 'b2'])
  third.commit()
  await settledCount(7)
  expect(settled.map(([, settlement]) => settlement)).toEqual(new Array(7).fill(ACCEPTED))
})

test('whoever sent it, what a consumer takes in its order comes in its order, also where more waits than fits and when it cannot be written', async () => {
  const { pushFrom, call, fail, clock, settled, settledCount } = build({ maxBatch: 3, holdMs: 200 })
  pushFrom('a1')
  const first = await call(0)
  pushFrom('a2', 'a3', 'a4', 'b1')
  first.commit()
  const second = await call(1)
  expect(second.texts).toEqual(['a2', 'a3', 'a4'])
  second.fail(new UnavailableError('the disk is full', { cause: null }))
  await clock.armed()
  clock.advance(100)
  pushFrom('c1', 'a5')
  await fail(2, new UnavailableError('the disk is full', { cause: null }))
  await clock.armed()
  clock.advance(100)
  await fail(3, new UnavailableError('the disk is full', { cause: null }))
  await settledCount(4)
  // b1 has waited for as long; those behind it have not, and keep their places.
  await fail(4, new UnavailableError('the disk is full', { cause: null }))
  await settledCount(5)
  await clock.armed()
  clock.advance(100)
  const last = await call(5)
  expect(last.texts).toEqual(['c1', 'a5'])
  last.commit()
  await settledCount(7)
  expect(settled.map(([one]) => one)).toEqual(['a1', 'a2', 'a3', 'a4', 'b1', 'c1', 'a5'])
})

test('after that, when the ledger cannot be written, all are told as soon as anybody', async () => {
  const told: string[] = []
  const { pushFrom, call, fail, clock, settled, settledCount } = build({ takesTurns: true, maxBatch: 10, holdMs: 100, abandon: async batch => { told.push(...batch.map(text)) } })
  const many = Array.from({ length: 8 }, (_, n) => `${'bcdefghi'[n]}1`)
  pushFrom('a1', 'a2')
  const first = await call(0)
  pushFrom(...many)
  first.commit([ACCEPTED, LATER])
  const second = await call(1)
  expect(second.texts).toHaveLength(2)
  second.fail(new UnavailableError('the disk is full', { cause: null }))
  await clock.armed()
  clock.advance(100)
  await fail(2, new UnavailableError('the disk is full', { cause: null }))
  await settledCount(3)
  // As many as fit, and without another wait.
  const third = await call(3)
  expect(third.texts).toHaveLength(7)
  third.fail(new UnavailableError('the disk is full', { cause: null }))
  await settledCount(10)
  expect(told.sort()).toEqual(['a2', ...many])
  expect(settled.slice(1).map(([, settlement]) => settlement)).toEqual(new Array(9).fill(UNAVAILABLE))
})

test('what is left when the intake stops is done', async () => {
  const { pushFrom, call, intake, settled } = build({ takesTurns: true })
  pushFrom('a1', 'a2', 'b1')
  const first = await call(0)
  const stopped = intake.stop()
  first.commit([ACCEPTED, LATER, LATER])
  ;(await call(1)).commit()
  await stopped
  expect(settled).toEqual(['a1', 'a2', 'b1'].map(ticket => [ticket, ACCEPTED]))
})

test('what is handed back and will come again is forgotten', async () => {
  const { pushFrom, call, intake, settled, settledCount } = build({ takesTurns: true })
  pushFrom('a1', 'a2', 'b1')
  const first = await call(0)
  intake.discard(ticket => ticket.startsWith('a'))
  first.commit([ACCEPTED, LATER, LATER])
  const second = await call(1)
  expect(second.texts).toEqual(['b1'])
  second.commit()
  await settledCount(2)
  expect(settled.map(([one]) => one)).toEqual(['a1', 'b1'])
  pushFrom('a2')
  expect((await call(2)).texts).toEqual(['a2'])
})

test.each([
  ['does none', [LATER, LATER]],
  ['does one before another of the same sender', [LATER, ACCEPTED]]
])('a consumer that %s has a fault', async (_, outcomes) => {
  const { push, commit, settled, settledCount, logged } = build({ takesTurns: true })
  push('a', 'b')
  await commit(0, outcomes)
  // Each by itself.
  await commit(1)
  await commit(2, [LATER])
  await settledCount(2)
  expect(settled).toMatchObject([['a', ACCEPTED], ['b', { type: 'refused' }]])
  expect(logged).toMatchObject([{ err: { message: expect.stringContaining('did none of 1') as string } }])
})

test('those who are gone have one turn together', async () => {
  const { pushFrom, pushGone, call, settled, settledCount } = build({ takesTurns: true, maxBatch: 4 })
  pushFrom('z1')
  const first = await call(0)
  pushGone('a1', 'b1', 'c1', 'a2', 'b2')
  pushFrom('n1', 'm1', 'n2')
  first.commit()
  const second = await call(1)
  expect(second.texts).toEqual(['a1', 'n1', 'm1', 'n2'])
  second.commit()
  const third = await call(2)
  // Nobody else waits.
  expect(third.texts).toEqual(['a2', 'b1', 'c1', 'b2'])
  third.commit()
  await settledCount(9)
  expect(settled).toHaveLength(9)
})

test('what changes nothing goes well while nothing can be written, and makes nobody wait longer', async () => {
  const { pushFrom, call, fail, clock, settled, settledCount, logged } = build({ takesTurns: true, maxBatch: 1, holdMs: 200, waitsForCommit: ({ clientId }) => clientId === 'w' })
  pushFrom('w1')
  await fail(0, new UnavailableError('the disk is full', { cause: null }))
  pushFrom('r1', 'w2')
  for (const number of [1, 2]) {
    await clock.armed()
    clock.advance(100)
    await fail(number, new UnavailableError('the disk is full', { cause: null }))
  }
  await settledCount(1)
  const read = await call(3)
  expect(read.texts).toEqual(['r1'])
  read.commit()
  // It has been held for as long already.
  await fail(4, new UnavailableError('the disk is full', { cause: null }))
  await settledCount(3)
  expect(settled).toEqual([['w1', UNAVAILABLE], ['r1', ACCEPTED], ['w2', UNAVAILABLE]])
  expect(logged.map(({ level }) => level)).toEqual([50, 50])
})

test('where nobody changes anything, an outage is over when nothing has failed for a while, and the next one is told of', async () => {
  const { pushFrom, call, fail, clock, settledCount, logged } = build({ holdMs: 200, waitsForCommit: ({ clientId }) => clientId === 'w' })
  const disk = new UnavailableError('the disk is full', { cause: null })
  pushFrom('r1')
  await fail(0, disk)
  await clock.armed()
  clock.advance(100)
  ;(await call(1)).commit()
  await settledCount(1)
  clock.advance(100)
  pushFrom('r2')
  ;(await call(2)).commit()
  await settledCount(2)
  pushFrom('r3')
  await fail(3, disk)
  await clock.armed()
  expect(logged.map(({ msg }) => msg)).toEqual([
    'the ledger is unavailable, messages are held unacknowledged for at most 200 ms', 'the ledger is available again',
    'the ledger is unavailable, messages are held unacknowledged for at most 200 ms'
  ])
})

test('who came later is not given up with those who came first, whosever turn it is', async () => {
  const { pushFrom, call, clock, settled, settledCount } = build({ takesTurns: true, maxBatch: 3, holdMs: 200 })
  const disk = new UnavailableError('the disk is full', { cause: null })
  pushFrom('a1')
  const first = await call(0)
  pushFrom('a2', 'a3', 'a4', 'a5')
  first.fail(disk)
  for (const number of [1, 2]) {
    await clock.armed()
    clock.advance(100)
    if (number === 1) pushFrom('b1')
    ;(await call(number)).fail(disk)
  }
  await settledCount(1)
  const others = await call(3)
  expect(others.texts).toEqual(['a2', 'a3', 'b1'])
  others.fail(disk)
  await settledCount(3)
  expect(settled.map(([one]) => one)).toEqual(['a1', 'a2', 'a3'])
})

test('what a stop cannot wait for is left unacknowledged', async () => {
  const now = vi.spyOn(performance, 'now')
  onTestFinished(() => { now.mockRestore() })
  const { pushFrom, call, intake, settled } = build({ takesTurns: true })
  pushFrom('a1', 'a2', 'a3')
  const first = await call(0)
  const stopped = intake.stop()
  now.mockReturnValue(performance.now() + 10_000)
  first.commit([ACCEPTED, LATER, LATER])
  await stopped
  expect(settled).toEqual([['a1', ACCEPTED], ['a2', UNAVAILABLE], ['a3', UNAVAILABLE]])
})
