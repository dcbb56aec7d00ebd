// kill -9 of `parkmq start` at random moments while ordinary clients publish, subscribe and acknowledge: what was
// acknowledged to them is there after every start. QoS 1 comes at least once, QoS 2 exactly once, each publisher's
// messages in their order; retained messages, subscriptions and wills are as they were said to be.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { testFolder } from '../support/app.js'
import { seeded } from '../support/mqtt-bytes.js'
import { startProcess, type ParkmqProcess } from '../support/process.js'
import { StubbornClient } from '../support/stubborn-client.js'

const ROUNDS = 6
const PUBLISHERS = ['one-1', 'one-2', 'two-1', 'two-2'] as const
const KEPT = 5
const EXTRA = 8
const SEED = Number(process.env.PARKMQ_TEST_SEED ?? Date.now() % 1_000_000)

const will = (name: string): object => ({ will: { topic: `sensors/${name}/status`, payload: Buffer.from('offline'), qos: 1, retain: true } })

/** The retained messages below a topic, as a newcomer gets them. */
async function retainedAt (port: number, filter: string): Promise<Map<string, string>> {
  const reader = new StubbornClient({ clientId: `reader-${Math.random().toString(36).slice(2)}` })
  await reader.connect(port)
  await reader.ask({ cmd: 'subscribe', filter }, 1)
  // What is retained comes before the answer to whatever is asked next.
  await reader.ask({ cmd: 'subscribe', filter: 'end/of/it' }, 1)
  reader.publish('end/of/it', 'end', 1)
  await reader.until(() => reader.received.some(message => message.topic === 'end/of/it'))
  await reader.leave()
  return new Map(reader.received.filter(message => message.retain).map(message => [message.topic, message.payload]))
}

test(`kill -9 under load, ${ROUNDS} rounds (seed ${SEED}): what was acknowledged to ordinary clients is there`, { timeout: 120_000 }, async () => {
  const data = testFolder()
  const config = join(data, 'settings.yaml')
  // Nothing is dropped for the one who is away all the time.
  writeFileSync(config, 'limits: { queueMessages: 1000000, queueBytes: 200000000 }\n')
  const next = seeded(SEED)
  let acks = 0
  let onAck = (): void => {}
  const onAcknowledged = (): void => {
    acks++
    onAck()
  }
  const publishers = PUBLISHERS.map(clientId => new StubbornClient({ clientId, onAcknowledged }))
  const [away, connected, exact, changer] = ['away', 'connected', 'exact', 'changer'].map(clientId => new StubbornClient({ clientId })) as [StubbornClient, StubbornClient, StubbornClient, StubbornClient]
  const subscribers = [away, connected, exact]
  let made = 0

  /** Everybody connects again; the first time they subscribe. */
  const enter = async (parkmq: ParkmqProcess, round: number, clients: readonly StubbornClient[]): Promise<void> => {
    for (const client of clients) expect((await client.connect(parkmq.port)).sessionPresent, `${client.parts.clientId} in round ${round}`).toBe(round > 0)
  }

  /** What a start must show: retained messages, wills, subscriptions. */
  const check = async (parkmq: ParkmqProcess, round: number): Promise<void> => {
    if (round === 0) return
    const kept = await retainedAt(parkmq.port, 'kept/+')
    for (let i = 0; i < KEPT; i++) {
      const last = publishers.flatMap(({ acknowledged }) => acknowledged).filter(payload => payload.startsWith(`kept-${i} `)).map(payload => Number(payload.split(' ')[1]))
      if (last.length > 0) expect(Number(kept.get(`kept/${i}`)?.split(' ')[1])).toBeGreaterThanOrEqual(Math.max(...last))
    }
    const wills = await retainedAt(parkmq.port, 'sensors/#')
    expect(wills.get(`sensors/dies-${round - 1}/status`)).toBe('offline')
    expect(wills.has(`sensors/leaves-${round - 1}/status`)).toBe(false)

    const { asked, subscriptions, received } = changer
    received.length = 0
    await enter(parkmq, round, [changer])
    const speaker = new StubbornClient({ clientId: 'speaker' })
    await speaker.connect(parkmq.port)
    for (let i = 0; i < EXTRA; i++) speaker.publish(`extra/${i}`, `after ${round}`, 1)
    speaker.publish('extra/end', `after ${round}`, 1)
    await changer.until(() => received.some(message => message.topic === 'extra/end'))
    await speaker.leave()
    const granted = new Set(received.map(message => message.topic))
    for (let i = 0; i < EXTRA; i++) {
      const filter = `extra/${i}`
      if (asked?.filter !== filter) expect(granted.has(filter), `${filter} in round ${round}`).toBe(subscriptions.has(filter))
      else if (granted.has(filter)) subscriptions.add(filter)
      else subscriptions.delete(filter)
    }
    changer.asked = null
  }

  for (let round = 0; round < ROUNDS; round++) {
    const parkmq = await startProcess(data, ['--config', config])
    await check(parkmq, round)
    await enter(parkmq, round, round === 0 ? [...subscribers, changer] : [connected, exact])
    if (round === 0) {
      await away.ask({ cmd: 'subscribe', filter: 'load/+' }, 1)
      await connected.ask({ cmd: 'subscribe', filter: 'load/+' }, 1)
      await exact.ask({ cmd: 'subscribe', filter: 'load/+' }, 2)
      await changer.ask({ cmd: 'subscribe', filter: 'extra/end' })
      await away.leave()
    }
    const dies = new StubbornClient({ clientId: `dies-${round}`, ...will(`dies-${round}`) })
    const leaves = new StubbornClient({ clientId: `leaves-${round}`, ...will(`leaves-${round}`) })
    for (const client of [dies, leaves]) {
      await client.connect(parkmq.port)
      // A will is stored before what its client asks next is acknowledged.
      await client.ask({ cmd: 'subscribe', filter: 'nothing' })
    }
    await leaves.leave()

    const killAfter = 300 + Math.floor(next() * 1_500)
    acks = 0
    const killed = new Promise<void>(resolve => {
      onAck = () => {
        for (const publisher of publishers) if (publisher.unfinished < 100) feed(publisher)
        if (acks === killAfter) void parkmq.kill().then(resolve)
      }
    })
    const feed = (publisher: StubbornClient): void => {
      const qos = publisher.parts.clientId.startsWith('one') ? 1 : 2
      for (let i = 0; i < 20; i++) publisher.publish(`load/${publisher.parts.clientId}`, `${publisher.parts.clientId} ${++made}`, qos)
      // Each retained topic has one publisher, so that its values grow.
      const topic = Math.floor(next() * KEPT)
      if (publisher === publishers[topic % publishers.length]) publisher.publish(`kept/${topic}`, `kept-${topic} ${++made}`, qos, true)
    }
    await enter(parkmq, round, publishers)
    publishers.forEach(feed)
    while (changer.isConnected) {
      const filter = `extra/${Math.floor(next() * EXTRA)}`
      await changer.ask({ cmd: changer.subscriptions.has(filter) ? 'unsubscribe' : 'subscribe', filter })
    }
    await killed
    onAck = () => {}
  }

  // The last start: everybody finishes, and nothing is missing.
  const parkmq = await startProcess(data, ['--config', config])
  await check(parkmq, ROUNDS)
  await enter(parkmq, ROUNDS, [...publishers, ...subscribers])
  for (const publisher of publishers) await publisher.until(() => publisher.unfinished === 0)
  for (const publisher of publishers) publisher.publish(`load/${publisher.parts.clientId}`, `${publisher.parts.clientId} ${++made}`, 1)
  const sent = publishers.map(({ acknowledged, parts: { clientId } }) => acknowledged.filter(payload => payload.startsWith(clientId)))
  for (const publisher of publishers) await publisher.until(() => publisher.unfinished === 0)
  const last = publishers.map(({ acknowledged }) => acknowledged.at(-1))
  for (const subscriber of subscribers) {
    await subscriber.until(() => last.every(payload => subscriber.received.some(message => message.payload === payload)))
    for (const [i, wanted] of sent.entries()) {
      const got = subscriber.received.filter(message => message.topic === `load/${PUBLISHERS[i]}`).map(message => Number(message.payload.split(' ')[1]))
      const firsts = [...new Set(got)]
      const name = `${subscriber.parts.clientId} from ${PUBLISHERS[i]}`
      expect(wanted.length).toBeGreaterThan(0)
      expect(wanted.filter(payload => !firsts.includes(Number(payload.split(' ')[1]))), `lost: ${name}`).toEqual([])
      expect(firsts, `order: ${name}`).toEqual([...firsts].sort((a, b) => a - b))
      if (subscriber === exact && PUBLISHERS[i]?.startsWith('two')) expect(got.filter((n, at) => got.indexOf(n) !== at), `doubled: ${name}`).toEqual([])
    }
  }
  for (const client of [...publishers, ...subscribers, changer]) await client.leave()
  expect(await parkmq.stop()).toBe(0)
})
