// Who may do what with which topic, for the broker: the table of shared/access.ts as tests that are cheap to ask with
// every message. Pure: what a client says about itself plays no part.
import { patternsOf, replyBaseOf, type Identity } from '../shared/access.js'
import { isServicesOwn } from '../shared/topics.js'
import { matcherOf, overlaps } from './topic-filters.js'

/** What one identity may do. */
export interface Rights {
  readonly identity: Identity
  /** What the topics begin with that replies to it may go to; null where any that is nobody's will do. */
  readonly replyBase: string | null
  /** Whether it may publish here, also by a will or with RETAIN. Only parkmq writes what parkmq vouches for. */
  mayPublish (topic: string): boolean
  /** Whether messages on this topic are for it, whatever wildcards it subscribed with. */
  mayRead (topic: string): boolean
  /** Whether a subscription (without its `$share/{group}/`) could bring it anything. */
  maySubscribe (filter: string): boolean
}

/** Topics that an identity asked for last are remembered up to this number: most clients use few. */
const REMEMBERED = 256

export function rightsOf (identity: Identity): Rights {
  if (identity.role === 'local') {
    return { identity, replyBase: null, mayPublish: topic => !isServicesOwn(topic), mayRead: () => true, maySubscribe: () => true }
  }
  const readable = patternsOf(identity, 'read')
  const publishable = remembering(anyOf(patternsOf(identity, 'publish')))
  return {
    identity,
    replyBase: replyBaseOf(identity),
    mayPublish: topic => !isServicesOwn(topic) && publishable(topic),
    mayRead: anyOf(readable),
    maySubscribe: filter => readable.some(pattern => overlaps(pattern, filter))
  }
}

/**
 * Whether a message that a service has taken may go on to subscribers. Requests carry plates and secrets: they are for
 * the service alone. Who may read what sensors say is in the table.
 */
export function mayForward (topic: string): boolean {
  return !topic.startsWith('requests/')
}

function anyOf (patterns: readonly string[]): (topic: string) => boolean {
  const matchers = patterns.map(matcherOf)
  return topic => matchers.some(matches => matches(topic))
}

function remembering (test: (topic: string) => boolean): (topic: string) => boolean {
  const known = new Map<string, boolean>()
  return topic => {
    const before = known.get(topic)
    if (before !== undefined) return before
    if (known.size >= REMEMBERED) known.clear()
    const answer = test(topic)
    known.set(topic, answer)
    return answer
  }
}
