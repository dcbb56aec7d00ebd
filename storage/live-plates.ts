// The live reservations of plates: what a request that names a plate, or a gate that has read one, is about.
import type { Id } from '../shared/lot.js'
import type { Question } from './questions.js'
import { byKeys, type Database } from './rows.js'
import type { ReservationsTable } from './tables.js'

export function livePlates (database: Database, plates: readonly (readonly [Id, string])[]): Question<ReservationsTable[]> {
  return byKeys(database, 'reservations', ['lot', 'plate'], plates, { where: 't.due_at_ms is not null', index: 'reservations_live_plate' })
}
