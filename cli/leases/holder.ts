// Which shares this process has: it takes what nobody has, up to its part, gives back what is more than that, and ends what it has lost.
// Who has no connection to the broker takes part in nothing, so that its shares go to those who have one.
import type { Clock, Timer } from '../../shared/clock.js'
import type { Log } from '../../shared/log.js'
import { Pump } from '../../shared/pump.js'
import type { Metrics } from '../../shared/metrics.js'
import type { Lease, Leases } from '../../storage/leases.js'
import { isFinal, Term, type TermParts } from './term.js'

/** Leases are prolonged so many times while they last. */
const RENEWALS = 4
/** How long a process that could not use a share takes none, in milliseconds: another may have more luck. */
const REST_MS = 2_000

export interface HolderParts extends Pick<TermParts, 'connect' | 'begin'> {
  readonly leases: Leases
  readonly leaseMs: number
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  /** Whether this process reaches the broker now. */
  readonly isConnected: () => boolean
}

export class Holder {
  readonly #parts: HolderParts
  readonly #terms = new Map<string, Term>()
  readonly #pump: Pump
  #timer: Timer | null = null
  #restUntilMs = 0
  #failing = false
  #stopped = false
  /** The database is away while this process stops: each lease would be waited for in vain. */
  #isSilent = false
  /** A fault of the first terms that no waiting mends: the start fails with it. */
  #fault: unknown = null
  readonly #endings = new Set<Promise<void>>()

  private constructor (parts: HolderParts) {
    this.#parts = parts
    this.#pump = new Pump({ clock: parts.clock, work: async () => await this.#look(), onError: err => this.#onError(err) })
  }

  /** Resolves when what this process could take at once is being served. Throws what keeps it from that for good. */
  static async start (parts: HolderParts): Promise<Holder> {
    const holder = new Holder(parts)
    try {
      await holder.#look()
      parts.leases.onNews(() => holder.#pump.wake())
      await Promise.all([...holder.#terms.values()].map(async term => await term.begun))
      if (holder.#fault !== null) throw holder.#fault as Error
    } catch (error) {
      await holder.stop()
      throw error
    }
    return holder
  }

  get shares (): string[] { return [...this.#terms.keys()].sort() }

  /** Gives everything back: the others have it at once. */
  async stop (): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    await this.#pump.stop()
    const { leases, log } = this.#parts
    await leases.leave().catch((err: unknown) => {
      this.#isSilent = true
      log.warn({ err }, 'the others could not be told that this process takes no part any more; they have its shares when its leases end')
    })
    await Promise.all([...this.#terms.values()].map(async term => {
      term.leave()
      await term.ended
    }))
    // What a term does at its end is done by now, with its word to the others.
    await Promise.all(this.#endings)
    await leases.close()
  }

  async #look (): Promise<void> {
    this.#timer?.cancel()
    try {
      await this.#share()
    } finally {
      if (!this.#stopped) this.#timer = this.#parts.clock.after(this.#parts.leaseMs / RENEWALS, () => this.#pump.wake())
    }
  }

  async #share (): Promise<void> {
    const { leases, clock, isConnected } = this.#parts
    const takesPart = isConnected() && clock.nowMs() >= this.#restUntilMs
    const { kept, free, all, processes } = await leases.renew(takesPart, [...this.#terms.values()].map(term => term.lease))
    if (this.#failing) this.#parts.log.info('the leases are prolonged again')
    this.#failing = false
    const epochs = new Map(kept.map(({ share, epoch }) => [share, epoch]))
    for (const [share, term] of this.#terms) if (epochs.get(share) !== term.lease.epoch) term.lose()
    const most = takesPart ? Math.ceil(all / processes) : 0
    // The newest first: what has been here longest stays.
    const surplus = [...this.#terms.values()].slice(most)
    for (const term of surplus) term.leave()
    const room = most - this.#terms.size
    if (this.#stopped || room <= 0 || free === 0) return
    const taken = await leases.take(room)
    if (taken.length > 0) this.#parts.log.info({ shares: taken.map(({ share }) => share).sort(), has: this.#terms.size + taken.length, of: all, processes }, 'shares of the lots are taken')
    for (const lease of taken) this.#begin(lease)
  }

  #begin (lease: Lease): void {
    const { leases, clock, log, metrics, connect, begin } = this.#parts
    const term = new Term({ lease, leases, clock, log, connect, begin })
    this.#terms.set(lease.share, term)
    metrics.shares.set(this.#terms.size)
    metrics.shareChanges.inc({ what: 'taken' })
    const ending = this.#end(term).finally(() => this.#endings.delete(ending))
    this.#endings.add(ending)
  }

  /** Waits for the end of a term, and gives its lease back where it is still ours. */
  async #end (term: Term): Promise<void> {
    const { leases, clock, log, metrics, isConnected } = this.#parts
    const { share } = term.lease
    const end = await term.ended
    if (end.why === 'failed') {
      if (isFinal(end.error)) this.#fault ??= end.error
      // Where nobody reaches the broker this process takes no part in any case, until it does.
      if (isConnected()) this.#restUntilMs = clock.nowMs() + REST_MS
      log[isConnected() ? 'error' : 'debug']({ err: end.error, share }, 'a share cannot be served from here; it is given back')
    }
    if (end.why === 'lost') log.warn({ share, epoch: term.lease.epoch }, 'a share is another\'s by now: this process was stopped, or cut off from its database, for too long')
    else if (!this.#isSilent) await leases.release([term.lease]).catch((err: unknown) => log.warn({ err, share }, 'a share could not be given back; it waits until its lease ends'))
    metrics.shareChanges.inc({ what: end.why === 'lost' ? 'lost' : 'given' })
    // It may have been taken again meanwhile.
    if (this.#terms.get(share) === term) this.#terms.delete(share)
    metrics.shares.set(this.#terms.size)
    if (!this.#stopped) this.#pump.wake()
  }

  #onError (err: unknown): void {
    // Said once for a fault that lasts, not at every try.
    if (!this.#failing) this.#parts.log.warn({ err }, 'the leases cannot be prolonged; trying again')
    this.#failing = true
  }
}
