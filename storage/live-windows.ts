// Reads the windows of lots' reservations: those that count against their places now or later (`windowOf`).
import { sql } from 'kysely'
import type { Id } from '../shared/lot.js'
import type { Window } from '../shared/windows.js'
import type { Database } from './rows.js'

/**
 * The windows by lot; none of a lot without any. They come as two arrays a lot, since a row each costs ten times as much
 * where a lot has a hundred thousand.
 */
export async function liveWindows ({ kysely, engine }: Database, lots: readonly Id[]): Promise<Map<Id, Window[]>> {
  const array = sql.raw(engine === 'sqlite' ? 'json_group_array' : 'json_agg')
  const { rows } = await sql<{ lot: Id, froms: string | number[], tos: string | number[] }>`
    select lot, ${array}(from_ms) as froms, ${array}(to_ms) as tos from reservations
    where lot in (${sql.join(lots)}) and due_at_ms is not null and status <> 'waiting' and from_ms < to_ms group by lot`.execute(kysely)
  return new Map(rows.map(({ lot, froms, tos }) => {
    const ends = numbers(tos)
    return [lot, numbers(froms).map((fromMs, at) => ({ fromMs, toMs: ends[at] ?? fromMs }))]
  }))
}

function numbers (json: string | number[]): number[] {
  return typeof json === 'string' ? JSON.parse(json) as number[] : json
}
