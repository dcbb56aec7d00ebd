// How failed log-ins slow down the next one: by address, by user name, and by both where that user is known to come from
// there. Forgotten with time, bounded in size, and without knowledge of any password.
import { isIPv6 } from 'node:net'
import type { Clock } from '../shared/clock.js'

/** Failures that cost nothing: people mistype. */
const FREE = 3
/** Milliseconds: the wait after the first failure that costs; it doubles with each further one. */
const FIRST_DELAY_MS = 250
/** Most addresses, or user names, that are remembered; the one that failed longest ago goes first. */
const MOST_KEYS = 10_000

export interface ThrottleLimits {
  /** Milliseconds: the longest wait. */
  readonly loginDelayMs: number
  /** Milliseconds since the last failure, after which nothing is held against anybody. */
  readonly loginForgetMs: number
}

/** The failures of one kind of key. */
export class Failures {
  readonly #clock: Clock
  readonly #limits: ThrottleLimits
  /** Insertion order is the order of the last failure. */
  readonly #byKey = new Map<string, { count: number, lastMs: number }>()

  constructor (clock: Clock, limits: ThrottleLimits) {
    this.#clock = clock
    this.#limits = limits
  }

  get size (): number { return this.#byKey.size }

  count (key: string): void {
    const nowMs = this.#clock.nowMs()
    const count = (this.#live(key, nowMs)?.count ?? 0) + 1
    this.#byKey.delete(key)
    if (this.#byKey.size >= MOST_KEYS) this.#byKey.delete(this.#byKey.keys().next().value ?? '')
    this.#byKey.set(key, { count, lastMs: nowMs })
  }

  /** Milliseconds since 1970 from which on the next log-in may be checked; 0 when at once. */
  untilMs (key: string): number {
    const entry = this.#live(key, this.#clock.nowMs())
    if (entry === undefined || entry.count < FREE) return 0
    // The exponent is bounded, or the delay would become Infinity.
    return entry.lastMs + Math.min(this.#limits.loginDelayMs, FIRST_DELAY_MS * 2 ** Math.min(entry.count - FREE, 30))
  }

  /** Whether it has failed, and that is not forgotten. */
  has (key: string): boolean {
    return this.#live(key, this.#clock.nowMs()) !== undefined
  }

  isDelayed (key: string): boolean {
    return this.untilMs(key) > this.#clock.nowMs()
  }

  #live (key: string, nowMs: number): { count: number, lastMs: number } | undefined {
    const entry = this.#byKey.get(key)
    if (entry === undefined || nowMs - entry.lastMs < this.#limits.loginForgetMs) return entry
    this.#byKey.delete(key)
    return undefined
  }
}

/**
 * What counts as one address: an IPv4 address, also where it is written as IPv6, or the /64 of an IPv6 address, which is
 * the least that one customer of a provider has (RFC 6177).
 */
export function addressKey (address: string): string {
  const [bare = ''] = address.split('%')
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare)?.[1]
  if (mapped !== undefined) return mapped
  if (!isIPv6(bare)) return address
  const [before = '', after] = bare.split('::')
  const groups = before === '' ? [] : before.split(':')
  // An IPv4 tail takes the place of two groups.
  const tail = after === undefined || after === '' ? [] : after.split(':').flatMap(group => group.includes('.') ? ['0', '0'] : [group])
  const missing = after === undefined ? 0 : 8 - groups.length - tail.length
  const all = [...groups, ...Array.from({ length: missing }, () => '0'), ...tail]
  return `${all.slice(0, 4).map(group => Number.parseInt(group, 16).toString(16)).join(':')}::/64`
}
