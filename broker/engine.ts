// The broker without its doors: aedes with the guard before it, sessions and the bus behind it, put together here and
// nowhere else. It takes connections over whatever stream they come.
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { Aedes } from 'aedes'
import { LOCAL } from '../shared/access.js'
import type { OnAccess } from '../shared/access-event.js'
import type { BatchStart } from '../shared/batch-start.js'
import type { BrokerStore } from '../shared/broker-store.js'
import type { Clock } from '../shared/clock.js'
import type { Config } from '../shared/config.js'
import { every } from '../shared/every.js'
import type { Log } from '../shared/log.js'
import type { Metrics } from '../shared/metrics.js'
import { rightsOf, type Rights } from './access.js'
import { checkAedes, type AedesBroker, type AedesClient } from './aedes-internals.js'
import { EmbeddedBus } from './bus.js'
import { Connection } from './connection.js'
import { Entrance, USER_CHANGED } from './entrance.js'
import { Exchange } from './exchange.js'
import { Flow } from './flow.js'
import { newFlowCounts, type FlowCounts } from './flow-counts.js'
import { Handler } from './handler.js'
import { Journal } from './journal.js'
import type { Login } from './login.js'
import { messageFromStored } from './message.js'
import { Qos2Receiver } from './qos2.js'
import { Reason } from './reason-codes.js'
import { shortened } from './refusals.js'
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
  /** Says who a client is; without it there are no users and everybody is local. */
  readonly login?: Pick<Login, 'check' | 'identityOf' | 'isUser'>
  /** Told of everything that a client asked for and that is not for it. */
  readonly onAccess?: OnAccess
  /** When the batches of its consumers begin, shared with the ledger that they write. */
  readonly batchStart?: BatchStart
}

export interface Engine {
  readonly aedes: AedesBroker
  readonly bus: EmbeddedBus
  readonly sessions: Sessions
  readonly router: Router
  readonly retained: Retained
  readonly received: Qos2Receiver
  readonly traffic: Traffic
  readonly counts: FlowCounts
  readonly flow: Flow
  readonly report: Report
  /** Takes a new connection over, in the turn in which it comes. */
  accept (stream: Duplex, address: string, request?: IncomingMessage, certificateName?: string | null): Connection
  /** Every connection, let in or not. */
  readonly connections: ReadonlyMap<AedesClient, Connection>
  /** The users have changed: their connections are closed, so that they log in again, and their sessions follow. */
  usersChanged (users: ReadonlySet<string>): void
  /** Sends every client to another server and lets none in, for this reason in words; null: they are let in again. */
  shut (words: string | null): void
  /** Publishes the wills of clients that were connected when the process before this one died. */
  publishOldWills (): void
  /** To be called when every connection is gone: resolves when everything is stored. */
  close (): Promise<void>
}

/** Throws `OperatorError` (`wrong_aedes`) when aedes is not the one it knows. */
export async function createEngine ({ config, clock, log, metrics, store, login, onAccess, batchStart }: EngineParts): Promise<Engine> {
  const { limits } = config
  const report = new Report(log, clock, metrics, onAccess)
  const traffic = new Traffic()
  const counts = newFlowCounts()
  const flow = new Flow()
  const router = new Router()
  const received = new Qos2Receiver(limits.qos2Ids)
  const retained = new Retained({ messages: limits.retainedMessages, bytes: limits.retainedBytes })
  const journal = new Journal({ store: store ?? null, clock, log })
  const exchange = new Exchange({ router, retained, journal, clock })
  const bus = new EmbeddedBus({ clock, report, received, exchange, router, journal, flow, limits, batchStart })
  const rightsOfUser = (user: string | null): Rights | null => {
    const identity = login === undefined ? LOCAL : login.identityOf(user)
    return identity === null ? null : rightsOf(identity)
  }
  const wills = new Wills({ clock, journal, publish: ({ clientId, user }, will) => bus.will(clientId, rightsOfUser(user), will) })
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
  const subscribe = new Subscribe({ router, retained, journal, clock, limits, onLimit: (connection, words) => report.overLimit(connection.who, 'subscriptions', words), onDenied: (connection, filter) => report.denied(connection.who, connection.rights.identity.user, 'subscribe', shortened(filter)) })
  const handler = new Handler({ bus, subscribe, received, journal, longestExpirySeconds: limits.sessionExpirySeconds })
  const entrance = new Entrance({ limits, sessions, wills, report, login: login ?? null })

  const state = await store?.load()
  const aedes = checkAedes(await Aedes.createBroker({ connectTimeout: limits.connectTimeoutMs }))
  // After the last wait: users that change meanwhile would not be told of.
  if (state) {
    sessions.restore(state, rightsOfUser)
    for (const stored of state.retained) retained.restore(messageFromStored(stored))
    if (retained.isOver) log.warn({ messages: retained.count, bytes: retained.bytes, limits: { messages: limits.retainedMessages, bytes: limits.retainedBytes } }, 'more retained messages of clients are stored than may be kept (limits.retainedMessages, limits.retainedBytes): they are all kept, and no more are taken until there is room')
  }
  const connections = new Map<AedesClient, Connection>()
  correctOwnership({
    aedes,
    mayOwn: client => {
      const connection = connections.get(client)
      return connection !== undefined && entrance.mayOwn(connection)
    },
    onOwner: client => {
      const connection = connections.get(client)
      if (connection) entrance.admit(connection)
    },
    onGone: client => {
      const connection = connections.get(client)
      if (connection) entrance.leave(connection)
    }
  })
  aedes.authenticate = (client, username, password) => {
    const known = client as unknown as AedesClient
    const connection = connections.get(known)
    if (connection === undefined) return
    // From here on the broker goes on by itself: aedes would restore sessions that it does not keep.
    entrance.identify(connection, username, password, () => {
      known._authorized = true
      aedes.registerClient(known)
    }).catch((err: unknown) => {
      report.log.error({ err, ...connection.who }, 'it could not be found out who a client is; it is not let in')
      connection.end(Reason.unspecified, 'the log-in could not be checked')
    })
  }
  // What aedes says to itself and to its own store is for nobody.
  aedes.publish = (_packet, client, done) => { (typeof client === 'function' ? client : done)?.() }
  watch(aedes, connections, report)

  const accept = (stream: Duplex, address: string, request?: IncomingMessage, certificateName: string | null = null): Connection => {
    const client = aedes.handle(stream, request) as unknown as AedesClient
    const connection = new Connection({ client, address, certificateName, report, traffic, limits, handle: (from, packet) => handler.handle(from, packet) })
    connections.set(client, connection)
    stream.once('close', () => connections.delete(client))
    return connection
  }

  const sweep = every(EXPIRE_EVERY_MS, 'expiry of retained messages', clock, log, async () => {
    for (const topic of retained.expire(clock.nowMs())) journal.retained(topic, null)
  })

  const usersChanged = (users: ReadonlySet<string>): void => {
    for (const connection of connections.values()) {
      const { user } = connection.rights.identity
      if (user !== null && users.has(user)) connection.end(Reason.administrativeAction, USER_CHANGED)
    }
    sessions.changeRights(users, rightsOfUser)
  }

  const shut = (words: string | null): void => {
    entrance.shut = words
    if (words === null) return
    // Who is still on the way in is sent away when its CONNECT is there.
    for (const connection of connections.values()) if (connection.session !== null) connection.end(Reason.useAnotherServer, words)
  }

  // Only they are needed later: the rest of what was loaded must not stay in memory.
  const oldWills = state?.wills ?? []
  const publishOldWills = (): void => wills.restore(oldWills, clientId => sessions.all.get(clientId)?.expirySeconds ?? 0)
  const close = async (): Promise<void> => {
    await sweep.stop()
    await new Promise<void>(resolve => aedes.close(resolve))
    sessions.stop()
    wills.stop()
    bus.close()
    await journal.close()
  }
  return { aedes, bus, sessions, router, retained, received, traffic, counts, flow, report, accept, connections, usersChanged, shut, publishOldWills, close }
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
