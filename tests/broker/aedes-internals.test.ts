// The private names of aedes: they are checked at the start, and the version is the one that they were written against.
import { Aedes } from 'aedes'
import { expect, test } from 'vitest'
import { AEDES_VERSION, checkAedes } from '../../broker/aedes-internals.js'
import { limitEmitterDepth } from '../../broker/emitter.js'
import { afterThisTest } from '../support/broker.js'

async function plainAedes (): Promise<Aedes> {
  const aedes = await Aedes.createBroker()
  afterThisTest(() => new Promise<void>(resolve => aedes.close(resolve)))
  return aedes
}

test('the installed aedes is the one that the broker is written against', async () => {
  const aedes = await plainAedes()
  expect((aedes as unknown as { version: string }).version).toBe(AEDES_VERSION)
  expect(() => checkAedes(aedes)).not.toThrow()
})

test.each<[string, (aedes: Aedes) => void]>([
  ['_wipeSession', aedes => Object.assign(aedes, { _wipeSession: undefined })],
  ['mq._matcher.match', aedes => Object.assign(aedes, { mq: { _do () {} } })],
  ['persistence.subscriptionsByTopic', aedes => Object.assign(aedes, { persistence: {} })],
  ['client._nextBatch', aedes => {
    const { handle } = aedes
    aedes.handle = (...args) => Object.assign(handle(...args), { _nextBatch: undefined })
  }]
])('an aedes without %s stops the start and is named', async (name, change) => {
  const aedes = await plainAedes()
  const { mq } = aedes as unknown as { mq: unknown }
  change(aedes)
  expect(() => checkAedes(aedes)).toThrow(expect.objectContaining({ code: 'wrong_aedes', message: expect.stringContaining(name) as string }))
  Object.assign(aedes, { mq })
})

test('thousands of waiting messages that nobody wants any more do not overflow the stack', async () => {
  const aedes = checkAedes(await plainAedes())
  limitEmitterDepth(aedes)
  // A subscriber that keeps its first 100 messages holds up all others, as a frozen client does.
  const held: (() => void)[] = []
  const slow = (_: unknown, done: () => void): void => { held.push(done) }
  await new Promise<void>(resolve => aedes.subscribe('a', slow, resolve))
  let passedOn = 0
  const all = new Promise<void>(resolve => {
    for (let i = 0; i < 20_000; i++) {
      aedes.publish({ cmd: 'publish', topic: 'a', payload: 'x', qos: 0, retain: false, dup: false }, null, () => {
        if (++passedOn === 20_000) resolve()
      })
    }
  })
  await new Promise<void>(resolve => aedes.unsubscribe('a', slow, resolve))
  expect(held).toHaveLength(100)
  for (const done of held) done()
  await all
})
