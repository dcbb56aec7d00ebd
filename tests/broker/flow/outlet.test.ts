// The last step to a socket: what is said when, in how many writes, and what an alias means to the client at each moment.
import { Duplex } from 'node:stream'
import fc from 'fast-check'
import mqttPacket, { type IPublishPacket, type Packet } from 'mqtt-packet'
import { expect, test } from 'vitest'
import { Alias, Message } from '../../../broker/message.js'
import { Outlet, type OutletParts } from '../../../broker/outlet.js'
import { Traffic } from '../../../broker/traffic.js'

/** A socket that keeps what is written, and takes no more until it is told to. */
class Pipe extends Duplex {
  readonly writes: Buffer[] = []
  #done: (() => void) | null = null
  stuck = false

  override _read (): void { /* nothing comes */ }

  override _write (chunk: Buffer, _encoding: string, done: () => void): void {
    this.writes.push(chunk)
    if (this.stuck) this.#done = done
    else done()
  }

  release (): void {
    this.stuck = false
    this.#done?.()
  }

  get packets (): Packet[] {
    const packets: Packet[] = []
    const parser = mqttPacket.parser({ protocolVersion: 5 })
    parser.on('packet', packet => packets.push(packet))
    parser.on('error', error => { throw error })
    parser.parse(Buffer.concat(this.writes))
    return packets
  }
}

function outletOn (pipe: Pipe, { topicAliasMaximum = 0, ended = () => false, onDrain = () => {} }: Partial<Pick<OutletParts, 'topicAliasMaximum' | 'ended' | 'onDrain'>> = {}): Outlet {
  return new Outlet({ conn: pipe, v5: true, maxPacketBytes: Infinity, receiveMaximum: 20, topicAliasMaximum, ended, onDrain, traffic: new Traffic(), onOverflow: () => {} })
}

function message (topic: string, payload: string | Buffer, alias = 0): Message {
  const one = new Message({ topic, payload: Buffer.from(payload), qos: 1, retain: false, from: null })
  one.alias = alias
  return one
}

function push (outlet: Outlet, one: Message, messageId = 1): void {
  outlet.push(one, one.frame(true, 1, false, outlet.aliasOf(one)), messageId, false, 0)
}

const turn = async (): Promise<void> => { await new Promise(resolve => setImmediate(resolve)) }

test('all of one turn is one write, in its order', async () => {
  const pipe = new Pipe()
  const outlet = outletOn(pipe)
  outlet.plain(0x40, 513)
  for (let i = 1; i <= 50; i++) push(outlet, message('t', `m${i}`), i)
  outlet.packet(Buffer.from([0xd0, 0]))
  expect(pipe.writes).toHaveLength(0)
  await turn()
  expect(pipe.writes).toHaveLength(1)
  expect(pipe.packets.map(one => one.cmd === 'publish' ? one.payload.toString() : one.cmd)).toEqual(['puback', ...Array.from({ length: 50 }, (_, i) => `m${i + 1}`), 'pingresp'])
  expect(pipe.packets[0]).toMatchObject({ messageId: 513 })
})

test('a large payload goes in its place among small ones', async () => {
  const pipe = new Pipe()
  const outlet = outletOn(pipe)
  const large = Buffer.alloc(300_000, 'l')
  for (const payload of ['a', large, 'b', large, 'c']) push(outlet, message('t', payload))
  await turn()
  expect(pipe.packets.map(one => (one as IPublishPacket).payload.length)).toEqual([1, 300_000, 1, 300_000, 1])
})

test('a socket that is full says so, and says when it takes more', async () => {
  const pipe = new Pipe()
  let drained = 0
  const outlet = outletOn(pipe, { onDrain: () => { drained++ } })
  pipe.stuck = true
  expect(outlet.writable).toBe(true)
  push(outlet, message('t', Buffer.alloc(100_000)))
  expect(outlet.writable).toBe(false)
  pipe.release()
  await turn()
  await turn()
  expect([drained, outlet.writable]).toEqual([1, true])
})

test('does not let more than 64 KB and a message gather before it asks the socket', () => {
  const pipe = new Pipe()
  pipe.stuck = true
  const outlet = outletOn(pipe)
  let pushed = 0
  for (; outlet.writable && pushed < 10_000; pushed++) push(outlet, message('t', Buffer.alloc(1_000)))
  expect(pushed).toBeLessThan(70)
})

test('writes nothing after the end', async () => {
  const pipe = new Pipe()
  let ended = false
  const outlet = outletOn(pipe, { ended: () => ended })
  push(outlet, message('t', 'x'))
  ended = true
  expect(outlet.writable).toBe(false)
  await turn()
  expect(pipe.writes).toHaveLength(0)
})

test('no alias above what the client takes, and none without a number', () => {
  const outlet = outletOn(new Pipe(), { topicAliasMaximum: 4 })
  expect([5, 0, 4].map(alias => outlet.aliasOf(message('t', 'x', alias)))).toEqual([Alias.none, Alias.none, Alias.set])
  expect(outletOn(new Pipe()).aliasOf(message('t', 'x', 1))).toBe(Alias.none)
})

test('whatever numbers mean in between, a client that follows the aliases sees the right topics [MQTT-3.3.2-8]', async () => {
  const sent = fc.array(fc.record({ topic: fc.constantFrom('a', 'b', 'c', 'd'), alias: fc.integer({ min: 0, max: 4 }), large: fc.boolean() }), { maxLength: 60 })
  await fc.assert(fc.asyncProperty(sent, fc.integer({ min: 0, max: 3 }), async (all, topicAliasMaximum) => {
    const pipe = new Pipe()
    const outlet = outletOn(pipe, { topicAliasMaximum })
    for (const { topic, alias, large } of all) push(outlet, message(topic, large ? Buffer.alloc(5_000) : 'x', alias))
    await turn()
    const known = new Map<number, string>()
    const topics = pipe.packets.map(packet => {
      const { topic, properties } = packet as IPublishPacket
      const alias = properties?.topicAlias
      if (alias === undefined) return topic
      expect(alias).toBeLessThanOrEqual(topicAliasMaximum)
      if (topic !== '') known.set(alias, topic)
      return known.get(alias)
    })
    expect(topics).toEqual(all.map(({ topic }) => topic))
  }), { numRuns: 100 })
})
