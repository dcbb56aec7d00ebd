// What the simulator asks the reservation service: which lots there are, to make the lots of a recording, and at the end
// what each lot counts.
import { z } from 'zod'
import { OperatorError } from '../../shared/errors.js'
import type { Id } from '../../shared/lot.js'
import { firstIssue, Id as IdSchema, type Reply } from '../../shared/schemas.js'
import type { RecordedLot } from './replay.js'

/** The part of a requester (`shared/requester.ts`) that is used here: it throws when nobody answers. */
export interface Asking {
  request (method: string, body: Record<string, unknown>): Promise<Reply>
}

const KnownLot = z.object({ lot: IdSchema, name: z.string(), capacity: z.int(), counted: z.int() })
/** A lot as the service knows it. */
export type KnownLot = z.infer<typeof KnownLot>

/** One page of the `lots` reply; `next` is there when more lots follow. */
const LotsResult = z.object({ lots: z.array(KnownLot), next: IdSchema.optional() })

/** All lots of the service, by id. Throws `OperatorError` with the service's code, or `bad_reply`. */
export async function askLots (asking: Asking): Promise<KnownLot[]> {
  const lots: KnownLot[] = []
  for (let after: Id | undefined; ;) {
    const result = LotsResult.safeParse(resultOf('lots', await asking.request('lots', after === undefined ? {} : { after })))
    if (!result.success) throw new OperatorError('bad_reply', `the answer to \`lots\` is not what parkmq answers: ${firstIssue(result.error)}`)
    lots.push(...result.data.lots)
    if (result.data.next === undefined || result.data.next === after) return lots
    after = result.data.next
  }
}

/**
 * Those of `lots` that are named, all for no names. Throws `OperatorError` (`unknown_lot`) for a name that is not there,
 * and when no lot is left.
 */
export function chooseLots (lots: readonly KnownLot[], names: readonly Id[] | undefined): readonly KnownLot[] {
  const there = lots.map(lot => lot.lot).slice(0, 20).join(', ')
  if (lots.length === 0) throw new OperatorError('unknown_lot', 'the service has no lots; make one with `parkmq lot add`, or replay a file with --create-lots')
  if (names === undefined) return lots
  const byId = new Map(lots.map(lot => [lot.lot, lot]))
  return names.map(name => {
    const lot = byId.get(name)
    if (!lot) throw new OperatorError('unknown_lot', `there is no lot ${name}; there are ${there}${lots.length > 20 ? ', ...' : ''}`)
    return lot
  })
}

/**
 * Makes the lots of a recording, each with its first sample as its count; a lot that is there already is left as it is.
 * `fallbackCapacity` is for lots whose rows have no capacity. Returns the count of each lot that it made (0 where the
 * first sample is below 0, which no lot may begin with). Throws `OperatorError` with the service's code.
 */
export async function createLots (asking: Asking, lots: readonly RecordedLot[], fallbackCapacity: number | undefined): Promise<Map<Id, number>> {
  for (const { name, capacity } of lots) {
    if (capacity === null && fallbackCapacity === undefined) {
      throw new OperatorError('bad_file', `the file has no capacity for ${JSON.stringify(name)}; give one for all such lots with --capacity N`)
    }
  }
  const made = new Map<Id, number>()
  for (const { id, name, capacity, samples } of lots) {
    const occupied = Math.max(0, samples[0]?.occupied ?? 0)
    const reply = await asking.request('lot.add', { lot: id, name: name.slice(0, 100), capacity: capacity ?? fallbackCapacity, occupied })
    if (!reply.ok && reply.error.code === 'lot_exists') continue
    resultOf('lot.add', reply)
    made.set(id, occupied)
  }
  return made
}

/** One lot of the comparison at the end. */
export interface Verified {
  readonly lot: Id
  readonly expected: number
  /** null: the service has no such lot. */
  readonly counted: number | null
}

/** Asks the service what each lot counts, beside what it should count. */
export async function verifyLots (asking: Asking, expected: ReadonlyMap<Id, number>): Promise<Verified[]> {
  const counted = new Map((await askLots(asking)).map(lot => [lot.lot, lot.counted]))
  return [...expected].map(([lot, cars]) => ({ lot, expected: cars, counted: counted.get(lot) ?? null }))
}

function resultOf (method: string, reply: Reply): unknown {
  if (reply.ok) return reply.result
  throw new OperatorError(reply.error.code, `\`${method}\` was refused: ${reply.error.code}: ${reply.error.message}`)
}
