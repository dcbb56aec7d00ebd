// How failed log-ins slow down the next one: by address, by user name that several addresses try, and by both where that
// user is known to come from there. Forgotten with time, bounded in size, and without knowledge of any password.
import { isIPv6 } from 'node:net'
import type { Clock } from '../shared/clock.js'

/** Failures that cost nothing: people mistype. */
const FREE = 3
/** Milliseconds: the wait after the first failure that costs; it doubles with each further one. */
const FIRST_DELAY_MS = 250
/** Most addresses, or user names, that are remembered: the last half of them always, the others until there is no room. */
const MOST_KEYS = 10_000

export interface ThrottleLimits {
  /** Milliseconds: the longest wait. */
  readonly loginDelayMs: number
  /** Milliseconds since the last failure, after which nothing is held against anybody. */
  readonly loginForgetMs: number
}

interface Failed {
  readonly count: number
  readonly lastMs: number
}

/** The failures of one kind of key. */
export class Failures {
  readonly #clock: Clock
  readonly #limits: ThrottleLimits
  /**
   * Those that failed last, and those before them, which go all at once: a map that always gives up its oldest entry
   * walks over all that it has given up before.
   */
  #recent = new Map<string, Failed>()
  #older = new Map<string, Failed>()

  constructor (clock: Clock, limits: ThrottleLimits) {
    this.#clock = clock
    this.#limits = limits
  }

  /** Keys that are remembered; one that failed again may count twice. At most `MOST_KEYS`. */
  get size (): number { return this.#recent.size + this.#older.size }

  count (key: string): void {
    const count = (this.#live(key)?.count ?? 0) + 1
    if (this.#recent.size >= MOST_KEYS / 2 && !this.#recent.has(key)) {
      this.#older = this.#recent
      this.#recent = new Map<string, Failed>()
    }
    this.#recent.set(key, { count, lastMs: this.#clock.nowMs() })
  }

  /** Milliseconds since 1970 from which on the next log-in may be checked; 0 when at once. */
  untilMs (key: string): number {
    const entry = this.#live(key)
    if (entry === undefined || entry.count < FREE) return 0
    // The exponent is bounded, or the delay would become Infinity.
    return entry.lastMs + Math.min(this.#limits.loginDelayMs, FIRST_DELAY_MS * 2 ** Math.min(entry.count - FREE, 30))
  }

  /** Whether it has failed, and that is not forgotten. */
  has (key: string): boolean {
    return this.#live(key) !== undefined
  }

  /** Whether its failures have begun to cost. */
  isSlowed (key: string): boolean {
    return (this.#live(key)?.count ?? 0) >= FREE
  }

  isDelayed (key: string): boolean {
    return this.untilMs(key) > this.#clock.nowMs()
  }

  #live (key: string): Failed | undefined {
    const entry = this.#recent.get(key) ?? this.#older.get(key)
    if (entry === undefined || this.#clock.nowMs() - entry.lastMs < this.#limits.loginForgetMs) return entry
    this.#recent.delete(key)
    this.#older.delete(key)
    return undefined
  }
}

/**
 * The failures of user names, over all addresses. One address alone cannot slow a name down for the others: it is slowed
 * itself, and whoever floods from there shall not lock a user out elsewhere. From three addresses on, every failure counts.
 */
export class FailuresOfNames {
  readonly #names: Failures
  /** Of a name from an address. */
  readonly #tried: Failures

  constructor (clock: Clock, limits: ThrottleLimits) {
    this.#names = new Failures(clock, limits)
    this.#tried = new Failures(clock, limits)
  }

  /** Names, and which address tried which name: at most twice `MOST_KEYS`. */
  get size (): number { return this.#names.size + this.#tried.size }

  count (name: string, from: string): void {
    const pair = `${name} ${from}`
    if (this.#names.isSlowed(name) || !this.#tried.has(pair)) this.#names.count(name)
    this.#tried.count(pair)
  }

  /** Milliseconds since 1970 from which on the next log-in of this name may be checked; 0 when at once. */
  untilMs (name: string): number {
    return this.#names.untilMs(name)
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
