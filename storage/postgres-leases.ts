// The leases in PostgreSQL, over a connection of their own: prolonging them must wait for no transaction of this process. All times are
// the database's. Nothing here waits for a disk: who works under a lease commits behind it, and so makes it last.
import { randomUUID } from 'node:crypto'
import pg from 'pg'
import type { Log } from '../shared/log.js'
import { fenceOf, REQUESTS_SHARE, shareName, type Fence, type Lease, type Leases, type Renewed } from './leases.js'
import { clientOptions, writableHost } from './postgres-pool.js'
import type { PostgresTarget } from './postgres-url.js'

const CHANNEL = 'parkmq_leases'
/** Shares of the lots that a new installation gets: the most processes among which the lots can be divided. */
const LOT_SHARES = 16
const FORGET_AFTER_MS = 3_600_000
const NOW_MS = 'floor(extract(epoch from clock_timestamp()) * 1000)::bigint'

export interface PostgresLeasesParts {
  readonly target: PostgresTarget
  readonly node: string
  readonly prefix: string
  /** How long a lease lasts unless it is prolonged. */
  readonly leaseMs: number
  readonly log?: Log | undefined
}

export class PostgresLeases implements Leases {
  readonly #parts: PostgresLeasesParts
  /** Not the node's name: a process that is started anew must not be taken for the one before. */
  readonly #process = randomUUID()
  #client: Promise<pg.Client> | null = null
  #last: Promise<unknown> = Promise.resolve()
  #listener: () => void = () => {}
  #lotShares = 0

  private constructor (parts: PostgresLeasesParts) {
    this.#parts = parts
  }

  static async open (parts: PostgresLeasesParts): Promise<PostgresLeases> {
    const leases = new PostgresLeases(parts)
    try {
      await leases.#prepare()
    } catch (error) {
      await leases.close()
      throw error
    }
    return leases
  }

  get lotShares (): number { return this.#lotShares }

  async renew (takesPart: boolean, held: readonly Lease[]): Promise<Renewed> {
    const { prefix, node, leaseMs } = this.#parts
    interface Row { kept: [string, number][] | null, free: number, all: number, others: number, isNew: boolean }
    const [row] = await this.#ask<Row>(`
      with now as (select ${NOW_MS} as ms),
      known as (select until_ms from lease_processes where prefix = $1 and process = $2),
      me as (
        insert into lease_processes (prefix, process, node, until_ms) select $1, $2, $3, ms + $4 from now where $5
        on conflict (prefix, process) do update set until_ms = excluded.until_ms
      ),
      kept as (update leases set until_ms = ms + $4 from now where prefix = $1 and process = $2 and share = any($6) returning share, epoch)
      select (select json_agg(json_build_array(share, epoch)) from kept) as kept,
        (select count(*)::int from leases, now where prefix = $1 and until_ms <= ms and not (process is not distinct from $2 and share = any($6))) as free,
        (select count(*)::int from leases where prefix = $1) as all,
        (select count(*)::int from lease_processes, now where prefix = $1 and process <> $2 and until_ms > ms) as others,
        $5 and not exists (select from known, now where until_ms > ms) as "isNew"`,
    [prefix, this.#process, node, leaseMs, takesPart, held.map(({ share }) => share)])
    if (!row) throw new Error('the leases could not be prolonged')
    // The others have their part to give.
    if (row.isNew) await this.#tell()
    return { kept: (row.kept ?? []).map(([share, epoch]) => ({ share, epoch })), free: row.free, all: row.all, processes: row.others + (takesPart ? 1 : 0) }
  }

  async take (most: number): Promise<Lease[]> {
    const { prefix, node, leaseMs } = this.#parts
    // A lease with a transaction under way is left to the next time: it must not be taken before that has ended.
    return await this.#ask<Lease>(`
      with free as (
        select share from leases where prefix = $1 and until_ms <= ${NOW_MS} order by random() limit $5 for update skip locked
      )
      update leases as l set epoch = epoch + 1, process = $2, node = $3, until_ms = ${NOW_MS} + $4 from free where l.prefix = $1 and l.share = free.share returning l.share, l.epoch`,
    [prefix, this.#process, node, leaseMs, most])
  }

  async release (leases: readonly Lease[]): Promise<void> {
    if (leases.length === 0) return
    await this.#ask('update leases set process = null, node = null, until_ms = 0 where prefix = $1 and process = $2 and share = any($3)', [this.#parts.prefix, this.#process, leases.map(({ share }) => share)])
    await this.#tell()
  }

  async isOurs ({ share, epoch }: Lease): Promise<boolean> {
    return (await this.#ask('select from leases where prefix = $1 and process = $2 and share = $3 and epoch = $4', [this.#parts.prefix, this.#process, share, epoch])).length > 0
  }

  fence (lease: Lease): Fence {
    return fenceOf(this.#parts.prefix, this.#process, lease)
  }

  onNews (listener: () => void): void {
    this.#listener = listener
  }

  async leave (): Promise<void> {
    await this.#ask('delete from lease_processes where prefix = $1 and process = $2', [this.#parts.prefix, this.#process])
    await this.#tell()
  }

  async close (): Promise<void> {
    const client = await this.#client?.catch(() => null)
    this.#client = null
    await client?.end().catch((err: unknown) => this.#parts.log?.debug({ err }, 'the connection for leases did not end cleanly'))
  }

  async #prepare (): Promise<void> {
    const { prefix } = this.#parts
    const names = [...Array.from({ length: LOT_SHARES }, (_, i) => shareName(i)), REQUESTS_SHARE]
    // How many there are is settled by the first process for ever: it says which lots are in which share.
    await this.#ask(`insert into leases (prefix, share, epoch, until_ms) select $1, share, 0, 0 from unnest($2::text[]) as share
      where not exists (select from leases where prefix = $1) on conflict do nothing`, [prefix, names])
    await this.#ask(`delete from lease_processes where until_ms < ${NOW_MS} - ${FORGET_AFTER_MS}`, [])
    const [row] = await this.#ask<{ shares: number }>('select count(*)::int as shares from leases where prefix = $1 and share <> $2', [prefix, REQUESTS_SHARE])
    this.#lotShares = row?.shares ?? 0
  }

  async #tell (): Promise<void> {
    await this.#ask('select pg_notify($1, $2)', [CHANNEL, this.#parts.prefix])
  }

  /** One question after the other. */
  async #ask<R extends object> (text: string, values: readonly unknown[]): Promise<R[]> {
    const answer = this.#last.then(async () => await this.#askNow<R>(text, values))
    this.#last = answer.catch(() => { /* Whoever asked is told. */ })
    return await answer
  }

  async #askNow<R extends object> (text: string, values: readonly unknown[]): Promise<R[]> {
    const asked = this.#client ??= this.#connect()
    try {
      return (await (await asked).query<R>(text, [...values])).rows
    } catch (error) {
      // The next question finds the host that can be written by then.
      if (this.#client === asked) this.#client = null
      asked.then(async client => await client.end()).catch(() => { /* It is of no use any more. */ })
      throw error
    }
  }

  async #connect (): Promise<pg.Client> {
    const { target, node, leaseMs, prefix, log } = this.#parts
    const name = `parkmq ${node} leases`
    // An answer that comes later than the lease lasts is none.
    const client = new pg.Client({ ...clientOptions(target, await writableHost(target, name), name), query_timeout: leaseMs })
    client.on('error', err => log?.debug({ err }, 'the connection for leases has an error'))
    client.on('notification', ({ payload }) => { if (payload === prefix) this.#listener() })
    await client.connect()
    try {
      await client.query('set synchronous_commit = off')
      await client.query(`listen ${CHANNEL}`)
    } catch (error) {
      client.end().catch(() => { /* The first error counts. */ })
      throw error
    }
    return client
  }
}
