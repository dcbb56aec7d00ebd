// The one way in which parkmq connects to a broker as a client: MQTT.js with TCP_NODELAY on and with clear errors. With several URLs it moves to
// the next when the connection is lost; what is unacknowledged goes with it.
// Never leave a publish hanging: when the connection is lost for good, what waits for an answer fails.
import { randomBytes } from 'node:crypto'
import { Socket } from 'node:net'
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'
import { BrokerUrls, learnNodes, shownUrl } from './broker-urls.js'
import type { Log } from './log.js'
import { checkPort, failureOf, TLS_PROTOCOLS, type ClientTls } from './mqtt-tls.js'
import { mayReceiveReplies } from './topics.js'

const DEFAULT_CONNECT_TIMEOUT_MS = 5_000
const DEFAULT_KEEPALIVE_SECONDS = 30
/** With somewhere else to go: a machine that is cut off says nothing, and is left after one and a half times this. */
export const MOVING_KEEPALIVE_SECONDS = 3
/** How long `endMqtt` waits for open acknowledgements before it closes the connection anyway. */
const END_WITHIN_MS = 2_000

/** The message that the broker publishes when this client is lost. */
export interface Will {
  readonly topic: string
  readonly payload: string
  readonly qos: 0 | 1
  readonly retain: boolean
}

export interface ConnectOptions {
  /** Default: `parkmq-` and 12 random characters. */
  readonly clientId?: string
  /** 5 is MQTT 5, 4 is MQTT 3.1.1. Default 5. */
  readonly version?: 4 | 5
  /** Forget the last session of this client id. Default true. */
  readonly clean?: boolean
  /** How long the broker keeps the session after a disconnect; MQTT 5 only. Default 0. */
  readonly sessionExpirySeconds?: number
  /** Default 30, and 3 with several URLs. A broker that does not answer a ping in half that time is lost. */
  readonly keepaliveSeconds?: number
  /** Most QoS 1 messages that the broker may have unacknowledged on the way to us; MQTT 5 only. Default 65,535. */
  readonly receiveMaximum?: number
  readonly will?: Will
  /**
   * Connect again when the connection is lost later: every second, or at once to the next of several URLs. The first try is always
   * one of each. Default false: with several URLs it is connected again as well, with one it is not.
   */
  readonly reconnect?: boolean
  /** Also move to nodes that the broker tells of on `cluster/nodes`. Default false. */
  readonly learn?: boolean
  /** Default 5,000. */
  readonly connectTimeoutMs?: number
  /** For `mqtts://` and `wss://`; without it the server is checked against the usual authorities. */
  readonly tls?: ClientTls
  /** Instead of the user and the password in the URL. */
  readonly username?: string
  readonly password?: string
  /** Called with the client before anything can arrive, to install handlers. */
  readonly prepare?: (client: MqttClient) => void
}

/** The broker does not know the user, the password or the certificate, or does not let this user in. */
export class LoginRefusedError extends Error {
  readonly code = 'login_refused'
  override readonly name = 'LoginRefusedError'
}

/** Nobody answers at the broker's URL, it is not to be trusted, or it does not let this client in now. */
export class UnreachableError extends Error {
  readonly code = 'unreachable'
  readonly url: string
  constructor (url: string, message: string, options?: { cause: unknown }) {
    super(message, options)
    this.name = 'UnreachableError'
    this.url = url
  }
}

/**
 * Connects to `mqtt://`, `ws://`, `mqtts://` or `wss://`, or the first of several (with commas between them) that lets it in, and resolves when
 * the broker has accepted the client. Who it is, is the same at all of them: the user of the first URL.
 * With one URL and without `reconnect`, a lost connection ends the client: open and later publishes fail with an error.
 * Throws `OperatorError` (`bad_url`) for a URL that is none, `UnreachableError` when there is no broker, it does not
 * answer within `connectTimeoutMs`, its certificate is not to be trusted, or it takes no clients; `LoginRefusedError` when
 * it does not take this one.
 */
export async function connectMqtt (url: string, options: ConnectOptions = {}): Promise<MqttClient> {
  const urls = new BrokerUrls(url)
  const failures: Error[] = []
  for (const url of urls.given) {
    try {
      return await connectFirst(urls, options)
    } catch (error) {
      if (!(error instanceof UnreachableError || error instanceof LoginRefusedError)) throw error
      failures.push(error)
      if (url !== urls.given.at(-1)) urls.next()
    }
  }
  const [only, ...others] = failures
  if (only !== undefined && others.length === 0) throw only
  throw failures.find(error => error instanceof LoginRefusedError) ?? new UnreachableError(url, `none of the brokers lets this client in: ${failures.map(error => error.message).join('; ')}`, { cause: failures })
}

/** One try at the current URL; afterwards the client moves by itself. */
async function connectFirst (urls: BrokerUrls, options: ConnectOptions): Promise<MqttClient> {
  const url = urls.current
  const { bare, ...login } = { ...credentialsOf(urls.given[0] ?? url), bare: credentialsOf(url).bare }
  const secure = TLS_PROTOCOLS.has(new URL(url).protocol)
  // MQTT.js would make TLS of mqtt:// behind our back when there is a certificate.
  const client = mqtt.connect(bare, { ...clientOptions({ ...login, ...options }, urls), ...secure && options.tls ? options.tls : {} })
  brokers.set(client, urls)
  options.prepare?.(client)
  client.on('reconnect', () => {
    const next = urls.next()
    if (!urls.isSingle) pointTo(client, next, options.tls)
    client.options.reconnectPeriod = urls.restMs()
  })
  sendWithoutDelay(client)
  client.on('connect', ({ properties }) => {
    sendWithoutDelay(client)
    urls.connected()
    // MQTT.js fails a publish on an ended client only while it believes that it would reconnect; with a period of 0 it
    // would store the publish for ever instead.
    client.options.reconnectPeriod = urls.restMs()
    if (properties?.responseInformation !== undefined) responseInformation.set(client, properties.responseInformation)
  })
  client.once('connect', () => {
    if (options.reconnect !== true) client.on('close', () => { if (urls.isSingle) endNow(client) })
  })
  await firstConnection(client, url)
  if (options.learn === true) learnNodes(client, urls, () => { leaveSooner(client, urls, options) })
  return client
}

/** It has heard of somewhere else to go: a broker that is silent is lost sooner, and one that is lost left without a rest. */
function leaveSooner (client: MqttClient, urls: BrokerUrls, { keepaliveSeconds }: ConnectOptions): void {
  client.options.reconnectPeriod = urls.restMs()
  if (keepaliveSeconds !== undefined || urls.isSingle || client.options.keepalive === MOVING_KEEPALIVE_SECONDS) return
  client.options.keepalive = MOVING_KEEPALIVE_SECONDS
  // None while it is not connected, whatever its type says.
  ;(client.keepaliveManager as MqttClient['keepaliveManager'] | null)?.setKeepalive(MOVING_KEEPALIVE_SECONDS)
}

const brokers = new WeakMap<MqttClient, BrokerUrls>()

/** The broker that a client is connected to, was last, or is trying: its URL without the password. */
export function brokerOf (client: MqttClient): string {
  return shownUrl(brokers.get(client)?.current ?? '')
}

/** Its next connection goes there. MQTT.js reads its options anew each time, and keeps the name for TLS of the first. */
function pointTo (client: MqttClient, url: string, tls: ClientTls | undefined): void {
  const { protocol, hostname, port, pathname, search } = new URL(url)
  const host = hostname.replace(/^\[|\]$/g, '')
  Object.assign(client.options, {
    protocol: protocol.slice(0, -1), host, hostname: protocol.startsWith('ws') ? hostname : host, port: port === '' ? undefined : Number(port),
    path: protocol.startsWith('ws') ? pathname + search : undefined, servername: undefined, ...TLS_PROTOCOLS.has(protocol) ? tls : {}
  })
}

/**
 * Disconnects: waits up to 2 s for open acknowledgements, then sends DISCONNECT (so that no will is published) and
 * closes. What is still open then fails. Ending an ended client does nothing.
 */
export async function endMqtt (client: MqttClient): Promise<void> {
  if (client.disconnecting || client.disconnected) return
  if (!client.connected) {
    failOpen(client)
    await client.endAsync(true)
    return
  }
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>(resolve => {
    timer = setTimeout(() => {
      // The broker may have closed it already: `close` need not come (again).
      client.stream.destroy()
      setImmediate(resolve)
    }, END_WITHIN_MS)
  })
  await Promise.race([client.endAsync(), late])
  clearTimeout(timer)
  failOpen(client)
}

/** What the broker said that a client's response topics begin with. (MQTT 5.0 section 3.2.2.3.15) */
const responseInformation = new WeakMap<MqttClient, string>()

/**
 * What the topics begin with that replies to this client should go to, without a slash at its end: what the broker says,
 * else `replies/` and the user, or the client id where there is no user.
 */
export function responseBaseOf (client: MqttClient): string {
  const told = responseInformation.get(client)
  if (told !== undefined && mayReceiveReplies(told)) return told
  const { username, clientId = '' } = client.options
  return `replies/${(username ?? clientId).replace(/[^A-Za-z0-9._-]/g, '_')}`
}

/** MQTT.js leaves a user without a password, and characters that a URL must escape, as they are. */
function credentialsOf (url: string): { bare: string, username?: string, password?: string } {
  const parsed = new URL(url)
  const { username, password } = parsed
  parsed.username = parsed.password = ''
  return { bare: parsed.href, ...username !== '' && { username: decodeURIComponent(username) }, ...password !== '' && { password: decodeURIComponent(password) } }
}

const SESSION_TAKEN_OVER = 0x8e

/** Logs what becomes of a client that connects again by itself, from now until it is ended. */
export function logTroubles (client: MqttClient, url: string, clientId: string, log: Log): void {
  const fields = { clientId, url: shownUrl(url) }
  client.on('close', () => { if (!client.disconnecting) log.warn(fields, 'the connection to the broker is lost; it is made again') })
  client.on('connect', () => log.info(fields, 'connected to the broker again'))
  client.on('disconnect', ({ reasonCode }) => {
    if (reasonCode === SESSION_TAKEN_OVER) log.error(fields, 'another process uses this client id, and each pushes the other out: give every node its own name (PARKMQ_NODE)')
    else log.warn({ ...fields, reasonCode }, 'the broker closes the connection')
  })
  let refused = false
  client.on('connect', () => { refused = false })
  // One a second while the broker is away; `close` has told it.
  client.on('error', err => {
    const isRefusal = LOGIN_REFUSED.has((err as { code?: number }).code ?? 0)
    if (isRefusal && !refused) log.error({ ...fields, err }, 'the broker does not let this client in any more: check user and password')
    else log.debug({ ...fields, err }, 'the connection to the broker has an error')
    refused ||= isRefusal
  })
}

function clientOptions (options: ConnectOptions, urls: BrokerUrls): IClientOptions {
  const { version = 5, reconnect = !urls.isSingle || options.learn === true } = options
  return {
    protocolVersion: version,
    clientId: options.clientId ?? `parkmq-${randomBytes(6).toString('hex')}`,
    clean: options.clean ?? true,
    keepalive: options.keepaliveSeconds ?? (urls.isSingle ? DEFAULT_KEEPALIVE_SECONDS : MOVING_KEEPALIVE_SECONDS),
    connectTimeout: options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS,
    reconnectPeriod: 0,
    // Otherwise one "server busy" while the broker starts again would be the end.
    reconnectOnConnackError: reconnect,
    ...options.username === undefined ? {} : { username: options.username },
    ...options.password === undefined ? {} : { password: options.password },
    ...options.will === undefined ? {} : { will: { ...options.will, payload: Buffer.from(options.will.payload) } },
    ...version === 5 ? { properties: connectProperties(options) } : {}
  }
}

function connectProperties (options: ConnectOptions): NonNullable<IClientOptions['properties']> {
  return {
    requestResponseInformation: true,
    ...options.sessionExpirySeconds === undefined ? {} : { sessionExpiryInterval: options.sessionExpirySeconds },
    ...options.receiveMaximum === undefined ? {} : { receiveMaximum: options.receiveMaximum }
  }
}

/**
 * Nagle's algorithm together with delayed ACK costs 40 to 90 ms a message, and MQTT.js passes no socket options on.
 * Over WebSocket the stream is no socket, and `ws` sets TCP_NODELAY by itself.
 */
function sendWithoutDelay (client: MqttClient): void {
  if (client.stream instanceof Socket) client.stream.setNoDelay(true)
}

async function firstConnection (client: MqttClient, url: string): Promise<void> {
  let cause: unknown
  const remember = (error: Error): void => { cause ??= error }
  client.on('error', remember)
  // MQTT.js passes on some errors of the network only.
  client.stream.on('error', remember)
  const connected = await new Promise<boolean>(resolve => {
    client.once('connect', () => resolve(true))
    client.once('close', () => resolve(false))
  })
  client.off('error', remember)
  if (connected) return
  client.end(true)
  throw await unreachable(url, cause)
}

/** MQTT 5.0: bad user name or password, not authorized; MQTT 3.1.1: the same. [MQTT-3.2.2-8] */
const LOGIN_REFUSED = new Set([0x86, 0x87, 4, 5])

async function unreachable (url: string, cause: unknown): Promise<Error> {
  const shown = shownUrl(url)
  if (cause instanceof Error && cause.message.startsWith('Connection refused: ')) {
    const why = `the broker at ${shown} refused this client (${cause.message.slice('Connection refused: '.length)})`
    const { code } = cause as { code?: unknown }
    if (typeof code === 'number' && LOGIN_REFUSED.has(code)) return new LoginRefusedError(`${why}: check user and password (--user, PARKMQ_PASSWORD), and whether this user may connect with this client id`, { cause })
    return new UnreachableError(url, `${why}: try again later, or with another client id`, { cause })
  }
  const failure = failureOf(new URL(url), cause) ?? await checkPort(new URL(url), cause)
  if (failure !== null) return new UnreachableError(url, failure, { cause })
  return new UnreachableError(url, `no broker answers at ${shown} (${reasonOf(cause)}): is parkmq running? start it with \`npm start\``, { cause })
}

function reasonOf (cause: unknown): string {
  if (!(cause instanceof Error)) return 'the connection was closed'
  // Node's error for a host with several addresses has no message of its own.
  return cause.message || String((cause as NodeJS.ErrnoException).code ?? cause.name)
}

function endNow (client: MqttClient): void {
  failOpen(client)
  client.end(true)
}

/** MQTT.js forgets the callers of unacknowledged publishes when a connection ends; they get their error here. */
function failOpen (client: MqttClient): void {
  for (const [id, { cb }] of Object.entries(client.outgoing)) {
    Reflect.deleteProperty(client.outgoing, id)
    cb(new Error('the connection to the broker was lost before it acknowledged'))
  }
}
