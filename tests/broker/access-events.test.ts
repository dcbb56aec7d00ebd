// What the broker tells the audit: every log-in, and everything that was asked for by somebody it is not for.
import { expect, test, vi } from 'vitest'
import type { AccessEvent } from '../../shared/access-event.js'
import type { Consumer } from '../../shared/bus.js'
import { startBroker, type TestBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'

async function startTelling (allowAnonymous = false): Promise<{ broker: TestBroker, told: AccessEvent[] }> {
  const told: AccessEvent[] = []
  const broker = await startBroker({ users: [{ name: 'dora', password: 'x' }, { name: 'dirk', password: 'y' }], allowAnonymous, onAccess: event => told.push(event) })
  return { broker, told }
}

const dora = { clientId: 'd1', username: 'dora', password: Buffer.from('x') }
const from = { address: '127.0.0.1' }

test('log-ins, let in or not, without the password that was tried', async () => {
  const { broker, told } = await startTelling(true)
  await RawClient.connected(broker, 4, dora)
  await RawClient.connected(broker, 5, { ...dora, password: Buffer.from('guess') })
  await RawClient.connected(broker, 5, { clientId: 'd2', username: 'not a name', password: Buffer.from('guess') })
  await RawClient.connected(broker, 4, { clientId: 'd3' })
  expect(told).toEqual([
    { type: 'login.accepted', user: 'dora', clientId: 'd1', why: 'password', ...from },
    { type: 'login.refused', user: 'dora', clientId: 'd1', why: 'bad_credentials', ...from },
    { type: 'login.refused', user: null, clientId: 'd2', why: 'bad_credentials', ...from },
    { type: 'login.accepted', user: null, clientId: 'd3', why: 'anonymous', ...from }
  ])
})

test('a publish, a subscription, a will, another\'s client id, and what a service refuses because of who asks', async () => {
  const { broker, told } = await startTelling()
  const refusing: Consumer = { handle: async batch => batch.map((_, i) => ({ type: 'refused', refusal: { code: i === 0 ? 'not_allowed' : 'bad_request', message: 'of no role' } })) }
  await broker.bus.consume('requests/+', refusing)
  const client = await RawClient.connected(broker, 5, dora)
  const publish = { cmd: 'publish', payload: 'secret', qos: 1, dup: false, retain: false } as const
  client.send({ ...publish, topic: 'lots/A/free', messageId: 1 }, { cmd: 'subscribe', messageId: 2, subscriptions: [{ topic: 'replies/dirk/#', qos: 1 }] })
  await client.nextOf('suback')
  client.send({ ...publish, topic: 'requests/lot.close', messageId: 3 })
  await client.nextOf('puback')
  await RawClient.connected(broker, 4, { clientId: 'd2', username: 'dora', password: Buffer.from('x'), will: { topic: 'lots/A/sensor', payload: Buffer.from('secret'), qos: 0, retain: false } })
  await RawClient.connected(broker, 5, { ...dora, username: 'dirk', password: Buffer.from('y') })
  const by = { type: 'access.denied', user: 'dora', clientId: 'd1', ...from }
  await vi.waitFor(() => expect(told.filter(({ type }) => type === 'access.denied')).toEqual([
    { ...by, why: 'publish lots/A/free' },
    { ...by, why: 'subscribe replies/dirk/#' },
    { ...by, why: 'publish requests/lot.close: not_allowed' },
    { ...by, clientId: 'd2', why: 'will lots/A/sensor' },
    { ...by, user: 'dirk', why: 'client id d1' }
  ]))
  expect(JSON.stringify(told)).not.toContain('secret')
})
