// A consumer that does not do all at once: what is handed over again, to whose turn it is.
import { expect, test } from 'vitest'
import { ACCEPTED, LATER } from '../../shared/bus.js'
import { build } from '../support/intake.js'

test('what a consumer does not do at once is handed over again, each sender in turn and each one\'s own in order', async () => {
  const { pushFrom, call, settled, settledCount } = build()
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

test('what is handed back and will come again is forgotten', async () => {
  const { pushFrom, call, intake, settled, settledCount } = build()
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
  const { push, commit, settled, settledCount, logged } = build()
  push('a', 'b')
  await commit(0, outcomes)
  // Each by itself.
  await commit(1)
  await commit(2, [LATER])
  await settledCount(2)
  expect(settled).toMatchObject([['a', ACCEPTED], ['b', { type: 'refused' }]])
  expect(logged).toMatchObject([{ err: { message: expect.stringContaining('did none of 1') as string } }])
})
