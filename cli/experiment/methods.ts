// The methods of the experiment: what one logical request asks for, which is different for each, and whether the ledger
// has afterwards what it should have caused. Everything is set so that each logical request should succeed.
import type { Id } from '../../shared/lot.js'
import type { Method, Reply } from '../../shared/schemas.js'
import { selectByKeys, type Database } from '../../storage/rows.js'

export const TRIED = ['extend', 'cancel', 'reserve', 'buyPermit'] as const satisfies readonly Method[]
export type TriedMethod = (typeof TRIED)[number]

/** One thing that a driver wants, over all its tries. */
export interface LogicalRequest {
  readonly requestId: string
  readonly body: object
  /** Null: no reply came, so that it may have had its effect or not. */
  readonly reply: Reply | null
}

export interface Trial {
  /** Makes what `count` requests need, and returns their bodies. */
  prepare (call: Call, count: number): Promise<object[]>
  /** How many of the logical requests have not had the effect that they should have had, once. */
  wrong (database: Database, requests: readonly LogicalRequest[]): Promise<number>
}

/** An undisturbed request that must not be refused: its result. */
export type Call = (method: Method, body: object) => Promise<unknown>

/** Each method has a lot of its own. */
export function lotOf (method: TriedMethod): Id {
  return `LOT-${method.toUpperCase()}` as Id
}

export const PERMIT = 'EXPERIMENT' as Id

const MINUTE_MS = 60_000
const DAY_MS = 24 * 3_600_000
const EXTEND_MINUTES = 30
/** Longer than any run: a hold that expired could not be told from one that was never made. */
const HOLD_SECONDS = 3_600
const AT_ONCE = 100

interface Booked { readonly reservation: string, readonly secret: string, readonly until: string }
interface OfBooking { readonly reservation: string, readonly secret: string }
interface OfPlate { readonly plate: string }
interface Extension extends OfBooking { readonly byMinutes: number }

/** Idempotent: so many minutes from the original end are the same end, however often they are asked for. */
const extend = (): Trial => {
  const originalEndMs = new Map<string, number>()
  return {
    async prepare (call, count) {
      const booked = await book(call, 'extend', count)
      for (const { reservation, until } of booked) originalEndMs.set(reservation, Date.parse(until))
      return booked.map(({ reservation, secret }): Extension => ({ reservation, secret, byMinutes: EXTEND_MINUTES }))
    },
    async wrong (database, requests) {
      const ends = new Map((await reservationsOf(database, requests)).map(row => [row.id, Number(row.to_ms)]))
      return count(requests, ({ body, reply }) => {
        const { reservation, byMinutes } = body as Extension
        const before = originalEndMs.get(reservation) ?? NaN
        const end = ends.get(reservation)
        return end === before + byMinutes * MINUTE_MS || (reply === null && end === before)
      })
    }
  }
}

/** Not idempotent in its reply: the second cancel of the same reservation is refused. */
const cancel = (): Trial => ({
  async prepare (call, count) {
    return (await book(call, 'cancel', count)).map(({ reservation, secret }): OfBooking => ({ reservation, secret }))
  },
  async wrong (database, requests) {
    const statuses = new Map((await reservationsOf(database, requests)).map(row => [row.id, row.status]))
    return count(requests, ({ body, reply }) => {
      const status = statuses.get((body as OfBooking).reservation)
      return status === 'cancelled' || (reply === null && status === 'booked')
    })
  }
})

/** Not idempotent: each execution takes one more place. */
const reserve = (): Trial => ({
  async prepare (_call, count) {
    return Array.from({ length: count }, (_, n) => ({ lot: lotOf('reserve'), plate: plateOf(n), holdSeconds: HOLD_SECONDS }))
  },
  async wrong ({ kysely }, requests) {
    const holds = idsByPlate(await kysely.selectFrom('reservations').select(['id', 'plate']).where('lot', '=', lotOf('reserve')).where('status', '=', 'held').execute())
    return count(requests, ({ body, reply }) => isRight(reply, 'reservation', holds.get((body as OfPlate).plate)))
  }
})

/** Not idempotent: each execution sells one more permit. */
const buyPermit = (): Trial => ({
  async prepare (_call, count) {
    return Array.from({ length: count }, (_, n) => ({ permit: PERMIT, plate: plateOf(n) }))
  },
  async wrong ({ kysely }, requests) {
    const rows = await kysely.selectFrom('permit_sales').select(['id', 'plate']).where('permit', '=', PERMIT).execute()
    const stock = await kysely.selectFrom('permits').select('sold').where('permit', '=', PERMIT).executeTakeFirst()
    const sales = idsByPlate(rows)
    const wrong = count(requests, ({ body, reply }) => isRight(reply, 'sale', sales.get((body as OfPlate).plate)))
    // The stock must have gone down by what was sold.
    return Number(stock?.sold ?? 0) === rows.length ? wrong : requests.length
  }
})

export const TRIALS: Readonly<Record<TriedMethod, () => Trial>> = { extend, cancel, reserve, buyPermit }

function idsByPlate (rows: readonly { readonly id: string, readonly plate: string }[]): Map<string, string[]> {
  const ids = new Map<string, string[]>()
  for (const { id, plate } of rows) ids.set(plate, [...ids.get(plate) ?? [], id])
  return ids
}

/** Exactly one was made, and it is the one that the reply names; without a reply, at most one. */
function isRight (reply: Reply | null, key: string, made: readonly string[] = []): boolean {
  if (reply === null) return made.length <= 1
  return made.length === 1 && (!reply.ok || (reply.result as Record<string, unknown>)[key] === made[0])
}

/** How many are not right. */
function count (requests: readonly LogicalRequest[], right: (request: LogicalRequest) => boolean): number {
  return requests.filter(request => !right(request)).length
}

/** Bookings of an hour, a day ahead: time changes none of them during a run. */
async function book (call: Call, method: 'extend' | 'cancel', count: number): Promise<Booked[]> {
  const fromMs = Math.ceil(Date.now() / MINUTE_MS) * MINUTE_MS + DAY_MS
  const [from, to] = [fromMs, fromMs + 60 * MINUTE_MS].map(minute)
  const booked: Booked[] = []
  while (booked.length < count) {
    const some = Array.from({ length: Math.min(AT_ONCE, count - booked.length) }, (_, n) => booked.length + n)
    booked.push(...await Promise.all(some.map(async n => await call('book', { lot: lotOf(method), plate: plateOf(n), from, to }) as Booked)))
  }
  return booked
}

async function reservationsOf (database: Database, requests: readonly LogicalRequest[]) {
  return await selectByKeys(database, 'reservations', ['id'], requests.map(({ body }) => [(body as OfBooking).reservation]))
}

function plateOf (n: number): string {
  return `EXP${String(n + 1).padStart(6, '0')}`
}

function minute (ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 16)}Z`
}
