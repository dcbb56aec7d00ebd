// Writes log-ins and refusals into the audit, in small batches beside the flow of messages. Whoever knocks a thousand
// times makes two lines a minute, and what strangers do never takes the place of what users did. It never keeps anybody
// waiting, holds a bounded amount, and counts what it could not tell in full.
import type { AccessEvent, AccessType, OnAccess } from '../shared/access-event.js'
import type { Clock, Timer } from '../shared/clock.js'
import { UnavailableError } from '../shared/errors.js'
import type { Log } from '../shared/log.js'
import type { Metrics } from '../shared/metrics.js'
import { printable, whoIs, type AuditEntry } from './audit.js'
import type { Ledger } from './ledger.js'

/** Events of one kind: the same type, who, address and why. */
const MINUTE_MS = 60_000
/** Kinds in a minute that get lines of their own. Log-ins of users are as many as users and addresses; all others can be made up. */
const KINDS_A_MINUTE = { users: 1_000, others: 100 } as const
/** How long a line waits for others to be written with it. */
const WRITE_AFTER_MS = 250
const RETRY_AFTER_MS = 1_000
const LINES_AT_ONCE = 200
/** Lines that wait for a ledger that cannot be written. */
const MOST_WAITING = 2_000

export interface AccessAuditParts {
  readonly ledger: Pick<Ledger, 'transact'>
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Pick<Metrics, 'auditUnnamed' | 'auditLost'>
}

export interface AccessAudit {
  /** Takes an event, at once. */
  readonly note: OnAccess
  /** Writes what is there and ends; what comes later is lost. Never throws. */
  stop (): Promise<void>
}

/** How often something happened, and when last. */
interface Count { times: number, lastAtMs: number }

/** Makes the audit of accesses. The first of a kind in a minute is written within a second, its repeats as one line at the end. */
export function createAccessAudit (parts: AccessAuditParts): AccessAudit {
  const writer = new AccessAuditWriter(parts)
  return { note: event => writer.note(event), stop: async () => await writer.stop() }
}

class AccessAuditWriter {
  readonly #parts: AccessAuditParts
  /** Of this minute, each with its repeats. */
  readonly #kinds = new Map<string, { readonly entry: AuditEntry, readonly repeats: Count }>()
  readonly #kindsOf = new Map<string, number>()
  /** What has no line of its own, by type: there was no room for one more kind. */
  readonly #unnamed = new Map<AccessType, Count>()
  readonly #waiting: AuditEntry[] = []
  #minute: Timer | null = null
  #writeTimer: Timer | null = null
  #writing: Promise<void> | null = null
  #failing = false
  #stopped = false

  constructor (parts: AccessAuditParts) {
    this.#parts = parts
  }

  note (event: AccessEvent): void {
    const { clock, metrics } = this.#parts
    const atMs = clock.nowMs()
    if (this.#stopped) {
      metrics.auditLost.inc()
      return
    }
    this.#minute ??= clock.after(MINUTE_MS, () => this.#endMinute())
    const entry = entryOf(event, atMs)
    const key = JSON.stringify([entry.type, entry.who, entry.address, entry.why])
    const known = this.#kinds.get(key)
    if (known) count(known.repeats, 1, atMs)
    else if (this.#hasRoomFor(event)) {
      this.#kinds.set(key, { entry, repeats: { times: 0, lastAtMs: atMs } })
      this.#write(entry)
    } else {
      metrics.auditUnnamed.inc({ type: event.type })
      this.#countUnnamed(event.type, 1, atMs)
    }
  }

  /** Repeats and what was not named are written, once more than nobody waits for. */
  async stop (): Promise<void> {
    this.#stopped = true
    this.#minute?.cancel()
    this.#writeTimer?.cancel()
    await this.#writing
    do {
      this.#endMinute()
      while (this.#waiting.length > 0 && await this.#writeSome()) { /* Until it is empty or cannot be written. */ }
    } while (this.#waiting.length === 0 && this.#unnamed.size > 0)
    const lost = this.#waiting.length
    if (lost === 0) return
    this.#parts.metrics.auditLost.inc(lost)
    this.#parts.log.error({ lines: lost }, 'the last lines of the audit could not be written')
  }

  /** Each type has its own room, and users who did log in another than strangers. */
  #hasRoomFor ({ type, user }: AccessEvent): boolean {
    if (this.#waiting.length >= MOST_WAITING) return false
    const isProven = user !== null && type !== 'login.refused'
    const room = `${type} ${isProven}`
    const taken = this.#kindsOf.get(room) ?? 0
    if (taken >= (isProven && type === 'login.accepted' ? KINDS_A_MINUTE.users : KINDS_A_MINUTE.others)) return false
    this.#kindsOf.set(room, taken + 1)
    return true
  }

  #countUnnamed (type: AccessType, times: number, atMs: number): void {
    const counted = this.#unnamed.get(type) ?? { times: 0, lastAtMs: atMs }
    count(counted, times, atMs)
    this.#unnamed.set(type, counted)
  }

  #endMinute (): void {
    this.#minute = null
    for (const { entry, repeats: { times, lastAtMs } } of this.#kinds.values()) {
      if (times === 0) continue
      if (this.#waiting.length < MOST_WAITING) this.#write({ ...entry, atMs: lastAtMs, after: { times } })
      else this.#countUnnamed(entry.type as AccessType, times, lastAtMs)
    }
    this.#kinds.clear()
    this.#kindsOf.clear()
    for (const [type, { times, lastAtMs }] of this.#unnamed) {
      // The last few places are for these numbers: there are as many as types.
      if (this.#waiting.length >= MOST_WAITING + this.#unnamed.size) continue
      this.#write({ type, who: 'others', why: 'too many different ones in a minute to tell each', atMs: lastAtMs, after: { times } })
      this.#unnamed.delete(type)
    }
    // What found no place is told when there is one.
    if (this.#unnamed.size > 0 && !this.#stopped) this.#minute = this.#parts.clock.after(MINUTE_MS, () => this.#endMinute())
  }

  #write (entry: AuditEntry): void {
    this.#waiting.push(entry)
    this.#writeSoon(WRITE_AFTER_MS)
  }

  #writeSoon (delayMs: number): void {
    if (this.#writeTimer !== null || this.#writing !== null || this.#stopped) return
    this.#writeTimer = this.#parts.clock.after(delayMs, () => {
      this.#writeTimer = null
      this.#writing = this.#writeSome().then(isWritten => {
        this.#writing = null
        if (this.#waiting.length > 0) this.#writeSoon(isWritten ? 0 : RETRY_AFTER_MS)
      })
    })
  }

  /** Writes a batch; whether it is on disk, or given up for good. Never throws. */
  async #writeSome (): Promise<boolean> {
    const { ledger, log, metrics } = this.#parts
    const batch = this.#waiting.slice(0, LINES_AT_ONCE)
    try {
      await ledger.transact('access', async tx => {
        for (const entry of batch) tx.audit(entry)
      })
      if (this.#failing) log.info('log-ins and refusals are written to the audit again')
      this.#failing = false
    } catch (err) {
      if (err instanceof UnavailableError) {
        // Said once for a fault that lasts.
        if (!this.#failing) log.error({ err }, 'log-ins and refusals cannot be written to the audit; they wait')
        this.#failing = true
        return false
      }
      metrics.auditLost.inc(batch.length)
      log.error({ err, lines: batch.length }, 'a fault: these lines of the audit cannot be written and are lost')
    }
    this.#waiting.splice(0, batch.length)
    return true
  }
}

function entryOf ({ type, user, clientId, address, why }: AccessEvent, atMs: number): AuditEntry {
  return { type, who: whoIs(user, clientId), why: printable(why), atMs, ...(address !== null && { address: printable(address) }) }
}

function count (counted: Count, times: number, atMs: number): void {
  counted.times += times
  counted.lastAtMs = atMs
}
