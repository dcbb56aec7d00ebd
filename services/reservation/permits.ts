// Permits and their sale, within one transaction. The settings say what is sold, for how much and how many in all; the
// ledger says how many were sold. What is left is the difference, so it is never counted down in two places, and it is
// never below zero: a batch decides on the numbers of its own transaction, one sale after the other.
import { sql } from 'kysely'
import type { ConfiguredPermit } from '../../shared/config.js'
import type { Id } from '../../shared/lot.js'
import type { RequestBody } from '../../shared/schemas.js'
import { insertRows, selectByKeys, upsert, type Database } from '../../storage/rows.js'
import type { PermitSalesTable } from '../../storage/tables.js'
import type { LedgerTransaction } from '../../storage/transaction.js'
import { answered, refusedAnswer, type Answer } from './answers.js'
import { refuse, type Refused } from './core.js'
import { newId } from './new-names.js'
import type { Request } from './requests.js'
import { causeOf, type Work } from './work.js'

export async function permitsAnswer ({ permits, settings: { prices } }: Work): Promise<Answer> {
  return answered({ permits: await Promise.all(prices.permits.map(async permit => await shown(permits, permit, prices.currency))) })
}

/** One permit. That none is left is no error here: its stock is 0. */
export async function permitAnswer ({ permits, settings: { prices } }: Work, { permit: id }: RequestBody<'permit'>): Promise<Answer> {
  const permit = prices.permits.find(permit => permit.permit === id)
  return permit ? answered(await shown(permits, permit, prices.currency)) : refusedAnswer(unknownPermit(id).refusal)
}

export async function buyPermit ({ tx, permits, settings: { prices } }: Work, request: Request, { permit: id, plate }: RequestBody<'buyPermit'>): Promise<Answer> {
  const permit = prices.permits.find(permit => permit.permit === id)
  if (!permit) return refusedAnswer(unknownPermit(id).refusal)
  if (await permits.left(permit) === 0) return refusedAnswer(refuse('sold_out', `no ${id} is left of ${permit.stock}; choose another permit, or ask later`).refusal)
  const { priceCents } = permit
  const { currency } = prices
  const sale = newId('S')
  await permits.sell({ id: sale, permit: id, plate, owner: request.user, price_cents: priceCents, sold_at_ms: tx.nowMs })
  // Without a lot, so that it never leaves as an event; without the plate, which is the driver's alone.
  tx.audit({ type: 'permit.sold', ...causeOf(request), after: { permit: id, sale, priceCents, currency } })
  return answered({ sale, permit: id, plate, priceCents, currency, stock: await permits.left(permit) })
}

async function shown (permits: PermitSales, permit: ConfiguredPermit, currency: string): Promise<Record<string, unknown>> {
  return { permit: permit.permit, name: permit.name, priceCents: permit.priceCents, currency, stock: await permits.left(permit) }
}

function unknownPermit (id: Id): Refused {
  return refuse('unknown_permit', `there is no permit ${id}; permits lists them`)
}

/**
 * How many of each permit were sold, as a transaction has it, and what it sells. Whatever the size of the batch, it reads
 * with one statement, at the first question, and writes with two.
 */
export class PermitSales {
  readonly #database: Database
  readonly #permits: readonly Id[]
  #counts: Promise<Map<Id, number>> | null = null
  readonly #sales: PermitSalesTable[] = []

  /** Sales of `permits` alone. */
  constructor ({ database }: Pick<LedgerTransaction, 'database'>, permits: readonly Pick<ConfiguredPermit, 'permit'>[]) {
    this.#database = database
    this.#permits = permits.map(({ permit }) => permit)
  }

  /** How many may still be sold; 0 also when the stock of the settings is less than what was sold already. */
  async left ({ permit, stock }: Pick<ConfiguredPermit, 'permit' | 'stock'>): Promise<number> {
    const sold = await this.#sold()
    return Math.max(0, stock - (sold.get(permit) ?? 0))
  }

  /** Notes a sale. Whoever calls it has just seen that one is left. */
  async sell (sale: PermitSalesTable): Promise<void> {
    const sold = await this.#sold()
    sold.set(sale.permit, (sold.get(sale.permit) ?? 0) + 1)
    this.#sales.push(sale)
  }

  /** Writes what was sold: to be called once, at the end of the batch. */
  async save (): Promise<void> {
    if (this.#sales.length === 0) return
    const sold = await this.#sold()
    const permits = new Set(this.#sales.map(sale => sale.permit))
    await upsert(this.#database, 'permits', ['permit'], [...permits].map(permit => ({ permit, sold: sold.get(permit) ?? 0 })))
    await insertRows(this.#database, 'permit_sales', ['id', 'permit', 'plate', 'owner', 'price_cents', 'sold_at_ms'], this.#sales)
  }

  /** With the sales of this transaction. */
  async #sold (): Promise<Map<Id, number>> {
    return await (this.#counts ??= this.#load())
  }

  async #load (): Promise<Map<Id, number>> {
    const rows = await selectByKeys(this.#database, 'permits', ['permit'], this.#permits.map(permit => [permit]))
    return new Map(rows.map(({ permit, sold }) => [permit, Number(sold)]))
  }
}

/** Forgets at most `limit` sales from before `beforeMs`, with their plates; how many were sold stays. Returns how many. */
export async function pruneSales ({ kysely }: Database, beforeMs: number, limit: number): Promise<number> {
  const result = await sql`delete from permit_sales where id in (
    select id from permit_sales where sold_at_ms < ${beforeMs} order by sold_at_ms limit ${limit}
  )`.execute(kysely)
  return Number(result.numAffectedRows ?? 0)
}
