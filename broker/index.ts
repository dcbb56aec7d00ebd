// The embedded broker: aedes with the guard before it, the bus behind it and the doors around it, put together here and
// nowhere else. The bus works before the doors are open, so that everything retained is out before anybody is let in.
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { Aedes } from 'aedes'
import type { Bus } from '../shared/bus.js'
import type { Clock } from '../shared/clock.js'
import type { Config } from '../shared/config.js'
import type { Log } from '../shared/log.js'
import type { Metrics } from '../shared/metrics.js'
import { checkAedes, type AedesBroker, type AedesClient } from './aedes-internals.js'
import { EmbeddedBus } from './bus.js'
import { Connection } from './connection.js'
import { limitEmitterDepth } from './emitter.js'
import { RECEIVE_MAXIMUM, TOPIC_ALIAS_MAXIMUM } from './guard.js'
import { Listeners } from './listeners.js'
import { keepOrder } from './order.js'
import type { PublishPacket, Will } from './packets.js'
import { Qos2Receiver } from './qos2.js'
import { Reason } from './reason-codes.js'
import { Report, type Who } from './report.js'
import { beginSession, correctSessions } from './sessions.js'
import { Subscribers } from './subscribers.js'
import { MAX_TOPIC_LEVELS, wildcardIn } from './topic-filters.js'

export interface BrokerParts {
  readonly config: Pick<Config, 'host' | 'port' | 'wsPort' | 'limits' | 'node'> & Partial<Pick<Config, 'wsOrigins'>>
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
}

export interface EmbeddedBroker {
  /** Usable at once, also before `listen`. */
  readonly bus: Bus
  /** Opens TCP and WebSocket and tells the actual ports. Throws `OperatorError` (`port_in_use` and others). */
  listen (): Promise<{ port: number, wsPort: number }>
  /**
   * Lets nobody in any more, lets the consumers finish what has arrived, tells MQTT 5.0 clients that the server is
   * shutting down (0x8B), and closes everything. Calling it again waits for the same end.
   */
  close (): Promise<void>
}

/** Makes a broker with its doors still closed. Throws `OperatorError` (`wrong_aedes`) when aedes is not the one it knows. */
export async function createEmbeddedBroker ({ config, clock, log, metrics }: BrokerParts): Promise<EmbeddedBroker> {
  const report = new Report(log, clock, metrics)
  const aedes = checkAedes(await Aedes.createBroker(aedesOptions(config)))
  const connections = new Map<AedesClient, Connection>()
  const received = new Qos2Receiver()
  const subscribers = new Subscribers(aedes)
  const bus = new EmbeddedBus({ aedes, clock, report, received, subscribers, connectionOf: client => connections.get(client) })

  limitEmitterDepth(aedes)
  keepOrder(aedes)
  correctSessions({ aedes, received, onSubscriptionsGone: () => subscribers.changed() })
  hook(aedes, bus, received)
  watch(aedes, connections, report)

  const accept = (stream: Duplex, address: string, request?: IncomingMessage): Connection => {
    const client = aedes.handle(stream, request) as unknown as AedesClient
    const connection = new Connection({
      client, address, report,
      maxPacketBytes: config.limits.packetBytes,
      onRelease: (clientId, messageId) => received.release(clientId, messageId)
    })
    connections.set(client, connection)
    stream.once('close', () => connections.delete(client))
    return connection
  }
  const listeners = new Listeners({ config, report, accept })

  const close = async (): Promise<void> => {
    listeners.stop()
    await bus.stop()
    for (const connection of connections.values()) connection.end(Reason.serverShuttingDown, 'the broker is shutting down')
    await listeners.closed()
    await new Promise<void>(resolve => aedes.close(resolve))
  }
  let closing: Promise<void> | null = null
  return { bus, listen: () => listeners.open(), close: () => closing ??= close() }
}

function aedesOptions ({ limits }: BrokerParts['config']): ConstructorParameters<typeof Aedes>[0] {
  return {
    connectTimeout: limits.connectTimeoutMs,
    maxTopicLevels: MAX_TOPIC_LEVELS,
    // The guard sees to these three; aedes only announces them in CONNACK.
    maximumPacketSize: limits.packetBytes,
    topicAliasMaximum: TOPIC_ALIAS_MAXIMUM,
    receiveMaximum: RECEIVE_MAXIMUM,
    sessionExpiryIntervalLimit: limits.sessionExpirySeconds,
    pendingSessionsLimit: limits.pendingSessions,
    // A client id with wildcards would make a base that nothing can be published under.
    responseInformation: client => wildcardIn(client.id) ? undefined : `replies/${client.id}`
  }
}

/** aedes' hooks. Flow control towards subscribers will wrap `deliver0` and `deliverQoS` where the session begins. */
function hook (aedes: AedesBroker, bus: EmbeddedBus, received: Qos2Receiver): void {
  aedes.authenticate = (client, _user, _password, done) => {
    beginSession(client as unknown as AedesClient, received)
    done(null, true)
  }
  // What aedes says to itself names clients and their filters: that is for nobody else.
  const toItself = `$SYS/${aedes.id}/`
  aedes.authorizeForward = (_client, packet) => packet.topic.startsWith(toItself) ? null : packet
  aedes.authorizePublish = (client, packet, done) => {
    bus.authorize(client as unknown as AedesClient | null, packet as unknown as PublishPacket | Will, done)
  }
}

function watch (aedes: AedesBroker, connections: Map<AedesClient, Connection>, report: Report): void {
  const whoIs = (client: unknown): Who => {
    const known = client as AedesClient
    return connections.get(known)?.who ?? { clientId: known.id, address: 'unknown' }
  }
  // Without a listener an error that aedes has no caller for would end the process.
  ;(aedes as unknown as NodeJS.EventEmitter).on('error', (error: Error) => report.log.error({ err: error }, 'the broker could not keep a session or a retained message'))
  aedes.on('clientError', (client, error) => report.broken(whoIs(client), error))
  aedes.on('connectionError', (client, error) => report.broken(whoIs(client), error))
  aedes.on('keepaliveTimeout', client => connections.get(client as unknown as AedesClient)?.end(Reason.keepAliveTimeout, 'nothing came within one and a half times the keep alive'))
  aedes.on('client', () => report.metrics.clients.set(aedes.connectedClients))
  aedes.on('clientDisconnect', () => report.metrics.clients.set(aedes.connectedClients))
}
