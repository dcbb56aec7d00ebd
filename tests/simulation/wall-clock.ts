// What a wall clock shows, asked of the system's own calendar: slow, and of another make than what parkmq uses.
const formats = new Map<string, Intl.DateTimeFormat>()

/** `2026-10-25T02:30` as the clocks of the zone show it at that instant. */
export function shownAt (ms: number, timeZone: string): string {
  let format = formats.get(timeZone)
  if (!format) {
    format = new Intl.DateTimeFormat('en-GB', { timeZone, hourCycle: 'h23', year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit' })
    formats.set(timeZone, format)
  }
  const parts = Object.fromEntries(format.formatToParts(ms).map(({ type, value }) => [type, value]))
  return `${parts.year}-${parts.month}-${parts.day}T${parts.hour}:${parts.minute}`
}

/** Instants at which the clocks of the zone show this: none when they skip it, two when they show it twice. */
export function instantsOf (wall: string, timeZone: string): number[] {
  const asUtc = Date.parse(`${wall}:00Z`)
  const found: number[] = []
  // No zone is further from UTC than 14 hours, or off it by parts of a quarter of an hour.
  for (let ms = asUtc - 14 * 3_600_000; ms <= asUtc + 14 * 3_600_000; ms += 15 * 60_000) if (shownAt(ms, timeZone) === wall) found.push(ms)
  return found
}

/** The one instant that a request means; null when there is none or it could be another. */
export function instantOf (text: string, timeZone: string): number | null {
  const offset = /Z$|[+-]\d\d:\d\d$/.exec(text)?.[0]
  if (offset !== undefined) {
    const ms = Date.parse(text)
    const ahead = offset === 'Z' ? 0 : (ms - Date.parse(text.replace(offset, 'Z'))) * -1
    // A date that there is not, such as February 30, comes back as another.
    return new Date(ms + ahead).toISOString().slice(0, 16) === text.slice(0, 16) ? ms : null
  }
  const [only, other] = instantsOf(text, timeZone)
  return only === undefined || other !== undefined ? null : only
}
