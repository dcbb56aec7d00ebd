// Sessions, their journal and the real store against a plain model, over many seeded lives: random operations, and at
// random moments the files are copied as kill -9 would leave them. What is found in them is exactly what the model was
// at some moment between the last confirmation and now, with no message too many; life goes on from there.
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import { rightsOf } from '../../broker/access.js'
import { newFlowCounts } from '../../broker/flow-counts.js'
import { Journal } from '../../broker/journal.js'
import { Alias, Message } from '../../broker/message.js'
import type { Qos } from '../../broker/packets.js'
import { Qos2Receiver } from '../../broker/qos2.js'
import { Router } from '../../broker/router.js'
import type { Session } from '../../broker/session.js'
import type { Sink } from '../../broker/sink.js'
import { Sessions } from '../../broker/sessions.js'
import { parseFilter } from '../../broker/topic-filters.js'
import { Wills } from '../../broker/wills.js'
import { LOCAL } from '../../shared/access.js'
import type { BrokerState, BrokerStore } from '../../shared/broker-store.js'
import { openBrokerStore } from '../../storage/broker-store.js'
import { temporaryFolder } from '../support/broker.js'
import { ManualClock } from '../support/clock.js'
import { Random } from '../support/mqtt-bytes.js'
import { copyOfSessions, storedRows } from '../support/stored-sessions.js'

const LOCAL_RIGHTS = rightsOf(LOCAL)
const LIVES = 30
const STEPS = 120
const SEED = Number(process.env.PARKMQ_TEST_SEED ?? Date.now() % 1_000_000)
const CLIENTS = ['ann', 'bob', 'cid']
/** The last one conflates. */
const TOPICS = ['a', 'b', 'sensors/s/status']
const WINDOW = 3

interface ModelEntry { topic: string, payload: string, qos: Qos, sent: boolean, released: boolean }
interface ModelSession {
  expirySeconds: number
  disconnectedAtMs: number | null
  subscriptions: Record<string, Qos>
  entries: ModelEntry[]
  receipts: number[]
}
interface Model {
  sessions: Record<string, ModelSession>
  retained: Record<string, string>
  wills: string[]
}

/** The model as text, without sessions that end with the process. */
function textOf ({ sessions, retained, wills }: Model): string {
  const kept = Object.entries(sessions).filter(([, { expirySeconds }]) => expirySeconds > 0).sort(([a], [b]) => a < b ? -1 : 1)
  const sorted = kept.map(([id, one]) => [id, { ...one, subscriptions: Object.entries(one.subscriptions).sort(), receipts: [...one.receipts].sort() }])
  return JSON.stringify([sorted, Object.entries(retained).sort(), [...wills].sort()])
}

/** What is stored as the model has it. */
function modelOf (state: BrokerState): Model {
  const sessions: Record<string, ModelSession> = {}
  for (const { clientId, expirySeconds, disconnectedAtMs } of state.sessions) {
    sessions[clientId] = {
      expirySeconds, disconnectedAtMs,
      subscriptions: Object.fromEntries(state.subscriptions.filter(one => one.clientId === clientId).map(({ filter, qos }) => [filter, qos])),
      entries: state.entries.filter(one => one.clientId === clientId).map(({ message, qos, packetId, released }) => {
        const stored = state.messages.get(message)
        return { topic: stored?.topic ?? 'none', payload: Buffer.from(stored?.payload ?? []).toString(), qos, sent: packetId > 0, released }
      }),
      receipts: state.receipts.filter(one => one.clientId === clientId).map(({ packetId }) => packetId)
    }
  }
  return { sessions, retained: Object.fromEntries(state.retained.map(({ topic, payload }) => [topic, Buffer.from(payload).toString()])), wills: state.wills.map(({ clientId }) => clientId) }
}

/** A client that remembers what it got and does nothing by itself. */
class Client implements Sink {
  readonly v5 = true
  readonly writable = true
  readonly maxPacketBytes = 1_000_000
  readonly receiveMaximum = 65_535
  /** What it may acknowledge next on this connection. */
  readonly due: { messageId: number, step: 'puback' | 'pubrec' | 'pubcomp' }[] = []

  /** The process that it was connected to has died: what that does after the copy of its files reaches nobody. */
  isCutOff = false

  aliasOf (): Alias { return Alias.none }
  forgetAlias (): void {}
  push (message: Message, _frame: unknown, messageId: number): void {
    if (this.isCutOff) return
    const qos = this.qosOf(message.payload.toString())
    this.known.set(messageId, message.payload.toString())
    this.due.push({ messageId, step: qos === 2 ? 'pubrec' : 'puback' })
  }

  pubrel (messageId: number): void { this.due.push({ messageId, step: 'pubcomp' }) }
  overflow (): void { throw new Error('a queue overflows') }

  /** `known`: by packet identifier, over all connections: the payload that it knows it by. */
  constructor (readonly qosOf: (payload: string) => Qos, readonly known = new Map<number, string>()) {}
}

class Life {
  readonly clock = new ManualClock()
  readonly random: Random
  model: Model = { sessions: {}, retained: {}, wills: [] }
  /** The model after every operation since the last start. */
  readonly #history: string[] = []
  #confirmed = 0
  #folder = temporaryFolder()
  #store!: BrokerStore
  #journal!: Journal
  #router!: Router
  #wills!: Wills
  #sessions!: Sessions
  readonly #clients = new Map<string, Client>()
  readonly #open = new Map<string, Session>()
  #made = 0

  constructor (seed: number) { this.random = new Random(seed) }

  async start (): Promise<void> {
    this.#store = await openBrokerStore(this.#folder)
    const log = pino({ level: 'silent' })
    this.#journal = new Journal({ store: this.#store, clock: this.clock, log })
    this.#router = new Router()
    this.#wills = new Wills({ clock: this.clock, journal: this.#journal, publish: () => {} })
    this.#sessions = new Sessions({
      clock: this.clock, router: this.#router, journal: this.#journal, received: new Qos2Receiver(1_000), wills: this.#wills, pendingLimit: 100, onLimit: () => {},
      session: { counts: newFlowCounts(), limits: { inflight: WINDOW, messages: 1_000, bytes: 1e9, total: { bytes: 0, limit: 1e9 } }, onSlow: () => {} }
    })
    const state = await this.#store.load()
    this.#sessions.restore(state, () => LOCAL_RIGHTS)
    this.#wills.restore(state.wills, () => 0)
    for (const [id, session] of Object.entries(this.model.sessions)) {
      if (session.expirySeconds === 0) Reflect.deleteProperty(this.model.sessions, id)
      else session.disconnectedAtMs ??= this.clock.nowMs()
    }
    this.model.wills = []
    // Its end may have been on its way to the disk.
    this.#expire()
    await this.#journal.settled()
    this.#history.splice(0)
    this.#note()
    this.#confirmed = 0
  }

  /** One random operation. */
  async step (): Promise<void> {
    const { random, model } = this
    const id = random.pick(CLIENTS)
    if (!this.#open.has(id) && random.chance(0.5)) this.#connect(id, random.chance(0.1), random.pick([0, 10, 1_000, 1_000]))
    const session = this.#open.get(id)
    const of = model.sessions[id]
    switch (random.int(17)) {
      case 0: this.#connect(id, random.chance(0.2), random.pick([0, 10, 1_000])); break
      case 1: case 2: if (session !== undefined) this.#disconnect(id, session, random.chance(0.2) ? 0 : session.expirySeconds); break
      case 3: case 4: if (session !== undefined && of !== undefined) this.#subscribe(session, of, random.pick(TOPICS), random.pick([1, 2])); break
      case 5: if (session !== undefined && of !== undefined) this.#unsubscribe(session, of, random.pick(TOPICS)); break
      case 6: case 7: case 8: case 9: this.#publish(random.pick(TOPICS), random.pick([1, 2])); break
      case 10: case 11: case 12: for (let i = random.int(6); i >= 0; i--) this.#acknowledge(id); break
      case 13: this.#retain(random.pick(TOPICS), random.chance(0.3)); break
      case 14: this.#will(id, random.chance(0.5)); break
      case 15: if (session?.isStored && of !== undefined) this.#receipt(id, of, 1 + random.int(3)); break
      default: this.#pass(random.int(6))
    }
    this.#note()
    const at = this.#history.length - 1
    if (random.chance(0.4)) this.#journal.afterWrite(() => { this.#confirmed = Math.max(this.#confirmed, at) })
    // Several operations make a batch, and some come while it is written.
    for (let turns = random.chance(0.5) ? 0 : random.int(4); turns > 0; turns--) await new Promise(resolve => setImmediate(resolve))
    if (random.chance(0.05)) await this.#journal.settled()
    if (random.chance(0.03)) await this.crash()
  }

  /** The process ends; another one finds the files as they are. */
  async crash (): Promise<void> {
    const folder = copyOfSessions(this.#folder)
    const confirmed = this.#confirmed
    const rows = storedRows(folder)
    // The one before is no more.
    for (const client of this.#clients.values()) client.isCutOff = true
    this.#sessions.stop()
    await this.#journal.settled()
    await this.#store.close()
    const store = await openBrokerStore(folder)
    const state = await store.load()
    await store.close()
    const found = textOf(modelOf(state))
    const at = this.#history.lastIndexOf(found)
    expect(this.#history.slice(confirmed), `what was confirmed with operation ${confirmed}, or later`).toContain(found)
    expect(at).toBeGreaterThanOrEqual(confirmed)
    expect(rows.messages ?? 0, 'messages that no entry needs').toBe(new Set(state.entries.map(({ message }) => message)).size)
    for (const { clientId, qos, packetId, message } of state.entries) {
      const payload = Buffer.from(state.messages.get(message)?.payload ?? []).toString()
      const ids = [...this.#clients.get(clientId)?.known ?? []].filter(([, known]) => known === payload).map(([messageId]) => messageId)
      if (qos === 2 && packetId > 0 && ids.length > 0) expect(ids, `the identifier of ${payload} of ${clientId}`).toEqual([packetId])
      // Its end may not have been stored any more: then the broker goes through the last steps again.
      if (qos === 2 && packetId > 0) this.#clients.get(clientId)?.known.set(packetId, payload)
    }
    this.model = modelOf(state)
    this.#open.clear()
    this.#folder = folder
    await this.start()
  }

  /** A clean stop: everything is there. */
  async stop (): Promise<void> {
    this.#sessions.stop()
    await this.#journal.settled()
    expect(textOf(modelOf(await this.#store.load()))).toBe(textOf(this.model))
    await this.#store.close()
  }

  #note (): void { this.#history.push(textOf(this.model)) }

  #connect (id: string, cleanStart: boolean, expirySeconds: number): void {
    const before = this.#open.get(id)
    if (before !== undefined) this.#disconnect(id, before, before.expirySeconds)
    const session = this.#sessions.open({ clientId: id, cleanStart, expirySeconds, rights: LOCAL_RIGHTS })
    this.#open.set(id, session)
    if (cleanStart || this.model.sessions[id] === undefined) {
      this.model.sessions[id] = { expirySeconds, disconnectedAtMs: null, subscriptions: {}, entries: [], receipts: [] }
      this.#clients.delete(id)
    }
    Object.assign(this.model.sessions[id] ?? {}, { expirySeconds, disconnectedAtMs: null })
    const client = new Client(payload => this.model.sessions[id]?.entries.find(entry => entry.payload === payload)?.qos ?? 0, this.#clients.get(id)?.known)
    this.#clients.set(id, client)
    session.attach(client)
    this.#pump()
  }

  #disconnect (id: string, session: Session, expirySeconds: number): void {
    this.#sessions.closed(session, expirySeconds, undefined)
    this.#open.delete(id)
    if (expirySeconds === 0) Reflect.deleteProperty(this.model.sessions, id)
    else Object.assign(this.model.sessions[id] ?? {}, { expirySeconds, disconnectedAtMs: this.clock.nowMs() })
  }

  #subscribe (session: Session, of: ModelSession, filter: string, qos: Qos): void {
    const parsed = parseFilter(filter)
    if (parsed === null) return
    const options = { qos, noLocal: false, retainAsPublished: false, id: 0 }
    session.subscriptions.set(filter, { parsed, options })
    this.#router.subscribe(session, parsed, options)
    if (session.isStored) this.#journal.subscription({ clientId: session.id, filter, qos, noLocal: false, retainAsPublished: false, identifier: 0 })
    of.subscriptions[filter] = qos
  }

  #unsubscribe (session: Session, of: ModelSession, filter: string): void {
    const subscription = session.subscriptions.get(filter)
    if (subscription === undefined) return
    session.subscriptions.delete(filter)
    this.#router.unsubscribe(session, subscription.parsed)
    if (session.isStored) this.#journal.subscriptionGone(session.id, filter)
    Reflect.deleteProperty(of.subscriptions, filter)
  }

  #publish (topic: string, qos: Qos): void {
    const payload = `${++this.#made}`
    for (const { subscriptions, entries } of Object.values(this.model.sessions)) {
      const granted = subscriptions[topic]
      if (granted === undefined) continue
      const entry: ModelEntry = { topic, payload, qos: Math.min(granted, qos) as Qos, sent: false, released: false }
      const newest = topic === 'sensors/s/status' ? entries.findLast(one => one.topic === topic && !one.sent) : undefined
      if (newest?.qos === entry.qos) newest.payload = payload
      else entries.push(entry)
    }
    this.#router.route(new Message({ topic, payload: Buffer.from(payload), qos, retain: false, from: 'somebody' }))
    this.#pump()
  }

  #acknowledge (id: string): void {
    const session = this.#open.get(id)
    const client = this.#clients.get(id)
    const entries = this.model.sessions[id]?.entries
    const next = client?.due.shift()
    if (session === undefined || client === undefined || entries === undefined || next === undefined) return
    const payload = client.known.get(next.messageId)
    const at = entries.findIndex(entry => entry.payload === payload && entry.sent)
    const entry = entries[at]
    if (entry === undefined) throw new Error(`${id} acknowledges ${payload}, which is over`)
    if (next.step === 'pubrec') {
      entry.released = true
      session.received(next.messageId)
    } else {
      entries.splice(at, 1)
      client.known.delete(next.messageId)
      session.over(next.messageId, next.step === 'puback' ? 1 : 2)
    }
    this.#pump()
  }

  #retain (topic: string, isEmpty: boolean): void {
    const payload = `${++this.#made}`
    this.#journal.retained(topic, isEmpty ? null : new Message({ topic, payload: Buffer.from(payload), qos: 1, retain: true, from: 'somebody' }))
    if (isEmpty) Reflect.deleteProperty(this.model.retained, topic)
    else this.model.retained[topic] = payload
  }

  #will (id: string, isThere: boolean): void {
    this.#wills.keep({ clientId: id, user: null }, isThere ? { topic: 'w', payload: Buffer.from('w'), qos: 0, retain: false } : undefined)
    this.model.wills = [...this.model.wills.filter(one => one !== id), ...isThere ? [id] : []]
  }

  #receipt (clientId: string, of: ModelSession, packetId: number): void {
    const isThere = of.receipts.includes(packetId)
    this.#journal.receipt({ clientId, packetId }, !isThere)
    of.receipts = isThere ? of.receipts.filter(one => one !== packetId) : [...of.receipts, packetId]
  }

  #pass (seconds: number): void {
    this.clock.advance(seconds * 1_000)
    this.#expire()
  }

  #expire (): void {
    for (const [id, { expirySeconds, disconnectedAtMs }] of Object.entries(this.model.sessions)) {
      if (disconnectedAtMs !== null && disconnectedAtMs + expirySeconds * 1_000 <= this.clock.nowMs()) Reflect.deleteProperty(this.model.sessions, id)
    }
  }

  /** What the window lets out. */
  #pump (): void {
    for (const [id, { entries }] of Object.entries(this.model.sessions)) {
      if (!this.#open.has(id)) continue
      for (const entry of entries) if (!entry.sent && entries.filter(one => one.sent).length < WINDOW) entry.sent = true
    }
  }
}

describe(`lives of a journal (seed ${SEED})`, () => {
  test.each(Array.from({ length: LIVES }, (_, i) => SEED + i))('seed %i: what is found after kill -9 is what was confirmed, or later', async seed => {
    const life = new Life(seed)
    await life.start()
    for (let i = 0; i < STEPS; i++) await life.step()
    await life.crash()
    await life.stop()
  })
})
