// One batch of requests in one transaction: each is answered from the history or carried out, in the order they came,
// and its reply is stored with its effect.
import { historyKey, storedReplies, storeReplies, type StoredReply } from '../../storage/history.js'
import { ask, type Question } from '../../storage/questions.js'
import type { Database } from '../../storage/rows.js'
import type { LedgerTransaction } from '../../storage/transaction.js'
import { shownReservation } from '../../shared/reservation.js'
import { READ_ONLY, type Method } from '../../shared/schemas.js'
import { book, changeReservation, chosenBy, extendReservation, haveTurn, holdPlace, joinWaiting, stepReservation } from './acts.js'
import { answered, availabilityAnswer, lotAnswer, refusedAnswer, type Answer } from './answers.js'
import type { Decision } from './core.js'
import { lockedFor } from './locks.js'
import { addLot, openLot, removeLot, setLot } from './lots.js'
import { MonitorDraft, type MonitorAct } from './monitor-requests.js'
import { buyPermit, permitAnswer, PermitSales, permitsAnswer } from './permits.js'
import { quoteAnswer } from './quote.js'
import { auditAnswer, availabilityIn, listAnswer, lotsAnswer } from './reads.js'
import type { Request } from './requests.js'
import { loadFor, loadQuestions } from './store.js'
import type { Lot } from '../../shared/lot.js'
import { causeOf, unknownLot, type BatchSettings, type Work } from './work.js'

/** The answer to one request. */
export interface Answering {
  readonly answer: Answer
  /** JSON of the answer. */
  readonly text: string
  /** Whether it was given before and the request had no effect now. */
  readonly replayed: boolean
  /** What is to be done when it is committed and its reply is sent. */
  readonly act?: MonitorAct
}

/** What `answerBatch` asks first, unless something is due. */
export function batchQuestions (database: Database, requests: readonly Request[]): Question<unknown>[] {
  return [lockedFor(database, requests), repliesTo(database, requests), ...loadQuestions(database, requests)]
}

/** Who asks for much makes himself wait, and not everybody else: the rest of a batch is another one after so long, in milliseconds. */
const LONGEST_BATCH_MS = 20

/** Answers `requests` in their order, or the first of them where all would take long; at least one. Nothing is committed yet. */
export async function answerBatch (tx: LedgerTransaction, requests: readonly Request[], settings: BatchSettings): Promise<Answering[]> {
  await ask(tx.database, lockedFor(tx.database, requests))
  const history = await ask(tx.database, repliesTo(tx.database, requests))
  const news: StoredReply[] = []
  const work: Work = {
    tx, settings, pending: await loadFor(tx, requests, settings.limits), settled: new Set(), touched: new Set(),
    permits: new PermitSales(tx, settings.prices.permits), monitors: new MonitorDraft(settings.monitors)
  }
  const answers: Answering[] = []
  const untilMs = performance.now() + LONGEST_BATCH_MS
  for (const request of requests) {
    if (answers.length > 0 && performance.now() >= untilMs) break
    const remembered = settings.remembers && request.requestId !== null && !READ_ONLY.has(request.call.method)
    const key = historyKey(request.user ?? '', request.requestId ?? '')
    const before = remembered ? history.get(key) : undefined
    if (before) {
      answers.push(repeat(request, before))
      continue
    }
    const answer = await carryOut(work, request)
    const text = JSON.stringify(answer)
    const act = work.monitors.acts.get(request)
    answers.push({ answer, text, replayed: false, ...(act && { act }) })
    // What was wrong with the request may be right when it comes again.
    const passing = !answer.ok && answer.error.code === 'bad_request'
    if (remembered && !passing && request.requestId !== null) {
      const stored = { caller: request.user ?? '', requestId: request.requestId, method: request.call.method, bodyHash: request.bodyHash, reply: text }
      history.set(key, stored)
      news.push(stored)
    }
  }
  for (const lot of work.touched) await haveTurn(work, lot)
  await work.permits.save()
  await storeReplies(tx.database, news, tx.nowMs)
  return answers
}

function repliesTo (database: Database, requests: readonly Request[]): Question<Map<string, StoredReply>> {
  return storedReplies(database, requests.flatMap(({ requestId, user }) => requestId === null ? [] : [{ caller: user ?? '', requestId }]))
}

function repeat (request: Request, before: StoredReply): Answering {
  if (before.bodyHash === request.bodyHash) return { answer: JSON.parse(before.reply) as Answer, text: before.reply, replayed: true }
  const answer = refusedAnswer({ code: 'request_id_reused', message: `the requestId ${request.requestId} was used for another ${before.method}; make a new one for each new request` })
  return { answer, text: JSON.stringify(answer), replayed: false }
}

/** Operators' acts that make room in a lot, or take it away. */
const CHANGES_ROOM: ReadonlySet<Method> = new Set<Method>(['lot.set', 'lot.open', 'lot.close', 'recount'])

async function carryOut (work: Work, request: Request): Promise<Answer> {
  const { call } = request
  const { tx, settings, settled, touched } = work
  const cause = causeOf(request)
  if (CHANGES_ROOM.has(call.method) && 'lot' in call.body && call.body.lot !== undefined) {
    await haveTurn(work, call.body.lot)
    settled.delete(call.body.lot)
    touched.add(call.body.lot)
  }
  switch (call.method) {
    case 'lots': return await lotsAnswer(tx, call.body, lotAnswer)
    case 'availability': return call.body.from === undefined && call.body.days === undefined ? await lotsAnswer(tx, call.body, availabilityAnswer) : await availabilityIn(work, call.body)
    case 'reserve': return await holdPlace(work, request, call.body)
    case 'book': return await book(work, request, call.body)
    case 'wait': return await joinWaiting(work, request, call.body)
    case 'change': return await changeReservation(work, request, call.body)
    case 'extend': return await extendReservation(work, request, call.body)
    case 'cancel': case 'arrive': case 'depart': return await stepReservation(work, request, call.body, call.method)
    case 'get': {
      const chosen = await chosenBy(work, request, call.body)
      return chosen.ok ? answered(shownReservation(chosen.value)) : refusedAnswer(chosen.refusal)
    }
    case 'list': return await listAnswer(tx, request, call.body)
    case 'monitor': return work.monitors.start(request, call.body, tx.lot(call.body.lot), tx.nowMs)
    case 'unmonitor': return work.monitors.stop(request, call.body.lot)
    case 'quote': return quoteAnswer(work, call.body)
    case 'permits': return await permitsAnswer(work)
    case 'permit': return await permitAnswer(work, call.body)
    case 'buyPermit': return await buyPermit(work, request, call.body)
    case 'lot.add': return lotAnswered(tx, await addLot(tx, call.body, settings.lots, cause))
    case 'lot.set': return lotAnswered(tx, await setLot(tx, call.body, settings.lots, cause))
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

function lotAnswered (tx: LedgerTransaction, decision: Decision<Lot>): Answer {
  if (!decision.ok) return refusedAnswer(decision.refusal)
  return answered(lotAnswer(tx.lot(decision.value.id) ?? decision.value))
}
