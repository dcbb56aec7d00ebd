// Where every message passes that is accepted, whoever published it: retained, then offered to its subscribers. It
// waits for nobody and drops nothing itself.
import type { Clock } from '../shared/clock.js'
import type { Journal } from './journal.js'
import { Message } from './message.js'
import type { PublishPacket, Will } from './packets.js'
import type { Policy } from './policy.js'
import type { Retained } from './retained.js'
import type { Filling, Router } from './router.js'

/** Topics that may have an alias at once. */
const ALIASES = 64
/** A topic is worth an alias after so many messages. */
const HOT_AFTER = 10
/** Topics whose messages are counted for that. */
const COUNTED_TOPICS = 2_000
/** Shorter ones are hardly shorter as an alias. */
const LEAST_TOPIC_LENGTH = 6

export interface Delivered {
  /** Sessions that cannot keep up; null without any. */
  readonly filling: Filling | null
  /** Something of it must be on disk before it may be acknowledged. */
  readonly isStored: boolean
  /** It had no room among the retained messages: nobody got it. */
  readonly isOverLimit: boolean
}

export interface ExchangeParts {
  readonly router: Router
  readonly retained: Retained
  readonly journal: Journal
  readonly clock: Clock
}

export class Exchange {
  readonly #parts: ExchangeParts
  readonly #seen = new Map<string, number>()
  readonly #aliases = new Map<string, number>()
  #lastAlias = 0

  constructor (parts: ExchangeParts) {
    this.#parts = parts
  }

  /** The message of a PUBLISH or a will; `from` is the client id, null for the services. */
  messageOf ({ topic, payload, qos, properties, retain: asPublished }: PublishPacket | Will, from: string | null, { policy, retain = asPublished }: { policy?: Policy | undefined, retain?: boolean } = {}): Message {
    const expirySeconds = properties?.messageExpiryInterval
    return new Message({
      topic, payload, qos, retain, properties, from,
      ...(policy !== undefined && { policy }),
      ...(expirySeconds !== undefined && { expiresAtMs: this.#parts.clock.nowMs() + expirySeconds * 1_000 })
    })
  }

  deliver (message: Message): Delivered {
    const { router, retained, journal } = this.#parts
    const before = journal.changes
    if (message.retain) {
      const isChange = message.payloadLength > 0 || retained.has(message.topic)
      if (!retained.set(message)) return { filling: null, isStored: false, isOverLimit: true }
      // What the services say about the present they say again at every start.
      if (message.from !== null && isChange) journal.retained(message.topic, message.payloadLength > 0 ? message : null)
    }
    // The broker's own numbers would take all the aliases, time and again.
    if (message.topic.length >= LEAST_TOPIC_LENGTH && !message.topic.startsWith('$SYS/')) message.alias = this.#aliasOf(message.topic)
    const filling = router.route(message)
    return { filling, isStored: journal.changes !== before, isOverLimit: false }
  }

  /** Numbers go round: a client that knew one by another topic is told the new one. */
  #aliasOf (topic: string): number {
    const alias = this.#aliases.get(topic)
    if (alias !== undefined) return alias
    const seen = (this.#seen.get(topic) ?? 0) + 1
    if (seen < HOT_AFTER) {
      if (this.#seen.size >= COUNTED_TOPICS) this.#seen.clear()
      this.#seen.set(topic, seen)
      return 0
    }
    this.#seen.delete(topic)
    const next = this.#lastAlias = this.#lastAlias % ALIASES + 1
    for (const [other, number] of this.#aliases) if (number === next) this.#aliases.delete(other)
    this.#aliases.set(topic, next)
    return next
  }
}
