// Starts Debian's mosquitto on a free port of 127.0.0.1 with a folder of its own, and stops it again.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'

const PATIENCE_MS = 10_000

export interface Mosquitto {
  readonly port: number
  readonly url: string
  /** SIGTERM (it saves its sessions) or kill -9. Resolves when the process is gone. */
  stop (signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>
  /** Starts it again on the same port with the same folder. */
  start (): Promise<void>
  /** Stops it for good and removes its folder. */
  close (): Promise<void>
}

/** Where mosquitto is; null when it is not installed. Debian keeps it outside a user's PATH. */
export function findMosquitto (): string | null {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin', '/opt/homebrew/sbin']
  return folders.map(folder => join(folder, 'mosquitto')).find(path => existsSync(path)) ?? null
}

/** Why tests with mosquitto are skipped; null when they can run. Says so on the terminal: a silent skip looks like a pass. */
export function whyNoMosquitto (): string | null {
  if (findMosquitto() !== null) return null
  const reason = 'mosquitto is not installed (Debian: apt-get install mosquitto): its tests are skipped'
  process.stderr.write(`${reason}\n`)
  return reason
}

/** `settings` are further lines of mosquitto.conf. */
export async function startMosquitto (settings: readonly string[] = []): Promise<Mosquitto> {
  const program = findMosquitto()
  if (program === null) throw new Error('mosquitto is not installed')
  const folder = mkdtempSync(join(tmpdir(), 'parkmq-mosquitto-'))
  const port = await freePort()
  writeFileSync(join(folder, 'mosquitto.conf'), [
    `listener ${port} 127.0.0.1`, 'allow_anonymous true', 'persistence true', `persistence_location ${folder}/`,
    'max_inflight_messages 0', 'max_queued_messages 0', 'set_tcp_nodelay true', 'log_dest stderr',
    // Started by root, it would become a user that may not write the folder.
    'user root', ...settings, ''
  ].join('\n'))
  let child: ReturnType<typeof run> | null = null

  async function start (): Promise<void> {
    child = run(program ?? '', folder)
    await child.running
  }
  async function stop (signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    child?.process.kill(signal)
    await child?.ended
    child = null
  }
  await start()
  return {
    port,
    url: `mqtt://127.0.0.1:${port}`,
    start,
    stop,
    async close () {
      await stop('SIGKILL')
      rmSync(folder, { recursive: true, force: true })
    }
  }
}

function run (program: string, folder: string) {
  const child = spawn(program, ['-c', join(folder, 'mosquitto.conf')], { stdio: ['ignore', 'ignore', 'pipe'] })
  // A test that hangs never stops it.
  const killWithUs = (): void => { child.kill('SIGKILL') }
  process.once('exit', killWithUs)
  const ended = once(child, 'exit').finally(() => process.off('exit', killWithUs))
  let said = ''
  const running = new Promise<void>((resolve, reject) => {
    const fail = (): void => reject(new Error(`mosquitto did not start: ${said}`))
    const timer = setTimeout(fail, PATIENCE_MS)
    child.once('exit', fail)
    child.stderr.on('data', (text: Buffer) => {
      said += text.toString()
      if (!/ running\n/.test(said)) return
      clearTimeout(timer)
      resolve()
    })
  })
  return { process: child, running, ended }
}

async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
