// Publishes the retained truth of every lot: `free`, `state` and `bays/+`, always from what is committed, the newest
// version of each lot, several changes of one lot as one publish. It is the only publisher of these topics.
import type { Bus } from '../../shared/bus.js'
import type { Clock } from '../../shared/clock.js'
import { freePlaces, occupiedPlaces, sourcesOf, type BayState, type Id, type Lot } from '../../shared/lot.js'
import type { Log } from '../../shared/log.js'
import type { Metrics } from '../../shared/metrics.js'
import { Pump } from '../../shared/pump.js'
import type { LotState } from '../../shared/schemas.js'
import { topics } from '../../shared/topics.js'
import type { Ledger } from '../../storage/ledger.js'
import type { Bay } from './core.js'
import { baysOf } from './store.js'

/** Lots read and published before the event loop turns. */
const LOTS_AT_ONCE = 500
/** Where changes must be read: every node is told of every commit of all of them, and each would be a question to the database. */
const READ_EVERY_MS = 10

export interface PublisherParts {
  readonly bus: Bus
  readonly ledger: Ledger
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  /** The lots that are published here; default all. */
  readonly isOurs?: (lot: Id) => boolean
  /** Told, before anything of them is published, which of the lots to be published are there and which are not. What fails is told again. */
  readonly follow?: (there: readonly Id[], gone: readonly Id[]) => Promise<void>
}

/** What was last published of a lot; there are as many as lots, so it is kept small. */
interface Published {
  /** -1 when it is not known what arrived. */
  version: number
  free: number
  /** Null for a bay of which it is not known what arrived. */
  readonly bays: ReadonlyMap<Id, BayState | null>
  /** The topics, so that the broker keeps the same strings from message to message. */
  readonly freeTopic: string
  readonly stateTopic: string
}

const RETAINED = { qos: 1, retain: true } as const
const RETAINED_JSON = { ...RETAINED, properties: Object.freeze({ contentType: 'application/json', payloadFormatIndicator: 1 } as const) } as const

export class Publisher {
  readonly #parts: PublisherParts
  readonly #isOurs: (lot: Id) => boolean
  readonly #published = new Map<Id, Published>()
  /** With what is known of their last change; null of those that must be read. */
  readonly #dirty = new Map<Id, Lot | null>()
  /** Those of the dirty lots whose bays must be read again; a lot can have thousands. */
  readonly #dirtyBays = new Set<Id>()
  readonly #pump: Pump
  /** Until then news waits for its turn: published beside what was read before it, it could be followed by that. */
  #hasAll = false
  /** The lots that are being published; what was read of them may be old by now. */
  #chunk: Promise<void> = Promise.resolve()
  readonly #settling = new Set<{ readonly left: Set<Id>, readonly settled: () => void }>()
  readonly #unlisten: () => void

  constructor (parts: PublisherParts) {
    this.#parts = parts
    this.#isOurs = parts.isOurs ?? (() => true)
    this.#pump = new Pump({
      clock: parts.clock,
      // A commit is one piece of news already. To answer those who asked for it takes as long as the commit.
      waitsForMore: false,
      restMs: parts.ledger.nodes === null ? 0 : READ_EVERY_MS,
      work: async () => await this.#drain(),
      onError: err => {
        parts.metrics.publishFailures.inc({ kind: 'lot' })
        parts.log.error({ err, lots: this.#dirty.size }, 'lots could not be published; trying again')
      }
    })
    this.#unlisten = parts.ledger.feed.listen((lots, withBays, committed) => {
      for (const id of lots) if (this.#isOurs(id) && this.#dirty.get(id) !== null) this.#dirty.set(id, committed?.lots.get(id) ?? null)
      if (this.#dirty.size === 0) return
      for (const lot of withBays) if (this.#isOurs(lot)) this.#dirtyBays.add(lot)
      if (this.#hasAll) this.#pump.wake()
    })
  }

  /** Publishes every lot of the ledger, once, and from then on what changes. Resolves when the broker has all of it. */
  async publishAll (): Promise<void> {
    for (const id of await this.#parts.ledger.lotIds()) if (this.#isOurs(id)) this.#dirty.set(id, null)
    await this.#drain()
    this.#hasAll = true
    if (this.#dirty.size > 0) this.#pump.wake()
  }

  /** Resolves when every lot that is known by now to have changed is published, or the publisher is stopped. */
  async settled (): Promise<void> {
    // What fails of it is dirty again.
    await this.#chunk.catch(() => {})
    const left = new Set(this.#dirty.keys())
    if (left.size > 0) await new Promise<void>(resolve => this.#settling.add({ left, settled: resolve }))
  }

  /** Resolves when everything known by now is published. */
  async stop (): Promise<void> {
    this.#unlisten()
    await this.#pump.stop()
    for (const { settled } of this.#settling) settled()
  }

  /** Publishes what is dirty now. On an error, what was not published stays dirty. */
  async #drain (): Promise<void> {
    while (this.#dirty.size > 0) {
      const some = new Map(firstOf(this.#dirty, LOTS_AT_ONCE))
      const ids = [...some.keys()]
      const withBays = ids.filter(id => this.#dirtyBays.has(id) || !this.#published.has(id))
      for (const id of ids) this.#dirty.delete(id)
      for (const id of withBays) this.#dirtyBays.delete(id)
      const before = ids.map(id => this.#published.get(id))
      try {
        await (this.#chunk = this.#publish(some, withBays))
        this.#settle(ids)
      } catch (error) {
        for (const [i, id] of ids.entries()) this.#doubt(id, before[i])
        throw error
      }
      await new Promise(resolve => setImmediate(resolve))
    }
  }

  #settle (ids: readonly Id[]): void {
    for (const one of this.#settling) {
      for (const id of ids) one.left.delete(id)
      if (one.left.size > 0) continue
      this.#settling.delete(one)
      one.settled()
    }
  }

  /** It is not known what of this lot arrived: all of it is sent again, and what may be left over is taken away. */
  #doubt (id: Id, before: Published | undefined): void {
    const now = this.#published.get(id)
    const bays = [...before?.bays.keys() ?? [], ...now?.bays.keys() ?? []]
    if (before || now) this.#published.set(id, { version: -1, free: -1, bays: new Map(bays.map(bay => [bay, null])), freeTopic: topics.free(id), stateTopic: topics.state(id) })
    this.#dirty.set(id, null)
    this.#dirtyBays.add(id)
  }

  async #publish (some: ReadonlyMap<Id, Lot | null>, withBays: readonly Id[]): Promise<void> {
    const { ledger } = this.#parts
    // The bays first: a lot that is read later is as new as they are, or newer.
    const bays = withBays.length > 0 ? await ledger.read(database => baysOf(database, withBays)) : new Map<Id, Map<Id, Bay>>()
    const unknown = [...some].flatMap(([id, lot]) => lot === null ? [id] : [])
    const lots = unknown.length > 0 ? new Map((await ledger.lots(unknown)).map(lot => [lot.id, lot])) : null
    const read = new Set(withBays)
    const sent: Promise<void>[] = []
    const lotNow = (id: Id): Lot | undefined => some.get(id) ?? lots?.get(id)
    if (this.#parts.follow) {
      const ids = [...some.keys()]
      await this.#parts.follow(ids.filter(id => lotNow(id)), ids.filter(id => !lotNow(id)))
    }
    for (const id of some.keys()) {
      const lot = lotNow(id)
      const states = read.has(id) ? statesOf(bays.get(id)) : null
      if (lot) this.#publishLot(lot, states, sent)
      else this.#clear(id, sent)
    }
    this.#parts.bus.flush?.()
    await Promise.all(sent)
  }

  /** `bays` are null when they are as they were published. */
  #publishLot (lot: Lot, read: ReadonlyMap<Id, BayState> | null, sent: Promise<void>[]): void {
    const { bus, metrics } = this.#parts
    const before = this.#published.get(lot.id)
    // A lot that was removed and made again comes with its bays: otherwise a version is one state only.
    if (read === null && before?.version === lot.version) return
    const bays = read ?? before?.bays ?? NO_BAYS
    const free = freePlaces(lot)
    const { freeTopic, stateTopic } = before ?? { freeTopic: topics.free(lot.id), stateTopic: topics.state(lot.id) }
    let messages = 1
    if (before?.free !== free) {
      sent.push(bus.publish(freeTopic, String(free), RETAINED))
      messages++
    }
    sent.push(bus.publish(stateTopic, JSON.stringify(stateOf(lot)), RETAINED_JSON))
    for (const [bay, state] of bays) {
      if (state === null || before?.bays.get(bay) === state) continue
      sent.push(bus.publish(topics.bay(lot.id, bay), state, RETAINED))
      messages++
    }
    for (const bay of before?.bays.keys() ?? []) if (!bays.has(bay)) sent.push(bus.publish(topics.bay(lot.id, bay), '', RETAINED))
    metrics.published.inc({ kind: 'lot' }, messages)
    if (before !== undefined && before.bays === bays) {
      before.version = lot.version
      before.free = free
    } else {
      this.#published.set(lot.id, { version: lot.version, free, bays, freeTopic, stateTopic })
    }
  }

  /** An empty retained message takes a topic away: the lot is gone. */
  #clear (id: Id, sent: Promise<void>[]): void {
    const { bus } = this.#parts
    const before = this.#published.get(id)
    if (!before) return
    sent.push(bus.publish(topics.free(id), '', RETAINED), bus.publish(topics.state(id), '', RETAINED))
    for (const bay of before.bays.keys()) sent.push(bus.publish(topics.bay(id, bay), '', RETAINED))
    this.#published.delete(id)
  }
}

const NO_BAYS: ReadonlyMap<Id, BayState> = new Map()

/** Most lots have no bays: they share the empty map. */
function statesOf (bays: ReadonlyMap<Id, Bay> | undefined): ReadonlyMap<Id, BayState> {
  return bays === undefined ? NO_BAYS : new Map([...bays.values()].map(bay => [bay.bay, bay.state]))
}

function firstOf<T> (all: Iterable<T>, count: number): T[] {
  const first: T[] = []
  for (const one of all) {
    if (first.length === count) break
    first.push(one)
  }
  return first
}

/** The payload of `lots/{lot}/state`. */
export function stateOf (lot: Lot): LotState {
  return {
    lot: lot.id,
    name: lot.name,
    capacity: lot.capacity,
    occupied: occupiedPlaces(lot),
    held: lot.held,
    free: freePlaces(lot),
    open: lot.open,
    quality: lot.quality,
    version: lot.version,
    at: new Date(lot.changedAtMs).toISOString(),
    sources: sourcesOf(lot).map(({ sensor, said, atMs }) => ({ ...(sensor !== null && { sensor }), said, at: new Date(atMs).toISOString() }))
  }
}
