// The bays that a lot's settings list. What the sensors say of them is the occupancy service's.
import { selectByKeys, upsert, type Database } from './rows.js'
import type { Id } from '../shared/lot.js'
import type { BaysTable } from './tables.js'

/** The ids of a lot's listed bays. */
export async function listedBays (database: Database, lot: Id): Promise<Id[]> {
  const rows = await selectByKeys(database, 'bays', ['lot', 'listed'], [[lot, 1]])
  return rows.map(row => row.bay).sort()
}

/** Cars by a lot's listed bays: those taken, and those that nobody can vouch for. */
export async function carsByBays (database: Database, lot: Id): Promise<number> {
  const rows = await selectByKeys(database, 'bays', ['lot', 'listed'], [[lot, 1]])
  return rows.filter(row => row.state !== 'free').length
}

/** How many bays of a lot nobody vouches for any more. */
export async function lapsedBays (database: Database, lot: Id): Promise<number> {
  return (await selectByKeys(database, 'bays', ['lot', 'lapsed'], [[lot, 1]])).length
}

/** Makes exactly `bays` the listed bays of a lot: new ones are `unknown`, those no longer listed are forgotten. */
export async function listBays (database: Database, lot: Id, bays: readonly Id[], nowMs: number): Promise<void> {
  const known = new Map((await selectByKeys(database, 'bays', ['lot'], [[lot]])).map(row => [row.bay, row]))
  const wanted = new Set(bays)
  const gone = [...known.keys()].filter(bay => !wanted.has(bay))
  if (gone.length > 0) await database.kysely.deleteFrom('bays').where('lot', '=', lot).where('bay', 'in', gone).execute()
  await upsert(database, 'bays', ['lot', 'bay'], bays.map((bay): BaysTable => {
    const row = known.get(bay)
    return row ? { ...row, listed: 1 } : { lot, bay, state: 'unknown', listed: 1, lapsed: 0, sensor: null, epoch: 0, seq: 0, changed_at_ms: nowMs }
  }))
}
