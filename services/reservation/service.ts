// The reservation service: answers the requests on `requests/{method}`, and by itself lets due reservations go on, gives
// places to those who wait, and tells them and those who monitor a lot. It never publishes a lot's count: that is occupancy's, driven by the change
// feed.
import type { Delivery } from '../../shared/bus.js'
import { every } from '../../shared/every.js'
import { Pump } from '../../shared/pump.js'
import { isMethod, READ_ONLY } from '../../shared/schemas.js'
import { methodOfRequestTopic, REQUEST_FILTER, topics } from '../../shared/topics.js'
import { RequestIntake, rulesOf, type IntakeParts } from './intake.js'
import { Monitors } from './monitors.js'
import { startNotices } from './notices.js'
import { applyDue, forgetting, giveFreePlaces, readLargeLots } from './timers.js'

/** Requests are told `unavailable` after this; a sensor's message may wait longer. */
const HOLD_REQUESTS_MS = 2_000
/** Timers make due transitions prompt; every transaction applies them first anyway. */
const DUE_EVERY_MS = 200
const PRUNE_EVERY_MS = 60_000
/** A busy lot with a waiting list changes a thousand times a second: those who wait are looked at so often at most. */
const PROMOTE_REST_MS = 50

/** Requests that are answered in one transaction. */
const MOST_REQUESTS = 500
/** The same on a database: each locks up to three names there, and PostgreSQL has room for 6,400 in all unless it is told otherwise. */
const MOST_REQUESTS_SHARED = 100

export type ReservationParts = IntakeParts

export interface RunningService { stop (): Promise<void> }

/** The whole service over one bus. */
export async function startReservation (parts: ReservationParts): Promise<RunningService> {
  const timers = await startTimers(parts)
  const answering = await startAnswering(parts)
  const status = topics.serviceStatus('reservation', parts.config.node)
  await parts.bus.publish(status, 'online', { retain: true })
  return {
    async stop () {
      await timers.stop()
      await answering.stop()
      await parts.bus.publish(status, 'offline', { retain: true })
    }
  }
}

/** What needs no request: due transitions, places for those who wait, forgetting. Any number of processes may do it at once. */
export async function startTimers (parts: Omit<ReservationParts, 'bus' | 'version'>): Promise<RunningService> {
  const { ledger, clock, config } = parts
  const log = parts.log.child({ service: 'reservation' })
  const rules = rulesOf(config)
  const onError = (err: unknown): void => log.error({ err }, 'places could not be given to those who wait; trying again')
  // What came due while nobody ran is applied before the first request.
  await applyDue(ledger, log)
  await readLargeLots(ledger)
  const promoting = new Pump({ clock, work: async () => await giveFreePlaces(ledger, rules, log), onError, restMs: PROMOTE_REST_MS })
  const unlisten = ledger.feed.listen(() => promoting.wake())
  promoting.wake()
  const tasks = [
    every(DUE_EVERY_MS, 'due reservations', clock, log, async () => await applyDue(ledger, log)),
    every(PRUNE_EVERY_MS, 'forgetting', clock, log, forgetting(ledger, config.times))
  ]
  return {
    async stop () {
      unlisten()
      await Promise.all(tasks.map(task => task.stop()))
      await promoting.stop()
    }
  }
}

/** Requests, their replies, and what is told to those who monitor or wait. On one broker, one process at a time. */
export async function startAnswering (parts: ReservationParts): Promise<RunningService> {
  const { bus, ledger, clock, metrics, config, fence } = parts
  const log = parts.log.child({ service: 'reservation' })
  const monitors = new Monitors({ bus, ledger, clock, log, metrics, limits: config.limits })
  const answering = new RequestIntake({ ...parts, log }, monitors)
  const notices = startNotices({ bus, ledger, clock, log, metrics, fence })
  const stop = async (): Promise<void> => {
    await notices.stop()
    await monitors.stop()
  }
  try {
    await bus.consume(REQUEST_FILTER, {
      handle: async batch => await answering.handle(batch),
      abandon: async batch => await answering.abandon(batch),
      dropped: delivery => answering.failed(delivery),
      waitsForCommit: mayChange,
      takesTurns: true,
      holdMs: HOLD_REQUESTS_MS,
      maxBatch: ledger.nodes === null ? MOST_REQUESTS : MOST_REQUESTS_SHARED
    })
  } catch (error) {
    await stop()
    throw error
  }
  return { stop }
}

/** Whether this is a request that may change the ledger. */
function mayChange ({ topic }: Delivery): boolean {
  const method = methodOfRequestTopic(topic) ?? ''
  return isMethod(method) && !READ_ONLY.has(method)
}
