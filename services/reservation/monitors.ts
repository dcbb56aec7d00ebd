// Monitors: who is told of every change of a lot's availability for a while, on the Response Topic of its request. They
// live in memory only. What they tell is committed, the newest state replaces those between, and the last one is always
// told; no lot that is busy and no client that is slow makes anybody else wait.
import type { Bus } from '../../shared/bus.js'
import type { Clock, Timer } from '../../shared/clock.js'
import type { Id } from '../../shared/lot.js'
import { createLimitedWarn, type LimitedWarn, type Log } from '../../shared/log.js'
import type { Metrics } from '../../shared/metrics.js'
import { Pump } from '../../shared/pump.js'
import { publishReply, type ReplyAddress } from '../../shared/request-envelope.js'
import type { Availability, MonitorEnd } from '../../shared/schemas.js'
import type { Ledger } from '../../storage/ledger.js'
import { differs, isSameAddress, textOf, toldOf, type Told } from './monitor-messages.js'
import type { MonitorAct, MonitorStart, OpenMonitors } from './monitor-requests.js'

/** Least time between two rounds of telling changes, in milliseconds: a busy lot has thousands in a second. */
const REST_MS = 100
/** A round that took long, because there is much to tell, is followed by so many times as much rest, up to a limit in milliseconds. */
const REST_FACTOR = 3
const LONGEST_REST_MS = 1_000
/** How long after an update that the broker did not take the next one is tried, in milliseconds. */
const RETRY_MS = 1_000
/** How long a stop waits for a broker that does not take the last messages, in milliseconds. */
const STOP_WITHIN_MS = 2_000
/** Lots that are read at once. */
const LOTS_AT_ONCE = 500
/** Monitors that are told before the event loop turns. */
const TOLD_AT_ONCE = 100

export interface MonitorsParts {
  readonly bus: Bus
  readonly ledger: Ledger
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  readonly limits: OpenMonitors['limits']
}

interface Requester {
  readonly key: string
  readonly gone: AbortSignal | null
  readonly onGone: () => void
  readonly monitors: Map<Id, Monitor>
}

interface Monitor {
  readonly requester: Requester
  readonly lot: Id
  readonly address: ReplyAddress
  /** Null when it is not known what arrived. */
  told: Availability | null
  /** Of the lot, as last told. */
  version: number
  readonly expiry: Timer
  retry: Timer | null
  /** An update is on its way to the broker: there is never more than one. */
  isSending: boolean
  /** The lot has changed since that was sent. */
  isBehind: boolean
  /** Its time is over: it gets the last state, and ends. */
  isExpired: boolean
  isOver: boolean
}

export class Monitors implements OpenMonitors {
  readonly #parts: MonitorsParts
  readonly #warn: LimitedWarn
  readonly #requesters = new Map<string, Requester>()
  readonly #ofLot = new Map<Id, Set<Monitor>>()
  /** Lots that have changed. */
  readonly #changed = new Set<Id>()
  /** Until the next round of telling changes; null when one may begin. */
  #rest: Timer | null = null
  /** Monitors that wait for no change: they have just begun, their time is over, or they are behind. */
  readonly #due = new Set<Monitor>()
  readonly #pump: Pump
  readonly #unlisten: () => void
  readonly #onTheirWay = new Set<Promise<void>>()
  #count = 0
  #isStopping = false

  constructor (parts: MonitorsParts) {
    const { clock, log, ledger } = parts
    this.#parts = parts
    this.#warn = createLimitedWarn(log, clock)
    this.#pump = new Pump({
      clock,
      work: async () => await this.#tellAll(),
      onError: err => this.#warn('ledger', { err }, 'the lots that are monitored could not be read; trying again')
    })
    this.#unlisten = ledger.feed.listen(lots => {
      for (const lot of lots) if (this.#ofLot.has(lot)) this.#changed.add(lot)
      this.#wake()
    })
  }

  get limits (): OpenMonitors['limits'] { return this.#parts.limits }
  get count (): number { return this.#count }
  get isStopping (): boolean { return this.#isStopping }

  has (requester: string, lot: Id): boolean {
    return this.#requesters.get(requester)?.monitors.has(lot) ?? false
  }

  countOf (requester: string): number {
    return this.#requesters.get(requester)?.monitors.size ?? 0
  }

  /** Does what a batch has decided. To be called when it is committed, right after the reply has been sent. */
  carryOut (act: MonitorAct): void {
    if (act.type === 'start') {
      this.#start(act)
      return
    }
    const monitor = this.#requesters.get(act.requester)?.monitors.get(act.lot)
    if (monitor) this.#end(monitor, 'unmonitored')
  }

  /** Tells the last changes and the end to all. Resolves when the broker has it, at the latest after 2 s. */
  async stop (): Promise<void> {
    this.#isStopping = true
    this.#unlisten()
    this.#rest?.cancel()
    this.#rest = null
    this.#wake()
    await this.#pump.stop()
    let done = 0
    for (const monitors of this.#ofLot.values()) {
      for (const monitor of monitors) {
        this.#end(monitor, 'stopping')
        if (++done % TOLD_AT_ONCE === 0) await turn()
      }
    }
    let late: Timer | undefined
    await Promise.race([Promise.all(this.#onTheirWay), new Promise<void>(resolve => { late = this.#parts.clock.after(STOP_WITHIN_MS, resolve) })])
    late?.cancel()
  }

  #start ({ requester: key, lot, address, gone, untilMs, told, version }: MonitorStart): void {
    const { clock } = this.#parts
    // It left while its request was being committed.
    if (gone?.aborted === true) return
    const requester = this.#requesterOf(key, gone)
    const before = requester.monitors.get(lot)
    const monitor: Monitor = {
      requester, lot, address, told, version,
      expiry: clock.after(untilMs - clock.nowMs(), () => {
        monitor.isExpired = true
        this.#look(monitor)
      }),
      retry: null, isSending: false, isBehind: false, isExpired: false, isOver: false
    }
    // A new one also where one is renewed: what was read before this commit is not for it.
    requester.monitors.set(lot, monitor)
    let ofLot = this.#ofLot.get(lot)
    if (!ofLot) this.#ofLot.set(lot, ofLot = new Set())
    ofLot.add(monitor)
    this.#counted(1)
    if (before && isSameAddress(before.address, address)) this.#remove(before)
    else if (before) this.#end(before, 'replaced')
    if (this.#isStopping) this.#end(monitor, 'stopping')
    // Others may have changed the lot in the same batch or since.
    else this.#look(monitor)
  }

  #requesterOf (key: string, gone: AbortSignal | null): Requester {
    const known = this.#requesters.get(key)
    if (known?.gone === gone) return known
    // Of an earlier connection of this client.
    if (known) this.#forget(known)
    const requester: Requester = { key, gone, monitors: new Map(), onGone: () => this.#forget(requester) }
    this.#requesters.set(key, requester)
    gone?.addEventListener('abort', requester.onGone, { once: true })
    return requester
  }

  /** Nobody is there to be told of the end. */
  #forget (requester: Requester): void {
    for (const monitor of requester.monitors.values()) this.#remove(monitor)
  }

  /** There may be something to tell to one. */
  #look (monitor: Monitor): void {
    this.#due.add(monitor)
    this.#pump.wake()
  }

  async #tellAll (): Promise<void> {
    const { clock } = this.#parts
    const startedAtMs = clock.nowMs()
    const changed = this.#rest === null ? [...this.#changed] : []
    // Those of now: for whoever comes during a read, what is read may be older than the reply.
    const monitors = new Set([...this.#due, ...changed.flatMap(lot => [...this.#ofLot.get(lot) ?? []])])
    for (const lot of changed) this.#changed.delete(lot)
    this.#due.clear()
    try {
      const read = await this.#read(new Set([...monitors].map(({ lot }) => lot)))
      let told = 0
      for (const monitor of monitors) {
        if (this.#tell(monitor, read.get(monitor.lot)) && ++told % TOLD_AT_ONCE === 0) await turn()
      }
    } catch (error) {
      for (const monitor of monitors) {
        // Its end must not wait for the ledger.
        if (monitor.isExpired) this.#end(monitor, 'expired')
        else if (!monitor.isOver) this.#due.add(monitor)
      }
      throw error
    }
    if (changed.length > 0 && !this.#isStopping) this.#takeRest(clock.nowMs() - startedAtMs)
  }

  async #read (ids: ReadonlySet<Id>): Promise<Map<Id, Told>> {
    const all = [...ids]
    const read = new Map<Id, Told>()
    for (let from = 0; from < all.length; from += LOTS_AT_ONCE) {
      for (const lot of await this.#parts.ledger.lots(all.slice(from, from + LOTS_AT_ONCE))) read.set(lot.id, toldOf(lot))
    }
    return read
  }

  #takeRest (tookMs: number): void {
    this.#rest = this.#parts.clock.after(Math.min(Math.max(REST_MS, tookMs * REST_FACTOR), LONGEST_REST_MS), () => {
      this.#rest = null
      this.#wake()
    })
  }

  /** Lots may have changed. */
  #wake (): void {
    if (this.#changed.size > 0 && this.#rest === null) this.#pump.wake()
  }

  /** Tells one monitor what is new. Returns whether anything was. */
  #tell (monitor: Monitor, lot: Told | undefined): boolean {
    if (monitor.isOver) return false
    // Versions only grow: with a lower one it is another lot of the same id.
    if (!lot || lot.version < monitor.version) {
      this.#end(monitor, 'lot_removed')
      return true
    }
    const isNews = monitor.told === null || differs(monitor.told, lot.now)
    if (isNews && monitor.isSending && !monitor.isExpired) monitor.isBehind = true
    else if (isNews) this.#update(monitor, lot)
    if (monitor.isExpired) this.#end(monitor, 'expired')
    return isNews || monitor.isExpired
  }

  #update (monitor: Monitor, { now, version, text }: Told): void {
    monitor.told = now
    monitor.version = version
    monitor.isSending = true
    this.#publish(monitor, text(), arrived => {
      monitor.isSending = false
      if (monitor.isOver) return
      if (!arrived) {
        monitor.told = null
        monitor.retry = this.#parts.clock.after(RETRY_MS, () => this.#look(monitor))
      } else if (monitor.isBehind) {
        this.#look(monitor)
      }
      monitor.isBehind = false
    })
  }

  #end (monitor: Monitor, why: MonitorEnd): void {
    if (!this.#remove(monitor)) return
    // It is not sent again: whoever monitors knows until when.
    this.#publish(monitor, textOf({ monitor: 'end', lot: monitor.lot, why }), () => {})
  }

  /** Returns false when it has ended before. */
  #remove (monitor: Monitor): boolean {
    if (monitor.isOver) return false
    monitor.isOver = true
    monitor.expiry.cancel()
    monitor.retry?.cancel()
    const { requester, lot } = monitor
    if (requester.monitors.get(lot) === monitor) requester.monitors.delete(lot)
    if (requester.monitors.size === 0) {
      requester.gone?.removeEventListener('abort', requester.onGone)
      this.#requesters.delete(requester.key)
    }
    this.#due.delete(monitor)
    const ofLot = this.#ofLot.get(lot)
    ofLot?.delete(monitor)
    if (ofLot?.size === 0) {
      this.#ofLot.delete(lot)
      this.#changed.delete(lot)
    }
    this.#counted(-1)
    return true
  }

  #counted (by: 1 | -1): void {
    this.#count += by
    this.#parts.metrics.monitors.set(this.#count)
  }

  #publish ({ address, lot }: Monitor, text: string, settled: (arrived: boolean) => void): void {
    const { bus, metrics } = this.#parts
    metrics.published.inc({ kind: 'monitor' })
    const onItsWay = publishReply(bus, address, text).then(() => settled(true), (err: unknown) => {
      metrics.publishFailures.inc({ kind: 'monitor' })
      this.#warn('monitors', { err, lot }, 'the broker did not take what a monitor is told')
      settled(false)
    }).finally(() => this.#onTheirWay.delete(onItsWay))
    this.#onTheirWay.add(onItsWay)
  }
}

async function turn (): Promise<void> {
  await new Promise(resolve => setImmediate(resolve))
}
