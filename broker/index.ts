// The embedded broker: the engine and its doors. The bus works before the doors are open, so that everything retained is
// out before anybody is let in.
import type { Bus } from '../shared/bus.js'
import type { Config } from '../shared/config.js'
import { createEngine, type EngineParts } from './engine.js'
import { Listeners } from './listeners.js'
import { Reason } from './reason-codes.js'

export interface BrokerParts extends EngineParts {
  readonly config: Pick<Config, 'host' | 'port' | 'wsPort' | 'limits'> & Partial<Pick<Config, 'wsOrigins'>>
}

export interface EmbeddedBroker {
  /** Usable at once, also before `listen`. */
  readonly bus: Bus
  /**
   * Publishes the wills of clients that were connected when the process before this one died, opens TCP and WebSocket
   * and tells the actual ports. Throws `OperatorError` (`port_in_use` and others).
   */
  listen (): Promise<{ port: number, wsPort: number }>
  /**
   * Lets nobody in any more, lets the consumers finish what has arrived, tells MQTT 5.0 clients that the server is
   * shutting down (0x8B), and closes everything. Calling it again waits for the same end.
   */
  close (): Promise<void>
}

/** Makes a broker with its doors still closed. Throws `OperatorError` (`wrong_aedes`) when aedes is not the one it knows. */
export async function createEmbeddedBroker (parts: BrokerParts): Promise<EmbeddedBroker> {
  const engine = await createEngine(parts)
  const { bus, report, connections } = engine
  const listeners = new Listeners({ config: parts.config, report, accept: (stream, address, request) => engine.accept(stream, address, request) })

  const listen = async (): Promise<{ port: number, wsPort: number }> => {
    engine.publishOldWills()
    return await listeners.open()
  }
  const close = async (): Promise<void> => {
    listeners.stop()
    await bus.stop()
    for (const connection of connections.values()) connection.end(Reason.serverShuttingDown, 'the broker is shutting down')
    await listeners.closed()
    await engine.close()
  }
  let closing: Promise<void> | null = null
  return { bus, listen, close: () => closing ??= close() }
}
