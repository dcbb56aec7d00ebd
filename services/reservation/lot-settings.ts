// A lot as operators make and change it. Pure.
import type { Id, Lot } from '../../shared/lot.js'
import type { NewLot, RequestBody } from '../../shared/schemas.js'
import { decided, refuse, type Decision } from './core.js'

/** A new lot. `quality` is worked out when it is written; `timeZone` is for a lot that names none. */
export function newLot (settings: NewLot, timeZone: string): Lot {
  return {
    id: settings.lot,
    name: settings.name ?? settings.lot,
    capacity: settings.capacity,
    buffer: settings.buffer,
    // Where bays give the count, one that nobody has vouched for is not given away.
    counted: settings.occupied ?? (settings.baysCover ? settings.bays.length : 0),
    held: 0,
    arriving: 0,
    open: settings.open,
    counting: settings.counting,
    baysCover: settings.baysCover,
    suspect: false,
    heardAtMs: null,
    absolute: null,
    corrected: null,
    lapsedBays: 0,
    quality: 'unknown',
    version: 0,
    changedAtMs: 0,
    dueAtMs: null,
    waiting: 0,
    windowsVersion: 0,
    timeZone: settings.timeZone ?? timeZone,
    tariff: settings.tariff
  }
}

/** A lot with some settings changed. `bays` are the lot's listed bays after the change, `tariffs` those that there are. */
export function changeLot (lot: Lot, change: RequestBody<'lot.set'>, bays: readonly Id[], tariffs: readonly string[]): Decision<Lot> {
  const next: Lot = {
    ...lot,
    name: change.name ?? lot.name,
    capacity: change.capacity ?? lot.capacity,
    buffer: change.buffer ?? lot.buffer,
    counting: change.counting ?? lot.counting,
    baysCover: change.baysCover ?? lot.baysCover,
    timeZone: change.timeZone ?? lot.timeZone,
    tariff: change.tariff ?? lot.tariff
  }
  if (next.buffer > next.capacity) return refuse('bad_request', `buffer: ${next.buffer} is above the capacity ${next.capacity}`)
  if (next.baysCover && bays.length === 0) return refuse('bad_request', 'baysCover needs the list of bays')
  const wrong = change.tariff === undefined ? null : unknownTariff(change.tariff, tariffs)
  return wrong ?? decided(next)
}

/** Null if there is this tariff. `standard` is every lot's without another, also where there is none. */
export function unknownTariff (tariff: string, tariffs: readonly string[]): ReturnType<typeof refuse> | null {
  if (tariff === 'standard' || tariffs.includes(tariff)) return null
  return refuse('bad_request', `tariff: there is no tariff ${tariff} in the settings; there are ${tariffs.join(', ') || 'none'}`)
}

/** What of a lot's settings the audit and the operator see. */
export function settingsOf (lot: Lot): Record<string, unknown> {
  const { name, capacity, buffer, counting, baysCover, open, timeZone, tariff } = lot
  return { name, capacity, buffer, counting, baysCover, open, timeZone, tariff }
}
