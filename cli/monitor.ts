// `parkmq monitor`: one lot for a while, a line for each change, by the request `monitor`. It ends at the service as well
// when it is told to, and says when it cannot hear.
import type { Command } from 'commander'
import { monitorLot } from '../shared/lot-monitor.js'
import { brokerOf } from '../shared/mqtt-client.js'
import { MAX_MONITOR_SECONDS, type MonitorEnd, type MonitorMessage } from '../shared/schemas.js'
import { clientCommand, printReply, seconds, UsageError, withService, type ClientOptions } from './client.js'
import { local } from './table.js'

const WHY = {
  expired: 'its time is over',
  unmonitored: 'it was ended',
  replaced: 'another monitor has taken its place',
  lot_removed: 'the lot was removed',
  stopping: 'the service stops'
}

export function monitorCommand (): Command {
  return clientCommand('monitor', 'tell every change of one lot for a while, a line each')
    .argument('<lot>', 'id of the lot, such as LOT-A')
    .option('--for <time>', 'how long, such as 90s, 20m or 2h, at most 24h', '20m')
    .addHelpText('after', '\nA line: time, lot, free places of all, open or closed, and how far the count can be trusted.\nCtrl-C ends it. `watch` shows all lots until Ctrl-C.\n\nExample:\n  parkmq monitor LOT-A --for 2h')
    .action(async (lot: string, { for: time, ...options }: ClientOptions & { for: string }) => {
      const forSeconds = seconds(time, '--for')
      if (forSeconds < 1 || forSeconds > MAX_MONITOR_SECONDS) throw new UsageError(`--for ${time} is not from 1s to 24h`)
      await monitor(lot, forSeconds, options)
    })
}

async function monitor (lot: string, forSeconds: number, options: ClientOptions): Promise<void> {
  const stop = new AbortController()
  const onSignal = (): void => stop.abort()
  const result = await withService(options, async (_, client, requester) => {
    // The second one ends it at once.
    process.once('SIGINT', onSignal).once('SIGTERM', onSignal)
    return await monitorLot({
      client, requester, lot, forSeconds,
      stop: stop.signal,
      onMessage: message => print(message, options),
      onTrouble: words => process.stderr.write(`${brokerOf(client)}: ${words}\n`)
    })
  }, { reconnect: true })
  if (result.type === 'refused') printReply(options, result.reply, () => '')
}

function print (message: MonitorMessage, { json }: ClientOptions): void {
  if (json) process.stdout.write(`${JSON.stringify(message)}\n`)
  else if (message.monitor !== 'end') process.stdout.write(`${lineOf(message)}\n`)
  else if (message.why !== 'unmonitored' && message.why !== 'stopping') process.stderr.write(`${endOf(message.lot, message.why)}\n`)
}

/** The end of a monitor in words. */
export function endOf (lot: string, why: MonitorEnd): string {
  return `the monitor of ${lot} has ended: ${WHY[why]}`
}

/** One change of a lot, or its state at the beginning. */
export function lineOf ({ at, lot, free, capacity, open, quality }: Exclude<MonitorMessage, { monitor: 'end' }>): string {
  return `${local(at)} ${lot} ${free}/${capacity} ${open ? 'open' : 'closed'} ${quality}`
}
