// The words of the plain model of windows.
export type Status = 'waiting' | 'booked' | 'held' | 'arriving' | 'arrived' | 'overstayed' | 'departed' | 'cancelled' | 'expired' | 'no_show'

export interface ModelTimes {
  holdMs: number
  longestHoldMs: number
  arrivalGraceMs: number
  maxStayMs: number
  noShowMs: number
  earlyArrivalMs: number
  bookAheadMs: number
  waitMs: number
}

export interface ModelLimits { reservationsPerPlate: number, waitingPerLot: number }

export interface ModelLot {
  readonly id: string
  readonly counting: 'sensors' | 'requests'
  readonly timeZone: string
  capacity: number
  buffer: number
  counted: number
  open: boolean
}

export interface ModelReservation {
  readonly id: string
  readonly secret: string
  readonly kind: 'hold' | 'booking'
  /** When it was made, and which of those it was. */
  readonly made: number
  readonly order: number
  lot: string
  plate: string
  status: Status
  from: number
  to: number
  /** The end before any extension. */
  original: number
  /** When time next changes it. */
  due: number | null
}

/** A code, or the reservation as the reply must show it. */
export type Answered = { readonly code: string } | { readonly shown: Record<string, unknown> }

export interface Body {
  lot?: string
  plate?: string
  reservation?: string
  secret?: string
  holdSeconds?: number
  from?: string
  to?: string
  until?: string
  byMinutes?: number
  shiftMinutes?: number
  capacity?: number
  buffer?: number
  occupied?: number
}
