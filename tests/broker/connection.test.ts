// Back-pressure of one connection, over a stream in memory that behaves as no socket of this machine can be made to.
import mqttPacket from 'mqtt-packet'
import { expect, test } from 'vitest'
import type { PublishPacket } from '../../broker/packets.js'
import { connectInMemory, memoryBroker, turn } from '../support/memory-broker.js'

/** A connection of which every PUBLISH stays in work until `finishAll`. */
async function busyConnection () {
  const aedes = await memoryBroker()
  const inWork: (() => void)[] = []
  const ready = new Promise(resolve => aedes.once('clientReady', resolve))
  const { stream, connection, read } = connectInMemory(aedes)
  aedes.authorizePublish = (_client, packet, done) => {
    inWork.push(() => {
      connection.acknowledge(packet as unknown as PublishPacket)
      connection.afterFlush(() => done(new Error('not for aedes')))
    })
  }
  await ready
  return {
    stream, inWork, read,
    push: (count: number, payload: Buffer | string = 'x') => {
      for (let i = 1; i <= count; i++) {
        stream.push(mqttPacket.generate({ cmd: 'publish', topic: 'a', payload, qos: 1, messageId: i, dup: false, retain: false }, { protocolVersion: 5 }))
      }
    },
    finishAll: () => {
      for (const finish of inWork.splice(0)) finish()
      connection.flush()
    }
  }
}

test('reads no further while 1,000 packets are in work, and goes on when they are done', async () => {
  const { push, inWork, finishAll, stream } = await busyConnection()
  push(999)
  await turn()
  expect(inWork).toHaveLength(999)
  push(1)
  await turn()
  expect(inWork).toHaveLength(1_000)
  push(1)
  await turn()
  expect(inWork).toHaveLength(1_000)
  expect(stream.readableLength).toBeGreaterThan(0)
  finishAll()
  await turn()
  await turn()
  expect(inWork).toHaveLength(1)
})

test('reads no further while 256 KB are in work', async () => {
  const { push, inWork, finishAll } = await busyConnection()
  for (let i = 0; i < 10; i++) {
    push(1, Buffer.alloc(90_000))
    await turn()
  }
  expect(inWork).toHaveLength(3)
  finishAll()
  await turn()
  await turn()
  expect(inWork.length).toBeGreaterThanOrEqual(3)
})

test('reads no further from a client that does not read its acknowledgements', async () => {
  const { push, inWork, finishAll, read } = await busyConnection()
  read(false)
  push(900)
  await turn()
  finishAll()
  push(900)
  await turn()
  await turn()
  // The first 900 are acknowledged, but the client has not read it: they stay in work, so only one read more is taken.
  expect(inWork).toHaveLength(900)
  push(500)
  await turn()
  expect(inWork).toHaveLength(900)
  read(true)
  await turn()
  await turn()
  expect(inWork.length).toBeGreaterThan(900)
})
