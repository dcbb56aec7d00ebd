// `reservations`: what a driver waits for when one lot has a hundred thousand bookings to come: its availability for a
// week, a page of a list of what is rare among them, which others wait for as well, and `book` from 16 clients at once.
import { systemClock } from '../shared/clock.js'
import { Config } from '../shared/config.js'
import type { Id } from '../shared/lot.js'
import { createMetrics } from '../shared/metrics.js'
import { connectMqtt, endMqtt } from '../shared/mqtt-client.js'
import { createRequester } from '../shared/requester.js'
import type { Reservation } from '../shared/reservation.js'
import { newLot } from '../services/reservation/lot-settings.js'
import { NewLot } from '../shared/schemas.js'
import { moveCursor } from '../storage/audit.js'
import { openLedger } from '../storage/open.js'
import { newLatency, say, whole } from './figures.js'
import { latencyOf, recordMs, sayLatency, type Latency } from './latency.js'
import { newFolder, startParkmq, type Target } from './processes.js'
import { RequestGenerator } from './request-generator.js'

const LOT = 'BIG' as Id
const RESERVATIONS = 100_000
const CAPACITY = 500
const DAYS = 90
const CLIENTS = 16
const REQUESTS = 16_000
const WEEKS = 200
const PAGES = 100
const AT_ONCE = 1_000
const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS

export async function reservations (): Promise<void> {
  const folder = newFolder()
  const startMs = Math.ceil(Date.now() / DAY_MS) * DAY_MS
  await fill(folder, startMs)
  const parkmq = await startParkmq(['--data', folder])
  const generator = new RequestGenerator()
  try {
    await askWeeks(parkmq, startMs)
    await askPages(parkmq)
    const figures = await generator.run({ ports: { port: parkmq.port, wsPort: null }, answers: 'replies', clients: CLIENTS, workload: 'bookings', lots: [LOT], requestIds: true, seed: 1, pace: { type: 'closed', requests: REQUESTS } })
    const { book } = figures.latency
    if (!book || figures.answered !== REQUESTS) throw new Error(`${figures.answered} of ${REQUESTS} requests were answered`)
    say(`reservations: book, and cancel in turn, from ${CLIENTS} clients: ${whole(figures.perSecond)}/s; book ${sayLatency(book)}`)
  } finally {
    await generator.stop()
    await parkmq.stop()
  }
}

/** Writes the ledger as if all of them had been booked, one to four hours each, spread evenly. */
async function fill (folder: string, startMs: number): Promise<void> {
  const config = Config.parse({ data: folder })
  const ledger = await openLedger({ config, clock: systemClock, metrics: createMetrics() })
  await ledger.transact('bench', async tx => tx.setLot(newLot(NewLot.parse({ lot: LOT, capacity: CAPACITY }), 'UTC')))
  for (let first = 0; first < RESERVATIONS; first += AT_ONCE) {
    await ledger.transact('bench', async tx => {
      await tx.load([LOT])
      for (let n = first; n < first + AT_ONCE; n++) tx.setReservation(null, booking(n, startMs), { who: 'bench' })
    })
    await new Promise(resolve => setImmediate(resolve))
  }
  // Long ago, as far as this is about: their events have left.
  await ledger.transact('bench', async tx => await moveCursor(tx.database, 'events', RESERVATIONS))
  await ledger.close()
}

function booking (n: number, startMs: number): Reservation {
  // 7,919 is prime to the minutes of the time: all of them are used.
  const fromMs = startMs + (n * 7_919 % (DAYS * 24 * 60)) * MINUTE_MS
  const toMs = fromMs + (60 + n % 181) * MINUTE_MS
  return {
    id: `R-${String(n).padStart(12, '0')}`, kind: 'booking', lot: LOT, plate: `P${n}`, status: 'booked', fromMs, toMs, originalToMs: toMs,
    dueAtMs: fromMs, secretHash: '', owner: null, madeAtMs: startMs - (RESERVATIONS - n) * 1_000
  }
}

/** The availability of weeks of the lot. */
async function askWeeks (parkmq: Target, startMs: number): Promise<void> {
  const week = (n: number): object => {
    const fromMs = startMs + (n * 13 % (DAYS - 7)) * DAY_MS
    return { lot: LOT, days: Array.from({ length: 7 }, (_, day) => new Date(fromMs + day * DAY_MS).toISOString().slice(0, 10)) }
  }
  const { firstMs, others } = await askEach(parkmq, 'availability', Array.from({ length: WEEKS + 1 }, (_, n) => week(n)))
  say(`reservations: ${whole(RESERVATIONS)} in one lot, ready in ${Math.round(parkmq.readyMs)} ms; availability of a week: first ${firstMs.toFixed(1)} ms, then ${sayLatency(others)}`)
}

/** A page of what is not there, and so as long as a page can take. */
async function askPages (parkmq: Target): Promise<void> {
  const { firstMs, others } = await askEach(parkmq, 'list', new Array<object>(PAGES + 1).fill({ status: 'overstayed' }))
  say(`reservations: list of a status that none has: a page after ${firstMs.toFixed(1)} ms, then ${sayLatency(others)}`)
}

/** One after the other. */
async function askEach ({ port }: Target, method: string, bodies: readonly object[]): Promise<{ firstMs: number, others: Latency }> {
  const client = await connectMqtt(`mqtt://127.0.0.1:${port}`)
  const requester = await createRequester(client)
  const tookMs: number[] = []
  for (const body of bodies) {
    const beganMs = performance.now()
    const reply = await requester.request(method, body)
    if (!reply.ok) throw new Error(`${method}: ${reply.error.message}`)
    tookMs.push(performance.now() - beganMs)
  }
  await requester.close()
  await endMqtt(client)
  const [firstMs = 0, ...rest] = tookMs
  const others = newLatency()
  for (const ms of rest) recordMs(others, ms)
  return { firstMs, others: latencyOf(others) }
}
