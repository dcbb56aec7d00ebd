// What a cluster on one machine consists of, and the folder in which all of it is: `cluster.json`, configurations, data, logs. Which
// of it runs is not written down: `processes.ts` looks, so that nothing has to be right after a crash.
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import { messageOf, OperatorError } from '../../shared/errors.js'
import { freePorts } from './ports.js'

/** Members of etcd: one may be lost. */
const ETCD_MEMBERS = 3
export const HOST = '127.0.0.1'

const Port = z.int().min(1).max(65_535)

/** `cluster.json`. */
const ClusterPlan = z.strictObject({
  format: z.literal(1),
  /** Tells this cluster's etcd and Patroni from others. */
  scope: z.string(),
  nodes: z.array(z.strictObject({ port: Port, wsPort: Port, httpPort: Port })),
  databases: z.array(z.strictObject({ port: Port, restPort: Port })),
  etcd: z.array(z.strictObject({ port: Port, peerPort: Port })),
  /** PostgreSQL's users: they are made with the database. */
  passwords: z.strictObject({ postgres: z.string(), replicator: z.string(), parkmq: z.string() }),
  /** The settings of the nodes, a file in the folder; null: parkmq's defaults. */
  settings: z.string().nullable()
})
type ClusterPlan = z.infer<typeof ClusterPlan>

export type Cluster = ClusterPlan & { readonly folder: string }

export interface Size {
  readonly nodes: number
  readonly databases: number
}

/** Makes the folder with a plan in it. Two at once: one of them is refused. Throws `OperatorError`. */
export async function createCluster (path: string, { nodes, databases }: Size, settings: string | null): Promise<Cluster> {
  const given = resolve(path)
  mkdirSync(given, { recursive: true })
  const folder = realpathSync(given)
  if (existsSync(planFile(folder))) {
    throw new OperatorError('cluster_exists', `there is a cluster in ${folder} already: \`parkmq cluster status\` shows it, \`heal\` starts what is dead, \`down --remove\` removes it; or give another --folder`)
  }
  const others = readdirSync(folder).filter(name => name !== 'logs')
  if (others.length > 0) throw new OperatorError('folder_not_empty', `${folder} is not empty (${others.slice(0, 3).join(', ')}): give a new --folder, or remove what is in it`)
  const password = (): string => randomBytes(18).toString('base64url')
  const ports = await freePorts(3 * nodes + 2 * databases + 2 * ETCD_MEMBERS)
  const next = (): number => ports.shift() as number
  const plan: ClusterPlan = {
    format: 1,
    scope: `parkmq-${randomBytes(4).toString('hex')}`,
    nodes: Array.from({ length: nodes }, () => ({ port: next(), wsPort: next(), httpPort: next() })),
    databases: Array.from({ length: databases }, () => ({ port: next(), restPort: next() })),
    etcd: Array.from({ length: ETCD_MEMBERS }, () => ({ port: next(), peerPort: next() })),
    passwords: { postgres: password(), replicator: password(), parkmq: password() },
    settings
  }
  try {
    writeFileSync(planFile(folder), `${JSON.stringify(plan, null, 2)}\n`, { flag: 'wx', mode: 0o600 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw new OperatorError('cluster_exists', `another \`parkmq cluster up\` has just begun in ${folder}`, { cause: error })
    throw error
  }
  return { ...plan, folder }
}

/** Throws `OperatorError` when there is none. */
export function readCluster (path: string): Cluster {
  const given = resolve(path)
  if (!existsSync(planFile(given))) throw new OperatorError('no_cluster', `there is no cluster in ${given}: \`parkmq cluster up\` starts one there, --folder names another folder`)
  const folder = realpathSync(given)
  try {
    return { ...ClusterPlan.parse(JSON.parse(readFileSync(planFile(folder), 'utf8'))), folder }
  } catch (error) {
    throw new OperatorError('no_cluster', `${planFile(folder)} is not the file of a cluster (${messageOf(error).slice(0, 200)})`, { cause: error })
  }
}

/** Removes what a cluster had; with `keepLogs` all but the logs. */
export function removeCluster ({ folder }: Pick<Cluster, 'folder'>, { keepLogs }: { keepLogs: boolean }): void {
  for (const name of readdirSync(folder)) {
    if (keepLogs && name === 'logs') continue
    if (OURS.test(name)) rmSync(join(folder, name), { recursive: true, force: true, maxRetries: 5 })
  }
  if (readdirSync(folder).length === 0) rmSync(folder, { recursive: true })
}

const OURS = /^(cluster\.json|logs|settings\.\w+|(node|db|etcd)-\d+)$/

function planFile (folder: string): string {
  return join(folder, 'cluster.json')
}

/** `mqtt://` URLs of all nodes, as clients take them. */
export function urlsOf ({ nodes }: Cluster): string {
  return nodes.map(({ port }) => `mqtt://${HOST}:${port}`).join(',')
}

/** The database as the nodes are told. The password is left to PGPASSWORD: a command line is for all to read. */
export function databaseUrlOf ({ databases }: Cluster): string {
  return `postgres://parkmq@${databases.map(({ port }) => `${HOST}:${port}`).join(',')}/parkmq`
}

/** The lines of `name` that its log ends with. */
export function lastLines ({ folder }: Cluster, name: string, count = 5): string {
  const file = logFile(folder, name)
  return existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n').slice(-count).join('\n') : ''
}

export function logFile (folder: string, name: string): string {
  return join(folder, 'logs', `${name}.log`)
}
