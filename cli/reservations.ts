// `reserve`, `cancel`, `arrive`, `depart` and `list`.
import type { Command } from 'commander'
import { Plate, type RequestBody } from '../shared/schemas.js'
import { clientCommand, requestAndPrint, seconds, UsageError, wholeNumber, type ClientOptions } from './client.js'
import { checkSecretsFolder, keepSecret, secretOf } from './secrets.js'
import { local, table } from './table.js'

interface ReservationResult { reservation: string, lot: string, plate: string, status: string, from: string, until: string, secret?: string }

export function reservationCommands (): Command[] {
  return [reserveCommand(), changing('cancel', 'give a reservation back'), changing('arrive', 'say that the car has arrived'), changing('depart', 'say that the car has left'), listCommand()]
}

function reserveCommand (): Command {
  return clientCommand('reserve', 'hold a place from now until the car comes or the hold expires')
    .argument('<lot>', 'id of the lot, such as LOT-A')
    .argument('<plate>', 'number plate, such as ABC123')
    .option('--hold <time>', 'how long the place is held, such as 90s or 15m, at most 1h (default: what the service has set, 5m)')
    .addHelpText('after', '\nThe secret that cancel, arrive and depart need is kept in your config folder.\n\nExample:\n  parkmq reserve LOT-A ABC123 --hold 10m')
    .action(async (lot: string, plate: string, options: ClientOptions & { hold?: string }) => {
      checkSecretsFolder()
      const body = { lot, plate, ...(options.hold !== undefined && { holdSeconds: seconds(options.hold, '--hold') }) }
      const made = await requestAndPrint<ReservationResult>(options, 'reserve', body, r => `${r.reservation} holds a place in ${r.lot} for ${r.plate} until ${local(r.until)}`)
      if (made?.secret !== undefined) keepSecret({ ...made, secret: made.secret })
    })
}

type Changing = ClientOptions & { lot?: string, plate?: string, secret?: string }

function changing (method: 'cancel' | 'arrive' | 'depart', description: string): Command {
  return clientCommand(method, description)
    .argument('[reservation]', 'id of the reservation, such as R-7K2M9QXA4BCD')
    .option('--lot <lot>', 'instead of the id: the lot, together with --plate')
    .option('--plate <plate>', 'instead of the id: the plate, together with --lot')
    .option('--secret <secret>', 'its secret, if it was reserved elsewhere')
    .action(async (reservation: string | undefined, options: Changing) => {
      const which = whichReservation(method, reservation, options)
      const secret = options.secret ?? secretOf(which)
      await requestAndPrint<ReservationResult>(options, method, { ...which, ...(secret !== undefined && { secret }) }, r => `${r.reservation} in ${r.lot} is ${r.status}`)
    })
}

function whichReservation (method: string, reservation: string | undefined, { lot, plate }: Changing): { reservation: string } | { lot: string, plate: string } {
  if (reservation !== undefined) {
    if (lot !== undefined || plate !== undefined) throw new UsageError(`${method} takes either a reservation or --lot and --plate, not both`)
    return { reservation }
  }
  if (lot === undefined || plate === undefined) throw new UsageError(`${method} needs a reservation, or --lot and --plate together`)
  const parsed = Plate.safeParse(plate)
  return { lot, plate: parsed.success ? parsed.data : plate }
}

function listCommand (): Command {
  return clientCommand('list', 'list reservations')
    .option('--lot <lot>', 'only of this lot')
    .option('--plate <plate>', 'only of this plate')
    .option('--status <status>', 'only held, arriving, arrived, departed, cancelled or expired')
    .option('--limit <n>', 'at most so many, up to 1000', '100')
    .option('--after <reservation>', 'the next page: those after the last of this one')
    .action(async ({ lot, plate, status, limit, after, ...options }: ClientOptions & { lot?: string, plate?: string, status?: string, limit: string, after?: string }) => {
      const body: Partial<Record<keyof RequestBody<'list'>, unknown>> = { limit: wholeNumber(limit, '--limit'), lot, plate, status, after }
      await requestAndPrint<{ reservations: ReservationResult[], next?: string }>(options, 'list', body, ({ reservations, next }) => {
        if (reservations.length === 0) return 'no reservations'
        const rows = reservations.map(r => [r.reservation, r.lot, r.plate, r.status, local(r.from), local(r.until)])
        return table(['RESERVATION', 'LOT', 'PLATE', 'STATUS', 'FROM', 'UNTIL'], rows) + (next === undefined ? '' : `\nthere are more: --after ${next}`)
      })
    })
}
