// The only file that names what aedes does not document. aedes is pinned to one version, and `checkAedes` refuses to
// start on one that lacks any of these names, so that an update fails with a clear error instead of strangely.
import { PassThrough, type Duplex } from 'node:stream'
import type { Aedes, Client } from 'aedes'
import { OperatorError } from '../shared/errors.js'
import type { Subscription } from './packets.js'

/** The version that this folder is written against. */
export const AEDES_VERSION = '2.0.0-beta.1'

/** aedes calls back with an error or with nothing. */
export type Done = (error?: Error | null) => void

/** One connection inside aedes. Everything below `on` of the public type is private to aedes. */
export type AedesClient = Omit<Client, 'clean' | 'conn' | 'id' | 'subscribe' | 'disconnect'> & {
  readonly broker: AedesBroker
  /** Null until CONNECT is accepted. */
  id: string | null
  readonly conn: Duplex
  /** Whether the session ends with the connection. */
  clean: boolean
  /** Subscriptions by filter: a plain object in aedes, so a filter named `constructor` is found in it. */
  subscriptions: Record<string, unknown>
  /** Set before the packets behind CONNECT may be handled. */
  readonly connackSent: boolean
  /** CONNECT's Clean Start. */
  readonly _cleanStart: boolean
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
  /** Calls back when the socket has drained, and closes a client that does not read within `drainTimeout`. */
  waitForDrain (done: Done): void
  /** Says DISCONNECT with this reason and closes. */
  disconnect: (options: { reasonCode?: number }, done?: () => void) => void
  subscribe (packet: { subscriptions: Subscription[], properties?: object }, done: Done): void
}

/** What aedes' persistence gives, as far as the broker calls it itself (the interface of aedes-persistence). */
export interface Persistence {
  subscriptionsByTopic (topic: string): Promise<readonly unknown[]>
  /** Puts a PUBREL in the place of the PUBLISH that it follows; rejects when there is none. */
  outgoingUpdate (client: AedesClient, packet: object): Promise<void>
  delWill (client: { id: string, brokerId: string }): Promise<unknown>
}

/** aedes' emitter of messages to live subscriptions (mqemitter). */
export interface Emitter {
  /** Knows which subscriptions match a topic. */
  readonly _matcher: { match (topic: string): readonly unknown[] }
  /** Hands one message to its subscribers; at most 100 are on their way, the others wait. */
  _do (message: object, done: Done): Emitter
  /** Messages on their way. */
  current: number
  emit (message: { readonly brokerId?: string, readonly brokerCounter?: number }, done?: Done): Emitter
}

export type AedesBroker = Omit<Aedes, 'publish'> & {
  /** Clients that are connected, by id. */
  clients: Record<string, AedesClient>
  /** The number of the last message. */
  readonly counter: number
  readonly persistence: Persistence
  readonly mq: Emitter
  publish (packet: object, client: AedesClient | null, done: Done): void
  /** Ids of which one client is taking over from another: the old one's end is not the end of the session. */
  readonly _takingOver: Set<string>
  /** Makes a client the one with its id, after the one that was it is told to go. */
  registerClient (client: AedesClient): void
  _finishRegisterClient (client: AedesClient): void
  unregisterClient (client: AedesClient): void
  /** Forgets a session that has ended. */
  _wipeSession (client: AedesClient): void
  /** Keeps, times or ends the session of a client that disconnected. */
  scheduleSessionExpiry (client: AedesClient): void
}

const CLIENT_FUNCTIONS = ['_nextBatch', '_onError', 'pause', 'resume', 'waitForDrain', 'subscribe', 'disconnect', 'close'] as const
const BROKER_FUNCTIONS = ['registerClient', '_finishRegisterClient', 'unregisterClient', '_wipeSession', 'scheduleSessionExpiry', 'publish', 'handle'] as const
const PERSISTENCE_FUNCTIONS = ['subscriptionsByTopic', 'outgoingUpdate', 'delWill'] as const

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
  for (const name of PERSISTENCE_FUNCTIONS) expect(typeof broker.persistence?.[name] === 'function', `persistence.${name}`)
  expect(typeof broker.mq?._matcher?.match === 'function', 'mq._matcher.match')
  expect(typeof broker.mq?._do === 'function', 'mq._do')
  expect(typeof broker.mq?.current === 'number', 'mq.current')
  expect(typeof broker.mq?.emit === 'function', 'mq.emit')
  expect(typeof broker.counter === 'number', 'counter')
  expect(typeof broker.clients === 'object', 'clients')
  expect(broker._takingOver instanceof Set, '_takingOver')
  if (missing.length === 0) {
    const stream = new PassThrough()
    const client = broker.handle(stream) as unknown as AedesClient
    for (const name of CLIENT_FUNCTIONS) expect(typeof client[name] === 'function', `client.${name}`)
    expect(typeof client._parser?.emit === 'function', 'client._parser.emit')
    expect(client._parsingBatch === 1, 'client._parsingBatch')
    expect(client.connackSent === false, 'client.connackSent')
    expect(client.broker === broker, 'client.broker')
    expect(typeof client.subscriptions === 'object', 'client.subscriptions')
    expect(stream.listeners('readable').includes(client._nextBatch), 'reading by client._nextBatch')
    expect(client.listeners('error').includes(client._onError), 'errors to client._onError')
    client.close()
  }
  if (missing.length > 0) {
    throw new OperatorError('wrong_aedes', `aedes ${AEDES_VERSION} is needed; the one installed lacks ${missing.join(', ')}. Run npm ci`)
  }
  return broker
}

/** Tells aedes that a PUBLISH was dealt with in `authorizePublish`: it neither acknowledges nor forwards it. */
export function markDealtWith (packet: object): void {
  (packet as { _notAuthorized?: boolean })._notAuthorized = true
}
