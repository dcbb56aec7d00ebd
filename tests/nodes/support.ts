// Several nodes on one database: each is the whole of parkmq with a broker of its own.
import { afterAll, beforeAll } from 'vitest'
import { startTestApp, type TestApp } from '../support/app.js'
import { startPostgres, whyNoPostgres, type TestPostgres } from '../support/postgres.js'

export const ABSENT = whyNoPostgres()
export const SKIPPED = ABSENT === null ? '' : ` (skipped: ${ABSENT})`

/** A server for all tests of a file. */
export function serverOfFile (options: { safe?: boolean } = {}): () => TestPostgres {
  let server: TestPostgres | null = null
  beforeAll(async () => { server = await startPostgres(options) }, 60_000)
  afterAll(async () => { await server?.close() })
  return () => {
    if (server === null) throw new Error('the server is not started')
    return server
  }
}

export async function startNode (database: string, node: string, settings: Record<string, unknown> = {}): Promise<TestApp> {
  return await startTestApp({ settings: { database, node, ...settings } })
}

export async function startNodes (database: string, names: readonly string[], settings: Record<string, unknown> = {}): Promise<TestApp[]> {
  return await Promise.all(names.map(async node => await startNode(database, node, settings)))
}
