// Several processes on one mosquitto and one PostgreSQL, and what is to be seen of their shares.
import { afterAll, beforeAll, expect } from 'vitest'
import { startMosquitto, whyNoMosquitto, type Mosquitto } from '../support/mosquitto.js'
import { startPostgres, whyNoPostgres, type TestPostgres } from '../support/postgres.js'
import { json, type TestClient } from '../support/app.js'

export const ABSENT = whyNoPostgres() ?? whyNoMosquitto()
export const SKIPPED = ABSENT === null ? '' : ` (skipped: ${ABSENT})`

/** Shares of the lots, and the one of the requests. */
export const ALL_SHARES = 17

export interface Servers {
  readonly postgres: TestPostgres
  readonly mosquitto: Mosquitto
}

/** Both servers for all tests of a file. */
export function serversOfFile (): () => Servers {
  let servers: Servers | null = null
  beforeAll(async () => {
    const [postgres, mosquitto] = await Promise.all([startPostgres(), startMosquitto()])
    servers = { postgres, mosquitto }
  }, 60_000)
  afterAll(async () => {
    await servers?.mosquitto.close()
    await servers?.postgres.close()
  })
  return () => {
    if (servers === null) throw new Error('the servers are not started')
    return servers
  }
}

/** How many shares each node has. */
export async function sharesOf ({ postgres }: Servers, database: string): Promise<Record<string, number>> {
  const rows = await postgres.query<{ node: string, count: number }>(database, 'select coalesce(node, \'nobody\') as node, count(*)::int as count from leases group by node')
  return Object.fromEntries(rows.map(({ node, count }) => [node, count]))
}

/** Resolves when these nodes have all shares between them, none more than its part. */
export async function untilShared (servers: Servers, database: string, nodes: readonly string[]): Promise<void> {
  const most = Math.ceil(ALL_SHARES / nodes.length)
  let shares: Record<string, number> = {}
  const isShared = async (): Promise<boolean> => {
    shares = await sharesOf(servers, database)
    return Object.keys(shares).sort().join() === nodes.join() && Object.values(shares).every(count => count <= most)
  }
  await expect.poll(isShared, { timeout: 15_000, interval: 50 }).toBe(true)
    .catch((error: unknown) => { throw new Error(`the shares are not those of ${nodes.join()}: ${JSON.stringify(shares)}`, { cause: error }) })
}

/** Watches what a display would: a version of a lot must never be followed by an older one. */
export class Watched {
  readonly #versions = new Map<string, number>()
  readonly #events = new Set<number>()
  /** What was older than what it followed. */
  readonly older: string[] = []

  constructor (client: TestClient) {
    client.mqtt.on('message', (topic, payload) => {
      if (topic.endsWith('/events')) this.#events.add(Number(json(payload.toString()).id))
      if (!topic.endsWith('/state') || payload.length === 0) return
      const version = Number(json(payload.toString()).version)
      const before = this.#versions.get(topic) ?? 0
      if (version < before) this.older.push(`${topic}: ${version} after ${before}`)
      this.#versions.set(topic, version)
    })
  }

  static async start (client: TestClient): Promise<Watched> {
    const watched = new Watched(client)
    await client.subscribe('lots/+/state', 'lots/+/events')
    return watched
  }

  /** Of the lines of the audit that are events, those that were not told. */
  async untold ({ postgres }: Servers, database: string, after: number): Promise<number[]> {
    const rows = await postgres.query<{ id: number }>(database, 'select id::int as id from audit where lot is not null and id > $1 order by id', [after])
    return rows.map(({ id }) => id).filter(id => !this.#events.has(id))
  }
}
