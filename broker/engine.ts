// The broker without its doors: aedes with the guard before it, sessions and the bus behind it, put together here and
// nowhere else. It takes connections over whatever stream they come.
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { Aedes } from 'aedes'
import type { BrokerStore } from '../shared/broker-store.js'
import type { Clock } from '../shared/clock.js'
import type { Config } from '../shared/config.js'
import { every } from '../shared/every.js'
import type { Log } from '../shared/log.js'
import type { Metrics } from '../shared/metrics.js'
import { checkAedes, type AedesBroker, type AedesClient } from './aedes-internals.js'
import { EmbeddedBus } from './bus.js'
import { Connection } from './connection.js'
import { Entrance } from './entrance.js'
import { Exchange } from './exchange.js'
import { Flow } from './flow.js'
import { newFlowCounts, type FlowCounts } from './flow-counts.js'
import { Handler } from './handler.js'
import { Journal } from './journal.js'
import { messageFromStored } from './message.js'
import { Qos2Receiver } from './qos2.js'
import { Report, type Who } from './report.js'
import { Retained } from './retained.js'
import { Router } from './router.js'
import { Sessions } from './sessions.js'
import { Subscribe } from './subscribe.js'
import { correctOwnership } from './takeover.js'
import { Traffic } from './traffic.js'
import { Wills } from './wills.js'

/** Retained messages that have expired are not given out any more; they are cleared away so often, in milliseconds. */
const EXPIRE_EVERY_MS = 60_000

export interface EngineParts {
  readonly config: Pick<Config, 'limits'>
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  /** Where sessions, queues and retained messages of clients survive a crash; without one they end with the process. */
  readonly store?: BrokerStore
}

export interface Engine {
  readonly aedes: AedesBroker
  readonly bus: EmbeddedBus
  readonly sessions: Sessions
  readonly router: Router
  readonly retained: Retained
  readonly traffic: Traffic
  readonly counts: FlowCounts
  readonly flow: Flow
  readonly report: Report
  /** Takes a new connection over, in the turn in which it comes. */
  accept (stream: Duplex, address: string, request?: IncomingMessage): Connection
  /** Every connection, let in or not. */
  readonly connections: ReadonlyMap<AedesClient, Connection>
  /** Publishes the wills of clients that were connected when the process before this one died. */
  publishOldWills (): void
  /** To be called when every connection is gone: resolves when everything is stored. */
  close (): Promise<void>
}

/** Throws `OperatorError` (`wrong_aedes`) when aedes is not the one it knows. */
export async function createEngine ({ config, clock, log, metrics, store }: EngineParts): Promise<Engine> {
  const { limits } = config
  const report = new Report(log, clock, metrics)
  const traffic = new Traffic()
  const counts = newFlowCounts()
  const flow = new Flow()
  const router = new Router()
  const received = new Qos2Receiver()
  const retained = new Retained({ messages: limits.retainedMessages, bytes: limits.retainedBytes })
  const journal = new Journal({ store: store ?? null, clock, log })
  const exchange = new Exchange({ router, retained, journal, clock })
  const bus = new EmbeddedBus({ clock, report, received, exchange, router, journal, flow, limits })
  const wills = new Wills({ clock, journal, publish: (clientId, will) => bus.will(clientId, will) })
  const sessions = new Sessions({
    clock, router, journal, received, wills,
    session: {
      counts,
      limits: {
        inflight: limits.maxInflight, messages: limits.queueMessages, bytes: Math.max(limits.queueBytes, 2 * limits.packetBytes),
        total: { bytes: 0, limit: limits.queuedBytes }
      },
      onSlow: (session, isSlow) => report.slow(session, isSlow)
    },
    pendingLimit: limits.pendingSessions,
    onLimit: clientId => report.overLimit({ clientId, address: 'unknown' }, 'sessions', `its session is not kept, ${limits.pendingSessions} are kept already (limits.pendingSessions)`)
  })
  const subscribe = new Subscribe({ router, retained, journal, clock, limits, onLimit: (connection, words) => report.overLimit(connection.who, 'subscriptions', words) })
  const handler = new Handler({ bus, subscribe, received, journal, longestExpirySeconds: limits.sessionExpirySeconds })
  const entrance = new Entrance({ limits, sessions, wills })

  const state = await store?.load()
  if (state) {
    sessions.restore(state)
    for (const stored of state.retained) retained.set(messageFromStored(stored))
  }

  const aedes = checkAedes(await Aedes.createBroker({ connectTimeout: limits.connectTimeoutMs }))
  const connections = new Map<AedesClient, Connection>()
  correctOwnership({
    aedes,
    onOwner: client => {
      const connection = connections.get(client)
      if (connection) entrance.admit(connection)
    },
    onGone: client => {
      const connection = connections.get(client)
      if (connection) entrance.leave(connection)
    }
  })
  aedes.authenticate = client => {
    const known = client as unknown as AedesClient
    // From here on the broker goes on by itself: aedes would restore sessions that it does not keep.
    known._authorized = true
    aedes.registerClient(known)
  }
  // What aedes says to itself and to its own store is for nobody.
  aedes.publish = (_packet, client, done) => { (typeof client === 'function' ? client : done)?.() }
  watch(aedes, connections, report)

  const accept = (stream: Duplex, address: string, request?: IncomingMessage): Connection => {
    const client = aedes.handle(stream, request) as unknown as AedesClient
    const connection = new Connection({ client, address, report, traffic, limits, handle: (from, packet) => handler.handle(from, packet) })
    connections.set(client, connection)
    stream.once('close', () => connections.delete(client))
    return connection
  }

  const sweep = every(EXPIRE_EVERY_MS, 'expiry of retained messages', clock, log, async () => {
    for (const topic of retained.expire(clock.nowMs())) journal.retained(topic, null)
  })

  const publishOldWills = (): void => wills.restore(state?.wills ?? [], clientId => sessions.all.get(clientId)?.expirySeconds ?? 0)
  const close = async (): Promise<void> => {
    await sweep.stop()
    await new Promise<void>(resolve => aedes.close(resolve))
    sessions.stop()
    wills.stop()
    bus.close()
    await journal.close()
  }
  return { aedes, bus, sessions, router, retained, traffic, counts, flow, report, accept, connections, publishOldWills, close }
}

function watch (aedes: AedesBroker, connections: Map<AedesClient, Connection>, report: Report): void {
  const whoIs = (client: unknown): Who => {
    const known = client as AedesClient
    return connections.get(known)?.who ?? { clientId: known.id, address: 'unknown' }
  }
  // Without a listener an error that aedes has no caller for would end the process.
  ;(aedes as unknown as NodeJS.EventEmitter).on('error', (error: Error) => report.log.error({ err: error }, 'aedes reports an error'))
  aedes.on('clientError', (client, error) => report.broken(whoIs(client), error))
  aedes.on('connectionError', (client, error) => report.broken(whoIs(client), error))
  aedes.on('client', () => report.metrics.clients.set(aedes.connectedClients))
  aedes.on('clientDisconnect', () => report.metrics.clients.set(aedes.connectedClients))
}
