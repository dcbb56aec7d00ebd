// `quote`, `permits` and `buy`: what parking costs, and permits. Money is whole cents, and shown from their digits.
import type { Command } from 'commander'
import { inWindow } from './acts.js'
import { withWindow, type WindowOptions } from './bookings.js'
import { clientCommand, requestAndPrint, UsageError, type ClientOptions } from './client.js'
import { doAndPrint, done } from './desk.js'
import { shownWindow } from './shown-times.js'
import { printable, table } from './table.js'
import { readWindow, TIME_HELP } from './times.js'

interface QuoteResult { lot: string, from: string, to: string, minutes: number, priceCents: number, currency: string, tariff: string }
interface PermitResult { permit: string, name: string, priceCents: number, currency: string, stock: number }
interface SaleResult { sale: string, permit: string, plate: string, priceCents: number, currency: string, stock: number }

export function priceCommands (): Command[] {
  return [quoteCommand(), permitsCommand(), buyCommand()]
}

const QUOTE_HELP = `
The price is that of the lot's tariff as it is now, for 366 days at most. A quote takes no place: reserve and book do.
${TIME_HELP}

Examples:
  parkmq quote LOT-A --from 18:30 --for 2h
  parkmq quote LOT-A --from 2026-12-24T18:30 --to 2026-12-24T21:00
  parkmq quote LOT-A --from 2026-12-24T18:30+01:00 --to "2026-12-26 09:00"`

function quoteCommand (): Command {
  return withWindow(clientCommand('quote', 'tell what a stay in a lot costs')
    .argument('<lot>', 'id of the lot, such as LOT-A'))
    .addHelpText('after', QUOTE_HELP)
    .action(async (lot: string, options: ClientOptions & WindowOptions) => {
      const window = readWindow(options)
      if (window === null) throw new UsageError('quote needs --from with --to or --for, such as --from 18:30 --for 2h')
      await doAndPrint(options, async desk => await inWindow(desk, lot, window, async times => await done<QuoteResult>(await desk.call('quote', { lot, ...times }), async r =>
        `${r.lot} costs ${money(r.priceCents, r.currency)} for ${duration(r.minutes)}: ${shownWindow(r.from, r.to, await desk.calendars.toShow(lot), desk.nowMs())}, tariff ${r.tariff}`)))
    })
}

function permitsCommand (): Command {
  return clientCommand('permits', 'list the permits that are sold, with price and stock')
    .argument('[permit]', 'only this permit')
    .addHelpText('after', '\nA stock of 0 is sold out. Permits, their prices and how many there are come from the settings of the service.')
    .action(async (permit: string | undefined, options: ClientOptions) => {
      if (permit === undefined) await requestAndPrint<{ permits: PermitResult[] }>(options, 'permits', {}, ({ permits }) => permitTable(permits))
      else await requestAndPrint<PermitResult>(options, 'permit', { permit }, shown => permitTable([shown]))
    })
}

function permitTable (permits: readonly PermitResult[]): string {
  if (permits.length === 0) return 'no permits are sold here'
  const prices = permits.map(({ priceCents, currency }) => money(priceCents, currency))
  const width = Math.max(...prices.map(price => price.length))
  return table(['PERMIT', 'NAME', 'PRICE', 'STOCK'], permits.map(({ permit, name, stock }, i) => [permit, printable(name), prices[i]?.padStart(width) ?? null, stock]))
}

function buyCommand (): Command {
  return clientCommand('buy', 'buy a permit for a car')
    .argument('<permit>', 'id of the permit, such as MONTH; permits lists them')
    .argument('<plate>', 'number plate, such as ABC123')
    .addHelpText('after', '\nKeep the number of the sale (S-...): it is the receipt.\n\nExample:\n  parkmq buy MONTH ABC123')
    .action(async (permit: string, plate: string, options: ClientOptions) => {
      await requestAndPrint<SaleResult>(options, 'buyPermit', { permit, plate }, r =>
        `${r.sale}: ${r.permit} for ${r.plate}, ${money(r.priceCents, r.currency)}; ${r.stock} left`)
    })
}

/** Cents as `12.00 EUR`. Throws when they are no whole number from 0 on, which no price is. */
export function money (cents: number, currency: string): string {
  if (!Number.isSafeInteger(cents) || cents < 0) throw new Error(`the answer has the price ${String(cents)}, which is no whole number of cents`)
  const digits = String(cents).padStart(3, '0')
  return `${digits.slice(0, -2)}.${digits.slice(-2)} ${currency}`
}

/** Minutes as `1 d 2 h 30 min`, without the parts that are 0. */
export function duration (minutes: number): string {
  const hours = Math.floor(minutes / 60)
  const parts = [[Math.floor(hours / 24), 'd'], [hours % 24, 'h'], [minutes % 60, 'min']] as const
  return parts.flatMap(([count, unit]) => count === 0 ? [] : [`${count} ${unit}`]).join(' ') || '0 min'
}
