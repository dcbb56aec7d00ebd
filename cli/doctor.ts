// `parkmq doctor`: the settings as they will be used and where each comes from, and checks of what usually goes wrong.
import { access, constants, stat, statfs } from 'node:fs/promises'
import { createServer, isIP } from 'node:net'
import { dirname, resolve } from 'node:path'
import { rootCertificates } from 'node:tls'
import { Command } from 'commander'
import { readCertificates } from '../broker/tls.js'
import { loadConfig, urlOf, type Config } from '../shared/config.js'
import { messageOf } from '../shared/errors.js'
import { connectMqtt, endMqtt, shownUrl, type ConnectOptions } from '../shared/mqtt-client.js'
import { createRequester } from '../shared/requester.js'
import { isFolderInUse } from '../storage/sqlite.js'
import { loginOf, withLogin, type LoginOptions } from './client.js'
import { EXIT } from './exit.js'
import { table } from './table.js'

const DAY_MS = 24 * 3_600_000
/** How long before its end a certificate is warned of, in days. */
const WARN_DAYS = 14

interface Check {
  readonly name: string
  /** Null for what is neither right nor wrong. */
  readonly ok: boolean | null
  readonly said: string
}

export function doctorCommand (): Command {
  return withLogin(new Command('doctor')
    .description('print the settings with their sources, and check what usually goes wrong'))
    .option('--config <file>', 'settings in YAML or JSON (PARKMQ_CONFIG)')
    .option('--data <folder>', 'folder of the ledger')
    .option('--port <port>', 'MQTT over TCP')
    .option('--json', 'print as JSON, for programs')
    .action(async ({ config: file, json, data, port, ...login }: LoginOptions & { config?: string, data?: string, port?: string, json?: boolean }) => {
      const { config, sources } = loadConfig({ file, flags: { data, port } })
      const checks = await runChecks(config, login)
      if (json) process.stdout.write(`${JSON.stringify({ config: { ...config, ...(config.broker !== undefined && { broker: shownUrl(config.broker) }) }, sources, checks })}\n`)
      else {
        const settings = Object.entries(sources).map(([key, source]) => [key, shown(config[key as keyof Config]), source])
        process.stdout.write(`${table(['SETTING', 'VALUE', 'FROM'], settings)}\n\n${table(['CHECK', '', 'FOUND'], checks.map(c => [c.name, c.ok === null ? '-' : c.ok ? 'ok' : 'NO', c.said]))}\n`)
      }
      if (checks.some(check => check.ok === false)) process.exitCode = EXIT.refused
    })
}

function shown (value: unknown): string {
  if (value === undefined) return 'off'
  if (typeof value === 'string') return shownUrl(value)
  if (Array.isArray(value)) {
    const names = value.slice(0, 6).map(item => typeof item === 'string' ? item : (item as { lot: string }).lot)
    return value.length === 0 ? 'none' : `${names.join(', ')}${value.length > 6 ? `, ... (${value.length})` : ''}`
  }
  if (typeof value === 'object' && value !== null) return Object.entries(value as Record<string, number>).map(([k, v]) => `${k}=${v}`).join('\n')
  return JSON.stringify(value)
}

async function runChecks (config: Config, login: LoginOptions): Promise<Check[]> {
  const running = await checkService(config, login)
  const needed = config.broker !== undefined
  const ports = running.ok || needed ? [] : [await checkPort('MQTT port', config.host, config.port), await checkPort('WebSocket port', config.host, config.wsPort)]
  if (config.httpPort !== undefined && !running.ok) ports.push(await checkPort('HTTP port', config.host, config.httpPort))
  return [checkNode(), await checkFolder(config.data), ...config.tls && !needed ? [await checkCertificate(config.tls)] : [], ...ports, running.ok || needed ? running : { ...running, ok: null }]
}

function checkNode (): Check {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const ok = major > 20 || (major === 20 && minor >= 19)
  return { name: 'Node.js', ok, said: ok ? process.version : `${process.version}; parkmq needs 20.19 or newer` }
}

async function checkFolder (data: string): Promise<Check> {
  const path = resolve(data)
  try {
    const about = await stat(path).catch(() => null)
    if (about !== null && !about.isDirectory()) return { name: 'data folder', ok: false, said: `${path} is a file; choose a folder with --data` }
    if (about !== null && isFolderInUse(path)) return { name: 'data folder', ok: null, said: `${path} is in use by a running parkmq` }
    const there = await access(path, constants.W_OK).then(() => path, async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error
      await access(dirname(path), constants.W_OK)
      return dirname(path)
    })
    const { bavail, bsize } = await statfs(there)
    const freeMb = Math.floor(bavail * bsize / 1e6)
    return { name: 'data folder', ok: freeMb > 100, said: `${path}${there === path ? '' : ' (will be made)'}, ${freeMb} MB free${freeMb > 100 ? '' : ': make room, or choose another with --data'}` }
  } catch (error) {
    return { name: 'data folder', ok: false, said: `${path} cannot be written: ${messageOf(error)}; choose another with --data` }
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

/** What the certificate of the listeners is for and how long it lasts. */
async function checkCertificate (tls: NonNullable<Config['tls']>): Promise<Check> {
  const name = 'certificate'
  try {
    const { names, endsAtMs } = await readCertificates(tls, Date.now())
    const days = Math.floor((endsAtMs - Date.now()) / DAY_MS)
    const said = `${tls.cert} is for ${names.length > 0 ? names.join(', ') : 'no name at all, which clients refuse'} and ends in ${days} days, on ${new Date(endsAtMs).toISOString().slice(0, 10)}`
    return { name, ok: days >= WARN_DAYS && names.length > 0, said: days >= WARN_DAYS ? said : `${said}: renew it; a running parkmq takes the new files by itself` }
  } catch (error) {
    return { name, ok: false, said: messageOf(error) }
  }
}

/** How to reach this machine's own broker: its certificate is known here, and it need not be for the address that it listens on. */
async function ownTls (tls: NonNullable<Config['tls']>, { tls: given }: ConnectOptions): Promise<ConnectOptions['tls']> {
  const { cert, names: [servername] } = await readCertificates(tls, Date.now())
  return { ...given, ca: [...given?.ca ?? rootCertificates, cert.toString()], ...servername !== undefined && isIP(servername) === 0 && { servername } }
}

async function checkService (config: Config, options: LoginOptions): Promise<Check> {
  const url = config.broker ?? urlOf(config.tls ? 'mqtts' : 'mqtt', config.host, config.port)
  const shownAs = shownUrl(url)
  const name = 'running service'
  try {
    const login = await loginOf(url, config.broker === undefined ? options : { ...config.brokerTls, ...options })
    const tls = config.tls && config.broker === undefined ? await ownTls(config.tls, login) : login.tls
    const client = await connectMqtt(url, { ...login, ...tls && { tls }, connectTimeoutMs: 2_000 })
    try {
      const requester = await createRequester(client, { timeoutMs: 2_000, retries: 0 })
      try {
        const reply = await requester.request('ping', {})
        return { name, ok: reply.ok, said: reply.ok ? `${shownAs} answers: ${JSON.stringify(reply.result)}` : `${shownAs} answers ${reply.error.code}` }
      } finally {
        await requester.close()
      }
    } finally {
      await endMqtt(client)
    }
  } catch (error) {
    return { name, ok: false, said: `none: ${messageOf(error)}` }
  }
}
