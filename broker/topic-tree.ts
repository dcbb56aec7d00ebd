// Topics and filters by their levels: the subscriptions that match a topic, and the topics that match a filter
// (MQTT 5.0 section 4.7). Both are walks along the levels, whatever the number of subscriptions or topics.

interface Node<V> {
  readonly children: Map<string, Node<V>>
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
      node = node.children.get(level)
      if (node === undefined) return undefined
    }
    return node.value
  }

  set (path: string, value: V): void {
    let node = this.#root
    for (const level of path.split('/')) {
      let child = node.children.get(level)
      if (child === undefined) node.children.set(level, child = newNode())
      node = child
    }
    if (node.value === undefined) this.#size++
    node.value = value
  }

  delete (path: string): void {
    const way: [Node<V>, string][] = []
    let node = this.#root
    for (const level of path.split('/')) {
      const child = node.children.get(level)
      if (child === undefined) return
      way.push([node, level])
      node = child
    }
    if (node.value === undefined) return
    node.value = undefined
    this.#size--
    // Branches without a value would stay for ever.
    for (const [parent, level] of way.reverse()) {
      const child = parent.children.get(level)
      if (child === undefined || child.value !== undefined || child.children.size > 0) return
      parent.children.delete(level)
    }
  }

  /** Where the tree holds filters: calls `found` with the value of each that matches `topic`. */
  matchTopic (topic: string, found: (value: V) => void): void {
    const levels = topic.split('/')
    const walk = (node: Node<V>, at: number): void => {
      // Wildcards at the start do not reach $SYS and the like. [MQTT-4.7.2-1]
      const wildcards = at > 0 || !topic.startsWith('$')
      const all = wildcards ? node.children.get('#') : undefined
      if (all?.value !== undefined) found(all.value)
      if (at === levels.length) {
        if (node.value !== undefined) found(node.value)
        return
      }
      const exact = node.children.get(levels[at] ?? '')
      if (exact) walk(exact, at + 1)
      const any = wildcards ? node.children.get('+') : undefined
      if (any) walk(any, at + 1)
    }
    walk(this.#root, 0)
  }

  /** Every value. */
  values (): Generator<V, void, undefined> {
    return everythingBelow(this.#root)
  }

  /** Where the tree holds topics: the value of each that matches `filter`, one after the other as they are asked for. */
  * matchFilter (filter: string): Generator<V, void, undefined> {
    yield* walkFilter(this.#root, filter.split('/'), 0)
  }
}

function* walkFilter<V> (node: Node<V>, levels: readonly string[], at: number): Generator<V, void, undefined> {
  const level = levels[at]
  if (level === undefined) {
    if (node.value !== undefined) yield node.value
    return
  }
  if (level === '#') {
    // `a/#` matches `a` as well.
    if (at > 0 && node.value !== undefined) yield node.value
    for (const [name, child] of node.children) if (at > 0 || !name.startsWith('$')) yield* everythingBelow(child)
    return
  }
  if (level !== '+') {
    const child = node.children.get(level)
    if (child) yield* walkFilter(child, levels, at + 1)
    return
  }
  for (const [name, child] of node.children) if (at > 0 || !name.startsWith('$')) yield* walkFilter(child, levels, at + 1)
}

function* everythingBelow<V> (node: Node<V>): Generator<V, void, undefined> {
  if (node.value !== undefined) yield node.value
  for (const child of node.children.values()) yield* everythingBelow(child)
}

function newNode<V> (): Node<V> {
  return { children: new Map(), value: undefined }
}
