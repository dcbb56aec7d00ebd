// Publishes the audit's lines on `lots/{lot}/events` in their order, at least once, across restarts: the cursor moves
// only after the broker has a line, and is stored now and then, since a repeat is allowed and a commit is not free. Where several
// nodes share a ledger, each tells all events on its own broker, with a cursor of its own.
import type { Bus } from '../../shared/bus.js'
import type { Clock, Timer } from '../../shared/clock.js'
import type { Log } from '../../shared/log.js'
import type { Metrics } from '../../shared/metrics.js'
import { Pump } from '../../shared/pump.js'
import { topics } from '../../shared/topics.js'
import { cursorOf, eventsUpTo, linesAfter, moveCursor, newestLine, type EventsRead } from '../../storage/audit.js'
import type { Ledger } from '../../storage/ledger.js'
import type { Fence } from '../../storage/leases.js'
import { eventsCursor } from '../../storage/node-rows.js'
import { ask } from '../../storage/questions.js'

const CURSOR = 'events'
const EVENTS_AT_ONCE = 200
/** Commits whose lines are kept until they are told; when the broker takes them more slowly, they are read from the ledger. */
const MOST_HANDED = 1_000
const STORE_EVERY_MS = 1_000
/** Where other nodes write as well, so that not every commit of every node is a question of each to the database. */
const READ_EVERY_MS = 20
/** How long lines wait that another node may still put a line before, in milliseconds. */
const SETTLE_MS = 20

export interface OutboxParts {
  readonly bus: Bus
  readonly ledger: Ledger
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  /** Where one of several processes tells the events: that it is still this one. */
  readonly fence?: Fence | undefined
}

const EVENT = { qos: 1, retain: false, properties: { contentType: 'application/json', payloadFormatIndicator: 1 } } as const

export class Outbox {
  readonly #parts: OutboxParts
  readonly #unlisten: () => void
  readonly #cursor: string
  #position = 0
  #stored = 0
  /** What commits have handed over, in order. */
  #handed: EventsRead[] = []
  /** Whether there may be lines that nobody has handed over. */
  #mustRead = true
  readonly #pump: Pump
  #timer: Timer | null = null
  #settling: Timer | null = null

  private constructor (parts: OutboxParts) {
    this.#parts = parts
    this.#cursor = parts.ledger.nodes === null ? CURSOR : eventsCursor(parts.ledger.nodes.teller)
    this.#pump = new Pump({
      clock: parts.clock,
      restMs: parts.ledger.nodes === null ? 0 : READ_EVERY_MS,
      work: async () => {
        await this.#drain()
        this.#storeSoon()
      },
      onError: err => {
        this.#forget()
        parts.metrics.publishFailures.inc({ kind: 'event' })
        parts.log.error({ err }, 'events could not be published; trying again')
      }
    })
    const unlisten = [
      parts.ledger.feed.listen((_lots, _withBays, committed) => {
        if (!committed?.events) return
        if (this.#handed.length >= MOST_HANDED) this.#forget()
        else this.#handed.push(committed.events)
        this.#pump.wake()
      }),
      parts.ledger.events.listen(() => {
        this.#mustRead = true
        this.#pump.wake()
      })
    ]
    this.#unlisten = () => { for (const one of unlisten) one() }
  }

  /** Starts where the last run stopped; what was not told then is told now. */
  static async start (parts: OutboxParts): Promise<Outbox> {
    const outbox = new Outbox(parts)
    const { ledger } = parts
    try {
      const position = await ledger.read(async database => await cursorOf(database, outbox.#cursor))
      // A new node has no subscriber yet who could have waited for what the others told before.
      outbox.#position = outbox.#stored = position ?? (ledger.nodes === null ? 0 : await ledger.read(newestLine))
      if (position === null) await outbox.#store(true)
    } catch (error) {
      outbox.#unlisten()
      throw error
    }
    outbox.#pump.wake()
    return outbox
  }

  /** Publishes what is there, stores the cursor and ends. */
  async stop (): Promise<void> {
    this.#unlisten()
    await this.#pump.stop()
    this.#timer?.cancel()
    this.#settling?.cancel()
    await this.#store()
  }

  #storeSoon (): void {
    this.#timer ??= this.#parts.clock.after(STORE_EVERY_MS, () => {
      this.#timer = null
      this.#store().catch((err: unknown) => this.#parts.log.warn({ err }, 'the place in the events could not be stored; some may be told again after a restart'))
    })
  }

  async #drain (): Promise<void> {
    const { bus, metrics } = this.#parts
    for (;;) {
      const next = await this.#next()
      if (next === null) return
      await Promise.all(next.events.map(event => bus.publish(topics.events(event.lot), JSON.stringify(event), EVENT)))
      metrics.published.inc({ kind: 'event' }, next.events.length)
      this.#position = next.last
      await new Promise(resolve => setImmediate(resolve))
    }
  }

  /** The events that follow; they stay where they are until the position has passed them. Null when there are none yet. */
  async #next (): Promise<Pick<EventsRead, 'events' | 'last'> | null> {
    while (this.#handed[0] && this.#handed[0].last <= this.#position) this.#handed.shift()
    const [handed] = this.#handed
    if (handed?.first === this.#position + 1) return handed
    if (!this.#mustRead && handed === undefined) return null
    this.#mustRead = false
    const { ledger } = this.#parts
    const { upTo, isAll, answer } = await ledger.readSettled('audit', database => linesAfter(database, this.#position, EVENTS_AT_ONCE))
    const { events, position } = eventsUpTo(answer, upTo)
    if (position === null && isAll) return null
    if (!isAll || position === null || position < upTo) this.#mustRead = true
    if (position !== null) return { events, last: position }
    this.#lookAgain()
    return null
  }

  #forget (): void {
    this.#handed = []
    this.#mustRead = true
  }

  #lookAgain (): void {
    this.#settling ??= this.#parts.clock.after(SETTLE_MS, () => {
      this.#settling = null
      this.#pump.wake()
    })
  }

  async #store (force = false): Promise<void> {
    const position = this.#position
    if (position === this.#stored && !force) return
    const { ledger, fence } = this.#parts
    await ledger.transact('events', async tx => {
      if (fence) await ask(tx.database, fence(tx.database))
      await moveCursor(tx.database, this.#cursor, position)
    })
    this.#stored = position
  }
}
