// Retained messages: the last of each topic, for whoever subscribes later (MQTT 5.0 section 3.3.1.3).
import type { Message } from './message.js'
import { TopicTree } from './topic-tree.js'

export interface RetainedLimits {
  /** Most retained messages of clients; the services' own come on top. */
  readonly messages: number
  /** Their size in all, in bytes. */
  readonly bytes: number
}

export class Retained {
  readonly #messages = new TopicTree<Message>()
  readonly #limits: RetainedLimits
  #clients = 0
  #clientBytes = 0
  #bytes = 0

  constructor (limits: RetainedLimits) {
    this.#limits = limits
  }

  get count (): number { return this.#messages.size }
  get bytes (): number { return this.#bytes }

  /** Whether there is more of clients than may be: it was stored while more was allowed. */
  get isOver (): boolean { return this.#clients > this.#limits.messages || this.#clientBytes > this.#limits.bytes }

  has (topic: string): boolean {
    return this.#messages.get(topic) !== undefined
  }

  /**
   * Keeps the message in the place of the one before; an empty one only takes that away. [MQTT-3.3.1-6]
   * Returns false when a client's message has no room: then nothing has changed.
   */
  set (message: Message): boolean {
    const before = this.#messages.get(message.topic)
    const isEmpty = message.payloadLength === 0
    if (message.from !== null && !isEmpty) {
      const [lessMessages, lessBytes] = before === undefined || before.from === null ? [0, 0] : [1, before.size]
      // Where there is too much already, what takes no more than the one before may still take its place.
      const isMore = lessMessages === 0 && this.#clients >= this.#limits.messages
      const isLonger = message.size > lessBytes && this.#clientBytes - lessBytes + message.size > this.#limits.bytes
      if (isMore || isLonger) return false
    }
    this.#put(message, before)
    return true
  }

  /** From the store: it was acknowledged, so it is kept whatever the limits are now. */
  restore (message: Message): void {
    this.#put(message, this.#messages.get(message.topic))
  }

  /** Those whose topics match, as they are when they are asked for, without those that have expired; null for a pause. */
  * matching (filter: string, nowMs: () => number): Generator<Message | null, void, undefined> {
    for (const message of this.#messages.matchFilter(filter)) {
      if (message === null || message.expiresAtMs > nowMs()) yield message
    }
  }

  /** Takes away what has expired and returns the topics. */
  expire (nowMs: number): string[] {
    const expired: Message[] = []
    for (const message of this.#messages.values()) if (message.expiresAtMs <= nowMs) expired.push(message)
    for (const message of expired) {
      this.#messages.delete(message.topic)
      this.#count(message, -1)
    }
    return expired.map(message => message.topic)
  }

  #put (message: Message, before: Message | undefined): void {
    if (before !== undefined) this.#count(before, -1)
    if (message.payloadLength === 0) {
      this.#messages.delete(message.topic)
    } else {
      message.keep()
      this.#messages.set(message.topic, message)
      this.#count(message, 1)
    }
  }

  #count (message: Message, by: 1 | -1): void {
    this.#bytes += by * message.size
    if (message.from === null) return
    this.#clients += by
    this.#clientBytes += by * message.size
  }
}
