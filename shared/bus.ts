// The Bus: the only thing that a service knows of MQTT. Two ways to have one: `broker/bus.ts` over the embedded broker
// and `shared/mqtt-bus.ts` over any MQTT 5 broker. One contract suite (tests/bus) runs on both.
import type { Role } from './access.js'
import type { Refusal } from './errors.js'

/** MQTT 5 properties that travel with a message. */
export interface MessageProperties {
  readonly responseTopic?: string
  readonly correlationData?: Uint8Array
  readonly contentType?: string
  /** 1 says that the payload is UTF-8 text. */
  readonly payloadFormatIndicator?: 0 | 1
  /** Seconds. */
  readonly messageExpiryInterval?: number
  readonly userProperties?: Readonly<Record<string, string | readonly string[]>>
}

/** One message that arrived for a service. */
export interface Delivery {
  readonly topic: string
  readonly payload: Uint8Array
  readonly qos: 0 | 1 | 2
  /** Whether it comes from the broker's store, and not live from its sender. */
  readonly retain: boolean
  readonly dup: boolean
  readonly properties: MessageProperties
  /** Who sent it, where the broker knows: always on the embedded broker, never on an external one. */
  readonly clientId?: string
  /** Where it was sent from; absent for a will. */
  readonly address?: string
  /** The user that the broker checked; absent where there are no users. */
  readonly user?: string
  /** What that user may do; absent where the broker does not know it. */
  readonly role?: Role
  /** Replies may go only to topics that begin with this; absent where any will do that is nobody else's. */
  readonly replyBase?: string
  /**
   * Aborted as soon as the connection that it came on has ended, whatever becomes of the session; for a will it is aborted
   * from the beginning. Absent where the broker does not tell: on an external one, and for what a service publishes.
   */
  readonly gone?: AbortSignal
  readonly receivedAtMs: number
}

/**
 * What became of a delivery, told only when it is committed. Both are acknowledged: a refused message would be refused
 * again. A v5 sender gets the refusal's code and message in the PUBACK.
 */
export type Outcome =
  | { readonly type: 'accepted' }
  | { readonly type: 'refused', readonly refusal: Refusal }

export const ACCEPTED: Outcome = { type: 'accepted' }

/** Nothing was done with a delivery: it is to be handed over again. */
export interface Later { readonly type: 'later' }

export const LATER: Later = { type: 'later' }

export interface Consumer {
  /**
   * Takes a batch of deliveries in the order they came and returns one outcome for each, in the same order, when their
   * effects are committed. Where all would take so long that others wait, those at the end are `LATER` and are handed over again; one at
   * least is not. It starts publishes and replies without waiting for them. `more` adds those that have come meanwhile to
   * `batch` itself, and returns it: they are then committed with it, and the outcomes are those of all.
   * Throws `UnavailableError` when the ledger could not be written: the batch is tried again until `holdMs` are over.
   * Throws `FencedError` when the batch is another process's by now: its connection is closed without acknowledgement.
   * Any other throw: the batch is tried message by message, and the one that throws again is a poison message:
   * acknowledged, counted and logged.
   */
  handle (batch: readonly Delivery[], more: () => readonly Delivery[]): Promise<readonly (Outcome | Later)[]>
  /** Told of deliveries that were held in vain, before their connections are closed without acknowledgement. */
  abandon? (batch: readonly Delivery[]): Promise<void>
  /** Told of a poison message, so that whoever waits for an answer can be told. Must not throw. */
  dropped? (delivery: Delivery): void
  /** How long a batch is held and tried again while the ledger is unavailable, in milliseconds; default 5,000. */
  readonly holdMs?: number
  /** Most deliveries in one batch; default 1,000. */
  readonly maxBatch?: number
  /**
   * Whether each sender has his turn where more waits than fits into a batch or is done at once, so that whoever sends much makes nobody else
   * wait. Default false: the order in which they came, whoever sent them.
   */
  readonly takesTurns?: boolean
  /**
   * Each delivery is handed over alone and as soon as it comes, also while others are in work: for large messages and work
   * that takes its time. How much of that is kept is then the consumer's to bound: it settles at once what it has no room
   * for. Default false: one batch after the other.
   */
  readonly atOnce?: boolean
  /**
   * Whether the sender of a delivery waits for a commit before it sends again: then the other consumers' batches wait a moment
   * for such senders' next messages, and one commit does for all. Default: none does.
   */
  readonly waitsForCommit?: (delivery: Delivery) => boolean
  /**
   * Consumers of several processes with the same share take turns at what comes, by a shared subscription of an external
   * broker. The embedded broker's one consumer takes everything.
   */
  readonly share?: string
}

/** The service that a message is for has refused it, and would refuse it again. */
export class RefusedPublishError extends Error {
  readonly code = 'refused'
  override readonly name = 'RefusedPublishError'
  readonly refusal: Refusal
  constructor (topic: string, refusal: Refusal) {
    super(`refused on ${topic}: ${refusal.code}: ${refusal.message}`)
    this.refusal = refusal
  }
}

export interface PublishOptions {
  readonly qos?: 0 | 1
  readonly retain?: boolean
  readonly properties?: MessageProperties
}

export interface Bus {
  /** Starts to take the messages that match `filter` (with `+` and `#`). PUBACK follows the outcome. */
  consume (filter: string, consumer: Consumer): Promise<void>
  /**
   * Resolves when the broker has accepted the message; on a topic of a consumer, when that has committed it. Defaults: QoS 1,
   * not retained. Throws `RefusedPublishError`, and another error when there is no broker or it is not known what became of it.
   */
  publish (topic: string, payload: string | Uint8Array, options?: PublishOptions): Promise<void>
  /** On the embedded broker: what was published leaves now, and not when all that is to be said in this turn of the event loop is known. */
  flush? (): void
}
