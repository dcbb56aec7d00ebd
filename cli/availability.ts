// `availability`: the places that are free now, that may be booked for a window of time, or in the hours of days.
import type { Command } from 'commander'
import type { Reply } from '../shared/schemas.js'
import { withWindow } from './bookings.js'
import { clientCommand, UsageError, type ClientOptions } from './client.js'
import { dayPicture, freeWindows, type ShownDay } from './day-picture.js'
import { readDays } from './days.js'
import { doAndPrint, done, type Desk, type Done } from './desk.js'
import { allPages } from './lots.js'
import { shownTime, shownWindow } from './shown-times.js'
import { table } from './table.js'
import { readWindow, resolveWindow, TIME_HELP, type WrittenWindow } from './times.js'

interface FreeNow { lot: string, name: string, free: number, capacity: number, open: boolean, quality: string }
interface FreeInWindow extends FreeNow { timeZone: string, from: string, to: string, windows: { from: string, to: string, free: number }[], more?: boolean }
interface FreeInDays extends FreeNow { timeZone: string, days: ShownDay[] }

export function availabilityCommand (): Command {
  return withWindow(clientCommand('availability', 'show the free places: now, in a window of time, or in the hours of days')
    .argument('[lot]', 'only this lot; a window or days are of one lot'))
    .option('--days <days>', 'days of the lot\'s calendar, separated by commas: mon,tue (the next ones), 2026-12-24, today, tomorrow, week (seven days from today)')
    .addHelpText('after', `${TIME_HELP}\n\nExamples:\n  parkmq availability\n  parkmq availability LOT-A --from 18:30 --for 2h\n  parkmq availability LOT-A --days week`)
    .action(async (lot: string | undefined, options: ClientOptions & { from?: string, to?: string, for?: string, days?: string }) => {
      const window = readWindow(options)
      const days = options.days === undefined ? null : readDays(options.days, '--days')
      if (window !== null && days !== null) throw new UsageError('--days asks for whole days; leave out --from, --to and --for')
      if (window === null && days === null) return await doAndPrint(options, async desk => await freeNow(desk, lot))
      if (lot === undefined) throw new UsageError(`${window === null ? '--days' : '--from'} asks about one lot; name it, such as parkmq availability LOT-A`)
      await doAndPrint(options, async desk => window !== null ? await freeInWindow(desk, lot, window) : await freeInDays(desk, lot, days ?? []))
    })
}

/** Of all lots, or of one. */
export async function freeNow ({ call }: Desk, lot?: string): Promise<Done> {
  return await done<{ lots: FreeNow[] }>(await allPages<FreeNow>(call, 'availability', lot), ({ lots }) =>
    lots.length === 0 ? 'no lots' : table(['LOT', 'NAME', 'FREE', 'CAPACITY', 'OPEN', 'QUALITY'], lots.map(l => [l.lot, l.name, l.free, l.capacity, l.open ? 'open' : 'closed', l.quality])))
}

export async function freeInWindow (desk: Desk, lot: string, window: WrittenWindow): Promise<Done> {
  const calendar = await desk.calendars.of(lot)
  if (!calendar.ok) return { reply: calendar, text: '' }
  const { from, to, notes } = resolveWindow(window, calendar.timeZone, desk.nowMs())
  for (const note of notes) desk.tell(note)
  return await done<FreeInWindow>(await desk.call('availability', { lot, from, to }), free => windowText(free, calendar.timeZone, desk.nowMs()))
}

function windowText ({ lot, open, capacity, free, from, to, windows, more }: FreeInWindow, timeZone: string, nowMs: number): string {
  const when = shownWindow(from, to, timeZone, nowMs)
  if (!open) return `${lot} is closed: no place may be booked, ${when}`
  const said = `${lot}: ${free === 0 ? 'no place' : free === 1 ? '1 place' : `${free} places`} of ${capacity} may be booked for the whole time, ${when}`
  if (windows.length === 0) return said
  const least = Math.min(...windows.map(part => part.free))
  // What is counted in the lot now says nothing about later, so it is in none of the parts.
  const now = free < least && Date.parse(from) <= nowMs ? `\nright now ${free === 0 ? 'none is' : `only ${free} ${free === 1 ? 'is' : 'are'}`} free: more cars are in the lot than are booked; a later begin has more` : ''
  const rows = windows.map(part => [shownTime(part.from, timeZone), shownTime(part.to, timeZone), part.free])
  return `${said}${now}\n\n${table(['FROM', 'TO', 'FREE'], rows)}${more ? '\nthere are more parts than are shown; ask for a shorter time' : ''}`
}

/** Days as the service takes them; they are shown in their order, each once. */
export async function freeInDays (desk: Desk, lot: string, days: readonly string[]): Promise<Done> {
  const reply = inOrder(await desk.call('availability', { lot, days }))
  return await done<FreeInDays>(reply, async ({ days, timeZone, capacity, open }) => {
    const zone = await desk.calendars.toShow(lot)
    const closed = open ? '' : ` (${lot} is closed: no place may be booked)`
    return `${lot}, ${timeZone}${closed}\n\n${dayPicture(days, capacity, desk.nowMs())}\n\n${freeWindows(days, zone)}`
  })
}

/** A date may have been named twice, as a weekday and as today. */
function inOrder (reply: Reply): Reply {
  if (!reply.ok) return reply
  const result = reply.result as FreeInDays
  const byDate = new Map(result.days.map(day => [day.date, day]))
  return { ok: true, result: { ...result, days: [...byDate.values()].sort((a, b) => a.date < b.date ? -1 : 1) } }
}
