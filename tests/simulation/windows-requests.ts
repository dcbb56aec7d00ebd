// Random requests of the simulation of windows: mostly what drivers and operators would ask, and some that cannot be granted.
import { createHash } from 'node:crypto'
import type { Choices } from './random.js'
import { shownAt } from './wall-clock.js'
import type { WindowsModel } from './windows-model.js'
import type { ModelReservation } from './windows-words.js'

export interface Asked {
  readonly method: string
  readonly body: Record<string, unknown>
}

const PLATES = ['AA1', 'BB2', 'CC3', 'DD4', 'EE5', 'FF6', 'GG7', 'HH8']
const QUARTER_MS = 15 * 60_000
/** Of the reservations to ask about, most are among so many of the last. */
const RECENT = 14

const REQUESTS = {
  reserve: 12, book: 22, wait: 14, change: 18, extend: 9, cancel: 9, arrive: 9, depart: 6, 'lot.set': 2, 'lot.open': 2, 'lot.close': 1, recount: 1
}

export class RandomRequests {
  readonly #choices: Choices
  readonly #model: WindowsModel
  readonly #seed: number
  #made = 0
  /** The lot that all ask about at the moment; null for any. */
  focus: string | null = null

  constructor (seed: number, choices: Choices, model: WindowsModel) {
    this.#seed = seed
    this.#choices = choices
    this.#model = model
  }

  plate (): string { return this.#choices.pick(PLATES) }

  next (): Asked {
    const { weighted } = this.#choices
    const method = weighted(REQUESTS)
    const requestId = createHash('sha256').update(`${this.#seed} ${this.#made++}`).digest('hex').slice(0, 32)
    return { method, body: { ...this.#body(method), requestId } }
  }

  #body (method: keyof typeof REQUESTS): Record<string, unknown> {
    const { chance, below, pick } = this.#choices
    const lot = this.#lot()
    switch (method) {
      case 'reserve': return { lot, plate: this.plate(), ...(chance(0.3) && { holdSeconds: pick([1, 30, 200, 1_800, 3_600]) }) }
      case 'book': return { lot, plate: this.plate(), ...this.#window(lot) }
      case 'wait': return { lot, plate: this.plate(), ...(chance(0.6) && this.#window(lot)) }
      case 'change': return this.#change()
      case 'extend': {
        const r = this.#reservation()
        if (!r) return { reservation: 'R-NONE', byMinutes: 15 }
        return { ...this.#named(r), ...(chance(0.5) ? { byMinutes: pick([1, 5, 15, 30, 60, 240, 2_000]) } : { until: this.#text(floor(r.to) + pick([-30, 0, 15, 30, 60, 180]) * 60_000, r.lot) }) }
      }
      case 'cancel': case 'arrive': case 'depart': {
        const wanted = { cancel: ['waiting', 'booked', 'held'], arrive: ['held', 'booked'], depart: ['arrived', 'overstayed', 'arriving'] }[method]
        const r = this.#reservation(chance(0.7) ? wanted : null)
        if (!r) return { reservation: 'R-NONE' }
        return chance(0.3) && r.due !== null ? { lot: r.lot, plate: r.plate, secret: r.secret } : this.#named(r)
      }
      case 'lot.set': return chance(0.5) ? { lot, capacity: pick([2, 3, 4, 5]) } : { lot, buffer: pick([0, 0, 1, 2]) }
      case 'lot.open': case 'lot.close': return { lot: method === 'lot.open' ? pick([...this.#model.lots.values()].filter(l => !l.open).map(l => l.id).concat('A')) : lot }
      case 'recount': return { lot, occupied: below(3) }
      default: return method satisfies never
    }
  }

  #change (): Record<string, unknown> {
    const { chance, pick } = this.#choices
    const r = this.#reservation()
    if (!r) return { reservation: 'R-NONE', shiftMinutes: 15 }
    if (chance(0.4)) return { ...this.#named(r), shiftMinutes: pick([-240, -60, -15, -1, 1, 15, 30, 60, 300, 1_440]) }
    if (chance(0.2)) return { ...this.#named(r), from: this.#text(floor(r.from) - pick([15, 30, 60]) * 60_000, r.lot), to: this.#text(floor(r.to) + pick([15, 30, 60]) * 60_000, r.lot) }
    const lot = chance(0.3) ? this.#lot() : r.lot
    const near = (ms: number): string => this.#text(floor(ms) + pick([-120, -30, -15, 0, 15, 30, 90]) * 60_000, lot)
    const asked = { ...(chance(0.5) && { from: near(r.from) }), ...(chance(0.5) && { to: near(r.to) }), ...(lot !== r.lot && { lot }), ...(chance(0.2) && { plate: this.plate() }) }
    return { ...this.#named(r), ...(Object.keys(asked).length > 0 ? asked : { plate: this.plate() }) }
  }

  #lot (): string {
    if (this.focus !== null && this.#choices.chance(0.8)) return this.focus
    return this.#choices.chance(0.01) ? 'NONE' : this.#choices.pick([...this.#model.lots.keys()])
  }

  /** Mostly one of the last that may still change. */
  #reservation (statuses: readonly string[] | null = null): ModelReservation | undefined {
    const { chance, pick } = this.#choices
    const all = [...this.#model.reservations.values()].filter(r => this.focus === null || r.lot === this.focus)
    const fit = all.filter(r => statuses === null ? r.due !== null : statuses.includes(r.status))
    return pick((fit.length > 0 && !chance(0.05) ? fit : all).slice(-RECENT))
  }

  #named (r: ModelReservation): Record<string, unknown> {
    return { reservation: r.id, ...(!this.#choices.chance(0.02) && { secret: r.secret }) }
  }

  /** Mostly in the next hours, so that windows meet. */
  #window (lot: string): { from: string, to: string } {
    const { chance, below, pick } = this.#choices
    const { now } = this.#model
    if (chance(0.03)) return { from: pick(['2026-02-30T10:00', '2026-02-29T10:00Z', '2026-03-29T02:30', '2026-10-25T02:30', '2026-11-01T01:15', '2026-03-08T02:59']), to: '2026-12-24T10:00' }
    const begin = chance(0.25) ? now - now % 60_000 : Math.floor(now / QUARTER_MS) * QUARTER_MS + (1 + below(chance(0.9) ? 20 : 300)) * QUARTER_MS
    const length = pick([1, 2, 2, 4, 4, 8, 12, 96, chance(0.1) ? 4_000 : 3]) * QUARTER_MS
    return { from: this.#text(chance(0.03) ? begin - 7_200_000 : begin, lot), to: this.#text(chance(0.02) ? begin : begin + length, lot) }
  }

  /** A minute as somebody writes it: by the clocks of the lot, or with an offset. */
  #text (ms: number, lot: string): string {
    const { chance, pick } = this.#choices
    if (chance(0.7)) return shownAt(ms, this.#model.lots.get(lot)?.timeZone ?? 'UTC')
    const offset = pick([0, 2, -5])
    return `${new Date(ms + offset * 3_600_000).toISOString().slice(0, 16)}${offset === 0 ? 'Z' : offset > 0 ? `+0${offset}:00` : `-0${-offset}:00`}`
  }
}

function floor (ms: number): number {
  return ms - ms % 60_000
}
