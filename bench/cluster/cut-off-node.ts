// One more node of a cluster, in a network namespace of its own: clients reach it over one pair of virtual cables, it reaches the
// database over another, which can be cut so that nobody is told. Linux, as root.
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { RunningCluster } from './running-cluster.js'

const PORT = 1_883
/** A card that nobody has: what is sent there is gone. */
const NOWHERE = '02:00:00:00:00:01'

/** `program`: bin/parkmq.js. `settings`: the file of the nodes' settings. */
export interface NodeParts { readonly program: string, readonly settings: string }

/** Why there can be none; null when there can. */
export function whyNoNamespace (): string | null {
  if (process.getuid?.() !== 0) return 'network namespaces need root'
  const name = `parkmq-try-${process.pid}`
  if (spawnSync('ip', ['netns', 'add', name]).status !== 0) return '`ip netns add` does not work here (Debian: apt-get install iproute2, and CAP_SYS_ADMIN)'
  spawnSync('ip', ['netns', 'delete', name])
  return null
}

export class CutOffNode {
  readonly url: string
  readonly #namespace: string
  readonly #here: string
  readonly #there: string
  readonly #cable: { here: string, there: string }
  readonly #relays: readonly Server[]
  readonly #sockets: ReadonlySet<Socket>
  readonly #process: ChildProcess
  readonly #data: string
  readonly #endWithUs = (): void => this.#remove()

  private constructor (parts: { namespace: string, net: string, cable: { here: string, there: string }, relays: readonly Server[], sockets: ReadonlySet<Socket>, process: ChildProcess, data: string }) {
    this.#namespace = parts.namespace
    this.#here = `${parts.net}.1`
    this.#there = `${parts.net}.2`
    this.url = `mqtt://${parts.net}.6:${PORT}`
    this.#cable = parts.cable
    this.#relays = parts.relays
    this.#sockets = parts.sockets
    this.#process = parts.process
    this.#data = parts.data
    process.once('exit', this.#endWithUs)
  }

  static async start (cluster: RunningCluster, { program, settings }: NodeParts): Promise<CutOffNode> {
    const [namespace, net] = [`parkmq-${process.pid}`, `10.${randomInt(200, 250)}.${randomInt(1, 250)}`]
    const data = mkdtempSync(join(tmpdir(), 'parkmq-cut-off-'))
    const cables = [{ here: `pq${process.pid}a`, there: 'database', first: 1 }, { here: `pq${process.pid}b`, there: 'clients', first: 5 }]
    ip('netns', 'add', namespace)
    try {
      for (const { here, there, first } of cables) {
        ip('link', 'add', here, 'type', 'veth', 'peer', 'name', there, 'netns', namespace)
        ip('address', 'add', `${net}.${first}/30`, 'dev', here)
        ip('link', 'set', here, 'up')
        ip('-n', namespace, 'address', 'add', `${net}.${first + 1}/30`, 'dev', there)
        ip('-n', namespace, 'link', 'set', there, 'up')
      }
      const sockets = new Set<Socket>()
      const relays = await Promise.all(cluster.databasePorts.map(async port => await relayTo(port, `${net}.1`, sockets)))
      const hosts = relays.map(relay => `${net}.1:${(relay.address() as { port: number }).port}`).join(',')
      const child = spawn('ip', [
        'netns', 'exec', namespace, process.execPath, program, 'start', '--node', 'cut-off', '--data', data, '--config', settings, '--database', `postgres://parkmq@${hosts}/parkmq`,
        '--host', `${net}.6`, '--port', String(PORT), '--ws-port', '0', '--allow-anonymous'
      ], { env: { ...process.env, PGPASSWORD: cluster.password }, stdio: ['ignore', 'pipe', 'inherit'] })
      const node = new CutOffNode({ namespace, net, cable: { here: cables[0]?.here ?? '', there: 'database' }, relays, sockets, process: child, data })
      await ready(child)
      return node
    } catch (error) {
      spawnSync('ip', ['netns', 'delete', namespace])
      throw error
    }
  }

  /** From now on nothing passes between the node and the database, in either direction, and neither is told. */
  cut (): void {
    ip('neighbour', 'replace', this.#there, 'lladdr', NOWHERE, 'dev', this.#cable.here, 'nud', 'permanent')
    ip('-n', this.#namespace, 'neighbour', 'replace', this.#here, 'lladdr', NOWHERE, 'dev', this.#cable.there, 'nud', 'permanent')
  }

  mend (): void {
    ip('neighbour', 'delete', this.#there, 'dev', this.#cable.here)
    ip('-n', this.#namespace, 'neighbour', 'delete', this.#here, 'dev', this.#cable.there)
  }

  async close (): Promise<void> {
    process.off('exit', this.#endWithUs)
    const ended = once(this.#process, 'exit')
    this.#remove()
    await ended
    for (const socket of this.#sockets) socket.destroy()
    for (const relay of this.#relays) relay.close()
  }

  #remove (): void {
    this.#process.kill('SIGKILL')
    spawnSync('ip', ['netns', 'delete', this.#namespace])
    rmSync(this.#data, { recursive: true, force: true })
  }
}

/** Listens in our own namespace for the node in its own; the database's end of a cut connection stays open, as it would. */
async function relayTo (port: number, host: string, sockets: Set<Socket>): Promise<Server> {
  const relay = createServer(socket => {
    const other = connect(port, '127.0.0.1')
    for (const [from, to] of [[socket, other], [other, socket]] as const) {
      sockets.add(from)
      from.setNoDelay(true)
      from.pipe(to)
      from.on('error', () => to.destroy())
      from.on('close', () => {
        sockets.delete(from)
        to.destroy()
      })
    }
  })
  relay.listen(0, host)
  await once(relay, 'listening')
  return relay
}

async function ready (child: ChildProcess): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', code => reject(new Error(`the node that is to be cut off ended with ${code}`)))
    const output = child.stdout
    if (output === null) return
    createInterface({ input: output }).on('line', line => { if ((JSON.parse(line) as { msg?: string }).msg === 'ready') resolve() })
  })
}

function ip (...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] })
}
