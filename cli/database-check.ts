// What `parkmq doctor` says of the database of the ledger.
import { messageOf } from '../shared/errors.js'
import type { Check } from './check.js'

export async function checkDatabase (url: string): Promise<Check> {
  const name = 'database'
  try {
    // Whoever has a file never loads the driver.
    const { describePostgres } = await import('../storage/postgres.js')
    const { host, version, commit, isSafe } = await describePostgres(url)
    return { name, ok: isSafe ? true : null, said: `PostgreSQL ${version} on ${host} can be written${isSafe ? '' : `, but answers a commit before it is on disk (${commit})`}` }
  } catch (error) {
    return { name, ok: false, said: messageOf(error) }
  }
}
