// Back-pressure of one connection, over a stream in memory that behaves as no socket of this machine can be made to.
import mqttPacket from 'mqtt-packet'
import { expect, test } from 'vitest'
import { ACCEPTED, type Delivery, type Outcome } from '../../shared/bus.js'
import { admitted, connectInMemory, memoryBroker, turn } from '../support/memory-broker.js'

/** A connection of which every PUBLISH stays in work until `finishAll`. */
async function busyConnection () {
  const engine = await memoryBroker()
  const inWork: Delivery[] = []
  let finish: (outcomes: Outcome[]) => void = () => {}
  let current = 0
  await engine.bus.consume('a', {
    maxBatch: 10_000,
    handle: async batch => {
      inWork.push(...batch)
      current = batch.length
      return await new Promise(resolve => { finish = resolve })
    }
  })
  const peer = connectInMemory(engine)
  await admitted(peer)
  return {
    stream: peer.stream, inWork, read: peer.read, engine,
    push: (count: number, payload: Buffer | string = 'x') => {
      for (let i = 1; i <= count; i++) {
        peer.stream.push(mqttPacket.generate({ cmd: 'publish', topic: 'a', payload, qos: 0, dup: false, retain: false }, { protocolVersion: 5 }))
      }
    },
    finishAll: () => {
      inWork.length = 0
      finish(Array.from({ length: current }, () => ACCEPTED))
    }
  }
}

/** Turns until it is so; the test's own time ends it otherwise. */
async function until (isSo: () => boolean): Promise<void> {
  while (!isSo()) await turn()
}

/** As many turns as it may take until everything that can be handed over is: a batch waits a millisecond for others. */
async function turns (count = 30): Promise<void> {
  const startedMs = performance.now()
  for (let i = 0; i < count || performance.now() - startedMs < 5; i++) await turn()
}

test('handles no further while 1,000 packets are in work, and goes on when they are done', async () => {
  const { push, inWork, finishAll } = await busyConnection()
  const count = 2_500
  push(count)
  const batches: number[] = []
  while (batches.reduce((sum, one) => sum + one, 0) < count) {
    await until(() => inWork.length > 0)
    // What waits behind this batch has time to become too much.
    await turns()
    batches.push(inWork.length)
    finishAll()
  }
  expect(Math.max(...batches)).toBeLessThanOrEqual(1_000)
  expect(batches.reduce((sum, one) => sum + one, 0)).toBe(count)
})

test('handles no further while 256 KB are in work', async () => {
  const { push, inWork, finishAll } = await busyConnection()
  push(5, Buffer.alloc(90_000))
  await until(() => inWork.length >= 3)
  await turns()
  expect(inWork).toHaveLength(3)
  finishAll()
  await until(() => inWork.length > 0)
  expect(inWork).toHaveLength(2)
  finishAll()
})

test('reads no further from a client that does not read what it is told, until it does', async () => {
  const { push, inWork, finishAll, read, stream } = await busyConnection()
  read(false)
  for (let i = 0; i < 200; i++) stream.push(Buffer.from('c000'.repeat(1_000), 'hex'))
  await turns(2_000)
  push(1)
  await turns()
  expect(inWork).toEqual([])
  read(true)
  await turns(2_000)
  expect(inWork).toHaveLength(1)
  finishAll()
})
