// Watching a lot for a while: a line for each change, until its time is over or Ctrl-C.
import { setTimeout } from 'node:timers/promises'
import { z } from 'zod'
import { MAX_MONITOR_SECONDS } from '../../shared/schemas.js'
import { refusalText, seconds, UsageError } from '../client.js'
import { hearResults } from '../notices.js'
import { chooseLot } from './choices.js'
import type { Shell } from './shell.js'
import { askFor } from './when.js'

const Message = z.discriminatedUnion('monitor', [
  z.object({ monitor: z.enum(['started', 'update']), lot: z.string(), free: z.number(), capacity: z.number(), open: z.boolean(), quality: z.string(), version: z.number() }),
  z.object({ monitor: z.literal('end'), lot: z.string(), why: z.string().optional() })
])
type Message = z.infer<typeof Message>

/** How long after its time the last message may still come, in milliseconds. */
const GRACE_MS = 5_000

export async function monitorLot (shell: Shell): Promise<void> {
  const { desk, say } = shell
  const lot = await chooseLot(shell)
  if (lot === null) return
  const forSeconds = await askFor(shell, 'For how long? (90s, 15m, 2h)', readLength, '5m')
  let end: ((message: Message | null) => void) = () => {}
  let version = -1
  const unhear = hearResults(desk.client, result => {
    const message = Message.safeParse(result)
    if (!message.success || message.data.lot !== lot) return
    if (message.data.monitor === 'end') return end(message.data)
    // At least once, and an update may pass the reply.
    if (message.data.version <= version) return
    version = message.data.version
    const { free, capacity, open, quality } = message.data
    say(`${new Date().toLocaleTimeString('sv-SE')}  ${lot}  ${open ? `${free} of ${capacity} free` : 'closed'}${quality === 'live' ? '' : ` (${quality})`}`)
  })
  try {
    const ended = new Promise<Message | null>(resolve => { end = resolve })
    const reply = await desk.call('monitor', { lot, forSeconds })
    if (!reply.ok) return say(refusalText(reply.error))
    say('each change is a line; Ctrl-C ends')
    const last = await shell.lasting(async signal => {
      const late = setTimeout(forSeconds * 1_000 + GRACE_MS, null, { signal }).catch(() => null)
      return await Promise.race([ended, late])
    })
    if (last?.monitor === 'end') return say(`the monitor of ${lot} has ended${last.why === undefined ? '' : ` (${last.why.replaceAll('_', ' ')})`}`)
    const stopped = await desk.call('unmonitor', { lot })
    say(stopped.ok ? `the monitor of ${lot} has ended` : refusalText(stopped.error))
  } finally {
    unhear()
  }
}

function readLength (text: string): number {
  const length = seconds(text, '')
  if (length < 1 || length > MAX_MONITOR_SECONDS) throw new UsageError(`${text} is not between 1s and ${MAX_MONITOR_SECONDS / 3_600}h`)
  return length
}
