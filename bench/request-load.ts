// Requests from N clients at once, in the process that calls it: in a closed loop, where each client makes its next request
// when it has the answer, or at a fixed rate whatever becomes of the answers. It always ends: what is not answered is
// counted.
//
// At a fixed rate latency is measured from when a request was due, not from when it could be sent, so that a
// broker that stands still is charged with all that should have happened meanwhile (coordinated omission).
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Histogram } from 'hdr-histogram-js'
import type { Act } from './acts.js'
import { newLatency } from './figures.js'
import { latencyOf, recordMs, type Latency } from './latency.js'
import type { Ports } from './raw-client.js'
import { newTally, Requester, type Tally } from './requester.js'
import { Asker, type Workload } from './workloads.js'

export interface LoadParts {
  readonly ports: Ports
  readonly answers: 'replies' | 'echo'
  readonly clients: number
  readonly workload: Workload
  readonly lots: readonly string[]
  readonly requestIds: boolean
  readonly seed: number
  /** 8 letters and digits that no other run against the same broker has. */
  readonly run: string
  readonly pace: Pace
  /** How long answers may still come after the end, in milliseconds; default 5,000. */
  readonly graceMs?: number
}

/** `requests`: so many of all clients together, however long it takes. */
export type Pace =
  | { readonly type: 'closed', readonly seconds: number }
  | { readonly type: 'closed', readonly requests: number }
  | { readonly type: 'open', readonly perSecond: number, readonly seconds: number }

export interface LoadFigures extends Tally {
  /** Requests without an answer, and PUBLISHes without PUBACK, at the end. */
  readonly unanswered: number
  readonly unacknowledged: number
  /** Due at the fixed rate and never sent, because earlier ones were not answered. */
  readonly unsent: number
  /** From the first request to the last answer. */
  readonly seconds: number
  readonly perSecond: number
  /** Of each act that was made, and of all. From when it was due, which in a closed loop is when it was sent. */
  readonly latency: Readonly<Partial<Record<Act | 'all', Latency>>>
  /** From when it was sent, as a client sees it that does not care when it was due. */
  readonly uncorrected: Latency
  /** Reservations that were left at the end and given back then; those are in no other figure. */
  readonly tidied: number
  /** Why connections were closed, one entry for each. */
  readonly closed: readonly string[]
  /** Processor time of this process, as a share of one processor: near 1 it is what limits the bench. */
  readonly generatorLoad: number
  /** Longest delay of this process's event loop, in milliseconds. */
  readonly loopDelayMs: number
}

/** Open requests of one client: below what parkmq lets an MQTT 5.0 client have unacknowledged. */
const MOST_OUTSTANDING = 200
const TICK_MS = 1
const GRACE_MS = 5_000
/** A closed loop with a number of requests gives up when nothing is answered for so long, in milliseconds. */
const STALL_MS = 10_000
const CONNECT_AT_ONCE = 16
const RESOLUTION_MS = 5

/** `live.answered` counts while it runs. */
export async function runLoad (parts: LoadParts, live: { answered: number } = { answered: 0 }): Promise<LoadFigures> {
  const load = new RequestLoad(parts, live)
  return await load.run()
}

class RequestLoad {
  readonly #parts: LoadParts
  readonly #live: { answered: number }
  readonly #latency = new Map<Act | 'all', Histogram>([['all', newLatency()]])
  readonly #uncorrected = newLatency()
  readonly #requesters: Requester[] = []
  #tally = newTally()
  #startedMs = 0
  #lastAnswerMs = 0
  /** What to do after an answer. */
  #next: (requester: Requester, nowMs: number) => void = () => {}
  #records = true
  #unsent = 0

  constructor (parts: LoadParts, live: { answered: number }) {
    this.#parts = parts
    this.#live = live
  }

  async run (): Promise<LoadFigures> {
    await this.#connect()
    const loop = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
    loop.enable()
    const cpuBefore = process.cpuUsage()
    this.#startedMs = this.#lastAnswerMs = performance.now()
    const { pace } = this.#parts
    if (pace.type === 'open') await this.#open(pace.perSecond, pace.seconds)
    else if ('requests' in pace) await this.#closedUntil(pace.requests)
    else await this.#closedFor(pace.seconds)
    const cpu = process.cpuUsage(cpuBefore)
    const wallMs = performance.now() - this.#startedMs
    loop.disable()
    await this.#settled()
    const figures = this.#figures()
    const tidied = await this.#tidy()
    const closed = this.#requesters.flatMap(({ closed }) => closed === null ? [] : [closed])
    for (const requester of this.#requesters) requester.close()
    return { ...figures, tidied, closed, generatorLoad: (cpu.user + cpu.system) / 1_000 / wallMs, loopDelayMs: Math.max(0, loop.max / 1e6 - RESOLUTION_MS) }
  }

  async #connect (): Promise<void> {
    const { clients, ports, answers, run, seed, ...asker } = this.#parts
    for (let first = 0; first < clients; first += CONNECT_AT_ONCE) {
      const some = Array.from({ length: Math.min(CONNECT_AT_ONCE, clients - first) }, (_, i) => first + i)
      this.#requesters.push(...await Promise.all(some.map(async client => {
        const clientId = `bench-${run}-${client}`
        const replyTo = `replies/${clientId}`
        return await Requester.connect({
          ports, clientId, replyTo, answers, tally: this.#tally,
          asker: new Asker({ ...asker, replyTo, client, run, seed, nowMs: Date.now() }),
          onAnswer: (requester, { act }, intendedMs, sentMs, nowMs) => this.#onAnswer(requester, act, intendedMs, sentMs, nowMs)
        })
      })))
    }
  }

  #onAnswer (requester: Requester, act: Act, intendedMs: number, sentMs: number, nowMs: number): void {
    if (this.#records) {
      this.#live.answered++
      this.#lastAnswerMs = nowMs
      recordMs(this.#histogramOf('all'), nowMs - intendedMs)
      recordMs(this.#histogramOf(act), nowMs - intendedMs)
      recordMs(this.#uncorrected, nowMs - sentMs)
    }
    this.#next(requester, nowMs)
  }

  async #closedFor (seconds: number): Promise<void> {
    const untilMs = this.#startedMs + seconds * 1_000
    this.#next = (requester, nowMs) => { if (nowMs < untilMs) requester.ask(nowMs) }
    for (const requester of this.#requesters) requester.ask(performance.now())
    await sleep(untilMs - performance.now())
  }

  async #closedUntil (requests: number): Promise<void> {
    let left = requests
    await new Promise<void>(resolve => {
      let seen = -1
      const end = (): void => {
        clearInterval(watch)
        resolve()
      }
      const watch = setInterval(() => {
        if (this.#live.answered === seen) end()
        seen = this.#live.answered
      }, STALL_MS)
      const ask = (requester: Requester, nowMs: number): void => {
        if (left > 0 && requester.ask(nowMs)) left--
        else if (this.#outstanding() === 0) end()
      }
      this.#next = ask
      for (const requester of this.#requesters) ask(requester, performance.now())
    })
  }

  /** Request `k` is due at `k / perSecond`, from client `k mod clients`. */
  async #open (perSecond: number, seconds: number): Promise<void> {
    const total = Math.floor(perSecond * seconds)
    const everyMs = 1_000 / perSecond
    /** Due times of requests that wait, by client: too many of its own are open. */
    const backlogs = new Map<Requester, number[]>(this.#requesters.map(requester => [requester, []]))
    const catchUp = (requester: Requester): void => {
      const backlog = backlogs.get(requester) ?? []
      while (backlog.length > 0 && requester.outstanding < MOST_OUTSTANDING && requester.ask(backlog[0] ?? 0)) backlog.shift()
    }
    this.#next = catchUp
    let due = 0
    while (due < total) {
      const elapsedMs = performance.now() - this.#startedMs
      for (; due < total && due * everyMs <= elapsedMs; due++) {
        const requester = this.#requesters[due % this.#requesters.length]
        if (requester === undefined) return
        backlogs.get(requester)?.push(this.#startedMs + due * everyMs)
        catchUp(requester)
      }
      if (due < total) await sleep(TICK_MS)
    }
    const waiting = (): number => [...backlogs.values()].reduce((sum, { length }) => sum + length, 0)
    await this.#until(() => waiting() === 0)
    this.#unsent = waiting()
  }

  #outstanding (): number {
    return this.#requesters.reduce((sum, requester) => sum + requester.outstanding, 0)
  }

  #unacknowledged (): number {
    return this.#requesters.reduce((sum, requester) => sum + requester.unacknowledged, 0)
  }

  async #settled (): Promise<void> {
    this.#next = () => {}
    await this.#until(() => this.#outstanding() + this.#unacknowledged() === 0)
  }

  async #until (isDone: () => boolean): Promise<void> {
    const giveUpMs = performance.now() + (this.#parts.graceMs ?? GRACE_MS)
    while (!isDone() && performance.now() < giveUpMs) await sleep(TICK_MS)
  }

  #figures (): Omit<LoadFigures, 'tidied' | 'closed' | 'generatorLoad' | 'loopDelayMs'> {
    const seconds = Math.max(0.001, (this.#lastAnswerMs - this.#startedMs) / 1_000)
    return {
      ...this.#tally, refused: { ...this.#tally.refused },
      unanswered: this.#outstanding(), unacknowledged: this.#unacknowledged(), unsent: this.#unsent,
      seconds, perSecond: this.#tally.answered / seconds,
      latency: Object.fromEntries([...this.#latency].map(([act, histogram]) => [act, latencyOf(histogram)])),
      uncorrected: latencyOf(this.#uncorrected)
    }
  }

  /** Gives back what is still reserved: the next run finds the lots as this one did. Returns how many. */
  async #tidy (): Promise<number> {
    this.#records = false
    const before = this.#tally.answered
    this.#next = (requester, nowMs) => { requester.ask(nowMs, true) }
    for (const requester of this.#requesters) requester.ask(performance.now(), true)
    await this.#until(() => this.#outstanding() + this.#unacknowledged() === 0)
    return this.#tally.answered - before
  }

  #histogramOf (act: Act | 'all'): Histogram {
    let histogram = this.#latency.get(act)
    if (histogram === undefined) this.#latency.set(act, histogram = newLatency())
    return histogram
  }
}
