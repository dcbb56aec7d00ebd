// The bounded queue of one receiver: messages that its window or its socket cannot take yet, in their order. It never
// grows beyond its limits, and every operation costs the same whatever its length.
import type { Message } from './message.js'
import type { Qos } from './packets.js'
import type { Group } from './router.js'

/** One message for one receiver. */
export class Entry {
  message: Message
  readonly qos: Qos
  readonly retain: boolean
  /** Subscription identifiers of the matching subscriptions; null without any. */
  readonly ids: readonly number[] | null
  /** The shared subscription that chose this receiver; null without one. */
  readonly group: Group | null
  /** 0 until it is sent with QoS above 0. */
  messageId = 0
  /** QoS 2: PUBREC has come, PUBREL is the next. */
  released = false
  /** Left the queue without being sent, or acknowledged: nothing is done with it any more. */
  gone = false
  /** Its place in a stored session; 0 where it is not stored. */
  place = 0
  /** The message that the store has for it; null when it has none. */
  written: Message | null = null

  constructor (message: Message, qos: Qos, retain: boolean, ids: readonly number[] | null, group: Group | null) {
    this.message = message
    this.qos = qos
    this.retain = retain
    this.ids = ids
    this.group = group
  }
}

export interface QueueLimits {
  /** Most messages that wait, without those of which only the newest of a topic waits. */
  readonly messages: number
  /** Most bytes that wait, roughly. */
  readonly bytes: number
  /** What waits in all queues together. */
  readonly total: { bytes: number, readonly limit: number }
}

/** What became of an entry that was put in. */
export interface Put {
  /** Entries that made room. */
  readonly dropped: readonly Entry[]
  /** The entry that waits already and now has the newer message. */
  readonly conflated: Entry | null
  /** Only entries that must not be dropped are left, and they are too many. */
  readonly overflow: boolean
}

const IN: Put = { dropped: [], conflated: null, overflow: false }

/** Emptied places at the front are given back when there are so many. */
const COMPACT_AT = 1_024

export class OutQueue {
  readonly #limits: QueueLimits
  #entries: Entry[] = []
  #head = 0
  /** No entry before this place is history that may be dropped. */
  #historyFrom = 0
  #length = 0
  #bytes = 0
  /** By topic: the entry that a newer message may replace. */
  readonly #present = new Map<string, Entry>()
  /** Replaced by a newer message of another QoS or RETAIN: history, wherever they stand. */
  readonly #replaced = new Set<Entry>()

  constructor (limits: QueueLimits) {
    this.#limits = limits
  }

  /** Entries that wait. */
  get length (): number { return this.#length }
  /** What they cost to keep, roughly. */
  get bytes (): number { return this.#bytes }

  /** Whether it is more than half full. */
  get isFilling (): boolean {
    return this.#history * 2 > this.#limits.messages || this.#bytes * 2 > this.#limits.bytes
  }

  get #history (): number { return this.#length - this.#present.size }

  get #isOver (): boolean {
    return this.#history > this.#limits.messages || this.#isOverInBytes
  }

  get #isOverInBytes (): boolean {
    const { bytes, total } = this.#limits
    // No queue has more than what is left for all others: those that take most make room, and there is always room left.
    return this.#bytes > Math.min(bytes, total.limit - total.bytes)
  }

  /** The next to be sent. */
  peek (): Entry | undefined {
    while (this.#entries[this.#head]?.gone) this.#head++
    return this.#entries[this.#head]
  }

  shift (): Entry | undefined {
    const entry = this.peek()
    if (entry === undefined) return undefined
    this.#head++
    this.#forget(entry)
    if (this.#head >= COMPACT_AT && this.#head * 2 >= this.#entries.length) {
      this.#entries.splice(0, this.#head)
      this.#historyFrom = Math.max(0, this.#historyFrom - this.#head)
      this.#head = 0
    }
    return entry
  }

  /** Takes the oldest out that is no picture of the present. */
  shiftHistory (): Entry | undefined {
    for (let at = this.#head; at < this.#entries.length; at++) {
      const entry = this.#entries[at]
      if (entry === undefined || entry.gone || this.#present.get(entry.message.topic) === entry) continue
      entry.gone = true
      this.#forget(entry)
      return entry
    }
    return undefined
  }

  put (entry: Entry): Put {
    const { message } = entry
    if (message.policy === 'conflate') {
      const waiting = this.#present.get(message.topic)
      // Another QoS or RETAIN is another promise.
      if (waiting !== undefined && waiting.qos === entry.qos && waiting.retain === entry.retain) {
        this.#count(message.size - waiting.message.size)
        waiting.message = message
        // The newer one may be the larger one.
        return { ...(this.#isOver ? this.#makeRoom() : IN), conflated: waiting }
      }
      if (waiting !== undefined) this.#replaced.add(waiting)
      this.#present.set(message.topic, entry)
    }
    this.#entries.push(entry)
    this.#length++
    this.#count(message.size)
    return this.#isOver ? this.#makeRoom() : IN
  }

  /** Whether it is so much less than half full that whoever waits for it may go on. */
  get isRelieved (): boolean {
    return this.#history * 32 < this.#limits.messages * 15 && this.#bytes * 32 < this.#limits.bytes * 15
  }

  /** Takes out those that are wanted elsewhere. */
  take (isWanted: (entry: Entry) => boolean): Entry[] {
    const taken = this.#entries.slice(this.#head).filter(entry => !entry.gone && isWanted(entry))
    for (const entry of taken) {
      entry.gone = true
      this.#forget(entry)
    }
    return taken
  }

  /** Takes everything out. */
  clear (): Entry[] {
    const all = this.#entries.slice(this.#head).filter(entry => !entry.gone)
    this.#count(-this.#bytes)
    this.#entries = []
    this.#head = this.#historyFrom = this.#length = 0
    this.#present.clear()
    this.#replaced.clear()
    return all
  }

  /** History goes first; what is present only when there is too much of it in bytes. */
  #makeRoom (): Put {
    const dropped: Entry[] = []
    const drop = (entry: Entry): void => {
      entry.gone = true
      this.#forget(entry)
      dropped.push(entry)
    }
    for (const entry of this.#replaced) {
      if (!this.#isOver) break
      drop(entry)
    }
    let at = Math.max(this.#historyFrom, this.#head)
    for (; at < this.#entries.length && this.#isOver; at++) {
      const entry = this.#entries[at]
      if (entry === undefined || entry.gone || entry.message.policy === 'never') continue
      if (this.#present.get(entry.message.topic) !== entry) drop(entry)
    }
    this.#historyFrom = at
    // They do not count as messages, so that only bytes are gained by it.
    for (const entry of this.#present.values()) {
      if (!this.#isOverInBytes) break
      drop(entry)
    }
    this.#compact()
    return { dropped, conflated: null, overflow: this.#isOver }
  }

  /** Dropped entries keep their places until they are passed, which those of a client that is away never are. */
  #compact (): void {
    if (this.#entries.length < 2 * this.#length + COMPACT_AT) return
    this.#entries = this.#entries.slice(this.#head).filter(entry => !entry.gone)
    this.#head = this.#historyFrom = 0
  }

  #forget (entry: Entry): void {
    this.#length--
    this.#count(-entry.message.size)
    this.#replaced.delete(entry)
    if (this.#present.get(entry.message.topic) === entry) this.#present.delete(entry.message.topic)
  }

  #count (bytes: number): void {
    this.#bytes += bytes
    this.#limits.total.bytes += bytes
  }
}
