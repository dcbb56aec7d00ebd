// What one node tells the others by NOTIFY: ids of lots with their versions, and nothing of what is in them. A notification
// carries less than 8,000 bytes, so much is told in several.
import { z } from 'zod'
import { Id } from '../shared/schemas.js'
import type { News } from './nodes.js'

const MOST_BYTES = 7_900
/** An id has at most 64 bytes; with its version, quotes and commas, and once more among those with bays. */
const BYTES_A_LOT = 170

const Message = z.object({
  from: z.string().max(64),
  /** A lot that was removed has no version. */
  lots: z.array(z.tuple([Id, z.int().nullable()])),
  bays: z.array(Id),
  notices: z.boolean(),
  /** A node of an older version does not say. */
  events: z.boolean().default(true)
})

export interface Told extends News {
  readonly from: string
}

/** The payloads that tell all of this; at least one. */
export function messagesOf (from: string, { lots, withBays, hasNotices, hasEvents }: News): string[] {
  const lotsAtOnce = Math.floor(MOST_BYTES / BYTES_A_LOT)
  const all = [...lots]
  const messages: string[] = []
  for (let at = 0; at === 0 || at < all.length; at += lotsAtOnce) {
    const some = all.slice(at, at + lotsAtOnce)
    const bays = some.flatMap(([lot]) => withBays.has(lot) ? [lot] : [])
    messages.push(JSON.stringify({ from, lots: some, bays, notices: hasNotices && at === 0, events: hasEvents && at === 0 } satisfies z.input<typeof Message>))
  }
  return messages
}

/** Null for what is none: any user of the database may notify. */
export function parseMessage (payload: string): Told | null {
  try {
    const parsed = Message.safeParse(JSON.parse(payload))
    if (!parsed.success) return null
    const { from, lots, bays, notices, events } = parsed.data
    return { from, lots: new Map(lots), withBays: new Set(bays), hasNotices: notices, hasEvents: events }
  } catch {
    return null
  }
}
