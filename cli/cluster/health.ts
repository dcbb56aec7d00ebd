// Asks all that a cluster consists of how it is: nodes by /health, Patroni and etcd by their HTTP interfaces.
import { z } from 'zod'
import { HOST, type Cluster } from './plan.js'
import { findProcesses, type Running, type Unit } from './processes.js'

/** Longer than any of them takes when it is well. */
const ASK_MS = 2_000

export interface Part {
  /** `node-1`, `db-1`, `etcd-1`. */
  readonly name: string
  readonly what: 'parkmq' | 'PostgreSQL' | 'etcd'
  readonly state: string
  readonly well: boolean
  /** `primary`, `sync standby`, `standby`, `leader`, `follower`; null where there is none, or nobody knows. */
  readonly role: string | null
  /** Bytes that a standby is behind. */
  readonly lagBytes: number | null
  readonly where: string
}

export interface Health {
  readonly well: boolean
  readonly parts: readonly Part[]
}

const PatroniCluster = z.object({
  members: z.array(z.object({ name: z.string(), role: z.string(), state: z.string(), timeline: z.number().optional(), lag: z.union([z.number(), z.string()]).optional() }))
})
type PatroniMember = z.infer<typeof PatroniCluster>['members'][number]
/** Of the primary's own Patroni. */
const PatroniSelf = z.object({ replication: z.array(z.object({ application_name: z.string(), state: z.string() })).optional() })
const EtcdStatus = z.object({ header: z.object({ member_id: z.string() }), leader: z.string().optional(), raftIndex: z.string().optional() })

export async function askHealth (cluster: Cluster): Promise<Health> {
  const running = findProcesses(cluster)
  const [nodes, databases, etcd] = await Promise.all([nodeParts(cluster, running), databaseParts(cluster, running), etcdParts(cluster, running)])
  const parts = [...nodes, ...databases, ...etcd]
  return { parts, well: parts.every(({ well }) => well) }
}

async function nodeParts ({ nodes }: Cluster, running: Map<Unit, Running[]>): Promise<Part[]> {
  return await Promise.all(nodes.map(async ({ port, httpPort }, i): Promise<Part> => {
    const process = processState(running, `node-${i + 1}`)
    const answer = process === 'up' ? await ask(`http://${HOST}:${httpPort}/health`) : null
    const state = process !== 'up' ? process : answer === null ? 'starting' : answer.ok ? 'up' : 'without database'
    return { name: `node-${i + 1}`, what: 'parkmq', state, well: state === 'up', role: null, lagBytes: null, where: `mqtt://${HOST}:${port}` }
  }))
}

/** Of the members, as Patroni sees them; those that are dead it sees for a while yet, so the processes count first. */
export async function databaseParts ({ databases }: Cluster, running: Map<Unit, Running[]>): Promise<Part[]> {
  const members = await firstAnswer(databases.map(({ restPort }) => `http://${HOST}:${restPort}/cluster`), PatroniCluster)
  const primary = members?.members.find(({ role }) => role === 'leader' || role === 'primary' || role === 'master')
  const primaryPorts = databases.find((_, i) => primary?.name === `db-${i + 1}`)
  const primaryItself = primaryPorts === undefined ? null : parsed(PatroniSelf, (await ask(`http://${HOST}:${primaryPorts.restPort}/patroni`))?.body)
  const streaming = new Set((primaryItself?.replication ?? []).filter(({ state }) => state === 'streaming').map(one => one.application_name))
  const roles = databases.map((_, i) => roleOf(members?.members.find(({ name }) => name === `db-${i + 1}`)))
  const hasSync = databases.length === 1 || roles.includes('sync standby')
  return databases.map(({ port }, i): Part => {
    const name = `db-${i + 1}`
    const member = members?.members.find(one => one.name === name)
    const [patroni, postgres] = [processState(running, `patroni-${i + 1}`), processState(running, `postgres-${i + 1}`)]
    const role = roles[i] ?? null
    const state = patroni === 'dead' && postgres === 'dead' ? 'dead'
      : patroni !== 'up' ? `Patroni ${patroni}`
        : postgres !== 'up' ? (member?.state.startsWith('creating') ? member.state : `PostgreSQL ${postgres}`)
          : role === 'primary' ? (hasSync ? 'up' : 'without a sync standby')
            : streaming.has(name) ? 'up' : 'not following'
    return { name, what: 'PostgreSQL', state, well: state === 'up' && role !== null, role, lagBytes: typeof member?.lag === 'number' ? member.lag : null, where: `${HOST}:${port}` }
  })
}

function roleOf (member: PatroniMember | undefined): string | null {
  switch (member?.role) {
    case undefined: return null
    case 'leader': case 'primary': case 'master': return 'primary'
    case 'sync_standby': return 'sync standby'
    default: return 'standby'
  }
}

export async function etcdParts ({ etcd }: Cluster, running: Map<Unit, Running[]>): Promise<Part[]> {
  return await Promise.all(etcd.map(async ({ port }, i): Promise<Part> => {
    const process = processState(running, `etcd-${i + 1}`)
    const status = process === 'up' ? parsed(EtcdStatus, (await ask(`http://${HOST}:${port}/v3/maintenance/status`, '{}'))?.body) : null
    // Left out when there is none.
    const leader = status?.leader ?? '0'
    const state = process !== 'up' ? process : status === null ? 'starting' : leader === '0' ? 'without a leader' : 'up'
    const role = status === null || leader === '0' ? null : leader === status.header.member_id ? 'leader' : 'follower'
    return { name: `etcd-${i + 1}`, what: 'etcd', state, well: state === 'up', role, lagBytes: null, where: `${HOST}:${port}` }
  }))
}

function processState (running: Map<Unit, Running[]>, unit: Unit): 'up' | 'paused' | 'dead' {
  const found = running.get(unit) ?? []
  return found.length === 0 ? 'dead' : found.some(({ paused }) => paused) ? 'paused' : 'up'
}

async function firstAnswer<T> (urls: readonly string[], schema: z.ZodType<T>): Promise<T | null> {
  const answers = await Promise.all(urls.map(async url => parsed(schema, (await ask(url))?.body)))
  return answers.find(answer => answer !== null) ?? null
}

function parsed<T> (schema: z.ZodType<T>, body: string | undefined): T | null {
  if (body === undefined) return null
  try {
    return schema.parse(JSON.parse(body))
  } catch {
    // Not what it says when it is well.
    return null
  }
}

/** Null when nobody answers. */
async function ask (url: string, body?: string): Promise<{ ok: boolean, body: string } | null> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(ASK_MS), ...body !== undefined && { method: 'POST', body } })
    return { ok: response.ok, body: await response.text() }
  } catch {
    return null
  }
}
