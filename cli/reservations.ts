// `reserve`, `cancel`, `arrive`, `depart`, `get` and `list`. Bookings and waiting are in bookings.ts.
import { Option, type Command } from 'commander'
import { RESERVATION_STATUSES } from '../shared/reservation.js'
import { Plate, type Reply, type RequestBody } from '../shared/schemas.js'
import { get, reserve, statusText, step, type Shown, type Which } from './acts.js'
import { clientCommand, seconds, UsageError, wholeNumber, type ClientOptions } from './client.js'
import { doAndPrint, done, type Desk, type Done } from './desk.js'
import { shownTime } from './shown-times.js'
import { table } from './table.js'

export const SECRET_HELP = '\nThe secret that change, extend, cancel, arrive, depart and get need is kept in your config folder.'

export function reservationCommands (): Command[] {
  return [reserveCommand(), changing('cancel', 'give a reservation back, or leave the waiting list'), changing('arrive', 'say that the car has arrived'), changing('depart', 'say that the car has left'), getCommand(), listCommand()]
}

function reserveCommand (): Command {
  return clientCommand('reserve', 'hold a place from now until the car comes or the hold expires')
    .argument('<lot>', 'id of the lot, such as LOT-A')
    .argument('<plate>', 'number plate, such as ABC123')
    .option('--hold <time>', 'how long the place is held, such as 90s or 15m, at most 1h (default: what the service has set, 5m)')
    .addHelpText('after', `${SECRET_HELP}\n\nExample:\n  parkmq reserve LOT-A ABC123 --hold 10m`)
    .action(async (lot: string, plate: string, options: ClientOptions & { hold?: string }) => {
      const holdSeconds = options.hold === undefined ? null : seconds(options.hold, '--hold')
      await doAndPrint(options, async desk => await reserve(desk, lot, plate, holdSeconds))
    })
}

type Changing = ClientOptions & { lot?: string, plate?: string, secret?: string }

function changing (method: 'cancel' | 'arrive' | 'depart', description: string): Command {
  return withSecret(clientCommand(method, description)
    .argument('[reservation]', 'id of the reservation, such as R-7K2M9QXA4BCD')
    .option('--lot <lot>', 'instead of the id: the lot, together with --plate')
    .option('--plate <plate>', 'instead of the id: the plate, together with --lot'))
    .addHelpText('after', `\nExamples:\n  parkmq ${method} R-7K2M9QXA4BCD\n  parkmq ${method} --lot LOT-A --plate ABC123`)
    .action(async (reservation: string | undefined, options: Changing) => {
      const which = whichReservation(method, reservation, options)
      await doAndPrint(options, async desk => await step(desk, method, which, options.secret))
    })
}

export function withSecret (command: Command): Command {
  return command.option('--secret <secret>', 'its secret, if it was made elsewhere')
}

function whichReservation (method: string, reservation: string | undefined, { lot, plate }: Changing): Which {
  if (reservation !== undefined) {
    if (lot !== undefined || plate !== undefined) throw new UsageError(`${method} takes either a reservation or --lot and --plate, not both`)
    return { reservation }
  }
  if (lot === undefined || plate === undefined) throw new UsageError(`${method} needs a reservation, or --lot and --plate together`)
  const parsed = Plate.safeParse(plate)
  return { lot, plate: parsed.success ? parsed.data : plate }
}

function getCommand (): Command {
  return withSecret(clientCommand('get', 'show one reservation and what has become of it'))
    .argument('<reservation>', 'id of the reservation, such as R-7K2M9QXA4BCD')
    .addHelpText('after', '\nExample:\n  parkmq get R-7K2M9QXA4BCD')
    .action(async (reservation: string, options: ClientOptions & { secret?: string }) => {
      await doAndPrint(options, async desk => await get(desk, reservation, options.secret))
    })
}

/** As it is typed: parkmq checks it. Absent parts restrict nothing. */
interface ListFilter extends Partial<Record<keyof RequestBody<'list'>, unknown>> {
  readonly limit: number
}

function listCommand (): Command {
  return clientCommand('list', 'list reservations, the newest first')
    .option('--lot <lot>', 'only of this lot')
    .option('--plate <plate>', 'only of this plate')
    .addOption(new Option('--status <status>', 'only with this status').choices(RESERVATION_STATUSES))
    .option('--limit <n>', 'at most so many, up to 1000', '100')
    .option('--after <next>', 'the next page: what this one says at its end')
    .addHelpText('after', '\nTimes are those of each lot\'s own clock.\n\nExample:\n  parkmq list --plate ABC123 --status waiting')
    .action(async ({ lot, plate, status, limit, after, ...options }: ClientOptions & { lot?: string, plate?: string, status?: string, limit: string, after?: string }) => {
      const filter = { limit: wholeNumber(limit, '--limit'), lot, plate, status, after }
      await doAndPrint(options, async desk => await list(desk, filter))
    })
}

interface Listed {
  readonly reservations: readonly Shown[]
  readonly next?: string
}

async function list (desk: Desk, filter: ListFilter): Promise<Done> {
  return await done<Listed>(await fullPage(desk, filter), async ({ reservations, next }) => {
    if (reservations.length === 0) return 'no reservations'
    return await reservationTable(desk, reservations) + (next === undefined ? '' : `\nthere are more: --after ${next}`)
  })
}

/** parkmq looks at a part of a long history at a time: what it gives may be few, or none, and still not be the last. */
async function fullPage (desk: Desk, { limit, after, ...which }: ListFilter): Promise<Reply> {
  const reservations: Shown[] = []
  for (let next = after; ;) {
    const reply = await desk.call('list', { ...which, limit: limit - reservations.length, after: next })
    if (!reply.ok) return reply
    const page = reply.result as Listed
    reservations.push(...page.reservations)
    next = page.next
    if (next === undefined || reservations.length >= limit) return { ok: true, result: { ...page, reservations } }
  }
}

async function reservationTable (desk: Desk, reservations: readonly Shown[]): Promise<string> {
  const zones = await desk.calendars.toShowAll(new Set(reservations.map(({ lot }) => lot)))
  const rows = reservations.map(({ reservation, kind, lot, plate, status, from, until }) => {
    const zone = zones.get(lot) ?? 'UTC'
    return [reservation, kind, lot, plate, statusText(status), shownTime(from, zone), shownTime(until, zone), zone]
  })
  return table(['RESERVATION', 'KIND', 'LOT', 'PLATE', 'STATUS', 'FROM', 'UNTIL', 'TIME ZONE'], rows)
}
