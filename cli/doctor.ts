// `parkmq doctor`: the settings as they will be used and where each comes from, and checks of what usually goes wrong.
import { access, constants, stat, statfs } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname, resolve } from 'node:path'
import { Command } from 'commander'
import { loadConfig, urlOf, type Config } from '../shared/config.js'
import { messageOf } from '../shared/errors.js'
import { connectMqtt, endMqtt, shownUrl } from '../shared/mqtt-client.js'
import { createRequester } from '../shared/requester.js'
import { isFolderInUse } from '../storage/sqlite.js'
import { EXIT } from './exit.js'
import { table } from './table.js'

interface Check {
  readonly name: string
  /** Null for what is neither right nor wrong. */
  readonly ok: boolean | null
  readonly said: string
}

export function doctorCommand (): Command {
  return new Command('doctor')
    .description('print the settings with their sources, and check what usually goes wrong')
    .option('--config <file>', 'settings in YAML or JSON (PARKMQ_CONFIG)')
    .option('--data <folder>', 'folder of the ledger')
    .option('--port <port>', 'MQTT over TCP')
    .option('--json', 'print as JSON, for programs')
    .action(async ({ config: file, json, ...flags }: { config?: string, data?: string, port?: string, json?: boolean }) => {
      const { config, sources } = loadConfig({ file, flags })
      const checks = await runChecks(config)
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

async function runChecks (config: Config): Promise<Check[]> {
  const running = await checkService(config)
  const needed = config.broker !== undefined
  const ports = running.ok || needed ? [] : [await checkPort('MQTT port', config.host, config.port), await checkPort('WebSocket port', config.host, config.wsPort)]
  if (config.httpPort !== undefined && !running.ok) ports.push(await checkPort('HTTP port', config.host, config.httpPort))
  return [checkNode(), await checkFolder(config.data), ...ports, running.ok || needed ? running : { ...running, ok: null }]
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

async function checkService (config: Config): Promise<Check> {
  const url = config.broker ?? urlOf('mqtt', config.host, config.port)
  const shownAs = shownUrl(url)
  const name = 'running service'
  try {
    const client = await connectMqtt(url, { connectTimeoutMs: 2_000 })
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
