// Wills: kept from CONNECT to a DISCONNECT that takes them back, published when the connection or, after their delay,
// the session is gone (MQTT 5.0 section 3.1.3.2.2). They are stored, so that what a device promised to say about its
// death is said also when the broker dies first.
import type { StoredWill } from '../shared/broker-store.js'
import type { Clock, Timer } from '../shared/clock.js'
import type { Journal } from './journal.js'
import { Message, messageFromStored } from './message.js'
import type { Will } from './packets.js'

export interface WillParts {
  readonly clock: Clock
  readonly journal: Journal
  /** Publishes a will, as if its client did, if its user may still do that. */
  readonly publish: (from: WillOwner, will: Will) => void
}

/** Whose will it is. */
export interface WillOwner {
  readonly clientId: string
  /** Null for a client that did not say who it is. */
  readonly user: string | null
}

export class Wills {
  readonly #parts: WillParts
  /** Those that wait for their delay, by client id. */
  readonly #delayed = new Map<string, { readonly timer: Timer, readonly owner: WillOwner, readonly will: Will }>()
  /** Clients that the store has a will of: for all others there is nothing to take away. */
  readonly #stored = new Set<string>()

  constructor (parts: WillParts) {
    this.#parts = parts
  }

  /** A client has connected with a will, or without one. */
  keep (owner: WillOwner, will: Will | undefined): void {
    const { clientId } = owner
    if (will === undefined) {
      this.drop(clientId)
      return
    }
    this.#stored.add(clientId)
    this.#parts.journal.will(clientId, toStored(owner, will))
  }

  /** The client has taken its will back, or it is published. [MQTT-3.1.2-10] */
  drop (clientId: string): void {
    if (this.#stored.delete(clientId)) this.#parts.journal.will(clientId, null)
  }

  /** The connection is gone: the will is due after its delay, or when the session ends. */
  due (owner: WillOwner, will: Will, sessionExpirySeconds: number): void {
    const { clientId } = owner
    const delaySeconds = Math.min(will.properties?.willDelayInterval ?? 0, sessionExpirySeconds)
    if (delaySeconds === 0) {
      this.#publish(owner, will)
      return
    }
    const timer = this.#parts.clock.after(delaySeconds * 1_000, () => {
      this.#delayed.delete(clientId)
      this.#publish(owner, will)
    })
    this.#delayed.set(clientId, { timer, owner, will })
  }

  /** The client is back in its session before the delay was over. [MQTT-3.1.3-9] */
  cancel (clientId: string): void {
    this.#take(clientId)
  }

  /** The session has ended: what waits is due now. */
  sessionEnded (clientId: string): void {
    const delayed = this.#take(clientId)
    if (delayed !== undefined) this.#publish(delayed.owner, delayed.will)
  }

  /** From the store, after a crash: every connection is gone. */
  restore (stored: readonly StoredWill[], sessionExpiryOf: (clientId: string) => number): void {
    for (const { clientId, user, message, delaySeconds } of stored) {
      this.#stored.add(clientId)
      const { topic, payload, qos, retain, properties } = messageFromStored(message)
      this.due({ clientId, user }, { topic, payload, qos, retain, properties: { ...properties, willDelayInterval: delaySeconds } }, sessionExpiryOf(clientId))
    }
  }

  /** Nothing is published any more; what waits stays in the store. */
  stop (): void {
    for (const { timer } of this.#delayed.values()) timer.cancel()
    this.#delayed.clear()
  }

  #take (clientId: string): { readonly owner: WillOwner, readonly will: Will } | undefined {
    const delayed = this.#delayed.get(clientId)
    delayed?.timer.cancel()
    this.#delayed.delete(clientId)
    return delayed
  }

  #publish (owner: WillOwner, will: Will): void {
    this.#parts.publish(owner, will)
    this.drop(owner.clientId)
  }
}

function toStored ({ clientId, user }: WillOwner, { topic, payload, qos, retain, properties }: Will): StoredWill {
  // Its expiry begins when it is published.
  const message = new Message({ topic, payload, qos, retain, properties, from: clientId })
  return { clientId, user, message: message.toStored(), delaySeconds: properties?.willDelayInterval ?? 0 }
}
