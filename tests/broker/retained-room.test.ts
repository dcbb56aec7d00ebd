// Retained messages of clients that were stored while more of them were allowed than now: acknowledged as they were, they
// are all kept, the operator is told once, and nothing more is taken until there is room.
import { describe, expect, test } from 'vitest'
import { publish, publishesIn, subscribe } from '../conformance/v5-wire.js'
import { startBroker, temporaryFolder, type TestBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'
import { ENDS } from '../support/stored-sessions.js'

async function retain (client: RawClient, topic: string, payload: string): Promise<number | undefined> {
  client.send(publish(topic, payload, { qos: 1, messageId: 1, retain: true }))
  return (await client.nextOf('puback')).reasonCode
}

async function retainedIn (broker: TestBroker): Promise<number> {
  const client = await RawClient.connected(broker)
  await subscribe(client, 'kept/#')
  await client.flushed()
  return publishesIn(client).length
}

const told = (broker: TestBroker): readonly unknown[] => broker.logged.filter(({ msg }) => String(msg).startsWith('more retained messages'))

describe.each(Object.entries(ENDS))('after %s', (_, end) => {
  test.each([
    ['fewer messages', { retainedMessages: 3 }],
    ['fewer bytes', { retainedBytes: 500 }]
  ])('and with %s allowed', async (_, limits) => {
    const data = temporaryFolder()
    const first = await startBroker({ data })
    const before = await RawClient.connected(first)
    for (let i = 1; i <= 10; i++) expect(await retain(before, `kept/${i}`, 'x'.repeat(100))).toBeLessThan(0x80)

    const broker = await startBroker({ data: await end(first, data), limits })
    expect(told(broker)).toMatchObject([{ level: 40, messages: 10 }])
    expect(await retainedIn(broker)).toBe(10)
    const client = await RawClient.connected(broker)
    expect(await retain(client, 'kept/more', 'x')).toBe(0x97)
    // The present still takes the place of the past.
    expect(await retain(client, 'kept/1', 'y'.repeat(100))).toBeLessThan(0x80)
    for (let i = 1; i <= 10; i++) expect(await retain(client, `kept/${i}`, '')).toBeLessThan(0x80)
    expect(await retain(client, 'kept/more', 'x')).toBeLessThan(0x80)
    expect(await retainedIn(broker)).toBe(1)
    expect(told(broker)).toHaveLength(1)
  })
})

test('nothing is told where there is room', async () => {
  const data = temporaryFolder()
  const first = await startBroker({ data })
  expect(await retain(await RawClient.connected(first), 'kept/1', 'x')).toBeLessThan(0x80)
  await first.close()
  const broker = await startBroker({ data, limits: { retainedMessages: 1 } })
  expect(told(broker)).toEqual([])
})
