// Watching a lot for a while: a line for each change, until its time is over or Ctrl-C.
import { monitorLot as monitor } from '../../shared/lot-monitor.js'
import { MAX_MONITOR_SECONDS } from '../../shared/schemas.js'
import { refusalText, seconds, UsageError } from '../client.js'
import { endOf, lineOf } from '../monitor.js'
import { chooseLot } from './choices.js'
import type { Shell } from './shell.js'
import { askFor } from './when.js'

export async function monitorLot (shell: Shell): Promise<void> {
  const { desk, requester, say } = shell
  const lot = await chooseLot(shell)
  if (lot === null) return
  const forSeconds = await askFor(shell, 'For how long? (90s, 15m, 2h)', readLength, '5m')
  say('each change is a line; Ctrl-C ends')
  const result = await shell.lasting(async stop => await monitor({
    client: desk.client, requester, lot, forSeconds, stop,
    onMessage: message => say(message.monitor === 'end' ? endOf(message) : lineOf(message)),
    onTrouble: say
  }))
  if (result.type === 'refused') say(refusalText(result.reply.error))
}

function readLength (text: string): number {
  const length = seconds(text, '')
  if (length < 1 || length > MAX_MONITOR_SECONDS) throw new UsageError(`${text} is not between 1s and ${MAX_MONITOR_SECONDS / 3_600}h`)
  return length
}
