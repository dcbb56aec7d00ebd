// A seeded simulation of reservations in windows of time: drivers, gates, operators, time that passes over the change of
// clocks, repeats, bursts, failures, restarts and crashes, against the plain model. After every step and burst each reservation and each lot must
// be as the model says, and no instant may have more windows than places. Run one seed again with PARKMQ_TEST_SEED=...
import { cpSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { Id } from '../../shared/lot.js'
import { reservationOf } from '../../storage/records.js'
import { selectByKeys } from '../../storage/rows.js'
import { memoryFolder, startTestApp, type TestApp } from '../support/app.js'
import { AskingClient, type Told } from '../support/asking.js'
import { ManualClock } from '../support/clock.js'
import { choicesOf, seeds, type Choices } from './random.js'
import { WindowsModel } from './windows-model.js'
import { RandomRequests, type Asked } from './windows-requests.js'
import type { ModelLot } from './windows-words.js'

const STEPS = 160
const MINUTE = 60_000
const TIMES = { holdMs: 5 * MINUTE, arrivalGraceMs: 2 * MINUTE, maxStayMs: 120 * MINUTE, noShowMs: 20 * MINUTE, earlyArrivalMs: 15 * MINUTE, bookAheadMs: 30 * 24 * 60 * MINUTE, waitMs: 90 * MINUTE }
const LIMITS = { reservationsPerPlate: 4, waitingPerLot: 5 }
const LOTS: readonly ModelLot[] = [
  { id: 'A', capacity: 3, buffer: 0, counted: 0, counting: 'sensors', timeZone: 'Europe/Berlin', open: true },
  { id: 'B', capacity: 4, buffer: 1, counted: 1, counting: 'sensors', timeZone: 'America/New_York', open: true },
  { id: 'C', capacity: 2, buffer: 0, counted: 0, counting: 'requests', timeZone: 'UTC', open: true }
]
const SETTINGS = {
  lots: LOTS.map(({ id, counted, open, ...lot }) => ({ lot: id, occupied: counted, open, ...lot })),
  // Nothing is forgotten in a run: what becomes of old replies is not the matter here.
  times: { ...TIMES, historyMs: 1e12, auditMs: 1e12 }, limits: LIMITS
}
/** Hours before the clocks of Berlin or New York change, and a time when nothing changes. */
const BEGINS = ['2026-03-28T20:10Z', '2026-10-24T19:50Z', '2026-03-07T23:05Z', '2026-10-31T22:00Z', '2026-06-01T06:00Z'].map(Date.parse)

const STEP = { request: 62, burst: 12, gate: 16, time: 14, repeat: 4, reused: 1, fault: 2, stop: 1, crash: 2 }

test.each(seeds(8))('reservations in windows agree with the model, seed %i', { timeout: 120_000 }, async seed => {
  const run = new Run(seed)
  await run.start()
  for (let n = 0; n < STEPS; n++) await run.step(n)
  await run.end()
})

class Run {
  readonly #seed: number
  readonly #choices: Choices
  readonly #clock: ManualClock
  readonly #model = new WindowsModel(LOTS, { ...TIMES, longestHoldMs: 3_600_000 }, LIMITS)
  readonly #requests: RandomRequests
  readonly #log: string[] = []
  readonly #done: (Asked & { told: Told })[] = []
  /** Lots in which an operator took places away that were promised: they may have too many windows until those are over. */
  readonly #lowered = new Set<string>()
  /** The way of each request that put somebody on a waiting list, and what must be told there. */
  readonly #waits = new Map<string, string>()
  #data = memoryFolder()
  #running: { app: TestApp, client: AskingClient } | null = null
  #seq = 0
  #sent = 0

  constructor (seed: number) {
    this.#seed = seed
    this.#choices = choicesOf(seed)
    this.#clock = new ManualClock(this.#choices.pick(BEGINS) + this.#choices.below(3_600_000))
    this.#requests = new RandomRequests(seed, this.#choices, this.#model)
  }

  async start (): Promise<void> {
    const app = await startTestApp({ data: this.#data, clock: this.#clock, settings: SETTINGS })
    this.#running = { app, client: await AskingClient.connect(app.url, 'simulation') }
    this.#model.time(this.#clock.nowMs())
    // What was told while nobody was there is told: only who still waits is sure to hear of it.
    for (const { id, status } of this.#model.reservations.values()) if (status !== 'waiting') this.#waits.delete(id)
  }

  async end (): Promise<void> {
    await this.#client.end()
    await this.#running?.app.app.stop()
  }

  async step (n: number): Promise<void> {
    const { weighted, below, chance } = this.#choices
    const kind = weighted(STEP)
    try {
      switch (kind) {
        case 'request': await this.#burst(n, [this.#requests.next()]); break
        case 'burst': await this.#burst(n, this.#many(2 + below(12))); break
        case 'gate': await this.#gate(n); break
        case 'time':
          await this.#time(n)
          // Often somebody asks before anybody has noticed that time has passed.
          if (chance(0.6)) await this.#burst(n, this.#many(1 + below(6)))
          break
        case 'repeat': await this.#repeat(n); break
        case 'reused': await this.#reuse(n); break
        case 'fault': await this.#fault(n); break
        case 'stop': await this.#stop(n); break
        case 'crash': await this.#crash(n); break
        default: kind satisfies never
      }
      await this.#check()
    } catch (error) {
      throw new Error(`seed ${this.#seed}, step ${n}: ${error instanceof Error ? error.message : String(error)}\nbefore that:\n${this.#log.slice(-40).join('\n')}`, { cause: error })
    }
  }

  get #client (): AskingClient {
    if (!this.#running) throw new Error('nothing runs')
    return this.#running.client
  }

  /** Requests for a burst, some of them twice: a repeat may come while the first is under way. */
  #many (count: number): Asked[] {
    const { chance, pick } = this.#choices
    const asked: Asked[] = []
    this.#requests.focus = chance(0.6) ? pick(LOTS).id : null
    for (let i = 0; i < count; i++) asked.push(asked.length > 0 && chance(0.2) ? pick(asked) : this.#requests.next())
    this.#requests.focus = null
    return asked
  }

  /** All at once over one connection, whose order is that in which they are carried out. */
  async #burst (n: number, asked: readonly Asked[]): Promise<void> {
    const sent = this.#send(asked)
    this.#compare(n, asked, await Promise.all(sent.map(({ told }) => told)), sent.map(({ correlation }) => correlation))
  }

  #send (asked: readonly Asked[], correlations: readonly string[] = []): { correlation: string, told: Promise<Told> }[] {
    return asked.map(({ method, body }, i) => {
      const correlation = correlations[i] ?? (++this.#sent).toString(16).padStart(16, '0')
      return { correlation, told: this.#client.ask(method, body, correlation) }
    })
  }

  #compare (n: number, asked: readonly Asked[], told: readonly Told[], correlations: readonly string[], mayBeReplayed = false): void {
    for (const [i, { method, body }] of asked.entries()) {
      const reply = told[i] as Told
      const before = this.#done.find(done => done.body.requestId === body.requestId)
      this.#log.push(`${n} ${new Date(this.#clock.nowMs()).toISOString()} ${method} ${JSON.stringify({ ...body, secret: undefined, requestId: undefined })} -> ${before ? 'again ' : ''}${reply.error ?? ''} ${reply.ok ? JSON.stringify({ ...reply.result, secret: undefined }) : reply.message}`)
      if (before) {
        expect({ text: reply.text, replayed: reply.replayed }, 'a repeat').toEqual({ text: before.told.text, replayed: true })
        continue
      }
      const { result } = reply
      const lowers = this.#placesOf(body.lot)
      const expected = this.#model.request(method, body, { id: String(result.reservation), secret: String(result.secret) })
      if (lowers !== null && (this.#placesOf(body.lot) ?? 0) < lowers) this.#lowered.add(String(body.lot))
      if ('code' in expected) expect(reply.error ?? 'granted', method).toBe(expected.code)
      else if (expected.shown.reservation === undefined) expect(reply.error, method).toBe(null)
      else expect(reply.ok ? result : reply.error, method).toEqual(expected.shown)
      if (!mayBeReplayed) expect(reply.replayed, 'the first time').toBe(false)
      if (result.status === 'waiting') this.#waits.set(String(result.reservation), correlations[i] as string)
      // What is wrong is not remembered: it is looked at again.
      if (reply.error !== 'bad_request') this.#done.push({ method, body, told: reply })
    }
  }

  #placesOf (lot: unknown): number | null {
    const found = this.#model.lots.get(String(lot))
    return found ? found.capacity - found.buffer : null
  }

  async #gate (n: number): Promise<void> {
    const { pick, chance } = this.#choices
    const lot = pick(['A', 'B'])
    const delta = pick(this.#model.lot(lot).counted > 2 ? [-1, -1, -2, 1] : [1, 1, -1, 2])
    const some = [...this.#model.reservations.values()].filter(r => r.lot === lot && r.due !== null)
    const plate = chance(0.6) ? (some.length > 0 && chance(0.8) ? pick(some).plate : this.#requests.plate()) : null
    // Of two that were made in the same millisecond none is the older one.
    const made = [...this.#model.reservations.values()].filter(r => r.lot === lot && r.due !== null && (plate === null || r.plate === plate)).map(r => r.made)
    if (new Set(made).size < made.length) return
    this.#log.push(`${n} gate of ${lot}: ${delta} ${plate ?? ''}`)
    await this.#client.publish(`lots/${lot}/sensor`, { sensor: `gate-${lot}`, epoch: 1, seq: ++this.#seq, delta, ...(plate !== null && { plate }) })
    this.#model.delta(lot, delta, plate)
  }

  async #time (n: number): Promise<void> {
    const { pick, chance, below } = this.#choices
    // Often just up to a moment at which something is due, or one before it.
    const due = [...this.#model.reservations.values()].flatMap(r => r.due ?? []).filter(at => at > this.#model.now)
    const soonest = Math.min(...due) - this.#model.now
    const ms = due.length > 0 && soonest < 86_400_000 && chance(0.4) ? Math.max(1, soonest - pick([0, 0, 1])) : pick([1, 999, 30_000, 2 * MINUTE, 5 * MINUTE, 20 * MINUTE, 60 * MINUTE, 60 * MINUTE + below(30 * MINUTE), chance(0.4) ? 6 * 60 * MINUTE : 15 * MINUTE, chance(0.2) ? 30 * 60 * MINUTE : 10 * MINUTE])
    this.#clock.advance(ms)
    this.#log.push(`${n} ${ms} ms later`)
    this.#model.time(this.#clock.nowMs())
  }

  async #repeat (n: number): Promise<void> {
    if (this.#done.length > 0) await this.#burst(n, [this.#choices.pick(this.#done)])
  }

  async #reuse (n: number): Promise<void> {
    if (this.#done.length === 0) return
    const { body } = this.#choices.pick(this.#done)
    const told = await this.#client.ask('reserve', { lot: 'A', plate: 'REUSED', requestId: body.requestId })
    this.#log.push(`${n} the requestId of another`)
    expect(told.error).toBe('request_id_reused')
  }

  /** A transaction that has changed a reservation and its lot's windows, and then fails: nothing of it may be left anywhere. */
  async #fault (n: number): Promise<void> {
    const live = [...this.#model.reservations.values()].filter(r => r.status === 'booked' || r.status === 'held')
    const { id, lot } = live.length > 0 ? this.#choices.pick(live) : { id: '', lot: 'A' }
    const failed = this.#running?.app.app.ledger.transact('simulation', async tx => {
      await tx.load([lot as Id])
      await tx.loadWindows([lot as Id])
      const [row] = await selectByKeys(tx.database, 'reservations', ['id'], [[id]])
      if (row) {
        const before = reservationOf(row)
        tx.setReservation(before, { ...before, status: 'cancelled', toMs: before.fromMs, dueAtMs: null }, { who: 'simulation' })
        await tx.flush()
      }
      throw new Error('broken on purpose')
    })
    await expect(failed).rejects.toThrow('broken on purpose')
    this.#log.push(`${n} a transaction that changed ${id} failed`)
  }

  async #stop (n: number): Promise<void> {
    await this.end()
    const ms = this.#choices.pick([0, 10_000, 25 * MINUTE])
    this.#clock.advance(ms)
    this.#log.push(`${n} stopped and started ${ms} ms later`)
    await this.start()
  }

  /**
   * What a kill -9 leaves: the files as they are between two turns of the event loop while requests are under way, which is
   * all that the process has written by then. All of them are sent again, in their order.
   */
  async #crash (n: number): Promise<void> {
    const { below } = this.#choices
    const asked = this.#many(1 + below(10))
    const sent = this.#send(asked)
    const heard: (Told | undefined)[] = []
    for (const [i, { told }] of sent.entries()) void told.then(reply => { heard[i] = reply }, () => {})
    const turns = below(25)
    for (let i = 0; i < turns; i++) await new Promise(resolve => setImmediate(resolve))
    const copy = memoryFolder()
    cpSync(this.#data, copy, { recursive: true })
    this.#client.drop()
    const before = [...heard]
    await this.#running?.app.app.stop()
    this.#data = copy
    this.#log.push(`${n} crashed after ${before.filter(reply => reply !== undefined).length} of ${asked.length} replies`)
    await this.start()
    const again = this.#send(asked, sent.map(({ correlation }) => correlation))
    const told = await Promise.all(again.map(reply => reply.told))
    for (const [i, reply] of told.entries()) {
      const first = before[i]
      if (first && first.error !== 'bad_request') expect({ text: reply.text, replayed: reply.replayed }, 'what was answered before the crash').toEqual({ text: first.text, replayed: true })
    }
    // What is answered as a repeat was carried out before the crash, the others after it. What was wrong is not remembered:
    // that may be looked at after others that stood behind it.
    const replayed = new Set(asked.filter(({ body }) => told[asked.findIndex(other => other.body.requestId === body.requestId)]?.replayed).map(({ body }) => body.requestId))
    const order = [...asked.keys()].sort((a, b) => Number(replayed.has(asked[b]?.body.requestId)) - Number(replayed.has(asked[a]?.body.requestId)))
    const ordered = <T>(list: readonly T[]): T[] => order.map(i => list[i] as T)
    this.#compare(n, ordered(asked), ordered(told), ordered(again.map(({ correlation }) => correlation)), true)
    // What became of these may have been told before the crash.
    for (const { id, status } of this.#model.reservations.values()) if (status !== 'waiting') this.#waits.delete(id)
  }

  /** Everything is as the model says. */
  async #check (): Promise<void> {
    const day = { from: '2026-01-01T00:00Z', to: '2026-01-01T01:00Z' }
    // Whoever waits has had a turn when a question about the windows of the lot is answered.
    await Promise.all([...this.#model.lots.keys()].map(async lot => await this.#client.ask('availability', { lot, ...day })))
    const [listed, lots] = await Promise.all([this.#client.ask('list', { limit: 1_000 }), this.#client.ask('lots')])
    const reservations = listed.result.reservations as { reservation: string, lot: string, status: string, from: string, until: string }[]
    const byId = (a: { reservation?: unknown }, b: { reservation?: unknown }): number => String(a.reservation) < String(b.reservation) ? -1 : 1
    same(reservations.toSorted(byId), [...this.#model.reservations.values()].map(r => this.#model.shown(r)).sort(byId))
    same((lots.result.lots as Record<string, unknown>[]).map(({ lot, capacity, buffer, counted, held, waiting, free, open }) => ({ lot, capacity, buffer, counted, held, waiting, free, open })),
      [...this.#model.lots.values()].map(({ id, capacity, buffer, counted, open }) => ({ lot: id, capacity, buffer, counted, held: this.#model.held(id), waiting: this.#model.waiting(id), free: this.#model.free(id), open })))
    for (const { id, capacity, buffer } of this.#model.lots.values()) {
      const most = mostAtOnce(reservations.filter(r => r.lot === id && ['booked', 'held', 'arriving', 'arrived', 'overstayed'].includes(r.status)), this.#clock.nowMs())
      if (most <= capacity - buffer) this.#lowered.delete(id)
      else if (!this.#lowered.has(id)) expect(most, `windows of ${id} at one instant`).toBeLessThanOrEqual(capacity - buffer)
    }
    await this.#notices()
  }

  /** Whoever was given a place, or waited in vain, is told so. */
  async #notices (): Promise<void> {
    for (const [id, correlation] of this.#waits) {
      const r = this.#model.reservations.get(id)
      if (!r || r.status === 'waiting') continue
      this.#waits.delete(id)
      if (r.status === 'cancelled') continue
      const event = r.status === 'expired' && r.kind === 'booking' ? 'expired' : /expired|promoted/
      await this.#client.later(correlation, ({ result }) => result.reservation === id && (typeof event === 'string' ? result.event === event : event.test(String(result.event))))
    }
  }
}

/** Equal: hundreds of reservations at every step are compared as text first, which is a hundred times as fast. */
function same (said: unknown, expected: unknown): void {
  if (JSON.stringify(said) !== JSON.stringify(expected)) expect(said).toEqual(expected)
}

/** The most windows that have one instant in common, from `now` on. */
function mostAtOnce (windows: readonly { from: string, until: string }[], now: number): number {
  const all = windows.map(({ from, until }) => ({ from: Date.parse(from), to: Date.parse(until) }))
  return Math.max(0, ...all.map(({ from }) => Math.max(from, now)).map(t => all.filter(other => other.from <= t && t < other.to).length))
}
