// The shell's questions about prices and permits. Buying is asked about once more: it costs money.
import { confirm } from '@inquirer/prompts'
import { refusalText } from '../client.js'
import { done } from '../desk.js'
import { money } from '../prices.js'
import { shownWindow } from '../shown-times.js'
import { printable, table } from '../table.js'
import { resolveWindow } from '../times.js'
import { choose, chooseLot, choosePlate } from './choices.js'
import { report, type Shell } from './shell.js'
import { askWindow } from './when.js'

interface Quote { lot: string, from: string, to: string, priceCents: number, currency: string, tariff: string }
interface Permit { permit: string, name: string, priceCents: number, currency: string, stock: number }
interface Sale extends Omit<Permit, 'name'> { sale: string, plate: string }

export async function quoteStay (shell: Shell): Promise<void> {
  const { desk } = shell
  const lot = await chooseLot(shell)
  if (lot === null) return
  const window = await askWindow(shell)
  const calendar = await desk.calendars.of(lot)
  if (!calendar.ok) return shell.say(refusalText(calendar.error))
  const { from, to, notes } = resolveWindow(window, calendar.timeZone, desk.nowMs())
  for (const note of notes) shell.say(note)
  report(shell, await done<Quote>(await desk.call('quote', { lot, from, to }), r =>
    `${r.lot} costs ${money(r.priceCents, r.currency)}, ${shownWindow(r.from, r.to, calendar.timeZone, desk.nowMs())} (tariff ${r.tariff}); this takes no place`))
}

export async function showPermits (shell: Shell): Promise<void> {
  report(shell, await done<{ permits: Permit[] }>(await shell.desk.call('permits', {}), ({ permits }) =>
    permits.length === 0 ? 'no permits are sold here' : table(['PERMIT', 'NAME', 'PRICE', 'STOCK'], permits.map(permit => [permit.permit, printable(permit.name), money(permit.priceCents, permit.currency), permit.stock]))))
}

export async function buyPermit (shell: Shell): Promise<void> {
  const { desk, questions, say } = shell
  const reply = await desk.call('permits', {})
  if (!reply.ok) return say(refusalText(reply.error))
  const { permits } = reply.result as { permits: Permit[] }
  if (permits.length === 0) return say('no permits are sold here')
  const permit = await choose(shell, 'Which permit?', permits.map(one => ({ value: one, short: one.permit, name: `${one.permit}  ${printable(one.name)}, ${money(one.priceCents, one.currency)}, ${one.stock === 0 ? 'sold out' : `${one.stock} left`}` })))
  const plate = await choosePlate(shell)
  if (!await questions.ask(async context => await confirm({ message: `Buy ${permit.permit} for ${plate} for ${money(permit.priceCents, permit.currency)}?`, default: false }, context))) return say('nothing was bought')
  report(shell, await done<Sale>(await desk.call('buyPermit', { permit: permit.permit, plate }), r =>
    `${r.sale}: ${r.permit} for ${r.plate}, ${money(r.priceCents, r.currency)}; ${r.stock} left. Keep the number of the sale: it is the receipt`))
}
