// `lots`, `recount` and the operator's `lot ...`.
import { Command } from 'commander'
import type { Reply } from '../shared/schemas.js'
import { clientCommand, printReply, requestAndPrint, UsageError, wholeNumber, withService, type Call, type ClientOptions } from './client.js'
import { table } from './table.js'

export interface LotResult {
  lot: string
  name: string
  capacity: number
  buffer: number
  occupied: number
  counted: number
  held: number
  free: number
  open: boolean
  counting: string
  timeZone: string
  tariff: string
  quality: string
  version: number
}

export function lotCommands (): Command[] {
  return [lotsCommand(), recountCommand(), lotCommand()]
}

/** All pages of `lots` or `availability`, or the first refusal. */
export async function allPages<L> (call: Call, method: 'lots' | 'availability', lot?: string): Promise<Reply> {
  const lots: L[] = []
  let after: string | undefined
  for (;;) {
    const reply = await call(method, lot === undefined ? { after } : { lot })
    if (!reply.ok) return reply
    const page = reply.result as { lots: L[], next?: string }
    lots.push(...page.lots)
    if (page.next === undefined) return { ok: true, result: { lots } }
    after = page.next
  }
}

function lotsCommand (): Command {
  return clientCommand('lots', 'list the lots with their counts')
    .argument('[lot]', 'only this lot')
    .action(async (lot: string | undefined, options: ClientOptions) => {
      printReply<{ lots: LotResult[] }>(options, await withService(options, async call => await allPages<LotResult>(call, 'lots', lot)), ({ lots }) => lotTable(lots))
    })
}

export function lotTable (lots: readonly Pick<LotResult, 'lot' | 'name' | 'capacity' | 'occupied' | 'held' | 'free' | 'open' | 'quality'>[]): string {
  if (lots.length === 0) return 'no lots; make one with `parkmq lot add`'
  return table(['LOT', 'NAME', 'CAPACITY', 'OCCUPIED', 'HELD', 'FREE', 'OPEN', 'QUALITY'],
    lots.map(l => [l.lot, l.name, l.capacity, l.occupied, l.held, l.free, l.open ? 'open' : 'closed', l.quality]))
}

function recountCommand (): Command {
  return clientCommand('recount', 'set the count of a lot to what somebody counted')
    .argument('<lot>', 'id of the lot')
    .argument('<occupied>', 'cars in the lot')
    .addHelpText('after', '\nExample:\n  parkmq recount LOT-A 37')
    .action(async (lot: string, occupied: string, options: ClientOptions) => {
      await requestAndPrint<{ lot: string, occupied: number, drift: number }>(options, 'recount', { lot, occupied: wholeNumber(occupied, 'occupied') },
        r => `${r.lot} has ${r.occupied} cars; the count was ${drift(r.drift)}`)
    })
}

function drift (cars: number): string {
  return cars === 0 ? 'right' : `${Math.abs(cars)} too ${cars > 0 ? 'high' : 'low'}`
}

interface LotOptions extends ClientOptions {
  name?: string
  capacity?: string
  occupied?: string
  buffer?: string
  counting?: string
  bays?: string
  baysCover?: boolean
  timeZone?: string
  tariff?: string
  closed?: boolean
}

function lotCommand (): Command {
  const shown = (r: LotResult): string => lotTable([r])
  const withPlace = (r: LotResult): string => `${shown(r)}\ntime zone ${r.timeZone}, tariff ${r.tariff}`
  const act = (name: string, description: string, show: (r: LotResult) => string): Command => clientCommand(name, description)
    .argument('<lot>', 'id of the lot')
    .action(async (lot: string, options: ClientOptions) => { await requestAndPrint(options, `lot.${name}`, { lot }, show) })
  return new Command('lot')
    .description('make and change lots (for operators)')
    .addCommand(withSettings(clientCommand('add', 'make a lot'))
      .option('--occupied <cars>', 'cars in it now')
      .option('--closed', 'make it closed')
      .addHelpText('after', '\nExamples:\n  parkmq lot add LOT-E --capacity 60 --occupied 12 --name "Harbour"\n  parkmq lot add LOT-F --capacity 3 --bays F-1,F-2,F-3 --bays-cover\n  parkmq lot add LOT-G --capacity 20 --time-zone Europe/Lisbon --tariff standard')
      .action(async (lot: string, options: LotOptions) => {
        if (options.capacity === undefined) throw new UsageError('lot add needs --capacity')
        await requestAndPrint(options, 'lot.add', { lot, ...settings(options), ...(options.closed && { open: false }) }, withPlace)
      }))
    .addCommand(withSettings(clientCommand('set', 'change a lot'))
      .addHelpText('after', '\nReservations stay at their instants when the time zone changes.\n\nExample:\n  parkmq lot set LOT-E --capacity 80 --time-zone Europe/Berlin')
      .action(async (lot: string, options: LotOptions) => {
        const change = settings(options)
        if (Object.keys(change).length === 0) throw new UsageError('lot set needs something to change, such as --capacity; --help lists it')
        await requestAndPrint(options, 'lot.set', { lot, ...change }, withPlace)
      }))
    .addCommand(act('open', 'open a lot', shown))
    .addCommand(act('close', 'close a lot: nothing is free there, reservations stay', shown))
    .addCommand(act('remove', 'remove a lot without live reservations', r => `${r.lot} is removed`))
}

function withSettings (command: Command): Command {
  return command
    .argument('<lot>', 'id of the lot: letters, digits, . _ -')
    .option('--name <name>', 'its name for people')
    .option('--capacity <places>', 'places in all')
    .option('--buffer <places>', 'places that newcomers never get')
    .option('--counting <by>', 'who counts the cars: sensors, or requests (arrive and depart)')
    .option('--bays <ids>', 'its bays, separated by commas')
    .option('--bays-cover', 'the bays are all its places and give the count')
    .option('--no-bays-cover', 'the bays are only shown')
    .option('--time-zone <name>', 'the time zone of its calendar, such as Europe/Berlin; a new lot has that of the settings')
    .option('--tariff <name>', 'what parking costs: the name of a tariff of the settings; a new lot has `standard`')
}

function settings (options: LotOptions): Record<string, unknown> {
  const number = (key: 'capacity' | 'occupied' | 'buffer'): object => options[key] === undefined ? {} : { [key]: wholeNumber(options[key], `--${key}`) }
  return {
    ...number('capacity'),
    ...number('occupied'),
    ...number('buffer'),
    ...(options.name !== undefined && { name: options.name }),
    ...(options.counting !== undefined && { counting: options.counting }),
    ...(options.bays !== undefined && { bays: options.bays.split(',').map(bay => bay.trim()).filter(bay => bay !== '') }),
    ...(options.baysCover !== undefined && { baysCover: options.baysCover }),
    ...(options.timeZone !== undefined && { timeZone: options.timeZone }),
    ...(options.tariff !== undefined && { tariff: options.tariff })
  }
}
