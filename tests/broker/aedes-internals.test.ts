// The private names of aedes: they are checked at the start, and the version is the one that they were written against.
import { Aedes } from 'aedes'
import { expect, test } from 'vitest'
import { AEDES_VERSION, checkAedes } from '../../broker/aedes-internals.js'
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
  ['scheduleSessionExpiry', aedes => Object.assign(aedes, { scheduleSessionExpiry: undefined })],
  ['clients', aedes => Object.assign(aedes, { clients: undefined })],
  ['client._nextBatch', aedes => {
    const { handle } = aedes
    aedes.handle = (...args) => Object.assign(handle(...args), { _nextBatch: undefined })
  }]
])('an aedes without %s stops the start and is named', async (name, change) => {
  const aedes = await plainAedes()
  const { clients } = aedes as unknown as { clients: unknown }
  change(aedes)
  expect(() => checkAedes(aedes)).toThrow(expect.objectContaining({ code: 'wrong_aedes', message: expect.stringContaining(name) as string }))
  Object.assign(aedes, { clients })
})
