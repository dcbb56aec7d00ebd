// The operators' acts on lots, inside a transaction.
import type { Id, Lot } from '../../shared/lot.js'
import type { NewLot, RequestBody } from '../../shared/schemas.js'
import { carsByBays, lapsedBays, listBays, listedBays } from '../../storage/bays.js'
import { lockNames } from '../../storage/locks.js'
import type { Ledger } from '../../storage/ledger.js'
import type { Cause, LedgerTransaction } from '../../storage/transaction.js'
import { decided, refuse, type Decision } from './core.js'
import { changeLot, newLot, settingsOf, unknownTariff } from './lot-settings.js'
import { hasLiveReservations } from './store.js'
import { unknownLot } from './work.js'

/** What the settings say of lots that do not say it themselves. */
export interface LotDefaults {
  readonly timeZone: string
  /** Names of the tariffs. */
  readonly tariffs: readonly string[]
}

export async function addLot (tx: LedgerTransaction, settings: NewLot, { timeZone, tariffs }: LotDefaults, cause: Cause): Promise<Decision<Lot>> {
  if (tx.lot(settings.lot)) return refuse('lot_exists', `the lot ${settings.lot} is there already; change it with lot.set`)
  const wrong = unknownTariff(settings.tariff, tariffs)
  if (wrong) return wrong
  // Numbers that a removed lot of the same id had are never used again: another node may still know windows by them.
  const lot = { ...newLot(settings, timeZone), windowsVersion: tx.nowMs }
  tx.setLot(lot)
  await listBays(tx.database, lot.id, settings.bays, tx.nowMs)
  tx.lotsWithChangedBays.add(lot.id)
  tx.audit({ lot: lot.id, type: 'lot.added', ...cause, after: { ...settingsOf(lot), counted: lot.counted } })
  return decided(lot)
}

export async function setLot (tx: LedgerTransaction, change: RequestBody<'lot.set'>, { tariffs }: LotDefaults, cause: Cause): Promise<Decision<Lot>> {
  const lot = tx.lot(change.lot)
  if (!lot) return unknownLot(change.lot)
  const bays = change.bays ?? await listedBays(tx.database, lot.id)
  const changed = changeLot(lot, change, bays, tariffs)
  if (!changed.ok) return changed
  if (change.bays) {
    await listBays(tx.database, lot.id, change.bays, tx.nowMs)
    tx.lotsWithChangedBays.add(lot.id)
  }
  // Other bays give another count: one that nobody has vouched for is not given away.
  const bySettings = changed.value.baysCover && (change.bays !== undefined || !lot.baysCover)
  const counted = bySettings ? { ...changed.value, counted: await carsByBays(tx.database, lot.id) } : changed.value
  // One that is no longer listed is missed by nobody.
  const next = change.bays ? { ...counted, lapsedBays: await lapsedBays(tx.database, lot.id) } : counted
  tx.setLot(next)
  tx.audit({ lot: lot.id, type: 'lot.changed', ...cause, before: { ...settingsOf(lot), counted: lot.counted }, after: { ...settingsOf(next), counted: next.counted } })
  return decided(next)
}

export function openLot (tx: LedgerTransaction, id: Id, open: boolean, cause: Cause): Decision<Lot> {
  const lot = tx.lot(id)
  if (!lot) return unknownLot(id)
  const next = { ...lot, open }
  if (lot.open !== open) {
    tx.setLot(next)
    tx.audit({ lot: id, type: open ? 'lot.opened' : 'lot.closed', ...cause })
  }
  return decided(next)
}

export async function removeLot (tx: LedgerTransaction, id: Id, cause: Cause): Promise<Decision<Lot>> {
  const lot = tx.lot(id)
  if (!lot) return unknownLot(id)
  await tx.flush()
  if (await hasLiveReservations(tx.database, id)) return refuse('lot_in_use', `the lot ${id} has live reservations; cancel them or wait until they end, then remove it`)
  await tx.removeLot(id)
  tx.audit({ lot: id, type: 'lot.removed', ...cause, before: settingsOf(lot) })
  return decided(lot)
}

const SEEDED = 'lots_made_from_settings'

/** Makes the lots of the settings that this ledger has not seen there before. A lot that was removed stays removed. */
export async function seedLots (ledger: Ledger, lots: readonly NewLot[], defaults: LotDefaults): Promise<void> {
  await ledger.transact('settings', async tx => {
    const { kysely } = tx.database
    // Nodes may start together.
    await lockNames(tx.database, [SEEDED])
    const row = await kysely.selectFrom('meta').select('value').where('key', '=', SEEDED).executeTakeFirst()
    const seen = new Set(row ? JSON.parse(row.value) as string[] : [])
    const fresh = lots.filter(lot => !seen.has(lot.lot))
    if (fresh.length === 0) return
    await tx.load(fresh.map(lot => lot.lot))
    for (const settings of fresh) {
      // One that an operator made before it came into the settings stays as it is.
      if (!tx.lot(settings.lot)) await addLot(tx, settings, defaults, { who: 'settings' })
      seen.add(settings.lot)
    }
    const value = JSON.stringify([...seen])
    await kysely.insertInto('meta').values({ key: SEEDED, value }).onConflict(c => c.column('key').doUpdateSet({ value })).execute()
  })
}
