// parkmq on a broker of yours with its ledger in PostgreSQL: any number of such processes share the lots (docs/decisions/017). What
// time does is done by each; a share of the lots, or all requests, by whoever has the lease.
import { catchUp, startWatch } from '../../services/occupancy/watch.js'
import { Outbox } from '../../services/occupancy/outbox.js'
import { startShare } from '../../services/occupancy/share.js'
import { startAnswering, startTimers, type ReservationParts } from '../../services/reservation/service.js'
import type { Bus } from '../../shared/bus.js'
import type { Config } from '../../shared/config.js'
import { openMqttSession, type MqttSession } from '../../shared/mqtt-session.js'
import type { ClientTls } from '../../shared/mqtt-tls.js'
import { topics } from '../../shared/topics.js'
import { REQUESTS_SHARE, shareOf, type Fence, type Lease, type OpenLeases } from '../../storage/leases.js'
import { Holder } from './holder.js'
import type { Work } from './term.js'

export interface LeasedParts extends Omit<ReservationParts, 'bus' | 'config'> {
  readonly config: Config
  readonly openLeases: OpenLeases
  readonly url: string
  readonly tls: ClientTls
  /** A connection of this process's own for a service: it tells whether that is there. */
  readonly statusOf: (service: string) => Promise<{ readonly bus: Bus, readonly isConnected: () => boolean }>
}

export interface Leased { stop (): Promise<void> }

/** Resolves when this process serves what it could take at once; others give it its part soon. */
export async function startLeased (parts: LeasedParts): Promise<Leased> {
  const { config, clock, metrics, url, tls } = parts
  const log = parts.log.child({ service: 'leases' })
  const stops: (() => Promise<void>)[] = []
  const stop = async (): Promise<void> => { for (const one of stops.splice(0).reverse()) await one() }
  try {
    const statuses = await Promise.all(['occupancy', 'reservation'].map(async service => ({ service, ...await parts.statusOf(service) })))
    const watching = { ...parts, times: config.times, log: parts.log.child({ service: 'occupancy' }) }
    await catchUp(watching)
    const watch = startWatch(watching)
    stops.push(async () => await watch.stop())
    const timers = await startTimers(parts)
    stops.push(async () => await timers.stop())
    const leases = await parts.openLeases({ prefix: config.brokerPrefix, leaseMs: config.times.leaseMs })
    const connect = async (share: string): Promise<MqttSession> => await openMqttSession({ url, tls, clientId: clientIdOf(config, share), clock, log, metrics })
    const begin = async ({ share }: Lease, session: MqttSession, fence: Fence): Promise<Work> => share === REQUESTS_SHARE
      ? await startRequests(parts, session, fence)
      : await startShare({ ...parts, session, fence, isOurs: lot => shareOf(lot, leases.lotShares) === share })
    const holder = await Holder.start({ leases, leaseMs: config.times.leaseMs, clock, log, metrics, connect, begin, isConnected: () => statuses.every(({ isConnected }) => isConnected()) })
    stops.push(async () => await holder.stop())
    for (const { service, bus } of statuses) {
      const topic = topics.serviceStatus(service, config.node)
      await bus.publish(topic, 'online', { retain: true })
      stops.push(async () => await bus.publish(topic, 'offline', { retain: true }))
    }
    return { stop }
  } catch (error) {
    await stop().catch((err: unknown) => log.error({ err }, 'a part did not stop cleanly'))
    throw error
  }
}

/** The client id of a share: the same whichever process has it. */
function clientIdOf ({ brokerPrefix }: Config, share: string): string {
  return share === REQUESTS_SHARE ? `${brokerPrefix}-requests` : `${brokerPrefix}-share-${share}`
}

/** Everything that is of no single lot. Events are told in one order, by one process: so they are here. */
async function startRequests (parts: LeasedParts, { bus }: MqttSession, fence: Fence): Promise<Work> {
  const answering = await startAnswering({ ...parts, bus, fence })
  try {
    const outbox = await Outbox.start({ ...parts, bus, fence, log: parts.log.child({ service: 'occupancy' }) })
    return {
      async stop () {
        await outbox.stop()
        await answering.stop()
      }
    }
  } catch (error) {
    await answering.stop()
    throw error
  }
}
