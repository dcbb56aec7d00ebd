// Topics and filters by their levels: the subscriptions that match a topic, and the topics that match a filter
// (MQTT 5.0 section 4.7). Both are walks along the levels, whatever the number of subscriptions or topics.

interface Node<V> {
  /** Null at the ends, which are most nodes: an empty map each would cost as much as what is kept there. */
  children: Map<string, Node<V>> | null
  value: V | undefined
}

/** Values by topic or filter. */
export class TopicTree<V> {
  readonly #root: Node<V> = newNode()
  #size = 0

  /** How many have a value. */
  get size (): number { return this.#size }

  get (path: string): V | undefined {
    let node: Node<V> | undefined = this.#root
    for (const level of path.split('/')) {
      node = node.children?.get(level)
      if (node === undefined) return undefined
    }
    return node.value
  }

  set (path: string, value: V): void {
    let node = this.#root
    for (const level of path.split('/')) {
      const children: Map<string, Node<V>> = node.children ??= new Map<string, Node<V>>()
      let child = children.get(level)
      if (child === undefined) children.set(internedLevel(level), child = newNode())
      node = child
    }
    if (node.value === undefined) this.#size++
    node.value = value
  }

  delete (path: string): void {
    const way: [Node<V>, string][] = []
    let node = this.#root
    for (const level of path.split('/')) {
      const child = node.children?.get(level)
      if (child === undefined) return
      way.push([node, level])
      node = child
    }
    if (node.value === undefined) return
    node.value = undefined
    this.#size--
    // Branches without a value would stay for ever.
    for (const [parent, level] of way.reverse()) {
      const child = parent.children?.get(level)
      if (child === undefined || child.value !== undefined || child.children !== null) return
      parent.children?.delete(level)
      if (parent.children?.size === 0) parent.children = null
    }
  }

  /** Where the tree holds filters: calls `found` with the value of each that matches `topic`. */
  matchTopic (topic: string, found: (value: V) => void): void {
    const levels = topic.split('/')
    const walk = (node: Node<V>, at: number): void => {
      // Wildcards at the start do not reach $SYS and the like. [MQTT-4.7.2-1]
      const wildcards = at > 0 || !topic.startsWith('$')
      const all = wildcards ? node.children?.get('#') : undefined
      if (all?.value !== undefined) found(all.value)
      if (at === levels.length) {
        if (node.value !== undefined) found(node.value)
        return
      }
      const exact = node.children?.get(levels[at] ?? '')
      if (exact) walk(exact, at + 1)
      const any = wildcards ? node.children?.get('+') : undefined
      if (any) walk(any, at + 1)
    }
    walk(this.#root, 0)
  }

  /** Every value. */
  values (): Generator<V, void, undefined> {
    return everythingBelow(this.#root)
  }

  /**
   * Where the tree holds topics: the value of each that matches `filter`, one after the other as they are asked for, and
   * null now and then, so that a search that finds nothing comes up for air as well.
   */
  * matchFilter (filter: string): Generator<V | null, void, undefined> {
    yield* walkFilter(this.#root, filter.split('/'))
  }
}

/** Nodes that are looked at between two pauses. */
const NODES_AT_ONCE = 256

/** A node that is still to be looked at, or whose children are. */
interface Open<V> {
  readonly node: Node<V>
  /** The level of the filter that its children must match. */
  readonly at: number
  /** A `#` has been passed: everything below matches. */
  readonly isBelow: boolean
  readonly children: Iterator<[string, Node<V>], void> | null
}

function* walkFilter<V> (root: Node<V>, levels: readonly string[]): Generator<V | null, void, undefined> {
  let seen = 0
  const open: Open<V>[] = [{ node: root, at: 0, isBelow: false, children: null }]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (++seen % NODES_AT_ONCE === 0) yield null
    const { node, at, isBelow, children } = next
    const level = levels[at]
    const isRoot = at === 0 && !isBelow
    // `a/#` matches `a` as well.
    if (children === null && !isRoot && (level === undefined || level === '#') && node.value !== undefined) yield node.value
    if (level === undefined) continue
    if (level !== '#' && level !== '+') {
      const child = node.children?.get(level)
      if (child) open.push({ node: child, at: at + 1, isBelow: false, children: null })
      continue
    }
    const rest = children ?? node.children?.entries()
    const child = rest?.next().value
    if (rest === undefined || child === undefined) continue
    open.push({ node, at, isBelow, children: rest })
    // Wildcards at the start do not reach $SYS and the like. [MQTT-4.7.2-1]
    if (isRoot && child[0].startsWith('$')) continue
    open.push({ node: child[1], at: level === '#' ? at : at + 1, isBelow: level === '#', children: null })
  }
}

function* everythingBelow<V> (node: Node<V>): Generator<V, void, undefined> {
  if (node.value !== undefined) yield node.value
  for (const child of node.children?.values() ?? []) yield* everythingBelow(child)
}

/** Levels that many topics have, such as `free` and `state`: they share one string. */
const levels = new Map<string, string>()
const MOST_LEVELS = 100
const LONGEST_LEVEL = 8

function internedLevel (level: string): string {
  const known = levels.get(level)
  if (known !== undefined) return known
  if (level.length <= LONGEST_LEVEL && levels.size < MOST_LEVELS) levels.set(level, level)
  return level
}

function newNode<V> (): Node<V> {
  return { children: null, value: undefined }
}
