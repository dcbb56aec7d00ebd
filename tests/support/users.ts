// Users of a file for tests, and a log that can be read.
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { openUsers, type Users } from '../../broker/users.js'
import { systemClock, type Clock } from '../../shared/clock.js'
import type { Log } from '../../shared/log.js'
import { createMetrics, type Metrics } from '../../shared/metrics.js'
import { afterThisTest, temporaryFolder } from './broker.js'
import { writeUsers, type TestUser } from './users-file.js'

/** A users file in a folder of its own. */
export async function usersFile (users: readonly TestUser[]): Promise<string> {
  return await writeUsers(users, join(temporaryFolder(), 'users.yaml'))
}

/** A log that is kept as text. */
export function keptLog (): { log: Log, text: () => string, lines: () => Record<string, unknown>[] } {
  const kept: string[] = []
  const log = pino({ level: 'debug', base: null }, new Writable({ write (line: Buffer, _, done) {
    kept.push(line.toString())
    done()
  } }))
  return { log, text: () => kept.join(''), lines: () => kept.map(line => JSON.parse(line) as Record<string, unknown>) }
}

export interface OpenedUsers extends ReturnType<typeof keptLog> {
  readonly users: Users
  readonly metrics: Metrics
}

/** The users of a file, looked after until the test ends. */
export async function openTestUsers (file: string, clock: Clock = systemClock): Promise<OpenedUsers> {
  const kept = keptLog()
  const metrics = createMetrics()
  const users = await openUsers({ file, clock, log: kept.log, metrics })
  afterThisTest(() => users.close())
  return { ...kept, users, metrics }
}
