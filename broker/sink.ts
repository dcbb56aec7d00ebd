// What a session needs of a connection, and the bytes of a message for it. A client's Maximum Packet Size is kept here.
import { Alias, frameSize, type Frame, type Message } from './message.js'
import type { Entry } from './out-queue.js'

/** Where a session's packets go while its client is connected. */
export interface Sink {
  readonly v5: boolean
  /** Whether more may be pushed now; `Session.pump` is to be called when that becomes true again. */
  readonly writable: boolean
  /** Largest packet that the client takes, in bytes. */
  readonly maxPacketBytes: number
  /** Most QoS 1 and 2 messages that the client takes unacknowledged. */
  readonly receiveMaximum: number
  /** How the topic of a message may be written to this client. */
  aliasOf (message: Message): Alias
  /** The message that `aliasOf` was asked for is not sent that way. */
  forgetAlias (message: Message): void
  push (message: Message, frame: Frame, messageId: number, dup: boolean, expirySeconds: number): void
  pubrel (messageId: number): void
  /** The client lets pile up what may not be dropped. */
  overflow (): void
}

/** The bytes of a message for this client; null when it takes no packet of their size. */
export function frameFor (sink: Sink, { message, qos, retain, ids }: Entry, mayAlias: boolean): Frame | null {
  const { v5, maxPacketBytes } = sink
  const alias = mayAlias && ids === null ? sink.aliasOf(message) : Alias.none
  const frame = ids !== null && v5 ? message.frameWithIds(qos, retain, ids) : message.frame(v5, qos, retain, alias)
  if (frameSize(frame) <= maxPacketBytes) return frame
  if (alias === Alias.none) return null
  // What is not sent tells nobody what an alias means.
  sink.forgetAlias(message)
  const plain = message.frame(v5, qos, retain, Alias.none)
  return frameSize(plain) <= maxPacketBytes ? plain : null
}
