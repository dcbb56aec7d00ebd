// The requests that change reservations, inside a transaction: each is decided by the core and saved, or refused.
import type { Id } from '../../shared/lot.js'
import { shownReservation, type Reservation, type ReservationEvent } from '../../shared/reservation.js'
import type { RequestBody, Which } from '../../shared/schemas.js'
import { answered, refusedAnswer, type Answer } from './answers.js'
import { msOfMinute, windowOfMinutes } from './calendar.js'
import { change, choose, decided, extend, isOwn, refuse, reserve, step, wait, type Change, type Decision, type Wish } from './core.js'
import { newId, newSecret } from './new-names.js'
import { sha256, type Request } from './requests.js'
import { newestOf } from './store.js'
import { promoteWaiting } from './waiting.js'
import { askerOf, causeOf, placeIn, unknownLot, type Work } from './work.js'

export async function holdPlace (work: Work, request: Request, { lot, plate, holdSeconds }: RequestBody<'reserve'>): Promise<Answer> {
  const { holdMs } = work.settings.rules
  return await make(work, request, lot, plate, { kind: 'hold', holdMs: holdSeconds === undefined ? holdMs : holdSeconds * 1_000 }, reserve)
}

export async function book (work: Work, request: Request, { lot, plate, from, to }: RequestBody<'book'>): Promise<Answer> {
  const wish = bookingIn(work, lot, from, to)
  return wish.ok ? await make(work, request, lot, plate, wish.value, reserve) : refusedAnswer(wish.refusal)
}

export async function joinWaiting (work: Work, request: Request, { lot, plate, from, to }: RequestBody<'wait'>): Promise<Answer> {
  const wish: Decision<Wish> = from === undefined || to === undefined ? decided({ kind: 'hold', holdMs: work.settings.rules.holdMs }) : bookingIn(work, lot, from, to)
  return wish.ok ? await make(work, request, lot, plate, wish.value, wait) : refusedAnswer(wish.refusal)
}

export async function changeReservation (work: Work, request: Request, body: RequestBody<'change'>): Promise<Answer> {
  const { tx, settings: { rules }, pending } = work
  const chosen = await chosenBy(work, request, body)
  if (!chosen.ok) return refusedAnswer(chosen.refusal)
  const here = await turnOfWaiting(work, chosen.value.lot)
  if (!here.ok) return refusedAnswer(here.refusal)
  const asked = await changeAsked(work, chosen.value, body)
  if (!asked.ok) return refusedAnswer(asked.refusal)
  const before = nowOf(work, chosen.value)
  const changed = change(here.value, before, asked.value, tx.nowMs, rules)
  if (!changed.ok) return refusedAnswer(changed.refusal)
  const { plate } = changed.value
  const tooMany = plate === before.plate ? null : pending.refusal(plate, null)
  if (tooMany) return refusedAnswer(tooMany.refusal)
  return saved(work, request, before, changed.value, 'reservation.changed')
}

export async function extendReservation (work: Work, request: Request, body: RequestBody<'extend'>): Promise<Answer> {
  const { tx, settings: { rules } } = work
  const chosen = await chosenBy(work, request, body)
  if (!chosen.ok) return refusedAnswer(chosen.refusal)
  const here = await turnOfWaiting(work, chosen.value.lot)
  if (!here.ok) return refusedAnswer(here.refusal)
  const before = nowOf(work, chosen.value)
  const untilMs = body.until === undefined ? null : msOfMinute(body.until, here.value.lot.timeZone, 'until')
  if (untilMs?.ok === false) return refusedAnswer(untilMs.refusal)
  const until = untilMs === null ? { byMs: (body.byMinutes ?? 0) * 60_000 } : { untilMs: untilMs.value }
  const longer = extend(here.value, before, until, tx.nowMs, rules)
  return longer.ok ? saved(work, request, before, longer.value, 'reservation.extended') : refusedAnswer(longer.refusal)
}

/** `cancel`, `arrive` and `depart`. */
export async function stepReservation (work: Work, request: Request, body: Which, type: 'cancel' | 'arrive' | 'depart'): Promise<Answer> {
  const { tx } = work
  const chosen = await chosenBy(work, request, body)
  if (!chosen.ok) return refusedAnswer(chosen.refusal)
  await haveTurn(work, chosen.value.lot)
  const before = nowOf(work, chosen.value)
  const lot = tx.lot(before.lot)
  // A reservation of a removed lot has ended: a lot with live ones is not removed.
  const event: ReservationEvent = type === 'arrive' ? { type, counting: lot?.counting ?? 'sensors' } : { type }
  const changed = step(lot, before, event, tx.nowMs, tx.times)
  return changed.ok ? saved(work, request, before, changed.value) : refusedAnswer(changed.refusal)
}

/** The reservation that a body names and its asker may use. By lot and plate that is a live one, as long as there is any. */
export async function chosenBy ({ tx }: Work, request: Request, body: Which): Promise<Decision<Reservation>> {
  const asker = askerOf(request, body.secret)
  if ('reservation' in body) {
    const reservation = tx.reservation(body.reservation)
    return choose(reservation ? [reservation] : [], body.reservation, asker)
  }
  const all = (): Reservation[] => tx.reservationsOf(body.lot).filter(reservation => reservation.plate === body.plate)
  const live = all().filter(reservation => reservation.dueAtMs !== null)
  // Looked for only now: the batch may have ended the last live one, or given it another plate.
  if (live.length === 0) tx.know(await newestOf(tx.database, body.lot, body.plate))
  const ofPlate = live.length > 0 ? live : all()
  // Whether the car of somebody else has a place is nobody's business: to another user there is none.
  const candidates = request.user === null || asker.actsForOthers ? ofPlate : ofPlate.filter(reservation => isOwn(reservation, asker))
  return choose(candidates, `of ${body.plate} in ${body.lot}`, asker)
}

async function make (work: Work, request: Request, lotId: Id, plate: string, wish: Wish, how: typeof reserve | typeof wait): Promise<Answer> {
  const { tx, settings: { rules, limits }, pending } = work
  const place = await turnOfWaiting(work, lotId)
  if (!place.ok) return refusedAnswer(place.refusal)
  const asker = askerOf(request, undefined)
  const tooMany = pending.refusal(plate, asker.actsForOthers ? null : asker.user)
  if (tooMany) return refusedAnswer(tooMany.refusal)
  const secret = newSecret()
  const made = how(place.value, plate, wish, asker, { id: newId('R'), secretHash: sha256(secret) }, tx.nowMs, rules)
  if (!made.ok) return refusedAnswer(made.refusal)
  const waits = made.value.status === 'waiting'
  const { lot } = place.value
  if (waits && lot.waiting >= limits.waitingPerLot) return refusedAnswer(refuse('over_limit', `${lot.waiting} wait in ${lotId} already, the most of one lot (limits.waitingPerLot); try another lot`).refusal)
  tx.setReservation(null, made.value, causeOf(request))
  if (waits) tx.putOnWaitingList(made.value, request.address)
  pending.note(null, made.value)
  const shown = shownReservation(made.value)
  if (waits) shown.position = lot.waiting + 1
  shown.secret = secret
  return answered(shown)
}

/** The lot, after those who wait there had their turn: a newcomer never passes them. */
async function turnOfWaiting (work: Work, id: Id): ReturnType<typeof placeIn> {
  await haveTurn(work, id)
  return await placeIn(work, id)
}

/**
 * Lets those who wait in a lot have what has become free. Before every change there: what a request finds then does not
 * depend on whether it came in one batch with the one before it.
 */
export async function haveTurn ({ tx, settings: { rules }, settled }: Work, id: Id): Promise<void> {
  if (settled.has(id) || (tx.lot(id)?.waiting ?? 0) === 0) return
  await promoteWaiting(tx, id, rules)
  settled.add(id)
}

function saved (work: Work, request: Request, before: Reservation, after: Reservation, event?: string): Answer {
  const { tx, pending, settled, touched } = work
  if (after === before) return answered(shownReservation(after))
  const cause = causeOf(request)
  tx.setReservation(before, after, cause)
  pending.note(before, after)
  for (const lot of [before.lot, after.lot]) {
    // What it gave back may be what somebody waits for.
    settled.delete(lot)
    touched.add(lot)
  }
  if (event !== undefined) {
    const details = { before: publicDetails(before), after: { ...publicDetails(after), ...(before.plate !== after.plate && { plateChanged: true }) } }
    for (const lot of new Set([before.lot, after.lot])) tx.audit({ lot, type: event, reservation: after.id, ...cause, ...details })
  }
  return answered(shownReservation(after))
}

/** A reservation as it is now: it may itself have waited, and have had its turn. */
function nowOf ({ tx }: Work, reservation: Reservation): Reservation {
  return tx.reservation(reservation.id) ?? reservation
}

/** What of a reservation everybody may know. */
function publicDetails ({ lot, fromMs, toMs }: Reservation): Record<string, unknown> {
  return { lot, from: new Date(fromMs).toISOString(), until: new Date(toMs).toISOString() }
}

function bookingIn ({ tx }: Work, id: Id, from: string, to: string): Decision<Wish> {
  const lot = tx.lot(id)
  if (!lot) return unknownLot(id)
  const window = windowOfMinutes(from, to, lot.timeZone)
  return window.ok ? decided({ kind: 'booking', window: window.value }) : window
}

/** What a `change` asks for, in the time of the lot that the reservation will be in. */
async function changeAsked (work: Work, { fromMs, toMs, lot: hereId }: Reservation, body: RequestBody<'change'>): Promise<Decision<Change>> {
  const moves = body.lot !== undefined && body.lot !== hereId
  const place = await turnOfWaiting(work, body.lot ?? hereId)
  if (!place.ok) return place
  const where = moves ? { place: place.value } : {}
  const plate = body.plate === undefined ? {} : { plate: body.plate }
  if (body.shiftMinutes !== undefined) return decided({ fromMs: fromMs + body.shiftMinutes * 60_000, toMs: toMs + body.shiftMinutes * 60_000 })
  const { timeZone } = place.value.lot
  const from = body.from === undefined ? null : msOfMinute(body.from, timeZone, 'from')
  if (from?.ok === false) return from
  const to = body.to === undefined ? null : msOfMinute(body.to, timeZone, 'to')
  if (to?.ok === false) return to
  return decided({ ...where, ...plate, ...(from && { fromMs: from.value }), ...(to && { toMs: to.value }) })
}
