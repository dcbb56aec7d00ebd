// What the broker must remember over a crash, on its way to the store: notes what has changed, and writes it in
// batches. A batch is what was noted while the last one was written; what came and went meanwhile is never written.
// Nothing that depends on it may be acknowledged before `afterWrite` calls back; who has waited too long is told so.
import type { BrokerChanges, BrokerStore, StoredEntry, StoredMessage, StoredReceipt, StoredSession, StoredSubscription, StoredWill } from '../shared/broker-store.js'
import type { Clock, Timer } from '../shared/clock.js'
import type { Log } from '../shared/log.js'
import type { Message } from './message.js'
import type { Entry } from './out-queue.js'
import type { Session } from './session.js'

const RETRY_EVERY_MS = 100
/** Longest time that an acknowledgement waits for the disk, and that the end of the broker does. */
const HOLD_MS = 5_000

interface Waiting {
  done: (() => void) | null
  late: (() => boolean) | null
  readonly sinceMs: number
}

export interface JournalParts {
  /** Null keeps nothing: everything ends with the process. */
  readonly store: BrokerStore | null
  readonly clock: Clock
  readonly log: Log
}

/** Changes that are noted and not written yet; the later one of a key counts. */
class Noted {
  readonly sessionsGone = new Set<string>()
  readonly sessions = new Map<string, StoredSession>()
  readonly subscriptions = new Map<string, Map<string, StoredSubscription | null>>()
  readonly entries = new Map<Entry, Session>()
  readonly messagesGone = new Set<number>()
  readonly retained = new Map<string, Message | null>()
  readonly wills = new Map<string, StoredWill | null>()
  readonly receipts = new Map<string, Map<number, boolean>>()
  waiting: Waiting[] = []
}

export class Journal {
  readonly #parts: JournalParts
  #noted = new Noted()
  /** The batch that is being written. */
  #writing: Noted | null = null
  #watch: Timer | null = null
  #closed = false
  #changes = 0
  #running = false
  #lastMessage = 0
  #idle: (() => void)[] = []

  constructor (parts: JournalParts) {
    this.#parts = parts
  }

  /** Grows with every change that is noted: what has grown between two looks must be waited for. */
  get changes (): number { return this.#changes }

  /** Numbers up to this one are in the store already. */
  beginAfter (message: number): void {
    this.#lastMessage = message
  }

  session (session: StoredSession): void {
    if (this.#note()) this.#noted.sessions.set(session.clientId, session)
  }

  /** The session is over, with all that `Session.end` gave back. */
  sessionGone (clientId: string, left: readonly Entry[]): void {
    if (!this.#note()) return
    const noted = this.#noted
    noted.sessionsGone.add(clientId)
    noted.sessions.delete(clientId)
    noted.subscriptions.delete(clientId)
    noted.receipts.delete(clientId)
    for (const [entry, session] of noted.entries) {
      if (session.id === clientId && session.ended) this.#forget(entry)
    }
    for (const entry of left) this.#forget(entry)
  }

  subscription (subscription: StoredSubscription): void {
    if (this.#note()) inner(this.#noted.subscriptions, subscription.clientId).set(subscription.filter, subscription)
  }

  subscriptionGone (clientId: string, filter: string): void {
    if (this.#note()) inner(this.#noted.subscriptions, clientId).set(filter, null)
  }

  /** An entry of a stored session has come, changed or gone. */
  entry (session: Session, entry: Entry): void {
    // One that went before it was written is no change.
    if (entry.gone && entry.written === null) {
      this.#noted.entries.delete(entry)
      return
    }
    if (this.#note()) this.#noted.entries.set(entry, session)
  }

  /** No entry needs a message that was loaded. */
  messageGone (number: number): void {
    if (this.#note()) this.#noted.messagesGone.add(number)
  }

  /** Whether nothing of this entry is on its way to the disk. */
  isOnDisk (entry: Entry): boolean {
    return !this.#noted.entries.has(entry) && !this.#writing?.entries.has(entry)
  }

  retained (topic: string, message: Message | null): void {
    if (this.#note()) this.#noted.retained.set(topic, message)
  }

  will (clientId: string, will: StoredWill | null): void {
    if (this.#note()) this.#noted.wills.set(clientId, will)
  }

  receipt ({ clientId, packetId }: StoredReceipt, isThere: boolean): void {
    if (this.#note()) inner(this.#noted.receipts, clientId).set(packetId, isThere)
  }

  /**
   * Calls back, in the order of the calls, when everything noted so far is on disk. `late` is called first when that
   * takes longer than 5 s, and tells whether `done` is still wanted.
   */
  afterWrite (done: () => void, late: (() => boolean) | null = null): void {
    const { store, clock } = this.#parts
    if (store === null) {
      done()
      return
    }
    this.#noted.waiting.push({ done, late, sinceMs: late === null ? 0 : clock.nowMs() })
    if (late !== null) this.#watch ??= clock.after(HOLD_MS, () => this.#tellLate())
    this.#start()
  }

  /** Resolves when everything noted so far is on disk, or after 5 s: beside a disk that does not work the process must end as well. */
  async close (): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<'late'>(resolve => { timer = setTimeout(() => resolve('late'), HOLD_MS) })
    const how = await Promise.race([this.settled(), late])
    clearTimeout(timer)
    this.#closed = true
    this.#watch?.cancel()
    if (how === 'late') this.#parts.log.error('sessions could not be stored before the end: what was not acknowledged is lost')
  }

  /** Resolves when everything noted so far is on disk. */
  async settled (): Promise<void> {
    await new Promise<void>(resolve => this.afterWrite(resolve))
    if (this.#running) await new Promise<void>(resolve => this.#idle.push(resolve))
  }

  /** Tells those who have waited too long, and forgets those who then wait no more. */
  #tellLate (): void {
    const { clock } = this.#parts
    const untilMs = clock.nowMs() - HOLD_MS
    const batches = this.#writing === null ? [this.#noted] : [this.#writing, this.#noted]
    for (const one of batches.flatMap(({ waiting }) => waiting)) {
      if (one.late === null || one.sinceMs > untilMs) continue
      const { late } = one
      one.late = null
      if (!late()) one.done = null
    }
    let oldestMs = Infinity
    for (const batch of batches) {
      batch.waiting = batch.waiting.filter(({ done }) => done !== null)
      for (const { late, sinceMs } of batch.waiting) if (late !== null) oldestMs = Math.min(oldestMs, sinceMs)
    }
    this.#watch = oldestMs === Infinity ? null : clock.after(oldestMs - untilMs, () => this.#tellLate())
  }

  #note (): boolean {
    if (this.#parts.store === null) return false
    this.#changes++
    this.#start()
    return true
  }

  #start (): void {
    if (this.#running) return
    this.#running = true
    // One turn later, so that all of this turn makes one batch.
    setImmediate(() => { void this.#run() })
  }

  async #run (): Promise<void> {
    const { store } = this.#parts
    let count = -1
    while (store !== null && (this.#changes !== count || this.#noted.waiting.length > 0)) {
      count = this.#changes
      const noted = this.#noted
      this.#noted = new Noted()
      this.#writing = noted
      await this.#write(store, this.#changesOf(noted))
      this.#writing = null
      for (const { done } of noted.waiting) done?.()
      await new Promise(resolve => setImmediate(resolve))
    }
    this.#running = false
    for (const resolve of this.#idle.splice(0)) resolve()
  }

  /** The same batch until it is written: whoever waits for it stays unacknowledged meanwhile. */
  async #write (store: BrokerStore, changes: BrokerChanges): Promise<void> {
    const { clock, log } = this.#parts
    if (Object.values(changes).every(part => (part instanceof Map ? part.size : (part as readonly unknown[]).length) === 0)) return
    for (let failing = false; ; failing = true) {
      try {
        await store.write(changes)
        if (failing) log.info('sessions can be stored again')
        return
      } catch (err) {
        if (this.#closed) return
        if (!failing) log.error({ err }, 'sessions cannot be stored; what depends on it stays unacknowledged until they can')
        await new Promise<void>(resolve => clock.after(RETRY_EVERY_MS, resolve))
      }
    }
  }

  #changesOf (noted: Noted): BrokerChanges {
    const messages = new Map<number, StoredMessage>()
    const entries: StoredEntry[] = []
    const entriesGone: [string, number][] = []
    for (const [entry, session] of noted.entries) {
      if (session.ended) {
        this.#forget(entry)
      } else if (entry.gone) {
        if (entry.written !== null) entriesGone.push([session.id, entry.place])
        this.#forget(entry, noted)
      } else {
        this.#hold(entry, messages, noted)
        entries.push({
          clientId: session.id, place: entry.place, message: entry.message.stored, qos: entry.qos === 2 ? 2 : 1, retain: entry.retain,
          identifiers: entry.ids ?? [], group: entry.group?.name ?? null, packetId: entry.messageId, released: entry.released
        })
      }
    }
    // Needed and not needed any more within this batch.
    for (const number of noted.messagesGone) if (messages.delete(number)) noted.messagesGone.delete(number)
    const [subscriptions, subscriptionsGone] = split(noted.subscriptions, (put): put is StoredSubscription => put !== null)
    const [receipts, receiptsGone] = split(noted.receipts, (isThere): isThere is true => isThere)
    return {
      sessionsGone: [...noted.sessionsGone],
      sessions: [...noted.sessions.values()],
      subscriptions: subscriptions.map(([, , put]) => put),
      subscriptionsGone: subscriptionsGone.map(([clientId, filter]) => [clientId, filter]),
      messages,
      messagesGone: [...noted.messagesGone],
      entries,
      entriesGone,
      retained: [...noted.retained.values()].flatMap(message => message === null ? [] : [message.toStored()]),
      retainedGone: [...noted.retained].flatMap(([topic, message]) => message === null ? [topic] : []),
      wills: [...noted.wills.values()].flatMap(will => will === null ? [] : [will]),
      willsGone: [...noted.wills].flatMap(([clientId, will]) => will === null ? [clientId] : []),
      receipts: receipts.map(([clientId, packetId]) => ({ clientId, packetId })),
      receiptsGone: receiptsGone.map(([clientId, packetId]) => [clientId, packetId])
    }
  }

  /** The entry needs its message in the store, and no longer the one that it had there. */
  #hold (entry: Entry, messages: Map<number, StoredMessage>, noted: Noted): void {
    const { message, written } = entry
    if (written === message) return
    if (message.storedFor === 0) {
      message.stored = ++this.#lastMessage
      messages.set(message.stored, message.toStored())
    }
    message.storedFor++
    if (written !== null) release(written, noted)
    entry.written = message
  }

  #forget (entry: Entry, noted = this.#noted): void {
    if (entry.written !== null) release(entry.written, noted)
    entry.written = null
  }
}

function release (message: Message, noted: Noted): void {
  if (--message.storedFor === 0) noted.messagesGone.add(message.stored)
}

function inner<K, V> (maps: Map<string, Map<K, V>>, clientId: string): Map<K, V> {
  let map = maps.get(clientId)
  if (map === undefined) maps.set(clientId, map = new Map<K, V>())
  return map
}

type Row<K, V> = [clientId: string, key: K, value: V]

function split<K, V, P extends V> (maps: ReadonlyMap<string, ReadonlyMap<K, V>>, isPut: (value: V) => value is P): [Row<K, P>[], Row<K, V>[]] {
  const put: Row<K, P>[] = []
  const gone: Row<K, V>[] = []
  for (const [clientId, map] of maps) {
    for (const [key, value] of map) {
      if (isPut(value)) put.push([clientId, key, value])
      else gone.push([clientId, key, value])
    }
  }
  return [put, gone]
}
