// What happened to messages on their way out, over all sessions.
import type { Policy } from './policy.js'

export interface FlowCounts {
  /** Replaced by a newer message of the same topic before the client took them. */
  conflated: number
  /** Not sent because their message expiry interval was over. */
  expired: number
  /** Not sent because the client takes no packet of their size. */
  tooLarge: number
  /** Made room for others, by policy. */
  readonly dropped: Record<Policy, number>
}

export function newFlowCounts (): FlowCounts {
  return { conflated: 0, expired: 0, tooLarge: 0, dropped: { conflate: 0, 'drop-oldest': 0, never: 0 } }
}
