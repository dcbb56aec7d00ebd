// The process that holds a bench's subscribers, apart from its publisher. Started by `startSubscribers`.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { answer } from './child.js'
import { newLatency } from './figures.js'
import { latencyOf, recordMs } from './latency.js'
import { Subscriber, type Seen } from './subscriber.js'
import type { Group, GroupFigures, SubscriberRequests } from './subscribers.js'

/** A broker may end connections that say nothing for long, and a frozen client is one that still pings. */
const PING_EVERY_MS = 20_000
/** How often the delay of the event loop is sampled, in milliseconds; it counts in every sample. */
const RESOLUTION_MS = 5

const groups = new Map<string, { group: Group, subscribers: Subscriber[] }>()
const loop = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
loop.enable()
setInterval(() => all().forEach(subscriber => subscriber.ping()), PING_EVERY_MS)

const all = (): Subscriber[] => [...groups.values()].flatMap(({ subscribers }) => subscribers)
const of = (name: string): Subscriber[] => groups.get(name)?.subscribers ?? []

function figures ({ group, subscribers }: { group: Group, subscribers: Subscriber[] }): GroupFigures {
  const seen = subscribers.map(subscriber => subscriber.seen)
  const sum = (of: (one: Seen) => number): number => seen.reduce((total, one) => total + of(one), 0)
  return {
    subscribers: group.count,
    delivered: sum(one => one.delivered),
    leastDelivered: Math.min(...seen.map(one => one.delivered)),
    repeated: sum(one => one.repeated),
    disordered: sum(one => one.disordered),
    longestGapMs: Math.max(...seen.map(one => one.longestGapMs)),
    lastAtMs: Math.max(...seen.map(one => one.lastAtMs)),
    earliestLastAtMs: Math.min(...seen.map(one => one.lastAtMs)),
    mostUnacknowledged: Math.max(...subscribers.map(subscriber => subscriber.unacknowledged)),
    closed: subscribers.flatMap(({ closed }) => closed === null ? [] : [closed])
  }
}

answer<SubscriberRequests>({
  connect: async wanted => {
    for (const group of wanted) {
      const { name, count, ...parts } = group
      const subscribers = Array.from({ length: count }, (_, n) => new Subscriber({ ...parts, clientId: `bench-${name}-${n}` }))
      groups.set(name, { group, subscribers })
      // In tens: a broker need not take fifty handshakes at once.
      for (let n = 0; n < count; n += 10) await Promise.all(subscribers.slice(n, n + 10).map(async subscriber => await subscriber.connect()))
    }
    loop.reset()
  },
  reset: () => {
    all().forEach(subscriber => subscriber.reset())
    loop.reset()
  },
  figures: name => {
    const known = groups.get(name)
    if (known === undefined) throw new Error(`there is no group ${name}`)
    return figures(known)
  },
  loopDelayMs: () => Math.max(0, loop.max / 1e6 - RESOLUTION_MS),
  cpuMs: () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1_000
  },
  lag: ({ name, startedAtMs, perSecond, before }) => {
    const histogram = newLatency()
    const { group: { highestNumber }, subscribers } = groups.get(name) ?? { group: { highestNumber: 0 }, subscribers: [] }
    for (const subscriber of subscribers) {
      for (let number = before + 1; number <= highestNumber; number++) {
        const atMs = subscriber.arrivalMs(number)
        if (atMs > 0) recordMs(histogram, atMs - (startedAtMs + (number - before) * 1_000 / perSecond))
      }
    }
    return latencyOf(histogram)
  },
  leave: async name => { await Promise.all(of(name).map(async subscriber => await subscriber.leave())) },
  comeBack: async name => { await Promise.all(of(name).map(async subscriber => await subscriber.comeBack())) }
})
