// Sensor messages from many gates and what is heard of them, in the process that calls it: with a window of unacknowledged
// ones each, or at a fixed rate of all together. Latency and lag are measured from when a message was due, so
// that a broker that stands still is charged with all that should have happened meanwhile.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Histogram } from 'hdr-histogram-js'
import { newLatency } from './figures.js'
import { GateListener, type Hearing } from './gate-listener.js'
import { Gate, type GateParts } from './gate.js'
import { latencyOf, recordMs, type Latency } from './latency.js'
import type { Ports } from './raw-client.js'

export interface GatesParts {
  readonly ports: Ports
  readonly gates: readonly GateParts[]
  readonly hearing: Hearing
}

/** `messages` are those of each gate; `perSecond` are of all gates together. */
export type GatePace =
  | { readonly type: 'window', readonly window: number, readonly messages: number }
  | { readonly type: 'rate', readonly perSecond: number, readonly seconds: number }

export interface GateFigures {
  readonly sent: number
  readonly acknowledged: number
  /** Messages whose effect was heard: in an update of their own or in a later one of the same lot. */
  readonly heard: number
  /** Messages that the listeners got: fewer than `heard` where updates of a lot became one. */
  readonly updates: number
  /** Due and never sent, because earlier ones were not acknowledged. */
  readonly unsent: number
  /** From the first message to the last PUBACK, and to the update that includes the last message. */
  readonly secondsToAck: number
  readonly secondsToHeard: number
  /** From when a message was due to its PUBACK, and to the first update that includes it. */
  readonly ack: Latency
  readonly lag: Latency
  /** The lag of what was due in each second. */
  readonly lagBySecond: readonly Latency[]
  readonly closed: readonly string[]
}

/** Unacknowledged messages of one gate at a fixed rate. */
const MOST_UNACKNOWLEDGED = 1_000
const TICK_MS = 1
/** Nothing new for so long ends the waiting, in milliseconds. */
const STALL_MS = 5_000
const CONNECT_AT_ONCE = 16

/** Gates that stay the same over many runs against one system: their numbers go on. */
export class GateLoad {
  readonly #parts: GatesParts
  readonly #all: readonly Gate[]
  readonly #allListeners: readonly GateListener[]
  /** Those that are connected. */
  #gates: readonly Gate[] = []
  #listeners: readonly GateListener[] = []
  #ack = newLatency()
  #lag = newLatency()
  #lagBySecond: Histogram[] = []
  #startedMs = 0
  #lastAckMs = 0
  #lastHeardMs = 0

  constructor (parts: GatesParts) {
    this.#parts = parts
    this.#all = parts.gates.map(gate => new Gate(gate))
    const heard = (dueMs: number): void => this.#onHeard(dueMs)
    const { hearing } = parts
    this.#allListeners = hearing === 'free' ? this.#all.map(gate => new GateListener([gate], hearing, heard)) : [new GateListener(this.#all, hearing, heard)]
    for (const gate of this.#all) {
      gate.onAck = dueMs => {
        this.#lastAckMs = performance.now()
        recordMs(this.#ack, this.#lastAckMs - dueMs)
      }
    }
  }

  /** Connects the first `count` gates and who hears of them; the listeners first, so that they hear all. */
  async connect (count = this.#all.length): Promise<void> {
    const { ports, hearing } = this.#parts
    this.#gates = this.#all.slice(0, count)
    for (const gate of this.#gates) gate.begin(0)
    this.#listeners = hearing === 'free' ? this.#allListeners.slice(0, count) : this.#allListeners
    await inTurns(this.#listeners, async (listener, n) => await listener.connect(ports, `bench-listener-${n}`))
    await inTurns(this.#gates, async gate => await gate.connect(ports))
  }

  disconnect (): void {
    for (const gate of this.#gates) gate.close()
    for (const listener of this.#listeners) listener.close()
  }

  /** Sends, waits for every PUBACK and for the effect of every message, or until nothing comes any more. */
  async run (pace: GatePace): Promise<GateFigures> {
    this.#ack = newLatency()
    this.#lag = newLatency()
    this.#lagBySecond = []
    const total = pace.type === 'window' ? pace.messages * this.#gates.length : Math.floor(pace.perSecond * pace.seconds)
    const each = Math.ceil(total / this.#gates.length)
    for (const gate of this.#gates) gate.begin(each)
    const updatesBefore = this.#updates()
    this.#startedMs = this.#lastAckMs = this.#lastHeardMs = performance.now()
    if (pace.type === 'window') this.#fillWindows(pace.window, each)
    else await this.#atRate(total, pace.perSecond)
    await this.#settled(total)
    for (const gate of this.#gates) gate.onProgress = () => {}
    const sum = (of: (gate: Gate) => number): number => this.#gates.reduce((all, gate) => all + of(gate), 0)
    const sent = sum(gate => gate.sent - gate.base)
    return {
      sent, acknowledged: sum(gate => gate.acknowledged - gate.base), heard: sum(gate => gate.heard - gate.base), updates: this.#updates() - updatesBefore, unsent: total - sent,
      secondsToAck: (this.#lastAckMs - this.#startedMs) / 1_000, secondsToHeard: (this.#lastHeardMs - this.#startedMs) / 1_000,
      ack: latencyOf(this.#ack), lag: latencyOf(this.#lag), lagBySecond: [...this.#lagBySecond].map(histogram => latencyOf(histogram ?? newLatency())),
      closed: [...this.#gates, ...this.#listeners].flatMap(({ closed }) => closed === null ? [] : [closed])
    }
  }

  #updates (): number {
    return this.#listeners.reduce((sum, { updates }) => sum + updates, 0)
  }

  #onHeard (dueMs: number): void {
    const nowMs = this.#lastHeardMs = performance.now()
    recordMs(this.#lag, nowMs - dueMs)
    const second = Math.floor((dueMs - this.#startedMs) / 1_000)
    recordMs(this.#lagBySecond[second] ??= newLatency(), nowMs - dueMs)
  }

  #fillWindows (window: number, each: number): void {
    for (const gate of this.#gates) {
      gate.onProgress = () => {
        const nowMs = performance.now()
        gate.send(Math.min(window - gate.unacknowledged, each - (gate.sent - gate.base)), () => nowMs)
      }
      gate.onProgress()
    }
  }

  /** Message `k` of all is due at `k / perSecond`, from gate `k mod gates`. */
  async #atRate (total: number, perSecond: number): Promise<void> {
    const gates = this.#gates.length
    const everyMs = 1_000 / perSecond
    const sendDue = (gate: Gate, g: number, due: number): void => {
      const dueOfGate = Math.floor((due - g + gates - 1) / gates)
      const room = Math.min(dueOfGate - (gate.sent - gate.base), MOST_UNACKNOWLEDGED - gate.unacknowledged)
      if (room > 0) gate.send(room, place => this.#startedMs + (g + place * gates) * everyMs)
    }
    let due = 0
    while (due < total) {
      due = Math.min(total, Math.floor((performance.now() - this.#startedMs) / everyMs) + 1)
      for (const [g, gate] of this.#gates.entries()) sendDue(gate, g, due)
      await sleep(TICK_MS)
    }
    // What had to wait for its window is sent as soon as there is room.
    for (const [g, gate] of this.#gates.entries()) {
      gate.onProgress = () => sendDue(gate, g, total)
      gate.onProgress()
    }
  }

  async #settled (total: number): Promise<void> {
    const progress = (): number => this.#gates.reduce((sum, gate) => sum + gate.acknowledged + gate.heard - 2 * gate.base, 0)
    let seen = -1
    let sinceMs = performance.now()
    while (progress() < 2 * total && performance.now() - sinceMs < STALL_MS) {
      if (progress() !== seen) sinceMs = performance.now()
      seen = progress()
      await sleep(TICK_MS)
    }
  }
}

async function inTurns<T> (all: readonly T[], act: (one: T, n: number) => Promise<void>): Promise<void> {
  for (let first = 0; first < all.length; first += CONNECT_AT_ONCE) {
    await Promise.all(all.slice(first, first + CONNECT_AT_ONCE).map(async (one, i) => await act(one, first + i)))
  }
}
