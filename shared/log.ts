// Logging: pino, readable on a terminal and JSON otherwise, and a warning that no client can turn into a flood.
import { pino, type Logger } from 'pino'
import pretty from 'pino-pretty'
import type { Clock } from './clock.js'

export type Log = Logger
export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent'

/** A logger to standard output. `readable` prints lines for people instead of JSON. */
export function createLog (level: LogLevel, readable: boolean): Log {
  if (!readable) return pino({ level, base: null })
  return pino({ level, base: null }, pretty({ colorize: true, translateTime: 'SYS:HH:MM:ss.l', sync: true }))
}

const LIMIT_EVERY_MS = 1_000
const MOST_KEYS = 10_000

/** Logs a warning at most once a second for each key (a client), and says how many were left out. */
export interface LimitedWarn {
  (key: string, fields: Record<string, unknown>, message: string): void
}

export function createLimitedWarn (log: Log, clock: Clock): LimitedWarn {
  const seen = new Map<string, { untilMs: number, leftOut: number }>()
  return (key, fields, message) => {
    const nowMs = clock.nowMs()
    const entry = seen.get(key)
    if (entry && nowMs < entry.untilMs) {
      entry.leftOut++
      return
    }
    // Insertion order is age: the oldest key goes first, so the map stays bounded.
    seen.delete(key)
    if (seen.size >= MOST_KEYS) seen.delete(seen.keys().next().value ?? '')
    seen.set(key, { untilMs: nowMs + LIMIT_EVERY_MS, leftOut: 0 })
    log.warn(entry && entry.leftOut > 0 ? { ...fields, leftOut: entry.leftOut } : fields, message)
  }
}
