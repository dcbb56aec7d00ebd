// The embedded broker: the engine and its doors. The bus works before the doors are open, so that everything retained is
// out before anybody is let in.
import type { OnAccess } from '../shared/access-event.js'
import type { Bus } from '../shared/bus.js'
import type { Config } from '../shared/config.js'
import { meterBroker } from '../shared/metrics.js'
import { BROKER_REQUESTS } from '../shared/schemas.js'
import { topics } from '../shared/topics.js'
import { Clients } from './clients.js'
import { createEngine, type EngineParts } from './engine.js'
import { Listeners } from './listeners.js'
import { createLogin, type LoginEvent } from './login.js'
import { numbersOf } from './numbers.js'
import { Reason } from './reason-codes.js'
import { Sys } from './sys.js'
import type { Users } from './users.js'

export interface BrokerParts extends Omit<EngineParts, 'login' | 'onAccess'> {
  readonly config: Pick<Config, 'host' | 'port' | 'wsPort' | 'limits' | 'times'> & Partial<Pick<Config, 'wsOrigins' | 'tls' | 'allowAnonymous'>>
  /** Who may come in; without users everybody may, with every right. */
  readonly users?: Users | null
  /** Told of every log-in, let in or not, and of everything that a client asked for and that is not for it. */
  readonly onAccess?: OnAccess
  /** The version of parkmq, for `$SYS/broker/version`. */
  readonly version?: string
}

export interface EmbeddedBroker {
  /** Usable at once, also before `listen`. */
  readonly bus: Bus
  /** The requests that it answers itself. */
  readonly methods: readonly string[]
  /**
   * Publishes the wills of clients that were connected when the process before this one died, opens TCP and WebSocket
   * and tells the actual ports. Throws `OperatorError` (`port_in_use` and others).
   */
  listen (): Promise<{ port: number, wsPort: number }>
  /** Sends every client to another server (0x9C; 3.1.1: closes) and lets none in (CONNACK 0x9C; 3.1.1: 3), for this reason in words. */
  sendAway (words: string): void
  /** Clients are let in again. */
  letIn (): void
  /**
   * Lets nobody in any more, lets the consumers finish what has arrived, tells MQTT 5.0 clients that the server is
   * shutting down (0x8B), and closes everything. Calling it again waits for the same end.
   */
  close (): Promise<void>
}

/** Makes a broker with its doors still closed. Throws `OperatorError` (`wrong_aedes`) when aedes is not the one it knows. */
export async function createEmbeddedBroker (parts: BrokerParts): Promise<EmbeddedBroker> {
  const { config, clock, log, metrics, version, users = null, onAccess } = parts
  // Before anybody else hears of changed users: what it remembers of them must be gone by then.
  const login = users === null ? undefined : createLogin({ users, config: { allowAnonymous: false, ...config }, clock, report: { log, metrics }, ...(onAccess && { onLogin: event => tellLogin(event, onAccess) }) })
  const engine = await createEngine({ ...parts, ...(login && { login }) })
  const { bus, report, connections } = engine
  const stopListening = users?.onChange(({ removed, changed }) => engine.usersChanged(new Set([...removed, ...changed])))
  const listeners = new Listeners({
    config, report, clock,
    accept: (stream, address, request, certificateName) => {
      engine.traffic.sockets++
      return engine.accept(stream, address, request, certificateName)
    }
  })
  const numbers = (): ReturnType<typeof numbersOf> => numbersOf(engine)
  meterBroker(metrics, numbers)
  const sys = new Sys({ everyMs: config.times.sysMs, numbers, metrics, clock, log, version, publish: (topic, text) => bus.publish(topic, text, { qos: 0, retain: true }) })
  // Before the services: where filters overlap, the first one takes.
  await bus.consume(topics.request('clients'), new Clients({ bus, metrics, clock, log, sessions: () => engine.sessions.all, connections: () => connections.values() }))

  const listen = async (): Promise<{ port: number, wsPort: number }> => {
    engine.publishOldWills()
    await sys.start()
    return await listeners.open()
  }
  const close = async (): Promise<void> => {
    listeners.stop()
    stopListening?.()
    login?.close()
    await sys.stop()
    await bus.stop()
    for (const connection of connections.values()) connection.end(Reason.serverShuttingDown, 'the broker is shutting down')
    await listeners.closed()
    await engine.close()
  }
  let closing: Promise<void> | null = null
  return { bus, methods: Object.keys(BROKER_REQUESTS), listen, sendAway: words => engine.shut(words), letIn: () => engine.shut(null), close: () => closing ??= close() }
}

const REFUSED: ReadonlySet<LoginEvent['outcome']> = new Set(['bad_credentials', 'not_authorized', 'too_many'])

function tellLogin ({ outcome, ...who }: LoginEvent, onAccess: OnAccess): void {
  // Nobody waited for the answer, and nothing was checked.
  if (outcome === 'gone') return
  onAccess({ ...who, type: REFUSED.has(outcome) ? 'login.refused' : 'login.accepted', why: outcome })
}
