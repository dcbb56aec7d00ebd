// Who gets a message: the subscriptions of all sessions by topic. What matches a topic is worked out once and kept until
// a subscription comes or goes, so that a busy topic costs one look-up. Shared subscriptions take turns (section 4.8.2).
import type { Message } from './message.js'
import type { Qos } from './packets.js'
import type { Session } from './session.js'
import type { ParsedFilter } from './topic-filters.js'
import { TopicTree } from './topic-tree.js'

/** One subscription of a session (MQTT 5.0 section 3.8.3.1). */
export interface SubscriptionOptions {
  readonly qos: Qos
  readonly noLocal: boolean
  readonly retainAsPublished: boolean
  /** Subscription identifier; 0 without one. */
  readonly id: number
}

/** All that matches one topic for one session. */
interface Target {
  readonly session: Session
  /** The best that any of them grants. [MQTT-3.3.4-2] */
  readonly qos: Qos
  readonly retainAsPublished: boolean
  readonly ids: readonly number[] | null
  /** The matching subscriptions one by one, where No Local makes a difference; otherwise null. */
  readonly each: readonly SubscriptionOptions[] | null
}

/** Sessions that cannot keep up with what was just offered to them. */
export interface Filling {
  readonly sessions: readonly Session[]
  /** Nobody else got the message: making its publisher wait makes nobody else wait. */
  readonly everybody: boolean
}

interface Match {
  readonly targets: readonly Target[]
  readonly groups: readonly Group[]
}

/** Most topics of a large car park: what nobody subscribes to shares one match. */
const NOBODY: Match = { targets: [], groups: [] }

type Subscribers = Map<Session, SubscriptionOptions>

/** A shared subscription: each message goes to one of its members. */
export class Group {
  readonly name: string
  readonly members: Subscribers = new Map()
  #line: [Session, SubscriptionOptions][] | null = null
  #turn = 0

  constructor (name: string) {
    this.name = name
  }

  /** The next connected member; without one, the next that keeps messages while it is away. */
  next ({ qos, topic }: Message): [Session, SubscriptionOptions] | undefined {
    return this.#inTurn(session => session.connected && !session.isFilling && session.mayRead(topic)) ??
      this.#inTurn(session => session.connected && session.mayRead(topic)) ??
      (qos > 0 ? this.#inTurn((session, options) => options.qos > 0 && session.mayRead(topic)) : undefined)
  }

  /** Whether another member than this one could take a message on this topic now. */
  hasOther (session: Session, topic: string): boolean {
    for (const member of this.members.keys()) if (member !== session && member.connected && member.mayRead(topic)) return true
    return false
  }

  /** To be called when members came or went. */
  changed (): void {
    this.#line = null
  }

  #inTurn (fits: (session: Session, options: SubscriptionOptions) => boolean): [Session, SubscriptionOptions] | undefined {
    const line = this.#line ??= [...this.members]
    for (let i = 0; i < line.length; i++) {
      const member = line[(this.#turn + i) % line.length]
      if (member === undefined || !fits(...member)) continue
      this.#turn = (this.#turn + i + 1) % line.length
      return member
    }
    return undefined
  }
}

/** Topics whose matches are kept. */
const MOST_KNOWN = 20_000

export class Router {
  readonly #subscribers = new TopicTree<Subscribers>()
  readonly #groups = new TopicTree<Map<string, Group>>()
  #known = new Map<string, Match>()
  #count = 0
  #sharedCount = 0

  /** How many there are. */
  get count (): number { return this.#count }
  /** How many of them are shared. */
  get sharedCount (): number { return this.#sharedCount }

  /** Adds or replaces a subscription. */
  subscribe (session: Session, { filter, group }: ParsedFilter, options: SubscriptionOptions): void {
    const shared = group === null ? null : this.#groupOf(filter, group)
    const members = shared === null ? this.#subscribersOf(filter) : shared.members
    if (!members.has(session)) {
      this.#count++
      if (shared !== null) this.#sharedCount++
    }
    members.set(session, options)
    shared?.changed()
    this.#known.clear()
  }

  unsubscribe (session: Session, { filter, group }: ParsedFilter): void {
    const groups = group === null ? undefined : this.#groups.get(filter)
    const shared = group === null ? undefined : groups?.get(group)
    const members = group === null ? this.#subscribers.get(filter) : shared?.members
    if (!members?.delete(session)) return
    this.#count--
    if (shared !== undefined) this.#sharedCount--
    shared?.changed()
    this.#known.clear()
    if (members.size > 0) return
    if (group === null) this.#subscribers.delete(filter)
    else if (groups?.delete(group) && groups.size === 0) this.#groups.delete(filter)
  }

  /** What is known of matches is looked up again: somebody's rights have changed. */
  forget (): void {
    this.#known.clear()
  }

  /** The shared subscription of this name and filter; undefined when it has no member. */
  group ({ filter, group }: ParsedFilter): Group | undefined {
    return group === null ? undefined : this.#groups.get(filter)?.get(group)
  }

  /** Whether anybody would get a message on this topic. */
  isWanted (topic: string): boolean {
    const { targets, groups } = this.#match(topic)
    return targets.length > 0 || groups.length > 0
  }

  /**
   * Offers a message to every session that subscribes to its topic. Returns the sessions whose queue is filling, which
   * its publisher may have to wait for; null without any.
   */
  route (message: Message): Filling | null {
    const { targets, groups } = this.#match(message.topic)
    let filling: Session[] | null = null
    for (const target of targets) {
      const { session } = target
      if (target.each !== null && session.id === message.from) offerLocally(target, message)
      else session.offer(message, min(message.qos, target.qos), target.retainAsPublished && message.retain, target.ids)
      if (session.isFilling) (filling ??= []).push(session)
    }
    for (const group of groups) {
      const session = offerShared(group, message)
      if (session?.isFilling) (filling ??= []).push(session)
    }
    return filling === null ? null : { sessions: filling, everybody: filling.length === targets.length + groups.length }
  }

  /** Offers a message of a shared subscription to another of its members. */
  routeAgain (group: Group, message: Message): void {
    offerShared(group, message)
  }

  #match (topic: string): Match {
    const known = this.#known.get(topic)
    if (known !== undefined) return known
    const bySession = new Map<Session, SubscriptionOptions[]>()
    this.#subscribers.matchTopic(topic, subscribers => {
      for (const [session, options] of subscribers) {
        if (!session.mayRead(topic)) continue
        const all = bySession.get(session)
        if (all) all.push(options)
        else bySession.set(session, [options])
      }
    })
    const groups: Group[] = []
    this.#groups.matchTopic(topic, found => groups.push(...found.values()))
    const match = bySession.size === 0 && groups.length === 0 ? NOBODY : { targets: [...bySession].map(([session, all]) => targetOf(session, all)), groups }
    if (this.#known.size >= MOST_KNOWN) this.#known.clear()
    this.#known.set(topic, match)
    return match
  }

  #subscribersOf (filter: string): Subscribers {
    let subscribers = this.#subscribers.get(filter)
    if (subscribers === undefined) this.#subscribers.set(filter, subscribers = new Map<Session, SubscriptionOptions>())
    return subscribers
  }

  #groupOf (filter: string, name: string): Group {
    let groups = this.#groups.get(filter)
    if (groups === undefined) this.#groups.set(filter, groups = new Map<string, Group>())
    let group = groups.get(name)
    if (group === undefined) groups.set(name, group = new Group(name))
    return group
  }
}

/** To the publisher itself only what it subscribed to without No Local. [MQTT-3.8.3-3] */
function offerLocally ({ session, each }: Target, message: Message): void {
  const wanted = (each ?? []).filter(options => !options.noLocal)
  if (wanted.length === 0) return
  const { qos, retainAsPublished, ids } = targetOf(session, wanted)
  session.offer(message, min(message.qos, qos), retainAsPublished && message.retain, ids)
}

function offerShared (group: Group, message: Message): Session | undefined {
  const [session, options] = group.next(message) ?? []
  if (session === undefined || options === undefined) return undefined
  const { qos, retainAsPublished, id } = options
  session.offer(message, min(message.qos, qos), retainAsPublished && message.retain, id > 0 ? [id] : null, group)
  return session
}

function min (a: Qos, b: Qos): Qos {
  return a < b ? a : b
}

function targetOf (session: Session, all: readonly SubscriptionOptions[]): Target {
  const ids = all.flatMap(options => options.id > 0 ? [options.id] : [])
  return {
    session,
    qos: Math.max(...all.map(options => options.qos)) as Qos,
    retainAsPublished: all.some(options => options.retainAsPublished),
    ids: ids.length > 0 ? ids : null,
    each: all.some(options => options.noLocal) ? all : null
  }
}
