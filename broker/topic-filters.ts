// Topic names and filters as MQTT defines them (5.0 section 4.7; 3.1.1 the same).

export interface TopicLimits {
  /** Most levels of a topic or filter. */
  readonly topicLevels: number
  /** Most bytes of it in UTF-8. */
  readonly topicBytes: number
}

/** Whether a topic name contains what only filters may. */
export function wildcardIn (topic: string): boolean {
  return topic.includes('+') || topic.includes('#')
}

/** Whether a topic or filter is beyond the limits. */
export function isTooLong (topic: string, { topicLevels, topicBytes }: TopicLimits): boolean {
  // No character has more than three bytes for each of its units.
  if (topic.length * 3 > topicBytes && Buffer.byteLength(topic) > topicBytes) return true
  // Most topics are shorter than the limit has slashes.
  if (topic.length < topicLevels) return false
  let levels = 1
  for (let at = topic.indexOf('/'); at >= 0; at = topic.indexOf('/', at + 1)) levels++
  return levels > topicLevels
}

/** What is wrong with a topic filter, in words; null when nothing is. [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] */
export function faultOfFilter (filter: string): string | null {
  if (filter.length === 0) return 'is empty'
  if (!wildcardIn(filter)) return null
  const levels = filter.split('/')
  for (const [at, level] of levels.entries()) {
    if (level === '#' ? at !== levels.length - 1 : level.length > 1 && wildcardIn(level)) return 'has a wildcard in a wrong place'
  }
  return null
}

/**
 * A test whether a topic matches `filter`, made once and cheap to call: it compares in place and allocates nothing.
 * Throws when the filter is not valid.
 */
export function matcherOf (filter: string): (topic: string) => boolean {
  const fault = faultOfFilter(filter)
  if (fault !== null) throw new Error(`the topic filter ${JSON.stringify(filter)} ${fault}`)
  const levels = filter.split('/')
  const startsWithWildcard = levels[0] === '+' || levels[0] === '#'
  return topic => {
    // Wildcards at the start do not reach $SYS and the like. [MQTT-4.7.2-1]
    if (startsWithWildcard && topic.startsWith('$')) return false
    let at = 0
    for (let i = 0; i < levels.length; i++) {
      const level = levels[i] ?? ''
      if (level === '#') return true
      // `a/#` matches `a` as well: then the topic has ended and only `#` is left.
      if (at > topic.length) return false
      const slash = topic.indexOf('/', at)
      const end = slash < 0 ? topic.length : slash
      if (level !== '+' && (end - at !== level.length || !topic.startsWith(level, at))) return false
      at = end + 1
      if (i === levels.length - 1) return end === topic.length
    }
    return false
  }
}

/** `$share/{group}/{filter}`. */
const SHARED = /^\$share\/([^/]+)\/(.+)$/s

export interface ParsedFilter {
  readonly filter: string
  /** Null for a subscription that is not shared. */
  readonly group: string | null
}

/** Splits a shared subscription; null when it is not written as one must be. [MQTT-4.8.2-1] [MQTT-4.8.2-2] */
export function parseFilter (text: string): ParsedFilter | null {
  if (!text.startsWith('$share/')) return { filter: text, group: null }
  const match = SHARED.exec(text)
  const [, group = '', filter = ''] = match ?? []
  return match === null || /[+#]/.test(group) ? null : { filter, group }
}

/** Whether some topic matches both filters, which must be valid. */
export function overlaps (one: string, other: string): boolean {
  const a = one.split('/')
  const b = other.split('/')
  // Wildcards at the start do not reach $SYS and the like. [MQTT-4.7.2-1]
  const isSystem = (level: string | undefined): boolean => level?.startsWith('$') === true
  const isWild = (level: string | undefined): boolean => level === '+' || level === '#'
  if ((isSystem(a[0]) && isWild(b[0])) || (isSystem(b[0]) && isWild(a[0]))) return false
  for (let i = 0; ; i++) {
    const [x, y] = [a[i], b[i]]
    if (x === '#' || y === '#' || (x === undefined && y === undefined)) return true
    // `a/#` matches `a` as well, which the line above has seen only for the longer one.
    if (x === undefined || y === undefined) return false
    if (x !== '+' && y !== '+' && x !== y) return false
  }
}
