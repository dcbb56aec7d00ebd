// The only file that names what aedes does not document. aedes is pinned to one version, and `checkAedes` refuses to
// start on one that lacks any of these names, so that an update fails with a clear error instead of strangely.
import { PassThrough, type Duplex } from 'node:stream'
import type { Aedes, Client } from 'aedes'
import { OperatorError } from '../shared/errors.js'

/** The version that this folder is written against. */
export const AEDES_VERSION = '2.0.0-beta.1'

/** aedes calls back with an error or with nothing. */
export type Done = (error?: Error | null) => void

/** One connection inside aedes. Everything below `on` of the public type is private to aedes. */
export type AedesClient = Omit<Client, 'conn' | 'id' | 'disconnect' | 'connected' | 'connecting'> & {
  readonly broker: AedesBroker
  /** Null until CONNECT is accepted. */
  id: string | null
  readonly conn: Duplex
  /** Between CONNECT and CONNACK, and from then on. */
  connecting: boolean
  connected: boolean
  connackSent: boolean
  /** Whether `close` is to take it out of the broker's list. */
  _authorized: boolean
  /** Hands a parsed packet to aedes: `emit('packet', packet)`. Its parsing is not used. */
  readonly _parser: { emit (event: 'packet', packet: unknown): boolean }
  /** aedes handles the first packet only when this becomes 1 with it. */
  _parsingBatch: number
  /** Called when a packet is dealt with; in aedes it also reads. */
  _nextBatch: Done
  /** aedes' listener of 'error': destroys the connection. */
  readonly _onError: (error: Error) => void
  /** aedes stops reading between CONNECT and CONNACK with these two. */
  pause: () => void
  resume: () => void
  /** Says DISCONNECT with this reason and closes. */
  disconnect: (options: { reasonCode?: number }, done?: () => void) => void
}

export type AedesBroker = Omit<Aedes, 'publish'> & {
  /** Clients that are connected, by id. */
  clients: Record<string, AedesClient>
  publish (packet: object, client: AedesClient | Done | null, done?: Done): void
  /** Makes a client the one with its id, after the one that was it is told to go. */
  registerClient (client: AedesClient): void
  _finishRegisterClient (client: AedesClient): void
  unregisterClient (client: AedesClient): void
  /** Keeps, times or ends the session of a client that disconnected. */
  scheduleSessionExpiry (client: AedesClient): void
}

const CLIENT_FUNCTIONS = ['_nextBatch', '_onError', 'pause', 'resume', 'disconnect', 'close'] as const
const BROKER_FUNCTIONS = ['registerClient', '_finishRegisterClient', 'unregisterClient', 'scheduleSessionExpiry', 'publish', 'handle', 'authenticate'] as const

/**
 * The broker with its private names, after a look that they are all there: on the broker, and on a client over a stream
 * in memory. Throws `OperatorError` (`wrong_aedes`) that names what is missing.
 */
export function checkAedes (aedes: Aedes): AedesBroker {
  const broker = aedes as unknown as AedesBroker
  const missing: string[] = []
  const expect = (holds: boolean, name: string): void => {
    if (!holds) missing.push(name)
  }
  for (const name of BROKER_FUNCTIONS) expect(typeof broker[name] === 'function', name)
  expect(typeof broker.clients === 'object', 'clients')
  if (missing.length === 0) {
    const stream = new PassThrough()
    const client = broker.handle(stream) as unknown as AedesClient
    for (const name of CLIENT_FUNCTIONS) expect(typeof client[name] === 'function', `client.${name}`)
    expect(typeof client._parser?.emit === 'function', 'client._parser.emit')
    expect(client._parsingBatch === 1, 'client._parsingBatch')
    expect(client.connackSent === false, 'client.connackSent')
    expect(client.broker === broker, 'client.broker')
    expect(client._authorized === false, 'client._authorized')
    expect(client.connecting === false && client.connected === false, 'client.connecting and client.connected')
    expect(stream.listeners('readable').includes(client._nextBatch), 'reading by client._nextBatch')
    expect(client.listeners('error').includes(client._onError), 'errors to client._onError')
    client.close()
  }
  if (missing.length > 0) {
    throw new OperatorError('wrong_aedes', `aedes ${AEDES_VERSION} is needed; the one installed lacks ${missing.join(', ')}. Run npm ci`)
  }
  return broker
}
