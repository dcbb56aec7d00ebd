// Which places may still be booked, at every instant of a window or of a day: the same arithmetic as admission, so what it
// shows as free is what `book` grants. Pure.
import { freePlaces } from '../../shared/lot.js'
import type { Window } from '../../shared/windows.js'
import type { CalendarDay } from './calendar.js'
import type { Place } from './core.js'

/** A part of time in which as many places may be booked; times are ISO 8601. */
export interface FreeWindow {
  readonly from: string
  readonly to: string
  readonly free: number
}

/** Parts of one answer: a lot with a reservation every minute would make it as large as a month has minutes. */
const MOST_WINDOWS = 500
const MINUTE_MS = 60_000

/** What `availability` with from and to answers of a lot. */
export function windowAnswer (place: Place, window: Window, nowMs: number): Record<string, unknown> {
  const parts = freeParts(place, window, nowMs)
  return {
    lot: place.lot.id,
    from: shown(window.fromMs),
    to: shown(window.toMs),
    /** Places that are free over the whole window: so many `book` grants. */
    free: leastFree(place, window, nowMs),
    ...limited(parts)
  }
}

/** One day: windows in which at least one place may be booked with the fewest of each, and the fewest of each hour. */
export function dayAnswer (place: Place, { date, window, hours }: CalendarDay, nowMs: number): Record<string, unknown> {
  return {
    date,
    from: shown(window.fromMs),
    to: shown(window.toMs),
    ...limited(joined(freeParts(place, window, nowMs))),
    hours: hours.map(({ hour, fromMs, toMs }) => ({ hour, from: shown(fromMs), free: toMs <= nowMs ? 0 : leastFree(place, { fromMs: Math.max(fromMs, nowMs), toMs }, nowMs) }))
  }
}

/** The fewest places that may be booked at any instant of a window. What is over is no time to book. */
function leastFree (place: Place, { fromMs, toMs }: Window, nowMs: number): number {
  const { lot, overlaps } = place
  if (!lot.open || toMs <= nowMs) return 0
  const free = Math.max(0, lot.capacity - lot.buffer - overlaps.peak({ fromMs: Math.max(fromMs, nowMs), toMs }))
  // A window that covers now needs a place that is free now as well.
  return fromMs <= nowMs ? Math.min(free, freePlaces(lot)) : free
}

interface FreePart extends Window { readonly free: number }

/** The parts of what is still to come of a window in which places may be booked. Neighbours differ in how many. */
function freeParts ({ lot, overlaps }: Place, { fromMs, toMs }: Window, nowMs: number): FreePart[] {
  const parts: FreePart[] = []
  if (!lot.open) return parts
  const add = (part: FreePart): void => { if (part.free > 0 && part.fromMs < part.toMs) parts.push(part) }
  for (const step of overlaps.steps({ fromMs: Math.max(fromMs, nowMs), toMs })) {
    const free = lot.capacity - lot.buffer - step.count
    const freeNow = step.fromMs <= nowMs ? Math.min(free, freePlaces(lot)) : free
    // What begins in this minute covers now, and needs a place that is free now; what begins in the next one does not.
    const minuteMs = freeNow < free ? Math.min(Math.floor(nowMs / MINUTE_MS + 1) * MINUTE_MS, step.toMs) : step.fromMs
    add({ fromMs: step.fromMs, toMs: minuteMs, free: freeNow })
    add({ fromMs: minuteMs, toMs: step.toMs, free })
  }
  return parts
}

/** Parts that follow each other without a gap as one, with the fewest places of them. */
function joined (parts: readonly FreePart[]): FreePart[] {
  const whole: FreePart[] = []
  for (const part of parts) {
    const last = whole.at(-1)
    if (last?.toMs === part.fromMs) whole[whole.length - 1] = { fromMs: last.fromMs, toMs: part.toMs, free: Math.min(last.free, part.free) }
    else whole.push(part)
  }
  return whole
}

function limited (parts: readonly FreePart[]): { windows: FreeWindow[], more?: true } {
  const windows = parts.slice(0, MOST_WINDOWS).map(({ fromMs, toMs, free }) => ({ from: shown(fromMs), to: shown(toMs), free }))
  return parts.length > MOST_WINDOWS ? { windows, more: true } : { windows }
}

function shown (ms: number): string {
  return new Date(ms).toISOString()
}
