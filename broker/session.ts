// A session's way out: what waits for its client, what the client has not acknowledged, and the window between them
// (MQTT 5.0 sections 4.3, 4.4 and 4.9). It lives as long as the session, with or without a connection. It never sends
// more than the window allows, and never holds up anybody else.
import type { FlowCounts } from './flow-counts.js'
import type { Journal } from './journal.js'
import { remainingSeconds, type Message } from './message.js'
import { Entry, OutQueue, type QueueLimits } from './out-queue.js'
import type { Qos } from './packets.js'
import { RetainedDue, type RetainedSource } from './retained-due.js'
import type { Group, SubscriptionOptions } from './router.js'
import { frameFor, type Sink } from './sink.js'
import type { ParsedFilter } from './topic-filters.js'

export interface SessionParts {
  readonly id: string
  /** Whose it is; null for a client that did not say who it is. */
  readonly owner: string | null
  /** Most unacknowledged messages, whatever the client would take, and what may wait behind them. */
  readonly limits: QueueLimits & { readonly inflight: number }
  readonly counts: FlowCounts
  /** Where a session that outlives its connection is stored. */
  readonly journal: Journal
  readonly nowMs: () => number
  /** Told when the client begins to lose messages, or takes none, and when it has caught up again. */
  readonly onSlow: (session: Session, isSlow: boolean) => void
}

const MAX_MESSAGE_ID = 65_535
/** A client that has taken nothing for so long, while newer messages replaced those that wait for it, is slow. */
const SLOW_AFTER_MS = 1_000

export class Session {
  readonly id: string
  readonly owner: string | null
  /** Whether messages on a topic are for its owner. */
  mayRead: (topic: string) => boolean = () => false
  /** By the filter as the client wrote it. */
  readonly subscriptions = new Map<string, { readonly parsed: ParsedFilter, readonly options: SubscriptionOptions }>()
  /** How long it lives without a connection, in seconds; 0 ends it with the connection. */
  expirySeconds = 0
  /** The store knows of it, whatever its expiry is now: its end must be stored as well. */
  isInStore = false
  /** Over: nothing of it is stored or sent any more. */
  ended = false
  /** Its user is no more: it ends with its connection. */
  revoked = false
  readonly #parts: SessionParts
  readonly #queue: OutQueue
  /** QoS 0 does not wait for the window. */
  readonly #queue0: OutQueue
  #inflight = new Map<number, Entry>()
  /** Of an earlier connection, to be sent again first. */
  #again: Entry[] = []
  readonly #retained = new RetainedDue(() => this.pump())
  #retainedTurn = false
  #sink: Sink | null = null
  #lastId = 0
  #lastPlace = 0
  /** Messages that are sent as soon as they are on disk. */
  #unwritten = 0
  readonly #relieved = new Set<() => void>()
  isSlow = false
  /** When the client last took something, in milliseconds of the monotonic clock. */
  progressAtMs = performance.now()
  readonly own = { sent: 0, dropped: 0, conflated: 0 }
  /** When its connection began, in milliseconds since 1970; of the last one while there is none. */
  connectedAtMs = 0

  constructor (parts: SessionParts) {
    this.id = parts.id
    this.owner = parts.owner
    this.#parts = parts
    this.#queue = new OutQueue(parts.limits)
    this.#queue0 = new OutQueue(parts.limits)
  }

  get connected (): boolean { return this.#sink !== null }
  get isStored (): boolean { return this.expirySeconds > 0 && !this.ended }
  get queued (): number { return this.#queue.length + this.#queue0.length }
  /** What waits, in bytes, roughly. */
  get queuedBytes (): number { return this.#queue.bytes + this.#queue0.bytes }
  get inflight (): number { return this.#inflight.size }
  get window (): number { return Math.min(this.#parts.limits.inflight, this.#sink?.receiveMaximum ?? MAX_MESSAGE_ID) }
  /** Whether its client, which is there, loses messages now or takes none. */
  get isSlowNow (): boolean { return this.isSlow && this.#sink !== null }
  /** Whether it is time to slow those down who fill it. */
  get isFilling (): boolean { return this.#queue.isFilling || this.#queue0.isFilling }

  /** The client is connected: what it has not acknowledged comes first, again. [MQTT-4.4.0-1] */
  attach (sink: Sink): void {
    this.#again = [...this.#inflight.values(), ...this.#again]
    this.#inflight = new Map()
    this.#sink = sink
    this.connectedAtMs = this.#parts.nowMs()
    this.#progressed()
  }

  /** The connection is gone. What is still to be sent again keeps its place before the queue. */
  detach (): void {
    this.#sink = null
    for (const entry of this.#again) this.#inflight.set(entry.messageId, entry)
    this.#again = []
    for (const entry of this.#queue0.clear()) entry.gone = true
    this.#relieve()
  }

  /** Takes everything out, because the session is over; returns what was never acknowledged. */
  end (): Entry[] {
    const left = [...this.#inflight.values(), ...this.#again, ...this.#queue.clear()]
    this.#inflight = new Map()
    this.detach()
    this.#retained.clear()
    this.ended = true
    for (const entry of left) entry.gone = true
    return left
  }

  /**
   * Takes out what a shared subscription gave to this member, for another one that is there. A QoS 2 message on its way
   * stays: it may have arrived. [MQTT-4.8.2-4] [MQTT-4.8.2-5]
   */
  giveBack (mayGo: (group: Group, topic: string) => boolean): Entry[] {
    const isOthers = ({ group, message }: Entry): boolean => group !== null && mayGo(group, message.topic)
    const back = [...this.#inflight.values()].filter(entry => entry.qos === 1 && isOthers(entry))
    back.push(...this.#queue.take(isOthers))
    for (const entry of back) {
      this.#inflight.delete(entry.messageId)
      this.#gone(entry)
    }
    return back
  }

  /**
   * Takes out what its owner may not read any more; returns what a shared subscription gave to it, for another member. A
   * QoS 2 message that was on its way may have arrived, and is for nobody else. [MQTT-4.8.2-5]
   */
  takeUnreadable (): Entry[] {
    const isUnreadable = ({ message }: Entry): boolean => !this.mayRead(message.topic)
    // Of one that is received only PUBREL is left to be sent.
    const sent = [...this.#inflight.values(), ...this.#again].filter(entry => !entry.released && isUnreadable(entry))
    const queued = this.#queue.take(isUnreadable)
    for (const entry of this.#queue0.take(isUnreadable)) entry.gone = true
    for (const entry of sent) this.#inflight.delete(entry.messageId)
    for (const entry of [...sent, ...queued]) this.#gone(entry)
    this.#again = this.#again.filter(entry => !entry.gone)
    return [...sent.filter(entry => entry.qos === 1), ...queued].filter(entry => entry.group !== null)
  }

  /** An entry from the store, in its order. */
  restore (entry: Entry): void {
    this.#lastPlace = Math.max(this.#lastPlace, entry.place)
    if (entry.messageId > 0) this.#inflight.set(entry.messageId, entry)
    else this.#put(this.#queue, entry)
  }

  /** A message for this client. It is sent now, waits, or makes others make room. */
  offer (message: Message, qos: Qos, retain: boolean, ids: readonly number[] | null, group: Group | null = null): void {
    const sink = this.#sink
    if (qos === 0) {
      if (sink === null) return
      const entry = new Entry(message, qos, retain, ids, group)
      if (this.#queue0.length === 0 && sink.writable) this.#send(sink, entry)
      else this.#put(this.#queue0, entry)
      return
    }
    const entry = new Entry(message, qos, retain, ids, group)
    message.keep()
    const goes = sink !== null && sink.writable && this.#queue.length === 0 && this.#again.length === 0 && this.#inflight.size < this.window
    if (goes) this.#send(sink, entry)
    else this.#put(this.#queue, entry)
  }

  /** Retained messages of a new subscription; they are never dropped, only paced. `filter` as the client wrote it. */
  offerRetained (filter: string, source: RetainedSource): void {
    this.#retained.add(filter, source)
    this.pump()
  }

  /** The subscription is over. */
  cancelRetained (filter: string): void {
    this.#retained.cancel(filter)
  }

  /** Sends what window and socket allow. */
  pump (): void {
    const sink = this.#sink
    if (sink === null) return
    while (sink.writable && this.#pumpOne(sink)) { /* one after the other */ }
    if (this.#relieved.size > 0 && this.#queue.isRelieved && this.#queue0.isRelieved) this.#relieve()
    if (this.isSlow && this.queued * 10 < this.#parts.limits.messages) this.#setSlow(false)
  }

  /** Calls back once when it is no longer filling, or its connection is gone; unless that is taken back before. */
  whenRelieved (go: () => void): () => void {
    this.#relieved.add(go)
    return () => { this.#relieved.delete(go) }
  }

  /** The socket has taken something. */
  drained (): void {
    this.#progressed()
  }

  /**
   * PUBACK, PUBCOMP, or a PUBREC that refuses: the message is over and its place in the window is free. Returns false
   * when no message of this QoS has this identifier.
   */
  over (messageId: number, qos: 1 | 2): boolean {
    const entry = this.#inflight.get(messageId)
    if (entry === undefined || entry.qos !== qos) return false
    this.#inflight.delete(messageId)
    this.#gone(entry)
    this.#progressed()
    return true
  }

  /** PUBREC: PUBREL follows, when the store knows of it. Returns false for an identifier that is not in flight. */
  received (messageId: number): boolean {
    const entry = this.#inflight.get(messageId)
    if (entry === undefined || entry.qos !== 2) return false
    entry.released = true
    const sink = this.#sink
    const release = (): void => {
      if (this.#sink === sink) sink?.pubrel(messageId)
    }
    if (this.isStored) {
      this.#parts.journal.entry(this, entry)
      this.#parts.journal.afterWrite(release)
    } else {
      release()
    }
    this.#progressed()
    return true
  }

  #progressed (): void {
    this.progressAtMs = performance.now()
    this.pump()
  }

  #pumpOne (sink: Sink): boolean {
    const room = this.#inflight.size < this.window
    const again = room ? this.#again.shift() : undefined
    if (again !== undefined) {
      this.#sendAgain(sink, again)
      return true
    }
    // In turn, so that neither waits for the end of the other.
    this.#retainedTurn = !this.#retainedTurn
    if (this.#retainedTurn && room && this.#pumpRetained(sink)) return true
    const next = (room ? this.#queue.shift() : undefined) ?? this.#queue0.shift()
    if (next !== undefined) {
      this.#send(sink, next)
      return true
    }
    return room && this.#pumpRetained(sink)
  }

  #pumpRetained (sink: Sink): boolean {
    const next = this.#retained.next()
    if (next === undefined) return false
    this.#send(sink, next)
    return true
  }

  #put (queue: OutQueue, entry: Entry): void {
    entry.message.keep()
    // It was not asked to take anything while nothing waited.
    if (queue.length === 0) this.progressAtMs = performance.now()
    if (entry.qos > 0 && entry.written === null) this.#note(entry)
    const { dropped, conflated, overflow } = queue.put(entry)
    if (conflated !== null) {
      this.own.conflated++
      this.#parts.counts.conflated++
      this.#gone(entry)
      if (conflated.qos > 0) this.#note(conflated)
      // To get only the newest is what these topics are for; to take none at all is slow.
      if (performance.now() - this.progressAtMs > SLOW_AFTER_MS) this.#setSlow(true)
    }
    for (const { message } of dropped) this.#parts.counts.dropped[message.policy]++
    if (dropped.length > 0) {
      this.own.dropped += dropped.length
      for (const one of dropped) this.#gone(one)
      this.#setSlow(true)
    }
    if (overflow) this.#overflow(queue)
  }

  /** A client that is there is told; nobody can be told for one that is not, so the oldest goes. */
  #overflow (queue: OutQueue): void {
    if (this.#sink !== null) {
      this.#sink.overflow()
      return
    }
    const oldest = queue.shiftHistory()
    if (oldest === undefined) return
    this.own.dropped++
    this.#parts.counts.dropped[oldest.message.policy]++
    this.#gone(oldest)
  }

  #send (sink: Sink, entry: Entry): void {
    const { message, qos } = entry
    const { counts, nowMs } = this.#parts
    const expirySeconds = message.expiresAtMs === Infinity ? 0 : remainingSeconds(message, nowMs())
    if (expirySeconds < 0) {
      counts.expired++
      this.#gone(entry)
      return
    }
    const waits = qos === 2 && this.isStored
    // One that waits must not be the one that tells what an alias means.
    const frame = frameFor(sink, entry, !waits && this.#unwritten === 0)
    if (frame === null) {
      // As if it had been sent: the client said that it does not want it. [MQTT-3.1.2-24] [MQTT-3.1.2-25]
      counts.tooLarge++
      this.#gone(entry)
      return
    }
    this.own.sent++
    if (qos === 0) {
      sink.push(message, frame, 0, false, expirySeconds)
      return
    }
    const messageId = entry.messageId = this.#nextId()
    this.#inflight.set(messageId, entry)
    this.#note(entry)
    // The usual case without a closure.
    if (!waits && this.#unwritten === 0) sink.push(message, frame, messageId, false, expirySeconds)
    else this.#now(waits, sink, entry, () => sink.push(message, frame, messageId, false, expirySeconds))
  }

  #sendAgain (sink: Sink, entry: Entry): void {
    const { message, qos, messageId, released } = entry
    this.#inflight.set(messageId, entry)
    // What is noted of it may still be on its way to the disk: the connection that it was noted on is gone.
    const waits = qos === 2 && this.isStored && !this.#parts.journal.isOnDisk(entry)
    if (released) {
      this.#now(waits, sink, entry, () => sink.pubrel(messageId))
      return
    }
    const frame = frameFor(sink, entry, !waits && this.#unwritten === 0)
    if (frame === null) {
      this.#inflight.delete(messageId)
      this.#gone(entry)
      return
    }
    const expirySeconds = Math.max(0, remainingSeconds(message, this.#parts.nowMs()))
    this.#now(waits, sink, entry, () => {
      // PUBREC may have come meanwhile: then PUBREL follows.
      if (!entry.released) sink.push(message, frame, messageId, true, expirySeconds)
    })
  }

  /**
   * Sends something of an entry: the client will know its identifier as this message, after a crash it must be the same.
   * So what `waits`, waits for the disk, and what comes behind one that waits, waits as well.
   */
  #now (waits: boolean, sink: Sink, entry: Entry, send: () => void): void {
    if (!waits && this.#unwritten === 0) {
      send()
      return
    }
    this.#unwritten++
    this.#parts.journal.afterWrite(() => {
      this.#unwritten--
      if (this.#sink === sink && this.#inflight.get(entry.messageId) === entry) send()
    })
  }

  #nextId (): number {
    do this.#lastId = this.#lastId % MAX_MESSAGE_ID + 1
    while (this.#inflight.has(this.#lastId) || (this.#again.length > 0 && this.#again.some(entry => entry.messageId === this.#lastId)))
    return this.#lastId
  }

  #note (entry: Entry): void {
    if (!this.isStored) return
    if (entry.place === 0) entry.place = ++this.#lastPlace
    this.#parts.journal.entry(this, entry)
  }

  #gone (entry: Entry): void {
    entry.gone = true
    if (entry.place > 0) this.#parts.journal.entry(this, entry)
  }

  #setSlow (isSlow: boolean): void {
    if (this.isSlow === isSlow || (isSlow && this.#sink === null)) return
    this.isSlow = isSlow
    this.#parts.onSlow(this, isSlow)
  }

  #relieve (): void {
    const waiting = [...this.#relieved]
    this.#relieved.clear()
    for (const go of waiting) go()
  }
}
