// The settings: defaults, then the config file (YAML or JSON), then PARKMQ_* variables, then flags; the later wins.
// Strict: an unknown or wrong setting stops the start and is named. The only place that reads the environment.
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { z } from 'zod'
import { messageOf, OperatorError } from './errors.js'
import type { Id as IdType } from './lot.js'
import { MAX_NODE_URLS, NodeUrl } from './nodes.js'
import { ConfiguredLot, firstIssue, Id, NewLot, TimeZone } from './schemas.js'

// Flags and variables are text; a file has numbers.
const port = z.preprocess(value => typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value, z.int().min(0).max(65_535))
const count = (least: number) => z.int().min(least)
const yesOrNo = z.preprocess(value => value === 'true' ? true : value === 'false' ? false : value, z.boolean())

const file = (flag: string) => z.string({ error: ({ input }) => input === undefined ? `is missing: name the file, also with ${flag}` : 'is not the name of a file' }).min(1)

/** Integers throughout: cents and minutes. `services/reservation/tariffs.ts` has the rule. */
export const Tariff = z.strictObject({
  /** The price of each interval that has begun. */
  intervalMinutes: z.int().min(1).max(7 * 24 * 60),
  intervalCents: z.int().min(0).max(1_000_000),
  /** Minutes at the beginning of each stay that cost nothing. */
  freeMinutes: z.int().min(0).max(7 * 24 * 60).default(0),
  /** The most that 24 hours cost, counted from the beginning of the stay. */
  dayCapCents: z.int().min(0).max(100_000_000).optional()
})
export type Tariff = z.infer<typeof Tariff>
const STANDARD_TARIFF: Tariff = { intervalMinutes: 60, intervalCents: 200, freeMinutes: 15, dayCapCents: 1_500 }

export const ConfiguredPermit = z.strictObject({
  permit: Id,
  name: z.string().trim().min(1).max(100),
  priceCents: z.int().min(0).max(100_000_000),
  /** How many may be sold in all: what is left is this less what was sold. */
  stock: z.int().min(0).max(10_000_000)
})
export type ConfiguredPermit = z.infer<typeof ConfiguredPermit>
const PERMITS: ConfiguredPermit[] = [
  { permit: 'DAY' as IdType, name: 'One day, all lots', priceCents: 1_200, stock: 200 },
  { permit: 'MONTH' as IdType, name: 'One month, all lots', priceCents: 9_000, stock: 50 }
]

/** The usual ports of MQTT; those of the embedded broker when none are set. */
export const DEFAULT_PORTS = { plain: { port: 1883, wsPort: 9001 }, tls: { port: 8883, wsPort: 9443 } } as const

/** Every setting with its default and its meaning; docs/settings.md is made from it. Times end in `Ms`, sizes in `Bytes`. */
export const Config = z.strictObject({
  host: z.string().min(1).default('127.0.0.1').describe('address to listen on'),
  port: port.default(DEFAULT_PORTS.plain.port).describe(`MQTT over TCP (default with \`tls\`: ${DEFAULT_PORTS.tls.port}); 0 takes any free port`),
  wsPort: port.default(DEFAULT_PORTS.plain.wsPort).describe(`MQTT over WebSocket (default with \`tls\`: ${DEFAULT_PORTS.tls.wsPort}); 0 takes any free port`),
  tls: z.strictObject({
    cert: file('--tls-cert').describe('file of the certificate, followed by those between it and its authority, in PEM; with it both listeners speak TLS and nothing else'),
    key: file('--tls-key').describe('file of the private key of `tls.cert`, in PEM, without a passphrase'),
    ca: file('--tls-ca').optional().describe('file of the authorities whose client certificates are known, in PEM'),
    clientCertificates: z.enum(['none', 'optional', 'required']).optional().describe('whether clients are asked for a certificate of `tls.ca`, and must have one; when absent, `optional` with `tls.ca` and `none` without')
  }).optional(),
  wsOrigins: z.array(z.string()).default([]).describe('origins of web pages, such as https://display.example, that may connect besides those of this host'),
  httpPort: port.optional().describe('/health and /metrics; 0 takes any free port'),
  data: z.string().min(1).default('./data').describe('folder of the ledger, and of what the broker keeps; with `database` of the latter alone'),
  database: z.string().regex(/^postgres(ql)?:\/\//, { error: 'must begin with postgres://' }).optional().describe('keep the ledger in this PostgreSQL database, such as postgres://parkmq@h1,h2/parkmq, which several nodes may share; of several hosts the one that can be written is used'),
  users: z.string().min(1).optional().describe('file of the users (`parkmq user`); when absent, `users.yaml` in the data folder if that is there'),
  allowAnonymous: yesOrNo.default(false).describe('let in whoever gives no user name: where there are users, as a display; where there are none, with every right and from wherever `host` can be reached'),
  broker: z.url({ protocol: /^(mqtts?|wss?)$/ }).optional().describe('use this MQTT 5 broker instead of the embedded one'),
  brokerPrefix: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$/, { error: 'must be 1 to 32 letters, digits, hyphens and underscores' }).default('parkmq').describe('what the client ids of this process at `broker` begin with; with `database`, all processes with the same one share the lots, and another parkmq on that broker needs another'),
  brokerTls: z.strictObject({
    ca: file('--broker-ca').optional().describe('file of the authority that signed the certificate of `broker`, in PEM; it is trusted besides the usual ones'),
    cert: file('--broker-cert').optional().describe('file of the certificate that `broker` knows this process by, in PEM'),
    key: file('--broker-key').optional().describe('file of its private key, in PEM, without a passphrase')
  }).optional(),
  cameras: z.string().min(1).optional().describe('folder of the configurations of cameras (`parkmq camera calibrate` writes them); with it their frames are looked at in this process'),
  cameraWorkers: z.preprocess(value => typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value, count(1).max(16)).default(1).describe('processes that look at frames'),
  node: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/).default('node-1').describe('name of this process in services/{service}/{node}/status, and among those on the same `database`'),
  advertise: z.preprocess(value => typeof value === 'string' ? value.split(',').map(url => url.trim()) : value, z.array(NodeUrl).min(1).max(MAX_NODE_URLS)).optional().describe('URLs by which clients reach this node, which all nodes on the same `database` tell on `cluster/nodes`; when absent, those of its listeners, with the name of the machine where `host` is every address'),
  logLevel: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info').describe('least level that is logged'),
  limits: z.strictObject({
    packetBytes: count(1_024).max(16 * 1024 * 1024).default(512 * 1024).describe('largest MQTT packet that is accepted, in bytes'),
    sessionExpirySeconds: count(0).max(0xfffffffe).default(7 * 24 * 3_600).describe('longest time that a disconnected session is kept, in seconds'),
    pendingSessions: count(0).default(10_000).describe('most disconnected sessions that are kept'),
    connectTimeoutMs: count(100).default(10_000).describe('how long a new connection may take to send its CONNECT'),
    connections: count(1).default(10_000).describe('most connections at once'),
    connectionsPerAddress: count(1).default(5_000).describe('most connections at once from one address'),
    loginsPerAddress: count(1).default(2_000).describe('most log-ins of one address (IPv6: of one /64) that wait to be checked; others are sent away after the same wait'),
    keepAliveSeconds: count(1).max(65_535).default(300).describe('longest keep alive: an MQTT 5.0 client that asks for a longer one, or none, is given this one, in seconds'),
    publishesPerSecond: count(1).default(100_000).describe('most messages that one client publishes in a second; a faster one is read more slowly'),
    receiveMaximum: count(1).max(65_535).default(1_000).describe('most messages of QoS 1 and 2 that an MQTT 5.0 client may have unacknowledged (Receive Maximum)'),
    qos2Ids: count(1).default(1_000_000).describe('most received QoS 2 messages of all clients together that are not released (PUBREL) yet; a user, or a client without one, may have as many as is left for all others, and each session 20 in any case'),
    subscriptionsPerClient: count(1).default(1_000).describe('most subscriptions of one client'),
    topicLevels: count(1).max(1_000).default(100).describe('most levels of a topic or filter'),
    clientIdBytes: count(23).max(65_535).default(256).describe('longest client id, in bytes'),
    topicBytes: count(16).max(65_535).default(4_096).describe('longest topic or filter, in bytes'),
    maxInflight: count(1).max(65_535).default(20).describe('most messages of QoS 1 and 2 on their way to one client unacknowledged; its Receive Maximum counts if it is lower'),
    queueMessages: count(1).default(1_000).describe('most messages that wait for one client, without those of which only the newest of a topic waits'),
    queueBytes: count(65_536).default(8 * 1024 * 1024).describe('most bytes that wait for one client'),
    queuedBytes: count(65_536).default(256 * 1024 * 1024).describe('most bytes that wait for all clients together'),
    retainedMessages: count(0).default(100_000).describe('most retained messages of clients; those of the services come on top'),
    retainedBytes: count(0).default(64 * 1024 * 1024).describe('most bytes of retained messages of clients'),
    reservationsPerPlate: count(1).default(10).describe('most reservations of one plate whose car has not come, those on waiting lists among them'),
    reservationsPerUser: count(1).default(100).describe('the same of one user; operators and services have no such limit'),
    waitingPerLot: count(0).default(1_000).describe('most on the waiting list of one lot'),
    monitorsPerClient: count(0).default(10).describe('most lots that one client monitors at once'),
    monitors: count(0).default(10_000).describe('most monitors of all clients together'),
    frameBytes: count(1_024).max(16 * 1024 * 1024).default(4 * 1024 * 1024).describe('largest picture of a camera that is looked at, in bytes; `packetBytes` holds as well'),
    framePixels: count(1_024).max(100_000_000).default(16_000_000).describe('the same in pixels: a small file may claim to be a huge picture'),
    databaseConnections: count(5).max(1_000).default(10).describe('most connections to `database`, besides one for the changes of other nodes'),
    sensorsPerLot: count(1).default(10_000).describe('most sensors with an identity that one lot remembers')
  }).prefault({}),
  times: z.strictObject({
    staleAfterMs: count(100).default(15 * 60_000).describe('no word from a lot\'s sensors for this long makes it stale'),
    gapGraceMs: count(0).default(5_000).describe('a missing sensor message that does not come within this time is a gap'),
    holdMs: count(1_000).default(300_000).describe('length of a hold when the request names none'),
    arrivalGraceMs: count(0).default(120_000).describe('how long a place stays held after arrive while no sensor has counted the car'),
    maxStayMs: count(1_000).default(24 * 3_600_000).describe('how long an arrived hold, or a booking that has overstayed, waits for depart'),
    noShowMs: count(0).default(30 * 60_000).describe('a booking whose car has not come this long after its begin is given up'),
    earlyArrivalMs: count(0).default(15 * 60_000).describe('how long before its begin the car of a booking may come, if a place is free'),
    bookAheadMs: count(60_000).default(366 * 24 * 3_600_000).describe('how far ahead bookings may end'),
    waitMs: count(1_000).default(2 * 3_600_000).describe('how long somebody stays on a waiting list for a hold; for a booking it is until its begin'),
    conflictNoticeMs: count(0).default(30 * 60_000).describe('when a booking overstays, how far ahead the next one is told that its place may be missing'),
    historyMs: count(60_000).default(24 * 3_600_000).describe('how long replies are kept for repeats, at least a minute'),
    auditMs: count(1_000).default(90 * 24 * 3_600_000).describe('how long the audit, ended reservations and the plates of permits that were sold are kept'),
    sensorMs: count(1_000).default(90 * 24 * 3_600_000).describe('how long the identity of a silent sensor is kept'),
    loginDelayMs: count(0).default(5_000).describe('longest wait that failed log-ins bring upon the next one of the same address or user name'),
    loginForgetMs: count(1_000).default(15 * 60_000).describe('how long failed log-ins are remembered'),
    leaseMs: count(500).max(60_000).default(2_000).describe('with `broker` and `database`: how long the share of a process that is gone waits for another; it is prolonged four times in that time'),
    sysMs: count(0).default(10_000).describe('how often the broker publishes its numbers on $SYS/broker/...; 0: never')
  }).prefault({}),
  timeZone: TimeZone.optional().describe('time zone of lots that name none, such as Europe/Berlin; when absent, that of the machine'),
  currency: z.string().regex(/^[A-Z]{3}$/, { error: 'must be three capitals such as EUR' }).default('EUR').describe('currency of all prices'),
  tariffs: z.record(Id, Tariff).default(() => ({ ['standard' as IdType]: STANDARD_TARIFF })).describe('prices of parking, by name; a lot has the tariff `standard` unless it names another'),
  permits: z.array(ConfiguredPermit).default(() => PERMITS).describe('permits that may be bought'),
  lots: z.array(ConfiguredLot).default([
    lot('LOT-A', 100, 50), lot('LOT-B', 150, 75), lot('LOT-C', 80, 40), lot('LOT-D', 200, 120)
  ]).describe('lots that are made when the ledger first sees them here')
})
export type Config = z.infer<typeof Config>

function lot (id: string, capacity: number, occupied: number): NewLot {
  return NewLot.parse({ lot: id, capacity, occupied })
}

/** The settings that have an environment variable and (in the CLI) a flag. */
export const VARIABLES = {
  PARKMQ_HOST: 'host', PARKMQ_PORT: 'port', PARKMQ_WS_PORT: 'wsPort', PARKMQ_HTTP_PORT: 'httpPort', PARKMQ_DATA: 'data', PARKMQ_DATABASE: 'database',
  PARKMQ_USERS: 'users', PARKMQ_ALLOW_ANONYMOUS: 'allowAnonymous',
  PARKMQ_BROKER: 'broker', PARKMQ_BROKER_PREFIX: 'brokerPrefix', PARKMQ_NODE: 'node', PARKMQ_ADVERTISE: 'advertise', PARKMQ_CAMERAS: 'cameras', PARKMQ_CAMERA_WORKERS: 'cameraWorkers', PARKMQ_LOG_LEVEL: 'logLevel',
  PARKMQ_TLS_CERT: 'tls.cert', PARKMQ_TLS_KEY: 'tls.key', PARKMQ_TLS_CA: 'tls.ca',
  PARKMQ_CA: 'brokerTls.ca', PARKMQ_CERT: 'brokerTls.cert', PARKMQ_KEY: 'brokerTls.key'
} as const satisfies Record<string, keyof Config | `tls.${keyof NonNullable<Config['tls']>}` | `brokerTls.${keyof NonNullable<Config['brokerTls']>}`>

type Setting = (typeof VARIABLES)[keyof typeof VARIABLES]

export type Source = 'default' | 'file' | 'environment' | 'flag'

export interface LoadedConfig {
  readonly config: Config
  /** Where each top-level setting comes from. */
  readonly sources: Readonly<Record<keyof Config, Source>>
}

export interface ConfigInputs {
  /** `--config`; PARKMQ_CONFIG when absent. */
  readonly file?: string | undefined
  readonly flags?: Partial<Record<Setting, unknown>>
  readonly env?: NodeJS.ProcessEnv
}

/** Reads the settings. Throws `OperatorError` (`bad_config`) that names the setting, its value and where it came from. */
export function loadConfig ({ file, flags = {}, env = process.env }: ConfigInputs): LoadedConfig {
  const path = file ?? env.PARKMQ_CONFIG
  const values: Record<string, unknown> = path === undefined ? {} : readFile(path)
  const sources: Record<string, Source> = Object.fromEntries(Object.keys(Config.shape).map(key => [key, key in values ? 'file' : 'default']))
  for (const [variable, key] of Object.entries(VARIABLES)) {
    if (env[variable] === undefined || env[variable] === '') continue
    set(values, key, env[variable])
    sources[topLevel(key)] = 'environment'
  }
  for (const [key, value] of Object.entries(flags)) {
    if (value === undefined) continue
    set(values, key, value)
    sources[topLevel(key)] = 'flag'
  }
  if (values.tls !== undefined) {
    values.port ??= DEFAULT_PORTS.tls.port
    values.wsPort ??= DEFAULT_PORTS.tls.wsPort
  }
  const parsed = Config.safeParse(values)
  if (!parsed.success) {
    const at = parsed.error.issues[0]?.path ?? []
    const from = sources[String(at[0])]
    const origin = from === 'file' ? ` in ${path}` : from === 'environment' ? ' from the environment' : from === 'flag' ? ' from the command line' : path ? ` in ${path}` : ''
    const value = at.reduce<unknown>((inside, key) => (inside as Record<PropertyKey, unknown> | undefined)?.[key], values)
    // What has a key too many is all that there is, from wherever it came.
    const isUnknown = parsed.error.issues[0]?.code === 'unrecognized_keys'
    throw new OperatorError('bad_config', `wrong setting${origin}: ${firstIssue(parsed.error)}${value === undefined || isUnknown ? '' : `, got ${withoutPassword(JSON.stringify(value))}`}`)
  }
  const { tls } = parsed.data
  if (tls?.ca === undefined && tls?.clientCertificates !== undefined && tls.clientCertificates !== 'none') {
    throw new OperatorError('bad_config', `wrong setting: tls.clientCertificates is ${tls.clientCertificates} and tls.ca is missing: name the file of the authority that signs them, also with --tls-ca`)
  }
  refuseTwice('lots', parsed.data.lots.map(({ lot }) => lot))
  refuseTwice('permits', parsed.data.permits.map(({ permit }) => permit))
  for (const { lot: id, tariff } of parsed.data.lots) {
    if (tariff !== 'standard' && !Object.hasOwn(parsed.data.tariffs, tariff)) throw new OperatorError('bad_config', `wrong setting: the lot ${id} has the tariff ${tariff}, which is not among tariffs (${Object.keys(parsed.data.tariffs).join(', ') || 'none'})`)
  }
  return { config: parsed.data, sources: sources as Record<keyof Config, Source> }
}

function refuseTwice (setting: string, ids: readonly string[]): void {
  const twice = ids.find((id, at) => ids.indexOf(id) !== at)
  if (twice !== undefined) throw new OperatorError('bad_config', `wrong setting: ${setting} names ${twice} twice`)
}

/** The time zone of lots that name none. */
export function timeZoneOf (config: Pick<Config, 'timeZone'>): string {
  return config.timeZone ?? Intl.DateTimeFormat().resolvedOptions().timeZone
}

/** Sets `port`, or `tls.cert` inside its table. */
function set (values: Record<string, unknown>, key: string, value: unknown): void {
  const [outer = '', inner] = key.split('.')
  if (inner === undefined) values[outer] = value
  // A table that is none is left as it is, to be refused.
  else if (typeof (values[outer] ?? {}) === 'object') values[outer] = { ...(values[outer] as object | undefined), [inner]: value }
}

function topLevel (key: string): string {
  return key.split('.', 1)[0] ?? key
}

/** A broker's URL may carry a password, which must not be shown or logged. */
function withoutPassword (text: string): string {
  return text.replace(/\/\/[^@/"]*@/g, '//...@')
}

function readFile (path: string): Record<string, unknown> {
  let content: unknown
  try {
    content = parse(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new OperatorError('bad_config', `cannot read the config file ${path}: ${messageOf(error)}`, { cause: error })
  }
  if (content === null) return {}
  if (typeof content !== 'object' || Array.isArray(content)) throw new OperatorError('bad_config', `the config file ${path} must be a table of settings`)
  return { ...content }
}

/** `mqtt://host:port`, with brackets around an IPv6 address. */
export function urlOf (scheme: 'mqtt' | 'mqtts' | 'ws' | 'wss' | 'http', host: string, port: number | null): string {
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`
}

/** The broker URL that client commands use when none is given: that of a broker started with the same environment. */
export function defaultUrl (env: NodeJS.ProcessEnv = process.env): string {
  if (env.PARKMQ_URL) return env.PARKMQ_URL
  const tls = Boolean(env.PARKMQ_TLS_CERT)
  const port = env.PARKMQ_PORT || DEFAULT_PORTS[tls ? 'tls' : 'plain'].port
  return urlOf(tls ? 'mqtts' : 'mqtt', env.PARKMQ_HOST || '127.0.0.1', Number(port))
}

/** What client commands take from the environment besides the URL: files, and who they are. */
export interface ClientEnvironment {
  readonly ca: string | undefined
  readonly cert: string | undefined
  readonly key: string | undefined
  readonly user: string | undefined
  readonly password: string | undefined
}

/** PARKMQ_CA, PARKMQ_CERT, PARKMQ_KEY, PARKMQ_USER and PARKMQ_PASSWORD; an empty one counts as none. */
export function clientEnvironment (env: NodeJS.ProcessEnv = process.env): ClientEnvironment {
  return {
    ca: env.PARKMQ_CA || undefined, cert: env.PARKMQ_CERT || undefined, key: env.PARKMQ_KEY || undefined,
    user: env.PARKMQ_USER || undefined, password: env.PARKMQ_PASSWORD || undefined
  }
}
