// Sessions from their first CONNECT to their end (MQTT 5.0 section 4.1): begun, resumed, taken over, kept for their
// expiry, restored after a crash, ended. One client id, one session, at most one connection. aedes decides who is
// connected; what a session is, is decided here.
import type { BrokerState } from '../shared/broker-store.js'
import type { Clock, Timer } from '../shared/clock.js'
import type { Rights } from './access.js'
import type { Journal } from './journal.js'
import { messageFromStored } from './message.js'
import { Entry } from './out-queue.js'
import type { Will } from './packets.js'
import type { Qos2Receiver } from './qos2.js'
import type { Router } from './router.js'
import { Session, type SessionParts } from './session.js'
import { matcherOf, parseFilter } from './topic-filters.js'
import type { Wills } from './wills.js'

export interface SessionsParts {
  readonly clock: Clock
  readonly router: Router
  readonly journal: Journal
  readonly received: Qos2Receiver
  readonly wills: Wills
  /** What every session is made with. */
  readonly session: Omit<SessionParts, 'id' | 'owner' | 'journal' | 'nowMs'>
  /** Most sessions that are kept without a connection. */
  readonly pendingLimit: number
  /** Told when a session is not kept because of that limit. */
  readonly onLimit: (clientId: string) => void
}

/** What CONNECT says about the session. */
export interface Opening {
  readonly clientId: string
  readonly rights: Rights
  readonly cleanStart: boolean
  /** Seconds; 0 ends the session with the connection. */
  readonly expirySeconds: number
}

export class Sessions {
  readonly #parts: SessionsParts
  readonly #sessions = new Map<string, Session>()
  /** Sessions without a connection, by client id, with the timer of their expiry. */
  readonly #pending = new Map<string, Timer>()
  /** Sessions that ended because their client stayed away. */
  expired = 0
  /** Most sessions that had a connection at once. */
  mostConnected = 0

  constructor (parts: SessionsParts) {
    this.#parts = parts
  }

  /** All sessions, connected or not. */
  get all (): ReadonlyMap<string, Session> { return this.#sessions }
  /** How many of them wait for their client. */
  get disconnected (): number { return this.#pending.size }
  get connected (): number { return this.#sessions.size - this.#pending.size }

  /** Whether a CONNECT would resume a session. [MQTT-3.2.2-2] [MQTT-3.2.2-3] */
  goesOn ({ clientId, rights, cleanStart }: Opening): boolean {
    const before = this.#sessions.get(clientId)
    return !cleanStart && before !== undefined && before.owner === rights.identity.user
  }

  /** Whether the session with this id is another user's: nobody else may read its queue or end it. */
  isOthers (clientId: string, { identity }: Rights): boolean {
    const owner = this.#sessions.get(clientId)?.owner ?? null
    return owner !== null && owner !== identity.user && identity.role !== 'local'
  }

  /**
   * The users have changed: sessions of those that are gone end, at the latest with the connection that is being closed;
   * the others follow their new rights, also with what waits for them.
   */
  changeRights (users: ReadonlySet<string>, rightsOfUser: (user: string) => Rights | null): void {
    const concerned = [...this.#sessions.values()].filter(({ owner }) => owner !== null && users.has(owner))
    for (const session of concerned) {
      const rights = rightsOfUser(session.owner ?? '')
      session.mayRead = topic => rights?.mayRead(topic) === true
      session.revoked = rights === null
    }
    this.#parts.router.forget()
    for (const session of concerned) {
      if (session.revoked && !session.connected) this.#end(session)
      else this.#takeUnreadable(session)
    }
  }

  /** The session for a connection that was let in: a new one, or the one that goes on. [MQTT-3.1.2-4] [MQTT-3.1.2-5] */
  open (opening: Opening): Session {
    const { clientId, rights, expirySeconds } = opening
    this.#pending.get(clientId)?.cancel()
    this.#pending.delete(clientId)
    const before = this.#sessions.get(clientId)
    const goesOn = before !== undefined && this.goesOn(opening)
    if (before !== undefined && !goesOn) this.#end(before)
    if (goesOn) this.#parts.wills.cancel(clientId)
    const session = goesOn ? before : this.#begin(clientId, rights.identity.user)
    session.mayRead = topic => rights.mayRead(topic)
    this.mostConnected = Math.max(this.mostConnected, this.connected)
    session.expirySeconds = expirySeconds
    // One that ends with this connection must not come back after a crash either.
    if (session.isStored || session.isInStore) this.#store(session, null)
    return session
  }

  /** The connection of a session is gone; `will` is the one that is due now, if any. */
  closed (session: Session, expirySeconds: number, will: Will | undefined): void {
    const { clock, wills, pendingLimit, onLimit } = this.#parts
    const { id: clientId } = session
    session.detach()
    if (session.ended) return
    const mayStay = expirySeconds > 0 && !session.revoked
    const isKept = mayStay && this.#pending.size < pendingLimit
    if (mayStay && !isKept) onLimit(clientId)
    if (will !== undefined) wills.due({ clientId, user: session.owner }, will, isKept ? expirySeconds : 0)
    if (!isKept) {
      this.#end(session)
      return
    }
    session.expirySeconds = expirySeconds
    this.#store(session, clock.nowMs())
    this.#expire(session, expirySeconds)
    this.#passOn(session, session.giveBack((group, topic) => group.hasOther(session, topic)))
  }

  /** What is stored becomes sessions again, before anybody is let in. Damaged parts throw. */
  restore ({ sessions, subscriptions, messages, entries, receipts }: BrokerState, rightsOfUser: (user: string | null) => Rights | null): void {
    const { clock, router, journal, received } = this.#parts
    for (const { clientId, user, expirySeconds, disconnectedAtMs } of sessions) {
      // One that was connected when the process ended is without a connection since now.
      const leftSeconds = disconnectedAtMs === null ? expirySeconds : expirySeconds - (clock.nowMs() - disconnectedAtMs) / 1_000
      const rights = rightsOfUser(user)
      if (expirySeconds === 0 || leftSeconds <= 0 || rights === null) {
        journal.sessionGone(clientId, [])
        continue
      }
      const session = this.#begin(clientId, user)
      session.mayRead = topic => rights.mayRead(topic)
      session.expirySeconds = expirySeconds
      session.isInStore = true
      if (disconnectedAtMs === null) this.#store(session, clock.nowMs())
      this.#expire(session, leftSeconds)
    }
    for (const { clientId, filter, qos, noLocal, retainAsPublished, identifier } of subscriptions) {
      const session = this.#sessions.get(clientId)
      const parsed = parseFilter(filter)
      if (session === undefined || parsed === null) continue
      const options = { qos, noLocal, retainAsPublished, id: identifier }
      session.subscriptions.set(filter, { parsed, options })
      router.subscribe(session, parsed, options)
    }
    const byNumber = new Map([...messages].map(([number, stored]) => {
      const message = messageFromStored(stored)
      message.stored = number
      return [number, message]
    }))
    let last = 0
    for (const number of messages.keys()) last = Math.max(last, number)
    journal.beginAfter(last)
    for (const { clientId, place, message: number, qos, retain, identifiers, group: name, packetId, released } of entries) {
      const session = this.#sessions.get(clientId)
      const message = byNumber.get(number)
      if (session === undefined || message === undefined) continue
      const shared = name === null ? undefined : [...session.subscriptions.values()].find(({ parsed }) => parsed.group === name && matcherOf(parsed.filter)(message.topic))
      const group = shared === undefined ? null : router.group(shared.parsed) ?? null
      const entry = new Entry(message, qos, retain, identifiers.length > 0 ? identifiers : null, group)
      Object.assign(entry, { place, messageId: packetId, released, written: message })
      message.storedFor++
      session.restore(entry)
    }
    // Those of the sessions that have ended meanwhile.
    for (const [number, { storedFor }] of byNumber) if (storedFor === 0) journal.messageGone(number)
    for (const { clientId, packetId } of receipts) {
      const session = this.#sessions.get(clientId)
      if (session !== undefined) received.restore(clientId, session.owner, packetId)
    }
    // The users may have changed while nobody looked.
    for (const session of this.#sessions.values()) this.#takeUnreadable(session)
  }

  /** No session ends any more by time. */
  stop (): void {
    for (const timer of this.#pending.values()) timer.cancel()
    this.#pending.clear()
  }

  #begin (clientId: string, owner: string | null): Session {
    const { session: parts, journal, clock } = this.#parts
    const session = new Session({ ...parts, id: clientId, owner, journal, nowMs: () => clock.nowMs() })
    this.#sessions.set(clientId, session)
    return session
  }

  #store (session: Session, disconnectedAtMs: number | null): void {
    session.isInStore = true
    this.#parts.journal.session({ clientId: session.id, user: session.owner, expirySeconds: session.expirySeconds, disconnectedAtMs })
  }

  #expire (session: Session, afterSeconds: number): void {
    this.#pending.set(session.id, this.#parts.clock.after(afterSeconds * 1_000, () => {
      this.#pending.delete(session.id)
      this.expired++
      this.#end(session)
    }))
  }

  #end (session: Session): void {
    const { router, journal, received, wills } = this.#parts
    for (const { parsed } of session.subscriptions.values()) router.unsubscribe(session, parsed)
    session.subscriptions.clear()
    const shared = session.giveBack(() => true)
    const left = session.end()
    if (this.#sessions.get(session.id) === session) this.#sessions.delete(session.id)
    received.forget(session.id)
    if (session.isInStore) journal.sessionGone(session.id, left)
    this.#passOn(session, shared)
    wills.sessionEnded(session.id)
  }

  /** What waits for a user who may not read it any more is for others or nobody. */
  #takeUnreadable (session: Session): void {
    for (const { group, message } of session.takeUnreadable()) if (group !== null) this.#parts.router.routeAgain(group, message)
  }

  /** What a member of a shared subscription has not acknowledged goes to another one. */
  #passOn (session: Session, entries: readonly Entry[]): void {
    for (const { group, message } of entries) {
      if (group !== null && (session.ended || group.hasOther(session, message.topic))) this.#parts.router.routeAgain(group, message)
    }
  }
}
