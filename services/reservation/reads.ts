// The requests that only read, inside the transaction of their batch: what the batch did before is in their answers, and
// what time has made due is applied first.
import { ACCESS } from '../../shared/access.js'
import type { Lot } from '../../shared/lot.js'
import { shownReservation } from '../../shared/reservation.js'
import type { RequestBody } from '../../shared/schemas.js'
import { auditLines } from '../../storage/audit.js'
import type { LedgerTransaction } from '../../storage/transaction.js'
import { answered, availabilityAnswer, refusedAnswer, type Answer } from './answers.js'
import { dayAnswer, windowAnswer } from './availability.js'
import { dayOf, windowOfMinutes } from './calendar.js'
import { refuse } from './core.js'
import { listReservations } from './listing.js'
import type { Request } from './requests.js'
import { listLots, lotsWithDue } from './store.js'
import { placeIn, unknownLot, type Work } from './work.js'

/** `lots` and `availability` of now. */
export async function lotsAnswer (tx: LedgerTransaction, body: { lot?: Lot['id'] | undefined, after?: Lot['id'] | undefined, limit: number }, show: (lot: Lot) => Record<string, unknown>): Promise<Answer> {
  if (body.lot !== undefined) {
    const lot = tx.lot(body.lot)
    return lot ? answered({ lots: [show(lot)] }) : refusedAnswer(unknownLot(body.lot).refusal)
  }
  await tx.flush()
  const listed = await listLots(tx.database, body.after, body.limit)
  // What is due is applied to those as well. The others are only read, and other nodes may go on with them.
  await tx.load(listed.flatMap(({ id, dueAtMs }) => dueAtMs !== null && dueAtMs <= tx.nowMs ? [id] : []))
  const lots = listed.map(lot => tx.lot(lot.id) ?? lot)
  const last = listed.length === body.limit ? listed.at(-1)?.id : undefined
  return answered({ lots: lots.map(show), ...(last !== undefined && { next: last }) })
}

/** `availability` of a window or of days. */
export async function availabilityIn (work: Work, { lot: id, from, to, days = [] }: RequestBody<'availability'>): Promise<Answer> {
  if (id === undefined) throw new Error('availability of a window or of days is of one lot')
  const place = await placeIn(work, id)
  if (!place.ok) return refusedAnswer(place.refusal)
  const { nowMs } = work.tx
  const { lot } = place.value
  if (from === undefined || to === undefined) {
    const shown = days.map(day => dayAnswer(place.value, dayOf(day, lot.timeZone, nowMs), nowMs))
    return answered({ ...availabilityAnswer(lot), timeZone: lot.timeZone, days: shown })
  }
  const window = windowOfMinutes(from, to, lot.timeZone)
  if (!window.ok) return refusedAnswer(window.refusal)
  if (window.value.fromMs >= window.value.toMs) return refusedAnswer(refuse('bad_request', `to: ${to} is not after from, ${from}`).refusal)
  return answered({ ...availabilityAnswer(lot), timeZone: lot.timeZone, ...windowAnswer(place.value, window.value, nowMs) })
}

export async function listAnswer (tx: LedgerTransaction, request: Request, body: RequestBody<'list'>): Promise<Answer> {
  // What is due is applied first, so that what fits the filter is what is answered.
  await tx.load(await lotsWithDue(tx.database, tx.nowMs))
  await tx.flush()
  // Where no user is known, nobody's own can be told apart.
  const owner = request.role !== null && ACCESS[request.role].lists === 'own' ? request.user : null
  const { reservations, next } = await listReservations(tx.database, body, owner)
  return answered({ reservations: reservations.map(shownReservation), ...(next !== null && { next }) })
}

export async function auditAnswer (tx: LedgerTransaction, { since, until, ...which }: RequestBody<'audit'>): Promise<Answer> {
  // What the same batch did before is in it.
  await tx.flush()
  const msOf = (time: string | undefined): number | undefined => time === undefined ? undefined : Date.parse(time)
  const [sinceMs, untilMs] = [msOf(since), msOf(until)]
  if (sinceMs !== undefined && untilMs !== undefined && untilMs <= sinceMs) return refusedAnswer({ code: 'bad_request', message: `until: ${until} is not after since, ${since}` })
  const { lines, next } = await auditLines(tx.database, { ...which, sinceMs, untilMs })
  return answered({ entries: lines, ...(next !== null && { next }) })
}
