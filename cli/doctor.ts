// `parkmq doctor`: the settings as they will be used and where each comes from, and checks of what usually goes wrong.
import { X509Certificate } from 'node:crypto'
import { access, constants, stat, statfs } from 'node:fs/promises'
import { createServer, isIP } from 'node:net'
import { dirname, resolve } from 'node:path'
import { connect, rootCertificates } from 'node:tls'
import { Command } from 'commander'
import { readCertificates } from '../broker/tls.js'
import { loadConfig, urlOf, type Config } from '../shared/config.js'
import { messageOf } from '../shared/errors.js'
import { shownUrl } from '../shared/broker-urls.js'
import { connectMqtt, endMqtt, LoginRefusedError, type ConnectOptions } from '../shared/mqtt-client.js'
import { createRequester } from '../shared/requester.js'
import { isFolderInUse } from '../storage/sqlite.js'
import { accessChecks } from './access-checks.js'
import { checkDatabase } from './database-check.js'
import { checkDisk } from './disk-check.js'
import { accessJson, accessText } from './access-table.js'
import { shownChecks, type Check } from './check.js'
import { loginOf, withLogin, type LoginOptions } from './client.js'
import { EXIT } from './exit.js'
import { table } from './table.js'

interface DoctorOptions extends LoginOptions {
  access?: boolean
  json?: boolean
  config?: string
  host?: string
  port?: string
  wsPort?: string
  data?: string
  database?: string
  users?: string
  allowAnonymous?: boolean
  tlsCert?: string
  tlsKey?: string
  tlsCa?: string
}

const EXAMPLES = `
The options from --config to --tls-ca are those of \`parkmq start\`: what is checked is what a start with them would do. The
others are for the running broker, which is asked whether it answers.

Examples:
  parkmq doctor
  parkmq doctor --host 0.0.0.0 --tls-cert server.pem --tls-key server.key
  parkmq doctor --access                  who may do what: topics and requests by role

Exit codes: 0 nothing is wrong, though there may be warnings; 1 something is; 2 a setting is wrong.`

export function doctorCommand (): Command {
  return withLogin(new Command('doctor')
    .description('print the settings with their sources, and check what usually goes wrong')
    .option('--access', 'print who may do what, by role, and nothing else')
    .option('--config <file>', 'settings in YAML or JSON (PARKMQ_CONFIG)')
    .option('--data <folder>', 'folder of the ledger')
    .option('--database <url>', 'PostgreSQL database of the ledger')
    .option('--host <address>', 'address to listen on')
    .option('--port <port>', 'MQTT over TCP')
    .option('--ws-port <port>', 'MQTT over WebSocket')
    .option('--users <file>', 'who may log in')
    .option('--allow-anonymous', 'let in whoever gives no user name')
    .option('--tls-cert <file>', 'speak TLS with this certificate')
    .option('--tls-key <file>', 'its private key')
    .option('--tls-ca <file>', 'know clients by certificates that this authority signed'))
    .option('--json', 'print as JSON, for programs')
    .addHelpText('after', EXAMPLES)
    .action(async ({ access: onlyAccess, ...options }: DoctorOptions) => {
      if (onlyAccess) process.stdout.write(`${options.json ? accessJson() : accessText()}\n`)
      else await examine(options)
    })
}

async function examine ({ config: file, json, host, port, wsPort, data, database, users, allowAnonymous, tlsCert, tlsKey, tlsCa, ...login }: Omit<DoctorOptions, 'access'>): Promise<void> {
  const flags = { host, port, wsPort, data, database, users, allowAnonymous, 'tls.cert': tlsCert, 'tls.key': tlsKey, 'tls.ca': tlsCa }
  const { config, sources } = loadConfig({ file, flags })
  const checks = await runChecks(config, login)
  if (json) process.stdout.write(`${JSON.stringify({ config: { ...config, ...shownUrls(config) }, sources, checks })}\n`)
  else {
    const settings = Object.entries(sources).map(([key, source]) => [key, shown(config[key as keyof Config]), source])
    process.stdout.write(`${table(['SETTING', 'VALUE', 'FROM'], settings)}\n\n${shownChecks(checks)}\n`)
  }
  if (checks.some(check => check.ok === false)) process.exitCode = EXIT.refused
}

/** Without passwords. */
function shownUrls ({ broker, database }: Config): Partial<Config> {
  return { ...(broker !== undefined && { broker: shownUrl(broker) }), ...(database !== undefined && { database: shownUrl(database) }) }
}

function shown (value: unknown): string {
  if (value === undefined) return 'off'
  if (typeof value === 'string') return shownUrl(value)
  if (Array.isArray(value)) {
    const names = value.slice(0, 6).map((item: string | { lot: string } | { permit: string }) => typeof item === 'string' ? item : 'lot' in item ? item.lot : item.permit)
    return value.length === 0 ? 'none' : `${names.join(', ')}${value.length > 6 ? `, ... (${value.length})` : ''}`
  }
  if (typeof value === 'object' && value !== null) return Object.entries(value as Record<string, unknown>).map(([k, v]) => typeof v === 'object' ? k : `${k}=${v as string | number | boolean}`).join('\n')
  return JSON.stringify(value)
}

async function runChecks (config: Config, login: LoginOptions): Promise<Check[]> {
  const service = await checkService(config, login)
  const needed = config.broker !== undefined
  const ports = service.answers || needed ? [] : [await checkPort('MQTT port', config.host, config.port), await checkPort('WebSocket port', config.host, config.wsPort)]
  if (config.httpPort !== undefined && !service.answers) ports.push(await checkPort('HTTP port', config.host, config.httpPort))
  return [checkNode(), ...await checkData(config.data), ...config.database === undefined ? [] : [await checkDatabase(config.database)], ...await accessChecks(config), ...ports, service.answers || needed ? service.check : { ...service.check, ok: null }]
}

function checkNode (): Check {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const ok = major > 20 || (major === 20 && minor >= 19)
  return { name: 'Node.js', ok, said: ok ? process.version : `${process.version}; parkmq needs 20.19 or newer` }
}

/** The folder, and the disk that it is on where that can be written. */
async function checkData (data: string): Promise<Check[]> {
  const name = 'data folder'
  const path = resolve(data)
  try {
    const about = await stat(path).catch(() => null)
    if (about !== null && !about.isDirectory()) return [{ name, ok: false, said: `${path} is a file; choose a folder with --data` }]
    if (about !== null && isFolderInUse(path)) return [{ name, ok: null, said: `${path} is in use by a running parkmq` }, await checkDisk(path)]
    const there = await access(path, constants.W_OK).then(() => path, async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error
      await access(dirname(path), constants.W_OK)
      return dirname(path)
    })
    const { bavail, bsize } = await statfs(there)
    const freeMb = Math.floor(bavail * bsize / 1e6)
    const folder: Check = { name, ok: freeMb > 100, said: `${path}${there === path ? '' : ' (will be made)'}, ${freeMb} MB free${freeMb > 100 ? '' : ': make room, or choose another with --data'}` }
    return [folder, await checkDisk(there)]
  } catch (error) {
    return [{ name, ok: false, said: `${path} cannot be written: ${messageOf(error)}; choose another with --data` }]
  }
}

async function checkPort (name: string, host: string, port: number): Promise<Check> {
  const server = createServer()
  try {
    await new Promise<void>((done, fail) => server.once('error', fail).listen(port, host, done))
    return { name, ok: true, said: `${host}:${port} is free` }
  } catch (error) {
    return { name, ok: false, said: `${host}:${port}: ${messageOf(error)}` }
  } finally {
    server.close()
  }
}

/** How to reach this machine's own broker: its certificate is known here, and it need not be for the address that it listens on. */
async function ownTls (tls: NonNullable<Config['tls']>, { tls: given }: ConnectOptions): Promise<ConnectOptions['tls']> {
  const { cert, names: [servername] } = await readCertificates(tls, Date.now())
  return { ...given, ca: [...given?.ca ?? rootCertificates, cert.toString()], ...servername !== undefined && isIP(servername) === 0 && { servername } }
}

/** `answers`: a broker is there, whatever it thinks of this client. */
async function checkService (config: Config, options: LoginOptions): Promise<{ readonly answers: boolean, readonly check: Check }> {
  const url = config.broker ?? urlOf(config.tls ? 'mqtts' : 'mqtt', config.host, config.port)
  const shownAs = shownUrl(url)
  let answers = false
  const result = (ok: boolean | null, said: string): Awaited<ReturnType<typeof checkService>> => ({ answers, check: { name: 'running service', ok, said } })
  try {
    const login = await loginOf(url, config.broker === undefined ? options : { ...config.brokerTls, ...options })
    const tls = config.tls && config.broker === undefined ? await ownTls(config.tls, login) : login.tls
    const client = await connectMqtt(url, { ...login, ...tls && { tls }, connectTimeoutMs: 2_000 }).catch((error: unknown) => {
      answers = error instanceof LoginRefusedError
      // Whoever did not say who it is has not been refused anything.
      if (answers && login.username === undefined) return null
      throw error
    })
    if (client === null) return result(null, `${shownAs} answers, and lets in only users: give --user for more`)
    answers = true
    try {
      const requester = await createRequester(client, { timeoutMs: 2_000, retries: 0 })
      try {
        const reply = await requester.request('ping', {})
        return result(reply.ok, reply.ok ? `${shownAs} answers: ${JSON.stringify(reply.result)}` : `${shownAs} answers ${reply.error.code}`)
      } finally {
        await requester.close()
      }
    } finally {
      await endMqtt(client)
    }
  } catch (error) {
    if (!answers && config.tls && config.broker === undefined && await showsCertificate(config.host, config.port, config.tls)) {
      answers = true
      return result(null, `${shownAs} runs with this certificate; give its authority with --ca for more`)
    }
    return result(false, answers ? messageOf(error) : `none: ${messageOf(error)}`)
  }
}

/** Whether the certificate of these settings is shown at their port. Nothing is sent there but the handshake. */
async function showsCertificate (host: string, port: number, tls: NonNullable<Config['tls']>): Promise<boolean> {
  const { cert } = await readCertificates(tls, Date.now())
  return await new Promise(resolve => {
    const socket = connect({ host, port, rejectUnauthorized: false, timeout: 2_000 })
    const end = (isShown: boolean): void => {
      resolve(isShown)
      socket.destroy()
    }
    socket.once('secureConnect', () => end(socket.getPeerX509Certificate()?.fingerprint256 === new X509Certificate(cert).fingerprint256))
      .once('timeout', () => end(false)).on('close', () => end(false)).on('error', () => end(false))
  })
}
