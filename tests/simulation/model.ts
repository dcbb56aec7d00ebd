// A plain model of one lot and its holds, written from docs/topics.md and docs/requests.md and not from the code: what it says and what
// parkmq says must be the same after every step.
export interface ModelReservation {
  status: 'held' | 'arriving' | 'arrived' | 'departed' | 'cancelled' | 'expired'
  plate: string
  until: number
  order: number
}

export interface ModelTimes { holdMs: number, arrivalGraceMs: number, maxStayMs: number }

export class Model {
  readonly capacity: number
  readonly times: ModelTimes
  counted: number
  readonly reservations = new Map<string, ModelReservation>()
  /** Every (sensor, epoch, seq) that has had its effect. */
  readonly #had = new Set<string>()
  readonly #epochs = new Map<string, number>()
  #order = 0

  constructor (capacity: number, counted: number, times: ModelTimes) {
    this.capacity = capacity
    this.counted = counted
    this.times = times
  }

  get held (): number { return this.#in('held', 'arriving').length }
  get free (): number { return Math.max(0, this.capacity - Math.min(Math.max(this.counted, 0), this.capacity) - this.held) }

  /** What time does: each reservation that is due takes its next step, until none is. */
  tick (now: number): void {
    for (const r of this.reservations.values()) {
      while (r.until <= now && ['held', 'arriving', 'arrived'].includes(r.status)) {
        if (r.status === 'held') r.status = 'expired'
        else if (r.status === 'arrived') r.status = 'departed'
        else this.#arrive(r, r.until)
      }
    }
  }

  delta (sensor: string, epoch: number, seq: number, delta: number, plate: string | null, now: number): void {
    this.tick(now)
    if (epoch < (this.#epochs.get(sensor) ?? 0)) return
    this.#epochs.set(sensor, epoch)
    const key = `${sensor} ${epoch} ${seq}`
    if (this.#had.has(key)) return
    this.#had.add(key)
    this.counted += delta
    const oldest = (...statuses: string[]): ModelReservation[] => [...this.reservations.values()]
      .filter(r => statuses.includes(r.status) && (plate === null || r.plate === plate)).sort((a, b) => a.order - b.order)
    if (delta < 0) {
      if (plate === null) return
      const [leaving] = oldest('arrived')
      if (leaving) leaving.status = 'departed'
    } else if (plate === null) {
      for (const r of oldest('arriving').slice(0, delta)) this.#arrive(r, now)
    } else {
      for (const r of oldest('held', 'arriving').slice(0, 1)) this.#arrive(r, now)
    }
  }

  recount (occupied: number, now: number): void {
    this.tick(now)
    this.counted = occupied
  }

  /** Whether a hold is admitted now. The windows of all other holds have begun, and those whose car is in are over: whoever finds a free place has one. */
  reserve (now: number): boolean {
    this.tick(now)
    return this.free >= 1
  }

  made (id: string, plate: string, now: number, holdMs = this.times.holdMs): void {
    this.reservations.set(id, { status: 'held', plate, until: now + holdMs, order: this.#order++ })
  }

  /** The status after the request, or the error code. */
  request (method: 'cancel' | 'arrive' | 'depart', id: string, now: number): string {
    this.tick(now)
    const r = this.reservations.get(id)
    if (!r) return 'unknown_reservation'
    switch (`${method} ${r.status}`) {
      case 'cancel held': case 'cancel arriving': return r.status = 'cancelled'
      case 'cancel cancelled': return 'already_cancelled'
      case 'cancel arrived': case 'arrive arriving': case 'arrive arrived': return 'already_arrived'
      case 'arrive held':
        r.status = 'arriving'
        r.until = now + this.times.arrivalGraceMs
        return r.status
      case 'depart held': return 'not_arrived'
      case 'depart arriving': case 'depart arrived': return r.status = 'departed'
      default: return 'reservation_ended'
    }
  }

  #arrive (r: ModelReservation, at: number): void {
    r.status = 'arrived'
    r.until = at + this.times.maxStayMs
  }

  #in (...statuses: string[]): ModelReservation[] {
    return [...this.reservations.values()].filter(r => statuses.includes(r.status))
  }
}
