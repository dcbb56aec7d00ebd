// The client side of `monitor`: the states of one lot for a given time, over lost connections and restarts of the
// service, each of which is told. It never takes silence for "nothing has changed" when the time is over.
import type { MqttClient } from 'mqtt'
import { systemClock, type Clock, type Timer } from './clock.js'
import { messageOf } from './errors.js'
import { BadReplyError, TimeoutError, type Requester } from './requester.js'
import { firstIssue, MonitorMessage, type MonitorEnd, type Reply } from './schemas.js'

/** How long after its time the end of a monitor may still come, in milliseconds. */
const END_WITHIN_MS = 5_000
/** Least time between two tries to begin again, in milliseconds. */
const AGAIN_AFTER_MS = 1_000

export interface LotMonitorOptions {
  /** Connected, and one that connects again by itself. */
  readonly client: MqttClient
  readonly requester: Requester
  readonly lot: string
  /** The whole time, in seconds, over all connections. */
  readonly forSeconds: number
  /** Told of each state, the first one included, of every new beginning, and of the end. */
  readonly onMessage: (message: MonitorMessage) => void
  /** Told in words when nothing can be heard for a while. */
  readonly onTrouble: (words: string) => void
  /** Aborted by whoever has seen enough: the monitor is ended at the service as well. */
  readonly stop?: AbortSignal
  readonly clock?: Clock
}

export type LotMonitorResult =
  | { readonly type: 'ended', readonly why: MonitorEnd }
  /** The service does not begin it. */
  | { readonly type: 'refused', readonly reply: Extract<Reply, { ok: false }> }

/** How one stretch of listening ended. */
type Stretch =
  | LotMonitorResult
  | { readonly type: 'lost' }
  | { readonly type: 'stopped' }
  | { readonly type: 'late' }
  | { readonly type: 'failed', readonly error: Error }

/**
 * Monitors a lot until its time is over, `stop` is aborted, or the service ends or refuses it. A lost connection, a service
 * that stops, and one that does not answer are troubles: it is begun again for the time that is left. Throws what `Requester.follow`
 * throws when the first try fails, and `TimeoutError` when nothing could be heard at the end of the time.
 */
export async function monitorLot (options: LotMonitorOptions): Promise<LotMonitorResult> {
  const { client, requester, lot, forSeconds, onTrouble, stop, clock = systemClock } = options
  const untilMs = clock.nowMs() + forSeconds * 1_000
  for (let first = true; ; first = false) {
    const leftMs = untilMs - clock.nowMs()
    if (leftMs <= 0) throw timeIsOver(lot)
    const end = await listen(options, Math.ceil(leftMs / 1_000), first, clock)
    switch (end.type) {
      case 'ended':
        if (end.why !== 'stopping') return end
        onTrouble('the service stops')
        break
      case 'refused':
        // The service is there and cannot begin it now.
        if (end.reply.error.code !== 'unavailable' || first) return end
        break
      case 'stopped':
        // With the connection it ends by itself.
        if (client.connected) await requester.request('unmonitor', { lot }).catch((error: unknown) => onTrouble(messageOf(error)))
        return { type: 'ended', why: 'unmonitored' }
      case 'lost':
        onTrouble('the connection is lost; connecting again')
        break
      case 'late': throw timeIsOver(lot)
      case 'failed':
        if (first || !(end.error instanceof TimeoutError)) throw end.error
        onTrouble(end.error.message)
        break
      default: end satisfies never
    }
    await pause(clock, Math.min(AGAIN_AFTER_MS, untilMs - clock.nowMs()), stop)
  }
}

/** One `monitor` with all that follows it. */
async function listen ({ client, requester, lot, onMessage, stop }: LotMonitorOptions, forSeconds: number, isFirst: boolean, clock: Clock): Promise<Stretch> {
  /** Until then the request looks after the connection itself. */
  let isBegun = false
  let done = (): void => {}
  const stretch = new Promise<Stretch>(resolve => {
    const over = (): void => resolve({ type: 'late' })
    // The first begin takes as long as a request may take; those after it no longer than the monitor.
    let timer: Timer | null = isFirst ? null : clock.after(forSeconds * 1_000, over)
    const onClose = (): void => { if (isBegun) resolve({ type: 'lost' }) }
    const onStop = (): void => resolve({ type: 'stopped' })
    client.on('close', onClose)
    stop?.addEventListener('abort', onStop)
    if (stop?.aborted === true) onStop()
    const hear = (message: Reply | BadReplyError): void => {
      const parsed = parsedMessage(message)
      if (parsed instanceof Error) {
        resolve({ type: 'failed', error: parsed })
        return
      }
      if (!isBegun) {
        isBegun = true
        timer?.cancel()
        timer = clock.after(forSeconds * 1_000 + END_WITHIN_MS, over)
      }
      // A try of this same request that was late has replaced the one before.
      if (parsed.monitor === 'end' && parsed.why === 'replaced') return
      onMessage(parsed)
      if (parsed.monitor === 'end') resolve({ type: 'ended', why: parsed.why })
    }
    const following = requester.follow('monitor', { lot, forSeconds }, hear)
    following.then(({ reply }) => { if (!reply.ok) resolve({ type: 'refused', reply }) }, (error: unknown) => resolve({ type: 'failed', error: error instanceof Error ? error : new Error(messageOf(error)) }))
    done = () => {
      timer?.cancel()
      client.off('close', onClose)
      stop?.removeEventListener('abort', onStop)
      // Its failure was told above.
      following.then(({ end }) => end(), () => {})
    }
  })
  try {
    return await stretch
  } finally {
    done()
  }
}

function timeIsOver (lot: string): TimeoutError {
  return new TimeoutError(`the time is over, and what became of ${lot} at last is not known: its monitor told no end`)
}

function parsedMessage (message: Reply | BadReplyError): MonitorMessage | Error {
  if (message instanceof Error) return message
  if (!message.ok) return new BadReplyError(`the monitor was told ${message.error.code}: ${message.error.message}`)
  const parsed = MonitorMessage.safeParse(message.result)
  return parsed.success ? parsed.data : new BadReplyError(`what a monitor is told has not the shape of it: ${firstIssue(parsed.error)}`)
}

async function pause (clock: Clock, ms: number, stop: AbortSignal | undefined): Promise<void> {
  if (ms <= 0 || stop?.aborted === true) return
  await new Promise<void>(resolve => {
    const timer = clock.after(ms, over)
    function over (): void {
      timer.cancel()
      stop?.removeEventListener('abort', over)
      resolve()
    }
    stop?.addEventListener('abort', over)
  })
}
