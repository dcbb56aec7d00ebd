// `reservations`: what a driver waits for when one lot has a hundred thousand bookings to come: its availability for a
// week, and `book` from 16 clients at once.
import { rmSync } from 'node:fs'
import { systemClock } from '../shared/clock.js'
import { Config } from '../shared/config.js'
import type { Id } from '../shared/lot.js'
import { createMetrics } from '../shared/metrics.js'
import { connectMqtt, endMqtt } from '../shared/mqtt-client.js'
import { createRequester, type Requester } from '../shared/requester.js'
import type { Reservation } from '../shared/reservation.js'
import { newLot } from '../services/reservation/lot-settings.js'
import { NewLot } from '../shared/schemas.js'
import { moveCursor } from '../storage/audit.js'
import { openLedger } from '../storage/open.js'
import { newLatency, percentileMs, say } from './figures.js'
import { newFolder, startParkmq } from './processes.js'

const LOT = 'BIG' as Id
const RESERVATIONS = 100_000
const CAPACITY = 500
const DAYS = 90
const CLIENTS = 16
const BOOKINGS = 4_000
const WEEKS = 200
const AT_ONCE = 1_000
const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS

export async function reservations (): Promise<void> {
  const folder = newFolder()
  try {
    const startMs = Math.ceil(Date.now() / DAY_MS) * DAY_MS
    await fill(folder, startMs)
    const parkmq = await startParkmq(['--data', folder])
    try {
      const requesters = await Promise.all(Array.from({ length: CLIENTS }, async () => await open(parkmq.port)))
      await measure(requesters.map(({ requester }) => requester), startMs, parkmq.readyMs)
      for (const { close } of requesters) await close()
    } finally {
      await parkmq.stop()
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
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
    dueAtMs: fromMs, secretHash: '', owner: null, madeAtMs: startMs
  }
}

async function open (port: number): Promise<{ requester: Requester, close: () => Promise<void> }> {
  const client = await connectMqtt(`mqtt://127.0.0.1:${port}`)
  const requester = await createRequester(client)
  return {
    requester,
    close: async () => {
      await requester.close()
      await endMqtt(client)
    }
  }
}

async function measure (requesters: readonly Requester[], startMs: number, readyMs: number): Promise<void> {
  const [first] = requesters
  if (!first) throw new Error('no client')
  const iso = (ms: number): string => new Date(ms).toISOString()
  const ask = async (requester: Requester, method: string, body: object): Promise<number> => {
    const beganMs = performance.now()
    const reply = await requester.request(method, body)
    if (!reply.ok) throw new Error(`${method}: ${reply.error.message}`)
    return performance.now() - beganMs
  }
  const week = async (n: number): Promise<number> => {
    const fromMs = startMs + (n * 13 % (DAYS - 7)) * DAY_MS
    return await ask(first, 'availability', { lot: LOT, days: Array.from({ length: 7 }, (_, day) => iso(fromMs + day * DAY_MS).slice(0, 10)) })
  }
  // The first question about a lot reads all its windows.
  const firstMs = await week(0)
  const weeks = newLatency()
  for (let n = 1; n <= WEEKS; n++) weeks.recordValue(Math.round(await week(n) * 1_000))
  say(`reservations: ${RESERVATIONS} in one lot, ready in ${Math.round(readyMs)} ms; availability of a week: first ${firstMs.toFixed(1)} ms, then p50 ${percentileMs(weeks, 50)} ms, p95 ${percentileMs(weeks, 95)} ms`)
  const books = newLatency()
  let next = 0
  const beganMs = performance.now()
  await Promise.all(requesters.map(async requester => {
    for (let n = next++; n < BOOKINGS; n = next++) {
      const fromMs = startMs + (n * 6_421 % (DAYS * 24 * 60)) * MINUTE_MS
      books.recordValue(Math.round(await ask(requester, 'book', { lot: LOT, plate: `N${n}`, from: iso(fromMs), to: iso(fromMs + 2 * 60 * MINUTE_MS) }) * 1_000))
    }
  }))
  const perSecond = Math.round(BOOKINGS / (performance.now() - beganMs) * 1_000)
  say(`reservations: book from ${CLIENTS} clients: ${perSecond}/s, p50 ${percentileMs(books, 50)} ms, p95 ${percentileMs(books, 95)} ms, p99 ${percentileMs(books, 99)} ms`)
}
