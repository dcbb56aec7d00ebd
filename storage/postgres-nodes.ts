// What the nodes on one PostgreSQL database tell each other: after a commit, which lots have a new version, by NOTIFY. Nothing
// depends on a notice arriving: the versions of all lots are compared every second, and after a lost connection every lot counts
// as changed. The same connection holds this node's name, so that no other process can take it, says every second that this node is there, and
// finds out when the database does not answer any more.
import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import pg from 'pg'
import type { Clock, Timer } from '../shared/clock.js'
import { OperatorError } from '../shared/errors.js'
import type { Id } from '../shared/lot.js'
import type { Log } from '../shared/log.js'
import type { NodeAddress } from '../shared/nodes.js'
import type { Ledger } from './ledger.js'
import type { LedgerNodes, News, NodesWatcher, Numbered, Settled } from './nodes.js'
import { messagesOf, parseMessage, type Told } from './node-messages.js'
import { SENDS_NONE } from './node-rows.js'
import { SESSION_LOCKS } from './postgres.js'
import { clientOptions, writableHost } from './postgres-pool.js'
import type { PostgresTarget } from './postgres-url.js'
import type { Question } from './questions.js'
import type { Database } from './rows.js'
import { SettledNumbers } from './settled.js'
import { Silence } from './silence.js'

const CHANNEL = 'parkmq'
/** How often the versions of all lots are compared, in milliseconds: a node that died between its commit and its notice told nobody. */
const COMPARE_EVERY_MS = 1_000
const CONNECT_AGAIN_MS = 250
/** Without an answer for so long, this node has lost its database. */
const LOST_AFTER_MS = 2_000
/** A node that has not said for so long that it is there is none that clients should go to. */
const ALIVE_MS = 4_000
const ANSWER_WITHIN_MS = 5_000
/** How long a start waits for its name: a process that was just killed has it until the server notices. */
const NAME_WITHIN_MS = 3_000
const NAME_EVERY_MS = 200
/** A peer that is gone without a word is noticed after 15 s. */
const NOTICE_THE_DEAD = 'set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 2; set tcp_keepalives_count = 5'
/** That a node is there is said every second and need not outlive a crash: it waits for no disk and for no standby. */
const NOTHING_TO_KEEP = 'set synchronous_commit = off'

export interface NodesParts {
  readonly target: PostgresTarget
  readonly node: string
  /** As in `LedgerNodes`; default the node. */
  readonly teller?: string | undefined
  readonly database: Database
  readonly clock: Clock
  readonly log?: Log | undefined
}

export class PostgresNodes implements LedgerNodes {
  readonly node: string
  readonly teller: string
  readonly #parts: NodesParts
  /** Of this process: what it told itself it need not hear. */
  readonly #self = randomUUID()
  readonly #settled: Readonly<Record<Numbered, SettledNumbers>> = { audit: new SettledNumbers('audit'), notices: new SettledNumbers('notices') }
  #ledger: Pick<Ledger, 'feed' | 'notices' | 'events'> | null = null
  #client: pg.Client | null = null
  /** The version of each lot that was last told here. */
  readonly #versions = new Map<Id, number>()
  /** The last number that was given to a line of the audit when that was last looked at. */
  #lastLine: number | null = null
  /** To be told to the others. */
  #telling = nothing()
  #told: Promise<void> | null = null
  #timer: Timer | null = null
  #working: Promise<void> = Promise.resolve()
  #stopped = false
  #failing = false
  readonly #silence: Silence
  #watcher: NodesWatcher | null = null
  /** Those that clients can use. */
  #known: readonly NodeAddress[] = []
  #urls: readonly string[] | null = null

  private constructor (parts: NodesParts) {
    this.#parts = parts
    this.node = parts.node
    this.teller = parts.teller ?? parts.node
    this.#silence = new Silence({ clock: parts.clock, afterMs: LOST_AFTER_MS, onSilent: () => this.#watcher?.onLost(), onAnswer: () => this.#watcher?.onBack() })
  }

  /** Takes the name of this node and begins to listen. Throws `OperatorError` `node_in_use`. */
  static async start (parts: NodesParts): Promise<PostgresNodes> {
    const nodes = new PostgresNodes(parts)
    const client = await nodes.#connect()
    try {
      await nodes.#takeName(client)
      await nodes.#compare(client, false)
    } catch (error) {
      await client.end()
      throw error
    }
    nodes.#use(client)
    nodes.#arm(COMPARE_EVERY_MS)
    return nodes
  }

  /** From now on its feed tells what other nodes change, and its bells ring for their notices and events. */
  attach (ledger: Pick<Ledger, 'feed' | 'notices' | 'events'>): void {
    this.#ledger = ledger
  }

  tell ({ lots, withBays, hasNotices, hasEvents }: News): void {
    if (lots.size === 0 && !hasNotices) return
    for (const [lot, version] of lots) {
      this.#telling.lots.set(lot, version)
      this.#note(lot, version)
    }
    for (const lot of withBays) this.#telling.withBays.add(lot)
    this.#telling.hasNotices ||= hasNotices
    this.#telling.hasEvents ||= hasEvents
    this.#told ??= this.#tellAll()
  }

  async readSettled<R> (table: Numbered, question: (database: Database) => Question<R>): Promise<Settled & { readonly answer: R }> {
    return await this.#settled[table].read(this.#parts.database.kysely, question)
  }

  watch (watcher: NodesWatcher): () => void {
    this.#watcher = watcher
    watcher.onNodes(this.#known)
    if (this.#silence.isSilent) watcher.onLost()
    return () => { this.#watcher = null }
  }

  advertise (urls: readonly string[]): void {
    this.#urls = urls
    if (this.#client) this.#arm(0)
  }

  async stop (): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    this.#silence.stop()
    await this.#working
    // A connection has one statement under way, and at most one behind it.
    await this.#told
    // The others need not find out by its silence.
    if (this.#urls !== null) await this.#client?.query('update nodes set urls = null where node = $1', [this.node]).catch((err: unknown) => this.#parts.log?.debug({ err }, 'other nodes could not be told that this one stops'))
    await this.#client?.end().catch((err: unknown) => this.#parts.log?.debug({ err }, 'the connection for changes did not end cleanly'))
  }

  /** One notice is on its way at a time; what is committed meanwhile goes with the next. */
  async #tellAll (): Promise<void> {
    // One turn of the event loop later, so that what happens at once goes together.
    await new Promise(resolve => setImmediate(resolve))
    while (this.#client && (this.#telling.lots.size > 0 || this.#telling.hasNotices)) {
      const messages = messagesOf(this.#self, this.#telling)
      this.#telling = nothing()
      try {
        // After the commit and in a transaction of its own, which writes nothing: NOTIFY holds a lock of the whole server to its
        // commit, and with the changes in it every commit of every node would wait for the one before it to reach the disk.
        await this.#client?.query('select pg_notify($1, message) from unnest($2::text[]) as message', [CHANNEL, messages])
      } catch (err) {
        // They compare versions every second. Notices are looked for then as well.
        this.#parts.log?.debug({ err }, 'other nodes could not be told of changes; they find out by themselves')
      }
    }
    this.#telling = nothing()
    this.#told = null
  }

  async #connect (): Promise<pg.Client> {
    const { target } = this.#parts
    const name = `parkmq ${this.node} changes`
    const host = await writableHost(target, name)
    const client = new pg.Client({ ...clientOptions(target, host, name), query_timeout: ANSWER_WITHIN_MS })
    client.on('error', err => this.#parts.log?.debug({ err }, 'the connection for changes has an error'))
    client.on('notification', ({ payload }) => this.#hear(payload ?? ''))
    await client.connect()
    try {
      await client.query(NOTICE_THE_DEAD)
      await client.query(NOTHING_TO_KEEP)
      await client.query(`listen ${CHANNEL}`)
    } catch (error) {
      client.end().catch(() => {})
      throw error
    }
    return client
  }

  async #takeName (client: pg.Client): Promise<void> {
    const untilMs = performance.now() + NAME_WITHIN_MS
    while (!await this.#hasName(client)) {
      if (performance.now() >= untilMs) {
        throw new OperatorError('node_in_use', `another parkmq on this database has the name ${this.node}; give each its own with --node, or wait until the server has noticed that the other is gone`)
      }
      await new Promise(resolve => setTimeout(resolve, NAME_EVERY_MS))
    }
  }

  async #hasName (client: pg.Client): Promise<boolean> {
    const { rows: [row] } = await client.query<{ taken: boolean }>('select pg_try_advisory_lock($1::int, hashtext($2)) as taken', [SESSION_LOCKS, `node ${this.node}`])
    return row?.taken === true
  }

  #use (client: pg.Client): void {
    this.#client = client
    client.once('end', () => {
      if (this.#client !== client) return
      this.#client = null
      if (this.#stopped) return
      this.#silence.asked()
      this.#arm(0)
    })
  }

  #arm (delayMs: number): void {
    if (this.#stopped) return
    this.#timer?.cancel()
    this.#timer = this.#parts.clock.after(delayMs, () => { this.#working = this.#look() })
  }

  /** Compares versions, over a new connection where there is none. */
  async #look (): Promise<void> {
    let delayMs = COMPARE_EVERY_MS
    this.#silence.asked()
    try {
      if (this.#client) await this.#compare(this.#client, false)
      else await this.#connectAgain()
      if (this.#failing) this.#parts.log?.info('changes of other nodes are heard again')
      this.#failing = false
      this.#silence.answered()
    } catch (err) {
      // Said once for a fault that lasts, not at every try.
      if (!this.#failing) this.#parts.log?.warn({ err }, 'changes of other nodes are not heard; trying again')
      this.#failing = true
      delayMs = CONNECT_AGAIN_MS
      const client = this.#client
      this.#client = null
      client?.end().catch(() => { /* It is of no use any more. */ })
    }
    this.#arm(delayMs)
  }

  async #connectAgain (): Promise<void> {
    const client = await this.#connect()
    try {
      // Another process of the same name may have come meanwhile: there must never be two.
      if (!await this.#hasName(client)) throw new Error(`another process has the name ${this.node} on the database`)
      // Whatever happened meanwhile was told to nobody here.
      await this.#compare(client, true)
    } catch (error) {
      client.end().catch(() => {})
      throw error
    }
    this.#use(client)
  }

  /** Tells of lots whose version is another than the one told last, or of all. */
  async #compare (client: pg.Client, all: boolean): Promise<void> {
    interface Row { recovering: boolean, lots: [Id, number][] | null, noticed: boolean, nodes: NodeAddress[] | null, line: number }
    const { rows: [row] } = await client.query<Row>(`
      with seen as (
        insert into nodes (node, seen_at_ms, noticed, urls) values ($1, ${NOW_MS}, case when $1 = $3 then (select coalesce(max(id), 0) from notices) else ${SENDS_NONE} end, $2)
        on conflict (node) do update set seen_at_ms = excluded.seen_at_ms, urls = excluded.urls,
          noticed = case when $1 <> $3 or nodes.noticed = ${SENDS_NONE} then excluded.noticed else nodes.noticed end
      ), teller as (
        insert into nodes (node, seen_at_ms, noticed) select $3, ${NOW_MS}, coalesce(max(id), 0) from notices
        having $1 <> $3 on conflict (node) do update set seen_at_ms = excluded.seen_at_ms
      )
      select pg_is_in_recovery() as recovering, exists (select from notices as n where n.id > (select noticed from nodes where node = $3)) as noticed,
        (select json_agg(json_build_array(id, version)) from lots) as lots, (select case when is_called then last_value else 0 end from audit_id_seq) as line,
        (select json_agg(json_build_object('node', node, 'urls', urls::json)) from nodes where node <> $1 and urls is not null and seen_at_ms > ${NOW_MS} - ${ALIVE_MS}) as nodes`,
    [this.node, this.#urls && JSON.stringify(this.#urls), this.teller])
    if (!row || row.recovering) throw new Error('the host has become a standby')
    const lots = new Map(row.lots ?? [])
    const changed = new Set<Id>()
    for (const [lot, version] of lots) if (all || this.#versions.get(lot) !== version) changed.add(lot)
    for (const lot of this.#versions.keys()) if (!lots.has(lot)) changed.add(lot)
    for (const lot of changed) this.#note(lot, lots.get(lot) ?? null)
    // What changed in them is not known.
    this.#ledger?.feed.tell(changed, changed, null)
    if (row.noticed) this.#ledger?.notices.ring()
    if (all || row.line !== this.#lastLine) this.#ledger?.events.ring()
    this.#lastLine = row.line
    this.#learn(row.nodes ?? [])
  }

  /** Its own line is what it is about to say, not what it said last. */
  #learn (others: readonly NodeAddress[]): void {
    const all = this.#urls === null ? [...others] : [...others, { node: this.node, urls: [...this.#urls] }]
    all.sort((a, b) => a.node < b.node ? -1 : 1)
    if (isDeepStrictEqual(all, this.#known)) return
    this.#known = all
    this.#watcher?.onNodes(all)
  }

  #hear (payload: string): void {
    const told: Told | null = parseMessage(payload)
    if (told === null) {
      this.#parts.log?.warn({ payload: payload.slice(0, 100) }, 'a notification of the database is none of ours')
      return
    }
    if (told.from === this.#self) return
    for (const [lot, version] of told.lots) this.#note(lot, version)
    this.#ledger?.feed.tell(new Set(told.lots.keys()), told.withBays, null)
    if (told.hasNotices) this.#ledger?.notices.ring()
    if (told.hasEvents) this.#ledger?.events.ring()
  }

  #note (lot: Id, version: number | null): void {
    if (version === null) this.#versions.delete(lot)
    else this.#versions.set(lot, version)
  }
}

const NOW_MS = 'floor(extract(epoch from clock_timestamp()) * 1000)::bigint'

function nothing (): { lots: Map<Id, number | null>, withBays: Set<Id>, hasNotices: boolean, hasEvents: boolean } {
  return { lots: new Map(), withBays: new Set(), hasNotices: false, hasEvents: false }
}
