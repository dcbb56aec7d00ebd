// `logins`: what somebody who tries passwords without end does to the log-ins of other addresses and to the flow of
// messages, and how long fleets take that all log in at once.
import { setTimeout as sleep } from 'node:timers/promises'
import { Child } from './child.js'
import { median, percentileMs, say, whole } from './figures.js'
import type { Options } from './options.js'
import { ping, type Pings } from './pingers.js'
import { startParkmq } from './processes.js'
import { logIn, type Ports } from './raw-client.js'
import { PASSWORDS, writeBenchUsers, type BenchUser } from './users.js'

/** Connections of who tries passwords: more than are let wait at once by many a limit. */
const FLOOD_CONNECTIONS = [50, 1_000]
/** Log-ins of each kind and phase: one after the other, so that none waits for another of its own. */
const LOGINS = 6
const PINGERS = 10
const CHOSEN_FLEET = 100
const RANDOM_FLEET = 1_000
const FLEET_RETRY_MS = 1_000
const FLEET_WITHIN_MS = 180_000

/** What the process of who tries passwords is asked. */
export type LoginFloodRequests = {
  begin: { in: { ports: Ports, connections: number, user: string }, out: void }
  end: { in: null, out: Tried }
  tried: { in: null, out: Tried }
}

export interface Tried {
  tries: number
  refused: number
  letIn: number
}

/** `first`: of a user that is not remembered; `again`: from where it was last. */
const KINDS = ['first, chosen', 'first, generated', 'again'] as const
type Kind = (typeof KINDS)[number]
type Delays = Record<Kind, number[]>

export async function logins ({ rounds = 8, seconds = 5 }: Options): Promise<void> {
  const phases = rounds * FLOOD_CONNECTIONS.length * 2
  const names = (kind: string, count: number): string[] => Array.from({ length: count }, (_, n) => `${kind}-${n}`)
  const users: BenchUser[] = [
    ...names('chosen', Math.max(CHOSEN_FLEET, phases * LOGINS)).map(name => ({ name, role: 'driver' as const, password: 'chosen' as const })),
    ...names('random', Math.max(RANDOM_FLEET, phases * LOGINS)).map(name => ({ name, role: 'driver' as const })),
    { name: 'pinger', role: 'service' }, { name: 'often', role: 'driver', password: 'chosen' }
  ]
  const file = await writeBenchUsers(users)
  try {
    for (const connections of FLOOD_CONNECTIONS) await beside(connections, rounds, file.file)
    say('')
    for (const connections of FLOOD_CONNECTIONS) await flow(connections, seconds, file.file)
    say('')
    await fleets(file.file)
  } finally {
    file.remove()
  }
}

/** Log-ins from one address while another tries passwords, and the same without. */
async function beside (connections: number, rounds: number, usersFile: string): Promise<void> {
  say(`logins: from 127.0.0.3, one after the other, ${rounds} rounds of ${LOGINS} of each kind, without and while another address tries wrong passwords on ${whole(connections)} connections as fast as it is let`)
  const calm = none()
  const flooded = none()
  const extra = none()
  for (let round = 0; round < rounds; round++) {
    const target = await startParkmq(['--users', usersFile])
    const from = { ...target, from: '127.0.0.3' }
    await logIn(from, { clientId: 'bench-often', credentials: { user: 'often', password: PASSWORDS.chosen } })
    const before = await logInAll(from, 2 * round)
    const flooder = new Child<LoginFloodRequests>('./login-flooder-process.js')
    // They begin together: a flood is worst before it is known as one.
    await flooder.ask('begin', { ports: portsFrom(target, '127.0.0.2'), connections, user: 'often' })
    const during = await logInAll(from, 2 * round + 1)
    const tried = await flooder.ask('end', null)
    await flooder.stop()
    await target.stop()
    say(`  round ${round + 1}: tried ${whole(tried.tries)} times, ${whole(tried.refused)} refused${tried.letIn > 0 ? `, ${tried.letIn} LET IN` : ''}; ` +
      KINDS.map(kind => `${kind}: ${ms(median(before[kind]))}, then ${ms(median(during[kind]))}, longest ${ms(Math.max(...during[kind]))}`).join('; '))
    for (const kind of KINDS) {
      calm[kind].push(...before[kind])
      flooded[kind].push(...during[kind])
      extra[kind].push(median(during[kind]) - median(before[kind]))
    }
  }
  for (const kind of KINDS) {
    say(`  ${kind.padEnd(17)} without p50 ${ms(median(calm[kind]))}, longest ${ms(Math.max(...calm[kind]))}; beside it p50 ${ms(median(flooded[kind]))}, longest ${ms(Math.max(...flooded[kind]))}; ` +
      `${(median(flooded[kind]) / median(calm[kind])).toFixed(2)} times p50; later by ${ms(median(extra[kind]))} (median of the rounds; ${ms(Math.min(...extra[kind]))} to ${ms(Math.max(...extra[kind]))})`)
  }
}

async function logInAll (ports: Ports, phase: number): Promise<Delays> {
  const delays = none()
  for (let n = phase * LOGINS; n < (phase + 1) * LOGINS; n++) {
    for (const kind of KINDS) {
      const credentials = kind === 'again' ? { user: 'often', password: PASSWORDS.chosen }
        : kind === 'first, chosen' ? { user: `chosen-${n}`, password: PASSWORDS.chosen } : { user: `random-${n}`, password: PASSWORDS.random }
      const { code, tookMs } = await logIn(ports, { clientId: 'bench-login', credentials })
      if (code !== 0) throw new Error(`${credentials.user} was refused with ${code}`)
      delays[kind].push(tookMs)
    }
  }
  return delays
}

/** Round trips of messages without a flood and beside it. */
async function flow (connections: number, seconds: number, usersFile: string): Promise<void> {
  const target = await startParkmq(['--users', usersFile])
  const pinging = async (forSeconds: number): Promise<Pings> => await ping(portsFrom(target, '127.0.0.4'), PINGERS, forSeconds, { under: 'replies/bench', credentials: { user: 'pinger', password: PASSWORDS.random } })
  await pinging(1)
  const calm = await pinging(seconds)
  const flooder = new Child<LoginFloodRequests>('./login-flooder-process.js')
  await flooder.ask('begin', { ports: portsFrom(target, '127.0.0.2'), connections, user: 'often' })
  const flooded = await pinging(seconds)
  const tried = await flooder.ask('end', null)
  await flooder.stop()
  await target.stop()
  const times = (percentile: number): string => (flooded.latency.getValueAtPercentile(percentile) / calm.latency.getValueAtPercentile(percentile)).toFixed(2)
  say(`logins: round trips of ${PINGERS} clients, ${seconds} s, without p50 ${percentileMs(calm.latency, 50)} ms, p99 ${percentileMs(calm.latency, 99)} ms, longest ${percentileMs(calm.latency, 100)} ms; ` +
    `beside ${whole(tried.tries)} wrong passwords on ${whole(connections)} connections p50 ${percentileMs(flooded.latency, 50)} ms (${times(50)} times), p99 ${percentileMs(flooded.latency, 99)} ms (${times(99)} times), longest ${percentileMs(flooded.latency, 100)} ms${flooded.unanswered > 0 ? `, ${flooded.unanswered} NOT ANSWERED` : ''}`)
}

/** Everybody logs in at once, as after a restart, and tries again after a second when refused. */
async function fleets (usersFile: string): Promise<void> {
  for (const [kind, count, addresses] of [['random', RANDOM_FLEET, 1], ['random', RANDOM_FLEET, 100], ['chosen', CHOSEN_FLEET, 1], ['chosen', CHOSEN_FLEET, 100]] as const) {
    const target = await startParkmq(['--users', usersFile])
    const startedMs = performance.now()
    const tookMs: number[] = []
    let refused = 0
    await Promise.all(Array.from({ length: count }, async (_, n) => {
      const ports = portsFrom(target, `127.0.1.${n % addresses + 1}`)
      while (performance.now() - startedMs < FLEET_WITHIN_MS) {
        const { code } = await logIn(ports, { clientId: `bench-fleet-${n}`, credentials: { user: `${kind}-${n}`, password: PASSWORDS[kind] }, patienceMs: FLEET_WITHIN_MS })
        if (code === 0) {
          tookMs.push(performance.now() - startedMs)
          return
        }
        refused++
        await sleep(FLEET_RETRY_MS)
      }
    }))
    await target.stop()
    say(`logins: ${whole(count)} devices with ${kind === 'random' ? 'generated' : 'chosen'} passwords at once from ${addresses === 1 ? 'one address' : `${addresses} addresses`}: ` +
      `${whole(tookMs.length)} let in, half after ${ms(median(tookMs))}, all after ${ms(Math.max(...tookMs))}, ${whole(refused)} times sent away`)
  }
}

function none (): Delays {
  return { 'first, chosen': [], 'first, generated': [], again: [] }
}

/** A target without its process, to be sent to another one. */
function portsFrom ({ port, wsPort }: Ports, from: string): Ports {
  return { port, wsPort, from }
}

function ms (value: number): string {
  return `${value < 10 ? value.toFixed(1) : whole(value)} ms`
}
