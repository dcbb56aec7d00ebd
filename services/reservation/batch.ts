// One batch of requests in one transaction: each is answered from the history or carried out, in the order they came,
// and its reply is stored with its effect.
import { randomBytes, randomInt } from 'node:crypto'
import { auditLines, whoIs } from '../../storage/audit.js'
import { historyKey, storedReplies, storeReplies, type StoredReply } from '../../storage/history.js'
import type { Cause, LedgerTransaction } from '../../storage/transaction.js'
import { ACCESS } from '../../shared/access.js'
import type { Reservation, ReservationEvent } from '../../shared/reservation.js'
import { READ_ONLY, type RequestBody, type Which } from '../../shared/schemas.js'
import { answered, availabilityAnswer, lotAnswer, refusedAnswer, reservationAnswer, type Answer } from './answers.js'
import { choose, isOwn, reserve, step, type Asker, type Decision } from './core.js'
import { addLot, openLot, removeLot, setLot, unknownLot } from './lots.js'
import { sha256, type Request } from './requests.js'
import { listLots, listReservations, loadFor, lotsWithDue } from './store.js'
import type { Lot } from '../../shared/lot.js'

export interface BatchSettings {
  readonly holdMs: number
  /** `ping`, `info` and `stats`: what the process says of itself. */
  readonly about: (method: 'ping' | 'info' | 'stats') => Promise<unknown>
}

/** The answer to one request. */
export interface Answering {
  readonly answer: Answer
  /** JSON of the answer. */
  readonly text: string
  /** Whether it was given before and the request had no effect now. */
  readonly replayed: boolean
}

/** Answers `requests` in their order. Nothing is committed yet. */
export async function answerBatch (tx: LedgerTransaction, requests: readonly Request[], settings: BatchSettings): Promise<Answering[]> {
  const keys = requests.flatMap(request => request.requestId === null ? [] : [{ caller: request.user ?? '', requestId: request.requestId }])
  const history = await storedReplies(tx.database, keys)
  const news: StoredReply[] = []
  await loadFor(tx, requests)
  const answers: Answering[] = []
  for (const request of requests) {
    const remembered = request.requestId !== null && !READ_ONLY.has(request.call.method)
    const key = historyKey(request.user ?? '', request.requestId ?? '')
    const before = remembered ? history.get(key) : undefined
    if (before) {
      answers.push(repeat(request, before))
      continue
    }
    const answer = await carryOut(tx, request, settings)
    const text = JSON.stringify(answer)
    answers.push({ answer, text, replayed: false })
    // What was wrong with the request may be right when it comes again.
    const passing = !answer.ok && answer.error.code === 'bad_request'
    if (remembered && !passing && request.requestId !== null) {
      const stored = { caller: request.user ?? '', requestId: request.requestId, method: request.call.method, bodyHash: request.bodyHash, reply: text }
      history.set(key, stored)
      news.push(stored)
    }
  }
  await storeReplies(tx.database, news, tx.nowMs)
  return answers
}

function repeat (request: Request, before: StoredReply): Answering {
  if (before.bodyHash === request.bodyHash) return { answer: JSON.parse(before.reply) as Answer, text: before.reply, replayed: true }
  const answer = refusedAnswer({ code: 'request_id_reused', message: `the requestId ${request.requestId} was used for another ${before.method}; make a new one for each new request` })
  return { answer, text: JSON.stringify(answer), replayed: false }
}

async function carryOut (tx: LedgerTransaction, request: Request, settings: BatchSettings): Promise<Answer> {
  const { call } = request
  const cause = causeOf(request)
  switch (call.method) {
    case 'lots': return await lotsAnswer(tx, call.body, lotAnswer)
    case 'availability': return await lotsAnswer(tx, call.body, availabilityAnswer)
    case 'reserve': return hold(tx, request, call.body, settings.holdMs)
    case 'cancel': return change(tx, request, call.body, { type: 'cancel' })
    case 'arrive': return change(tx, request, call.body, { type: 'arrive' })
    case 'depart': return change(tx, request, call.body, { type: 'depart' })
    case 'get': {
      const chosen = chosenBy(tx, request, call.body)
      return chosen.ok ? answered(reservationAnswer(chosen.value)) : refusedAnswer(chosen.refusal)
    }
    case 'list': {
      // What is due is applied first, so that what fits the filter is what is answered.
      await tx.load(await lotsWithDue(tx.database, tx.nowMs))
      await tx.flush()
      // Where no user is known, nobody's own can be told apart.
      const owner = request.role !== null && ACCESS[request.role].lists === 'own' ? request.user : null
      const found = await listReservations(tx.database, call.body, owner)
      const last = found.length === call.body.limit ? found.at(-1)?.id : undefined
      return answered({ reservations: found.map(reservationAnswer), ...(last !== undefined && { next: last }) })
    }
    case 'lot.add': return lotAnswered(tx, await addLot(tx, call.body, cause))
    case 'lot.set': return lotAnswered(tx, await setLot(tx, call.body, cause))
    case 'lot.open': return lotAnswered(tx, openLot(tx, call.body.lot, true, cause))
    case 'lot.close': return lotAnswered(tx, openLot(tx, call.body.lot, false, cause))
    case 'lot.remove': {
      const removed = await removeLot(tx, call.body.lot, cause)
      return removed.ok ? answered({ lot: call.body.lot, removed: true }) : refusedAnswer(removed.refusal)
    }
    case 'recount': {
      const lot = tx.lot(call.body.lot)
      if (!lot) return refusedAnswer(unknownLot(call.body.lot).refusal)
      const drift = await tx.recount(lot, call.body.occupied, cause)
      return answered({ lot: lot.id, occupied: call.body.occupied, drift })
    }
    case 'audit': return await auditAnswer(tx, call.body)
    case 'ping': case 'info': case 'stats': return answered(await settings.about(call.method))
    default: return call satisfies never
  }
}

async function lotsAnswer (tx: LedgerTransaction, body: { lot?: Lot['id'] | undefined, after?: Lot['id'] | undefined, limit: number }, show: (lot: Lot) => Record<string, unknown>): Promise<Answer> {
  if (body.lot !== undefined) {
    const lot = tx.lot(body.lot)
    return lot ? answered({ lots: [show(lot)] }) : refusedAnswer(unknownLot(body.lot).refusal)
  }
  await tx.flush()
  const listed = await listLots(tx.database, body.after, body.limit)
  // What is due is applied to those as well.
  await tx.load(listed.map(lot => lot.id))
  const lots = listed.flatMap(({ id }) => tx.lot(id) ?? [])
  const last = listed.length === body.limit ? listed.at(-1)?.id : undefined
  return answered({ lots: lots.map(show), ...(last !== undefined && { next: last }) })
}

function hold (tx: LedgerTransaction, request: Request, body: { lot: Lot['id'], plate: string, holdSeconds?: number | undefined }, defaultHoldMs: number): Answer {
  const lot = tx.lot(body.lot)
  if (!lot) return refusedAnswer(unknownLot(body.lot).refusal)
  const secret = randomBytes(16).toString('base64url')
  const holdMs = body.holdSeconds === undefined ? defaultHoldMs : body.holdSeconds * 1_000
  const live = tx.reservationsOf(lot.id).filter(reservation => reservation.dueAtMs !== null)
  const made = reserve(lot, live, body.plate, holdMs, askerOf(request, undefined), { id: newReservationId(), secretHash: sha256(secret) }, tx.nowMs)
  if (!made.ok) return refusedAnswer(made.refusal)
  tx.setReservation(null, made.value, causeOf(request))
  return answered({ ...reservationAnswer(made.value), secret })
}

type ChangingEvent = { type: 'cancel' } | { type: 'arrive' } | { type: 'depart' }

function change (tx: LedgerTransaction, request: Request, body: Which, event: ChangingEvent): Answer {
  const chosen = chosenBy(tx, request, body)
  if (!chosen.ok) return refusedAnswer(chosen.refusal)
  const lot = tx.lot(chosen.value.lot)
  // A reservation of a removed lot has ended: a lot with live ones is not removed.
  const full: ReservationEvent = event.type === 'arrive' ? { type: 'arrive', counting: lot?.counting ?? 'sensors' } : event
  const changed = step(chosen.value, full, tx.nowMs, tx.times)
  if (!changed.ok) return refusedAnswer(changed.refusal)
  tx.setReservation(chosen.value, changed.value, causeOf(request))
  return answered(reservationAnswer(changed.value))
}

function chosenBy (tx: LedgerTransaction, request: Request, body: Which): Decision<Reservation> {
  const asker = askerOf(request, body.secret)
  if ('reservation' in body) {
    const reservation = tx.reservation(body.reservation)
    return choose(reservation ? [reservation] : [], body.reservation, asker)
  }
  const ofPlate = tx.reservationsOf(body.lot).filter(reservation => reservation.plate === body.plate)
  // Whether the car of somebody else has a place is nobody's business: to another user there is none.
  const candidates = request.user === null || asker.actsForOthers ? ofPlate : ofPlate.filter(reservation => isOwn(reservation, asker))
  return choose(candidates, `of ${body.plate} in ${body.lot}`, asker)
}

function lotAnswered (tx: LedgerTransaction, decision: Decision<Lot>): Answer {
  if (!decision.ok) return refusedAnswer(decision.refusal)
  return answered(lotAnswer(tx.lot(decision.value.id) ?? decision.value))
}

function askerOf (request: Request, secret: string | undefined): Asker {
  const { user, role } = request
  return { user, secretHash: secret === undefined ? null : sha256(secret), actsForOthers: role !== null && ACCESS[role].actsForOthers }
}

function causeOf ({ user, clientId, from }: Request): Cause {
  return { who: whoIs(user, clientId), ...(from !== null && { address: from }) }
}

async function auditAnswer (tx: LedgerTransaction, { since, until, ...which }: RequestBody<'audit'>): Promise<Answer> {
  // What the same batch did before is in it.
  await tx.flush()
  const msOf = (time: string | undefined): number | undefined => time === undefined ? undefined : Date.parse(time)
  const { lines, next } = await auditLines(tx.database, { ...which, sinceMs: msOf(since), untilMs: msOf(until) })
  return answered({ entries: lines, ...(next !== null && { next }) })
}

/** Letters and digits that nobody confuses at a counter. */
const ID_LETTERS = '23456789ABCDEFGHJKMNPQRSTUVWXYZ'

function newReservationId (): string {
  let id = 'R-'
  for (let i = 0; i < 12; i++) id += ID_LETTERS[randomInt(ID_LETTERS.length)]
  return id
}
