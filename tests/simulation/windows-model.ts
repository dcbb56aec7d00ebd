// A plain model of lots, reservations and windows, written from the rules in words (docs/requests.md, docs/guarantees.md and
// the headers of shared/reservation.ts and services/reservation/core.ts) and not from the code. It is slow and simple on
// purpose: it counts every window at every instant at which a count can grow, and knows nothing of batches and caches.
import { instantOf } from './wall-clock.js'
import type { Answered, Body, ModelLimits, ModelLot, ModelReservation, ModelTimes, Status } from './windows-words.js'

const MINUTE = 60_000
const PENDING: readonly Status[] = ['waiting', 'booked', 'held', 'arriving']
const IN: readonly Status[] = ['arrived', 'overstayed']
const OVER: readonly Status[] = ['departed', 'cancelled', 'expired', 'no_show']

export class WindowsModel {
  readonly lots = new Map<string, ModelLot>()
  readonly reservations = new Map<string, ModelReservation>()
  readonly #times: ModelTimes
  readonly #limits: ModelLimits
  #order = 0
  now = 0

  constructor (lots: readonly ModelLot[], times: ModelTimes, limits: ModelLimits) {
    for (const lot of lots) this.lots.set(lot.id, { ...lot })
    this.#times = times
    this.#limits = limits
  }

  held (lot: string): number { return this.#of(lot, 'held', 'arriving').length }
  waiting (lot: string): number { return this.#of(lot, 'waiting').length }
  free (id: string): number {
    const { open, capacity, buffer, counted } = this.lot(id)
    return open ? Math.max(0, capacity - buffer - Math.min(Math.max(counted, 0), capacity) - this.held(id)) : 0
  }

  lot (id: string): ModelLot {
    const lot = this.lots.get(id)
    if (!lot) throw new Error(`the model has no lot ${id}`)
    return lot
  }

  /** Time goes on to `now`: what is due happens in the order of time, then those who wait have their turn. */
  time (now: number): void {
    this.now = now
    for (;;) {
      const due = [...this.reservations.values()].filter(r => r.due !== null && r.due <= now).sort((a, b) => (a.due ?? 0) - (b.due ?? 0))
      if (!due[0]) break
      this.#due(due[0], due[0].due ?? 0)
    }
    this.turn()
  }

  /** Whoever waits gets a place if there is one, in the order in which they came. */
  turn (): void {
    for (const r of this.reservations.values()) {
      if (r.status !== 'waiting') continue
      const [from, to] = r.kind === 'hold' ? [this.now, this.now + this.#times.holdMs] : [r.from, r.to]
      if (this.#room(r.lot, from, to) !== null) continue
      Object.assign(r, { from, to, original: to })
      this.#place(r)
    }
  }

  /** A gate counted `delta` cars, perhaps one of them by its plate. */
  delta (id: string, delta: number, plate: string | null): void {
    this.lot(id).counted += delta
    if (delta < 0) {
      const [leaving] = plate === null ? [] : this.#oldest(id, plate, ...IN)
      if (leaving) this.#end(leaving, 'departed', this.now)
    } else if (plate === null) {
      for (const r of this.#oldest(id, null, 'arriving').slice(0, delta)) this.#arrived(r, this.now)
    } else {
      for (const r of this.expected(id, plate).slice(0, 1)) this.#arrived(r, this.now)
    }
    this.turn()
  }

  /** Whose car a gate means by a plate: those that have a place, then bookings that begin soon; the oldest first. */
  expected (id: string, plate: string): ModelReservation[] {
    return [...this.#oldest(id, plate, 'held', 'arriving'), ...this.#oldest(id, plate, 'booked').filter(r => this.now >= r.from - this.#times.earlyArrivalMs)]
  }

  /** What a request does and answers. A new reservation gets the id and the secret that parkmq made up. */
  request (method: string, body: Body, made: { id: string, secret: string }): Answered {
    const answered = this.#request(method, body, made)
    this.turn()
    return answered
  }

  shown (r: ModelReservation): Record<string, unknown> {
    return { reservation: r.id, kind: r.kind, lot: r.lot, plate: r.plate, status: r.status, from: new Date(r.from).toISOString(), until: new Date(r.to).toISOString() }
  }

  #request (method: string, body: Body, made: { id: string, secret: string }): Answered {
    if ((method.startsWith('lot.') || method === 'recount') && !this.lots.has(body.lot ?? '')) return { code: 'unknown_lot' }
    switch (method) {
      case 'reserve': case 'book': case 'wait': return this.#make(method, body, made)
      case 'change': return this.#change(body)
      case 'extend': return this.#extend(body)
      case 'cancel': case 'arrive': case 'depart': return this.#step(method, body)
      case 'lot.set': {
        const lot = this.lot(body.lot ?? '')
        const [capacity, buffer] = [body.capacity ?? lot.capacity, body.buffer ?? lot.buffer]
        if (buffer > capacity) return { code: 'bad_request' }
        Object.assign(lot, { capacity, buffer })
        return { shown: {} }
      }
      case 'lot.open': case 'lot.close':
        this.lot(body.lot ?? '').open = method === 'lot.open'
        return { shown: {} }
      case 'recount':
        this.lot(body.lot ?? '').counted = body.occupied ?? 0
        return { shown: {} }
      default: throw new Error(`the model knows no ${method}`)
    }
  }

  #make (method: 'reserve' | 'book' | 'wait', { lot: id = '', plate = '', holdSeconds, from, to }: Body, { id: reservation, secret }: { id: string, secret: string }): Answered {
    const lot = this.lots.get(id)
    if (!lot) return { code: 'unknown_lot' }
    const booking = from !== undefined && to !== undefined
    const holdMs = holdSeconds === undefined ? this.#times.holdMs : holdSeconds * 1_000
    const begin = booking ? instantOf(from, lot.timeZone) : this.now
    const end = booking ? instantOf(to, lot.timeZone) : this.now + holdMs
    if (begin === null || end === null) return { code: 'bad_request' }
    if (this.#pending(plate) >= this.#limits.reservationsPerPlate) return { code: 'over_limit' }
    const wrong = booking ? this.#wrongWindow(begin, end, null) : null
    if (wrong) return { code: wrong }
    const full = this.#room(id, begin, end)
    if (full !== null && (full !== 'lot_full' || method !== 'wait')) return { code: full }
    const r: ModelReservation = {
      id: reservation, secret, kind: booking ? 'booking' : 'hold', made: this.now, order: this.#order++, lot: id, plate, status: 'waiting', from: begin, to: end, original: end, due: null
    }
    if (full === null) {
      this.#place(r)
    } else {
      if (this.waiting(id) >= this.#limits.waitingPerLot) return { code: 'over_limit' }
      if (!booking) r.to = r.original = this.now + this.#times.waitMs
      r.due = booking && begin > this.now ? begin : r.to
    }
    const position = this.waiting(id) + 1
    this.reservations.set(r.id, r)
    return { shown: { ...this.shown(r), secret, ...(r.status === 'waiting' && { position }) } }
  }

  #change (body: Body): Answered {
    const r = this.#named(body)
    if ('code' in r) return r
    const there = this.lots.get(body.lot ?? r.lot)
    if (!there) return { code: 'unknown_lot' }
    const shift = body.shiftMinutes === undefined ? null : body.shiftMinutes * MINUTE
    const from = shift !== null ? r.from + shift : body.from === undefined ? r.from : instantOf(body.from, there.timeZone)
    const to = shift !== null ? r.to + shift : body.to === undefined ? r.to : instantOf(body.to, there.timeZone)
    if (from === null || to === null) return { code: 'bad_request' }
    const moves = there.id !== r.lot
    const over = this.#over(r)
    if (over) return { code: over }
    const isIn = r.status === 'arriving' || IN.includes(r.status)
    const [newFrom, newTo] = [shift !== null || body.from !== undefined, shift !== null || body.to !== undefined]
    if (isIn && (newFrom || moves)) return { code: 'already_arrived' }
    if (r.kind === 'hold' && (newFrom || newTo)) return { code: 'bad_request' }
    const plate = body.plate ?? r.plate
    const same = from === r.from && to === r.to
    if (!same) {
      const wrong = this.#wrongWindow(from, to, r.from)
      if (wrong) return { code: wrong }
    }
    if (!same || moves) {
      // What it has in its lot already is not asked for again.
      const full = moves ? this.#room(there.id, from, to) : this.#room(there.id, from, to, r)
      if (full) return { code: full }
    }
    if (plate !== r.plate && this.#pending(plate) >= this.#limits.reservationsPerPlate) return { code: 'over_limit' }
    Object.assign(r, { plate, lot: there.id })
    if (same && !moves) return { shown: this.shown(r) }
    Object.assign(r, { from, to, ...(!same && { original: to }) })
    if (r.kind === 'hold' || r.status === 'arriving') return { shown: this.shown(r) }
    if (r.status === 'booked') this.#place(r)
    else if (r.status !== 'held') Object.assign(r, { status: 'arrived', due: to })
    else if (from > this.now) Object.assign(r, { status: 'booked', due: from })
    else r.due = this.#noShow(r)
    return { shown: this.shown(r) }
  }

  #extend (body: Body): Answered {
    const r = this.#named(body)
    if ('code' in r) return r
    const until = body.until === undefined ? r.original + (body.byMinutes ?? 0) * MINUTE : instantOf(body.until, this.lot(r.lot).timeZone)
    if (until === null) return { code: 'bad_request' }
    const over = this.#over(r)
    if (over) return { code: over }
    if (r.kind === 'hold' && r.status !== 'held') return { code: 'already_arrived' }
    // The same once more, or earlier, changes nothing.
    if (until <= r.to) return { shown: this.shown(r) }
    if (r.kind === 'hold' && until > r.from + this.#times.longestHoldMs) return { code: 'over_limit' }
    const wrong = this.#wrongWindow(r.from, until, r.from)
    if (wrong) return { code: wrong }
    const full = this.#room(r.lot, r.from, until, r)
    if (full) return { code: full }
    r.to = until
    if (r.status === 'held') r.due = r.kind === 'hold' ? until : this.#noShow(r)
    if (IN.includes(r.status)) Object.assign(r, { status: 'arrived', due: until })
    return { shown: this.shown(r) }
  }

  #step (method: 'cancel' | 'arrive' | 'depart', body: Body): Answered {
    const r = this.#named(body)
    if ('code' in r) return r
    if (method === 'arrive') return this.#arrive(r)
    if (r.status === 'cancelled' && method === 'cancel') return { code: 'already_cancelled' }
    if (OVER.includes(r.status)) return { code: 'reservation_ended' }
    if (method === 'cancel') {
      if (IN.includes(r.status)) return { code: 'already_arrived' }
      this.#end(r, 'cancelled', this.now)
    } else {
      if (r.status === 'waiting') return { code: 'still_waiting' }
      if (r.status === 'booked' || r.status === 'held') return { code: 'not_arrived' }
      if (this.lot(r.lot).counting === 'requests' && IN.includes(r.status)) this.lot(r.lot).counted--
      this.#end(r, 'departed', this.now)
    }
    return { shown: this.shown(r) }
  }

  #arrive (r: ModelReservation): Answered {
    if (OVER.includes(r.status)) return { code: 'reservation_ended' }
    if (r.status === 'waiting') return { code: 'still_waiting' }
    if (r.status === 'arriving' || IN.includes(r.status)) return { code: 'already_arrived' }
    if (r.status === 'booked' && this.now < r.from - this.#times.earlyArrivalMs) return { code: 'too_early' }
    // Before its window it has no place of its own.
    if (r.status === 'booked' && this.free(r.lot) < 1) return { code: 'lot_full' }
    if (this.lot(r.lot).counting === 'requests') {
      this.lot(r.lot).counted++
      this.#arrived(r, this.now)
    } else {
      Object.assign(r, { status: 'arriving', due: this.now + this.#times.arrivalGraceMs })
    }
    return { shown: this.shown(r) }
  }

  /** The car is in: a hold has done its work, a booking keeps its window to its end. */
  #arrived (r: ModelReservation, at: number): void {
    r.status = 'arrived'
    if (r.kind === 'hold') Object.assign(r, { to: Math.min(r.to, at), due: at + this.#times.maxStayMs })
    else r.due = Math.max(r.to, at)
  }

  #end (r: ModelReservation, status: Status, at: number): void {
    Object.assign(r, { status, due: null, to: Math.max(r.from, Math.min(r.to, at)) })
  }

  #due (r: ModelReservation, at: number): void {
    switch (r.status) {
      case 'waiting': return this.#end(r, 'expired', at)
      case 'booked':
        r.status = 'held'
        r.due = Math.min(at + this.#times.noShowMs, r.to)
        return
      case 'held': return this.#end(r, r.kind === 'hold' ? 'expired' : 'no_show', at)
      case 'arriving': return this.#arrived(r, at)
      case 'arrived': case 'overstayed':
        if (r.kind === 'booking' && r.status === 'arrived') {
          Object.assign(r, { status: 'overstayed', due: at + this.#times.maxStayMs })
          return
        }
        if (this.lot(r.lot).counting === 'requests') this.lot(r.lot).counted--
        return this.#end(r, 'departed', at)
      case 'departed': case 'cancelled': case 'expired': case 'no_show': throw new Error(`the model has ${r.id} due although it is ${r.status}`)
      default: r.status satisfies never
    }
  }

  /** With its window granted: its place is held from the begin of that on. */
  #place (r: ModelReservation): void {
    if (r.kind === 'hold') Object.assign(r, { status: 'held', due: r.to })
    else if (r.from <= this.now) Object.assign(r, { status: 'held', due: Math.min(this.now + this.#times.noShowMs, r.to) })
    else Object.assign(r, { status: 'booked', due: r.from })
  }

  /** A booking is given up so long after its begin or its making, never earlier than it would have been, and at its end. */
  #noShow (r: ModelReservation): number {
    return Math.min(r.to, Math.max(r.due ?? 0, Math.max(r.from, r.made) + this.#times.noShowMs))
  }

  #wrongWindow (from: number, to: number, had: number | null): string | null {
    if (from >= to) return 'bad_request'
    // The minute that has begun may still be asked for, and a begin that is had already.
    if ((from !== had && from < Math.floor(this.now / MINUTE) * MINUTE) || to <= this.now) return 'window_past'
    return to > this.now + this.#times.bookAheadMs ? 'over_limit' : null
  }

  /** Null when there is a place at every instant of [from, to) that is to come and not had already, and one now if that is asked for. */
  #room (id: string, from: number, to: number, own?: ModelReservation): string | null {
    const lot = this.lot(id)
    const needsPlaceNow = from <= this.now && !(own && (own.status === 'held' || own.status === 'arriving' || IN.includes(own.status)))
    const has = (t: number): boolean => own !== undefined && own.from <= t && t < own.to
    const others = this.windows(id)
    // A count grows only where a window begins; what is asked for begins now, at its begin, or where the own window ends.
    const asked = [Math.max(from, this.now), ...(own ? [own.to] : []), ...others.map(other => other.from)].filter(t => t >= this.now && t >= from && t < to && !has(t))
    if (asked.length === 0 && !needsPlaceNow) return null
    if (!lot.open) return 'lot_closed'
    if (needsPlaceNow && this.free(id) < 1) return 'lot_full'
    const places = lot.capacity - lot.buffer
    return asked.some(t => others.filter(other => other.from <= t && t < other.to).length >= places) ? 'lot_full' : null
  }

  /** Every window that counts against the places of a lot. */
  windows (id: string): { from: number, to: number }[] {
    return this.#of(id, 'booked', 'held', 'arriving', 'arrived', 'overstayed').filter(r => r.from < r.to)
  }

  #named ({ reservation, lot, plate, secret }: Body): ModelReservation | { code: string } {
    const ofPlate = [...this.reservations.values()].filter(r => r.lot === lot && r.plate === plate)
    const live = ofPlate.filter(r => r.due !== null)
    // Of a plate it is one that is not over, as long as there is any.
    const named = reservation === undefined ? (live.length > 0 ? live : ofPlate) : [this.reservations.get(reservation)].filter(r => r !== undefined)
    if (named.length === 0) return { code: 'unknown_reservation' }
    return named.find(r => r.secret === secret) ?? { code: 'not_yours' }
  }

  #over ({ status }: ModelReservation): string | null {
    if (status === 'waiting') return 'still_waiting'
    if (status === 'cancelled') return 'already_cancelled'
    return OVER.includes(status) ? 'reservation_ended' : null
  }

  #pending (plate: string): number {
    return [...this.reservations.values()].filter(r => r.plate === plate && PENDING.includes(r.status)).length
  }

  #oldest (lot: string, plate: string | null, ...statuses: Status[]): ModelReservation[] {
    return this.#of(lot, ...statuses).filter(r => plate === null || r.plate === plate).sort((a, b) => a.made - b.made || a.order - b.order)
  }

  #of (lot: string, ...statuses: Status[]): ModelReservation[] {
    return [...this.reservations.values()].filter(r => r.lot === lot && statuses.includes(r.status))
  }
}
