// What a person does with reservations: each act makes its requests, keeps what must be kept, and says in a sentence what
// became of it. Times are written ones (times.ts) until the lot's calendar is known.
import { messageOf } from '../shared/errors.js'
import { LIVE_STATUSES, type ReservationStatus } from '../shared/reservation.js'
import type { Reply, Method, RequestBody } from '../shared/schemas.js'
import { done, type Desk, type Done } from './desk.js'
import { checkSecretsFolder, keepChange, keepSecret, secretOf } from './secrets.js'
import { shownMoment, shownWindow } from './shown-times.js'
import { resolveTime, resolveWindow, type Written, type WrittenWindow } from './times.js'

/** A reservation as the service shows it. */
export interface Shown {
  reservation: string
  kind: 'hold' | 'booking'
  lot: string
  plate: string
  status: string
  from: string
  until: string
}

/** One that was just made. */
export interface Made extends Shown {
  secret: string
  /** On the waiting list, from 1. */
  position?: number
}

/** A reservation by its id, or by its lot and plate. */
export type Which = { reservation: string } | { lot: string, plate: string }

/** What is to change; with `shiftMinutes` nothing else. */
export interface Wanted {
  readonly shiftMinutes?: number
  readonly from?: Written
  readonly to?: Written
  readonly lot?: string
  readonly plate?: string
}

export async function reserve (desk: Desk, lot: string, plate: string, holdSeconds: number | null): Promise<Done> {
  return await make(desk, 'reserve', { lot, plate, ...(holdSeconds !== null && { holdSeconds }) })
}

export async function book (desk: Desk, lot: string, plate: string, window: WrittenWindow): Promise<Done> {
  return await inWindow(desk, lot, window, async times => await make(desk, 'book', { lot, plate, ...times }))
}

/** `window` is null for a hold. */
export async function wait (desk: Desk, lot: string, plate: string, window: WrittenWindow | null): Promise<Done> {
  if (window === null) return await make(desk, 'wait', { lot, plate })
  return await inWindow(desk, lot, window, async times => await make(desk, 'wait', { lot, plate, ...times }))
}

export async function change (desk: Desk, reservation: string, wanted: Wanted, secret?: string): Promise<Done> {
  const { from, to, shiftMinutes, lot, plate } = wanted
  const asked = { ...(shiftMinutes !== undefined && { shiftMinutes }), ...(lot !== undefined && { lot }), ...(plate !== undefined && { plate }) }
  if (from === undefined && to === undefined) return await alter(desk, 'change', { reservation }, asked, secret)
  const now = await current(desk, reservation, secret)
  if (!now.ok) return { reply: now, text: '' }
  const calendar = await desk.calendars.of(lot ?? now.shown.lot)
  if (!calendar.ok) return { reply: calendar, text: '' }
  const beganMs = Date.parse(now.shown.from)
  const begin = from === undefined ? null : resolveTime(from, calendar.timeZone, desk.nowMs(), { onDayOfMs: beganMs })
  const end = to === undefined ? null : resolveTime(to, calendar.timeZone, desk.nowMs(), { afterMs: begin?.ms ?? beganMs })
  return await alter(desk, 'change', { reservation }, { ...asked, ...(begin !== null && { from: begin.minute }), ...(end !== null && { to: end.minute }) }, secret)
}

/** Makes its end later: at least until then, or by so many minutes from the end that it was booked with. */
export async function extend (desk: Desk, reservation: string, until: Written | { readonly byMinutes: number }, secret?: string): Promise<Done> {
  if ('byMinutes' in until) return await alter(desk, 'extend', { reservation }, until, secret)
  const now = await current(desk, reservation, secret)
  if (!now.ok) return { reply: now, text: '' }
  const calendar = await desk.calendars.of(now.shown.lot)
  if (!calendar.ok) return { reply: calendar, text: '' }
  const { minute } = resolveTime(until, calendar.timeZone, desk.nowMs(), { afterMs: Date.parse(now.shown.from) })
  return await alter(desk, 'extend', { reservation }, { until: minute }, secret)
}

/** `cancel`, `arrive` and `depart`. */
export async function step (desk: Desk, method: 'cancel' | 'arrive' | 'depart', which: Which, secret?: string): Promise<Done> {
  return await alter(desk, method, which, {}, secret)
}

export async function get (desk: Desk, reservation: string, secret?: string): Promise<Done> {
  const reply = await request(desk, 'get', { reservation }, {}, secret)
  if (reply.ok) noteChange(desk, reply.result as Shown)
  return await done<Shown>(reply, async shown => await sentence(desk, shown))
}

/** `R-7K2M9QXA4BCD: booked, a place in LOT-A for ABC123, today 2026-12-24 18:30 to 20:30 (Europe/Berlin)`. */
export async function sentence (desk: Desk, { reservation, kind, lot, plate, status, from, until }: Shown): Promise<string> {
  const place = `a place in ${lot} for ${plate}`
  const isIn = status === 'arrived' || status === 'overstayed'
  // What is over has a window that ended when it did; a hold whose car is in has no end any more.
  if (!LIVE_STATUSES.includes(status as ReservationStatus) || (kind === 'hold' && isIn)) return `${reservation}: ${statusText(status)}, ${place}`
  const timeZone = await desk.calendars.toShow(lot)
  const when = kind === 'hold' ? `until ${shownMoment(until, timeZone, desk.nowMs())}` : shownWindow(from, until, timeZone, desk.nowMs())
  return `${reservation}: ${status === 'waiting' ? 'waiting for' : `${statusText(status)},`} ${place}, ${when}`
}

/** A status in words. */
export function statusText (status: string): string {
  return status.replaceAll('_', ' ')
}

/** Makes a reservation and keeps its secret, before anything else may fail. */
async function make<M extends 'reserve' | 'book' | 'wait'> (desk: Desk, method: M, body: RequestBodyOf<M>): Promise<Done> {
  checkSecretsFolder()
  const reply = await desk.call(method, body)
  if (reply.ok) keepOrTell(desk, reply.result as Made)
  return await done<Made>(reply, async made => {
    const said = await sentence(desk, made)
    if (made.position === undefined) return said
    return `${said}\nposition ${made.position} on the waiting list of ${made.lot}; what became of it: parkmq get ${made.reservation}, or parkmq list --plate ${made.plate}`
  })
}

type RequestBodyOf<M extends Method> = Record<keyof Omit<RequestBody<M>, 'from' | 'to' | 'holdSeconds'>, unknown> & Record<string, unknown>

export async function inWindow (desk: Desk, lot: string, window: WrittenWindow, act: (times: { from: string, to: string }) => Promise<Done>): Promise<Done> {
  const calendar = await desk.calendars.of(lot)
  if (!calendar.ok) return { reply: calendar, text: '' }
  const { from, to, notes } = resolveWindow(window, calendar.timeZone, desk.nowMs())
  for (const note of notes) desk.tell(note)
  return await act({ from, to })
}

async function alter (desk: Desk, method: 'change' | 'extend' | 'cancel' | 'arrive' | 'depart', which: Which, body: object, secret: string | undefined): Promise<Done> {
  const reply = await request(desk, method, which, body, secret)
  if (reply.ok) noteChange(desk, reply.result as Shown)
  return await done<Shown>(reply, async shown => await sentence(desk, shown))
}

/** There is no second chance to hear a secret. */
function keepOrTell (desk: Desk, made: Made): void {
  try {
    keepSecret(made)
  } catch (error) {
    desk.tell(`the secret of ${made.reservation} cannot be kept (${messageOf(error)}); write it down for --secret: ${made.secret}`)
  }
}

/** What it was before is still enough to find the secret by the id. */
export function noteChange (desk: Desk, shown: Shown): void {
  try {
    keepChange(shown)
  } catch (error) {
    desk.tell(`that ${shown.reservation} has changed cannot be noted beside its secret: ${messageOf(error)}`)
  }
}

async function current (desk: Desk, reservation: string, secret: string | undefined): Promise<{ ok: true, shown: Shown } | Extract<Reply, { ok: false }>> {
  const reply = await request(desk, 'get', { reservation }, {}, secret)
  return reply.ok ? { ok: true, shown: reply.result as Shown } : reply
}

async function request (desk: Desk, method: Method, which: Which, body: object, secret = secretOf(which, desk.nowMs())): Promise<Reply> {
  return await desk.call(method, { ...which, ...body, ...(secret !== undefined && { secret }) })
}
