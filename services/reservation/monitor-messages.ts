// What a monitor is told: which changes of a lot matter to it, and how they are said. Pure.
import { freePlaces, type Lot } from '../../shared/lot.js'
import type { ReplyAddress } from '../../shared/request-envelope.js'
import type { Availability, MonitorMessage } from '../../shared/schemas.js'

/** A lot as it is told to whoever monitors it. */
export interface Told {
  readonly now: Availability
  readonly version: number
  /** The JSON of an update, made once for all who are told the same. */
  readonly text: () => string
}

export function toldOf (lot: Lot): Told {
  let text: string | undefined
  return { now: availabilityOf(lot), version: lot.version, text: () => text ??= textOf({ monitor: 'update', ...shownLot(lot) }) }
}

/** What a monitor is about. */
export function availabilityOf (lot: Lot): Availability {
  return { free: freePlaces(lot), capacity: lot.capacity, open: lot.open, quality: lot.quality }
}

export function shownLot (lot: Lot) {
  return { lot: lot.id, ...availabilityOf(lot), version: lot.version, at: new Date(lot.changedAtMs).toISOString() }
}

export function textOf (message: MonitorMessage): string {
  return JSON.stringify({ ok: true, result: message })
}

export function differs (a: Availability, b: Availability): boolean {
  return a.free !== b.free || a.open !== b.open || a.quality !== b.quality || a.capacity !== b.capacity
}

/** Whether what goes to both arrives as one stream. */
export function isSameAddress (a: ReplyAddress, b: ReplyAddress): boolean {
  return a.topic === b.topic && a.correlation === b.correlation && Buffer.from(a.correlationData ?? []).equals(b.correlationData ?? Buffer.alloc(0))
}
