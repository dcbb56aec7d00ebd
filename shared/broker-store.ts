// What the embedded broker keeps over a crash, as the port that `broker/` writes to and `storage/` implements: sessions,
// their subscriptions and queues, retained messages, wills, and QoS 2 identifiers. Types only. Texts are as MQTT has them:
// valid Unicode without U+0000 (MQTT 5.0 [MQTT-1.5.4-1], [MQTT-1.5.4-2]); the decoder lets no other in.

/** A message as it is stored once, however many sessions wait for it. */
export interface StoredMessage {
  readonly topic: string
  readonly payload: Uint8Array
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
  /** Its MQTT 5.0 properties as they stand in PUBLISH, without their length; empty without any. */
  readonly properties: Uint8Array
  /** Milliseconds since 1970; null without a message expiry. */
  readonly expiresAtMs: number | null
  /** Client id of who published it; null for the services. */
  readonly from: string | null
}

export interface StoredSession {
  readonly clientId: string
  /** Whose it is; null for a client that did not say who it is. */
  readonly user: string | null
  /** How long it lives without a connection, in seconds. */
  readonly expirySeconds: number
  /** Milliseconds since 1970; null while its client is connected. */
  readonly disconnectedAtMs: number | null
}

export interface StoredSubscription {
  readonly clientId: string
  /** As the client wrote it, `$share/...` included. */
  readonly filter: string
  readonly qos: 0 | 1 | 2
  readonly noLocal: boolean
  readonly retainAsPublished: boolean
  /** Subscription identifier; 0 without one. */
  readonly identifier: number
}

/** One message in the queue of one session, or on its way to its client. */
export interface StoredEntry {
  readonly clientId: string
  /** Grows along the queue; unique within the session. */
  readonly place: number
  /** Number of the message among the stored ones. */
  readonly message: number
  readonly qos: 1 | 2
  readonly retain: boolean
  readonly identifiers: readonly number[]
  /** `$share` group that it was chosen from; null without one. */
  readonly group: string | null
  /** Packet identifier once it is sent; 0 before. */
  readonly packetId: number
  /** QoS 2: PUBREC has come. */
  readonly released: boolean
}

export interface StoredWill {
  readonly clientId: string
  /** Whose it is; null for a client that did not say who it is. */
  readonly user: string | null
  readonly message: StoredMessage
  readonly delaySeconds: number
}

/** A QoS 2 message that a client has sent and not released: the same identifier again is the same message. */
export interface StoredReceipt {
  readonly clientId: string
  readonly packetId: number
}

/** Everything that is stored. */
export interface BrokerState {
  readonly sessions: readonly StoredSession[]
  readonly subscriptions: readonly StoredSubscription[]
  readonly messages: ReadonlyMap<number, StoredMessage>
  /** Ordered by session and place. */
  readonly entries: readonly StoredEntry[]
  readonly retained: readonly StoredMessage[]
  readonly wills: readonly StoredWill[]
  readonly receipts: readonly StoredReceipt[]
}

/**
 * Changes that are stored together or not at all. Each key stands at most once in a list of `put` or `gone` of its kind,
 * never in both. `sessionsGone` takes away everything of a session except its will; it is carried out first, so that
 * the same batch may begin a new session with that id.
 */
export interface BrokerChanges {
  readonly sessionsGone: readonly string[]
  readonly sessions: readonly StoredSession[]
  readonly subscriptions: readonly StoredSubscription[]
  readonly subscriptionsGone: readonly (readonly [clientId: string, filter: string])[]
  readonly messages: ReadonlyMap<number, StoredMessage>
  readonly messagesGone: readonly number[]
  readonly entries: readonly StoredEntry[]
  readonly entriesGone: readonly (readonly [clientId: string, place: number])[]
  readonly retained: readonly StoredMessage[]
  readonly retainedGone: readonly string[]
  readonly wills: readonly StoredWill[]
  readonly willsGone: readonly string[]
  readonly receipts: readonly StoredReceipt[]
  readonly receiptsGone: readonly (readonly [clientId: string, packetId: number])[]
}

export interface BrokerStore {
  /** Everything that is stored. Messages that no entry needs any more are cleared away first. */
  load (): Promise<BrokerState>
  /**
   * Resolves when the changes are on disk; all of them or, when it rejects, none. Throws `UnavailableError` on I/O. They
   * must stay as they are until then. Batches are stored in the order of the calls.
   */
  write (changes: BrokerChanges): Promise<void>
  /** What was asked for before is done first; afterwards nothing can be stored. */
  close (): Promise<void>
}
