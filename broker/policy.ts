// What happens to a message whose receiver cannot take it now, by its topic: a picture of the present is replaced by a
// newer one, a piece of history makes room for newer ones, and what was promised to one client is never dropped.

export type Policy =
  /** The newest message of a topic replaces the one that waits. */
  | 'conflate'
  /** The oldest that waits makes room. */
  | 'drop-oldest'
  /** Waits; a client that lets too many of them pile up is disconnected (0x97). */
  | 'never'

const PRESENT = /^lots\/[^/]+\/(?:free|state|bays\/[^/]+)$|^(?:services\/[^/]+\/[^/]+|sensors\/[^/]+|cameras\/[^/]+)\/status$|^cameras\/[^/]+\/frame$|^\$SYS\//

/** The policy for messages on `topic`, unless who publishes them says another: replies are never dropped wherever they go. */
export function policyOf (topic: string): Policy {
  if (topic.startsWith('replies/')) return 'never'
  return PRESENT.test(topic) ? 'conflate' : 'drop-oldest'
}
