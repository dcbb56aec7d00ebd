// A log that says nothing, for parts that are tested without a broker around them.
import { pino } from 'pino'
import type { Log } from '../../../shared/log.js'

export function createLog (): Log {
  return pino({ level: 'silent' })
}
