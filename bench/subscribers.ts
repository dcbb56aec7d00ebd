// Groups of like subscribers in a process of their own, and what they saw.
import { setTimeout as sleep } from 'node:timers/promises'
import { Child } from './child.js'
import type { Latency } from './latency.js'
import type { SubscriberParts } from './subscriber.js'

export interface Group extends Omit<SubscriberParts, 'clientId'> {
  readonly name: string
  readonly count: number
}

export interface GroupFigures {
  readonly subscribers: number
  /** Different messages, of all subscribers together. */
  readonly delivered: number
  /** Of the subscriber that got the fewest. */
  readonly leastDelivered: number
  readonly repeated: number
  readonly disordered: number
  /** Longest time between two messages of one subscriber, and from `reset` to its first, in milliseconds. */
  readonly longestGapMs: number
  /** Time of the last message of all by `machineMs`; 0 when there was none. */
  readonly lastAtMs: number
  /** Time of the last message of the subscriber that has waited longest. */
  readonly earliestLastAtMs: number
  readonly mostUnacknowledged: number
  /** Why connections were closed, one entry for each that was. */
  readonly closed: readonly string[]
}

/** What the subscribers' process is asked. */
export type SubscriberRequests = {
  connect: { in: readonly Group[], out: void }
  reset: { in: null, out: void }
  figures: { in: string, out: GroupFigures }
  loopDelayMs: { in: null, out: number }
  cpuMs: { in: null, out: number }
  lag: { in: LagAsked & { name: string }, out: Latency }
  leave: { in: string, out: void }
  comeBack: { in: string, out: void }
}

/** Which messages: those numbered above `before`, of which the first was due at `startedAtMs` and one more every `1 / perSecond`. */
export interface LagAsked {
  readonly startedAtMs: number
  readonly perSecond: number
  readonly before: number
}

/** How often the figures are asked for while waiting, in milliseconds; times are taken in the subscribers' process. */
const ASK_EVERY_MS = 50

export interface Subscribers {
  figures (name: string): Promise<GroupFigures>
  /** Forgets what was seen and begins anew; packet identifiers that are not acknowledged stay. */
  reset (): Promise<void>
  /** Waits until the group got so many messages together, or nothing new for `quietMs`. */
  delivered (name: string, messages: number, quietMs?: number): Promise<GroupFigures>
  /** Longest delay of that process's event loop since `reset`, in milliseconds. */
  loopDelayMs (): Promise<number>
  /** Processor time that their process has used so far, in milliseconds: at a whole core it is what limits the bench. */
  cpuMs (): Promise<number>
  /** How late the members of a group that keeps arrivals got the messages, from when each was due. */
  lag (name: string, asked: LagAsked): Promise<Latency>
  /** DISCONNECT of a group's connections; persistent sessions stay. */
  leave (name: string): Promise<void>
  comeBack (name: string): Promise<void>
  stop (): Promise<void>
}

/** Resolves when all of them are subscribed. Groups subscribe in their order. */
export async function startSubscribers (groups: readonly Group[]): Promise<Subscribers> {
  const child = new Child<SubscriberRequests>('./subscriber-process.js')
  const figures = async (name: string): Promise<GroupFigures> => await child.ask('figures', name)
  try {
    await child.ask('connect', groups)
  } catch (error) {
    await child.stop()
    throw error
  }
  return {
    figures,
    reset: async () => await child.ask('reset', null),
    async delivered (name, messages, quietMs = 5_000) {
      let before = -1
      let quietSinceMs = performance.now()
      for (;;) {
        const now = await figures(name)
        if (now.delivered !== before) quietSinceMs = performance.now()
        if (now.delivered >= messages || performance.now() - quietSinceMs > quietMs) return now
        before = now.delivered
        await sleep(ASK_EVERY_MS)
      }
    },
    loopDelayMs: async () => await child.ask('loopDelayMs', null),
    cpuMs: async () => await child.ask('cpuMs', null),
    lag: async (name, asked) => await child.ask('lag', { name, ...asked }),
    leave: async name => await child.ask('leave', name),
    comeBack: async name => await child.ask('comeBack', name),
    stop: async () => await child.stop()
  }
}
