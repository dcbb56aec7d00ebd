// $SYS/broker/...: the broker's numbers as retained messages, with the names and formats of mosquitto 2.0 where it has
// one. They go the way of every message of the services: conflated for slow subscribers, never stored.
import type { Clock } from '../shared/clock.js'
import { every, type Repeating } from '../shared/every.js'
import type { Log } from '../shared/log.js'
import type { BrokerNumbers, Metrics } from '../shared/metrics.js'
import { LoadAverages } from './load-averages.js'

export interface SysParts {
  /** How often what has changed is published, in milliseconds; 0: nothing is ever published. */
  readonly everyMs: number
  readonly numbers: () => BrokerNumbers
  /** Publishes a retained text. */
  readonly publish: (topic: string, text: string) => Promise<void>
  readonly metrics: Pick<Metrics, 'overLimit'>
  readonly clock: Clock
  readonly log: Log
  /** The version of parkmq; without one it is not published. */
  readonly version: string | undefined
}

export class Sys {
  readonly #parts: SysParts
  readonly #startedAtMs: number
  readonly #loads = new LoadAverages()
  /** What stands on each topic. */
  readonly #said = new Map<string, string>()
  #mostHeapBytes = 0
  #repeating: Repeating | null = null

  constructor (parts: SysParts) {
    this.#parts = parts
    this.#startedAtMs = parts.clock.nowMs()
  }

  /** Publishes everything once, then what changes from time to time. */
  async start (): Promise<void> {
    const { everyMs, clock, log } = this.#parts
    if (everyMs === 0) return
    await this.#publish()
    this.#repeating = every(everyMs, 'publishing $SYS', clock, log, async () => await this.#publish())
  }

  async stop (): Promise<void> {
    await this.#repeating?.stop()
  }

  async #publish (): Promise<void> {
    const { publish } = this.#parts
    const limits = await this.#limitsMet()
    for (const [name, text] of [...this.#texts(), ...limits]) {
      if (this.#said.get(name) === text) continue
      await publish(`$SYS/broker/${name}`, text)
      this.#said.set(name, text)
    }
  }

  #texts (): [string, string][] {
    const { version } = this.#parts
    const nowMs = this.#parts.clock.nowMs()
    const n = this.#parts.numbers()
    const memory = process.memoryUsage()
    const heapBytes = memory.heapUsed + memory.external
    this.#mostHeapBytes = Math.max(this.#mostHeapBytes, heapBytes)
    return [
      ...(version === undefined ? [] : [['version', `parkmq version ${version}`] as [string, string]]),
      ['uptime', `${Math.max(0, Math.floor((nowMs - this.#startedAtMs) / 1_000))} seconds`],
      ...Object.entries(asNamed(n)).map(([name, value]): [string, string] => [name, String(value)]),
      ['heap/current', String(heapBytes)],
      ['heap/maximum', String(this.#mostHeapBytes)],
      ...[...this.#loads.take(loadsOf(n), nowMs)].map(([name, average]): [string, string] => [`load/${name}`, average.toFixed(2)])
    ]
  }

  async #limitsMet (): Promise<[string, string][]> {
    const { values } = await this.#parts.metrics.overLimit.get()
    return values.map(({ labels: { limit }, value }) => [`limits/${limit}`, String(value)])
  }
}

/** Topics below `$SYS/broker/` that hold a number. The first two thirds are mosquitto's. */
function asNamed (n: BrokerNumbers): Record<string, number> {
  const { connected, disconnected, maximum, expired, slow } = n.clients
  const { received, sent, bytesReceived, bytesSent, limited } = n.publishes
  // mosquitto counts a message for many receivers once.
  const stored = n.retained + n.queued + n.inflight
  return {
    'clients/total': connected + disconnected,
    'clients/connected': connected,
    'clients/active': connected,
    'clients/disconnected': disconnected,
    'clients/inactive': disconnected,
    'clients/maximum': maximum,
    'clients/expired': expired,
    'messages/received': n.packets.received,
    'messages/sent': n.packets.sent,
    'messages/stored': stored,
    'store/messages/count': stored,
    'store/messages/bytes': n.retainedBytes + n.queuedBytes,
    'subscriptions/count': n.subscriptions.own,
    'shared_subscriptions/count': n.subscriptions.shared,
    'retained messages/count': n.retained,
    'publish/messages/received': received,
    'publish/messages/sent': sent,
    'publish/messages/dropped': droppedIn(n),
    'publish/bytes/received': bytesReceived,
    'publish/bytes/sent': bytesSent,
    'bytes/received': n.bytes.received,
    'bytes/sent': n.bytes.sent,
    'clients/slow': slow,
    'publish/messages/dropped/conflate': n.dropped.conflate,
    'publish/messages/dropped/drop-oldest': n.dropped['drop-oldest'],
    'publish/messages/dropped/never': n.dropped.never,
    'publish/messages/conflated': n.conflated,
    'publish/messages/expired': n.expired,
    'publish/messages/too_large': n.tooLarge,
    'publish/messages/inflight': n.inflight,
    'publish/messages/queued': n.queued,
    'publish/bytes/queued': n.queuedBytes,
    'publish/held': n.holds,
    'publish/held_ms': Math.round(n.heldMs),
    'limits/publishesPerSecond': limited
  }
}

function loadsOf (n: BrokerNumbers): Record<string, number> {
  return {
    'messages/received': n.packets.received,
    'messages/sent': n.packets.sent,
    'publish/received': n.publishes.received,
    'publish/sent': n.publishes.sent,
    'publish/dropped': droppedIn(n),
    'bytes/received': n.bytes.received,
    'bytes/sent': n.bytes.sent,
    sockets: n.sockets,
    connections: n.connects
  }
}

function droppedIn ({ dropped }: BrokerNumbers): number {
  return dropped.conflate + dropped['drop-oldest'] + dropped.never
}
