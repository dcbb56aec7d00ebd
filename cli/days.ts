// The days that `availability --days` takes: names and dates as people write them, each made one that the service takes.
import { Day, MAX_DAYS, WEEKDAYS } from '../shared/schemas.js'
import { UsageError } from './client.js'

/** `mon,tue`, `2026-12-24`, `today`, `tomorrow` or `week`, separated by commas. Throws `UsageError` that names the value. */
export function readDays (text: string, option: string): string[] {
  const days = new Set(text.split(',').map(part => part.trim()).filter(part => part !== '').flatMap(part => readDay(part, option)))
  if (days.size === 0) throw new UsageError(`${option} names no day; ${EXAMPLES}`)
  if (days.size > MAX_DAYS) throw new UsageError(`${option} names ${days.size} days; at most ${MAX_DAYS} can be asked for at once`)
  return [...days]
}

const EXAMPLES = 'write days such as mon,tue, 2026-12-24, today, tomorrow or week'

function readDay (part: string, option: string): readonly string[] {
  const day = part.toLowerCase()
  // Each weekday is the next one from today on: all of them are the next seven days.
  if (day === 'week') return WEEKDAYS
  const weekday = day.length >= 2 ? WEEKDAYS.find(name => name.startsWith(day)) : undefined
  const parsed = Day.safeParse(weekday ?? day)
  if (!parsed.success) throw new UsageError(`${option} ${part} is not a day; ${EXAMPLES}`)
  return [parsed.data]
}
