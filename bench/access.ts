// `access`: what users, access control and TLS cost: at ingest, each alone and together, and at fan-out.
import { rmSync } from 'node:fs'
import { Child } from './child.js'
import { median, say, sayDelivered, whole } from './figures.js'
import type { Options } from './options.js'
import { newFolder, startParkmq, startSecureParkmq, type Target } from './processes.js'
import { Publisher } from './publisher.js'
import { load, type LoadResult } from './publishers.js'
import { startSubscribers } from './subscribers.js'
import { PASSWORDS, writeBenchUsers, type BenchUser } from './users.js'

const PUBLISHERS = 4
const WINDOW = 64
/** Of each publisher in a round. */
const MESSAGES = 5_000
const LOTS = ['LOT-A', 'LOT-B', 'LOT-C', 'LOT-D']
const lotOf = (publisher: number): string => LOTS[publisher % LOTS.length] ?? ''
const USERS: readonly BenchUser[] = [
  ...Array.from({ length: PUBLISHERS }, (_, p) => ({ name: `gate-${p}`, role: 'device' as const, lots: [lotOf(p)] })),
  { name: 'display-1', role: 'display' }
]

/** How often a second the one publisher of the fan-out speaks: less than the broker can do, so that nothing is dropped. */
const FAN_PER_SECOND = 1_000
const FAN_SECONDS = 4
const FAN_WARM_UP_SECONDS = 1
const FAN_PAYLOAD_BYTES = 100
const MOST_FAN_ROUNDS = 3

/** What the broker's process of the fan-out is asked. */
export type AccessBrokerRequests = {
  open: { in: { data: string, usersFile: string | null }, out: { port: number } }
  cpuMs: { in: null, out: number }
}

/** Ingest in four ways and fan-out in two, in turn. */
export async function access ({ rounds = 15, subscribers = 50 }: Options): Promise<void> {
  const users = await writeBenchUsers(USERS)
  try {
    await ingestCosts(rounds, users.file)
    say('')
    await fanOutCosts(Math.min(rounds, MOST_FAN_ROUNDS), subscribers, users.file)
  } finally {
    users.remove()
  }
}

const WAYS = ['neither', 'users', 'TLS', 'both'] as const
type Way = (typeof WAYS)[number]

/** Processor time that the broker spends on a message, besides how many a second there are. */
interface Ingested extends LoadResult {
  readonly brokerUs: number
}

async function ingestCosts (rounds: number, usersFile: string): Promise<void> {
  say(`access: ingest, ${PUBLISHERS} publishers, window ${WINDOW}, ${rounds} rounds of ${whole(PUBLISHERS * MESSAGES)} messages, QoS 1, committed before PUBACK; users are devices with a lot each, TLS is 1.3`)
  const targets: [Way, Target][] = []
  for (const way of WAYS) {
    const args = hasUsers(way) ? ['--users', usersFile] : []
    targets.push([way, await (way === 'TLS' || way === 'both' ? startSecureParkmq(args) : startParkmq(args))])
  }
  const measured: Record<Way, Ingested>[] = []
  // Round 0 warms up what is measured. All are there from the beginning, and whose turn it is changes after half a second:
  // what else this machine does meets them alike.
  for (let round = 0; round <= rounds; round++) {
    const results: Partial<Record<Way, Ingested>> = {}
    for (let i = 0; i < targets.length; i++) {
      const [way, target] = targets[(i + round) % targets.length] as [Way, Target]
      results[way] = await ingestOnce(way, target, round * MESSAGES)
    }
    if (round > 0) measured.push(results as Record<Way, Ingested>)
  }
  for (const [, target] of targets) await target.stop()
  for (const way of WAYS) {
    const all = measured.map(round => round[way])
    say(`  ${way.padEnd(8)} ${sayRange(all.map(({ perSecond }) => perSecond), whole)} messages/s; ${sayRange(all.map(({ brokerUs }) => brokerUs), us => us.toFixed(1))} us of the broker's processor time for each`)
  }
  for (const way of WAYS.slice(1)) {
    say(`  ${way} / neither: messages/s ${sayRange(measured.map(round => round[way].perSecond / round.neither.perSecond))}, processor time ${sayRange(measured.map(round => round[way].brokerUs / round.neither.brokerUs))}`)
  }
}

function hasUsers (way: Way): boolean {
  return way === 'users' || way === 'both'
}

/** `sent`: how many messages each sensor has sent before; its numbers go on from there. */
async function ingestOnce (way: Way, target: Target, sent: number): Promise<Ingested> {
  const before = target.cpuMs()
  const result = await load({
    ports: target, publishers: PUBLISHERS, window: WINDOW, messages: MESSAGES,
    topic: publisher => `lots/${lotOf(publisher)}/sensor`,
    payload: (publisher, n) => JSON.stringify({ sensor: `gate-${publisher}`, epoch: 1, seq: sent + n, delta: n % 2 === 0 ? -1 : 1 }),
    ...hasUsers(way) && { credentials: publisher => ({ user: `gate-${publisher}`, password: PASSWORDS.random }) }
  })
  return { ...result, brokerUs: (target.cpuMs() - before) * 1_000 / result.acknowledged }
}

async function fanOutCosts (rounds: number, count: number, usersFile: string): Promise<void> {
  say(`access: fan-out of ${FAN_PER_SECOND} messages/s of ${FAN_PAYLOAD_BYTES} bytes on lots/LOT-A/events to ${count} QoS 1 subscribers, ${FAN_SECONDS} s; with users they are displays, without they are local`)
  const ratios: number[] = []
  for (let round = 1; round <= rounds; round++) {
    const cost = { local: 0, display: 0 }
    for (const as of round % 2 === 0 ? ['local', 'display'] as const : ['display', 'local'] as const) cost[as] = await fanOutOnce(as, count, usersFile, round)
    ratios.push(cost.display / cost.local)
  }
  say(`  display / local: processor time ${sayRange(ratios)}`)
}

/** Microseconds of the broker's processor time for each delivery. */
async function fanOutOnce (as: 'local' | 'display', count: number, usersFile: string, round: number): Promise<number> {
  const broker = new Child<AccessBrokerRequests>('./access-broker-process.js')
  const data = newFolder()
  const { port } = await broker.ask('open', { data, usersFile: as === 'local' ? null : usersFile })
  const ports = { port, wsPort: null }
  const credentials = (user: string): { user: string, password: string } | undefined => as === 'local' ? undefined : { user, password: PASSWORDS.random }
  const subscribers = await startSubscribers([{
    name: 'fan', count, ports, filter: 'lots/+/events', qos: 1, version: 4, transport: 'tcp', persistent: false, behaviour: 'healthy',
    highestNumber: (FAN_WARM_UP_SECONDS + FAN_SECONDS + 1) * FAN_PER_SECOND, credentials: credentials('display-1')
  }])
  const publisher = await Publisher.connect({ ports, clientId: 'bench-publisher', topic: 'lots/LOT-A/sensor', qos: 1, payloadBytes: FAN_PAYLOAD_BYTES, credentials: credentials('gate-0') })
  await publisher.steadily({ perSecond: FAN_PER_SECOND, seconds: FAN_WARM_UP_SECONDS, window: WINDOW })
  await subscribers.delivered('fan', publisher.sent * count)
  await subscribers.reset()
  const before = await broker.ask('cpuMs', null)
  const { sent } = await publisher.steadily({ perSecond: FAN_PER_SECOND, seconds: FAN_SECONDS, window: WINDOW })
  const { delivered } = await subscribers.delivered('fan', sent * count)
  const us = (await broker.ask('cpuMs', null) - before) * 1_000 / delivered
  publisher.close()
  await subscribers.stop()
  await broker.stop()
  rmSync(data, { recursive: true, force: true })
  say(`  round ${round}: ${as.padEnd(8)} ${us.toFixed(2)} us of the broker's processor time for a delivery; delivered ${sayDelivered(delivered, sent * count)}`)
  return us
}

/** `0.80 (0.71 to 0.93)`: the median, the least and the most. */
function sayRange (values: readonly number[], format = (value: number): string => value.toFixed(2)): string {
  return `${format(median(values))} (${format(Math.min(...values))} to ${format(Math.max(...values))})`
}
